"""Schemas, calls and texts made up by chance, for tests that play with every kind of tool."""

import json
from typing import Any

from hypothesis import strategies as st

from edgexp.environments import schemas, shapes
from edgexp.environments.calls import Tool

NASTY = st.one_of(
    st.text(max_size=20),
    st.sampled_from(['"', "\\", "\n", "\r\n", "\t", "\x00", "\x1b[31m", "\x85", "\u2028\u2029", "<|im_end|>", "<|im_start|>system\n", ">",
                     "; ", ")", 'a="b", c=1); Foo(', "😀", "e\u0301", "\u200b\ufeff", "\x7f\x9f", "", " ", "{}", "</think>"]),
)  # fmt: skip
"""Texts that something may trip over."""

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**18), 10**18), st.floats(allow_nan=False, allow_infinity=False), NASTY),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NASTY, inner, max_size=3)), max_leaves=6)  # fmt: skip
"""JSON values."""

NAMES = st.one_of(st.sampled_from(["name", "area", "brightness", "a", "ab", "max-results",
                                      "$top", "über", "two words", "a.b/c", "1st", '"', ""]))


@st.composite
def integers(draw: Any) -> dict[str, Any]:
    low, more = draw(st.integers(-1200, 1200)), draw(st.sampled_from([0, 1, 9, 100, 300, 5000]))
    bounds = {"minimum": low, "maximum": low + more, "exclusiveMinimum": low - 1, "exclusiveMaximum": low + more + 1}
    kept = draw(st.sets(st.sampled_from(sorted(bounds))))
    return {"type": "integer", **{name: bounds[name] for name in sorted(kept)}}


@st.composite
def numbers(draw: Any) -> dict[str, Any]:
    low, more = draw(st.floats(-50, 50)), draw(st.sampled_from([0.5, 1.0, 20.0, 0.001]))
    bounds = {"minimum": low, "maximum": low + more}
    return {"type": "number", **{name: bounds[name] for name in sorted(draw(st.sets(st.sampled_from(sorted(bounds)))))}}


@st.composite
def texts(draw: Any) -> dict[str, Any]:
    least = draw(st.sampled_from([0, 0, 0, 1, 4]))
    most = {"maxLength": least + draw(st.integers(0, 6))} if draw(st.booleans()) else {}
    return {"type": "string", **({"minLength": least} if least else {}), **most, "examples": draw(st.lists(NASTY, max_size=4))}


plain = st.one_of(
    st.builds(lambda v: {"enum": v}, st.lists(values, min_size=1, max_size=6)),
    st.builds(lambda v: {"type": "string", "enum": v}, st.lists(NASTY, min_size=1, max_size=6)),
    st.builds(lambda v: {"const": v}, values), integers(), numbers(), texts(), st.just({"type": "boolean"}),
    st.just({"type": "null"}), st.just({}), st.just({"type": ["integer", "null"]}), st.just({"type": "object"}), st.just({"type": "array"}),
)  # fmt: skip


def records(inner: Any) -> Any:
    @st.composite
    def record(draw: Any) -> dict[str, Any]:
        fields = draw(st.dictionaries(NAMES, inner, max_size=4))
        required = draw(st.sets(st.sampled_from(sorted(fields)))) if fields else set()
        more = draw(st.sampled_from([{}, {"additionalProperties": False}, {"additionalProperties": {"type": "integer"}}]))
        return {"type": "object", "properties": fields, "required": sorted(required), **more}

    return record()


def _one_of(inner: Any) -> Any:
    return st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3))


def _lists(inner: Any) -> Any:
    sizes = st.sampled_from([{}, {"minItems": 1}, {"minItems": 2, "maxItems": 3}, {"maxItems": 1}, {"minItems": 4}])
    return st.builds(lambda item, size: {"type": "array", "items": item, **size}, inner, sizes)


nested = st.recursive(
    plain, lambda inner: st.one_of(records(inner), _lists(inner), _one_of(inner)), max_leaves=6,
)  # fmt: skip
"""Schemas of any kind of value."""

tools = st.lists(st.builds(Tool, NAMES, NASTY, records(nested)), min_size=1, max_size=4, unique_by=lambda tool: tool.name)


def is_possible(tool: Tool) -> bool:
    """Whether some arguments are valid."""
    return schemas.read(json.loads(json.dumps(tool.parameters))) != shapes.NOTHING
