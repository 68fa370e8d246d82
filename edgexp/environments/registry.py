"""Environments by name: those that come with edgexp, entry points of the group `edgexp.environments`, `module:Class` and `file.py:Class`.
Beginnings of names lead to other people's environments: see `BRIDGES`.

Modules are looked for where Python does, and last in the current folder; `load` finds other things of somebody's own, too. An error inside
a module is told as such, with its line. Every environment that is made here stands behind the boundary: what it says is checked before
anybody sees it (`boundary.py`). Also what environments say of a task that comes from a bank, where nobody has an environment at hand.
Knows no rules, texts or task ids.
"""

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from functools import lru_cache, reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from edgexp.environments import plain
from edgexp.environments.base import Environment, family_of, has_expert, lesson_of, valid_actions_of
from edgexp.environments.boundary import checked
from edgexp.environments.plain import explain
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Task


def load(target: str, who: str, example: str) -> Any:
    """What a target names. `who` begins every message, `example` is one that is well written.

    Raises UsageError where nothing is there, EdgexpError where it cannot be imported.
    """
    place, _, attribute = target.rpartition(":")
    if not place or not all(part.isidentifier() for part in attribute.split(".")):
        raise UsageError(f"{who}: write it as module:attribute, for example {example}")
    module = _load_file(Path(place).expanduser(), who) if _is_path(place) else _load_module(place, who)
    try:
        return reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        raise UsageError(f"{who}: module {place} has no {attribute!r}{_classes(module)}") from error


def look_here() -> None:
    """Let modules be found in the current folder too, last, so that nothing there hides a library."""
    if (here := str(Path.cwd())) not in sys.path:  # `python -m edgexp` looks there, the installed command does not
        sys.path.append(here)


def _is_path(place: str) -> bool:
    return place.endswith(".py") or "/" in place or "\\" in place


def _load_module(name: str, who: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"{who}: {name!r} is no name of a module")
    look_here()
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # somebody's own module may raise anything while it is imported
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):  # not one that it imports
            raise UsageError(f"{who}: {error}; is the module installed, or in the current folder?") from error
        raise _broken(who, error) from error


def _load_file(path: Path, who: str) -> ModuleType:
    """A file's module, loaded once. Its folder is looked in for what it imports, last."""
    if not path.is_file():
        raise UsageError(f"{who}: there is no file {path}")
    path = path.resolve()
    name = f"{path.stem}_{hashlib.sha256(str(path).encode(errors='surrogateescape')).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{who}: {path} is no Python file; its name has to end in .py")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise _broken(who, error) from error
    return module


def _broken(who: str, error: BaseException) -> EdgexpError:
    """The error of an import, with the file and the line in which it was raised."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<") and f.filename != __file__]
    own = [frame for frame in frames if "importlib" not in Path(frame.filename).parts]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own and not isinstance(error, SyntaxError) else ""
    kind = UsageError if isinstance(error, ModuleNotFoundError) else EdgexpError
    return kind(f"{who}: it cannot be imported: {explain(error)}{where}")


def _classes(module: Any) -> str:
    """The classes of a module, for somebody who has misspelt one."""
    own = [name for name, value in vars(module).items() if isinstance(value, type) and value.__module__ == module.__name__]
    return f"; its classes are {', '.join(own[:8])}" if own else ""


DEFAULT_ENVIRONMENT = "household"
"""What is played where nobody names an environment: it needs no files and has tasks without end."""

GROUP = "edgexp.environments"
"""The group of entry points by which packages offer theirs: `name = "module:attribute"`."""

BUILT_IN = {
    "household": "edgexp.environments.household:Household",
    "worlds": "edgexp.environments.worlds:Worlds",
    "treatments": "edgexp.environments.treatments:Treatments",
    "errands": "edgexp.environments.errands:Errands",
    "home": "edgexp.environments.home:Home",
    "alfworld": "edgexp.environments.alfworld:Alfworld",
    "scienceworld": "edgexp.environments.java.scienceworld:ScienceWorld",
    "textworld-express": "edgexp.environments.java.textworld_express:TextWorldExpress",
}


BRIDGES = {
    "gym:": "edgexp.environments.bridges.gym:GymEnvironment",
    "home:": "edgexp.environments.home.public_homes:PublicHomes",
    "mcp:": "edgexp.environments.bridges.mcp_servers:McpServers",
    "textarena:": "edgexp.environments.bridges.textarena_games:TextArenaGame",
    "process:": "edgexp.environments.bridges.json_lines:SpokenEnvironment",
}
"""Beginning of a name → what is made of the rest of it."""

FOLDER = "edgexp.environments.bridges.tasks_folder:TasksFolder"
"""What is made of the path of a folder."""


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
    target, given = _target(name)
    factory = load(target, f"environment {target}", "doors:Doors or ./doors.py:Doors")
    target = name if given else target
    try:
        environment = factory(*given, **options)
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


def _target(name: str) -> tuple[str, tuple[str, ...]]:
    """Where what makes the environment lies, and what it is given. Raises UsageError for an unknown name."""
    known = available()
    for beginning, target in BRIDGES.items():
        if name.startswith(beginning):
            return target, (name.removeprefix(beginning),)
    if name not in known and os.path.isdir(os.path.expanduser(name)):  # noqa: PTH111, PTH112 - a name may be no path at all, which raises there
        return FOLDER, (name,)
    if ":" in name or name.endswith(".py"):
        return name, ()
    if name not in known:
        raise UsageError(f"no environment is called {name!r}; known: {', '.join(known)}, or module:attribute, or file.py:attribute, "
                         "or process:COMMAND, gym:ID, textarena:ID, mcp:FILE, home:PATH, or the path of a folder of tasks")
    return known[name], ()


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
