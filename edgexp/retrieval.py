"""What to remember: from a task and an episode so far to the past trajectories worth showing, and what was left out and why.

Composes the query, searches the bank, keeps an episode from finding itself, spreads the choice (MMR), fits it into a budget of tokens.
Knows nothing of models, nor how a trajectory is rendered: its cost in tokens is somebody else's to say.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Literal

import msgspec

from edgexp.bank import Bank, Embedder, Filters, Hit, Kind, history_text, task_text
from edgexp.errors import UsageError
from edgexp.trajectory import Step, Task, Trajectory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Dropped", "Filters", "Memory", "Mode", "Recalled", "Retriever", "fit"]

Mode = Literal["static", "dynamic", "off"]
"""By the task, once; by the course of the episode, again and again; not at all."""

_POOL = 8
"""MMR chooses k of the `_POOL` × k nearest."""
_REMEMBERED_QUERIES = 1024


class Recalled(msgspec.Struct, frozen=True):
    """A trajectory to show, and its similarity to the query (a cosine)."""

    trajectory: Trajectory
    score: float


class Dropped(msgspec.Struct, frozen=True):
    """A trajectory that was found and left out: `budget` (it cost `tokens`, more than was left) or `diversity`."""

    id: str
    score: float
    reason: str
    tokens: int = 0


class Memory(msgspec.Struct, frozen=True):
    """The result of a retrieval: what to show, the most useful first, and what was left out."""

    query: str = ""
    recalled: tuple[Recalled, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    seconds: float = 0.0


class Retriever:
    """Recalls from one bank, always in the same way."""

    def __init__(
        self,
        bank: Bank,
        *,
        k: int = 2,
        mode: Mode = "static",
        every: int = 1,
        filters: Filters | None = None,
        diversity: float | None = None,
        exclude_self: bool = True,
    ) -> None:
        """`k` trajectories a time; in dynamic mode again after `every` actions. `diversity` is MMR's lambda: 1 looks at relevance only,
        0 at difference only, None leaves MMR out. `exclude_self` keeps trajectories of the very task from being found for it.
        """
        if k < 1 or every < 1:
            raise UsageError(f"retrieval of k={k} every {every} actions: both must be 1 or more")
        if diversity is not None and not 0 <= diversity <= 1:
            raise UsageError(f"diversity {diversity}: it is a weight between 0 (difference only) and 1 (relevance only)")
        self.k, self.mode, self.every = k, mode, every
        self._bank = bank
        self._filters = filters or Filters()
        self._diversity = diversity
        self._exclude_self = exclude_self
        self._vectors: OrderedDict[tuple[Kind, str], NDArray[np.float32]] = OrderedDict()

    def due(self, step: int) -> bool:
        """Whether to recall after `step` actions."""
        return self.mode != "off" and (step == 0 or (self.mode == "dynamic" and step % self.every == 0))

    def recall(
        self, task: Task, goal: str, observation: str, steps: Sequence[Step] = (), *, known: "NDArray[np.float32] | None" = None
    ) -> Memory:
        """The memory for an episode of `task` that began with `observation` and went through `steps`; the best first.

        Static retrieval looks at goal and first observation only. Dynamic retrieval does so too until the first action. `known` is the
        query's unit vector where the caller has it already: then nothing is embedded.
        """
        if self.mode == "off":
            return Memory()
        started = perf_counter()
        kind, query = self._query(goal, observation, steps)
        filters = self._filters
        if self._exclude_self:
            filters = msgspec.structs.replace(filters, exclude_task_ids=(*filters.exclude_task_ids, task.id))
        vector = self._embed(kind, query) if known is None else known
        hits = self._bank.search(kind, vector, self.k if self._diversity is None else self.k * _POOL, filters)
        chosen, dropped = self._spread(kind, hits)
        recalled = tuple(Recalled(trajectory, hit.score) for trajectory, hit in zip(self._bank.read(ids(chosen)), chosen, strict=True))
        return Memory(query, recalled, dropped, perf_counter() - started)

    def _query(self, goal: str, observation: str, steps: Sequence[Step]) -> tuple[Kind, str]:
        if self.mode == "static" or not steps:
            return "task", task_text(goal, observation)
        return "course", recent_course(goal, steps, self._bank.embedder)

    def _embed(self, kind: Kind, query: str) -> "NDArray[np.float32]":
        """The query's vector, remembered: the static query of a task costs once."""
        vector = self._vectors.get((kind, query))
        if vector is None:
            vector = self._vectors[kind, query] = self._bank.embed(query, kind)
            if len(self._vectors) > _REMEMBERED_QUERIES:
                self._vectors.popitem(last=False)
        self._vectors.move_to_end((kind, query))
        return vector

    def _spread(self, kind: Kind, hits: Sequence[Hit]) -> tuple[list[Hit], tuple[Dropped, ...]]:
        """The k to keep, and those that MMR passed over although they score higher than one it kept."""
        if self._diversity is None or len(hits) <= self.k:
            return list(hits[: self.k]), ()
        chosen = mmr(hits, self._bank.vectors(kind, ids(hits)), self.k, self._diversity)
        lowest = min(hit.score for hit in chosen)
        passed = (hit for hit in hits if hit not in chosen and hit.score > lowest)
        return chosen, tuple(Dropped(hit.id, hit.score, "diversity") for hit in passed)


