"""What to remember, and when: from a task and an episode so far to the past trajectories worth showing, and what was left out and why.

`Retrieval` are the settings: whatever remembers (a run, a condition, a recipe) inherits them. `Retriever` is the contract, and
`VectorRetriever` its first implementation: it composes the query, searches a bank, keeps an episode from finding itself and spreads the
choice (MMR). `fit` cuts a memory to a budget of tokens. Knows nothing of models, nor how a trajectory is rendered: its cost in tokens is
somebody else's to say.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from edgexp.bank import Bank, Embedder, Filters, Hit, Kind, history_text, task_text
from edgexp.errors import UsageError
from edgexp.trajectory import Step, Task, Trajectory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Dropped", "Filters", "Memory", "Mode", "Recalled", "Retrieval", "Retriever", "VectorRetriever", "fit", "retriever_for"]

Mode = Literal["static", "dynamic", "off"]
"""By the task, once; by the history of the episode, again and again; not at all."""

Layout = Literal["auto", "chained", "apart"]
"""How memory stands in the prompt (`edgexp.prompt.messages.Layout`); auto is what the model was trained for, and chained in training."""

_POOL = 8
"""MMR chooses k of the `_POOL` × k nearest."""
_REMEMBERED_QUERIES = 1024


class Retrieval(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """How memory is used. Settings that say it inherit these fields, each with defaults of its own where it needs others."""

    k: Annotated[int, Meta(ge=0, le=64)] = 2
    """Trajectories to remember; 0 for none."""
    memory: Mode = "static"
    every: Annotated[int, Meta(ge=1)] = 1
    """With dynamic memory: recall again after so many actions."""
    diversity: Annotated[float, Meta(ge=0, le=1)] | None = None
    """MMR's lambda: 1 looks at relevance only, 0 at difference only; none leaves MMR out."""
    layout: Layout = "auto"

    @property
    def remembers(self) -> bool:
        """Whether anything is remembered at all."""
        return self.k > 0 and self.memory != "off"

    @property
    def retrieval(self) -> "Retrieval":
        """These fields alone, written in one way where nothing is remembered."""
        return Retrieval(**{f.name: getattr(self, f.name) for f in msgspec.structs.fields(Retrieval)}) if self.remembers else NO_MEMORY


NO_MEMORY = Retrieval(k=0, memory="off")
"""The one way to write that nothing is remembered."""


class Recalled(msgspec.Struct, frozen=True):
    """A trajectory to show, and its similarity to the query (a cosine)."""

    trajectory: Trajectory
    score: float


class Dropped(msgspec.Struct, frozen=True):
    """A trajectory that was found and left out: `budget` (it cost `tokens`, more than was left) or `diversity`."""

    trajectory: Trajectory
    score: float
    reason: str
    tokens: int = 0


class Memory(msgspec.Struct, frozen=True):
    """The result of a retrieval: what to show, the most useful first, and what was left out."""

    query: str = ""
    recalled: tuple[Recalled, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    seconds: float = 0.0


class Retriever(Protocol):
    """Whatever recalls. When to recall is its word too."""

    def due(self, step: int) -> bool:
        """Whether to recall after `step` actions; 0 is the beginning of the episode."""

    def recall(self, task: Task, goal: str, observation: str, steps: Sequence[Step] = ()) -> Memory:
        """The memory for an episode of `task` that began with `observation` and went through `steps`; the best first."""


def retriever_for(bank: Bank | None, settings: Retrieval, filters: Filters | None = None, *, exclude_self: bool = True) -> Retriever | None:
    """What recalls from a bank as the settings say; None where nothing is remembered."""
    return VectorRetriever(bank, settings, filters, exclude_self=exclude_self) if bank is not None and settings.remembers else None


class VectorRetriever:
    """Recalls from one bank what is most similar, by the vectors of its encoder; always in the same way."""

    def __init__(self, bank: Bank, settings: Retrieval | None = None, filters: Filters | None = None, *, exclude_self: bool = True) -> None:
        """`exclude_self` keeps trajectories of the very task from being found for it."""
        self.settings = settings or Retrieval()
        _check(self.settings)
        self._bank = bank
        self._filters = filters or Filters()
        self._exclude_self = exclude_self
        self._vectors: OrderedDict[tuple[Kind, str], NDArray[np.float32]] = OrderedDict()

    def due(self, step: int) -> bool:
        """Once at the beginning; with dynamic memory again after every so many actions."""
        s = self.settings
        return s.remembers and (step == 0 or (s.memory == "dynamic" and step % s.every == 0))

    def recall(
        self, task: Task, goal: str, observation: str, steps: Sequence[Step] = (), *, known: "NDArray[np.float32] | None" = None
    ) -> Memory:
        """The memory for an episode of `task` that began with `observation` and went through `steps`; the best first.

        Static retrieval looks at goal and first observation only. Dynamic retrieval does so too until the first action. `known` is the
        query's unit vector where the caller has it already: then nothing is embedded.
        """
        if not self.settings.remembers:
            return Memory()
        started = perf_counter()
        kind, query = self._query(goal, observation, steps)
        filters = self._filters
        if self._exclude_self:
            filters = msgspec.structs.replace(filters, exclude_task_ids=(*filters.exclude_task_ids, task.id))
        vector = self._embed(kind, query) if known is None else known
        k, diversity = self.settings.k, self.settings.diversity
        hits = self._bank.search(kind, vector, k if diversity is None else k * _POOL, filters)
        chosen, dropped = self._spread(kind, hits)
        recalled = tuple(Recalled(trajectory, hit.score) for trajectory, hit in zip(self._bank.read(ids(chosen)), chosen, strict=True))
        return Memory(query, recalled, dropped, perf_counter() - started)

    def _query(self, goal: str, observation: str, steps: Sequence[Step]) -> tuple[Kind, str]:
        if self.settings.memory == "static" or not steps:
            return "task", task_text(goal, observation)
        return "course", recent_history(goal, steps, self._bank.embedder)

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
        k, diversity = self.settings.k, self.settings.diversity
        if diversity is None or len(hits) <= k:
            return list(hits[:k]), ()
        chosen = mmr(hits, self._bank.vectors(kind, ids(hits)), k, diversity)
        lowest = min(hit.score for hit in chosen)
        passed = [hit for hit in hits if hit not in chosen and hit.score > lowest]
        read = zip(self._bank.read(ids(passed)), passed, strict=True)
        return chosen, tuple(Dropped(trajectory, hit.score, "diversity") for trajectory, hit in read)


def _check(settings: Retrieval) -> None:
    """Raise UsageError for values that no file was checked for: settings can be made in code as well."""
    if settings.k < 0 or settings.every < 1:
        raise UsageError(f"retrieval of k={settings.k} every {settings.every} actions: k cannot be negative, and every must be 1 or more")
    if settings.diversity is not None and not 0 <= settings.diversity <= 1:
        raise UsageError(f"diversity {settings.diversity}: it is a weight between 0 (difference only) and 1 (relevance only)")


def ids(hits: Sequence[Hit]) -> list[str]:
    """The ids of hits."""
    return [hit.id for hit in hits]


def recent_history(goal: str, steps: Sequence[Step], encoder: Embedder) -> str:
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
        Dropped(recalled.trajectory, recalled.score, "budget", costs[index])
        for index, recalled in enumerate(memory.recalled)
        if index not in kept
    ]
    recalled = tuple(memory.recalled[index] for index in kept)
    return msgspec.structs.replace(memory, recalled=recalled, dropped=(*memory.dropped, *cut))
