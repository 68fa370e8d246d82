"""What a text may be, as a grammar that is walked choice by choice: fixed words, one of several, numbers in a range, series, and quoted
text that may be anything. Pure Python; knows no tokens, no models, and not what the text means.

A `Stack` is what is still to be written. `advance` gives the text that follows without a choice, and what is to be decided then: `Open`
(several ways to go on), `Write` (free text up to its closing quote), or nothing. Whatever is decided, the text in the end is one of the
grammar's; `shortest` ends it without any decision.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

FEW = 256
"""Whole numbers of a range that are choices each; in a larger one they are written digit by digit."""
_DIGITS = 15
"""Digits before the point of a number whose range has no end."""


@dataclass(frozen=True)
class Words:
    """This text."""

    text: str


@dataclass(frozen=True, eq=False)
class Row:
    """One after the other."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True, eq=False)
class Choice:
    """One of these."""

    options: "tuple[Node, ...]"


@dataclass(frozen=True)
class Quoted:
    """The inside of a JSON text of `least` to `most` characters, and its closing quote. `examples` are texts that it may well be."""

    least: int = 0
    most: int | None = None
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Digits:
    """A number from `low` to `high` (whole numbers of its last decimal), of which `written` stands there already."""

    low: int | None
    high: int | None
    decimals: int = 0
    written: str = ""


@dataclass(frozen=True, eq=False)
class Series:
    """Items between commas and the closing bracket: `least` to `most` more. Where an item is one of some words, each of them is
    written once, as long as there are enough."""

    item: "Node"
    least: int = 0
    most: int | None = None
    begun: bool = False


Node = Words | Row | Choice | Quoted | Digits | Series
Stack = tuple[Node, "Stack"] | None
"""What is still to be written: a node, and what follows it."""


@dataclass(frozen=True, eq=False)
class Open:
    """Several ways to go on."""

    stacks: tuple[Stack, ...]
    digit: bool = False
    """Whether the choice is of a digit."""


@dataclass(frozen=True, eq=False)
class Write:
    """Free text, and what follows its closing quote."""

    quoted: Quoted
    rest: Stack


Next = Open | Write | None


@dataclass(frozen=True, eq=False)
class Way:
    """One way to go on: the text up to the next decision, and that decision; None where the text is complete."""

    text: str
    next: Next = field(default=None)


def advance(stack: Stack) -> Way:
    """The text that follows without a choice, and what is to be decided then."""
    text = ""
    while stack is not None:
        node, rest = stack
        if isinstance(node, Words):
            text, stack = text + node.text, rest
        elif isinstance(node, Quoted):
            return Way(text, Write(node, rest))
        else:
            options = list(_options(node))
            if len(options) > 1:
                return Way(text, Open(tuple(_push(option, rest) for option in options), isinstance(node, Digits)))
            stack = _push(options[0], rest)
    return Way(text)


def ways(choice: Open) -> list[Way]:
    """All ways to go on from a choice; each begins with some text, or is the end. Of two with the same text the first is kept."""
    found: dict[tuple[str, bool], Way] = {}
    for stack in choice.stacks:
        way = advance(stack)
        for one in ways(way.next) if not way.text and isinstance(way.next, Open) else [way]:
            found.setdefault((one.text, one.next is None), one)
    return list(found.values())


def shortest(stack: Stack) -> str:
    """A short text that ends what is still to be written."""
    text = ""
    while stack is not None:
        node, stack = stack
        text += _shortest(node)
    return text


def shortest_from(way: Way) -> str:
    """A short text that ends what follows a way's own text."""
    if way.next is None:
        return ""
    if isinstance(way.next, Write):
        return _shortest(way.next.quoted) + shortest(way.next.rest)
    return min((shortest(stack) for stack in way.next.stacks), key=len)


def _push(parts: Sequence[Node], rest: Stack) -> Stack:
    for node in reversed(parts):
        rest = (node, rest)
    return rest


def _options(node: "Row | Choice | Digits | Series") -> Iterator[tuple[Node, ...]]:
    if isinstance(node, Row):
        yield node.parts
    elif isinstance(node, Choice):
        for option in node.options:
            yield (option,)
    elif isinstance(node, Digits):
        yield from _numbers(node)
    else:
        yield from _items(node)


