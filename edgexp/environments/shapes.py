"""Shapes of JSON values: one of some, a number in a range, a text, a list, a record. Here a value is checked against its shape, and a shape
told in words; `schemas.py` reads schemas into shapes. Knows nothing of tools, models or environments.

A shape that no value has is `NOTHING`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

DECIMALS = 4
"""Digits after the point of a number that is written digit by digit, where its range does not need more."""


@dataclass(frozen=True)
class Fixed:
    """One of some values, as JSON writes them."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Number:
    """A number from `least` to `most`, both included, of at most `decimals` digits after its point; 0 is a whole number."""

    least: float | None = None
    most: float | None = None
    decimals: int = 0
    open_below: bool = False
    """Whether `least` itself is not allowed …"""
    open_above: bool = False
    """… nor `most`."""


@dataclass(frozen=True)
class Text:
    """Any text of `least` to `most` characters. `examples` were seen before."""

    least: int = 0
    most: int | None = None
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Items:
    """A list of `least` to `most` values of one shape."""

    item: "Shape"
    least: int = 0
    most: int | None = None


@dataclass(frozen=True)
class Field:
    """A named value of a record."""

    name: str
    shape: "Shape"
    required: bool


@dataclass(frozen=True)
class Record:
    """Named values, in this order. `others`: the shape of values of other names; None where there may be none."""

    fields: tuple[Field, ...] = ()
    others: "Shape | None" = None


@dataclass(frozen=True)
class Either:
    """A value of any of these shapes, of which there are two or more."""

    options: tuple["Shape", ...]


@dataclass(frozen=True)
class Anything:
    """Any value."""


Shape = Fixed | Number | Text | Items | Record | Either | Anything

NOTHING = Fixed(())
TRUTH, NULL = Fixed(("true", "false")), Fixed(("null",))
ANYTHING = Anything()
SCALAR = Either((Text(), Number(decimals=DECIMALS), TRUTH, NULL))
"""What is written where any value will do."""


def spell(value: Any) -> str:
    """A JSON value in its shortest form, in one line: line breaks and control characters of every kind are escaped.

    Raises ValueError for what JSON cannot say: NaN, infinity, half of a surrogate pair, keys that are no texts.
    """
    written = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_no_json)
    written.encode()  # lone surrogates raise UnicodeEncodeError, which is a ValueError
    return written if written.isprintable() else "".join(map(_escaped, written))


def unspell(written: str) -> Any:
    """The value of a text of `spell`."""
    return json.loads(written)


def _escaped(letter: str) -> str:
    """A letter that ends a line for some reader, or that no screen shows, as JSON's escape."""
    return f"\\u{ord(letter):04x}" if letter in _ESCAPED else letter


_ESCAPED = {*map(chr, range(0x7F, 0xA0)), "\u2028", "\u2029"}


def one_line(words: str, limit: int = 400) -> str:
    """A text in one line of at most `limit` characters."""
    joined = " ".join(words.split())
    return joined if len(joined) <= limit else joined[: limit - 1] + "…"


def _no_json(value: object) -> Any:
    raise ValueError(f"{type(value).__name__} is no JSON value")


def either(shapes: Sequence[Shape]) -> Shape:
    """A value of any of some shapes."""
    flat: dict[Shape, None] = {}
    for shape in shapes:
        flat |= dict.fromkeys(shape.options if isinstance(shape, Either) else [shape])
    if ANYTHING in flat:
        return ANYTHING
    flat.pop(NOTHING, None)
    return Either(tuple(flat)) if len(flat) > 1 else next(iter(flat), NOTHING)


def scaled(shape: Number) -> tuple[int | None, int | None]:
    """The least and the most that can be written, as whole numbers of the last decimal; None where there is no such end."""
    unit = 10**shape.decimals
    first = last = None
    if shape.least is not None:
        exact = Fraction(str(shape.least)) * unit
        first = math.ceil(exact) + (shape.open_below and exact.denominator == 1)
    if shape.most is not None:
        exact = Fraction(str(shape.most)) * unit
        last = math.floor(exact) - (shape.open_above and exact.denominator == 1)
    return first, last


