"""Calls as texts, and schemas as shapes: what is written is read again as the same, and what is wrong is told in one line."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schema_samples import NAMES, NASTY, is_possible, nested, tools, values

from edgexp.environments import schemas, shapes
from edgexp.environments.base import most_calls_of, tools_of
from edgexp.environments.calls import (
    BadCall,
    Call,
    Tool,
    check_call,
    describe_tools,
    parse_call,
    parse_calls,
    read_calls,
    write_call,
    write_calls,
)
from edgexp.errors import EdgexpError

TURN_ON = Tool("HassTurnOn", "Turns something on.\nAlways.", {
    "type": "object", "properties": {"name": {"type": "string", "enum": ["Garden Light", "Fan"]},
                                     "brightness": {"type": "integer", "minimum": 0, "maximum": 100},
                                     "domain": {"type": "array", "items": {"enum": ["light", "fan"]}}},
    "required": ["name"], "additionalProperties": False})  # fmt: skip
calls = st.builds(Call, NAMES | NASTY, st.dictionaries(NAMES | NASTY, values, max_size=4))


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, numbers of one kind with numbers of that kind."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@given(st.lists(calls, min_size=1, max_size=4))
def test_what_is_written_is_read_again_as_the_same(given_: list[Call]) -> None:
    text = write_calls(given_)
    assert len(text.splitlines()) == 1 and text == text.strip()
    again = parse_calls(text)
    assert [call.name for call in again] == [call.name for call in given_]
    assert all(same(a.arguments, b.arguments) and list(a.arguments) == list(b.arguments) for a, b in zip(again, given_, strict=True))
    assert write_calls(again) == text


cut_off = st.tuples(calls.map(write_call), st.integers(0, 60)).map(lambda given: given[0][: given[1]])
stained = st.tuples(calls.map(write_call), NASTY, st.integers(0, 60)).map(
    lambda given: given[0][: given[2]] + given[1] + given[0][given[2] :])  # fmt: skip


@given(st.one_of(st.text(), NASTY, cut_off, stained))
def test_whatever_is_no_call_is_told_in_one_line(text: str) -> None:
    try:
        found = parse_calls(text)
    except BadCall as error:
        words = str(error)
        assert words.startswith("character ") and len(words.splitlines()) == 1 and len(words) < 700
        words.encode("utf-8", "replace")
    else:
        assert parse_calls(write_calls(found)) == found or not same([c.arguments for c in found], [c.arguments for c in found])


@pytest.mark.parametrize(("text", "words"), [
    ("", 'character 1: the text ends, but the name of a tool is wanted'),
    ("HassTurnOn", 'character 11: the text ends, but "(" after HassTurnOn is wanted'),
    ("HassTurnOn(", 'character 12: the text ends, but the name of an argument, or ")" is wanted'),
    ("HassTurnOn(name", 'character 16: the text ends, but "=" after name is wanted'),
    ("HassTurnOn(name=Fan)", 'character 17: there is "Fan)", but a JSON value of name (texts in double quotes) is wanted'),
    ("HassTurnOn(name='Fan')", "character 17: there is \"'Fan')\", but a JSON value of name (texts in double quotes) is wanted"),
    ('HassTurnOn(name="Fan"', 'character 22: the text ends, but "," or ")" is wanted'),
    ('HassTurnOn(name="Fan") please', 'character 24: there is "please", but the end, or ";" and another call is wanted'),
    ('HassTurnOn(name="Fan", name="Fan")',
     "character 28: there is \"=\\\"Fan\\\")\", but each argument once, and no second name is wanted"),
    ('HassTurnOn(name=NaN)', "character 17: the value of name cannot be read: NaN is no JSON value"),
    ('HassTurnOn(name=1e999)', "character 17: the value of name cannot be read: a number is too large"),
    ('HassTurnOn(name={"a":1,"a":2})', "character 17: the value of name cannot be read: an object names a value twice"),
])  # fmt: skip
def test_where_a_text_is_wrong_is_said(text: str, words: str) -> None:
    with pytest.raises(BadCall) as error:
        parse_call(text)
    assert str(error.value) == words


@pytest.mark.parametrize("text", ["f(a=" + "[" * 100_000, "f(a=" + '{"a":' * 100_000, 'f(a="\\ud800")', "f(a=" + "9" * 5_000 + ")",
                                  "f(" * 10_000, "f(a=\ud800)"])  # fmt: skip
def test_texts_that_break_readers_are_refused(text: str) -> None:
    with pytest.raises(BadCall, match=r"^character "):
        parse_calls(text)


def test_readers_are_lenient_where_nothing_can_be_meant_otherwise() -> None:
    assert parse_calls(' HassTurnOn ( name = "Fan" ,brightness=5 ) ;Stop( );') == [Call("HassTurnOn", {"name": "Fan", "brightness": 5}),
                                                                                   Call("Stop", {})]  # fmt: skip


@pytest.mark.parametrize(("call", "text"), [
    (Call("HassTurnOn", {"brightness": 50, "name": "Garden Light"}), 'HassTurnOn(name="Garden Light", brightness=50)'),
    (Call("HassTurnOn", {"extra": None, "name": 'a"b\\\n\x00\x85\u2028é'}),
     'HassTurnOn(name="a\\"b\\\\\\n\\u0000\\u0085\\u2028é", extra=null)'),
    (Call("HassTurnOn", {"domain": ["light", {"a": 1.5}]}), 'HassTurnOn(domain=["light",{"a":1.5}])'),
    (Call("two words", {"1st": True}), '"two words"("1st"=true)'),
])  # fmt: skip
def test_how_calls_are_written(call: Call, text: str) -> None:
    assert write_call(call, TURN_ON) == text and same(parse_call(text).arguments, call.arguments)


@pytest.mark.parametrize("value", [float("nan"), {"a": {1, 2}}, "\ud800", object(), b"x"])
def test_what_json_cannot_say_is_not_written(value: Any) -> None:
    with pytest.raises(BadCall):
        write_call(Call("f", {"a": value}))


@pytest.mark.parametrize(("text", "words"), [
    ('HassTurnOn(name="Garden Light", brightness=100, domain=["fan"])', ""),
    ("HassTurnOff()", "there is no tool HassTurnOff; there is HassTurnOn"),
    ("HassTurnOn(brightness=5)", "HassTurnOn: name is missing"),
    ('HassTurnOn(name="Lamp")', 'HassTurnOn: name is "Lamp", but "Garden Light"|"Fan" is wanted'),
    ('HassTurnOn(name="Fan", brightness=101)', "HassTurnOn: brightness is 101, but 0–100 is wanted"),
    ('HassTurnOn(name="Fan", brightness="5")', 'HassTurnOn: brightness is "5", but 0–100 is wanted'),
    ('HassTurnOn(name="Fan", brightness=true)', "HassTurnOn: brightness is true, but 0–100 is wanted"),
    ('HassTurnOn(name="Fan", brightness=5.5)', "HassTurnOn: brightness is 5.5, but 0–100 is wanted"),
    ('HassTurnOn(name="Fan", brightness=5.0)', ""),
    ('HassTurnOn(name="Fan", domain=["fan","sun"])', 'HassTurnOn: domain[1] is "sun", but "light"|"fan" is wanted'),
    ('HassTurnOn(name="Fan", domain="fan")', 'HassTurnOn: domain is "fan", but ["light"|"fan", …] is wanted'),
    ('HassTurnOn(name="Fan", colour=1)', "HassTurnOn: there is no colour; there is name, brightness, domain"),
])  # fmt: skip
def test_why_a_call_is_not_valid(text: str, words: str) -> None:
    assert check_call(parse_call(text), [TURN_ON]) == words


def test_several_calls_are_valid_where_they_are_allowed() -> None:
    text = 'HassTurnOn(name="Fan"); HassTurnOn(name="Garden Light")'
    assert len(read_calls(text, [TURN_ON], 2)) == 2
    with pytest.raises(BadCall, match="2 calls are too many: at most 1 may be made at once"):
        read_calls(text, [TURN_ON], 1)
    with pytest.raises(BadCall, match="one call is wanted, and 2 are given"):
        parse_call(text)


def test_tools_in_words() -> None:
    other = Tool("add", "", {"type": "object", "properties": {
        "item": {"type": "string"}, "n": {"type": ["integer", "null"]}, "x": {"type": "number", "minimum": 0.5}, "on": {"type": "boolean"},
        "deep": {"type": "object", "properties": {"a": {}}, "required": ["a"]}, "many": {"enum": list(range(20))}},
        "required": ["item"]})  # fmt: skip
    assert describe_tools([TURN_ON, other]) == (
        'HassTurnOn(name: "Garden Light"|"Fan", brightness?: 0–100, domain?: ["light"|"fan", …]): Turns something on. Always.\n'
        "add(item: text, n?: integer|null, x?: number ≥ 0.5, on?: true|false, deep?: {a: any value}, "
        "many?: 0|1|2|3|4|5|6|7|8|9|10|11|…)")


@given(tools)
def test_tools_are_told_in_a_line_each(offered: list[Tool]) -> None:
    possible = [tool for tool in offered if is_possible(tool)]
    assert len(describe_tools(possible).splitlines()) == len(possible)


@given(nested, values)
def test_a_shape_says_what_the_schema_says(schema: dict[str, Any], value: Any) -> None:
    """Against a reader of schemas that is written another way."""
    shape = schemas.read(schema)
    assert (shapes.misfit(value, shape) == "") is validates(value, schema)


def validates(value: Any, schema: Any) -> bool:
    """Whether a value is valid, straight from the words of JSON Schema."""
    def is_number(one: Any) -> bool:
        return isinstance(one, int | float) and not isinstance(one, bool)

    kinds = {"object": lambda v: isinstance(v, dict), "array": lambda v: isinstance(v, list), "string": lambda v: isinstance(v, str),
             "boolean": lambda v: isinstance(v, bool), "null": lambda v: v is None, "number": is_number,
             "integer": lambda v: is_number(v) and v == int(v)}  # fmt: skip
    if "anyOf" in schema and not any(validates(value, option) for option in schema["anyOf"]):
        return False
    if "enum" in schema and not any(equal(value, one) for one in schema["enum"]):
        return False
    if "const" in schema and not equal(value, schema["const"]):
        return False
    wanted = schema.get("type", [*kinds])
    if not any(kinds[name](value) for name in ([wanted] if isinstance(wanted, str) else wanted)):
        return False
    if is_number(value):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        above, below = schema.get("exclusiveMinimum", value - 1), schema.get("exclusiveMaximum", value + 1)
        return bool(low <= value <= high and ("exclusiveMinimum" not in schema or above < value)
                    and ("exclusiveMaximum" not in schema or value < below))  # fmt: skip
    if isinstance(value, str):
        return bool(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)))
    if isinstance(value, list):
        fits = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        return bool(fits) and all(validates(one, schema.get("items", {})) for one in value)
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties", {})
        return set(schema.get("required", [])) <= set(value) and all(
            validates(one, known[name]) if name in known else more is not False and validates(one, more) for name, one in value.items())
    return True


def equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same, whole numbers with and without a point too."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) and one.is_integer() and isinstance(other, int):
        return bool(one == other)
    return same(one, other) and type(one) is type(other)


@pytest.mark.parametrize(("schema", "words"), [
    (5, "is no JSON schema"), ("x", "is no JSON schema"), ({5: 6}, "is no JSON schema"),
    ({"type": "text"}, "its type is 'text'; types are"),
    ({"type": 5}, "its type is neither a name nor a list of names"), ({"enum": 5}, "its enum is no list"),
    ({"enum": {"a": 1}}, "its enum is no list"),
    ({"type": "array", "minItems": "x"}, "minItems and maxItems are whole numbers"), ({"type": "string", "minLength": -1}, "whole numbers"),
    ({"type": "integer", "minimum": "x"}, "minimum is no number"), ({"type": "integer", "maximum": True}, "maximum is no number"),
    ({"type": "number", "maximum": float("nan")}, "maximum is no number"),
    ({"type": "object", "properties": []}, "its properties are no object"),
    ({"type": "object", "required": "a"}, "required is no list of names"),
    ({"type": "object", "properties": {"a": {"type": "x"}}}, r"\.a: its type"),
    ({"$ref": "#/$defs/a"}, "refers to '#/\\$defs/a', which is not there"), ({"allOf": [{}, {}]}, "allOf of several schemas"),
    ({"anyOf": 5}, "anyOf is no list of schemas"), ({"anyOf": [5]}, "anyOf is no list of schemas"),
    ({"enum": [float("nan")]}, "JSON cannot say"),
    ({"enum": ["\ud800"]}, "JSON cannot say"), ({"type": "string", "examples": [5]}, "examples is no list of texts"),
    ({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}, "refers to itself"),
    ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "refers to itself"),
])  # fmt: skip
def test_what_is_no_schema_is_told_in_one_line(schema: Any, words: str) -> None:
    with pytest.raises(EdgexpError, match=words) as error:
        schemas.read(schema)
    assert len(str(error.value).splitlines()) == 1


def test_schemas_of_other_programs_are_understood() -> None:
    """As pydantic and FastMCP write them."""
    schema = {
        "$defs": {"Colour": {"enum": ["red", "blue"], "title": "Colour", "type": "string"}},
        "properties": {"colour": {"allOf": [{"$ref": "#/$defs/Colour"}], "default": "red"}, "again": {"$ref": "#/$defs/Colour"},
                       "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None, "title": "Limit"}},
        "required": ["again"], "title": "Arguments", "type": "object", "$schema": "http://json-schema.org/draft-07/schema#"}  # fmt: skip
    assert shapes.describe(schemas.read(schema)) == '{colour?: "red"|"blue", again: "red"|"blue", limit?: integer|null}'


def test_what_nobody_can_give_is_left_out() -> None:
    none_now = {"type": "object", "properties": {"a": {"enum": []}, "b": {"type": "integer", "minimum": 5, "maximum": 4}, "c": {}}}
    assert shapes.describe(schemas.read(none_now)) == "{c?: any value}"
    assert schemas.read({**none_now, "required": ["a"]}) == shapes.NOTHING


def test_an_environment_says_whether_it_has_tools() -> None:
    class Plain:
        pass

    class Calling:
        most_calls = 3

        def tools(self) -> list[Tool]:
            return [TURN_ON]

    assert tools_of(Plain()) is None and most_calls_of(Plain()) == 1  # type: ignore[arg-type]
    found = tools_of(Calling())  # type: ignore[arg-type]
    assert found is not None and list(found()) == [TURN_ON] and most_calls_of(Calling()) == 3  # type: ignore[arg-type]
