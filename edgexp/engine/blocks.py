"""Shared stretches in an engine's pool of cells: what sequences begin with, stored once and attached to each that asks.

A stretch has a sequence of its own in llama.cpp. To attach it is to mark its cells as seen by another sequence too: nothing is copied and
nothing evaluated. What no sequence holds any more gives its cells back at once, since every token looks at all cells in use; the bytes are
still in the source, and come back much faster than they could be evaluated.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from edgexp.engine.context import Context, ContextFull
from edgexp.engine.maker import BlockSource, Stretch
from edgexp.engine.sequence import NOTHING, Shared, TokenSequence
from edgexp.errors import EdgexpError


@dataclass
class _Placed:
    """A stretch that is in the pool."""

    slot: int
    holders: int = 0


class BlockPool:
    """The shared stretches of one context, in the `slots` that are theirs, and how many sequences hold each."""

    def __init__(self, context: Context, slots: Iterable[int], source: BlockSource):
        self._context, self._source, self._free = context, source, list(slots)
        self._placed: dict[Stretch, _Placed] = {}

    def attach(self, sequence: TokenSequence) -> None:
        """Empty a sequence, and let it see what it wants to share. Raises ContextFull where there is no room for it."""
        wanted = list(stretches(sequence.shared))
        self._context.forget_all(sequence.slot)
        kept = [stretch for stretch in wanted if stretch in self._placed]
        self._hold(kept)  # before anything is let go: the next episode begins with the same instructions as the last
        self.leave(sequence)
        held = list(kept)
        try:
            for stretch in wanted:
                if stretch not in kept:
                    self._place(stretch, sequence)
                    self._hold([stretch])
                    held.append(stretch)
        except BaseException:
            self._let_go(held)
            raise
        for stretch in wanted:
            self._context.copy(self._placed[stretch].slot, sequence.slot)
        sequence.attached += sum(stretch.cells for stretch in kept)
        sequence.held = sequence.shared

    def join(self, copy: TokenSequence, source: TokenSequence) -> None:
        """Count a sequence that is to be a copy of another."""
        self._hold(stretches(source.held))
        copy.held = source.held

    def leave(self, sequence: TokenSequence) -> None:
        """Count a sequence that sees nothing shared any more."""
        self._let_go(stretches(sequence.held))
        sequence.held = NOTHING

    def _place(self, stretch: Stretch, sequence: TokenSequence) -> None:
        """Bring a stretch into the pool, for a sequence that pays for it."""
        if not self._free:
            raise EdgexpError("the engine has no room for so many shared stretches; ask for more blocks")
        state, came = self._source.get(stretch)
        slot = self._free[-1]
        if not self._context.restore(slot, state):
            self._context.forget_all(slot)
            raise ContextFull(f"the context of {self._context.cells} tokens is full")
        self._placed[stretch] = _Placed(self._free.pop())
        sequence.ran += came.evaluated
        sequence.loaded += came.loaded
        sequence.attached += came.remembered

    def _hold(self, held: Iterable[Stretch]) -> None:
        for stretch in held:
            self._placed[stretch].holders += 1

    def _let_go(self, held: Iterable[Stretch]) -> None:
        for stretch in held:
            placed = self._placed[stretch]
            placed.holders -= 1
            if not placed.holders:
                self._context.forget_all(placed.slot)
                self._free.append(placed.slot)
                del self._placed[stretch]


def stretches(shared: Shared) -> Iterable[Stretch]:
    """What there is to attach, the prefix first, always in the same order."""
    if shared.prefix:
        yield Stretch((), shared.prefix)
    for ids, name in zip(shared.blocks, shared.names, strict=True):
        yield Stretch(shared.prefix, ids, name)
