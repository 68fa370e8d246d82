"""The bank's database file: opening, creating, migrating, transactions. Knows the tables, not what they are for.

Every SQL statement of the bank goes through `Database`, so every failure of SQLite becomes one clear EdgexpError here.
"""

import errno
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile
from typing import Any

from edgexp.errors import EdgexpError
from edgexp.files import find_lock_trouble, shown

FILE = "bank.sqlite3"
APPLICATION_ID = 0x65647870
"""In the file's header: this SQLite file is an edgexp bank."""

_FIRST = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # AUTOINCREMENT: the row number of a forgotten trajectory is never given out again, so an index file cannot point at a stranger.
    """CREATE TABLE trajectory (
        row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, status TEXT NOT NULL CHECK (status IN ('accepted', 'quarantined')),
        environment TEXT NOT NULL, task_id TEXT NOT NULL, task_type TEXT NOT NULL, task_group TEXT NOT NULL, split TEXT NOT NULL,
        success INTEGER NOT NULL, score REAL NOT NULL, source TEXT NOT NULL, steps INTEGER NOT NULL, created TEXT NOT NULL)""",
    "CREATE INDEX trajectory_by_kind ON trajectory (status, environment, success, split, source, task_type, task_group)",
    "CREATE INDEX trajectory_by_task ON trajectory (task_id)",
    # Bodies and vectors live apart: listing and filtering then read small rows only.
    "CREATE TABLE body (row INTEGER PRIMARY KEY REFERENCES trajectory ON DELETE CASCADE, data BLOB NOT NULL)",
    "CREATE TABLE encoder (code INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, dimensions INTEGER NOT NULL)",
    # No foreign key on the row: it would need an index of its own. Trajectories are deleted together with their vectors.
    """CREATE TABLE vector (
        encoder INTEGER NOT NULL REFERENCES encoder, kind TEXT NOT NULL, row INTEGER NOT NULL, data BLOB NOT NULL,
        PRIMARY KEY (encoder, kind, row)) WITHOUT ROWID""",
    """CREATE TABLE episode (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, run TEXT NOT NULL, environment TEXT NOT NULL,
        task_id TEXT NOT NULL, trajectory TEXT NOT NULL, success INTEGER NOT NULL, score REAL NOT NULL, model TEXT NOT NULL,
        created TEXT NOT NULL)""",
    """CREATE TABLE recall (
        episode INTEGER NOT NULL REFERENCES episode ON DELETE CASCADE, step INTEGER NOT NULL, query TEXT NOT NULL, seconds REAL NOT NULL,
        PRIMARY KEY (episode, step)) WITHOUT ROWID""",
    # Trajectories are named by id and not by row: what was retrieved stays on record after it was forgotten.
    """CREATE TABLE recalled (
        episode INTEGER NOT NULL, step INTEGER NOT NULL, rank INTEGER NOT NULL, trajectory TEXT NOT NULL, score REAL NOT NULL,
        dropped TEXT NOT NULL, tokens INTEGER NOT NULL, PRIMARY KEY (episode, step, rank),
        FOREIGN KEY (episode, step) REFERENCES recall ON DELETE CASCADE) WITHOUT ROWID""",
)
_SECOND = (
    "ALTER TABLE episode ADD COLUMN task_type TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE episode ADD COLUMN ending TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE recalled ADD COLUMN frame REAL",
    "ALTER TABLE recalled ADD COLUMN usefulness REAL",
)
MIGRATIONS: tuple[Sequence[str], ...] = (_FIRST, _SECOND)
"""Statements that lead from version n to version n + 1; only ever appended to."""
_READABLE = 1
"""The oldest version that can be read as it is, without migrating it."""


class CannotWrite(EdgexpError):
    """The place of a bank may be read at most."""


