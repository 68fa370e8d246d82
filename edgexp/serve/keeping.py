"""The bank behind a server: recalls for a first question, takes sessions in, and answers what the page asks. One thread has it.

Sessions are kept in quarantine until somebody says how they ended; what ended well or badly is accepted, and only then remembered. Knows
no clients and no models.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgexp.bank import Bank, Embedder, Entry, Filters, Usefulness
from edgexp.bank.outcomes import judge
from edgexp.embedding import open_encoder
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.episode import recall_of
from edgexp.play.record import log_entry
from edgexp.play.warming import forget_everywhere
from edgexp.retrieval import Memory, Retrieval, fit, retriever_for
from edgexp.serve.conversation import SPLIT, trajectory_of
from edgexp.serve.sessions import ChatSession
from edgexp.trajectory import Played, Provenance, Recall, Task, Trajectory

T = TypeVar("T")
Say = Callable[[str], None]
Recalled = tuple[Memory, Recall, dict[str, int]]
"""A memory, its record, and what each past episode in it costs."""


class Keeper:
    """A bank that is opened, asked and closed by a thread of its own."""

    def __init__(self, path: Path, encoder: str | Embedder, retrieval: Retrieval, environment: str, run: str, say: Say = lambda _: None):
        self.environment, self.retrieval, self._run, self._say = environment, retrieval, run, say
        self._thread = ThreadPoolExecutor(1, "edgexp bank")
        try:
            self._bank: Bank = self._thread.submit(self._open, path, encoder).result()
        except BaseException:
            self._thread.shutdown()
            raise

    def _open(self, path: Path, encoder: str | Embedder) -> Bank:
        bank = Bank.open(path, open_encoder(encoder, self._say) if isinstance(encoder, str) else encoder)
        self._retriever = retriever_for(bank, self.retrieval, Filters(environment=self.environment), exclude_self=False)
        return bank

    async def on_thread(self, work: Callable[[Bank], T]) -> T:
        """What some work with the bank gives, done on the bank's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._bank)

    def at_once(self, work: Callable[[Bank], T]) -> T:
        """The same, for those who may wait."""
        return self._thread.submit(work, self._bank).result()

    def close(self) -> None:
        """Close the bank; closing twice is fine."""
        self._thread.submit(self._bank.close).result()
        self._thread.shutdown()

    # In

    async def recall(self, goal: str, observation: str, cost: Callable[[Trajectory], int], budget: int) -> Recalled:
        """What to remember for a first question within a budget of tokens."""
        def work(bank: Bank) -> Recalled:
            task = Task(f"{self.environment}/{SPLIT}/new", self.environment, SPLIT, "session")
            found = self._retriever.recall(task, goal, observation) if self._retriever else Memory()
            costs = {one.trajectory.id: cost(one.trajectory) for one in found.recalled}
            memory = fit(found, lambda trajectory: costs[trajectory.id], max(0, budget))
            return memory, recall_of(0, memory), {one.trajectory.id: costs[one.trajectory.id] for one in memory.recalled}

        return await self.on_thread(work)

    async def keep(self, session: ChatSession, provenance: Provenance) -> None:
        """Put a session into the bank as it is now, in place of what the bank had of it."""
        said, success = tuple(session.said), session.success
        trajectory = trajectory_of(said, self.environment, session.id, success, session.score, provenance)
        identity, before, recalls = trajectory.id, session.banked, (session.recall,) if session.recall is not None else ()

        def work(bank: Bank) -> None:
            bank.add([trajectory], "quarantined" if success is None else "accepted")
            if before and before != identity:
                bank.forget([before])
            if success is not None and before != identity:
                bank.log_episode(log_entry(Played(trajectory, recalls), self._run))

        await self.on_thread(work)
        session.banked, session.dirty = identity, (tuple(session.said), session.success) != (said, success)

    async def read(self, ids: Sequence[str]) -> list[Trajectory]:
        """Those of some trajectories that are still there."""
        def work(bank: Bank) -> list[Trajectory]:
            there = []
            for identity in ids:
                try:
                    there.append(bank.get(identity))
                except EdgexpError:
                    continue
            return there

        return await self.on_thread(work)

    # For the page

    async def search(self, text: str, number: int) -> list[dict[str, Any]]:
        """Accepted trajectories that are most like a text; without a text the newest of any status."""
        return await self.on_thread(partial(_search, text=text, number=number, environment=self.environment))

    async def usefulness(self, ids: Sequence[str]) -> dict[str, Usefulness]:
        """What experience says of some trajectories."""
        return await self.on_thread(lambda bank: bank.usefulness(ids))

    async def mark(self, identity: str, success: bool) -> str:
        """Say how what a trajectory tells ended; it is accepted, and its id is another one, which is told. Raises UsageError for none."""
        def work(bank: Bank) -> str:
            [after], replaced = judge(bank, [identity], success)
            forget_everywhere(bank, replaced)
            return after

        return await self.on_thread(work)

    async def accept(self, identity: str) -> int:
        """Release a trajectory from quarantine. Raises UsageError for one that is not there, or of which nobody said how it ended."""
        def work(bank: Bank) -> int:
            if not bank.get(identity).outcome_known:
                raise UsageError("nobody has said how it ended: mark it as a success or a failure")
            return bank.accept([identity])

        return await self.on_thread(work)

    async def forget(self, ids: Iterable[str]) -> int:
        """Remove trajectories for good; those that are not there are passed over."""
        return await self.on_thread(lambda bank: forget_everywhere(bank, list(ids)))


def _search(bank: Bank, text: str, number: int, environment: str) -> list[dict[str, Any]]:
    if text.strip():
        hits = bank.search("task", text, number)
        scores = {hit.id: hit.score for hit in hits}
    else:
        scores = {entry.id: 0.0 for entry in bank.entries(limit=number)}
    entries = {entry.id: entry for entry in bank.entries(Filters(ids=tuple(scores)))}
    useful = bank.usefulness(list(entries))
    return [_row(bank, entries[one], scores[one], useful.get(one)) for one in scores if one in entries]


def _row(bank: Bank, entry: Entry, score: float, useful: Usefulness | None) -> dict[str, Any]:
    try:
        trajectory = bank.get(entry.id)
        goal, told = trajectory.goal, trajectory.outcome_known
    except EdgexpError as error:
        goal, told = str(error), True
    return {**msgspec.structs.asdict(entry), "likeness": score, "goal": goal, "outcome_known": told,
            "usefulness": msgspec.structs.asdict(useful) if useful else None}  # fmt: skip
