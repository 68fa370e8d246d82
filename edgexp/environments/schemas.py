"""JSON Schema as far as calls need it, read into shapes once. Knows nothing of tools, models or environments.

`read` turns a schema into a `Shape`, or says in one line what is wrong with it; `misfit` says in one line why a value is not of a shape.
Understood: `type` (one or several), `enum`, `const`, `minimum`, `maximum` and their exclusive forms, `minLength`, `maxLength`, `items`,
`minItems`, `maxItems`, `properties`, `required`, `additionalProperties`, `anyOf` and `oneOf` (both as: one of these, at least), `allOf`
of one, `nullable`, and `$ref` to a definition beside it. `examples` of a text are offered to whoever writes one. Other words (`pattern`,
`format`, `description` …) are not looked at, neither by who writes a value nor by who checks it.

A shape that no value has (an empty `enum`) is `NOTHING`. What is optional and can only be nothing is left out.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from edgexp.errors import EdgexpError

DEEPEST = 12
"""Schemas inside of schemas."""
MOST_VALUES = 100_000
"""Values of one `enum`."""
MOST_FIELDS = 1_000
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


Shape = Fixed | Number | Text | Items | Record | Either

NOTHING = Fixed(())
TRUTH, NULL = Fixed(("true", "false")), Fixed(("null",))
SCALAR = Either((Text(), Number(decimals=DECIMALS), TRUTH, NULL))
"""What is written where any value will do …"""
ANYTHING = Either((*SCALAR.options, Items(SCALAR), Record(others=SCALAR)))
"""… and what is understood there; deeper values are taken as they are."""


def spell(value: Any) -> str:
    """A JSON value in its shortest form, in one line: line breaks and control characters of every kind are escaped.

    Raises ValueError for what JSON cannot say: NaN, infinity, half of a surrogate pair, keys that are no texts.
    """
    written = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_no_json)
    written.encode()  # lone surrogates raise UnicodeEncodeError, which is a ValueError
    return written if written.isprintable() else "".join(map(_escaped, written))


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


def read(schema: object, what: str = "the schema") -> Shape:
    """The shape that a schema tells of. Raises EdgexpError, in one line, where it cannot be understood."""
    return _Reader(schema).read(schema, what, 0)


class _Reader:
    """Reads one schema with what it refers to."""

    def __init__(self, root: object):
        self._root = root

    def read(self, schema: object, what: str, depth: int) -> Shape:
        if depth > DEEPEST:
            raise EdgexpError(f"{what} is nested more than {DEEPEST} deep, or refers to itself")
        if schema is True or schema == {}:
            return ANYTHING
        if schema is False:
            return NOTHING
        if not isinstance(schema, Mapping) or not all(type(key) is str for key in schema):
            raise EdgexpError(f"{what} is no JSON schema, which is an object")
        given = self._resolved(schema, what)
        if options := given.get("anyOf", given.get("oneOf")):
            return self._either(given, options, what, depth)
        if "enum" in given or "const" in given:
            return self._fixed(given, what, depth)
        types = given.get("type", _told_by(given))
        if types is None:
            return ANYTHING
        named = [types] if isinstance(types, str) else types
        if not isinstance(named, list | tuple) or not named:
            raise EdgexpError(f"{what}: its type is neither a name nor a list of names")
        shapes = [self._typed(given, name, what, depth) for name in named]
        return either([*shapes, NULL] if given.get("nullable") is True else shapes)

    def _resolved(self, schema: Mapping[str, Any], what: str) -> Mapping[str, Any]:
        """A schema with what it refers to written out, as far as its own keys go."""
        for _ in range(DEEPEST):
            parts = schema.get("allOf")
            if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], Mapping):
                schema = {**{key: value for key, value in schema.items() if key != "allOf"}, **parts[0]}
            elif parts:
                raise EdgexpError(f"{what}: allOf of several schemas is not understood")
            elif "$ref" in schema:
                found = self._find(schema["$ref"], what)
                schema = {**found, **{key: value for key, value in schema.items() if key != "$ref"}}
            else:
                return schema
        raise EdgexpError(f"{what} refers to itself")

    def _find(self, reference: object, what: str) -> Mapping[str, Any]:
        """What a reference such as `#/$defs/Colour` names."""
        found = self._root
        parts = reference.removeprefix("#/").split("/") if isinstance(reference, str) and reference.startswith("#/") else [""]
        for part in parts:
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            raise EdgexpError(f"{what} refers to {reference!r:.80}, which is not there")
        return found

    def _either(self, given: Mapping[str, Any], options: object, what: str, depth: int) -> Shape:
        if not isinstance(options, list | tuple) or not all(isinstance(option, Mapping | bool) for option in options):
            raise EdgexpError(f"{what}: anyOf is no list of schemas")
        beside = {key: value for key, value in given.items() if key not in ("anyOf", "oneOf", "default", "title", "description")}
        merged = [{**beside, **option} if isinstance(option, Mapping) else option for option in options]
        return either([self.read(option, what, depth + 1) for option in merged])

    def _fixed(self, given: Mapping[str, Any], what: str, depth: int) -> Shape:
        values = [given["const"]] if "const" in given else given["enum"]
        if not isinstance(values, list | tuple) or len(values) > MOST_VALUES:
            raise EdgexpError(f"{what}: its enum is no list of at most {MOST_VALUES:,} values")
        rest = self.read({key: value for key, value in given.items() if key not in ("enum", "const")}, what, depth + 1)
        try:
            return Fixed(tuple(dict.fromkeys(spell(value) for value in values if not misfit(value, rest))))
        except (ValueError, RecursionError) as error:
            raise EdgexpError(f"{what}: its enum has a value that JSON cannot say: {error}") from None

    def _typed(self, given: Mapping[str, Any], name: object, what: str, depth: int) -> Shape:
        if name == "boolean":
            return TRUTH
        if name == "null":
            return NULL
        if name in ("integer", "number"):
            return _number(given, what, 0 if name == "integer" else DECIMALS)
        if name == "string":
            least, most = _sizes(given, what, "minLength", "maxLength")
            return Text(least, most, _examples(given, what)) if most is None or least <= most else NOTHING
        if name == "array":
            return self._items(given, what, depth)
        if name == "object":
            return self._record(given, what, depth)
        raise EdgexpError(f"{what}: its type is {name!r:.40}; types are object, array, string, integer, number, boolean, null")

    def _items(self, given: Mapping[str, Any], what: str, depth: int) -> Shape:
        item = self.read(given.get("items", True), f"{what}[]", depth + 1)
        least, most = _sizes(given, what, "minItems", "maxItems")
        if item == NOTHING:
            return NOTHING if least else Items(item, 0, 0)
        return Items(item, least, most) if most is None or least <= most else NOTHING

    def _record(self, given: Mapping[str, Any], what: str, depth: int) -> Shape:
        fields, required = given.get("properties", {}), given.get("required", [])
        if not isinstance(fields, Mapping) or not all(type(name) is str for name in fields) or len(fields) > MOST_FIELDS:
            raise EdgexpError(f"{what}: its properties are no object of at most {MOST_FIELDS:,} schemas")
        if not isinstance(required, list | tuple) or not all(type(name) is str for name in required):
            raise EdgexpError(f"{what}: required is no list of names")
        more = given.get("additionalProperties", True)
        others = ANYTHING if more is True else None if more is False else self.read(more, f"{what}.*", depth + 1)
        shapes = {name: self.read(shape, f"{what}.{name}", depth + 1) for name, shape in fields.items()}
        for name in required:
            shapes.setdefault(name, others or NOTHING)
        if any(shapes[name] == NOTHING for name in required):
            return NOTHING
        kept = tuple(Field(name, shape, name in required) for name, shape in shapes.items() if shape != NOTHING)
        return Record(kept, None if others == NOTHING else others)


def either(shapes: Sequence[Shape]) -> Shape:
    """A value of any of some shapes."""
    flat: dict[Shape, None] = {}
    for shape in shapes:
        flat |= dict.fromkeys(shape.options if isinstance(shape, Either) else [shape])
    flat.pop(NOTHING, None)
    return Either(tuple(flat)) if len(flat) > 1 else next(iter(flat), NOTHING)


def _told_by(given: Mapping[str, Any]) -> str | None:
    """The type of a schema that does not say it."""
    if given.keys() & {"properties", "required", "additionalProperties"}:
        return "object"
    return "array" if given.keys() & {"items", "minItems", "maxItems"} else None


def _sizes(given: Mapping[str, Any], what: str, lower: str, upper: str) -> tuple[int, int | None]:
    least, most = given.get(lower, 0), given.get(upper)
    if type(least) is not int or least < 0 or not (most is None or (type(most) is int and most >= 0)):
        raise EdgexpError(f"{what}: {lower} and {upper} are whole numbers, 0 or more")
    return least, most


def _examples(given: Mapping[str, Any], what: str) -> tuple[str, ...]:
    examples = given.get("examples", [])
    if not isinstance(examples, list | tuple) or not all(type(one) is str for one in examples):
        raise EdgexpError(f"{what}: examples is no list of texts")
    least, most = _sizes(given, what, "minLength", "maxLength")
    return tuple(dict.fromkeys(e for e in examples if len(e) >= least and (most is None or len(e) <= most) and _can_be_written(e)))


def _can_be_written(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(given: Mapping[str, Any], what: str, decimals: int) -> Shape:
    bounds = {}
    for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        bounds[name] = bound = given.get(name)
        if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int | float) or not math.isfinite(bound)):
            raise EdgexpError(f"{what}: {name} is no number")
    low, open_below = _stricter(bounds["minimum"], bounds["exclusiveMinimum"], max)
    high, open_above = _stricter(bounds["maximum"], bounds["exclusiveMaximum"], min)
    shape = Number(low, high, decimals, open_below, open_above)
    for places in (decimals, *(range(decimals + 1, 16) if decimals else ())):
        shape = Number(low, high, places, open_below, open_above)
        first, last = scaled(shape)
        if first is None or last is None or first <= last:
            return shape
    return NOTHING


def _stricter(bound: Any, exclusive: Any, pick: Any) -> tuple[Any, bool]:
    if exclusive is None or bound is None:
        return (exclusive, True) if bound is None and exclusive is not None else (bound, False)
    return (exclusive, True) if pick(bound, exclusive) == exclusive else (bound, False)


def scaled(shape: Number) -> tuple[int | None, int | None]:
    """The least and the most that can be written, as whole numbers of the last decimal; None where there is no such end."""
    unit = 10**shape.decimals
    first = last = None
    if shape.least is not None:
        exact = Fraction(shape.least) * unit
        first = math.ceil(exact) + (shape.open_below and exact.denominator == 1)
    if shape.most is not None:
        exact = Fraction(shape.most) * unit
        last = math.floor(exact) - (shape.open_above and exact.denominator == 1)
    return first, last


def misfit(value: Any, shape: Shape, what: str = "it") -> str:
    """Why a JSON value is not of a shape, in one line; empty where it is."""
    if isinstance(shape, Either):
        reasons = [misfit(value, option, what) for option in shape.options]
        return "" if "" in reasons else _unlike(value, shape, what)
    if isinstance(shape, Items) and isinstance(value, list | tuple):
        return _misfit_items(value, shape, what)
    if isinstance(shape, Record) and isinstance(value, Mapping):
        return misfit_record(value, shape, what)
    fits = {Fixed: _is_one_of, Number: _is_number, Text: _is_text}.get(type(shape))
    return "" if fits is not None and fits(value, shape) else _unlike(value, shape, what)


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
            for name, one in value.items() if name in known or shape.others not in (None, ANYTHING))  # fmt: skip
    return next(filter(None, deep), "")


def _misfit_items(value: Sequence[Any], shape: Items, what: str) -> str:
    if len(value) < shape.least or (shape.most is not None and len(value) > shape.most):
        return f"{what} has {len(value)} values, but {describe(shape)} is wanted"
    if shape.item == ANYTHING:
        return ""
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
    return "any value" if shape == ANYTHING else "|".join(describe(option, most) for option in shape.options)


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
