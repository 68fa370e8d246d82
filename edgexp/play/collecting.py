"""Which tasks are played, and filling a bank with episodes, resumably: what a policy has played for a bank is not played again for it."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice, repeat
from typing import Literal

from edgexp.bank import Bank, Filters, check_sound
from edgexp.environments.base import Environment
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.episode import Episode, play
from edgexp.play.fleet import Environments
from edgexp.play.mistakes import ErringExpert
from edgexp.play.rollout import Finished, run_many
from edgexp.play.scripted import ExpertPolicy
from edgexp.trajectory import Played, Source, Task, Trajectory


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


Again = Literal["none", "lost", "all"]
"""Which tasks that were played are played again: none, those that were never won, or all."""


def left_to_play(bank: Bank, tasks: Iterable[Task], source: Source | Sequence[Source], again: Again = "none") -> list[Task]:
    """The tasks to play by what that source (or those) played for the bank: first those it holds no accepted episode of, then those again.

    An episode that broke off because something failed counts as none. What an import says of its source does not count, nor does anything
    in quarantine: whoever writes a file must not decide what is played here.
    """
    tasks = list(tasks)
    if again == "all":
        return tasks
    sources: Sequence[Source] = (source,) if isinstance(source, str) else source
    won, lost = set[str](), set[str]()
    for entry in (entry for one in sources for entry in bank.entries(Filters(source=one), "accepted")):
        (won if entry.success else lost).add(entry.task_id)
    if not (lost - won).isdisjoint(task.id for task in tasks):
        lost -= _only_broken_off(bank, sources, lost - won)
    new = [task for task in tasks if task.id not in won and task.id not in lost]
    return new + [task for task in tasks if again == "lost" and task.id in lost and task.id not in won]


def _only_broken_off(bank: Bank, sources: Sequence[Source], lost: set[str]) -> set[str]:
    """Those of the lost tasks of which every episode broke off."""
    ended = {t.task.id for one in sources for t in bank.each(Filters(source=one, success=False)) if not t.broke_off}
    return lost - ended


def collect(bank: Bank, episodes: Iterable[Finished], done: Callable[[Played], None] = lambda _: None,
            failed: Callable[[EdgexpError], None] | None = None, batch: int = 1,
            besides: Callable[[Trajectory], Trajectory | None] = lambda _: None) -> int:
    """Keep every episode, won or lost, and what `besides` makes of each. Returns how many were won.

    `failed` is told of each that could not be played or that the bank cannot store, and the others go on; without it the error is raised.
    Episodes are stored in batches of `batch`, each batch in one transaction. Stopping at any moment loses the episodes being played and at
    most `batch` - 1 finished ones; with the default of 1, none.
    """
    won, held = 0, list[Trajectory]()
    try:
        for finished in episodes:
            try:
                played = _to_keep(finished)
            except EdgexpError as error:
                if failed is None:
                    raise
                failed(error)
                continue
            held += [t for t in (played.trajectory, besides(played.trajectory)) if t is not None]
            won += played.trajectory.success
            if len(held) >= batch:
                bank.add(held)
                held = []
            done(played)
    finally:
        if held:
            bank.add(held)
    return won


def _to_keep(finished: Finished) -> Played:
    """An episode that the bank will take: one that it refused would take its whole batch with it. Raises EdgexpError."""
    if finished.played is None:
        raise finished.error or EdgexpError("the episode was over without an end")
    check_sound(finished.played.trajectory)
    return finished.played


def collect_telling(bank: Bank, episodes: Iterable[Finished], over: Callable[[str], None], batch: int = 1,
                    besides: Callable[[Trajectory], Trajectory | None] = lambda _: None) -> tuple[int, list[str]]:
    """Keep every episode that can be kept: how many were won, and a line for each that was not played to its end or not kept.

    `over` is told when an episode is done with: the line, or nothing where all was well.
    """
    problems, refused = list[str](), list[EdgexpError]()

    def told() -> Iterator[Finished]:
        for finished in episodes:
            refused.clear()
            yield finished
            line = finished.problem or "".join(f"not kept: {error}" for error in refused)
            problems.extend([line] if line else [])
            over(line)

    return collect(bank, told(), failed=refused.append, batch=batch, besides=besides), problems


def split_to_play(environment: Environment, named: str | None, preferred: str) -> str:
    """The split that was named; else the preferred one, or where there is no such split the environment's first."""
    if named is not None:
        return named
    splits = environment.splits()
    if not splits:
        raise EdgexpError(f"the environment {environment.name} has no splits, and so no tasks")
    return preferred if preferred in splits else splits[0]


MOST_DRAWN = 20_000
"""Tasks that are drawn to be played in turn, where nobody waits for as many to be over."""


def in_turn(tasks: Sequence[Task], count: int) -> Iterator[Task]:
    """`count` tasks, one after the other; where there are fewer, each comes again."""
    return islice(chain.from_iterable(repeat(tasks)), count if tasks else 0)


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
    longest = max(map(len, groups), default=0)
    return [group[turn] for turn in range(min(count, longest)) for group in groups if turn < len(group)][:count]


def draw(environment: Environment, split: str, count: int | None, seed: int = 0, types: Sequence[str] = (),
         group: str | None = None) -> list[Task]:
    """`spread` over the tasks of some types and of a group; nothing asked for means all, and so does None as the count.

    Raises UsageError that names what is there, where the split has no such task.
    """
    there = environment.tasks(split)
    drawn = spread(there, len(there) if count is None else count, seed,
                   lambda task: (not types or task.type in types) and (group is None or task.group == group))  # fmt: skip
    if not drawn:
        some = spread(there, _LOOKED_AT)
        if not some:
            raise UsageError(f"split {split} of {environment.name} has no tasks")
        known = {name: ", ".join(sorted({getattr(task, name) for task in some} - {""})) for name in ("type", "group")}
        raise UsageError(f"no task of split {split} of {environment.name} is of that type or group; "
                         f"its types: {known['type']}; its groups: {known['group'] or 'none'}")
    return drawn


_LOOKED_AT = 500
"""Tasks that tell which types and groups there are."""
