"""Environments by name: those that come with edgexp, entry points of the group `edgexp.environments`, `module:Class` and `file.py:Class`.

Every environment that is made here stands behind the boundary: what it says is checked before anybody sees it (`boundary.py`). Also
what environments say of a task that comes from a bank, where nobody has an environment at hand. Knows no rules, texts or task ids.
"""

from functools import lru_cache
from typing import Any

import msgspec

from edgexp.environments import plain, targets
from edgexp.environments.base import Environment, family_of, has_expert, lesson_of, valid_actions_of
from edgexp.environments.boundary import checked
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Task

DEFAULT_ENVIRONMENT = "household"
"""What is played where nobody names an environment: it needs no files and has tasks without end."""

GROUP = "edgexp.environments"
"""The group of entry points by which packages offer theirs: `name = "module:attribute"`."""

BUILT_IN = {
    "household": "edgexp.environments.household:Household",
    "worlds": "edgexp.environments.worlds:Worlds",
    "treatments": "edgexp.environments.treatments:Treatments",
    "alfworld": "edgexp.environments.alfworld:Alfworld",
    "scienceworld": "edgexp.environments.java.scienceworld:ScienceWorld",
    "textworld-express": "edgexp.environments.java.textworld_express:TextWorldExpress",
}


def available() -> dict[str, str]:
    """Name → `module:attribute` of every environment that can be named, plug-ins included."""
    import importlib.metadata  # not above: commands that only print their help need no list of packages

    found = dict(BUILT_IN)
    for point in importlib.metadata.entry_points(group=GROUP):
        found.setdefault(point.name, point.value)
    return dict(sorted(found.items()))


_MEMBERS = ("name", "version", "max_steps", "splits", "tasks", "task", "instructions", "reset", "step", "close")
"""What an environment has to have."""


class Description(msgspec.Struct, frozen=True):
    """An environment for people to choose from; `problem` says why it cannot be used, where it cannot."""

    name: str
    target: str
    """`module:attribute`."""
    splits: dict[str, int] = {}
    """Split → number of tasks."""
    admissible: bool = False
    expert: bool = False
    problem: str = ""


def describe_all() -> list[Description]:
    """Every environment that can be named; each is made and closed again."""
    return [_describe(name, target) for name, target in available().items()]


def make(name: str, **options: Any) -> Environment:
    """Make an environment by registered name, `module:attribute` or `file.py:attribute`; the options go to its constructor.

    Raises UsageError for an unknown name, EdgexpError where it cannot be loaded or is no environment.
    """
    target = name if ":" in name or name.endswith(".py") else available().get(name)
    if target is None:
        raise UsageError(f"no environment is called {name!r}; known: {', '.join(available())}, or module:attribute, or file.py:attribute")
    factory = targets.load(target, f"environment {target}", "doors:Doors or ./doors.py:Doors")
    try:
        environment = factory(**options)
        lacking = [] if isinstance(environment, Environment) else [m for m in _MEMBERS if not hasattr(environment, m)]
    except EdgexpError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plug-in's constructor may raise anything, SystemExit too
        raise EdgexpError(f"environment {target} cannot be made: {plain.explain(error)}") from error
    if isinstance(environment, type) or lacking:
        what = f"it lacks {', '.join(lacking)}" if lacking else "it is a class, and an object is wanted"
        raise EdgexpError(f"{target} is not an environment: {what}; see edgexp/environments/base.py")
    return checked(environment, f"environment {target}")


def family_of_task(task: Task) -> str:
    """Which tasks know things about this one, by its environment, or by its id where that cannot be made here."""
    return family_of(_telling(task.environment), task)


def lesson_of_task(task: Task) -> str:
    """What an episode of a task teaches, by its environment, or its type where that cannot be made here."""
    return lesson_of(_telling(task.environment), task)


@lru_cache(maxsize=64)
def _telling(name: str) -> Environment | None:
    """The environment of that name; None where it cannot be made. Closed at once, for what it says of tasks needs nothing open.

    Names alone: a bank may hold what others wrote, and a `module:attribute` in it must load nothing.
    """
    if name not in available():
        return None
    try:
        environment = make(name)
        environment.close()
    except Exception:  # a plug-in may raise anything; whoever asks of a task in a bank does not play it, and gets the default
        return None
    return environment


def _describe(name: str, target: str) -> Description:
    try:
        environment = make(name)
        try:
            splits = {split: len(environment.tasks(split)) for split in environment.splits()}
        finally:
            environment.close()
    except EdgexpError as error:
        return Description(name, target, problem=str(error))
    return Description(name, target, splits, valid_actions_of(environment) is not None, has_expert(environment))
