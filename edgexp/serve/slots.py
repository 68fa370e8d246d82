"""Sequences of one engine, lent to sessions: each keeps what the model has seen of it until others need the room.

Knows no text and no clients. For the engine's thread alone.
"""

from collections import OrderedDict
from collections.abc import Sequence

from edgexp.engine.engine import Engine, TokenSequence

WORTH = 16
"""Tokens that two prompts have to begin with alike for one to begin as a copy of the other."""


class Slots:
    """At most `count` sequences. The session that was used least recently gives its sequence up first."""

    def __init__(self, engine: Engine, count: int):
        self._engine, self._count = engine, count
        self._kept: OrderedDict[str, TokenSequence] = OrderedDict()
        self._busy = set[str]()

    @property
    def free(self) -> int:
        """How many sessions could take a sequence now."""
        return self._count - len(self._busy)

    def is_busy(self, session: str) -> bool:
        """Whether the session has a sequence that is in use."""
        return session in self._busy

    def take(self, session: str, ids: Sequence[int]) -> TokenSequence:
        """A sequence for a session that is to hold `ids`, with as much of them in it as can be had. There has to be a free one."""
        sequence = self._kept.get(session)
        if sequence is None:
            sequence = self._kept[session] = self._find(ids)
        self._kept.move_to_end(session)
        self._busy.add(session)
        return sequence

    def give_back(self, session: str) -> None:
        """The session does not use its sequence now, and keeps it as long as there is room."""
        self._busy.discard(session)

    def forget(self, session: str) -> None:
        """The session needs no sequence any more."""
        if session not in self._busy and (sequence := self._kept.pop(session, None)):
            self._engine.free(sequence)

    def _find(self, ids: Sequence[int]) -> TokenSequence:
        """A copy of what begins alike, or an empty one; where all are taken, the one that was idle longest."""
        likest = max(self._kept, key=lambda other: alike(self._kept[other].ids, ids), default="")
        worth = bool(likest) and alike(self._kept[likest].ids, ids) >= WORTH
        if len(self._kept) >= self._count:
            oldest = next(session for session in self._kept if session not in self._busy)
            if oldest == likest:
                return self._kept.pop(oldest)
            self.forget(oldest)
        return self._engine.fork(self._kept[likest]) if worth else self._engine.new()


def alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids two lists have in common at their front."""
    most = min(len(one), len(other))
    return next((n for n in range(most) if one[n] != other[n]), most)
