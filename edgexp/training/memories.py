"""What a training sample finds in its memory: what retrieval would show it, or by a stated share something worse.

At run time a bank can be empty, foreign or full of half episodes. A model that met such memory in training does not fall over it.
Retrieval is that of running: the same retriever, the same filter, the same key. Knows no tokens.
"""

from functools import cached_property
from random import Random
from typing import TYPE_CHECKING

import msgspec

from edgexp.bank import Bank, Embedder, Filters, task_text
from edgexp.errors import EdgexpError
from edgexp.retrieval import Memory, Recalled, Retriever
from edgexp.training import mixing
from edgexp.training.mixing import Kind
from edgexp.training.recipe import Memory as Settings
from edgexp.trajectory import Trajectory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NEAREST = 16
"""Mismatched memory is drawn from so many: the nearest of other tasks, as a bank without the right experience would show them."""


class Memories:
    """Finds memory for trajectories of one environment in one bank. Nothing finds its own task, and nothing finds kin of `kept_out`."""

    def __init__(self, settings: Settings, bank: Bank, environment: str, seed: int, kept_out: frozenset[str] = frozenset()):
        self._bank, self._environment, self._seed = bank, environment, seed
        # As `stack.open_stack` filters at run time; what is held out is left out besides.
        self._filters = Filters(environment=environment)
        if kept_out:
            tasks = {entry.task_id for entry in bank.entries(self._filters, "accepted")}
            self._filters = Filters(environment=environment, exclude_task_ids=tuple(sorted(t for t in tasks if mixing.kin(t) in kept_out)))
        self._retriever = Retriever(bank, k=settings.k, filters=self._filters, diversity=settings.diversity) if settings.k else None
        self._latest: tuple[str, Memory] = ("", Memory())

    def find(self, trajectory: Trajectory, kind: Kind, variant: int | None = None) -> Memory:
        """Memory of that kind, not yet fitted into a budget; the most useful first.

        `variant` numbers the samples made of one trajectory. None draws nothing: mismatched memory is then the nearest there is. Raises
        EdgexpError where mismatched memory is asked for and the bank has nothing of other tasks.
        """
        if self._retriever is None or kind == "absent":
            return Memory()
        found = self._matched(trajectory)
        if kind == "matched" or not found.recalled:
            return found
        chance = None if variant is None else mixing.draw(self._seed, kind, trajectory.id, variant)
        if kind == "mismatched":
            return Memory(found.query, self._strangers(trajectory, len(found.recalled), chance))
        chance = chance or mixing.draw(self._seed, kind, trajectory.id)
        short = (msgspec.structs.replace(r, trajectory=mixing.shorten(r.trajectory, chance)) for r in found.recalled)
        return msgspec.structs.replace(found, recalled=tuple(short))

    @property
    def has_strangers(self) -> bool:
        """Whether everything in the bank can be mismatched with something."""
        return len(set(self._strange[1].tolist())) > 1

    def _matched(self, trajectory: Trajectory) -> Memory:
        if self._latest[0] != trajectory.id:
            assert self._retriever is not None
            t = trajectory
            self._latest = (t.id, self._retriever.recall(t.task, t.goal, t.observation, known=self._vector(t)))
        return self._latest[1]

    def _vector(self, trajectory: Trajectory) -> "NDArray[np.float32]":
        """The vector of the query that the trajectory's task would be: the stored one of its key where that is the same text.

        It is rounded to half precision, as searches round every query; what is found is the same (of 1,049 retrievals, all).
        """
        if self._asks_as_it_stores:
            vector: NDArray[np.float32] = self._bank.vectors("task", [trajectory.id])[0]
            return vector
        return self._bank.embed(task_text(trajectory.goal, trajectory.observation))

    @cached_property
    def _asks_as_it_stores(self) -> bool:
        return asks_as_it_stores(self._bank.embedder)

    def _strangers(self, trajectory: Trajectory, count: int, chance: Random | None) -> tuple[Recalled, ...]:
        """`count` of the nearest trajectories of other tasks, the nearest first."""
        import numpy as np

        ids, likes, vectors = self._strange
        task = trajectory.task
        own = self._codes.get(mixing.likeness(task.environment, task.id, task.type), -1)
        others = np.flatnonzero(likes != own)
        if not len(others):
            raise EdgexpError(f"the bank {self._bank.path} has nothing to mismatch with {task.id}: its trajectories of {self._environment} "
                              "are all of one task type; take a memory.mix without mismatched, or collect more types")
        # Rounded, since the last digits of a product depend on how many threads had a part in it.
        scores = np.round(vectors @ self._vector(trajectory), 6)[others]
        best = np.lexsort((others, -scores))[: max(_NEAREST, count)]
        chosen = range(min(count, len(best))) if chance is None else sorted(chance.sample(range(len(best)), min(count, len(best))))
        found = self._bank.read([ids[others[best[n]]] for n in chosen])
        return tuple(Recalled(t, float(scores[best[n]])) for t, n in zip(found, chosen, strict=True))

    @cached_property
    def _strange(self) -> "tuple[list[str], NDArray[np.int64], NDArray[np.float32]]":
        """Ids of all that could be remembered, sorted, what each is like (a number of `_codes`), and their vectors."""
        import numpy as np

        entries = sorted(self._bank.entries(self._filters, "accepted"), key=lambda e: e.id)
        codes = [self._codes.setdefault(mixing.likeness(e.environment, e.task_id, e.task_type), len(self._codes)) for e in entries]
        ids = [e.id for e in entries]
        return ids, np.array(codes, np.int64), self._bank.vectors("task", ids)

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {}


def asks_as_it_stores(embedder: Embedder) -> bool:
    """Whether a query gets the vector that the same text has as a key: so it is with encoders that have no prefix for queries."""
    import numpy as np

    text = task_text("find out.", "You see nothing.")
    asked, stored = embedder.encode([text], query=True), embedder.encode([text])
    return bool(np.allclose(asked, stored, atol=1e-5))
