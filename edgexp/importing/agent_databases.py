"""Sessions in databases of SQLite: Hermes agent's `state.db`, goose's `sessions.db`, and the `logs.db` of `llm`, old and new.

A database is opened for reading only, and is not trusted: what stands for a table has to be one, and a query that works too long ends.
Columns that some versions lack are taken for empty. A session that a program has split in two, to save room, is two.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from edgexp.errors import EdgexpError
from edgexp.importing.chat_records import turns_of_messages
from edgexp.importing.dialogue import Dialogue, Turn
from edgexp.importing.message_parts import arguments_of

MAGIC = b"SQLite format 3\0"
_STEP, _MOST_WORK = 1_000, 20_000
"""How many steps of so many instructions a query may work for one row."""
_LONGEST = 64_000_000
"""Bytes of one text."""
_MOST_LINKS = 100_000


Row = tuple[Any, ...]


class Tables:
    """The tables of somebody's database. Every text that it gives is one, whatever the database holds."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises EdgexpError where it cannot be read."""
        self._work = 0
        try:
            self._database = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=5)
            self._database.text_factory = lambda data: data.decode("utf-8", "replace")
            self._database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
            self._database.set_progress_handler(self._count, _STEP)
            for pragma in ("trusted_schema = OFF", "query_only = ON", "cell_size_check = ON"):
                self._database.execute(f"PRAGMA {pragma}")
            named = self._database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'create virtual%'")
            names = [name for name, _ in named.fetchall() if isinstance(name, str)]
            self.columns = {name: {row[1] for row in self._database.execute(f"PRAGMA table_info({_quoted(name)})")} for name in names}
        except sqlite3.Error as error:
            raise EdgexpError(f"the database cannot be read: {error}") from error

    def rows(self, table: str, columns: Sequence[str], order: str, where: str = "", values: Sequence[Any] = ()) -> Iterator[Row]:
        """Rows of a table; `order` is a list of columns. A column that is not there is None. Raises EdgexpError."""
        known = self.columns.get(table, set())
        wanted = ", ".join(_quoted(name) if name in known else "NULL" for name in columns)
        by = ", ".join([*(_quoted(name) for name in order.split() if name in known), "rowid"])
        self._work = 0
        try:
            for row in self._database.execute(f"SELECT {wanted} FROM {_quoted(table)} {where} ORDER BY {by}", values):
                self._work = 0
                yield row
        except sqlite3.Error as error:
            raise EdgexpError(f"the table {table} cannot be read: {error}") from error

    def has(self, wanted: Mapping[str, set[str]]) -> bool:
        """Whether there are tables with these columns, and maybe others."""
        return all(columns <= self.columns.get(table, set()) for table, columns in wanted.items())

    def close(self) -> None:
        """Free the file."""
        self._database.close()

    def _count(self) -> bool:
        self._work += 1
        return self._work > _MOST_WORK


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_KNOWN_BY: dict[str, dict[str, set[str]]] = {
    "goose": {"sessions": {"id"}, "messages": {"session_id", "role", "content_json"}},
    "hermes": {"sessions": {"id", "source"}, "messages": {"session_id", "role", "content"}},
    "llm": {"threads": {"id", "tip_message_hash"}, "messages": {"hash", "parent_hash", "role"}, "parts": {"message_hash", "type"}},
    "llm-old": {"responses": {"id", "prompt", "response", "conversation_id"}},
}
"""Format → the tables and columns that it is known by. A database of `llm` may hold both of its kinds."""


def read_database(path: Path) -> Iterator[tuple[str, Dialogue]]:
    """The sessions of a database, each with its format. Raises EdgexpError where it cannot be read, or its format is not known."""
    tables = Tables(path)
    with contextlib.closing(tables):
        forms = [name for name, wanted in _KNOWN_BY.items() if tables.has(wanted)]
        if not forms:
            raise EdgexpError("it is a database, and none of an agent that is known here: goose, Hermes agent, llm")
        for form in forms:
            for dialogue in _READERS[form](tables):
                yield form.removesuffix("-old"), dialogue


def _read_goose(tables: Tables) -> Iterator[Dialogue]:
    """Sessions of the user's and scheduled ones; of messages those that the user sees."""
    for identity, kind, created in tables.rows("sessions", ("id", "session_type", "created_at"), "created_at"):
        if kind in ("sub_agent", "hidden"):
            continue
        messages = []
        columns = ("role", "content_json", "metadata_json")
        for role, content, metadata in tables.rows("messages", columns, "created_timestamp id", "WHERE session_id = ?", (identity,)):
            about = _json(metadata)
            if not (isinstance(about, dict) and about.get("userVisible") is False):
                messages.append({"role": role, "content": _json(content)})
        yield Dialogue(turns_of_messages(messages), _place(identity), created=_text(created))