class Database:
    """A connection to one bank file. Not to be shared between threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self.closed = False
        self.version = len(MIGRATIONS)
        """Of the bank's tables: an older one where such a bank is only read."""

    def execute(self, sql: str, arguments: Sequence[Any] = ()) -> int:
        """Run a statement; the number of rows it changed."""
        with self._guarded():
            return self._connection.execute(sql, arguments).rowcount

    def rows(self, sql: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self._guarded():
            return self._connection.execute(sql, arguments).fetchall()

    def each(self, sql: str, arguments: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, one by one."""
        with self._guarded():
            cursor = self._connection.execute(sql, arguments)
        while True:
            with self._guarded():
                row = cursor.fetchone()
            if row is None:
                return
            yield row

    def one(self, sql: str, arguments: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row of a query, or None."""
        rows = self.rows(sql, arguments)
        return rows[0] if rows else None

    def insert(self, sql: str, arguments: Sequence[Any]) -> int:
        """Run an INSERT; the row number it was given."""
        with self._guarded():
            return self._connection.execute(sql, arguments).lastrowid or 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside becomes visible at once or, on any exception or a crash, not at all. Waits for another writer first."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # SQLite itself has rolled back after some errors, a full disk among them
                self.execute("ROLLBACK")
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Every read inside sees the bank as it was at the first of them, whatever other processes write meanwhile."""
        self.execute("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self.execute("COMMIT")

    def state(self) -> tuple[int, int]:
        """Changes with everything that this process or another one writes."""
        return self._connection.total_changes, int(self.rows("PRAGMA data_version")[0][0])

    def close(self) -> None:
        """Close the connection; closing twice is fine."""
        self._connection.close()
        self.closed = True

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _explained(self.path, error) from error
        except UnicodeEncodeError as error:
            raise EdgexpError(f"the bank {shown(self.path.parent)}: a text that is not Unicode ({error.reason})") from error


def connect(path: Path, *, readonly: bool, create: bool, wait: float) -> Database:
    """Open the bank file `path`, and migrate it unless `readonly`; `wait` seconds for another writer before giving up.

    Raises EdgexpError for a file that is missing (unless to `create`), damaged, no bank, or written by a newer edgexp; CannotWrite where
    the place does not let it be written or made.
    """
    if not create and not path.is_file():
        raise _no_bank(path)
    database = _opened(path, readonly, wait)
    try:
        if readonly and _is_blank(database):  # what a process that was killed while it made the bank left
            database.close()
            _finish(path, wait)
            database = _opened(path, readonly, wait)
        _check(database, readonly)
        if not readonly:
            _prepare(database, wait)
    except BaseException:
        database.close()
        raise
    return database


def _opened(path: Path, readonly: bool, wait: float) -> Database:
    try:
        connection = _open_to_read(path, wait) if readonly else _open_to_write(path, wait)
    except sqlite3.Error as error:
        raise _explained(path, error) from error
    connection.text_factory = _text
    database = Database(path, connection)
    try:
        database.execute("PRAGMA cell_size_check = ON")  # a damaged page is an error rather than a wrong answer
    except BaseException:
        database.close()
        raise
    return database


def _text(data: bytes) -> str:
    """One damaged text must not hide the rows around it."""
    return data.decode("utf-8", "surrogateescape")


def _no_bank(path: Path) -> EdgexpError:
    return EdgexpError(f"no bank at {shown(path.parent)}: `edgexp collect` or `edgexp bank add` makes one")


def _finish(path: Path, wait: float) -> None:
    """Make the bank that another process began to make. Raises EdgexpError where that is not possible: then there is none."""
    try:
        connect(path, readonly=False, create=True, wait=wait).close()
    except CannotWrite as error:
        raise _no_bank(path) from error


def _open_to_write(path: Path, wait: float) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        kind = CannotWrite if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else EdgexpError
        raise kind(f"cannot make the bank {shown(path.parent)}: {error.strerror}") from error
    if not all(map(_may_write, (path, path.parent))):
        raise CannotWrite(_may_not_write(path))
    return sqlite3.connect(path, timeout=wait, isolation_level=None)


def _may_write(path: Path) -> bool:
    """SQLite itself opens what it may not write, and fails at the first write."""
    return not path.exists() or os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _open_to_read(path: Path, wait: float) -> sqlite3.Connection:
    """Where nothing may be written, SQLite can make no shared memory for its log. With no log left over it needs none; one that a killed
    process left is read in a copy."""
    uri = path.absolute().as_uri() + "?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=wait, isolation_level=None)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        return connection
    except sqlite3.OperationalError as error:
        connection.close()
        if _name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_CORRUPT", "SQLITE_PROTOCOL")):
            raise
    except BaseException:
        connection.close()
        raise
    if any(map(_has_content, _logs(path))):
        return _copied(path)
    return sqlite3.connect(uri + "&immutable=1", uri=True, isolation_level=None)


def _logs(path: Path) -> list[Path]:
    """What SQLite must see besides the database: its log, or the journal of the first moments."""
    return [path.with_name(f"{path.name}-{end}") for end in ("wal", "journal")]


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _copied(path: Path) -> sqlite3.Connection:
    """The bank in memory, by way of a copy in which SQLite may put its log in order."""
    memory = sqlite3.connect(":memory:", isolation_level=None)
    try:
        with tempfile.TemporaryDirectory(prefix="edgexp-") as folder:
            for file in filter(_has_content, [path, *_logs(path)]):
                copyfile(file, Path(folder) / file.name)
            copy = sqlite3.connect(Path(folder) / path.name, isolation_level=None)
            try:
                copy.backup(memory)
            finally:
                copy.close()
        memory.execute("PRAGMA query_only = ON")
    except OSError as error:
        memory.close()
        raise EdgexpError(f"the bank {shown(path.parent)} can only be read in a copy: {error.strerror or error}") from error
    except BaseException:
        memory.close()
        raise
    return memory


def _check(database: Database, readonly: bool) -> None:
    """Is this a bank, of a version this code knows?"""
    with database.snapshot():  # another process may be making it just now
        application, version = _header(database)
        blank = _is_blank(database)
    if application != APPLICATION_ID and not (blank and not readonly):
        raise EdgexpError(f"{shown(database.path)} is a database, but not an edgexp bank")
    if version > len(MIGRATIONS):
        raise EdgexpError(
            f"{database.path} was written by a newer edgexp (bank version {version}, this one knows {len(MIGRATIONS)}): upgrade edgexp"
        )
    database.version = version if readonly else len(MIGRATIONS)
    if readonly and version < _READABLE:
        raise EdgexpError(f"{database.path} is of an older version: `edgexp bank rebuild` brings it up to date")


def _prepare(database: Database, wait: float) -> None:
    _use_log(database, wait)
    for pragma in ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
        database.execute(f"PRAGMA {pragma}")
    if _header(database)[1] == len(MIGRATIONS):
        return
    with database.transaction():
        version = _header(database)[1]  # read again inside: another process may have migrated while this one waited
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute("INSERT OR IGNORE INTO meta VALUES ('bank', lower(hex(randomblob(12))))")


def _use_log(database: Database, wait: float) -> None:
    """Switch to the write-ahead log. This is the one statement for which SQLite itself does not wait for other processes."""
    give_up = time.monotonic() + wait
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except EdgexpError as error:
            busy = getattr(error.__cause__, "sqlite_errorname", "").startswith("SQLITE_BUSY")
            if not busy or time.monotonic() > give_up:
                raise
        time.sleep(0.01)


def _header(database: Database) -> tuple[int, int]:
    application = database.rows("PRAGMA application_id")[0][0]
    return application, database.rows("PRAGMA user_version")[0][0]


def _is_blank(database: Database) -> bool:
    """Whether nothing was ever written to it: also what the first moments of making a bank leave."""
    return _header(database) == (0, 0) and not database.rows("SELECT 1 FROM sqlite_master LIMIT 1")


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", "") or ""


def _may_not_write(path: Path) -> str:
    return f"the bank {shown(path.parent)} may not be written here: check the permissions, or open it read-only"


def _explained(path: Path, error: sqlite3.Error) -> EdgexpError:
    """One line for people: what happened to which bank, what is lost (nothing that was committed), what to do."""
    name = _name(error)
    path_shown, bank = shown(path), shown(path.parent)
    if name.startswith(("SQLITE_BUSY", "SQLITE_IOERR_LOCK", "SQLITE_IOERR_RDLOCK", "SQLITE_PROTOCOL", "SQLITE_NOLFS")):
        trouble = find_lock_trouble(path.parent)  # SQLite says "busy" of a drive without locks, too
        if trouble:
            return EdgexpError(trouble)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return EdgexpError(f"the bank {bank} is being written by another process: try again when that is done")
    if name.startswith("SQLITE_FULL") or name in ("SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_FSYNC"):
        return EdgexpError(f"no space left for the bank {bank}: the last write was undone, all before it is safe; free some space")
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
        return CannotWrite(_may_not_write(path))
    if name.startswith("SQLITE_CANTOPEN"):
        return EdgexpError(f"{path_shown} cannot be opened: check that the folder is there and may be written")
    if name.startswith("SQLITE_NOTADB"):
        remedy = "restore it from a copy, or move it away to begin anew"
        return EdgexpError(f"{path_shown} is not a bank, or its first page is damaged: {remedy}")
    if name.startswith("SQLITE_CORRUPT"):
        remedy = f"restore it from a copy, or save what can be read with `sqlite3 {path.name} .recover`"
        return EdgexpError(f"{path_shown} is damaged ({error}): {remedy}")
    return EdgexpError(f"the bank {path_shown}: {error}")
