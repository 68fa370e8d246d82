"""Your own tasks: a folder with a folder for each task, which holds a `task.toml` and the files that the agent finds.

An action is a command of the shell or a statement of SQL; it works on a copy. Success is what the task's check says, which is asked at the
beginning, where it must not hold yet, and after every action. docs/environments.md says what stands in a `task.toml`. Knows no game.
"""

import hashlib
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from edgexp import files, settings
from edgexp.environments import plain
from edgexp.environments.base import Expert, Outcome, Start
from edgexp.environments.boundary import LONGEST_ACTION, LONGEST_GOAL
from edgexp.environments.bridges.sandbox import Limits, find_bubblewrap, refuse_elsewhere, remove, run_command
from edgexp.environments.bridges.statements import Asked, Rows, Told, ask_database, is_database, same_rows
from edgexp.environments.splits import check_split
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Task

FILE = "task.toml"
DATABASE = "data.sqlite"
"""The database of an SQL task, where its settings name no other file."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Setup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is done to the copy before an episode."""

    command: str = ""
    """For `shell`."""
    script: str = ""
    """Statements, for `sqlite`."""


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the task is done. One of `command`, `output` for `shell`; `rows` for `sqlite`."""

    command: str = ""
    """It is done when this ends with status 0."""
    output: str | None = None
    """It is done when the agent's command says exactly this, but for blanks around it."""
    query: str = ""
    """It is done when this query gives `rows`. Without it, when the agent's statement does."""
    rows: Rows | None = None
    ordered: bool = False
    """The order of the rows counts."""


class TaskFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `task.toml`."""

    instruction: str
    kind: Literal["shell", "sqlite"]
    check: Check
    setup: Setup = Setup()
    limits: Limits = Limits()
    split: str = "test"
    type: str = ""
    """The kind, where it is left out."""
    max_steps: int = 10
    database: str = DATABASE
    solution: tuple[str, ...] = ()
    """Actions that lead to success, for the expert and for whoever tests the task."""


def read_task(text: str, where: str) -> TaskFile:
    """The settings of a task. Raises EdgexpError naming the key that is wrong."""
    task = settings.convert(settings.decode(text, where), TaskFile, where)
    for wrong in _wrong(task):
        raise EdgexpError(f"{where}: {wrong}")
    return task


def _wrong(task: TaskFile) -> list[str]:
    """What is wrong with a task; nothing in most."""
    check, limits, shell = task.check, task.limits, task.kind == "shell"
    found = []
    if not task.instruction.strip() or len(task.instruction) > LONGEST_GOAL:
        found.append(f"instruction: a text of at most {LONGEST_GOAL:,} characters is wanted")
    if shell and ((check.command == "") == (check.output is None) or check.query or check.rows is not None or check.ordered):
        found.append("check: a shell task has either a command or an output")
    if not shell and (check.rows is None or check.command or check.output is not None):
        found.append("check: an SQL task has rows, and a query where they are not the agent's own result")
    if task.setup.script if shell else task.setup.command:
        found.append("setup: a shell task has a command, an SQL task a script")
    if not 0 < task.max_steps <= 10_000:
        found.append("max_steps: a number from 1 to 10000 is wanted")
    for key, most in (("seconds", 3600), ("memory", 1_000_000), ("output", 100_000), ("disk", 1_000_000)):
        if not 0 < getattr(limits, key) <= most:
            found.append(f"limits.{key}: a number above 0, at most {most:,}, is wanted")
    if not _NAME.fullmatch(task.split) or (task.type and not _NAME.fullmatch(task.type)):
        found.append("split, type: letters, digits, dots, hyphens and underscores are wanted")
    parts = re.split(r"[/\\]", task.database)
    if not task.database or ".." in parts or "" in parts or "\0" in task.database or ":" in task.database or task.database == FILE:
        found.append("database: the path of a file in the task's folder is wanted")
    if any(not action.strip() or len(action) > LONGEST_ACTION for action in task.solution):
        found.append("solution: a list of actions is wanted")
    texts = [task.instruction, check.command, check.output or "", check.query, task.setup.command, task.setup.script, *task.solution]
    if any("\0" in text or not plain.is_writable(text) for text in texts):
        found.append("a text holds what cannot be written")
    return found


class TasksFolder:
    """The tasks of a folder."""

    remote = True
    """Other episodes go on while a command runs."""
    max_steps = 10

    def __init__(self, folder: str, sandbox: bool | None = None) -> None:
        """`sandbox` says whether commands run under bubblewrap; left out, EDGEXP_NO_SANDBOX does.

        Raises UsageError where there is no sandbox, EdgexpError where a task cannot be read.
        """
        self._root = Path(folder).expanduser().absolute()
        self._files = _read_all(self._root)
        self.name = re.sub(r"[^a-z0-9._-]+", "-", self._root.name.lower()).strip("-.") or "tasks"
        self.version = _digest(self._root, self._files)
        self._tasks = {task.id: task for task in (self._task_of(place, file) for place, file in self._files.items())}
        wanted = os.environ.get("EDGEXP_NO_SANDBOX", "").lower() in ("", "0", "false", "no") if sandbox is None else sandbox
        self._bubblewrap: str | None = None
        if any(file.kind == "shell" for file in self._files.values()):
            refuse_elsewhere()
            self._bubblewrap = find_bubblewrap() if wanted else None
        self._copy: Path | None = None
        self._free: Callable[[], object] = lambda: None  # removes the copy
        self._file: TaskFile | None = None
        self._over = False
        if any(file.solution for file in self._files.values()):
            self.expert = self._expert

    def splits(self) -> Sequence[str]:
        """The splits that tasks name, sorted."""
        return tuple(sorted({file.split for file in self._files.values()}))

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split, by the names of their folders. Raises UsageError for an unknown split."""
        check_split(self.name, split, self.splits())
        return [task for task in self._tasks.values() if task.split == split]

    def task(self, task_id: str) -> Task:
        """The task of that id. Raises UsageError where there is none."""
        if task_id not in self._tasks:
            raise UsageError(f"{self.name} has no task {plain.shown(task_id)}; its ids look like {next(iter(self._tasks))}")
        return self._tasks[task_id]

    def instructions(self) -> str:
        """How to act, by the kinds of tasks that there are."""
        kinds = {file.kind for file in self._files.values()}
        lines = ["Do what the goal asks for."]
        if "shell" in kinds:
            lines.append("Where you see files: answer with one command of a POSIX shell. Its output is what you see next.")
        if "sqlite" in kinds:
            lines.append("Where you see tables: answer with one statement of SQL (SQLite). Its result is what you see next.")
        return "\n".join(lines)

    def reset(self, task: Task) -> Start:
        """Begin an episode in a fresh copy. Raises EdgexpError where the task cannot be set up, or is done before anything was done."""
        self._drop()
        if task != self.task(task.id):
            raise UsageError(f"{task.id}: this is not {self.name}'s own task of that id; get it from task({task.id!r})")
        place = task.id.rsplit("/", 1)[1]
        file = self._files[place]
        try:
            self._copy = _copied(self._root / place)
            self._free = weakref.finalize(self, remove, self._copy.parent)
            seen = self._begin_shell(file, task.id) if file.kind == "shell" else self._begin_sql(file, task.id)
        except BaseException as error:
            self._drop()
            if isinstance(error, OSError):
                raise EdgexpError(f"{task.id}: its files cannot be copied: {plain.one_line(str(error.strerror or error), 300)}") from error
            raise
        self._file, self._over, self.max_steps = file, False, file.max_steps
        return Start(file.instruction.strip(), seen)

    def step(self, action: str) -> Outcome:
        """Run a command or a statement, and ask the check. Raises EdgexpError before a reset and after the end."""
        if self._file is None or self._copy is None:
            raise EdgexpError("no episode is under way: reset the environment with a task first")
        if self._over:
            raise EdgexpError("the episode is over: reset the environment before the next action")
        outcome = (self._step_shell if self._file.kind == "shell" else self._step_sql)(self._file, self._copy, action)
        self._over = outcome.done
        return outcome

    def close(self) -> None:
        """Drop the episode and its copy."""
        self._drop()

    def solution(self) -> list[str]:
        """The actions that the task under way names as its solution."""
        return list(self._file.solution) if self._file else []

    def _task_of(self, place: str, file: TaskFile) -> Task:
        return Task(f"{self.name}/{file.split}/{place}", self.name, file.split, file.type or file.kind)

    def _expert(self) -> Expert:
        return Solver(self)

    def _drop(self) -> None:
        self._file, self._copy = None, None
        self._free()

    def _begin_shell(self, file: TaskFile, task_id: str) -> str:
        assert self._copy
        if file.setup.command:
            ran = run_command(file.setup.command, self._copy, file.limits, self._bubblewrap)
            if ran.status != 0:
                why = ran.problem or ran.output or f"status {ran.status}"
                raise EdgexpError(f"{task_id}: its setup failed: {plain.one_line(why, 300)}")
        if file.check.command and run_command(file.check.command, self._copy, file.limits, self._bubblewrap).status == 0:
            raise EdgexpError(f"{task_id}: its check holds before anything was done")
        return _listing(self._copy)

    def _begin_sql(self, file: TaskFile, task_id: str) -> str:
        assert self._copy
        query = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
        told = self._ask(file, self._copy, script=file.setup.script, query=query)
        if told.checked is None:
            raise EdgexpError(f"{task_id}: its database cannot be set up: {told.problem}")
        if file.check.query:
            first = self._ask(file, self._copy, query=file.check.query)
            if first.checked is None:
                raise EdgexpError(f"{task_id}: the query of its check fails: {first.problem}")
            if same_rows(first.checked, file.check.rows or [], ordered=file.check.ordered):
                raise EdgexpError(f"{task_id}: its check holds before anything was done")
        return ("\n".join(str(row[0]) for row in told.checked) or "(no tables)")[: file.limits.output]

    def _step_shell(self, file: TaskFile, copy: Path, action: str) -> Outcome:
        ran = run_command(action, copy, file.limits, self._bubblewrap)
        status = f"(exit status {ran.status})" if ran.status else ""
        seen = "\n".join(part for part in (ran.output.rstrip("\n"), ran.problem, status) if part) or "(no output)"
        if ran.full:
            return Outcome(seen, done=True)
        if file.check.command:
            checked = run_command(file.check.command, copy, file.limits, self._bubblewrap)
            return Outcome(f"{seen}\n{checked.problem}", done=True) if checked.full else _outcome(seen, checked.status == 0)
        return _outcome(seen, ran.status == 0 and ran.output.strip() == (file.check.output or "").strip())

    def _step_sql(self, file: TaskFile, copy: Path, action: str) -> Outcome:
        told = self._ask(file, copy, statement=action.encode("utf-8", "replace").decode() or " ", query=file.check.query)
        found = told.checked if file.check.query else told.rows
        return _outcome(told.text or "(nothing)", same_rows(found, file.check.rows or [], ordered=file.check.ordered))

    def _ask(self, file: TaskFile, copy: Path, statement: str = "", script: str = "", query: str = "") -> Told:
        return ask_database(Asked(str(copy / file.database), file.limits, statement, script, query))


