"""Environments by name: `household`, `alfworld`, entry points of the group `edgexp.environments`, and `module:attribute`."""

import importlib
import importlib.metadata
from collections.abc import Callable
from typing import Any

from edgexp.environments.base import Environment, Expert, HasAdmissible, HasExpert, Outcome, Start
from edgexp.errors import EdgexpError, UsageError

__all__ = ["Environment", "Expert", "HasAdmissible", "HasExpert", "Outcome", "Start", "available", "make"]

GROUP = "edgexp.environments"

BUILT_IN = {
    "household": "edgexp.environments.household:Household",
    "alfworld": "edgexp.environments.alfworld:Alfworld",
}


def available() -> dict[str, str]:
    """Name → `module:attribute` of every environment that can be named, plug-ins included."""
    found = dict(BUILT_IN)
    for point in importlib.metadata.entry_points(group=GROUP):
        found.setdefault(point.name, point.value)
    return dict(sorted(found.items()))


def make(name: str, **options: Any) -> Environment:
    """Make an environment by registered name or `module:attribute`; the options go to its constructor.

    Raises UsageError for an unknown name, EdgexpError where it cannot be loaded or is no environment.
    """
    target = name if ":" in name else available().get(name)
    if target is None:
        raise UsageError(f"no environment is called {name!r}; known: {', '.join(available())}, or module:attribute")
    factory = _load(target)
    environment = factory(**options)
    if not isinstance(environment, Environment):
        lacking = [m for m in ("name", "version", "max_steps", "splits", "tasks", "task", "instructions", "reset", "step", "close")
                   if not hasattr(environment, m)]
        raise EdgexpError(f"{target} is not an environment: it lacks {', '.join(lacking)}; see edgexp/environments/base.py")
    return environment


def _load(target: str) -> Callable[..., Any]:
    module, _, attribute = target.partition(":")
    try:
        loaded: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise EdgexpError(f"environment {target}: {error}; is the package that holds it installed here?") from error
    except AttributeError as error:
        raise EdgexpError(f"environment {target}: module {module} has no {attribute!r}") from error
    return loaded
