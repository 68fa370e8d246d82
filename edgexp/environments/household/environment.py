"""The household environment: generated scenes without end, in ALFWorld's rules and texts. Knows which task is which scene, and no rules."""

import re
from collections.abc import Sequence
from typing import overload

from edgexp.environments.household.episode import SceneEnvironment
from edgexp.environments.household.generator import generate
from edgexp.environments.household.scene import GOAL_KINDS, GROUPS, GoalKind, Scene
from edgexp.errors import UsageError
from edgexp.trajectory import Task

SIZES = {"train": 100_000, "dev": 10_000, "test": 10_000}
"""Split → number of tasks. Scenes of different splits have different seeds."""


class Tasks(Sequence[Task]):
    """The tasks of one split, made when asked for. The six types take turns, so any stretch of them is balanced."""

    def __init__(self, split: str) -> None:
        self._split = split

    def __len__(self) -> int:
        return SIZES[self._split]

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        """A task by position, or a list of tasks by slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        kind = _kind(number)
        return Task(f"household/{self._split}/{number}", "household", self._split, kind, GROUPS[kind])


class Household(SceneEnvironment):
    """ALFWorld's six kinds of tasks in generated rooms. Needs no files, holds nothing open."""

    name = "household"
    version = "1"

    def splits(self) -> Sequence[str]:
        """`train`, `dev`, `test`."""
        return tuple(SIZES)

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split, lazily. Raises UsageError for an unknown split."""
        if split not in SIZES:
            raise UsageError(f"household has no split {split!r}; it has {', '.join(SIZES)}")
        return Tasks(split)

    def task(self, task_id: str) -> Task:
        """The task of that id. Raises UsageError where there is none."""
        split, number = _parse(task_id)
        return Tasks(split)[number]

    def scene(self, task: Task) -> Scene:
        """The scene of a task. Raises UsageError when it is not one of this environment's tasks."""
        if task != self.task(task.id):
            raise UsageError(f"{task.id}: this is not household's own task of that id; get it from task({task.id!r})")
        split, number = _parse(task.id)
        return generate(_kind(number), number * 8 + list(SIZES).index(split))


def _kind(number: int) -> GoalKind:
    return GOAL_KINDS[number % len(GOAL_KINDS)]


def _parse(task_id: str) -> tuple[str, int]:
    found = re.fullmatch(r"household/([a-z]+)/(0|[1-9][0-9]{0,9})", task_id)
    if not found or int(found[2]) >= SIZES.get(found[1], 0):
        known = ", ".join(f"household/{split}/0 to {size - 1}" for split, size in SIZES.items())
        raise UsageError(f"household has no task {task_id!r}; it has {known}")
    return found[1], int(found[2])
