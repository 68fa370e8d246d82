"""Token sequences that share beginnings, as a tree: the form in which valid actions are offered to the model.

Most tokens of an action are forced (after `go to c` only a few continuations are valid), and a forced token needs no decision. Pure
Python; knows nothing of models or text.

Choosing an action: free generation, or a walk through a tree of valid actions. Knows tokens and probabilities, not tasks.

Every way to act is a generator: it yields the sequence it needs evaluated and goes on when its logits are there, so that a driver can
run one episode or batch many. In the end the sequence holds the action and its end-of-turn token; what need not be evaluated now (the
forced rest of an action, the end of turn) stays pending and runs together with the next observation.
"""

import heapq
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgexp.engine.engine import Logits, TokenSequence
from edgexp.engine.tokenizer import Tokenizer
from edgexp.errors import EdgexpError
from edgexp.trajectory import Decision


@dataclass(slots=True)
class Node:
    """A prefix. `leaf` is the index of the sequence that ends here, None inside the tree."""

    children: dict[int, "Node"] = field(default_factory=dict)
    leaf: int | None = None
    leaves: int = 0
    """How many sequences go through or end here."""


def build(sequences: Sequence[Sequence[int]]) -> Node:
    """The tree of some token sequences. Raises ValueError where one is empty, repeated, or the beginning of another.

    End every sequence with the end-of-turn token and none is the beginning of another.
    """
    root = Node()
    for index, sequence in enumerate(sequences):
        if not sequence:
            raise ValueError(f"sequence {index} is empty")
        node = root
        node.leaves += 1
        for token in sequence:
            if node.leaf is not None:
                raise ValueError(f"sequence {node.leaf} is the beginning of sequence {index}")
            node = node.children.setdefault(token, Node())
            node.leaves += 1
        if node.children or node.leaf is not None:
            raise ValueError(f"sequence {index} is a repeat or the beginning of another")
        node.leaf = index
    return root


def forced(node: Node) -> tuple[list[int], Node]:
    """The tokens that follow without a choice, and the node they lead to: one with a choice, or a leaf."""
    tokens: list[int] = []
    while len(node.children) == 1:
        [(token, node)] = node.children.items()
        tokens.append(token)
    return tokens, node


def leaves(node: Node) -> Iterator[int]:
    """Indices of all sequences below a node."""
    stack = [node]
    while stack:
        here = stack.pop()
        if here.leaf is not None:
            yield here.leaf
        stack.extend(here.children.values())


@dataclass(frozen=True)
class Tree:
    """A request for the logits after every node of a tree of continuations; see `Engine.evaluate_tree`."""

    sequence: TokenSequence
    parents: list[int]
    tokens: list[int]


Request = TokenSequence | Tree
"""What a generator of this module yields: a sequence to evaluate (the answer is in its `logits`), or a tree (the answer is sent)."""

Deciding = Generator[Request, Any, Decision]


NO_NUMBERS = "the model's scores are not numbers (NaN or infinity), so nothing can be chosen by them; take another model"


class Chooser(Protocol):
    """Picks one of several scores: greedily, or by chance."""

    def __call__(self, logits: NDArray[np.float32]) -> int:
        """Index of the chosen score."""


def greedy(logits: NDArray[np.float32]) -> int:
    """The highest score; the lowest index where several are equal. Raises EdgexpError where it is no number."""
    best = int(np.argmax(logits))
    if not np.isfinite(logits[best]):  # NaN counts as the highest
        raise EdgexpError(NO_NUMBERS)
    return best


def sampler(temperature: float, seed: int) -> Chooser:
    """Draw from the softmax at a temperature above 0; the same seed gives the same draws."""
    random = np.random.default_rng(seed)

    def choose(logits: NDArray[np.float32]) -> int:
        scaled = logits.astype(np.float64) / temperature
        top = scaled.max()
        if not np.isfinite(top):
            raise EdgexpError(NO_NUMBERS)
        weights = np.exp(scaled - top)
        # Inverse of the cumulative sum: one draw a token whatever the vocabulary's size.
        sums = np.cumsum(weights)
        return int(np.searchsorted(sums, random.random() * sums[-1], side="right"))

    return choose