def _read_hermes(tables: Tables) -> Iterator[Dialogue]:
    """Messages that are active, in their order."""
    for identity, model, started in tables.rows("sessions", ("id", "model", "started_at"), "started_at"):
        messages = []
        columns = ("role", "content", "tool_calls", "active")
        for role, content, calls, active in tables.rows("messages", columns, "timestamp id", "WHERE session_id = ?", (identity,)):
            if active == 0:
                continue
            text = _text(content)
            parts = _json(text.removeprefix("\0json:")) if text.startswith("\0json:") else text
            messages.append({"role": _text(role), "content": parts, "tool_calls": _json(calls)})
        yield Dialogue(turns_of_messages(messages), _place(identity), model=_text(model), created=_text(started))


def _read_llm(tables: Tables) -> Iterator[Dialogue]:
    """Threads: from the last message of each back to its first."""
    models = {thread: (_text(model), _text(created)) for thread, model, created in (
        tables.rows("turns", ("thread_id", "model", "datetime_utc"), "id") if "turns" in tables.columns else ())}  # fmt: skip
    for identity, tip in tables.rows("threads", ("id", "tip_message_hash"), "id"):
        chain: list[Turn] = []
        seen: set[Any] = set()
        while tip is not None and tip not in seen and len(seen) < _MOST_LINKS:
            seen.add(tip)
            found = next(tables.rows("messages", ("parent_hash", "role"), "", "WHERE hash = ?", (tip,)), None)
            if found is None:
                break
            chain += reversed(_turns_of_parts(_text(found[1]), list(_parts_of(tables, tip))))
            tip = found[0]
        model, created = models.get(identity, ("", ""))
        yield Dialogue(chain[::-1], _place(identity), model=model, created=created)


def _parts_of(tables: Tables, message: Any) -> Iterator[Row]:
    return tables.rows("parts", ("type", "tool_name", "text", "payload"), "position", "WHERE message_hash = ?", (message,))


def _turns_of_parts(role: str, parts: Sequence[Row]) -> list[Turn]:
    text = "\n".join(_text(text) for kind, _, text, _ in parts if kind == "text" and text)
    results = [Turn("tool", _text(text) or _result(_json(payload))) for kind, _, text, payload in parts if kind == "tool_result"]
    if role == "assistant":
        calls = [(_text(name), _arguments(_json(payload))) for kind, name, _, payload in parts if kind == "tool_call"]
        return [Turn("assistant", text, tuple(calls))]
    if role == "tool":
        return results or [Turn("tool", text)]
    return [*results, *([Turn("system" if role == "system" else "user", text)] if text else [])]


def _result(payload: Any) -> str:
    value = payload.get("output", payload.get("content", payload)) if isinstance(payload, dict) else payload
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def _arguments(payload: Any) -> Any:
    return arguments_of(payload.get("arguments", payload) if isinstance(payload, dict) else payload)


def _read_old_llm(tables: Tables) -> Iterator[Dialogue]:
    """Conversations of prompts and responses; the results of tools stand beside the response that follows them."""
    calls, results = _by_response(tables, "tool_calls", "arguments"), _by_response(tables, "tool_results", "output")
    columns = ("conversation_id", "id", "prompt", "response", "model", "datetime_utc")
    for conversation, answers in groupby(tables.rows("responses", columns, "conversation_id datetime_utc id"), lambda row: row[0]):
        together = list(answers)
        for group in [[answer] for answer in together] if conversation is None else [together]:
            turns: list[Turn] = []
            for _, identity, prompt, response, _, _ in group:
                turns += [Turn("tool", _text(output)) for _, output in results.get(identity, ())]
                turns += [Turn("user", _text(prompt))] if prompt else []
                made = tuple((_text(name), arguments_of(_text(given))) for name, given in calls.get(identity, ()))
                turns.append(Turn("assistant", _text(response), made))
            yield Dialogue(turns, _place(conversation or group[0][1]), model=_text(group[0][4]), created=_text(group[0][5]))


def _by_response(tables: Tables, table: str, value: str) -> dict[Any, list[tuple[Any, Any]]]:
    found: dict[Any, list[tuple[Any, Any]]] = {}
    for response, name, said in tables.rows(table, ("response_id", "name", value), "id") if table in tables.columns else ():
        found.setdefault(response, []).append((name, said))
    return found


def _place(identity: Any) -> str:
    return f"session {_text(identity)[:80]}"


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


def _json(value: Any) -> Any:
    """What a text holds as JSON; the text where it is none."""
    if not isinstance(value, str):
        return value if not isinstance(value, bytes) else value.decode("utf-8", "replace")
    try:
        return msgspec.json.decode(value)
    except (ValueError, RecursionError):
        return value


_READERS = {"goose": _read_goose, "hermes": _read_hermes, "llm": _read_llm, "llm-old": _read_old_llm}