def _items(series: Series) -> Iterator[tuple[Node, ...]]:
    if series.least <= 0:
        yield (Words("]"),)
    if series.most is not None and series.most <= 0:
        return
    comma = Words("," if series.begun else "")
    least, most = max(0, series.least - 1), None if series.most is None else series.most - 1
    item = series.item
    if isinstance(item, Choice) and all(isinstance(option, Words) for option in item.options) and len(item.options) > least:
        for option in item.options:  # a list of what is one of a few names each of them once
            others = tuple(other for other in item.options if other is not option)
            yield comma, option, Series(Choice(others), least, min(len(others), most if most is not None else len(others)), True)
    else:
        yield comma, item, Series(item, least, most, True)


# Numbers


def _numbers(number: Digits) -> Iterator[tuple[Node, ...]]:
    low, high = _ends(number)
    if not number.decimals and not number.written and high - low < FEW:
        for value in range(low, high + 1):
            yield (Words(str(value)),)
        return
    for letter in "0123456789.-":
        longer = number.written + letter
        if _can_be(longer, low, high, number.decimals):
            yield Words(letter), Digits(number.low, number.high, number.decimals, longer)
    if _is_whole(number.written, low, high, number.decimals):
        yield ()


def _ends(number: Digits) -> tuple[int, int]:
    """The ends of a range; where it has none, numbers of a readable length."""
    far = 10 ** (_DIGITS - number.decimals) * 10**number.decimals
    low = number.low if number.low is not None else min(-far, 10 * (number.high or 0) - far)
    high = number.high if number.high is not None else max(far, 10 * (number.low or 0) + far)
    return low, high


def _split(written: str) -> tuple[bool, str, str | None]:
    """Whether there is a minus, digits before the point, and those after it; None where there is no point."""
    whole, point, rest = written.removeprefix("-").partition(".")
    return written.startswith("-"), whole, rest if point else None


def _sizes(minus: bool, low: int, high: int) -> tuple[int, int]:
    """The range of the number without its sign."""
    return (max(1, -high), -low) if minus else (max(0, low), high)


def _can_be(written: str, low: int, high: int, decimals: int) -> bool:
    """Whether a number of the range begins like this. Numbers have no zeros in front, none at the end of their decimals, and no -0."""
    if not _looks_right(written, decimals):
        return False
    minus, whole, rest = _split(written)
    least, most = _sizes(minus, low, high)
    unit = 10**decimals
    if not whole:
        return rest is None and least <= most
    if rest is not None:
        span = 10 ** (decimals - len(rest))
        base = int(whole) * unit + int(rest or "0") * span
        first = base if rest and rest[-1] != "0" else base + 1
        return bool(max(first, least) <= min(base + span - 1, most))
    digits = range(1 if whole == "0" else len(str(most)) + 1)
    return any(bool(max(int(whole) * unit * 10**more, least) <= min((int(whole) + 1) * unit * 10**more - 1, most)) for more in digits)


def _looks_right(written: str, decimals: int) -> bool:
    minus, whole, rest = _split(written)
    signs = written.count("-") == minus and written.count(".") == (rest is not None)
    zeros = whole == "0" or not whole.startswith("0")
    return signs and zeros and (rest is None or (bool(whole) and len(rest) <= decimals))


def _is_whole(written: str, low: int, high: int, decimals: int) -> bool:
    """Whether this is a number of the range."""
    minus, whole, rest = _split(written)
    if not whole or rest == "" or (rest and rest[-1] == "0"):
        return False
    least, most = _sizes(minus, low, high)
    value = int(whole) * 10**decimals + int((rest or "").ljust(decimals, "0") or "0")
    return bool(least <= value <= most)


# Ends without a decision


@cache
def _shortest(node: Node) -> str:
    if isinstance(node, Words):
        return node.text
    if isinstance(node, Row):
        return "".join(map(_shortest, node.parts))
    if isinstance(node, Choice):
        return min(map(_shortest, node.options), key=len)
    if isinstance(node, Quoted):
        return "." * node.least + '"'
    if isinstance(node, Digits):
        return _shortest_number(node)
    return min(("".join(map(_shortest, option)) for option in _items(node)), key=len) if node.least else "]"


def _shortest_number(number: Digits) -> str:
    """What is missing of a number: the first digits that end it."""
    low, high = _ends(number)
    written = number.written
    while not _is_whole(written, low, high, number.decimals):
        written += next(letter for letter in "0123456789.-" if _can_be(written + letter, low, high, number.decimals))
    return written[len(number.written) :]
