"""One SQL statement against a file of SQLite's, in a child process with limits; with a check's query after it.

The statement reaches that file and nothing else: no ATTACH (nor VACUUM INTO, which is one), no extensions, no virtual tables, no pragmas
but those that show the tables. Each statement has a connection of its own: what it begins and does not commit is gone. Knows no tasks.
"""

import contextlib
import sqlite3
import sys
from pathlib import Path
from typing import Any

import msgspec

from edgexp.environments import plain
from edgexp.environments.bridges.sandbox import Limits
from edgexp.errors import EdgexpError
from edgexp.process import ChildDied, Progress, call

MOST_ROWS = 1_000
"""Rows of a result that are kept."""
LONGEST_VALUE = 1_000_000
"""Bytes of one value, and of one statement."""
_SHOWING = ("table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list")
_FORBIDDEN = {
    sqlite3.SQLITE_ATTACH: "ATTACH", sqlite3.SQLITE_DETACH: "DETACH", sqlite3.SQLITE_CREATE_VTABLE: "a virtual table",
    sqlite3.SQLITE_DROP_VTABLE: "a virtual table",
}  # fmt: skip

Rows = list[list[int | float | str | None]]


class Asked(msgspec.Struct, frozen=True):
    """Statements for the child: one of an agent, or a script of ours; then a query whose rows are told."""

    database: str
    limits: Limits
    statement: str = ""
    script: str = ""
    query: str = ""


class Told(msgspec.Struct, frozen=True):
    """What came of it."""

    text: str = ""
    rows: Rows | None = None
    """Of the statement, where it gave any, at most MOST_ROWS."""
    checked: Rows | None = None
    """Of the query; None where there was none, or it failed."""
    problem: str = ""
    """Why the script or the query failed."""


def ask_database(asked: Asked) -> Told:
    """What a child says. Where it takes too long or dies, the text says so."""
    try:
        return call(answer, asked, "the statement", limit=asked.limits.seconds + 20 * (sys.platform == "win32"))
    except ChildDied as error:
        why = f"took longer than {asked.limits.seconds:g} s" if error.code is None else "used more than it may"
        return Told(f"The statement {why} and was ended.", problem="it was ended")
    except EdgexpError as error:
        return Told(plain.one_line(str(error)), problem=plain.one_line(str(error)))


def answer(asked: Asked, report: Progress) -> Told:
    """The child's work."""
    _limit_process(asked.limits)
    text, rows, problem = "", None, ""
    if asked.script:
        with contextlib.closing(sqlite3.connect(asked.database)) as connection:
            try:
                connection.executescript(asked.script)
            except (sqlite3.Error, sqlite3.Warning) as error:
                return Told(problem=_words(error))
    if asked.statement:
        text, rows = _run(asked.database, asked.statement, asked.limits)
    checked = None
    if asked.query:
        checked_text, checked = _run(asked.database, asked.query, asked.limits)
        problem = "" if checked is not None else checked_text
    return Told(text, rows, checked, problem)


def _run(database: str, statement: str, limits: Limits) -> tuple[str, Rows | None]:
    """What a statement says to people, and its rows."""
    if len(statement) > LONGEST_VALUE // 4 or not plain.is_writable(statement):
        return "The statement is too long, or no text.", None
    why: list[str] = []
    try:
        with contextlib.closing(_open(database, limits, why)) as connection:
            cursor = connection.execute(statement)
            if cursor.description is None:
                return f"OK, {max(0, cursor.rowcount)} rows changed.", None
            names, found = [column[0] for column in cursor.description], cursor.fetchmany(MOST_ROWS + 1)
            rows = [[_value(value) for value in row] for row in found[:MOST_ROWS]]
            return _table(names, rows, len(found) > MOST_ROWS, limits.output), rows
    except MemoryError:
        return "Error: the statement needs more memory than it may use.", None
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
        return f"Error: {why[0] if why else _words(error)}", None


def _open(database: str, limits: Limits, why: list[str]) -> sqlite3.Connection:
    """A connection that can do no harm. `why` takes the reason for which a statement was refused."""
    connection = sqlite3.connect(database, isolation_level=None, timeout=1)
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    size = connection.execute("PRAGMA page_size").fetchone()[0]
    for setting in (f"max_page_count = {max(1, limits.disk * 1_000_000 // size)}", "temp_store = MEMORY", "trusted_schema = OFF",
                    f"hard_heap_limit = {limits.memory * 1_000_000}", "foreign_keys = ON"):  # fmt: skip
        connection.execute(f"PRAGMA {setting}").fetchall()
    for kind, most in ((sqlite3.SQLITE_LIMIT_ATTACHED, 0), (sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)):
        connection.setlimit(kind, most)

    def judge(action: int, first: str | None, second: str | None, *_: Any) -> int:
        refused = _FORBIDDEN.get(action, "")
        if action == sqlite3.SQLITE_PRAGMA and (first or "").lower() not in _SHOWING:
            refused = f"PRAGMA {first}"
        if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in ("load_extension", "fts3_tokenizer"):
            refused = str(second)
        if refused:
            why.append(f"{refused} is not allowed here")
        return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK

    connection.set_authorizer(judge)
    return connection


def _limit_process(limits: Limits) -> None:
    """Limits of the system, where it has them: files by the disk, and memory a good deal above SQLite's own limit."""
    if sys.platform == "win32":
        return
    import resource

    for kind, most in ((resource.RLIMIT_FSIZE, 2 * limits.disk * 1_000_000), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (most, most))
    with contextlib.suppress(OSError, ValueError):
        most = limits.memory * 1_000_000 + 1_000_000_000
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _value(value: object) -> int | float | str | None:
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    if isinstance(value, float) and value not in (float("inf"), float("-inf")):
        return value
    return value if value is None or isinstance(value, int | str) else str(value)


def _table(names: list[str], rows: Rows, more: bool, most: int) -> str:
    lines = [" | ".join(names), *(" | ".join("NULL" if value is None else str(value) for value in row) for row in rows)]
    count = f"({'more than ' if more else ''}{len(rows)} row{'' if len(rows) == 1 else 's'})"
    body = "\n".join(lines).replace("\0", "\ufffd")
    return f"{body[:most]}\n(cut)\n{count}" if len(body) > most else f"{body}\n{count}"


def _words(error: BaseException) -> str:
    return plain.one_line(str(error), 300)


def same_rows(found: Rows | None, wanted: Rows, *, ordered: bool = False) -> bool:
    """Whether rows are those that are wanted; in whatever order, unless it counts. Numbers are equal that differ by rounding only."""
    if found is None or len(found) != len(wanted):
        return False
    if not ordered:
        found, wanted = sorted(found, key=_key), sorted(wanted, key=_key)
    return all(len(one) == len(other) and all(map(_same, one, other)) for one, other in zip(found, wanted, strict=True))


def _key(row: list[Any]) -> list[tuple[str, str]]:
    return [("number", f"{value:030.6f}") if isinstance(value, int | float) else ("text", str(value)) for value in row]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or abs(one - other) <= 1e-9 * max(1.0, abs(one), abs(other))
    return type(one) is type(other) and one == other


def is_database(path: Path) -> bool:
    """Whether a file begins as SQLite's do, or is empty."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(16) in (b"", b"SQLite format 3\0")
    return False
