"""Tools of other people's servers as an environment: `mcp:FILE` reads an `mcpServers` file, and the tasks in TOML beside it.

An action is a call of a tool. It goes to the server, and its result is the observation. Success is what the task's check says, which is
asked after every action. The servers are started anew for each episode, on a copy of the tasks' folder, which everybody sees as `/desk`.
A server that fails ends the episode with one line. Tools do what they do anywhere: only the folder is a copy. Knows no server by name.
"""

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from edgexp import files
from edgexp.environments import plain
from edgexp.environments.base import Expert, Outcome, Start
from edgexp.environments.bridges.mcp_client import Entry, McpServer
from edgexp.environments.bridges.mcp_tasks import (
    McpTask,
    file_holds,
    holds,
    is_called,
    read_servers,
    read_tasks,
    renamed,
    replaced,
)
from edgexp.environments.bridges.sandbox import PLACE, remove
from edgexp.environments.calls import Call, Tool, describe_tools, parse_call, read_calls
from edgexp.environments.splits import check_split
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Task

Value = TypeVar("Value")


class McpServers:
    """The servers of a file, and what there is to do with them."""

    remote = True
    """Other episodes go on while a server works."""
    most_calls = 1
    max_steps = 10

    def __init__(self, file: str) -> None:
        """Read the file and its tasks, and start the servers once. Raises UsageError, EdgexpError."""
        self._file = Path(file).expanduser().absolute()
        if not file.strip() or not self._file.is_file():
            raise UsageError(f'mcp:{plain.one_line(file, 200)}: there is no such file; it is one with "mcpServers", as other programs have')
        self._who = f"mcp:{files.shown(file)}"
        self._entries = read_servers(self._file)
        beside = self._file.with_suffix(".toml")
        self._settings = read_tasks(beside)
        self._root = (self._file.parent / self._settings.folder).resolve() if self._settings.folder else None
        if self._root is not None and not self._root.is_dir():
            raise UsageError(f"{files.shown(beside)}: folder: there is no folder {files.shown(self._root)}")
        self.name = "mcp-" + (re.sub(r"[^a-z0-9._-]+", "-", self._file.stem.lower()).strip("-.") or "servers")
        self._by_name = {f"{self.name}/{task.split}/{task.name}": task for task in self._settings.task}
        self.restarts = 0
        """How often a server has failed and had to be started anew."""
        self._failed = False
        self._servers: dict[str, McpServer] = {}
        self._copy: Path | None = None
        self._free: Callable[[], object] = lambda: None  # removes the copy
        self._task: McpTask | None = None
        self._over = False
        self._made: list[Call] = []
        self._fresh = True
        """Nothing has happened to what runs."""
        self._tools = self._guarded(self._start)
        said = [server.version for server in self._servers.values()]
        self.version = _digest([self._file, beside], self._root, said)
        if any(task.solution for task in self._settings.task):
            self.expert = self._expert

    def splits(self) -> Sequence[str]:
        """The splits that tasks name, sorted."""
        return tuple(sorted({task.split for task in self._settings.task}))

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split, as they stand in the file. Raises UsageError for an unknown split."""
        check_split(self.name, split, self.splits())
        return [self.task(name) for name, task in self._by_name.items() if task.split == split]

    def task(self, task_id: str) -> Task:
        """The task of that id. Raises UsageError where there is none."""
        if task_id not in self._by_name:
            raise UsageError(f"{self.name} has no task {plain.shown(task_id)}; its ids look like {next(iter(self._by_name))}")
        task = self._by_name[task_id]
        return Task(task_id, self.name, task.split, task.type)

    def instructions(self) -> str:
        """How to act, and which tools there are."""
        return f"Do what the goal asks for. Answer with one call of a tool:\n{describe_tools(self._tools)}"

    def tools(self) -> Sequence[Tool]:
        """The servers' tools, as they are now."""
        if self._task is not None and not self._over:
            self._tools = self._guarded(self._offered)
        return self._tools

    def reset(self, task: Task) -> Start:
        """Begin an episode. Raises EdgexpError where a server or the setup fails, or the task is done before anything was done."""
        chosen = self._by_name.get(task.id)
        self._drop(servers=not self._settings.keep and not (self._fresh and chosen and not chosen.files))
        if task != self.task(task.id):
            raise UsageError(f"{task.id}: this is not {self.name}'s own task of that id; get it from task({task.id!r})")
        assert chosen
        self._fresh = False
        seen = self._guarded(lambda: self._begin(chosen, task.id))
        self._task, self._over, self.max_steps = chosen, False, chosen.max_steps
        return Start(chosen.instruction.strip(), seen)

    def step(self, action: str) -> Outcome:
        """Make a call, and ask the check. Raises EdgexpError before a reset, after the end, and where a server fails."""
        task = self._task
        if task is None:
            raise EdgexpError("no episode is under way: reset the environment with a task first")
        if self._over:
            raise EdgexpError("the episode is over: reset the environment before the next action")
        (call,) = read_calls(action, self._tools, 1)
        seen, done = self._guarded(lambda: self._act(task, call))
        self._over = done
        return Outcome(seen, float(done), done, done, float(done))

    def close(self) -> None:
        """End the servers and drop the copy; a reset starts them again."""
        self._drop(servers=True)

    def solution(self) -> list[str]:
        """The calls that the task under way names as its solution."""
        return list(self._task.solution) if self._task else []

    # Episodes

    def _begin(self, task: McpTask, task_id: str) -> str:
        self._prepare_folder(task.files)
        self._tools = self._start()
        for text in task.setup:
            seen, failed = self._call(parse_call(text))
            if failed:
                raise EdgexpError(f"{task_id}: its setup {plain.shown(text)} failed: {plain.one_line(seen, 300)}")
        self._made = []
        if self._is_done(task):
            raise EdgexpError(f"{task_id}: its check holds before anything was done")
        return self._call(parse_call(task.look))[0] if task.look else ""

    def _act(self, task: McpTask, call: Call) -> tuple[str, bool]:
        seen, failed = self._call(call)
        if not failed:
            self._made.append(call)
        return seen or "(nothing)", self._is_done(task)

    def _is_done(self, task: McpTask) -> bool:
        check = task.check
        if check.called:
            return is_called(check, self._made)
        if check.file:
            return self._copy is not None and file_holds(check, self._copy)
        seen, failed = self._call(parse_call(check.call), whole=True)
        return failed if check.gone else not failed and holds(check, seen)

    def _call(self, call: Call, *, whole: bool = False) -> tuple[str, bool]:
        """What a call gives, cut unless the `whole` is wanted, and whether it failed."""
        server, name = self._names().get(call.name, (None, ""))
        if server is None:
            raise EdgexpError(f"{self._who}: there is no tool {plain.shown(call.name)}; there is {', '.join(self._names())[:500]}")
        real = str(self._copy) if self._copy else ""
        seen, failed = server.call(name, replaced(dict(call.arguments), PLACE if real else "", real))
        seen, most = (seen.replace(real, PLACE) if real else seen).replace("\0", "\ufffd"), self._settings.output
        return (seen if whole or len(seen) <= most else f"{seen[:most]}\n(and {len(seen) - most:,} characters more)"), failed

    # Servers

    def _start(self) -> list[Tool]:
        """Start the servers that do not run; the tools that all have."""
        self._prepare_folder({})
        for name, entry in self._entries.items():
            if name in self._servers and not self._servers[name].alive():
                self._servers.pop(name).close()
            if name not in self._servers:
                self.restarts += self._failed
                self._failed = False
                moved, folder = self._moved(entry)
                self._servers[name] = McpServer(name, moved, folder, self._settings.seconds)
        return self._offered()

    def _moved(self, entry: Entry) -> tuple[Entry, Path]:
        """What starts a server, with the copy in the place of the tasks' folder, and the folder that it starts in."""
        folder = Path(self._file.parent, os.path.expanduser(entry.cwd)).resolve()  # noqa: PTH111 - an absolute one stays what it is
        if self._root is None or self._copy is None:
            return entry, folder
        old, new, copy = str(self._root), str(self._copy), self._copy

        def moved(text: str) -> str:
            with contextlib.suppress(OSError, ValueError, RuntimeError):
                inside = Path(folder, text).resolve()
                if text and not text.startswith("-") and inside.is_relative_to(old):
                    return str(copy / inside.relative_to(old))
                if "/" in text and folder.is_relative_to(old) and inside.exists():  # it starts elsewhere than where this leads from
                    return str(inside)
            return renamed(text, old, new)

        args, env = tuple(map(moved, entry.args)), {name: moved(value) for name, value in entry.env.items()}
        return msgspec.structs.replace(entry, args=args, env=env), Path(moved(str(folder)))

    def _names(self) -> dict[str, tuple[McpServer, str]]:
        """A tool's name → its server, and what that calls it. Names that several servers have begin with the server's."""
        listed = [(name, server, tool.name) for name, server in self._servers.items() for tool in server.tools()]
        counts = Counter(tool for _, _, tool in listed)
        return {tool if counts[tool] == 1 else f"{name}.{tool}": (server, tool) for name, server, tool in listed}

    def _offered(self) -> list[Tool]:
        """The tools under the names that they have here."""
        only = self._settings.only
        tools = {(id(server), tool.name): tool for server in self._servers.values() for tool in server.tools()}
        found = [msgspec.structs.replace(tools[id(server), tool], name=name) for name, (server, tool) in self._names().items()
                 if not only or name in only]  # fmt: skip
        if not found:
            raise EdgexpError(f"{self._who}: its servers have no tools{' of those that `only` names' if only else ''}")
        return found

    def _guarded(self, work: Callable[[], Value]) -> Value:
        """Do something with the servers; if that fails, the episode is over, and all are started anew for the next one."""
        try:
            return work()
        except BaseException as error:
            self._failed |= isinstance(error, EdgexpError) and any(not server.alive() for server in self._servers.values())
            self._drop(servers=True)
            if isinstance(error, OSError):
                raise EdgexpError(f"{self._who}: {plain.explain(error)}") from error
            raise

    def _prepare_folder(self, more: Mapping[str, str]) -> None:
        """A copy of the folder where there is none, and more files in it."""
        if self._root is None:
            return
        if self._copy is None:
            place = Path(tempfile.mkdtemp(prefix="edgexp-mcp-")).resolve() / "work"
            self._free = weakref.finalize(self, remove, place.parent)
            shutil.copytree(self._root, place, symlinks=True, ignore=_odd)
            self._copy = place
        for name, text in more.items():
            path = self._copy / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def _drop(self, *, servers: bool) -> None:
        self._task = None
        if servers:
            for server in self._servers.values():
                server.close()
            self._servers.clear()
            self._copy = None
            self._free()

    def _expert(self) -> Expert:
        return Caller(self)


class Caller:
    """Plays the solution of the task under way."""

    def __init__(self, environment: McpServers) -> None:
        self._environment, self._left = environment, list[str]()

    def begin(self, goal: str, observation: str) -> None:
        """A new episode."""
        self._left = self._environment.solution()

    def act(self, observation: str) -> str | None:
        """The next call of the solution; None at its end."""
        return self._left.pop(0) if self._left else None


def _odd(at: str, names: list[str]) -> list[str]:
    """What is no file, folder or link."""
    return [name for name in names if not ((path := Path(at, name)).is_symlink() or path.is_file() or path.is_dir())]


def _digest(settings: Sequence[Path], folder: Path | None, said: Sequence[str]) -> str:
    """A hash of all that decides which texts there are: the two files, the folder, and what the servers call themselves."""
    told = hashlib.sha256("\0".join(said).encode("utf-8", "replace"))
    for path in (*settings, *(sorted(folder.rglob("*")) if folder else ())):
        told.update(os.fsencode(path.name) + b"\0")
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                told.update(hashlib.file_digest(file, "sha256").digest())
    return told.hexdigest()[:12]
