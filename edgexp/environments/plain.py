"""Plain values out of what somebody else's code returned: texts, numbers and truths that can be stored and read again, or one line.

What is meant is converted: NumPy's scalars and 0-d arrays, numbers for truths, subclasses of `str`. Every function takes the value, its
owner's name and what it is, and raises an EdgexpError that says so. Knows neither environments nor policies.

Texts with lone surrogates are refused, not mended: they cannot be written as UTF-8, and with another letter in its place an action is no
longer one that the environment knows, nor an observation what was seen.
"""

import math
import re
import reprlib
from collections.abc import Iterable, Mapping
from itertools import islice
from numbers import Integral, Real
from typing import NoReturn

from edgexp.errors import EdgexpError
from edgexp.trajectory import Task

LONGEST_NAME = 1_000
"""Characters of names, versions, ids, types and whatever else is no text to be read."""
LONGEST_REASON = 1_000
"""Characters of an error's text that are kept."""
_NEARLY = 1e-6
"""How far a score may be beyond its ends, by rounding."""



def text(value: object, owner: str, what: str, limit: int = LONGEST_NAME) -> str:
    """A text as a plain `str`. Raises EdgexpError where it is none, too long, or cannot be written as UTF-8."""
    if type(value) is not str:
        value = scalar(value)
        if not isinstance(value, str):
            refuse(value, owner, what, "a text is wanted")
        value = str.__str__(value)  # a subclass, such as NumPy's, as what it holds
    if len(value) > limit:
        raise EdgexpError(f"{owner}: {what} has {len(value):,} characters, and at most {limit:,} are allowed")
    if not value.isascii() and not is_writable(value):
        refuse(value, owner, what, "a text without lone surrogates is wanted")
    return value


def truth(value: object, owner: str, what: str) -> bool:
    """True or False, from whatever equals 0 or 1."""
    if value is True or value is False:
        return value
    value = scalar(value)
    if isinstance(value, Real) and value in (0, 1):
        return bool(value)
    refuse(value, owner, what, "True or False is wanted")


def number(value: object, owner: str, what: str) -> float:
    """A finite number as a plain `float`."""
    if type(value) is not float:
        plain = scalar(value)
        try:
            value = float(plain) if isinstance(plain, Real) else plain
        except OverflowError:
            value = math.inf
    if type(value) is not float or not math.isfinite(value):
        refuse(value, owner, what, "a finite number is wanted")
    return value


def share(value: object, owner: str, what: str) -> float:
    """A number from 0 to 1."""
    found = number(value, owner, what)
    if not -_NEARLY <= found <= 1 + _NEARLY:
        refuse(found, owner, what, "a number from 0 to 1 is wanted")
    return found if 0 <= found <= 1 else float(found > 0)


def whole(value: object, owner: str, what: str, least: int = 0) -> int:
    """A whole number of at least `least` as a plain `int`."""
    if type(value) is not int:
        plain = scalar(value)
        fits = isinstance(plain, Integral) or (isinstance(plain, float) and plain.is_integer())
        value = int(plain) if fits and not isinstance(plain, bool) else plain  # type: ignore[call-overload]
    if type(value) is not int or not least <= value < 2**63:
        refuse(value, owner, what, f"a whole number, {least} or more, is wanted")
    return value


def one_of(value: object, owner: str, what: str, words: tuple[str, ...]) -> str:
    """One of some words as a plain `str`."""
    if (found := text(value, owner, what)) not in words:
        refuse(found, owner, what, f"{' or '.join(map(repr, words))} is wanted")
    return found


def texts(value: object, owner: str, what: str, limit: int = LONGEST_NAME, most: int = 1_000) -> list[str]:
    """The texts of any collection, in its order. One text is no collection: nobody means its letters."""
    if isinstance(value, str | bytes | bytearray | memoryview | Mapping) or not isinstance(value, Iterable):
        refuse(value, owner, what, "a list of texts is wanted")
    found = list(islice(value, most + 1))
    if len(found) > most:
        raise EdgexpError(f"{owner}: {what} has more than {most:,} texts, and that is the most allowed")
    return [text(one, owner, f"text {number} of {what}", limit) for number, one in enumerate(found, 1)]


def task(value: object, owner: str, what: str) -> Task:
    """A task with plain texts in all its fields."""
    if type(value) is not Task:
        refuse(value, owner, what, "an edgexp.trajectory.Task is wanted")
    fields = [text(getattr(value, name), owner, f"the {name} of {what}") for name in Task.__struct_fields__]
    if not fields[0]:
        raise EdgexpError(f"{owner}: the id of {what} is empty")
    return value if all(new is old for new, old in zip(fields, map(value.__getattribute__, Task.__struct_fields__), strict=True)) \
        else Task(*fields)


def scalar(value: object) -> object:
    """What a NumPy scalar or a 0-d array holds; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 and callable(getattr(value, "item", None)) else value  # type: ignore[attr-defined]


def is_writable(value: str) -> bool:
    """Whether a text can be written as UTF-8, which lone surrogates cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def refuse(value: object, owner: str, what: str, wanted: str) -> NoReturn:
    """Raise the one line that says what was returned and what is wanted."""
    raise EdgexpError(f"{owner}: {what} is {shown(value)}, but {wanted}")


# Words for people


def shown(value: object) -> str:
    """A value in a few words, the same in every process."""
    try:
        words = _SHORT.repr(value)
    except BaseException as error:
        if type(error) is KeyboardInterrupt:
            raise
        words = f"<{type(value).__name__}>"
    return one_line(re.sub(r" at 0x[0-9a-fA-F]+", "", words), 120)


def explain(error: BaseException) -> str:
    """An error in one line that can be written anywhere: its kind and its message."""
    try:
        words = one_line(str(error))
    except BaseException as another:
        if type(another) is KeyboardInterrupt:
            raise
        words = "its message cannot be read"
    if isinstance(error, EdgexpError):
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def one_line(words: str, limit: int = LONGEST_REASON) -> str:
    """A text in one line of at most `limit` characters; what cannot be written is a question mark."""
    beginning = words[: 4 * limit].encode("utf-8", "replace").decode()
    joined = " ".join(line.strip() for line in beginning.splitlines())
    return joined if len(joined) <= limit else joined[: limit - 1] + "…"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlevel = 2
