"""The bank's file: what opening it does, what it refuses, and what every failure of SQLite is called in words."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.bank import schema
from edgexp.bank.schema import APPLICATION_ID, MIGRATIONS, Database, connect
from edgexp.errors import EdgexpError

TABLES = {"meta", "trajectory", "body", "encoder", "vector", "episode", "recall", "recalled"}


def open_bank(path: Path, *, readonly: bool = False, create: bool = True, wait: float = 5) -> Database:
    return connect(path / "bank.sqlite3", readonly=readonly, create=create, wait=wait)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A new bank's file."""
    made = open_bank(tmp_path / "bank")
    yield made
    made.close()


def test_a_new_bank_has_every_table_and_says_what_it_is(database: Database) -> None:
    tables = {name for (name,) in database.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables - {"sqlite_sequence"} == TABLES
    assert database.rows("PRAGMA application_id") == [(APPLICATION_ID,)] and database.rows("PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert database.rows("PRAGMA integrity_check") == [("ok",)]


def test_what_was_committed_outlives_a_power_cut_and_what_was_forgotten_leaves_no_trace(database: Database) -> None:
    """Write-ahead log, synced at each commit; deleted content is overwritten; deleting a trajectory deletes what hangs on it."""
    asked = ("journal_mode", "synchronous", "secure_delete", "foreign_keys", "cell_size_check")
    assert [database.rows(f"PRAGMA {name}")[0][0] for name in asked] == ["wal", 2, 1, 1, 1]


def test_each_bank_has_a_name_of_its_own(tmp_path: Path) -> None:
    names = set()
    for folder in ("a", "b"):
        for _ in range(2):
            opened = open_bank(tmp_path / folder)
            names.add(opened.rows("SELECT value FROM meta WHERE key = 'bank'")[0][0])
            opened.close()
    assert len(names) == 2 and all(len(name) == 24 for name in names)


def test_several_that_open_a_new_bank_at_once_make_one(tmp_path: Path) -> None:
    """Many times, since it takes an unlucky moment for one to look while another one makes it."""
    for number in range(12):
        together, names, errors = threading.Barrier(4), [], []

        def make(folder: Path, together: threading.Barrier, names: list[object], errors: list[object]) -> None:
            together.wait()
            try:
                opened = open_bank(folder, wait=20)
                names.append(opened.rows("SELECT value FROM meta WHERE key = 'bank'"))
                opened.close()
            except EdgexpError as error:
                errors.append(error)

        threads = [threading.Thread(target=make, args=(tmp_path / str(number), together, names, errors)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == [] and len(names) == 4 and all(name == names[0] for name in names)


def test_what_is_not_there_is_only_made_where_that_is_asked_for(tmp_path: Path) -> None:
    for options in ({"create": False}, {"create": False, "readonly": True}):
        with pytest.raises(EdgexpError, match=r"no bank at .*edgexp collect"):
            open_bank(tmp_path / "bank", **options)
        assert not (tmp_path / "bank").exists()
    open_bank(tmp_path / "bank").close()
    open_bank(tmp_path / "bank", create=False).close()


def test_a_reader_can_write_nothing(tmp_path: Path) -> None:
    open_bank(tmp_path / "bank").close()
    reader = open_bank(tmp_path / "bank", readonly=True, create=False)
    with pytest.raises(EdgexpError, match="may not be written here"):
        reader.execute("INSERT INTO meta VALUES ('a', 'b')")
    reader.close()


def test_migrations_run_in_order_from_where_a_bank_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From today's version, three steps on: each finds what the step before made, and none runs twice."""
    open_bank(tmp_path / "bank").close()
    now = len(MIGRATIONS)
    steps = [
        ("CREATE TABLE extra (value TEXT)", "INSERT INTO extra VALUES ('second')"),
        ("ALTER TABLE extra ADD COLUMN more TEXT DEFAULT 'third'",),
        ("INSERT INTO extra VALUES ('fourth', 'fourth')",),
    ]
    for known in (now + 1, now + 3, now + 3):
        monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, *steps)[:known])
        opened = open_bank(tmp_path / "bank")
        assert opened.rows("PRAGMA user_version") == [(known,)]
        held = opened.rows("SELECT * FROM extra")
        opened.close()
        assert held == ([("second",)] if known == now + 1 else [("second", "third"), ("fourth", "fourth")])


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_bank(tmp_path / "bank").close()
    before = (tmp_path / "bank" / "bank.sqlite3").read_bytes()
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE extra (value TEXT)", "INSERT INTO nowhere VALUES (1)")))
    with pytest.raises(EdgexpError, match="nowhere"):
        open_bank(tmp_path / "bank")
    monkeypatch.undo()
    assert (tmp_path / "bank" / "bank.sqlite3").read_bytes() == before
    opened = open_bank(tmp_path / "bank")
    assert opened.rows("PRAGMA user_version") == [(len(MIGRATIONS),)]
    opened.close()


def test_a_writer_that_another_one_holds_up_says_so(database: Database) -> None:
    hasty = connect(database.path, readonly=False, create=False, wait=0.01)
    with database.transaction(), pytest.raises(EdgexpError, match="being written by another process"), hasty.transaction():
        pass
    with hasty.transaction():
        hasty.execute("INSERT INTO meta VALUES ('later', 'yes')")
    assert database.one("SELECT value FROM meta WHERE key = 'later'") == ("yes",) and database.one("SELECT 1 WHERE 0") is None
    hasty.close()


def test_rows_one_by_one_are_all_rows(database: Database) -> None:
    with database.transaction():
        for number in range(50):
            assert database.insert("INSERT INTO encoder (id, name, dimensions) VALUES (?, 'n', 1)", (f"e{number:02}",)) == number + 1
    assert list(database.each("SELECT id FROM encoder ORDER BY id")) == [(f"e{number:02}",) for number in range(50)]
    assert database.execute("DELETE FROM encoder WHERE id < ?", ("e30",)) == 30


@pytest.mark.parametrize(
    "use",
    [
        lambda database: database.execute("SELECT 1"),
        lambda database: database.rows("SELECT 1"),
        lambda database: database.one("SELECT 1"),
        lambda database: list(database.each("SELECT 1")),
        lambda database: database.insert("INSERT INTO meta VALUES (1, 1)", ()),
        lambda database: database.transaction().__enter__(),
        lambda database: database.snapshot().__enter__(),
    ],
)
def test_a_closed_bank_is_an_error_and_not_a_crash(tmp_path: Path, use: Callable[[Database], object]) -> None:
    database = open_bank(tmp_path / "bank")
    database.close()
    database.close()
    with pytest.raises(EdgexpError, match="closed database"):
        use(database)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("SQLITE_BUSY_SNAPSHOT", "by another process"),
        ("SQLITE_LOCKED", "by another process"),
        ("SQLITE_FULL", "no space left"),
        ("SQLITE_IOERR_WRITE", "no space left"),
        ("SQLITE_IOERR_FSYNC", "no space left"),
        ("SQLITE_READONLY_DBMOVED", "check the permissions"),
        ("SQLITE_CANTOPEN_ISDIR", "cannot be opened"),
        ("SQLITE_NOTADB", "not a bank"),
        ("SQLITE_CORRUPT_INDEX", "restore it from a copy"),
        ("SQLITE_MISUSE", "what SQLite said"),
        (None, "what SQLite said"),
    ],
)
def test_every_failure_of_sqlite_has_words_of_its_own(tmp_path: Path, name: str | None, said: str) -> None:
    error = sqlite3.OperationalError("what SQLite said")
    if name:
        error.sqlite_errorname = name
    text = str(schema._explained(tmp_path / "bank" / "bank.sqlite3", error))
    assert said in text and str(tmp_path / "bank") in text and "\n" not in text


@given(st.binary(min_size=2, max_size=300))  # a file of one byte is an empty one to SQLite
def test_a_file_of_any_bytes_is_no_bank_and_stays_what_it_is(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("bank")
    (folder / "bank.sqlite3").write_bytes(content)
    for readonly in (True, False):
        with pytest.raises(EdgexpError):
            open_bank(folder, readonly=readonly)
        assert (folder / "bank.sqlite3").read_bytes() == content
