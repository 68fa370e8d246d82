"""Splits too long to list: tasks made when asked for, with ids `<environment>/<split>/<house>/<scene>` or `…/<seed>`. Knows no rules."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import overload

import msgspec

from edgexp.environments.base import family_of_id
from edgexp.environments.plain import shown
from edgexp.errors import UsageError
from edgexp.trajectory import Task


class Made(Sequence[Task]):
    """The tasks of one split, made when asked for."""

    def __init__(self, count: int, make: Callable[[int], Task]) -> None:
        """`make` gives the task at a position, 0 to `count` - 1."""
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        """A task by position, or a list of tasks by slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._make(range(self._count)[index])


def check_split(environment: str, split: str, splits: Iterable[str]) -> None:
    """Raises UsageError where there is no such split."""
    if split not in splits:
        raise UsageError(f"{environment} has no split {split!r}; it has {', '.join(splits)}")


SEEDS = {"train": (0, 100_000), "dev": (1_000_000, 10_000), "test": (2_000_000, 10_000)}
"""Split → the first seed and the number of seeds, where a task is a seed."""


class SeededTasks:
    """Tasks that are seeds of one game: `<name>/<split>/<seed>`. No two splits have a seed in common."""

    def __init__(self, name: str, takes_seeds: bool = True) -> None:
        """A game that takes no seed has one task, in `train`."""
        self._name, self._takes_seeds = name, takes_seeds

    def splits(self) -> Sequence[str]:
        """The names of the splits."""
        return tuple(SEEDS) if self._takes_seeds else ("train",)

    def tasks(self, split: str) -> Sequence[Task]:
        """A task for each seed. Raises UsageError for an unknown split."""
        check_split(self._name, split, self.splits())
        first, count = SEEDS[split]
        return Made(count if self._takes_seeds else 1, lambda n: Task(f"{self._name}/{split}/{first + n}", self._name, split, self._name))

    def task(self, task_id: str) -> Task:
        """The task of that id. Raises UsageError where there is none."""
        split, seed = self._parse(task_id)
        return self.tasks(split)[seed - SEEDS[split][0]]

    def seed(self, task_id: str) -> int:
        """The seed of a task. Raises UsageError where there is none."""
        return self._parse(task_id)[1]

    def _parse(self, task_id: str) -> tuple[str, int]:
        found = re.fullmatch(rf"{re.escape(self._name)}/([a-z]+)/(0|[1-9][0-9]{{0,7}})", task_id)
        if found and found[1] in self.splits():
            first, count = SEEDS[found[1]]
            if 0 <= int(found[2]) - first < (count if self._takes_seeds else 1):
                return found[1], int(found[2])
        known = ", ".join(f"{self._name}/{split}/{SEEDS[split][0]}" for split in self.splits())
        raise UsageError(f"{self._name} has no task {shown(task_id)}; it has {known} and so on")


class Houses(msgspec.Struct, frozen=True):
    """Which houses a split has, and which scenes of each."""

    first: int
    houses: int
    first_scene: int
    scenes: int
    """Scenes of each house."""


class Housed(ABC):
    """Tasks that are scenes of houses; those of one house stand together. A subclass adds `name`, `houses` and what type a scene is of."""

    name: str
    houses: Mapping[str, Houses]
    """By split."""

    @abstractmethod
    def type_of(self, house: int, scene: int) -> str:
        """The type of the task that a scene of a house is; both counted over all splits."""

    def group_of(self, house: int, scene: int) -> str:
        """The group of that task; empty where tasks have none."""
        return ""

    def splits(self) -> Sequence[str]:
        """The names of the splits; a `-bank` has other scenes of the houses of the split it is named after."""
        return tuple(self.houses)

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split, lazily. Raises UsageError for an unknown split."""
        check_split(self.name, split, self.houses)
        part = self.houses[split]

        def make(position: int) -> Task:
            house, scene = divmod(position, part.scenes)
            place = part.first + house, part.first_scene + scene
            return Task(f"{self.name}/{split}/{house}/{scene}", self.name, split, self.type_of(*place), self.group_of(*place))

        return Made(part.houses * part.scenes, make)

    def task(self, task_id: str) -> Task:
        """The task of that id. Raises UsageError where there is none."""
        split, house, scene = self._parse(task_id)
        return self.tasks(split)[house * self.houses[split].scenes + scene]

    def family(self, task: Task) -> str:
        """The house, in whichever scene, and whether the task is of a split or of its bank."""
        return family_of_id(task.id)

    def lesson(self, task: Task) -> str:
        """The house as well: it tells how things are done there, and the task's type does not."""
        return self.family(task)

    def place(self, task: Task) -> tuple[int, int]:
        """House and scene of a task, counted over all splits. Raises UsageError when it is not one of this environment's tasks."""
        if task != self.task(task.id):
            raise UsageError(f"{task.id}: this is not {self.name}' own task of that id; get it from task({task.id!r})")
        split, house, scene = self._parse(task.id)
        return self.houses[split].first + house, self.houses[split].first_scene + scene

    def _parse(self, task_id: str) -> tuple[str, int, int]:
        found = re.fullmatch(rf"{self.name}/([a-z-]+)/(0|[1-9][0-9]{{0,5}})/(0|[1-9][0-9]?)", task_id)
        split = self.houses.get(found[1]) if found else None
        if not found or not split or int(found[2]) >= split.houses or int(found[3]) >= split.scenes:
            known = ", ".join(f"{self.name}/{name}/0/0 to {s.houses - 1}/{s.scenes - 1}" for name, s in self.houses.items())
            raise UsageError(f"{self.name} has no task {task_id!r}; it has {known}")
        return found[1], int(found[2]), int(found[3])
