"""Somebody's own code by name: `module:attribute`, or `file.py:attribute` with a path. Knows not what the attribute is for.

Modules are looked for where Python does, and last in the current folder. An error inside a module is told as such, with its line.
"""

import hashlib
import importlib
import importlib.util
import sys
import traceback
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

from edgexp.environments.plain import explain
from edgexp.errors import EdgexpError, UsageError


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
