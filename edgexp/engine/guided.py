"""Deciding a text along a grammar: what it leaves no choice about costs nothing, where it names the ways to go on the model chooses among
them, and what may be any text is written freely up to its closing quote. Knows tokens, probabilities and grammars, not what a text means.

Always of the grammar by construction, and spelt in the tokenizer's own tokens: at each choice the whole text with each of the ways to go
on is tokenised, as for a list of valid actions, and the model chooses among tokens where these part. A way that ends where it parts from
others is followed one choice further first, for what comes next may share a token with it. In free text the model chooses among all tokens
that keep it a JSON text.

What may well come next is guessed and evaluated together with what is known to come: scores that are there already cost no run of the
model. A guess decides nothing. It is dropped where the model takes another way.
"""

from collections.abc import Container, Generator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgexp.engine.decide import Chooser, Deciding, Node, build, common_name, forced, greedy, leaves, softmax
from edgexp.engine.engine import Logits, TokenSequence
from edgexp.engine.grammar import Open, Quoted, Stack, Way, Write, advance, shortest_from, ways
from edgexp.engine.quoted import Inside, closing_tokens, read_pieces
from edgexp.engine.tokenizer import Tokenizer
from edgexp.trajectory import Decision

LONGEST_GUESS = 8
"""Tokens."""
MOST_ALTERNATIVES = 100
_DEPTH = 3
"""How many choices further a way is followed, where it ends too early to be compared."""
_TRIES = 20
"""How often another text is tried in place of an unwanted one."""

Working = Generator[TokenSequence, Any, None]


@dataclass(frozen=True)
class Guesses:
    """What helps to guess."""

    texts: tuple[str, ...] = ()
    """Whole texts that may well be decided again, the likeliest first."""
    hint: str = ""
    """A text in which what is decided may well be named."""


