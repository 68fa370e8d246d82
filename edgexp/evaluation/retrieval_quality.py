"""Is what a bank gives for a task about the same thing? Of the retrieved episodes, how many share its type, its object, its receptacle?

Retrieval is asked once for the task (static) and along an expert's episode (dynamic), and compared with chance. Where tasks have groups, it
is also measured among the episodes of the task's own group, which is what a `matched` bank gives.

Likeness of tasks is not usefulness: whether a memory helps is for `edgexp eval` to say. Knows banks and experts. Does not know any model.
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
Mode = Literal["static", "dynamic", "chance"]
Progress = Callable[[int, int], None]
"""Is told how many tasks are done, of how many."""


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
        """What was measured, in words."""
        retrieved = "episode is" if self.k == 1 else "episodes are"
        return (f"For each task {self.k} past {retrieved} retrieved. A share says how many of them are about the same thing. Shares are "
                f"means over {self.tasks} tasks of {self.environment}, with bootstrap intervals of 95 %. The bank {self.bank[:13]} holds "
                f"{self.trajectories:,} episodes; its encoder is {self.encoder}. Chance is a draw from the same bank. A task never finds "
                "itself.")  # fmt: skip


def measure_quality(
    bank: Bank, environment: Environment, tasks: Sequence[Task], k: int = 2, progress: Progress = lambda *_: None
) -> Quality:
    """Retrieve for every task in every way. Raises EdgexpError where there is no task, or nothing in the bank for one.

    Dynamic retrieval follows the episode of the environment's expert, and is left out where there is none.
    """
    filters = Filters(environment=environment.name)
    held = [(t.task, aspects_of(environment, t.task, t.goal)) for t in bank.each(filters)]
    if not held or not tasks:
        what = f"the bank {bank.path} holds no episode of {environment.name}" if tasks else "there is no task"
        raise EdgexpError(f"retrieval cannot be measured: {what}")
    ways = _list_ways(environment, tasks, [task for task, _ in held])
    shares: dict[str, list[dict[str, float]]] = {mode + scope: [] for mode, scope in ways}
    counts = dict.fromkeys(shares, 0)
    for number, task in enumerate(tasks):
        episode = _episode(environment, task)
        for mode, scope in ways:
            group = task.group if scope else None
            if mode == "chance":
                found = [aspects for other, aspects in held if other.id != task.id and group in (None, other.group)]
            else:
                retriever = VectorRetriever(bank, Retrieval(k=k, memory=mode), msgspec.structs.replace(filters, group=group))
                found = [aspects_of(environment, t.task, t.goal) for t in _retrieved(retriever, episode)]
                counts[mode + scope] += len(found) // k
            shares[mode + scope].append(_alike(aspects_of(environment, task, episode.goal), found))
        progress(number + 1, len(tasks))
    kinds = tuple(dict.fromkeys(kind for one in shares["chance"] for kind in one))
    measured = tuple(Way(name, _means(kinds, of), counts[name]) for name, of in shares.items())
    return Quality(environment.name, len(tasks), bank.fingerprint(), len(held), bank.encoder_name, k, kinds, measured)


def aspects_of(environment: Environment, task: Task, goal: str) -> dict[str, str]:
    """What a task is about, as the environment tells: its type, and as a rule more, such as an object and a receptacle."""
    return {TYPE if name == "type" else name: value for name, value in base.aspects_of(environment, task, goal).items()}


def _list_ways(environment: Environment, tasks: Sequence[Task], held: Sequence[Task]) -> list[tuple[Mode, str]]:
    """Ways to retrieve, each with the scope that ends its name."""
    modes: tuple[Mode, ...] = ("static", "dynamic", "chance") if has_expert(environment) else ("static", "chance")
    return [(mode, scope) for scope in (("", OWN) if _grouped(tasks, held) else ("",)) for mode in modes]


def _grouped(tasks: Sequence[Task], held: Sequence[Task]) -> bool:
    """Whether every task is of one of several groups, of which the bank holds an episode of another task."""
    several = len({task.group for task in held}) > 1
    return several and all(any(t.group == task.group and t.id != task.id for t in held) for task in tasks)


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
