"""What there is to do with the servers of an `mcpServers` file: tasks in TOML beside it, each with a check. Knows no server.

`agents.json` has its tasks in `agents.toml`. docs/environments.md says what may stand there.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgexp import files, settings
from edgexp.environments import plain
from edgexp.environments.boundary import LONGEST_ACTION, LONGEST_GOAL
from edgexp.environments.bridges.mcp_client import Entry
from edgexp.environments.calls import BadCall, Call, parse_call
from edgexp.errors import EdgexpError, UsageError

LARGEST_FILE = 1_000_000
"""Bytes of a file that a check looks at."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a task is done. One of `call`, `file` and `called`."""

    call: str = ""
    """It is done when this call of ours, made after every action, gives what `says` or `contains` names."""
    file: str = ""
    """It is done when this file of the folder holds that; without them, when it is there."""
    called: str = ""
    """It is done when the agent has made this call, and maybe with more arguments, and its tool did not fail."""
    says: str | None = None
    """Exactly this, but for blanks around it."""
    contains: tuple[str, ...] = ()
    """All of these, anywhere."""
    gone: bool = False
    """The file is not there, or the tool fails."""


class McpTask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A task."""

    name: str
    instruction: str
    check: Check
    split: str = "test"
    type: str = "tools"
    max_steps: int = 10
    files: dict[str, str] = {}
    """Path → content of files that are written into the folder first."""
    setup: tuple[str, ...] = ()
    """Calls that are made first."""
    look: str = ""
    """A call whose result is the first observation."""
    solution: tuple[str, ...] = ()
    """Calls that lead to success, for the expert and for whoever tests the task."""


class McpTasks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of tasks."""

    task: tuple[McpTask, ...]
    folder: str = ""
    """A folder that the servers work on. Each episode has a copy, whose path takes the place of the folder's in what starts a server."""
    keep: bool = False
    """The servers are not started anew for each episode."""
    seconds: float = 60.0
    """How long a call may take."""
    output: int = 4_000
    """Characters of a result that are shown."""
    only: tuple[str, ...] = ()
    """The tools that are offered; without it all."""