def guided(sequence: TokenSequence, tokenizer: Tokenizer, end: Sequence[int], grammar: Stack, choose: Chooser = greedy,
           limit: int = 256, guesses: Guesses = Guesses(), unwanted: Container[str] = ()) -> Deciding:
    """Decide a text of the grammar. `end`: the ids that close a turn; `limit`: tokens, after which the shortest end is taken.

    Where an unwanted text comes out, the nearest choice on its way is made otherwise, as often as that is worth it. `generated` of the
    decision counts runs of the model. Its probability is the product of all shares, those of free text included.
    """
    walk = _Walk(sequence, tokenizer, tuple(end), choose, limit, guesses)
    yield from walk.run(grammar)
    for _ in range(_TRIES):
        if walk.text not in unwanted or not walk.turn_off():
            break
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
    guesses: Guesses
    text: str = ""
    runs: int = 0
    probability: float = 1.0
    others: dict[str, float] = field(default_factory=dict)
    cut: bool = False

    def __post_init__(self) -> None:
        self._start = len(self.sequence.ids)
        self._behind = ""
        """What was written behind a closing quote already: the next choice is among what begins like that."""
        self._hint = self.guesses.hint.casefold()
        self._likely = [[*self.tokenizer.encode(text), *self.end] for text in self.guesses.texts]
        self._rows: dict[tuple[int, ...], Logits] = {}
        """Ids → the scores after them."""
        self._closed = set[tuple[int, ...]]()
        """Beginnings of ids that are not followed any more."""
        self._turns: dict[tuple[int, ...], float] = {}
        """The choices on the way, by their ids → how likely the best other choice is, as a share of that."""

    def run(self, grammar: Stack) -> Working:
        """Decide a text, from its beginning."""
        way = advance(grammar)
        self.text, self._behind, self.probability, self.cut = way.text, "", 1.0, False
        self.others, self._turns = {}, {}
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

    def turn_off(self) -> bool:
        """Close the way at the choice that was the least sure, the last one of several; False where there is no other way."""
        likeliest = max(self._turns, key=lambda ids: (self._turns[ids], len(ids)), default=())
        if self._turns.get(likeliest, 0) > 0:
            self._closed.add(likeliest)
        return likeliest in self._closed

    def _is_full(self) -> bool:
        return len(self.tokenizer.encode(self.text)) >= self.limit

    def _scores(self, path: list[int], guess: Sequence[int]) -> Generator[TokenSequence, Any, Logits]:
        """The scores after the text so far, as ids; `guess`: what may follow it."""
        if tuple(path) not in self._rows:
            sequence, ahead = self.sequence, list(guess[:LONGEST_GUESS]) if self.sequence.takes_back else []
            sequence.replace([*path, *ahead], self._start)
            sequence.wanted = 1 + len(ahead)
            yield sequence
            self.runs += 1
            assert sequence.logits is not None
            rows = sequence.logits[None] if sequence.rows is None else sequence.rows
            self._rows |= {(*path, *ahead[:more]): row for more, row in enumerate(rows)}
        return self._rows[tuple(path)]

    def _remembered(self, path: list[int]) -> list[int]:
        """The tokens by which a text goes on that may well be decided again; none where no such text begins like this."""
        return next((ids[len(path) :] for ids in self._likely if ids[: len(path)] == path), [])

    # One of several ways

    def _decide(self, choice: Open) -> Generator[TokenSequence, Any, Way]:
        """The way that the model takes."""
        offered = self._comparable([way for way in ways(choice) if way.text.startswith(self._behind)])
        spelt = {tuple(self._spell(way)): way for way in reversed(offered)}
        root = build(list(spelt))
        taken, ids = list(spelt.values()), list(spelt)
        names = [self.text + way.text + ("" if way.next is None else "…") for way in taken]
        hinted = [self._is_hinted(way.text) for way in taken]
        path, node = forced(root)
        while node.leaf is None:
            guess = self._remembered(path)
            if not guess or guess[0] not in node.children:
                best = max(leaves(node), key=hinted.__getitem__)
                guess = list(ids[best][len(path) :]) if hinted[best] else []
            scores = yield from self._scores(path, guess)
            child = self._choose_child(scores, node, path, names)
            more, node = forced(node.children[child])
            path = [*path, child, *more]
        return taken[node.leaf]

    def _is_hinted(self, text: str) -> int:
        """How many letters of a way to go on are named in the hint; 0 where it is not."""
        words = text.strip(' "=(){}[],:').casefold()
        return len(words) if words in self._hint else 0

    def _choose_child(self, logits: Logits, node: Node, path: list[int], names: list[str]) -> int:
        """One of the ways that part here, of those that are not closed."""
        children = [child for child in node.children if (*path, child) not in self._closed] or list(node.children)
        scores = logits[children]
        shares, chosen = softmax(scores), self.choose(scores)
        self._turns[*path, children[chosen]] = float(np.delete(shares, chosen).max(initial=0) / max(shares[chosen], 1e-30))
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
        spelt = [self._spell(way) for way in offered]
        root = build([*{tuple(ids): None for ids in spelt}])
        short = set()
        for way, ids in zip(offered, spelt, strict=True):
            if isinstance(way.next, Open) and not way.next.digit:
                node = root
                for token in ids[:-1]:
                    node = node.children[token]
                if len(node.children) > 1 and node.children[ids[-1]].leaf is not None:
                    short.add(id(way))
        return short

    # Free text

    def _write(self, quoted: Quoted, rest: Stack) -> Working:
        """Free text up to its closing quote."""
        path, inside, following = self.tokenizer.encode(self.text), Inside(), _following(rest)
        known = self._known(quoted, path)
        while inside.after is None and len(path) < self.limit:
            scores = yield from self._scores(path, self._remembered(path) or _single(known))
            allowed = self._allowed(len(scores), inside, quoted, following, path)
            if not len(allowed):
                break
            chosen = self.choose(scores[allowed])
            self.probability *= float(softmax(scores[allowed])[chosen])
            token = int(allowed[chosen])
            path, known = [*path, token], known.get(token, {})
            inside = inside.go_on(read_pieces(self.tokenizer, len(scores)).spelt[token]) or inside
        self.cut |= inside.after is None
        self.text += inside.text + "." * max(0, quoted.least - inside.length) + '"'
        self._behind = inside.after or ""

    def _allowed(self, size: int, inside: Inside, quoted: Quoted, following: Sequence[str], path: list[int]) -> NDArray[np.intp]:
        """The tokens that may come next. The text is closed by the tokens that the tokenizer would take, where it is spelt so far as the
        tokenizer would."""
        pieces, own = read_pieces(self.tokenizer, size), set[int]()
        for text in following if not inside.half else ():
            spelt = self.tokenizer.encode(f'{self.text}{inside.text}"{text}')
            if spelt[: len(path)] == path and len(spelt) > len(path):
                own.add(spelt[len(path)])
        closers = closing_tokens(pieces, tuple(following))
        return pieces.allowed(inside, quoted.least, quoted.most, closers & own or closers)

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
    chosen = {*map(id, kept)}
    return [way for way in offered if id(way) in chosen]


def _following(rest: Stack) -> list[str]:
    """The texts that can stand behind a closing quote, up to the decision after the next."""
    way = advance(rest)
    return [one.text for one in ways(way.next)] if not way.text and isinstance(way.next, Open) else [way.text]


def _single(known: dict[int, Any]) -> list[int]:
    """The tokens that follow in a tree as long as there is one only."""
    path = []
    while len(known) == 1:
        [(token, known)] = known.items()
        path.append(token)
    return path
