"""Who plays what: turns are handed out to workers, noted when they are over, and handed out again when a worker died.

No episode is told of twice and none is lost. One that was under way when a worker died is a suspect: it is played again alone, so that of
several that died together only the guilty one dies again; after `MOST_DEATHS` it is given up. Knows neither Ray nor what an episode is.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from edgexp.cluster.wire import Item, Over, Turn

MOST_DEATHS = 3
"""Workers that may die of one episode."""


@dataclass
class _Share:
    """What a worker has to do."""

    places: int
    turns: dict[int, Turn] = field(default_factory=dict)
    """By number; what is over of them is taken out."""


class Desk:
    """Turns and who has them. One thread at a time."""

    def __init__(self, turns: Iterable[Turn]):
        self._source = iter(turns)
        self._waiting: deque[Turn] = deque()
        self._suspects: deque[Turn] = deque()
        self._shares: dict[int, _Share] = {}
        self._deaths: Counter[tuple[int, int]] = Counter()

    @property
    def done(self) -> bool:
        """Whether every episode is over."""
        self._fetch(1)
        return not (self._waiting or self._suspects or any(share.turns for share in self._shares.values()))

    def busy(self, worker: int) -> bool:
        """Whether a worker has anything to do."""
        return worker in self._shares and bool(self._shares[worker].turns)

    def join(self, worker: int, places: int) -> None:
        """A worker is there that plays so many episodes at once."""
        self._shares[worker] = _Share(places)

    def hand_out(self, worker: int) -> list[Turn]:
        """What a worker is to begin besides what it has: enough for its places, and one to have at hand while many wait."""
        share = self._shares[worker]
        if any(self._is_suspect(turn) for turn in share.turns.values()):
            return []
        everyone = sum(other.places for other in self._shares.values())
        self._fetch(everyone + share.places + 1)
        given = list[Turn]()
        while self._waiting and len(share.turns) < share.places + (len(self._waiting) > everyone):
            given.append(self._give(share, self._waiting.popleft()))
        if not share.turns and self._suspects:
            given.append(self._give(share, self._suspects.popleft()))
        return given

    def note(self, worker: int, over: Over) -> bool:
        """An episode is over; False for one that this worker was not asked for, or that was told of before."""
        turn = self._shares[worker].turns.get(over.turn) if worker in self._shares else None
        if turn is None or over.position not in [item.position for item in turn.items]:
            return False
        self._without(self._shares[worker], turn, over.position)
        return True

    def leave(self, worker: int) -> list[tuple[int, Item]]:
        """A worker died. What it had waits again, but for episodes that are given up: those are returned, with their turns' numbers."""
        share = self._shares.pop(worker, None)
        lost, given_up = list(share.turns.values()) if share else [], list[tuple[int, Item]]()
        for turn in lost:
            first = turn.items[0]  # the others of a turn had not begun
            self._deaths[turn.number, first.position] += 1
            if self._deaths[turn.number, first.position] < MOST_DEATHS:
                self._suspects.append(turn)
                continue
            given_up.append((turn.number, first))
            if turn.items[1:]:
                self._waiting.append(msgspec.structs.replace(turn, items=turn.items[1:]))
        return given_up

    def _fetch(self, count: int) -> None:
        """Have as many turns waiting, where there are as many."""
        while len(self._waiting) < count and (turn := next(self._source, None)) is not None:
            if turn.items:
                self._waiting.append(turn)

    def _is_suspect(self, turn: Turn) -> bool:
        return (turn.number, turn.items[0].position) in self._deaths

    def _give(self, share: _Share, turn: Turn) -> Turn:
        share.turns[turn.number] = turn
        return turn

    def _without(self, share: _Share, turn: Turn, position: int) -> None:
        left = tuple(item for item in turn.items if item.position != position)
        if left:
            share.turns[turn.number] = msgspec.structs.replace(turn, items=left)
        else:
            del share.turns[turn.number]
