"""Deciding a text along a grammar: what it leaves no choice about costs nothing, where it names the ways to go on the model chooses among
them, and what may be any text is written freely up to its closing quote. Knows tokens, probabilities and grammars, not what a text means.

Always of the grammar by construction, and spelt in the tokenizer's own tokens: at each choice the whole text with each of the ways to go
on is tokenised, as for a list of valid actions, and the model chooses among tokens where these part. A way that ends where it parts from
others is followed one choice further first, for what comes next may share a token with it.

In free text the model chooses among all tokens that keep it a JSON text. Texts that it may well be are guessed: once the model has begun
one, the rest of it is evaluated together with the token that began it, and kept as far as the model would have written the same.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgexp.engine.decide import Chooser, Deciding, Node, build, common_name, forced, greedy, softmax
from edgexp.engine.engine import TokenSequence
from edgexp.engine.grammar import Open, Quoted, Stack, Way, Write, advance, shortest_from, ways
from edgexp.engine.quoted import Inside, Pieces, closing_tokens, read_pieces
from edgexp.engine.tokenizer import Tokenizer
from edgexp.trajectory import Decision

LONGEST_GUESS = 8
"""Tokens of a known text that are evaluated at once."""
MOST_ALTERNATIVES = 100
_DEPTH = 3
"""How many choices further a way is followed, where it ends too early to be compared."""

Working = Generator[TokenSequence, Any, None]


def guided(sequence: TokenSequence, tokenizer: Tokenizer, end: Sequence[int], grammar: Stack, choose: Chooser = greedy,
           limit: int = 256) -> Deciding:
    """Decide a text of the grammar. `end`: the ids that close a turn; `limit`: tokens, after which the shortest end is taken.

    `generated` of the decision counts runs of the model. Its probability is the product of all shares, those of free text included.
    """
    walk = _Walk(sequence, tokenizer, tuple(end), choose, limit)
    yield from walk.run(grammar)
    rest = sorted(walk.others.items(), key=lambda item: (-item[1], item[0]))[:MOST_ALTERNATIVES]
    return Decision(walk.text, walk.runs, walk.probability, tuple(rest), "length" if walk.cut else "end")


@dataclass
class _Walk:
    """A text being decided."""

    sequence: TokenSequence
    tokenizer: Tokenizer
    end: tuple[int, ...]
    choose: Chooser
    limit: int
    text: str = ""
    runs: int = 0
    probability: float = 1.0
    others: dict[str, float] = field(default_factory=dict)
    cut: bool = False

    def __post_init__(self) -> None:
        self._start = len(self.sequence.ids)
        self._behind = ""
        """What was written behind a closing quote already: the next choice is among what begins like that."""

    def run(self, grammar: Stack) -> Working:
        way = advance(grammar)
        self.text += way.text
        while way.next is not None:
            if self._is_full():
                self.text, self.cut = self.text + shortest_from(way), True
                break
            if isinstance(way.next, Write):
                yield from self._write(way.next.quoted, way.next.rest)
                way = advance(way.next.rest)
                if not way.text and isinstance(way.next, Open):
                    continue
            else:
                way = yield from self._decide(way.next)
            self.text, self._behind = self.text + way.text, ""
        self.sequence.replace([*self.tokenizer.encode(self.text), *self.end], self._start)

    def _is_full(self) -> bool:
        return len(self.tokenizer.encode(self.text)) >= self.limit

    # One of several ways

    def _decide(self, choice: Open) -> Generator[TokenSequence, Any, Way]:
        """The way that the model takes."""
        offered = self._comparable([way for way in ways(choice) if way.text.startswith(self._behind)])
        spelt = {tuple(self._spell(way)): way for way in reversed(offered)}
        root = build(list(spelt))
        taken: list[Way] = list(spelt.values())
        names = [self.text + way.text + ("" if way.next is None else "…") for way in taken]
        path, node = forced(root)
        while node.leaf is None:
            self.sequence.replace(path, self._start)
            yield self.sequence
            self.runs += 1
            child = self._choose_child(node, names)
            more, node = forced(node.children[child])
            path = [*path, child, *more]
        return taken[node.leaf]

    def _choose_child(self, node: Node, names: list[str]) -> int:
        children = list(node.children)
        assert self.sequence.logits is not None
        scores = self.sequence.logits[children]
        shares, chosen = softmax(scores), self.choose(scores)
        for place, (child, share) in enumerate(zip(children, shares, strict=True)):
            if place != chosen:
                self.others[common_name(node.children[child], names)] = self.probability * float(share)
        self.probability *= float(shares[chosen])
        return children[chosen]

    def _spell(self, way: Way) -> list[int]:
        """The text with a way to go on, as ids; a complete one with the end of turn."""
        return [*self.tokenizer.encode(self.text + way.text), *(self.end if way.next is None else ())]

    def _comparable(self, offered: list[Way]) -> list[Way]:
        """The ways, those that end where they part from others followed further."""
        for _ in range(_DEPTH):
            if not (short := _beginnings(offered) or self._undecided(offered := _apart(offered))):
                break
            offered = [one for way in offered for one in (_follow(way) if id(way) in short else [way])]
        return _apart(offered)

    def _undecided(self, offered: list[Way]) -> set[int]:
        """Of ways that go on with a choice, those whose last token is where they part from others."""
        if len(offered) < 2:
            return set()
        root = build([*{tuple(self._spell(way)): None for way in offered}])
        short = set()
        for way in offered:
            if isinstance(way.next, Open) and not way.next.digit:
                *path, last = self._spell(way)
                node = root
                for token in path:
                    node = node.children[token]
                if len(node.children) > 1 and node.children[last].leaf is not None:
                    short.add(id(way))
        return short

    # Free text

    def _write(self, quoted: Quoted, rest: Stack) -> Working:
        """Free text up to its closing quote."""
        sequence, spelt = self.sequence, self.tokenizer.encode(self.text)
        sequence.replace(spelt, self._start)
        known, following = self._known(quoted, spelt), _following(rest)
        inside, ahead = Inside(), list[int]()
        while inside.after is None and len(sequence.ids) - self._start < self.limit:
            sequence.wanted = 1 + len(ahead)
            yield sequence
            self.runs += 1
            assert sequence.logits is not None
            rows = sequence.logits[None] if sequence.rows is None else sequence.rows
            written = self._take(rows, ahead, inside, quoted, following)
            if not written:
                break
            for token in written:
                inside, known = inside.go_on(self._pieces(rows).spelt[token]) or inside, known.get(token, {})
            ahead = _single(known)[:LONGEST_GUESS] if inside.after is None and sequence.takes_back else []
            sequence.append(ahead)
        self.cut |= inside.after is None
        self.text += _padded(inside, quoted) + '"'
        self._behind = inside.after or ""

    def _take(self, rows: NDArray[np.float32], ahead: list[int], inside: Inside | None, quoted: Quoted,
              following: Sequence[str]) -> list[int]:
        """The tokens that the model goes on with: what was guessed as long as it says the same, and one more; none where none may
        follow."""
        sequence, written = self.sequence, list[int]()
        begun = len(sequence.ids) - len(ahead)
        for place, row in enumerate(rows):
            assert inside is not None
            allowed = self._allowed(self._pieces(rows), inside, quoted, following, sequence.ids[self._start : begun + place])
            if not len(allowed):
                break
            scores = row[allowed]
            chosen = self.choose(scores)
            self.probability *= float(softmax(scores)[chosen])
            written.append(token := int(allowed[chosen]))
            if place == len(ahead) or token != ahead[place]:
                sequence.cut(begun + place)
                sequence.append([token])
                break
            inside = inside.go_on(self._pieces(rows).spelt[token])
        return written

    def _pieces(self, rows: NDArray[np.float32]) -> Pieces:
        return read_pieces(self.tokenizer, rows.shape[1])

    def _allowed(self, pieces: Pieces, inside: Inside, quoted: Quoted, following: Sequence[str], ids: list[int]) -> NDArray[np.intp]:
        """The tokens that may come next. The text is closed by the tokens that the tokenizer would take, where it is spelt so far as the
        tokenizer would."""
        closers, own = closing_tokens(pieces, following), set[int]()
        for text in following if not inside.half else ():
            spelt = self.tokenizer.encode(f'{self.text}{inside.text}"{text}')
            if spelt[: len(ids)] == ids and len(spelt) > len(ids):
                own.add(spelt[len(ids)])
        return pieces.allowed(inside, quoted.least, quoted.most, [token for token in closers if token in own] or closers)

    def _known(self, quoted: Quoted, spelt: list[int]) -> dict[int, Any]:
        """A tree of the tokens of texts that this one may be, without the token that closes them."""
        root: dict[int, Any] = {}
        for example in quoted.examples:
            ids = self.tokenizer.encode(f'{self.text}{example}"')
            if ids[: len(spelt)] == spelt:
                node = root
                for token in ids[len(spelt) : -1]:
                    node = node.setdefault(token, {})
        return root


def _follow(way: Way) -> list[Way]:
    """A way with each of the next ones."""
    assert isinstance(way.next, Open)
    return [Way(way.text + more.text, more.next) for more in ways(way.next)]


def _beginnings(offered: list[Way]) -> set[int]:
    """Of ways that go on with a choice, those whose text another one begins with."""
    ordered = sorted(offered, key=lambda way: way.text)
    return {id(a) for a, b in pairwise(ordered) if isinstance(a.next, Open) and b.text.startswith(a.text)}


def _apart(offered: list[Way]) -> list[Way]:
    """The ways, without those that begin with the text of another one that is not complete."""
    kept: list[Way] = []
    for way in sorted(offered, key=lambda way: (way.text, way.next is None)):
        if not (kept and kept[-1].next is not None and way.text.startswith(kept[-1].text)):
            kept.append(way)
    return [way for way in offered if any(way is one for one in kept)]


def _following(rest: Stack) -> list[str]:
    """The texts that can stand behind a closing quote, up to the decision after the next."""
    way = advance(rest)
    return [one.text for one in ways(way.next)] if not way.text and isinstance(way.next, Open) else [way.text]


def _single(known: Mapping[int, Any]) -> list[int]:
    """The tokens that follow in a tree as long as there is one only."""
    path = []
    while len(known) == 1:
        [(token, known)] = known.items()
        path.append(token)
    return path


def _padded(inside: Inside, quoted: Quoted) -> str:
    """What was written, with what it lacks of its least length."""
    return inside.text + "." * max(0, quoted.least - inside.length)
