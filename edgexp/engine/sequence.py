"""A growing list of token ids, and what it begins with and shares with others. Pure Python; knows nothing of how an engine runs it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Shared:
    """What a sequence begins with and does not own: a prefix, and blocks after it of which none sees another.

    All blocks begin at the position after the prefix, so that each is the same whatever stands beside it. Make it with `make`.
    """

    prefix: tuple[int, ...] = ()
    blocks: tuple[tuple[int, ...], ...] = ()
    names: tuple[str, ...] = field(default=(), compare=False)
    """What each block is, for whoever keeps it; empty where nobody said."""

    @classmethod
    def make(cls, prefix: Sequence[int], blocks: Sequence[Sequence[int]] = (), names: Sequence[str] = ()) -> "Shared":
        """Blocks in one order whatever order they are named in, each once. Raises ValueError for an empty block."""
        if not all(map(len, blocks)):
            raise ValueError("a shared block is empty")
        named = dict(zip(map(tuple, blocks), names or [""] * len(blocks), strict=True))
        ordered = tuple(sorted(named))
        return cls(tuple(prefix), ordered, tuple(named[block] for block in ordered))

    @property
    def end(self) -> int:
        """The position after the longest block: where what follows begins."""
        return len(self.prefix) + max(map(len, self.blocks), default=0)

    @property
    def cells(self) -> int:
        """Tokens in all, which is how many cells they take."""
        return len(self.prefix) + sum(map(len, self.blocks))


NOTHING = Shared()


@dataclass(eq=False)
class TokenSequence:
    """One growing list of token ids. Make them with `Engine.new` or `Engine.fork`."""

    slot: int
    takes_back: bool = field(default=True, kw_only=True)
    """Whether what was evaluated last can be forgotten at no cost."""
    ids: list[int] = field(default_factory=list)
    """Its own ids: those after what it shares."""
    shared: Shared = NOTHING
    """What it begins with …"""
    held: Shared = NOTHING
    """… and what the engine has attached to it so far."""
    evaluated: int = 0
    """How many ids, from the front, the model has seen."""
    stored: int = 0
    """Cells in the model's memory; more than `evaluated` after a cut, until the engine next touches the sequence."""
    ran: int = 0
    """Tokens that were run through the model for this sequence, all in all; what it shares and nobody had evaluated before included."""
    loaded: int = 0
    """Shared tokens that came from disk for this sequence, all in all …"""
    attached: int = 0
    """… and those that were in memory already."""
    logits: Logits | None = None
    """Scores of the next token, [vocabulary]; None until evaluated up to the last id."""
    wanted: int = 1
    """After how many of the last ids scores are wanted, the next time it is evaluated …"""
    rows: Logits | None = None
    """… and these, [wanted, vocabulary], the last of them `logits`."""

    @property
    def base(self) -> int:
        """The position of the first of its own ids."""
        return self.shared.end

    @property
    def cells(self) -> int:
        """Cells of the model's memory that all of it takes, what it shares included."""
        return self.shared.cells + len(self.ids)

    def share(self, prefix: Sequence[int], blocks: Sequence[Sequence[int]] = (), names: Sequence[str] = ()) -> None:
        """Begin with a prefix and with blocks after it. Where that is something new, its own ids are forgotten."""
        shared = Shared.make(prefix, blocks, names)
        if shared != self.shared:
            self.cut(0)
            self.shared = shared

    def append(self, tokens: Iterable[int]) -> None:
        """Add ids to be evaluated later."""
        before = len(self.ids)
        self.ids.extend(tokens)
        if len(self.ids) > before:
            self.logits = self.rows = None

    def cut(self, length: int) -> None:
        """Forget all ids from `length` on."""
        if length < len(self.ids):
            del self.ids[length:]
            self.evaluated, self.logits, self.rows = min(self.evaluated, length), None, None

    def show(self, rows: Logits) -> None:
        """Take the scores after the last ids, [wanted, vocabulary]; those of the last one alone are wanted from now on."""
        self.rows, self.logits, self.wanted = rows, rows[-1], 1

    def replace(self, ids: Sequence[int], start: int = 0) -> int:
        """Make `ids` what the sequence holds from `start` on, keeping what is the same at its front. Returns `evaluated`."""
        limit = min(len(self.ids) - start, len(ids))
        same = next((i for i in range(limit) if self.ids[start + i] != ids[i]), limit)
        self.cut(start + same)
        self.append(ids[same:])
        return self.evaluated
