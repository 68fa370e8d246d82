"""Texts for what Gymnasium's environments show and take: observations of many kinds, and action spaces of numbers.

An observation that is a text stays as it is. Of an environment that draws itself in text (`render_mode` "ansi") the drawing is shown, where
colours would be all that tells one cell from another: what stands in colour is put in brackets. Knows no environment by name.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgexp.environments import plain
from edgexp.environments.boundary import LONGEST_OBSERVATION
from edgexp.errors import EdgexpError

MOST_NUMBERS = 64
"""Numbers of an array that can be read as a text; more are a picture."""
_COLOURED = re.compile(r"\x1b\[[0-9;]*[1-9][0-9;]*m([^\x1b\n]*)\x1b\[0?m")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class FromSpace:
    """An action space: names for numbers, or any text where there are no names."""

    def __init__(self, names: Sequence[str], first: int = 0) -> None:
        """`names` are those of the numbers from `first` on; without any, every text is an action."""
        self.names, self._first = tuple(names), first
        self._numbers = {name: first + place for place, name in enumerate(self.names)}

    def has(self, action: str) -> bool:
        """Whether the action can be taken."""
        return not self.names or action.strip() in self._numbers

    def value(self, action: str) -> Any:
        """What the environment takes."""
        return self._numbers[action.strip()] if self.names else action

    def allowed(self, mask: Any) -> list[str]:
        """The names that a mask of the environment leaves; all of them where it has none, or one that leaves nothing."""
        try:
            kept = [name for name, allowed in zip(self.names, mask, strict=True) if allowed] if mask is not None else []
        except (TypeError, ValueError):
            kept = []
        return kept or list(self.names)


def read_actions(env: Any, who: str) -> FromSpace:
    """How the environment takes actions. Raises EdgexpError for spaces that are neither texts nor single numbers."""
    space = getattr(env, "action_space", None)
    if space is None or any(word in type(space).__name__ for word in ("Text", "String")):
        return FromSpace(())
    count = plain.scalar(getattr(space, "n", None))
    if type(count) is not int or not 0 < count <= 10_000:
        raise EdgexpError(f"{who}: its actions are {plain.shown(space)}; single numbers (Discrete) or texts are wanted")
    first = plain.scalar(getattr(space, "start", 0))
    first = first if type(first) is int else 0
    names = _names_of(env, count) or [str(first + place) for place in range(count)]
    return FromSpace(names, first)


def _names_of(env: Any, count: int) -> list[str]:
    """The names of the actions, where the environment or what it wraps has as many."""
    for owner in (env, getattr(env, "unwrapped", None)):
        for member in ("action_names", "language_action_space", "action_meanings", "get_action_meanings", "actions"):
            said = getattr(owner, member, None)
            if callable(said) and not isinstance(said, type):
                said = said()
            if isinstance(said, Mapping):
                said = [said.get(number) for number in range(count)]
            try:
                names = [_plain_name(getattr(one, "name", one)) for one in said]  # type: ignore[union-attr]
            except TypeError:
                continue
            if len(names) == count == len({*names}) and all(names):
                return names
    return []


def _plain_name(name: Any) -> str:
    return " ".join(name.replace("_", " ").split()) if isinstance(name, str) and plain.is_writable(name) else ""


def read_observation(seen: Any, env: Any, who: str, what: str) -> str:
    """An observation in words. Raises EdgexpError for pictures and whatever else has none."""
    if getattr(env, "render_mode", None) == "ansi" and not isinstance(seen, str):
        drawn = env.render()
        if isinstance(drawn, str) and drawn.strip():
            return plain.text(_without_colours(drawn).strip("\n"), who, what, LONGEST_OBSERVATION)
    return plain.text(_words(seen, who, what), who, what, LONGEST_OBSERVATION)


def _words(seen: Any, who: str, what: str) -> str:
    seen = plain.scalar(seen)
    if isinstance(seen, str):
        return seen
    if isinstance(seen, bytes):
        return seen.decode("utf-8", "replace")
    if isinstance(seen, Mapping):
        return _of_mapping(seen, who, what)
    if isinstance(seen, bool | int | float):
        return f"{seen:.6g}" if isinstance(seen, float) else str(seen)
    if hasattr(seen, "tolist"):
        if getattr(seen, "size", MOST_NUMBERS + 1) > MOST_NUMBERS:
            size = getattr(seen, "size", "many")
            raise EdgexpError(f"{who}: {what} is an array of {size} numbers, but texts are wanted, or a few numbers")
        seen = seen.tolist()
    if isinstance(seen, list | tuple) and len(seen) <= 10 * MOST_NUMBERS:
        return ("\n" if any(isinstance(one, str) for one in seen) else ", ").join(_words(one, who, what) for one in seen)
    plain.refuse(seen, who, what, "a text, a number, or a few of them are wanted")


def _of_mapping(seen: Mapping[Any, Any], who: str, what: str) -> str:
    """The text among the parts where there is one, or else every part that has words, by name."""
    for key in ("text", "long_term_context", "short_term_context", "observation", "obs"):
        if isinstance(inner := seen.get(key), str | Mapping) and inner:
            return _words(inner, who, what)
    parts = []
    for key, value in seen.items():
        try:
            parts.append(f"{key}: {_words(value, who, what)}")
        except EdgexpError:
            continue  # a picture beside the words
    if not parts:
        plain.refuse(seen, who, what, "a text among its parts is wanted")
    return "\n".join(parts)


def _without_colours(drawn: str) -> str:
    return _ESCAPES.sub("", _COLOURED.sub(lambda found: f"[{found[1]}]" if found[1].strip() else found[1], drawn))
