"""Tools and calls of them: what may be called now, and a call as a line of text. Knows no environment, model or prompt.

A call is written `HassTurnOn(name="Garden Light", brightness=50)`: the tool's name and its arguments in the order of the schema, values as
JSON in its shortest form. It is one line whatever is in it. Several calls of a turn are joined by `; `. What is optional and not given is
left out.

An environment that offers `tools()` takes such texts as its actions:

    def step(self, action):
        calls = read_calls(action, self.tools(), 1)     # raises BadCall: its text is the observation
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NoReturn

import msgspec

from edgexp.environments import schemas, shapes
from edgexp.environments.shapes import Either, Record, Shape
from edgexp.errors import EdgexpError, UsageError

SEPARATOR = "; "
"""What stands between two calls of a turn."""
_BARE = re.compile(r"(?!\d)[\w$][\w.$/:@-]*")
"""A name that needs no quotes."""
_SPACE = re.compile(r"[ \t\r\n]*")


class Tool(msgspec.Struct, frozen=True):
    """Something that can be called. `parameters` is a JSON schema of type object; see `schemas.py` for what is understood.

    Values that are valid now are an `enum`; a text that may be anything can carry `examples`, which cost little to write.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = msgspec.field(default_factory=lambda: {"type": "object", "additionalProperties": False})


class Call(msgspec.Struct, frozen=True):
    """A tool by name, with JSON values as arguments."""

    name: str
    arguments: Mapping[str, Any] = {}


class BadCall(UsageError):
    """A text is no call, or a call is not valid. The message is one line."""


def write_call(call: Call, tool: Tool | None = None) -> str:
    """A call as one line; arguments in the order of the tool's schema, where a tool is given, and others after them.

    Raises BadCall where an argument is no JSON value.
    """
    order = list(_properties(tool)) if tool else []
    names = [name for name in order if name in call.arguments] + [name for name in call.arguments if name not in {*order}]
    try:
        return f"{spell_name(call.name)}({', '.join(f'{spell_name(n)}={shapes.spell(call.arguments[n])}' for n in names)})"
    except (TypeError, ValueError, RecursionError) as error:
        raise BadCall(f"{call.name}: {error}") from error


def write_calls(calls: Iterable[Call], tools: Sequence[Tool] = ()) -> str:
    """Calls of one turn as one line; arguments in the order of their tools' schemas, where these are given."""
    named = {tool.name: tool for tool in tools}
    return SEPARATOR.join(write_call(call, named.get(call.name)) for call in calls)


def spell_name(name: str) -> str:
    """A name as calls write it: bare, or as JSON's text where it has other letters than names usually have."""
    return name if _BARE.fullmatch(name) and name.isprintable() else shapes.spell(name)


def parse_call(text: str) -> Call:
    """The call that a text is. Raises BadCall, in one line with the position, where it is none or more than one."""
    calls = parse_calls(text)
    if len(calls) > 1:
        raise BadCall(f"one call is wanted, and {len(calls)} are given")
    return calls[0]


def parse_calls(text: str) -> list[Call]:
    """The calls of a turn, one or more. Raises BadCall, in one line with the position, where the text is something else."""
    reader = _Reader(text)
    calls = [reader.call()]
    while reader.take(";"):
        if reader.over():
            break
        calls.append(reader.call())
    if not reader.over():
        reader.refuse('the end, or ";" and another call')
    return calls


