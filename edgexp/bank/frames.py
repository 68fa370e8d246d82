"""The frame of a goal: its words that recur among the goals of a bank, and whether such words say how things are done there.

"put a clean cloth in toilet": the frame is "put a clean … in …", the rest are names. Vectors and inverse document frequency look at the
names first, so they find other episodes about cloths and toilets, of whichever kind. Where the goals' recurring words say what kind of task
it is, the frame tells the kinds apart. But there are environments in which names decide ("in Galmorin, …": only this home's episodes tell
how its things work) and goals are phrased at random; there the frame only leads astray. So each bank decides by its own episodes: the
frame counts if with it episodes find others whose actions went the same way significantly better than without it. Who adds episodes need
not know any of this.

Knows goals, actions and vectors of stored trajectories; knows no environment and no model.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from edgexp.bank.records import Filters
from edgexp.bank.store import Store
from edgexp.trajectory import Trajectory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SAMPLE = 256
"""Successful episodes of an environment that are looked at: those with the smallest ids. An id is a hash, so they are like drawn ones,
always the same for the same bank, and seldom others when the bank grows."""
LEAST = 16
"""Fewer episodes than this say nothing."""
SHARE = 0.06
"""A word recurs when it stands in more than this share of the goals."""
WEIGHT = 4.0
"""Of the frame against 1 for the vectors, both standardised, where it counts at all."""
POOL = 128
"""The nearest by vector, among which the frame decides."""
SIGNIFICANT = 2.0
"""Standard errors by which the frame has to be better."""
FOUND = 2
"""Of each episode's finds, so many are looked at."""

Words = frozenset[str]


@dataclass
class Frame:
    """What recurs among the goals of one environment."""

    words: Words = frozenset()
    counts: bool = False
    """Whether the frame tells how things are done here."""
    sample: tuple[str, ...] = ()
    _held: dict[str, Words] = field(default_factory=dict)

    def likeness(self, goal: str, goals: Mapping[str, str]) -> list[float]:
        """How alike the frames of `goal` and of each of `goals` (id → goal) are, 0 to 1 each."""
        own = words_of(goal) & self.words
        return [jaccard(own, self._frame_of(identity, other)) for identity, other in goals.items()]

    def _frame_of(self, identity: str, goal: str) -> Words:
        found = self._held.get(identity)
        if found is None:
            found = self._held[identity] = words_of(goal) & self.words
        return found


class Frames:
    """The frames of one bank's environments. What the bank holds decides, however it came to hold it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._frames: dict[str, Frame] = {}
        self._goals: dict[str, str] = {}
        self._state: tuple[int, int] = (-1, -1)
        self._fresh = set[str]()

    def goals(self, ids: Sequence[str]) -> dict[str, str]:
        """Id → goal of those of `ids` that can be read, in their order. An id names its content, so each is read once."""
        lacking = tuple(identity for identity in ids if identity not in self._goals)
        if lacking:
            for entry, trajectory, _ in self._store.look(Filters(ids=lacking), None, newest=False):
                if entry and trajectory:
                    self._goals[entry.id] = trajectory.goal
        return {identity: self._goals[identity] for identity in ids if identity in self._goals}

    def of(self, environment: str) -> Frame:
        """The frame of an environment's goals, as the bank is now."""
        state = self._store.database.state()
        if state != self._state:
            self._state, self._fresh = state, set()
        if environment not in self._fresh:
            self._fresh.add(environment)
            sample = self._store.smallest(environment, SAMPLE)
            if environment not in self._frames or self._frames[environment].sample != sample:
                self._frames[environment] = self._learn(environment, sample)
        return self._frames[environment]

    def _learn(self, environment: str, sample: tuple[str, ...]) -> Frame:
        filters = Filters(environment=environment, ids=sample)
        episodes = sorted((t for _, _, t in self._store.each(filters, "accepted")), key=lambda t: t.id)
        if len(episodes) < LEAST:
            return Frame(sample=sample)
        words = recurring([t.goal for t in episodes])
        return Frame(words, self._helps(episodes, words), sample)

    def _helps(self, episodes: Sequence[Trajectory], words: Words) -> bool:
        import numpy as np

        encoder = self._store.encoder()
        held = self._store.vectors_of(encoder, "task", [t.id for t in episodes]) if encoder else {}
        sound = [t for t in episodes if encoder and len(held.get(t.id, b"")) == 2 * encoder.dimensions]
        if len(sound) < LEAST:
            return False
        vectors = np.stack([np.frombuffer(held[t.id], "<f2") for t in sound]).astype(np.float32)
        return frame_helps(sound, np.round(vectors @ vectors.T, 4).astype(np.float64), words)