def ids(hits: Sequence[Hit]) -> list[str]:
    """The ids of hits."""
    return [hit.id for hit in hits]


def recent_course(goal: str, steps: Sequence[Step], encoder: Embedder) -> str:
    """The `course` query of an episode under way: the goal and as many of the latest actions as the encoder can read."""
    actions = [step.action for step in steps]
    while len(actions) > 1 and encoder.count(history_text(goal, actions), query=True) > encoder.max_tokens:
        actions = actions[max(1, len(actions) // 8) :]
    return history_text(goal, actions)


def mmr(hits: Sequence[Hit], vectors: "NDArray[np.float32]", k: int, weight: float) -> list[Hit]:
    """Maximal marginal relevance (Carbonell and Goldstein, 1998): k of `hits`, each the best of the rest by
    weight · relevance − (1 − weight) · likeness to the nearest one already chosen. `vectors` [len(hits), d] are theirs, of unit length.
    """
    import numpy as np

    likeness = vectors @ vectors.T
    relevance = np.array([hit.score for hit in hits])
    nearest = np.zeros(len(hits))
    left = list(range(len(hits)))  # in the order of score, then id: equal values go to the first
    chosen: list[int] = []
    while left and len(chosen) < k:
        best = max(left, key=lambda index: weight * relevance[index] - (1 - weight) * nearest[index])
        left.remove(best)
        nearest = np.maximum(nearest, likeness[best]) if chosen else likeness[best]
        chosen.append(best)
    return [hits[index] for index in chosen]


def fit(memory: Memory, cost: Callable[[Trajectory], int], budget: int) -> Memory:
    """The memory that fits into `budget` tokens when each trajectory takes `cost` of it.

    Whole trajectories are dropped, first those that are too long by themselves, then the least useful until the rest fits; each drop is
    recorded with the reason `budget`.
    """
    costs = [cost(recalled.trajectory) for recalled in memory.recalled]
    kept = [index for index, tokens in enumerate(costs) if tokens <= budget]
    while sum(costs[index] for index in kept) > budget:
        kept.pop()
    cut = [
        Dropped(recalled.trajectory.id, recalled.score, "budget", costs[index])
        for index, recalled in enumerate(memory.recalled)
        if index not in kept
    ]
    recalled = tuple(memory.recalled[index] for index in kept)
    return msgspec.structs.replace(memory, recalled=recalled, dropped=(*memory.dropped, *cut))
