"""Settings in TOML: read into strict Structs with errors that name file and key, and shown again in full. Knows no particular settings."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

import edgexp
from edgexp import files
from edgexp.errors import EdgexpError, UsageError

T = TypeVar("T")

SUITES = "eval-"
"""How the names of the files in `recipes/` begin that are suites of an evaluation; the others are recipes of a training."""


def shipped(keep: Callable[[str], bool]) -> dict[str, Path]:
    """The files of `recipes/` that come with edgexp and whose names are to be kept, by name."""
    package = Path(edgexp.__file__).parent
    checkout = package.parent / "recipes"
    folder = checkout if (package.parent / "pyproject.toml").is_file() and checkout.is_dir() else package / "_data" / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml")) if keep(path.stem)}


def read(path: Path) -> str:
    """The text of a file of settings, in UTF-8 or with a byte-order mark. Raises EdgexpError where it cannot be read."""
    try:
        return files.decode_text(path.read_bytes(), files.shown(path)).replace("\r\n", "\n")
    except OSError as error:
        raise EdgexpError(f"{files.shown(path)}: cannot be read: {error.strerror or error}") from error


def decode(text: str, where: str) -> dict[str, Any]:
    """The tables of a TOML text; `where` names it in errors."""
    try:
        table: dict[str, Any] = msgspec.toml.decode(text)
    except (ValueError, RecursionError) as error:
        raise EdgexpError(f"{where}: not TOML: {error}") from error
    return table


def convert(table: Mapping[str, Any], kind: type[T], where: str) -> T:
    """The tables as a Struct. Raises EdgexpError naming the key that is wrong."""
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise EdgexpError(f"{where}: {_with_key(str(error))}") from error


def change(table: dict[str, Any], assignment: str, lists: Sequence[str]) -> None:
    """Apply one `section.key=value`. A key of one of the `lists` of tables changes every table in it."""
    key, separator, value = assignment.partition("=")
    try:
        new = msgspec.toml.decode(f"value = {value}")["value"] if separator else None
    except msgspec.DecodeError:
        new = value.strip()  # a word without quotes is a text
    *sections, last = key.strip().split(".")
    if new is None or not last:
        raise UsageError(f"--set {assignment}: write it as section.key=value, for example train.lr=1e-4")
    places: list[Any] = [table]
    for section in sections:
        inner = [place.setdefault(section, [{}] if section in lists else {}) for place in places]
        places = [entry for place in inner for entry in (place if isinstance(place, list) else [place])]
        if not all(isinstance(place, dict) for place in places):
            raise UsageError(f"--set {assignment}: {section} is not a section, it has a value of its own")
    for place in places:
        place[last] = new


def show(settings: Any) -> str:
    """Every setting of a Struct as TOML, which reads back as the same; lists of Structs become `[[tables]]` at the end."""
    tables = msgspec.to_builtins(settings)
    lists = {key: value for key, value in tables.items() if isinstance(value, list | tuple) and value and isinstance(value[0], dict)}
    lines = list(_assignments({key: value for key, value in tables.items() if not isinstance(value, dict) and key not in lists}))
    for name, table in tables.items():
        if isinstance(table, dict):
            lines += ["", f"[{name}]", *_assignments(table)]
    for name, entries in lists.items():
        for entry in entries:
            lines += ["", f"[[{name}]]", *_assignments(entry)]
    return "\n".join(lines) + "\n"


def _with_key(message: str) -> str:
    """msgspec says `… - at `$.lora.r``; the key goes first, as it is written in the file."""
    text, _, key = message.partition(" - at `$")
    place = key.strip("`").lstrip(".")
    unknown = re.fullmatch("Object contains unknown field `(.*)`", text)
    if unknown:
        return f"{place + '.' if place else ''}{unknown[1]}: there is no such setting"
    return f"{place}: {text[:1].lower()}{text[1:]}" if place else text


def _assignments(table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        if value is not None:
            yield f"{key} = {_toml(value)}"


def _toml(value: Any) -> str:
    """A value as TOML; inner tables on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(_assignments(value)) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # JSON's texts, numbers and booleans are TOML's, but for one character.
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
