"""A server of the Model Context Protocol as a child process: what tools it has, and what a call of one gives.

JSON-RPC in lines over standard input and output: `initialize`, `tools/list`, `tools/call`. The official package does the same in 76 MB
with an event loop of its own; here it is one program among those that `program.py` keeps in check, with limits on time and length.

Whatever is no message of the protocol ends the server: a hang, a death, other text on its output, wrong types, another's answer. That a
tool fails, or that the server refuses a call, is an answer. Knows no tasks.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec

import edgexp
from edgexp.environments import plain
from edgexp.environments.bridges.program import Program, ProgramFailed
from edgexp.environments.calls import Tool, shape_of
from edgexp.errors import EdgexpError, UsageError

VERSION = "2025-11-25"
"""The newest version of the protocol with a handshake; servers answer with the one that they speak."""
START_SECONDS = 60.0
"""How long a server may take for each answer before it can be used."""
MOST_PAGES = 100
MOST_MESSAGES = 10_000
"""Messages between a question and its answer."""
_INHERITED = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "TMPDIR", "SYSTEMROOT", "APPDATA", "USERPROFILE", "PATHEXT")
"""Variables that a server sees; others only where its entry names them."""


class Entry(msgspec.Struct, frozen=True):
    """What a file says of a server. Keys that other programs have besides are passed over."""

    command: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    cwd: str = ""
    url: str = ""
    disabled: bool = False
    timeout_ms: float | None = None


class Refusal(EdgexpError):
    """The server says that it cannot do what it was asked for, and goes on."""


class McpServer:
    """A running server. Not for several threads at once."""

    def __init__(self, name: str, entry: Entry, folder: Path, seconds: float) -> None:
        """Start it in `folder`, and shake hands; `seconds` is how long an answer may take. Raises UsageError, EdgexpError."""
        self.who = f"mcp server {plain.one_line(name, 80)}"
        self._seconds = seconds if entry.timeout_ms is None else entry.timeout_ms / 1000
        self._number = 0
        self._changed = False
        variables = {**{key: os.environ[key] for key in _INHERITED if key in os.environ}, **entry.env}
        self._program = Program(_words(entry, folder, variables, self.who), folder, variables)
        try:
            self.version = self._shake_hands()
            self._tools = self._list_tools()
        except BaseException:
            self.close()
            raise

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._program.alive()

    def tools(self) -> list[Tool]:
        """Its tools, asked for again where it has said that they are others now."""
        if self._changed:
            self._changed = False
            self._tools = self._list_tools()
        return self._tools

    def call(self, name: str, arguments: Mapping[str, Any]) -> tuple[str, bool]:
        """What a call gives as text, and whether it failed. Raises EdgexpError where the server itself fails, and has been ended."""
        try:
            answer = self._ask("tools/call", {"name": name, "arguments": arguments}, self._seconds)
        except Refusal as error:
            return f"error: {error}", True
        failed = answer.get("isError", False)
        if not isinstance(failed, bool):
            self._end(f"its isError is {plain.shown(failed)}, and true or false is wanted")
        text = self._words_of(answer)
        return (f"error: {text}" if failed and not text.lower().startswith("error") else text), failed

    def close(self) -> None:
        """End it: its input ends, and after a second it is killed."""
        self._program.close()

    def _shake_hands(self) -> str:
        about = {"name": "edgexp", "version": edgexp.__version__}
        answer = self._ask("initialize", {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": about}, START_SECONDS)
        said = answer.get("serverInfo", {})
        if not isinstance(answer.get("protocolVersion"), str) or not isinstance(said, dict):
            self._end("its answer to initialize has no protocolVersion, or a serverInfo that is no object")
        self._say({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return f"{said.get('name', '')} {said.get('version', '')}".strip()[:200]

    def _list_tools(self) -> list[Tool]:
        found: list[Tool] = []
        asked: dict[str, Any] = {}
        for _ in range(MOST_PAGES):
            answer = self._ask("tools/list", asked, START_SECONDS)
            listed, cursor = answer.get("tools"), answer.get("nextCursor")
            if not isinstance(listed, list) or not isinstance(cursor, str | None):
                self._end("its answer to tools/list has no list of tools, or a nextCursor that is no text")
            found += [self._tool(one) for one in listed]
            if cursor is None:
                return found
            asked = {"cursor": cursor}
        self._end(f"its list of tools has more than {MOST_PAGES} pages")

    def _tool(self, said: Any) -> Tool:
        name, schema = (said.get("name"), said.get("inputSchema")) if isinstance(said, dict) else (None, None)
        if not isinstance(said, dict) or not isinstance(name, str) or not name or not isinstance(schema, dict):
            self._end(f"a tool that it lists has no name, or no inputSchema: {plain.shown(said)}")
        description = said.get("description") or ""
        return _understood(Tool(name, description if isinstance(description, str) else "", _closed(schema)))

    def _words_of(self, answer: Mapping[str, Any]) -> str:
        """The contents of an answer as text; what it says as data where it has no contents."""
        parts = answer.get("content", [])
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            self._end(f"the content of its answer is {plain.shown(parts)}, and a list of objects is wanted")
        texts = [self._part(part) for part in parts]
        if not texts and answer.get("structuredContent") is not None:
            return json.dumps(answer["structuredContent"], ensure_ascii=False)
        return "\n".join(texts)

    def _part(self, part: Mapping[str, Any]) -> str:
        kind, inner = part.get("type"), part.get("resource")
        if isinstance(inner, dict):
            text = inner.get("text", inner.get("uri"))
        else:
            text = part.get("text") if kind == "text" else part.get("uri", "")
        if not isinstance(kind, str) or not isinstance(text, str):
            self._end(f"a part of its answer has no type, or no text: {plain.shown(part)}")
        return text or f"[{plain.one_line(kind, 40)}]"

    # Messages

    def _ask(self, method: str, params: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """The result of a request. Raises Refusal where the server answers with an error, EdgexpError where it does not answer."""
        self._number += 1
        self._say({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        until = time.monotonic() + seconds
        for _ in range(MOST_MESSAGES):
            try:
                line = self._program.hear(max(0.001, until - time.monotonic()))
            except ProgramFailed as error:
                raise EdgexpError(f"{self.who}: {method}: {error}") from error
            if (answer := self._read(line, method)) is not None:
                return answer
        self._end(f"{method}: more than {MOST_MESSAGES:,} messages came before the answer")

    def _read(self, line: bytes, method: str) -> dict[str, Any] | None:
        """The result that a line holds; None where it is not the answer."""
        if not line.strip():
            return None
        try:
            message = msgspec.json.decode(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            self._end(f"{method}: it wrote what is no message of the protocol: {plain.shown(line.strip()[:200])}")
        if isinstance(message.get("method"), str):
            self._hear(message)
            return None
        if message.get("id") != self._number or isinstance(message.get("id"), bool):
            if message.get("id") is None and "error" in message:  # it could not read the question
                self._end(f"{method}: it said the error {_error(message['error'])}")
            self._end(f"{method}: it answered {plain.shown(message.get('id'))}, and was asked {self._number}")
        if "error" in message:
            raise Refusal(_error(message["error"]))
        result = message.get("result")
        if not isinstance(result, dict):
            self._end(f"{method}: its result is {plain.shown(result)}, and an object is wanted")
        return result

    def _hear(self, message: Mapping[str, Any]) -> None:
        """Take note of what the server says, or asks, by itself."""
        self._changed |= message["method"] == "notifications/tools/list_changed"
        if isinstance(identity := message.get("id"), str | int):
            known = message["method"] == "ping"
            answer: dict[str, Any] = {"result": {}} if known else {"error": {"code": -32601, "message": "Method not found"}}
            self._say({"jsonrpc": "2.0", "id": identity, **answer})

    def _say(self, message: Mapping[str, Any]) -> None:
        self._program.say(json.dumps(message).encode() + b"\n")  # ASCII, so that lone surrogates stay JSON

    def _end(self, why: str) -> NoReturn:
        self._program.close(0)
        raise EdgexpError(f"{self.who}: {why}; it was ended")


def _error(said: Any) -> str:
    message = said.get("message") if isinstance(said, dict) else said
    return plain.one_line(message if isinstance(message, str) else plain.shown(message), 2_000)


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema that takes the arguments it names and no others, unless it says that it does."""
    return {"additionalProperties": False, **schema} if schema.get("type", "object") == "object" else schema


def _understood(tool: Tool) -> Tool:
    """The tool; where its schema is beyond us, one that takes any value for each argument that the schema names."""
    try:
        shape_of(tool)
    except EdgexpError:
        named = tool.parameters.get("properties")
        names = [name for name in named if isinstance(name, str)] if isinstance(named, dict) else []
        asked = tool.parameters.get("required")
        required = [name for name in asked if name in names] if isinstance(asked, list) else []
        return Tool(tool.name, tool.description, {"type": "object", "properties": {name: {} for name in names}, "required": required})
    return tool


def _words(entry: Entry, folder: Path, variables: Mapping[str, str], who: str) -> list[str]:
    """The command line of a server. Raises UsageError where its program is not there."""
    command = str(folder / entry.command) if entry.command.startswith(("./", "../")) else os.path.expanduser(entry.command)  # noqa: PTH111
    if any("\0" in word for word in (command, *entry.args, *variables.values())):
        raise UsageError(f"{who}: its command or its variables hold a NUL")
    found = shutil.which(command, path=variables.get("PATH"))
    if found is None and command in ("python", "python3"):
        found = sys.executable
    if found is None:
        raise UsageError(f"{who}: there is no program {plain.shown(entry.command)}")
    return [found, *entry.args]
