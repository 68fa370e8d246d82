"""The bank of an evaluation: which episodes it must hold, filled by an expert where it lacks some, and which of them a task may see."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edgexp.bank import Bank, Embedder
from edgexp.bank.records import Filters
from edgexp.environments.base import Environment, family_of, has_expert
from edgexp.errors import EdgexpError, UsageError
from edgexp.evaluation.suite import KINDS, Condition, Tasks
from edgexp.home import home
from edgexp.play.collecting import collect_telling, expert_episodes, left_to_play, spread
from edgexp.play.fleet import Environments
from edgexp.trajectory import Task

BATCH = 20
"""Expert episodes stored in one transaction."""
GROUPS = ("easy", "hard")
_DRAWN = 1000
"""Tasks that are drawn, of which the first are taken, so that a larger number keeps those of a smaller one."""

Progress = Callable[[int, int], None]
"""Told how many expert episodes are played, and of how many."""


def draw(environment: Environment, tasks: Tasks) -> list[Task]:
    """The tasks of one entry of a suite. Raises UsageError where a split, group or type has none."""
    found: list[Task] = []
    for split in tasks.splits:
        for group in tasks.groups or (None,):
            drawn = _first(environment, split, group, tasks.types, tasks.number, tasks.seed)
            if not drawn:
                which = f"group {group}" if group else f"type {' or '.join(tasks.types)}" if tasks.types else "any kind"
                raise UsageError(f"{environment.name} has no task of {which} in its split {split}")
            found += drawn
    return found


def folder(suite: str, tasks: Tasks) -> Path:
    """Where the bank lies: the one that is named, or the suite's own.

    Whatever decides what the suite's own bank holds is in its name: with other settings there is another bank beside it, and episodes that
    were played with this one can still be compared.
    """
    experience = tasks.experience
    if experience.bank:
        return Path(experience.bank).expanduser().absolute()
    played = (tasks.splits, tasks.groups, tasks.types, tasks.number) if experience.same_places else ()
    holds = (tasks.environment, tasks.seed, experience, played)
    digest = hashlib.sha256(b"edgexp.evalbank.1\0" + msgspec.json.encode(holds, order="deterministic")).hexdigest()
    return home() / "banks" / f"eval-{suite}-{digest[:8]}"


def fill(bank: Bank, environments: Environments, tasks: Tasks, played: Sequence[Task], progress: Progress = lambda *_: None) -> list[str]:
    """Let the expert play what the suite's own bank lacks. Interrupted, it goes on when called again.

    A line for each episode that could not be played or kept; the others are there. Called again, it tries those again.
    """
    environment = environments.at(tasks.environment)
    wanted = left_to_play(bank, _wanted(environment, tasks, played), "expert")
    if not wanted:
        return []
    if not has_expert(environment):
        raise UsageError(f"{environment.name} has no expert to fill a bank with: name a bank of your own in tasks.experience.bank")
    done = 0

    def over(_: str) -> None:
        nonlocal done
        done += 1
        progress(done, len(wanted))

    progress(0, len(wanted))
    return collect_telling(bank, expert_episodes(environments, tasks.environment, wanted), over, batch=BATCH)[1]


def filters(condition: Condition, tasks: Tasks, task: Task) -> Filters | None:
    """What of the bank a condition's memory may hold for a task; None for nothing. Raises UsageError for what is not to be had."""
    if not condition.remembers:
        return None
    base = Filters(environment=task.environment, split=tasks.experience.split)
    match condition.bank:
        case "all":
            return base
        case "matched":
            return Filters(environment=task.environment, split=tasks.experience.split, group=task.group or None)
        case "mismatched":
            return _misleading(tasks, task)
        case _:
            return Filters(environment=task.environment)


def banks(suite: str, condition: Condition, tasks: Tasks) -> Path | None:
    """The folder of the bank that a condition uses; None without memory."""
    if not condition.remembers:
        return None
    return folder(suite, tasks) if condition.bank in KINDS else Path(condition.bank).expanduser().absolute()


@contextmanager
def opened(path: Path, encoder: Embedder) -> Iterator[Bank]:
    """A bank to read from. Raises EdgexpError where there is none."""
    try:
        bank = Bank.open(path, encoder, readonly=True)
    except EdgexpError as error:
        raise EdgexpError(f"the bank of the evaluation cannot be opened: {error}") from error
    with bank:
        yield bank


def _misleading(tasks: Tasks, task: Task) -> Filters:
    if tasks.experience.mismatched:
        return Filters(environment=task.environment, split=tasks.experience.mismatched)
    if task.group not in GROUPS:
        raise UsageError(f"tasks of {task.environment} have no groups, so that none mismatch: name a split in tasks.experience.mismatched")
    other = GROUPS[1 - GROUPS.index(task.group)]
    return Filters(environment=task.environment, split=tasks.experience.split, group=other)


def _wanted(environment: Environment, tasks: Tasks, played: Sequence[Task]) -> list[Task]:
    """The tasks whose expert episodes the suite's own bank holds. Both groups, whichever is played: the other one misleads."""
    experience = tasks.experience
    if experience.same_places:
        places = {family_of(environment, task) for task in played}
        wanted = [task for task in environment.tasks(experience.split) if family_of(environment, task) in places]
    else:
        groups = GROUPS if any(task.group for task in played) else (None,)
        wanted = [t for group in groups for t in _first(environment, experience.split, group, (), experience.number, tasks.seed)]
    if experience.mismatched:
        wanted += _first(environment, experience.mismatched, None, (), len(wanted), tasks.seed)
    return wanted


def _first(environment: Environment, split: str, group: str | None, types: Sequence[str], number: int, seed: int) -> list[Task]:
    """The first `number` of a draw that does not depend on it."""

    def keep(task: Task) -> bool:
        return (group is None or task.group == group) and (not types or task.type in types)

    return spread(environment.tasks(split), max(number, _DRAWN), seed, keep)[:number]