class _Reader:
    """Reads calls out of a text, from its beginning on."""

    def __init__(self, text: str):
        self._text, self._at = text, 0
        self._json = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite)

    def call(self) -> Call:
        name, arguments = self._name("the name of a tool"), dict[str, Any]()
        if not self.take("("):
            self.refuse(f'"(" after {name:.60}')
        if self.take(")"):
            return Call(name, arguments)
        while True:
            key = self._name('the name of an argument, or ")"')
            if key in arguments:
                self.refuse(f"each argument once, and no second {key:.60}")
            if not self.take("="):
                self.refuse(f'"=" after {key:.60}')
            arguments[key] = self._value(key)
            if self.take(")"):
                return Call(name, arguments)
            if not self.take(","):
                self.refuse('"," or ")"')

    def take(self, mark: str) -> bool:
        """Go beyond a mark, where it stands here."""
        self._skip()
        if found := self._text.startswith(mark, self._at):
            self._at += len(mark)
        return found

    def over(self) -> bool:
        """Whether nothing is left."""
        self._skip()
        return self._at >= len(self._text)

    def refuse(self, wanted: str) -> NoReturn:
        here = self._text[self._at : self._at + 20]
        found = f"there is {json.dumps(here)}" if here else "the text ends"
        raise BadCall(f"character {self._at + 1}: {found}, but {shapes.one_line(wanted)} is wanted")

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _name(self, wanted: str) -> str:
        self._skip()
        if self._text.startswith('"', self._at):
            return str(self._value(wanted))
        found = _BARE.match(self._text, self._at)
        if not found:
            self.refuse(wanted)
        self._at = found.end()
        return found.group()

    def _value(self, key: str) -> Any:
        self._skip()
        try:
            value, end = self._json.raw_decode(self._text, self._at)
            shapes.spell(value)
        except json.JSONDecodeError as error:
            self._at = min(error.pos, len(self._text))
            self.refuse(f"a JSON value of {key:.60} (texts in double quotes)")
        except (ValueError, RecursionError) as error:
            raise BadCall(f"character {self._at + 1}: the value of {key:.60} cannot be read: {shapes.one_line(str(error))}") from None
        self._at = end
        return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object names a value twice")
    return found


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON value")


def _finite(digits: str) -> float:
    if (value := float(digits)) in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return value


def shape_of(tool: Tool) -> Record | Either | None:
    """The shape of a tool's arguments; None where no value of theirs is valid now. Raises EdgexpError for a schema that cannot be read."""
    try:
        shape = _shape(json.dumps(tool.parameters, sort_keys=False), tool.name)
    except (TypeError, ValueError, RecursionError) as error:
        raise EdgexpError(f"the parameters of {tool.name} are no JSON: {shapes.one_line(str(error))}") from error
    options = shape.options if isinstance(shape, Either) else (shape,)
    if shape == shapes.NOTHING:
        return None
    if not all(isinstance(option, Record) for option in options):
        raise EdgexpError(f"the parameters of {tool.name} are no schema of type object")
    return shape  # type: ignore[return-value]


@lru_cache(maxsize=512)
def _shape(parameters: str, name: str) -> Shape:
    return schemas.read(json.loads(parameters), f"the parameters of {shapes.one_line(name)}")


def check_call(call: Call, tools: Sequence[Tool]) -> str:
    """Why a call is not valid, in one line; empty where it is."""
    tool = next((tool for tool in tools if tool.name == call.name), None)
    if tool is None:
        return f"there is no tool {call.name:.80}; there is {', '.join(tool.name for tool in tools)}"[:400]
    shape = shape_of(tool)
    if shape is None:
        return f"{tool.name} cannot be called now"
    options = shape.options if isinstance(shape, Either) else (shape,)
    reasons = [shapes.misfit_record(call.arguments, option) for option in options if isinstance(option, Record)]
    return "" if "" in reasons else shapes.one_line(f"{tool.name}: {reasons[0]}")


def read_calls(text: str, tools: Sequence[Tool], most: int = 1) -> list[Call]:
    """The calls of an action, each of them valid. Raises BadCall, whose message is one line for whoever wrote it."""
    calls = parse_calls(text)
    if len(calls) > most:
        raise BadCall(f"{len(calls)} calls are too many: at most {most} may be made at once")
    for call in calls:
        if wrong := check_call(call, tools):
            raise BadCall(wrong)
    return calls


def describe_tools(tools: Sequence[Tool], most: int = 12) -> str:
    """Tools for a system prompt, one a line: `Name(argument: what, optional?: what): description`. Of many values `most` are named."""
    return "\n".join(map(_in_words, tools, [most] * len(tools)))


def _in_words(tool: Tool, most: int) -> str:
    shape = shape_of(tool)
    first = shape.options[0] if isinstance(shape, Either) else shape
    fields = shapes.fields_in_words(first, most) if isinstance(first, Record) else ""
    words = shapes.one_line(tool.description, 1_000)
    return f"{spell_name(tool.name)}({fields})" + (f": {words}" if words else "")


def _properties(tool: Tool) -> Mapping[str, Any]:
    found = tool.parameters.get("properties", {})
    return found if isinstance(found, Mapping) else {}
