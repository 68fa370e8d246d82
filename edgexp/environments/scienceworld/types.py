"""ScienceWorld's thirty task types: how many variations each split has, on which side of the paper's split it is, its step limit.

The variations of a type are numbered; its train split comes first, then dev, then test. The counts are those of the package, version 1.2.3,
which a test confirms. The first `EVALUATED` variations of each type make the splits `dev-5` and `test-5`, as the paper's evaluation does.
"""

from collections.abc import Iterator

import msgspec

from edgexp.trajectory import Task

EVALUATED = 5
"""The paper evaluates on at most so many variations of each type."""


class TaskType(msgspec.Struct, frozen=True):
    """One kind of experiment."""

    train: int
    dev: int
    test: int
    """Variations in each split."""
    group: str
    limit: int
    """Actions an episode may take."""


TYPES = {
    "boil": TaskType(14, 7, 9, "easy", 130),
    "change-the-state-of-matter-of": TaskType(14, 7, 9, "hard", 50),
    "chemistry-mix": TaskType(16, 8, 8, "hard", 90),
    "chemistry-mix-paint-secondary-color": TaskType(18, 9, 9, "hard", 50),
    "chemistry-mix-paint-tertiary-color": TaskType(18, 9, 9, "hard", 60),
    "find-animal": TaskType(150, 75, 75, "easy", 50),
    "find-living-thing": TaskType(150, 75, 75, "easy", 50),
    "find-non-living-thing": TaskType(150, 75, 75, "easy", 50),
    "find-plant": TaskType(150, 75, 75, "easy", 50),
    "freeze": TaskType(14, 7, 9, "easy", 80),
    "grow-fruit": TaskType(62, 31, 33, "easy", 150),
    "grow-plant": TaskType(62, 31, 33, "hard", 120),
    "identify-life-stages-1": TaskType(6, 3, 5, "hard", 70),
    "identify-life-stages-2": TaskType(4, 2, 4, "easy", 50),
    "inclined-plane-determine-angle": TaskType(84, 42, 42, "easy", 150),
    "inclined-plane-friction-named-surfaces": TaskType(692, 346, 348, "easy", 150),
    "inclined-plane-friction-unnamed-surfaces": TaskType(80, 40, 42, "hard", 150),
    "lifespan-longest-lived": TaskType(62, 31, 32, "easy", 50),
    "lifespan-longest-lived-then-shortest-lived": TaskType(62, 31, 32, "hard", 50),
    "lifespan-shortest-lived": TaskType(62, 31, 32, "easy", 50),
    "measure-melting-point-known-substance": TaskType(218, 109, 109, "hard", 50),
    "measure-melting-point-unknown-substance": TaskType(150, 75, 75, "easy", 150),
    "melt": TaskType(14, 7, 9, "easy", 80),
    "mendelian-genetics-known-plant": TaskType(60, 30, 30, "hard", 150),
    "mendelian-genetics-unknown-plant": TaskType(240, 120, 120, "hard", 150),
    "power-component": TaskType(10, 5, 5, "easy", 50),
    "power-component-renewable-vs-nonrenewable-energy": TaskType(10, 5, 5, "hard", 50),
    "test-conductivity": TaskType(450, 225, 225, "hard", 60),
    "test-conductivity-of-unknown-substances": TaskType(300, 150, 150, "easy", 60),
    "use-thermometer": TaskType(270, 135, 135, "easy", 50),
}
"""Name → type, in alphabetical order. How sides and limits were chosen is told in docs/environments.md."""

SPLITS = ("train", "dev", "test", "dev-5", "test-5")
MAX_STEPS = max(kind.limit for kind in TYPES.values())


def variations(kind: TaskType, split: str) -> range:
    """The numbers of a type's variations in a split."""
    name, _, few = split.partition("-")
    first = {"train": 0, "dev": kind.train, "test": kind.train + kind.dev}[name]
    count = {"train": kind.train, "dev": kind.dev, "test": kind.test}[name]
    return range(first, first + (min(count, EVALUATED) if few else count))


def tasks(split: str) -> Iterator[Task]:
    """All tasks of a split, type by type. The split has to be one of SPLITS."""
    for name, kind in TYPES.items():
        for number in variations(kind, split):
            yield make_task(split, name, number)


def make_task(split: str, name: str, number: int) -> Task:
    """The task of a variation."""
    return Task(f"scienceworld/{split}/{name}/{number}", "scienceworld", split, name, TYPES[name].group)