def words_of(text: str) -> Words:
    """The words of a text, without numbers and case."""
    return frozenset(re.findall(r"[^\W\d_]+", text.lower()))


def recurring(goals: Sequence[str]) -> Words:
    """The words that stand in more than `SHARE` of the goals."""
    counts = Counter(word for goal in goals for word in words_of(goal))
    return frozenset(word for word, count in counts.items() if count > SHARE * len(goals))


def jaccard(one: Words, other: Words) -> float:
    """How much of what either has both have: 0 to 1; nothing is like nothing."""
    return len(one & other) / len(one | other) if one or other else 1.0


def combine(scores: "NDArray[np.float64]", likeness: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Cosines, raised or lowered by how alike the frames are [n]: what is one deviation better by frame gains `WEIGHT` deviations."""
    import numpy as np

    spread = likeness - likeness.mean()
    rated: NDArray[np.float64] = np.round(scores + WEIGHT * scores.std() * spread / max(float(likeness.std()), 1e-6), 9)
    return rated


def frame_helps(episodes: Sequence[Trajectory], scores: "NDArray[np.float64]", words: Words) -> bool:
    """Whether the episodes find others that went the same way better with the frame than without. `scores` [n, n] are their cosines.

    How an episode went is told by the order of its commands: the pairs of first words of actions that follow each other. Places and things
    have no part in that. Each episode looks for others than those of its own task.
    """
    import numpy as np

    frames = [words_of(t.goal) & words for t in episodes]
    tasks = np.array([hash(t.task.id) for t in episodes])
    alike, gains = ways([[step.action for step in t.steps] for t in episodes]), []
    for number in range(len(episodes)):
        others = np.flatnonzero(tasks != tasks[number])
        pool = others[np.argsort(-scores[number, others], kind="stable")[:POOL]]
        if len(pool) > FOUND:
            likeness = np.array([jaccard(frames[number], frames[other]) for other in pool])
            framed = pool[np.argsort(-combine(scores[number, pool], likeness), kind="stable")]
            gains.append(sum(alike(number, a) - alike(number, b) for a, b in zip(framed[:FOUND], pool[:FOUND], strict=True)))
    error = float(np.std(gains)) / math.sqrt(len(gains)) if gains else 0.0
    return error > 0 and float(np.mean(gains)) > SIGNIFICANT * error


def ways(courses: Sequence[Sequence[str]]) -> "_Alike":
    """Tells how alike two of the courses of actions are, by number."""
    return _Alike([_pairs(actions) for actions in courses])


class _Alike:
    def __init__(self, pairs: Sequence[frozenset[tuple[str, str]]]) -> None:
        self._pairs = pairs
        counts = Counter(pair for course in pairs for pair in course)
        self._weights = {pair: math.log(len(pairs) / count) for pair, count in counts.items()}

    def __call__(self, one: int, other: int) -> float:
        """0 to 1; what all do alike counts for nothing."""
        a, b = self._pairs[one], self._pairs[other]
        whole = sum(self._weights[pair] for pair in sorted(a | b))
        return sum(self._weights[pair] for pair in sorted(a & b)) / whole if whole else 1.0


def _pairs(actions: Sequence[str]) -> frozenset[tuple[str, str]]:
    commands = ["", *(action.lower().split()[0] for action in actions if action.split()), ""]
    return frozenset(pairwise(commands))
