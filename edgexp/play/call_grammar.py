"""The grammar of calls: what an action may be, from the tools that may be called now. Knows tools and grammars, no tokens and no model.

A tool's optional arguments may each be left out; given ones stand in the order of its schema. What a schema allows and nobody can foresee
(arguments without a name, values of any shape) is written in its plainest form, so that a call is always valid.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice

from edgexp.engine.grammar import Choice, Digits, Node, Quoted, Row, Series, Stack, Words
from edgexp.environments import shapes
from edgexp.environments.calls import SEPARATOR, Tool, shape_of, spell_name
from edgexp.environments.shapes import Either, Field, Fixed, Items, Number, Record, Shape, Text, scaled, spell
from edgexp.errors import EdgexpError
from edgexp.play.episode import Playing
from edgexp.trajectory import Trajectory

MOST_EXAMPLES, MOST_BEFORE = 200, 50
_QUOTED = re.compile(r'"((?:[^"\\\n]|\\.){1,120})"')
"""A text in double quotes, as calls and many observations have them."""


def grammar_of(tools: Sequence[Tool], most: int = 1, seen: Iterable[str] = ()) -> Stack:
    """What an action may be: one call, or up to `most`. `seen`: texts that an open text may well be.

    Raises EdgexpError where nothing can be called.
    """
    names = tuple(dict.fromkeys(seen))[:MOST_EXAMPLES]
    calls = tuple(_call(tool, shape, names) for tool in tools if (shape := shape_of(tool)) is not None)
    if not calls:
        raise EdgexpError("no tool can be called now, but the episode is not over")
    one: Node = Choice(calls)
    whole = one
    for _ in range(most - 1):
        whole = Row((one, Choice((Words(""), Row((Words(SEPARATOR), whole))))))
    return whole, None


def seen_texts(episode: Playing, remembered: Iterable[Trajectory] = ()) -> list[str]:
    """Texts in double quotes that were to be seen or were written so far, the latest first."""
    start = episode.start
    told = [start.goal, start.observation, *(text for step in episode.steps for text in (step.action, step.observation))]
    past = (text for t in remembered for step in t.steps for text in (step.action, step.observation))
    found = (quoted for text in (*reversed(told), *past) for quoted in _QUOTED.findall(text))
    return list(islice(dict.fromkeys(_plain(quoted) for quoted in found), MOST_EXAMPLES))


def calls_before(episode: Playing, remembered: Sequence[Trajectory] = ()) -> tuple[str, ...]:
    """Calls that may well be made again: of past episodes those at the same place first, then of this one the latest first."""
    number = len(episode.steps)
    same = (t.steps[number].action for t in remembered if number < len(t.steps))
    others = (step.action for t in remembered for step in t.steps)
    own = (step.action for step in reversed(episode.steps))
    return tuple(islice(dict.fromkeys((*same, *others, *own)), MOST_BEFORE))


def _plain(quoted: str) -> str:
    """What a quoted text means, as JSON; itself where that says nothing."""
    try:
        return str(shapes.unspell(f'"{quoted}"'))
    except ValueError:
        return quoted


def _call(tool: Tool, shape: Record | Either, seen: tuple[str, ...]) -> Node:
    records = [one for one in (shape.options if isinstance(shape, Either) else (shape,)) if isinstance(one, Record)]
    forms = tuple(_Fields(record.fields, ", ", "=", ")", spell_name, seen).after(0) for record in records)
    return Row((Words(f"{spell_name(tool.name)}("), Choice(forms)))


class _Fields:
    """Named values one after the other, those that are optional given or not."""

    def __init__(self, fields: Sequence[Field], comma: str, between: str, close: str, name: Callable[[str], str], seen: tuple[str, ...]):
        self._fields, self._comma, self._between, self._close, self._name, self._seen = fields, comma, between, close, name, seen
        self._made: dict[tuple[int, bool], Node] = {}

    def after(self, place: int, begun: bool = False) -> Node:
        """What may follow from the field at a place on."""
        if (place, begun) not in self._made:
            self._made[place, begun] = Choice(tuple(self._options(place, begun)))
        return self._made[place, begun]

    def _options(self, place: int, begun: bool) -> Iterable[Node]:
        for number, field in enumerate(self._fields[place:], place):
            words = Words(f"{self._comma if begun else ''}{self._name(field.name)}{self._between}")
            yield Row((words, node_of(field.shape, self._seen), self.after(number + 1, True)))
            if field.required:
                return
        yield Words(self._close)


def node_of(shape: Shape, seen: tuple[str, ...] = ()) -> Node:
    """The grammar of a value of a shape, as JSON."""
    if isinstance(shape, Fixed):
        return Choice(tuple(map(Words, shape.values)))
    if isinstance(shape, Number):
        return Digits(*scaled(shape), shape.decimals)
    if isinstance(shape, Text):
        return Row((Words('"'), Quoted(shape.least, shape.most, _examples(shape, seen))))
    if isinstance(shape, Items):
        return Row((Words("["), Series(node_of(shape.item, seen), shape.least, shape.most)))
    if isinstance(shape, Record):
        return _record(shape, seen)
    return Choice(tuple(node_of(option, seen) for option in _distinct(shape if isinstance(shape, Either) else shapes.SCALAR)))


def _examples(shape: Text, seen: tuple[str, ...]) -> tuple[str, ...]:
    """What a text may well be, as JSON spells it without quotes."""
    fitting = (text for text in seen if not shapes.misfit(text, shape))
    return tuple(spell(text)[1:-1] for text in dict.fromkeys((*shape.examples, *fitting)))


def _record(shape: Record, seen: tuple[str, ...]) -> Node:
    if shape.fields or shape.others is None or shape.others == shapes.ANYTHING:
        return Row((Words("{"), _Fields(shape.fields, ",", ":", "}", spell, seen).after(0)))
    entry = Row((Words('"'), Quoted(), Words(":"), node_of(shape.others, seen), Words("}")))
    return Row((Words("{"), Choice((Words("}"), entry))))  # one name at most: a second could be the same


def _distinct(shape: Either) -> Iterable[Shape]:
    """The options, as far as what is written tells which one it is: all texts as one, and all numbers."""
    texts = [option for option in shape.options if isinstance(option, Text)]
    numbers = [option for option in shape.options if isinstance(option, Number)]
    named = [value for option in shape.options if isinstance(option, Fixed) for value in option.values]
    if texts:
        widest = max(texts, key=lambda text: (text.most is None, text.most or 0, -text.least))
        known = [*(example for text in texts for example in text.examples), *(shapes.unspell(v) for v in named if v[0] == '"')]
        yield replace(widest, examples=tuple(dict.fromkeys(e for e in known if not shapes.misfit(e, widest))))
    if numbers:
        yield max(numbers, key=lambda number: number.decimals)
    rest = tuple(value for value in named if not (texts and value[0] == '"') and not (numbers and value[0] in "-0123456789"))
    if rest:
        yield Fixed(tuple(dict.fromkeys(rest)))
    yield from (option for option in shape.options if isinstance(option, Items | Record))
