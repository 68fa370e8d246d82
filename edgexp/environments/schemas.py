"""JSON Schema as far as calls need it, read into shapes once. Knows nothing of tools, models or environments.

`read` turns a schema into a `Shape` (see `shapes.py`), or says in one line what is wrong with it.
Understood: `type` (one or several), `enum`, `const`, `minimum`, `maximum` and their exclusive forms, `minLength`, `maxLength`, `items`,
`minItems`, `maxItems`, `properties`, `required`, `additionalProperties`, `anyOf` and `oneOf` (both as: one of these, at least), `allOf`
of one, `nullable`, and `$ref` to a definition beside it. `examples` of a text are offered to whoever writes one. Other words (`pattern`,
`format`, `description` …) are not looked at, neither by who writes a value nor by who checks it.

What no value can be (an empty `enum`) is `NOTHING`. What is optional and can only be nothing is left out.
"""

import math
from collections.abc import Mapping
from typing import Any

from edgexp.environments.shapes import (
    ANYTHING,
    DECIMALS,
    NOTHING,
    NULL,
    TRUTH,
    Field,
    Fixed,
    Items,
    Number,
    Record,
    Shape,
    Text,
    either,
    misfit,
    scaled,
    spell,
)
from edgexp.errors import EdgexpError

DEEPEST = 12
"""Schemas inside of schemas."""
MOST_VALUES = 10_000
"""Values of one `enum`."""
MOST_FIELDS = 1_000


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
            spelt = [(spell(value), value) for value in values]
            return Fixed(tuple(dict.fromkeys(written for written, value in spelt if not misfit(value, rest))))
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
