"""ALFWorld's official games as an environment, played by the household's simulator. Knows the layout of the data, and no rules or texts.

The data is what `alfworld-download` of the `alfworld` package fetches: `ALFWORLD_DATA/json_2.1.1/<split>/<folder>/<trial>/game.tw-pddl`.
The games that count are those the package counts (3,553 train, 140 valid_seen, 134 valid_unseen): the six task types, no sliced objects, no
movable receptacles, known to be solvable.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgexp.environments.base import Achieved
from edgexp.environments.household import pddl
from edgexp.environments.household.household import SceneEnvironment, achieved_in
from edgexp.environments.household.scene import GROUPS, Scene
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Task, Trajectory

SPLITS = ("train", "valid_seen", "valid_unseen")

_FOLDER = "json_2.1.1"
_GAME = "game.tw-pddl"
_ID = re.compile(r"alfworld/([a-z_]+)/([A-Za-z0-9_-]+)/([A-Za-z0-9_-]+)")
_SOLVABLE = re.compile(rb'"solvable"\s*:\s*(true|false)')
_HOW = "get it with `alfworld-download` of the alfworld package, and set ALFWORLD_DATA to the folder that holds json_2.1.1"


class Alfworld(SceneEnvironment):
    """The official games under `data`, by default under the folder that the environment variable `ALFWORLD_DATA` names."""

    name = "alfworld"
    version = "0.4.2+1"
    """The package whose behaviour this is, and our count of changes."""

    def __init__(self, data: str | Path | None = None) -> None:
        super().__init__()
        self._data = data
        self._tasks: dict[str, tuple[Task, ...]] = {}

    def splits(self) -> Sequence[str]:
        """`train`, `valid_seen`, `valid_unseen`, whether the data is there or not."""
        return SPLITS

    def tasks(self, split: str) -> Sequence[Task]:
        """The games of a split, sorted by folder and trial. Raises UsageError for an unknown split, EdgexpError without its data."""
        if split not in self._tasks:
            self._tasks[split] = tuple(_games(self._root(), _known(split)))
        return self._tasks[split]

    def task(self, task_id: str) -> Task:
        """The game of that id, `alfworld/<split>/<folder>/<trial>`. Raises UsageError where there is none."""
        match = _ID.fullmatch(task_id)
        task = _task(*match.groups()) if match and match[1] in SPLITS else None
        if task is None or not _counts(self._file(task)):
            raise UsageError(f"alfworld has no game {task_id!r}; ids look like alfworld/valid_seen/<folder>/<trial>")
        return task

    def scene(self, task: Task) -> Scene:
        """The scene of a game. Raises EdgexpError where its file is missing or damaged, UsageError for a task of something else."""
        if not _ID.fullmatch(task.id):
            raise UsageError(f"{task.id!r} is not a game of alfworld; ids look like alfworld/valid_seen/<folder>/<trial>")
        return pddl.read(self._file(task))

    def achieved(self, trajectory: Trajectory) -> Achieved | None:
        """Which of the six goals the episode reached. Raises as `scene` does."""
        return achieved_in(self.scene(trajectory.task), trajectory)

    def walkthrough(self, task: Task) -> list[str]:
        """The commands that win the game, as its file tells: a planner's, who knows where everything is. Raises as `scene` does."""
        return pddl.walkthrough(self._file(task))

    def _file(self, task: Task) -> Path:
        return self._root().joinpath(*task.id.split("/")[1:], _GAME)

    def _root(self) -> Path:
        named = self._data or os.environ.get("ALFWORLD_DATA")
        if not named:
            raise EdgexpError(f"ALFWORLD_DATA is not set, so there are no official games: {_HOW}")
        root = Path(named).expanduser() / _FOLDER
        if not root.is_dir():
            raise EdgexpError(f"{root} is not a folder, so there are no official games: {_HOW}")
        return root


def _known(split: str) -> str:
    if split not in SPLITS:
        raise UsageError(f"alfworld has no split {split!r}; it has {', '.join(SPLITS)}")
    return split


def _games(root: Path, split: str) -> Iterator[Task]:
    """Every game that counts. Raises EdgexpError where there is none at all."""
    found = False
    for folder in _subfolders(root / split):
        for trial in _subfolders(root / split / folder):
            task = _task(split, folder, trial)
            if task is not None and _counts(root / split / folder / trial / _GAME):
                found = True
                yield task
    if not found:
        raise EdgexpError(f"{root / split} holds no games: {_HOW}")


def _subfolders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise EdgexpError(f"{folder}: {error.strerror}") from error


def _task(split: str, folder: str, trial: str) -> Task | None:
    """The task of a folder's name; None for the kinds of games that do not count."""
    type_ = folder.partition("-")[0]
    if type_ not in GROUPS or "movable" in folder or "Sliced" in folder:
        return None
    return Task(f"alfworld/{split}/{folder}/{trial}", "alfworld", split, type_, GROUPS[type_])


def _counts(file: Path) -> bool:
    """Whether the file says that its game can be won. It says so near its end, so that as a rule 4 kB are read of 80.

    A file that ends too early counts: playing it will say what is wrong, where leaving it out would hide it.
    """
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, os.fstat(opened.fileno()).st_size - 4096))
            end = opened.read()
            if not _SOLVABLE.search(end):
                opened.seek(0)
                end = opened.read()
    except OSError:
        return False
    verdicts = _SOLVABLE.findall(end)
    return verdicts[-1:] == [b"true"] or not end.rstrip().endswith(b"}")