class Solver:
    """Plays the solution of the task under way."""

    def __init__(self, environment: TasksFolder) -> None:
        self._environment, self._left = environment, list[str]()

    def begin(self, goal: str, observation: str) -> None:
        """A new episode."""
        self._left = self._environment.solution()

    def act(self, observation: str) -> str | None:
        """The next action of the solution; None at its end."""
        return self._left.pop(0) if self._left else None


def _outcome(seen: str, success: bool) -> Outcome:
    return Outcome(seen, float(success), success, success, float(success))


def _read_all(root: Path) -> Mapping[str, TaskFile]:
    """The tasks of a folder by the names of their folders. Raises UsageError where there are none, EdgexpError for a wrong one."""
    found = {}
    for path in sorted(root.glob(f"*/{FILE}")):
        name, where = path.parent.name, files.shown(path)
        if not _NAME.fullmatch(name):
            raise EdgexpError(f"{where}: the folder of a task is called by letters, digits, dots, hyphens and underscores")
        found[name] = read_task(settings.read(path), where)
        database = path.parent / found[name].database
        if found[name].kind == "sqlite" and (database.is_symlink() or (database.exists() and not is_database(database))):
            raise EdgexpError(f"{where}: database: {found[name].database} is no file of SQLite's")
    if not found:
        raise UsageError(f"{files.shown(root)}: there is no task here; a task is a folder with a {FILE}")
    return found


def _digest(root: Path, tasks: Mapping[str, TaskFile]) -> str:
    """A hash of everything in the tasks' folders."""
    told = hashlib.sha256()
    for name in tasks:
        for path in sorted((root / name).rglob("*")):
            told.update(os.fsencode(path.relative_to(root)) + b"\0")
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    told.update(hashlib.file_digest(file, "sha256").digest())
    return told.hexdigest()[:12]


def _copied(folder: Path) -> Path:
    """A copy of a task's files, in a folder of its own; nothing that is no file, folder or link."""
    place = Path(tempfile.mkdtemp(prefix="edgexp-task-")) / "work"

    def left_out(at: str, names: list[str]) -> list[str]:
        here = Path(at)
        odd = [name for name in names if not ((here / name).is_symlink() or (here / name).is_file() or (here / name).is_dir())]
        return [*odd, FILE] if here == folder else odd

    try:
        shutil.copytree(folder, place, symlinks=True, ignore=left_out)
    except BaseException:
        remove(place.parent)
        raise
    return place


def _listing(folder: Path, most: int = 50) -> str:
    """The files that the agent finds."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    names = sorted(plain.one_line(path.relative_to(folder).as_posix(), 200) for path in found)
    more = f"\n(and {len(names) - most} more)" if len(names) > most else ""
    return "You see the files:\n" + "\n".join(names[:most]) + more if names else "You see no files."
