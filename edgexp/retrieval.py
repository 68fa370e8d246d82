"""What to remember, and when: from a task and an episode so far to the past trajectories worth showing, and what was left out and why.

`Retrieval` are the settings: whatever remembers (a run, a condition, a recipe) inherits them. `Retriever` is the contract, and
`VectorRetriever` its first implementation: it composes the query, searches a bank, keeps an episode from finding itself, chooses among the
likely ones by what they proved to be worth, and spreads the choice (MMR). `fit` cuts a memory to a budget of tokens. Knows nothing of
models, nor how a trajectory is rendered: its cost in tokens is somebody else's to say.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Protocol

import msgspec
from msgspec import Meta

from edgexp.bank import Bank, Embedder, Filters, Hit, Kind, history_text, task_text
from edgexp.bank.frames import POOL as NEAR
from edgexp.bank.frames import combine
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
Failures = Literal["alike", "warn", "none"]
"""Past episodes that failed: recalled like any other; at most one, besides the k that succeeded; not at all."""

_POOL = 8
"""MMR and usefulness choose k of the `_POOL` × k most likely."""
_WORTH = 4.0
"""What a usefulness of 1 counts, in standard deviations of likeness among the nearest."""
_SPREAD = (0.02, 0.1)
"""The least and the most of such a deviation, in cosines: among many that are equally near usefulness still decides, and in a small bank of
all sorts likeness does."""
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
    frame: bool = True
    """Look at how alike the goals' frames are, in environments where the bank shows that this tells how things are done."""
    usefulness: bool = True
    """Among the likely ones, prefer those with which episodes were won more often than was to be expected."""
    failures: Failures = "alike"

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
    frame: float | None = None
    """How alike the frames of the two goals are, where that counted."""
    usefulness: float | None = None
    """How useful it has proved, where that counted."""


class Dropped(msgspec.Struct, frozen=True):
    """A trajectory that was found and left out: `budget` (it cost `tokens`, more than was left), `usefulness` or `diversity`."""

    trajectory: Trajectory
    score: float
    reason: str
    tokens: int = 0
    frame: float | None = None
    usefulness: float | None = None


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
        vector = self._embed(kind, query) if known is None else known
        filters = self._filters
        if self._exclude_self:
            filters = msgspec.structs.replace(filters, exclude_task_ids=(*filters.exclude_task_ids, task.id))
        if self.settings.failures != "alike" and filters.success is None:
            filters = msgspec.structs.replace(filters, success=True)
        likely = self._likely(kind, vector, task.environment, goal, filters)
        chosen, passed = self._choose(kind, likely)
        if self.settings.failures == "warn" and self._filters.success is None:
            failed = msgspec.structs.replace(filters, success=False)
            chosen += self._likely(kind, vector, task.environment, goal, failed)[:1]  # last, so that it is the first to go
        dropped = tuple(Dropped(t, one.score, reason, 0, one.frame, one.usefulness) for t, (one, reason) in self._read(passed))
        recalled = tuple(Recalled(t, one.score, one.frame, one.usefulness) for t, (one, _) in self._read([(c, "") for c in chosen]))
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

    def _likely(self, kind: Kind, vector: "NDArray[np.float32]", environment: str, goal: str, filters: Filters) -> "list[_Candidate]":
        """What to choose among, the most promising first."""
        s = self.settings
        if not s.frame and not s.usefulness:
            hits = self._bank.search(kind, vector, s.k if s.diversity is None else s.k * _POOL, filters)
            return [_Candidate(hit.id, hit.score, hit.score, hit.score) for hit in hits]
        near = self._bank.pool(kind, vector, max(NEAR, s.k * _POOL), filters)
        return self._rated(near, environment, goal)

    def _rated(self, near: Mapping[str, tuple[float, str]], environment: str, goal: str) -> "list[_Candidate]":
        """The `_POOL` × k likeliest by vector and frame, in the order of what they promise with what they proved to be worth."""
        import numpy as np

        found = [_Candidate(identity, score, score, score) for identity, (score, _) in near.items()]
        scores, frame = np.array([one.score for one in found]), self._bank.frame(environment) if self.settings.frame else None
        if found and frame is not None and frame.counts:
            likeness = frame.likeness(goal, {identity: other for identity, (_, other) in near.items()})
            rated = combine(scores, np.array(likeness))
            found = [one._replace(likely=r, worth=r, frame=f) for one, r, f in zip(found, rated.tolist(), likeness, strict=True)]
        found = sorted(found, key=lambda one: (-one.likely, one.id))[: self.settings.k * _POOL]
        if not self.settings.usefulness:
            return found
        least, most = _SPREAD
        spread = _WORTH * min(max(float(scores.std()), least), most) if found else 0.0
        proved = self._bank.usefulness([one.id for one in found])
        values = [proved[one.id].value if one.id in proved else 0.0 for one in found]
        found = [one._replace(worth=round(one.likely + spread * u, 9), usefulness=u) for one, u in zip(found, values, strict=True)]
        return sorted(found, key=lambda one: (-one.worth, -one.likely, one.id))

    def _choose(self, kind: Kind, likely: "list[_Candidate]") -> "tuple[list[_Candidate], list[tuple[_Candidate, str]]]":
        """The k to keep, and those passed over although they are more like the query than one that is kept, each with the reason."""
        k, diversity = self.settings.k, self.settings.diversity
        chosen, reason = likely[:k], "usefulness"
        if diversity is not None and len(likely) > k:
            hits = [Hit(one.id, one.worth) for one in likely]
            spread = ids(mmr(hits, self._bank.vectors(kind, ids(hits)), k, diversity))
            by_id, reason = {one.id: one for one in likely}, "diversity"
            chosen = [by_id[identity] for identity in spread]
        lowest = min((one.likely for one in chosen), default=0.0)
        passed = [one for one in likely if one not in chosen and one.likely > lowest]
        return chosen, [(one, reason) for one in passed]

    def _read(self, found: "Sequence[tuple[_Candidate, str]]") -> Iterable["tuple[Trajectory, tuple[_Candidate, str]]"]:
        return zip(self._bank.read([one.id for one, _ in found]), found, strict=True)


class _Candidate(NamedTuple):
    """One that could be recalled."""

    id: str
    score: float
    """Its cosine."""
    likely: float
    """With the frame, where that counts."""
    worth: float
    """With its usefulness, where that counts."""
    frame: float | None = None
    usefulness: float | None = None


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
        Dropped(recalled.trajectory, recalled.score, "budget", costs[index], recalled.frame, recalled.usefulness)
        for index, recalled in enumerate(memory.recalled)
        if index not in kept
    ]
    recalled = tuple(memory.recalled[index] for index in kept)
    return msgspec.structs.replace(memory, recalled=recalled, dropped=(*memory.dropped, *cut))