def misfit(value: Any, shape: Shape, what: str = "it") -> str:
    """Why a JSON value is not of a shape, in one line; empty where it is."""
    if isinstance(shape, Either):
        reasons = [misfit(value, option, what) for option in shape.options]
        return "" if "" in reasons else _unlike(value, shape, what)
    if isinstance(shape, Anything):
        return ""
    if isinstance(shape, Items) and isinstance(value, list | tuple):
        return _misfit_items(value, shape, what)
    if isinstance(shape, Record) and isinstance(value, Mapping):
        return misfit_record(value, shape, what)
    fits = (isinstance(shape, Fixed) and _is_one_of(value, shape)) or (isinstance(shape, Number) and _is_number(value, shape)) \
        or (isinstance(shape, Text) and _is_text(value, shape))
    return "" if fits else _unlike(value, shape, what)


def _unlike(value: Any, shape: Shape, what: str) -> str:
    return f"{what} is {_shown(value)}, but {describe(shape)} is wanted"


def misfit_record(value: Mapping[str, Any], shape: Record, what: str = "") -> str:
    """Why some named values are not a record; each is called by its name, with `what` and a point before it."""
    known, before = {field.name: field for field in shape.fields}, f"{what}." if what else ""
    for name in value:
        if name not in known and shape.others is None:
            return f"there is no {before}{name:.80}; there is {', '.join(known) or 'none'}"[:400]
    for field in shape.fields:
        if field.required and field.name not in value:
            return f"{before}{field.name} is missing"
    deep = (misfit(one, known[name].shape if name in known else shape.others or NOTHING, f"{before}{name}")
            for name, one in value.items())  # fmt: skip
    return next(filter(None, deep), "")


def _misfit_items(value: Sequence[Any], shape: Items, what: str) -> str:
    if len(value) < shape.least or (shape.most is not None and len(value) > shape.most):
        return f"{what} has {len(value)} values, but {describe(shape)} is wanted"
    return next(filter(None, (misfit(one, shape.item, f"{what}[{place}]") for place, one in enumerate(value))), "")


def _is_one_of(value: Any, shape: Fixed) -> bool:
    try:
        spelt = spell(value)
    except (ValueError, RecursionError):
        return False
    whole = isinstance(value, float) and value.is_integer()
    return spelt in shape.values or (whole and str(int(value)) in shape.values)


def _is_number(value: Any, shape: Number) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float) or (isinstance(value, float) and not math.isfinite(value)):
        return False
    if not shape.decimals and value != int(value):
        return False
    above = shape.least is None or value > shape.least or (value == shape.least and not shape.open_below)
    return above and (shape.most is None or value < shape.most or (value == shape.most and not shape.open_above))


def _is_text(value: Any, shape: Text) -> bool:
    return isinstance(value, str) and len(value) >= shape.least and (shape.most is None or len(value) <= shape.most)


def _shown(value: Any) -> str:
    try:
        words = spell(value)
    except (ValueError, RecursionError):
        words = f"a {type(value).__name__}"
    return words if len(words) <= 60 else words[:59] + "…"


def describe(shape: Shape, most: int = 12) -> str:
    """A shape in a few words, for models and people: `"on"|"off"`, `0–100`, `[text]`. Of many values the first `most` are named."""
    if isinstance(shape, Fixed):
        if shape == TRUTH:
            return "true|false"
        return "|".join(shape.values[:most]) + ("|…" if len(shape.values) > most else "") if shape.values else "nothing"
    if isinstance(shape, Number):
        return _range(shape)
    if isinstance(shape, Text):
        return "text"
    if isinstance(shape, Items):
        return f"[{describe(shape.item, most)}, …]"
    if isinstance(shape, Record):
        return "{" + fields_in_words(shape, most) + "}"
    return "any value" if isinstance(shape, Anything) else "|".join(describe(option, most) for option in shape.options)


def fields_in_words(shape: Record, most: int = 12) -> str:
    """The fields of a record: `name: text, brightness?: 0–100`; a question mark says that it may be left out."""
    return ", ".join(f"{field.name}{'' if field.required else '?'}: {describe(field.shape, most)}" for field in shape.fields)


def _range(shape: Number) -> str:
    name = "number" if shape.decimals else "integer"
    low, high = (None if end is None else f"{end:g}" if abs(end) < 1e6 else str(end) for end in (shape.least, shape.most))
    if low is None and high is None:
        return name
    if low is not None and high is not None:
        return f"{low}–{high}" if not shape.decimals else f"number {low}–{high}"
    return f"{name} ≥ {low}" if low is not None else f"{name} ≤ {high}"