def free(sequence: TokenSequence, tokenizer: Tokenizer, end: Sequence[int], choose: Chooser = greedy, limit: int = 64,
         read: "Reading | None" = None, futile: Callable[[str], bool] | None = None) -> Deciding:
    """Generate until the end of turn, until `read` finds the action complete, or `limit` tokens. `end`: the ids that close a turn.

    Unless another `read` is given, an action is the text's first line. If the model spelt it in other tokens than the tokenizer would,
    the sequence is rewound to the tokenizer's spelling, so that the ids of an episode are always those of its rendered trajectory.

    Where the action is `futile`, the likeliest other beginnings are gone on with greedily, a few of them, until one leads to an action
    that is not; where none does, the first text stays.
    """
    writing = _Writing(sequence, tokenizer, limit, read or line_of, futile is not None)
    text, stop = yield from writing.go_on([], choose)
    if futile and futile(text):
        for _ in range(_SECOND_THOUGHTS):
            if (other := writing.next(futile)) is None:
                break
            log, beginning = other
            second = yield from writing.go_on(beginning, greedy, log)
            if second[0] and not futile(second[0]):
                text, stop = second
                break
    sequence.replace([*tokenizer.encode(text), *end], writing.start)
    return Decision(text, writing.generated, stop=stop)


_SECOND_THOUGHTS, _ALTERNATIVES = 12, 4
"""Other beginnings that are gone on with at most, and how many of each place in a text are remembered."""


class _Writing:
    """A text being written, and where it could have gone on otherwise."""

    def __init__(self, sequence: TokenSequence, tokenizer: Tokenizer, limit: int, read: "Reading", remember: bool):
        self._sequence, self._tokenizer, self._limit, self._read = sequence, tokenizer, limit, read
        self.start, self.generated = len(sequence.ids), 0
        self._passed: list[tuple[int, Logits]] | None = [] if remember else None
        """Each token of the text gone on with last, and the scores it was chosen by. They are looked at only where the text was futile:
        the softmax of a whole vocabulary is no work for every token."""
        self._from: tuple[float, list[int]] = 0.0, []
        """What that text went on from: the logarithm of its probability, and the ids."""
        self._others: list[tuple[float, list[int]]] = []
        """A heap of beginnings: minus the logarithm of the probability, and the ids."""

    def go_on(self, beginning: list[int], choose: Chooser, log: float = 0.0) -> Generator[Request, Any, tuple[str, str]]:
        """Write on after a beginning, the logarithm of whose probability is `log`. Returns the action, and why it ended."""
        sequence, tokenizer, stop = self._sequence, self._tokenizer, "length"
        self._from, self._passed = (log, beginning), None if self._passed is None else []
        sequence.replace(beginning, self.start)
        while len(sequence.ids) - self.start < self._limit:
            yield sequence
            assert sequence.logits is not None
            token = choose(sequence.logits)
            self.generated += 1
            if self._passed is not None:
                self._passed.append((token, sequence.logits))
            if tokenizer.is_end(token):
                stop = "end"
                break
            sequence.append([token])
            if self._read(tokenizer.decode(sequence.ids[self.start :]))[1]:
                stop = "newline" if self._read is line_of else "closed"
                break
        return self._read(tokenizer.decode(sequence.ids[self.start :]))[0], stop

    def next(self, futile: Callable[[str], bool]) -> tuple[float, list[int]] | None:
        """The likeliest beginning that was not gone on with and is not futile as it stands; None where none is left."""
        self._look_back()
        while self._others:
            cost, ids = heapq.heappop(self._others)
            if not futile(self._tokenizer.decode(ids).strip()):
                return -cost, ids
        return None

    def _look_back(self) -> None:
        """Take up what else could have followed on the way of the last text."""
        log, before = self._from
        for token, logits in self._passed or ():
            logs = logits.astype(np.float64) - float(logits.max())
            logs -= np.log(np.exp(logs).sum())
            most = min(_ALTERNATIVES, len(logs))
            for other in np.argpartition(logs, -most)[-most:].tolist():
                if other != token and not self._tokenizer.is_end(other):
                    heapq.heappush(self._others, (-(log + float(logs[other])), [*before, other]))
            log, before = log + float(logs[token]), [*before, token]


def think(sequence: TokenSequence, tokenizer: Tokenizer, opened: Sequence[int], closed: Sequence[int], mark: str, choose: Chooser = greedy,
          limit: int = 256) -> Generator[Request, Any, tuple[str, int]]:
    """Let the model think until it writes `mark`, ends its turn, or has written `limit` tokens; the thought and how many tokens it had.

    `opened` and `closed`: the ids around a thought. What was thought stays in the sequence, in the model's own tokens.
    """
    sequence.append(opened)
    start, runs = len(sequence.ids), 0
    for runs in range(1, limit + 1):  # noqa: B007 - counted
        yield sequence
        assert sequence.logits is not None
        token = choose(sequence.logits)
        if tokenizer.is_end(token):
            break
        sequence.append([token])
        if mark[-1] in tokenizer.decode([token]) and mark in tokenizer.decode(sequence.ids[start:]):
            break
    thought = tokenizer.decode(sequence.ids[start:]).partition(mark)[0].rstrip("\n")  # what closes it brings its own line breaks
    while len(tokenizer.decode(sequence.ids[start:])) > len(thought):
        sequence.cut(len(sequence.ids) - 1)
    sequence.append(closed)
    return thought.strip(), runs


