"""The household environment: generated scenes without end, in ALFWorld's rules and texts. Knows which task is which scene, and no rules."""

import re
from collections.abc import Sequence

from edgexp.environments.household.episode import SceneEnvironment
from edgexp.environments.household.generator import generate
from edgexp.environments.household.scene import GOAL_KINDS, GROUPS, GoalKind, Scene
from edgexp.environments.splits import Made, check_split
from edgexp.errors import UsageError
from edgexp.trajectory import Task

SIZES = {"train": 100_000, "dev": 10_000, "test": 10_000}
"""Split → number of tasks. Scenes of different splits have different seeds."""


class Household(SceneEnvironment):
    """ALFWorld's six kinds of tasks in generated rooms. Needs no files, holds nothing open."""

    name = "household"
    version = "1"

    def splits(self) -> Sequence[str]:
        """`train`, `dev`, `test`."""
        return tuple(SIZES)

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split, lazily; the six types take turns. Raises UsageError for an unknown split."""
        check_split(self.name, split, SIZES)
        return Made(SIZES[split], lambda number: _task(split, number))

    def task(self, task_id: str) -> Task:
        """The task of that id. Raises UsageError where there is none."""
        split, number = _parse(task_id)
        return _task(split, number)

    def scene(self, task: Task) -> Scene:
        """The scene of a task. Raises UsageError when it is not one of this environment's tasks."""
        if task != self.task(task.id):
            raise UsageError(f"{task.id}: this is not household's own task of that id; get it from task({task.id!r})")
        split, number = _parse(task.id)
        return generate(_kind(number), number * 8 + list(SIZES).index(split))


def _task(split: str, number: int) -> Task:
    kind = _kind(number)
    return Task(f"household/{split}/{number}", "household", split, kind, GROUPS[kind])


def _kind(number: int) -> GoalKind:
    return GOAL_KINDS[number % len(GOAL_KINDS)]


def _parse(task_id: str) -> tuple[str, int]:
    found = re.fullmatch(r"household/([a-z]+)/(0|[1-9][0-9]{0,9})", task_id)
    if not found or int(found[2]) >= SIZES.get(found[1], 0):
        known = ", ".join(f"household/{split}/0 to {size - 1}" for split, size in SIZES.items())
        raise UsageError(f"household has no task {task_id!r}; it has {known}")
    return found[1], int(found[2])
