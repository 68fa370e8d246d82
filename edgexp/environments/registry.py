"""Environments by name: those that come with edgexp, entry points of the group `edgexp.environments`, and `module:attribute`.

Also what environments say of a task that comes from a bank, where nobody has an environment at hand. Knows no rules, texts or task ids.
"""

import importlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from edgexp.environments.base import Environment, family_of, has_expert, lesson_of, valid_actions_of
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
    """Make an environment by registered name or `module:attribute`; the options go to its constructor.

    Raises UsageError for an unknown name, EdgexpError where it cannot be loaded or is no environment.
    """
    target = name if ":" in name else available().get(name)
    if target is None:
        raise UsageError(f"no environment is called {name!r}; known: {', '.join(available())}, or module:attribute")
    factory = _load(target)
    try:
        environment = factory(**options)
    except EdgexpError:
        raise
    except Exception as error:  # a plug-in's constructor may raise anything
        raise EdgexpError(f"environment {target} cannot be made: {type(error).__name__}: {error}") from error
    if not isinstance(environment, Environment):
        lacking = [m for m in ("name", "version", "max_steps", "splits", "tasks", "task", "instructions", "reset", "step", "close")
                   if not hasattr(environment, m)]
        raise EdgexpError(f"{target} is not an environment: it lacks {', '.join(lacking)}; see edgexp/environments/base.py")
    return environment


def family_of_task(task: Task) -> str:
    """Which tasks know things about this one, by its environment, or by its id where that cannot be made here."""
    return family_of(_telling(task.environment), task)


def lesson_of_task(task: Task) -> str:
    """What an episode of a task teaches, by its environment, or its type where that cannot be made here."""
    return lesson_of(_telling(task.environment), task)


@lru_cache(maxsize=64)
def _telling(name: str) -> Environment | None:
    """The environment of that name; None where it cannot be made. Closed at once, for what it says of tasks needs nothing open."""
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


def _load(target: str) -> Callable[..., Any]:
    module, _, attribute = target.partition(":")
    try:
        loaded: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise EdgexpError(f"environment {target}: {error}; is the package that holds it installed here?") from error
    except AttributeError as error:
        raise EdgexpError(f"environment {target}: module {module} has no {attribute!r}") from error
    return loaded
