"""Is what a bank gives for a task about the same thing? Measured without a model: of the retrieved episodes, how many share the task's
type, its object, its receptacle; by the task once (static), by the course of an expert's episode (dynamic), and by chance. Where tasks have
groups, also among the episodes of the task's own group, which is what a `matched` bank gives.

Relevance here is likeness of tasks, not usefulness: whether a memory helps is for `edgexp eval` to say.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from edgexp.bank import Bank, Filters
from edgexp.environments import base
from edgexp.environments.base import Environment, has_expert
from edgexp.errors import EdgexpError
from edgexp.evaluation.statistics import Mean, bootstrap
from edgexp.play.episode import play
from edgexp.play.rollout import run
from edgexp.play.scripted import ExpertPolicy
from edgexp.retrieval import Retrieval, Retriever, VectorRetriever
from edgexp.trajectory import Provenance, Task, Trajectory

TYPE = "task type"
OWN = ", own group"
"""Ends the names of ways that look at episodes of the task's group only."""
Progress = Callable[[int, int], None]


class Way(msgspec.Struct, frozen=True):
    """One way to retrieve. `shares`: by aspect, the share of what was retrieved that is like the task, a mean over tasks."""

    name: str
    shares: dict[str, Mean]
    retrievals: int


class Quality(msgspec.Struct, frozen=True):
    """How well a bank answers for some tasks."""

    environment: str
    tasks: int
    bank: str
    """The bank's fingerprint."""
    trajectories: int
    encoder: str
    k: int
    aspects: tuple[str, ...]
    ways: tuple[Way, ...]

    @property
    def about(self) -> str:
        """What was measured, in a sentence."""
        return (f"Of the {self.k} episodes that are retrieved for a task, the share that is about the same thing; means over {self.tasks} "
                f"tasks of {self.environment} with bootstrap intervals of 95 %. The bank {self.bank[:13]} holds {self.trajectories:,} "
                f"episodes; encoder {self.encoder}. Chance: a draw from the same bank. A task never finds itself.")  # fmt: skip


def measure(bank: Bank, environment: Environment, tasks: Sequence[Task], k: int = 2, progress: Progress = lambda *_: None) -> Quality:
    """Retrieve for every task in every way. Raises EdgexpError where there is no task, or nothing in the bank for one.

    Dynamic retrieval follows the episode of the environment's expert, and is left out where there is none.
    """
    filters = Filters(environment=environment.name)
    held = [(t.task, aspects_of(environment, t.task, t.goal)) for t in bank.each(filters)]
    if not held or not tasks:
        what = f"the bank {bank.path} holds no episode of {environment.name}" if tasks else "there is no task"
        raise EdgexpError(f"retrieval cannot be measured: {what}")
    modes: tuple[Literal["static", "dynamic"], ...] = ("static", "dynamic") if has_expert(environment) else ("static",)
    scopes = ("", OWN) if _grouped(tasks, [task for task, _ in held]) else ("",)
    shares: dict[str, list[dict[str, float]]] = {name + scope: [] for scope in scopes for name in (*modes, "chance")}
    counts = dict.fromkeys(shares, 0)
    for number, task in enumerate(tasks):
        episode = _episode(environment, task)
        wanted = aspects_of(environment, task, episode.goal)
        for scope in scopes:
            group = task.group if scope else None
            for mode in modes:
                retriever = VectorRetriever(bank, Retrieval(k=k, memory=mode), msgspec.structs.replace(filters, group=group))
                found = [aspects_of(environment, t.task, t.goal) for t in _retrieved(retriever, episode)]
                shares[mode + scope].append(_alike(wanted, found))
                counts[mode + scope] += len(found) // k
            others = [aspects for other, aspects in held if other.id != task.id and group in (None, other.group)]
            shares["chance" + scope].append(_alike(wanted, others))
        progress(number + 1, len(tasks))
    kinds = tuple(dict.fromkeys(kind for one in shares["chance"] for kind in one))
    ways = tuple(Way(name, _means(kinds, of), counts[name]) for name, of in shares.items())
    return Quality(environment.name, len(tasks), bank.fingerprint(), len(held), bank.encoder_name, k, kinds, ways)


def _grouped(tasks: Sequence[Task], held: Sequence[Task]) -> bool:
    """Whether every task is of one of several groups, of which the bank holds an episode of another task."""
    several = len({task.group for task in held}) > 1
    return several and all(any(t.group == task.group and t.id != task.id for t in held) for task in tasks)


def aspects_of(environment: Environment, task: Task, goal: str) -> dict[str, str]:
    """What a task is about, as the environment tells: its type, and as a rule more, such as an object and a receptacle."""
    return {TYPE if name == "type" else name: value for name, value in base.aspects_of(environment, task, goal).items()}


def _episode(environment: Environment, task: Task) -> Trajectory:
    """The expert's episode; without an expert, its beginning."""
    if has_expert(environment):
        return run(play(environment, task, ExpertPolicy(environment))).trajectory
    start = environment.reset(task)
    return Trajectory(task, start.goal, start.observation, (), False, 0.0, "gave_up", Provenance("expert"))


def _retrieved(retriever: Retriever, episode: Trajectory) -> Iterable[Trajectory]:
    """Everything retrieved before each action of an episode."""
    for done in range(max(1, len(episode.steps))):
        if retriever.due(done):
            memory = retriever.recall(episode.task, episode.goal, episode.observation, episode.steps[:done])
            yield from (recalled.trajectory for recalled in memory.recalled)


def _alike(wanted: dict[str, str], found: Sequence[dict[str, str]]) -> dict[str, float]:
    """By aspect, the share of `found` that has it as `wanted`."""
    if not found:
        raise EdgexpError("retrieval cannot be measured: the bank holds nothing but episodes of the task itself")
    return {kind: sum(aspects.get(kind) == value for aspects in found) / len(found) for kind, value in wanted.items()}


def _means(kinds: Sequence[str], shares: Sequence[dict[str, float]]) -> dict[str, Mean]:
    return {kind: bootstrap([share[kind] for share in shares if kind in share]) for kind in kinds}