def read_servers(path: Path) -> dict[str, Entry]:
    """The servers that a file names, without those that are disabled. Raises EdgexpError naming what is wrong."""
    where = files.shown(path)
    try:
        table = msgspec.json.decode(files.decode_text(path.read_bytes(), where))
    except OSError as error:
        raise UsageError(f"{where}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise EdgexpError(f"{where}: not JSON: {error}") from error
    named = table.get("mcpServers") if isinstance(table, dict) else None
    if not isinstance(named, dict):
        raise EdgexpError(f'{where}: it has no "mcpServers", as in {{"mcpServers": {{"time": {{"command": "mcp-server-time"}}}}}}')
    found = {name: settings.convert(entry, Entry, f"{where}: mcpServers.{name}") if isinstance(entry, dict) else Entry()
             for name, entry in named.items()}  # fmt: skip
    for name, entry in found.items():
        if not entry.command and not entry.disabled:
            what = "a url: only servers that are programs can be used here" if entry.url else "no command"
            raise EdgexpError(f"{where}: mcpServers.{name} has {what}")
        if entry.timeout_ms is not None and not 0 < entry.timeout_ms <= 3_600_000:
            raise EdgexpError(f"{where}: mcpServers.{name}.timeout_ms: a number from 1 to 3,600,000 is wanted")
    running = {name: entry for name, entry in found.items() if not entry.disabled}
    if not running:
        raise EdgexpError(f"{where}: mcpServers names no server")
    return running


def read_tasks(path: Path) -> McpTasks:
    """The tasks of a file. Raises UsageError where there is none, EdgexpError naming what is wrong."""
    where = files.shown(path)
    if not path.is_file():
        raise UsageError(f'{where}: there are no tasks; write [[task]] with name, instruction and check into this file, since MCP has none')
    found = settings.convert(settings.decode(settings.read(path), where), McpTasks, where)
    for wrong in _wrong(found):
        raise EdgexpError(f"{where}: {wrong}")
    return found


def _wrong(tasks: McpTasks) -> list[str]:
    """What is wrong with the tasks; nothing in most."""
    found = []
    if not tasks.task:
        found.append("task: at least one is wanted")
    if len({task.name for task in tasks.task}) < len(tasks.task):
        found.append("task: two have one name")
    if not 0 < tasks.seconds <= 3_600 or not 0 < tasks.output <= 100_000:
        found.append("seconds, output: a number above 0 is wanted, at most 3,600 and 100,000")
    if tasks.keep and tasks.folder:
        found.append("keep: servers that work on a folder are started anew, with a copy of it")
    for task in tasks.task:
        found += [f"task {plain.shown(task.name)}: {wrong}" for wrong in _wrong_task(task, has_folder=bool(tasks.folder))]
    return found


def _wrong_task(task: McpTask, *, has_folder: bool) -> list[str]:
    check, found = task.check, []
    if not all(map(_NAME.fullmatch, (task.name, task.split, task.type))):
        found.append("name, split, type: letters, digits, dots, hyphens and underscores are wanted")
    if not task.instruction.strip() or len(task.instruction) > LONGEST_GOAL:
        found.append(f"instruction: a text of at most {LONGEST_GOAL:,} characters is wanted")
    if not 0 < task.max_steps <= 10_000:
        found.append("max_steps: a number from 1 to 10,000 is wanted")
    if sum(map(bool, (check.call, check.file, check.called))) != 1:
        found.append("check: one of call, file and called is wanted")
    if check.called and (check.says is not None or check.contains or check.gone):
        found.append("check: called stands alone")
    if check.call and check.says is None and not check.contains and not check.gone:
        found.append("check: call needs says, contains or gone")
    if check.gone and (check.says is not None or check.contains):
        found.append("check: gone needs no says and no contains")
    paths = [*task.files, *([check.file] if check.file else [])]
    if paths and not has_folder:
        found.append("files, check.file: name the folder that they are in (folder = …, at the top)")
    if any(not is_inside(path) for path in paths):
        found.append("files, check.file: the path of a file in the folder is wanted, without ..")
    for call in (*task.setup, *task.solution, *(text for text in (task.look, check.call, check.called) if text)):
        try:
            parse_call(call)
        except BadCall as error:
            found.append(f"{plain.shown(call)} is no call: {error}")
        if len(call) > LONGEST_ACTION:
            found.append("a call is too long")
    texts = (task.instruction, check.says or "", *check.contains, *task.files, *task.files.values())
    if any("\0" in text or not plain.is_writable(text) for text in texts):
        found.append("a text holds what cannot be written")
    return found


def is_inside(path: str) -> bool:
    """Whether a path names something below a folder, wherever that is."""
    parts = re.split(r"[/\\]", path)
    return bool(path) and ".." not in parts and "" not in parts and ":" not in path and "\0" not in path


def holds(check: Check, text: str) -> bool:
    """Whether a text is what a check wants of it."""
    if check.says is not None:
        return text.strip() == check.says.strip() and all(part in text for part in check.contains)
    return all(part in text for part in check.contains)


def file_holds(check: Check, folder: Path) -> bool:
    """Whether the file of a check is as it should be. Links that lead out of the folder lead nowhere."""
    path = folder / check.file
    try:
        if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file() or path.stat().st_size > LARGEST_FILE:
            return check.gone and not os.path.lexists(path)
        return not check.gone and holds(check, path.read_bytes().decode("utf-8", "replace"))
    except (OSError, ValueError, RuntimeError):
        return False


def is_called(check: Check, calls: Sequence[Call]) -> bool:
    """Whether one of the calls is the one that a check wants; it may have more arguments."""
    wanted = parse_call(check.called)
    return any(call.name == wanted.name and all(
        key in call.arguments and call.arguments[key] == value for key, value in wanted.arguments.items()) for call in calls)  # fmt: skip


def replaced(value: Any, old: str, new: str) -> Any:
    """A JSON value in which every text names another folder; what cannot be written is a question mark."""
    if isinstance(value, str):
        return renamed(value.encode("utf-8", "replace").decode(), old, new)
    if isinstance(value, list | tuple):
        return [replaced(part, old, new) for part in value]
    if isinstance(value, dict):
        return {replaced(key, "", ""): replaced(part, old, new) for key, part in value.items()}
    return value


def renamed(text: str, old: str, new: str) -> str:
    """A text in which a folder has another name: where it stands alone or is the beginning of a path."""
    if not old or old not in text:
        return text
    return re.sub(rf"(?<![\w.-]){re.escape(old)}(?![\w-])", lambda _: new, text)