Reading = Callable[[str], tuple[str, bool]]
"""What action a text is so far, and whether it is complete."""


def line_of(text: str) -> tuple[str, bool]:
    """The first line of a text that says something, and whether another one has begun."""
    return next(iter(text.strip().splitlines()), "").strip(), "\n" in text.lstrip()


def block_of(text: str) -> tuple[str, bool]:
    """The block in what a model wrote, and whether it is closed by a fence: what stands between the first two fences, or behind the first
    one; all of it where there is none."""
    lines = text.split("\n")
    opened = next((place for place, line in enumerate(lines) if line.lstrip().startswith(_FENCE)), None)
    if opened is None:
        return text.strip(), False
    closed = next((place for place in range(opened + 1, len(lines)) if lines[place].strip() == _FENCE), None)
    return "\n".join(lines[opened + 1 : closed]).strip("\n").rstrip(), closed is not None


_FENCE = "```"


def admissible(sequence: TokenSequence, actions: Mapping[str, Sequence[int]], choose: Chooser = greedy) -> Deciding:
    """Walk the tree of valid actions (text → ids with the end of turn), deciding only where it branches.

    Each branch takes the choice among its own children, renormalised; the product is the action's probability. Beginnings that were
    not followed are reported with the probability of all actions below them.
    """
    texts = list(actions)
    node = build([actions[t] for t in texts])
    probability, decided, others = 1.0, 0, []
    spelt: list[int] = []
    while True:
        tokens, node = forced(node)
        spelt += tokens
        sequence.append(tokens)
        if node.leaf is not None:
            break
        yield sequence
        assert sequence.logits is not None
        children = list(node.children)
        shares = softmax(sequence.logits[children])
        chosen = choose(sequence.logits[children])
        others += [(node.children[c], probability * float(s)) for i, (c, s) in enumerate(zip(children, shares, strict=True)) if i != chosen]
        probability *= float(shares[chosen])
        sequence.append([children[chosen]])
        node = node.children[children[chosen]]
        decided += 1
    rest = sorted(((common_name(n, texts), p) for n, p in others), key=lambda item: (-item[1], item[0]))
    return Decision(texts[node.leaf], decided, probability, tuple(rest))


def scored(sequence: TokenSequence, actions: Mapping[str, Sequence[int]], choose: Chooser = greedy) -> Deciding:
    """As `admissible`, with every branch evaluated in one batch: the exact probability of each action, the best one taken."""
    texts = list(actions)
    root = build([actions[t] for t in texts])
    yield sequence
    assert sequence.logits is not None
    parents, tokens, branches = _branches(root)
    after: Logits = (yield Tree(sequence, parents, tokens)) if tokens else np.empty((0, 0), np.float32)
    logs = np.zeros(len(texts))
    for node, place in branches:
        logits = sequence.logits if place < 0 else after[place]
        children = list(node.children)
        for child, share in zip(children, np.log(softmax(logits[children])), strict=True):
            logs[list(leaves(node.children[child]))] += share
    best = choose(logs.astype(np.float32))
    sequence.append(actions[texts[best]])
    order = sorted((i for i in range(len(texts)) if i != best), key=lambda i: (-logs[i], texts[i]))
    rest = tuple((texts[i], float(np.exp(logs[i]))) for i in order)
    return Decision(texts[best], len(branches), float(np.exp(logs[best])), rest)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities of some scores, in double precision."""
    weights = np.exp(logits.astype(np.float64) - float(logits.max()))
    return np.asarray(weights / weights.sum())


def _branches(root: Node) -> tuple[list[int], list[int], list[tuple[Node, int]]]:
    """The nodes that must be evaluated to decide everywhere (parents, tokens), and each branching node with its place among them.

    Tokens after a branch's last decision lead to a leaf without a choice and are not evaluated. The place is -1 for the start.
    """
    parents: list[int] = []
    tokens: list[int] = []
    branches: list[tuple[Node, int]] = []

    def visit(node: Node, place: int, first: Iterable[int]) -> None:
        path = list(first)
        more, node = forced(node)
        if node.leaf is not None:
            return
        for token in [*path, *more]:
            parents.append(place)
            tokens.append(token)
            place = len(tokens) - 1
        branches.append((node, place))
        for token, child in node.children.items():
            visit(child, place, [token])

    visit(root, -1, [])
    return parents, tokens, branches


def common_name(node: Node, texts: list[str]) -> str:
    """An action's text, or the common beginning of the actions below a node."""
    below = [texts[i] for i in leaves(node)]
    if len(below) == 1:
        return below[0]
    low, high = min(below), max(below)
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return low[:same] + "…"
