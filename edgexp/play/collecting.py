"""Filling a bank with episodes, resumably: a task that its policy has already played for this bank is not played again."""

import random
from collections.abc import Callable, Iterable, Sequence

from edgexp.bank import Bank
from edgexp.bank.records import Filters
from edgexp.engine.engine import Engine
from edgexp.environments.base import Environment
from edgexp.play.episode import Episode, Policy, play
from edgexp.play.mistakes import SlippingExpert
from edgexp.play.policies import ExpertPolicy
from edgexp.play.rollout import run
from edgexp.trajectory import Source, Task, Trajectory

Play = Callable[[Task], Episode]


def expert_play(environment: Environment, max_steps: int | None = None, slips: float = 0.0, seed: int = 0) -> Play:
    """Episodes of the environment's scripted expert, who slips at that share of its turns."""
    def start(task: Task) -> Episode:
        policy = SlippingExpert(environment, slips, seed) if slips else ExpertPolicy(environment)
        return play(environment, task, policy, max_steps=max_steps)

    return start


def agent_play(environment: Environment, policy: Policy, max_steps: int | None = None) -> Play:
    """Episodes of a policy that is used again and again."""
    return lambda task: play(environment, task, policy, max_steps=max_steps)


def left_to_play(bank: Bank, tasks: Iterable[Task], source: Source) -> list[Task]:
    """The tasks of which the bank holds no episode of that source, accepted or not."""
    known = {entry.task_id for entry in bank.entries(Filters(source=source))}
    return [task for task in tasks if task.id not in known]


def collect(bank: Bank, tasks: Iterable[Task], play: Play, done: Callable[[Trajectory], None] = lambda _: None,
            engine: Engine | None = None, batch: int = 1) -> int:
    """Play tasks one after the other and keep every episode, won or lost. Returns how many were won.

    Episodes are stored in batches of `batch`, each batch in one transaction. Stopping at any moment loses the episode being played and
    at most `batch` - 1 finished ones; with the default of 1, none.
    """
    won, held = 0, []
    try:
        for task in tasks:
            trajectory = run(play(task), engine)
            held.append(trajectory)
            won += trajectory.success
            if len(held) >= batch:
                bank.add(held)
                held = []
            done(trajectory)
    finally:
        if held:
            bank.add(held)
    return won


def spread(tasks: Sequence[Task], count: int, seed: int = 0, keep: Callable[[Task], bool] = lambda _: True) -> list[Task]:
    """`count` tasks of a split that satisfy `keep`, drawn without repeats and with their types in turn; the same seed gives the same.

    Works on splits too long to list: of those it looks at some thousands of positions only. Returns fewer where there are not enough.
    """
    positions = random.Random(seed).sample(range(len(tasks)), min(len(tasks), 4_000 + 20 * count))
    by_type: dict[str, list[Task]] = {}
    for task in (tasks[p] for p in positions):
        if keep(task):
            by_type.setdefault(task.type, []).append(task)
    groups = [group for _, group in sorted(by_type.items())]
    return [group[turn] for turn in range(count) for group in groups if turn < len(group)][:count]
