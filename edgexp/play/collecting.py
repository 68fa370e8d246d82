"""Filling a bank with episodes, resumably: a task that its policy has already played for this bank is not played again."""

import random
from collections.abc import Callable, Iterable, Sequence

from edgexp.bank import Bank
from edgexp.environments.base import Environment
from edgexp.errors import EdgexpError
from edgexp.play.episode import Episode, play
from edgexp.play.fleet import Environments
from edgexp.play.mistakes import ErringExpert
from edgexp.play.rollout import Finished, run_many
from edgexp.play.scripted import ExpertPolicy
from edgexp.trajectory import Played, Source, Task


def expert_episode(environment: Environment, task: Task, steps: int | None = None, mistakes: float = 0.0, seed: int = 0) -> Episode:
    """An episode of the environment's scripted expert, who makes a mistake at that share of its turns."""
    policy = ErringExpert(environment, mistakes, seed) if mistakes else ExpertPolicy(environment)
    return play(environment, task, policy, max_steps=steps)


def expert_episodes(environments: Environments, name: str, tasks: Iterable[Task], *, steps: int | None = None, mistakes: float = 0.0,
                    seed: int = 0, parallel: int = 1) -> Iterable[Finished]:
    """Episodes of an environment's expert, one a task, at so many places."""

    def start(task: Task) -> Callable[[int], Episode]:
        return lambda place: expert_episode(environments.at(name, place), task, steps, mistakes, seed)

    return run_many(map(start, tasks), parallel)


def left_to_play(bank: Bank, tasks: Iterable[Task], source: Source) -> list[Task]:
    """The tasks of which the bank holds no accepted episode of that source. What an import says of its source does not count, nor does
    anything in quarantine: whoever writes a file must not decide what is played here."""
    known = bank.tasks_played(source)
    return [task for task in tasks if task.id not in known]


def collect(bank: Bank, episodes: Iterable[Finished], done: Callable[[Played], None] = lambda _: None,
            failed: Callable[[EdgexpError], None] | None = None, batch: int = 1) -> int:
    """Keep every episode, won or lost. Returns how many were won.

    `failed` is told of each that could not be played, and the others go on; without it the error is raised. Episodes are stored in batches
    of `batch`, each batch in one transaction. Stopping at any moment loses the episodes being played and at most `batch` - 1 finished
    ones; with the default of 1, none.
    """
    won, held = 0, []
    try:
        for finished in episodes:
            if finished.played is None:
                _tell(finished, failed)
                continue
            held.append(finished.played.trajectory)
            won += finished.played.trajectory.success
            if len(held) >= batch:
                bank.add(held)
                held = []
            done(finished.played)
    finally:
        if held:
            bank.add(held)
    return won


def _tell(finished: Finished, failed: Callable[[EdgexpError], None] | None) -> None:
    error = finished.error or EdgexpError("the episode was over without an end")
    if failed is None:
        raise error
    failed(error)


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
