"""An evaluation from a suite to a folder of results: what is there is checked and kept, what is missing is played."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from edgexp.errors import EdgexpError, UsageError
from edgexp.evaluation import results
from edgexp.evaluation.field import Field, FieldPlayers, Filling
from edgexp.evaluation.playing import Failure, FarPlayers, Job, Players, play_all
from edgexp.evaluation.results import Header, Row, Setup, Writer
from edgexp.evaluation.suite import KINDS, Condition, Suite
from edgexp.files import hold_folder
from edgexp.play.chat_client import Terms
from edgexp.play.fleet import Say

MOST_TOLD = 5
"""Lines about things that failed in the same way, before their number says enough."""


@dataclass(frozen=True)
class Wishes:
    """What the caller wants otherwise than the suite says it."""

    parallel: int = 1
    """Episodes at once."""
    models: Mapping[str, str] = field(default_factory=dict)
    """A model of the suite → the name or file to take for it."""
    only: Sequence[str] = ()
    """Conditions to play; empty for all."""
    fresh: Sequence[str] = ()
    """Conditions whose earlier results are thrown away."""
    gpu_layers: int = 0
    vault: int = 0
    """Bytes of disk for what models have evaluated of past episodes, where memory stands apart; 0 for none."""
    terms: Terms = field(default_factory=Terms)
    """How servers are asked."""
    far: "Far | None" = None
    """Who plays, where it is not this process."""


Far = Callable[[Field, Sequence[Condition], Wishes], AbstractContextManager[FarPlayers]]
"""Opens players on other machines for conditions of one model."""


@dataclass(frozen=True)
class Watch:
    """Who is told of what, on the way."""

    say: Say = lambda _: None
    filling: Filling = lambda *_: None
    planned: Callable[[Sequence[Row], int], None] = lambda *_: None
    """Told once, before playing: the rows that are there already, and how many episodes are to be played."""
    opened: Callable[[], None] = lambda: None
    """Told whenever a model is open and its episodes begin."""
    kept: Callable[[Row], None] = lambda _: None


@dataclass(frozen=True)
class Done:
    """What came of it."""

    played: int
    failures: tuple[Failure, ...]
    skipped: tuple[str, ...]
    """Conditions left out, because their models are not here."""
    lacking: tuple[str, ...] = ()
    """A line for each expert episode that the suite's own bank lacks, because it could not be played or kept."""


def evaluate(name: str, suite: Suite, folder: Path, wishes: Wishes | None = None, watch: Watch | None = None) -> Done:
    """Play what is missing of a suite in a folder of results.

    Raises UsageError for names that are not in the suite; EdgexpError where the folder holds results of another suite, or of other
    weights, banks or code than would be played now, and where nothing can be played at all.
    """
    wishes, watch = wishes or Wishes(), watch or Watch()
    _check_names(suite, wishes)
    taken = f"{folder}: another evaluation is writing there; wait for it, or name another folder with --out"
    with hold_folder(folder, taken), Field(name, suite, wishes.models, watch.say, wishes.terms) as things:
        header = header_for(folder, name, suite)
        conditions, skipped = _available(things, wishes.only, watch.say)
        jobs = things.jobs(conditions)
        lacking = tuple(things.fill(conditions, watch.filling))
        for line in lacking[:MOST_TOLD]:
            watch.say(f"an episode for the evaluation's bank: {line}")
        things.check_memory(jobs)
        fresh = [condition for condition in wishes.fresh if condition not in skipped]

        def players(todo: Sequence[Job]) -> AbstractContextManager[Players | FarPlayers]:
            conditions = list({job.condition.name: job.condition for job in todo}.values())
            places = min(wishes.parallel, len(todo))
            if wishes.far is not None:
                return wishes.far(things, conditions, replace(wishes, parallel=places))
            return FieldPlayers(things, conditions, places, gpu_layers=wishes.gpu_layers, vault=wishes.vault, say=watch.say)

        played, failures = play_missing(folder, header, jobs, things.setup, players, fresh, watch)
        for environment, count in things.environments.restarts().items():
            watch.say(f"{environment}: its server died or hung and was started anew, times: {count}")
    return Done(played, tuple(failures), skipped, lacking)


def play_missing(
    folder: Path,
    header: Header,
    jobs: Sequence[Job],
    setup: Callable[[Job], Setup],
    players: Callable[[Sequence[Job]], AbstractContextManager[Players | FarPlayers]],
    fresh: Sequence[str] = (),
    watch: Watch | None = None,
) -> tuple[int, list[Failure]]:
    """Play the jobs that have no row yet, after checking that those there were played as they would be now. How many were played.

    `players` opens what plays the jobs of one model; rows of the conditions in `fresh` are thrown away first.
    """
    watch = watch or Watch()
    rows = [row for row in results.read_rows(folder, header) if row.condition not in fresh]
    now = map(setup, jobs)  # an environment has another name where it is named as `module:Class`
    check_setups(folder, header, rows, {(one.condition, one.environment): one for one in now})
    if fresh and (folder / results.EPISODES).is_file():
        results.forget(folder, header, fresh)
    with Writer(folder, header, watch.say) as writer:
        todo = missing(jobs, rows, watch.say)
        watch.planned(rows, len(todo))
        failures: list[Failure] = []
        for model in dict.fromkeys(job.condition.model for job in todo):
            part = [job for job in todo if job.condition.model == model]
            with players(part) as opened:
                watch.opened()
                failures += play_all(part, opened, writer, watch.kept)
    return len(todo) - len(failures), failures


def header_for(folder: Path, name: str, suite: Suite) -> Header:
    """The header of a folder that is new, or that holds results of the same suite. Raises EdgexpError for another one's."""
    settings = msgspec.to_builtins(suite)
    if not (folder / results.SUITE).is_file():
        return Header(name, settings, {}, suite.against)
    before = results.read_header(folder)
    if before.suite != name:
        raise EdgexpError(f"{folder} holds results of the suite {before.suite!r}, not of {name!r}: name another folder with --out")
    return Header(name, settings, before.setups, suite.against)


def check_setups(folder: Path, header: Header, rows: Sequence[Row], now: Mapping[tuple[str, str], Setup]) -> None:
    """Raise EdgexpError where rows were played otherwise than they would be now, naming what differs.

    Conditions that are not played now are there to be compared with: what decides in all of them has to be the same as well.
    """
    for key in sorted({row.setup for row in rows}):
        before = header.setups[key]
        own = now.get((before.condition, before.environment))
        others = [after for after in now.values() if after.environment == before.environment]
        for after in [own] if own else others:
            compared = [f.name for f in msgspec.structs.fields(Setup)] if own else _common(before, after)
            changes = [f"{name} was {getattr(before, name)!r} and is {getattr(after, name)!r}"
                       for name in compared if getattr(before, name) != getattr(after, name)]  # fmt: skip
            if changes:
                raise EdgexpError(f"{folder} holds episodes of {before.condition!r} that were played otherwise: {'; '.join(changes)}. "
                                  f"Play them again with --fresh {before.condition!r}, or keep both with another --out")


def missing(jobs: Sequence[Job], rows: Sequence[Row], say: Say = lambda _: None) -> list[Job]:
    """The jobs without a row, models in their first order, so that each is loaded once."""
    played, wanted = {row.key for row in rows}, {job.key for job in jobs}
    names = {job.condition.name for job in jobs}
    beside = sum(row.condition in names and row.key not in wanted for row in rows)
    if beside:
        say(f"{beside} episodes of earlier settings, of tasks that are not among the suite's now, stay in the results")
    models = list(dict.fromkeys(job.condition.model for job in jobs))
    return sorted((job for job in jobs if job.key not in played), key=lambda job: models.index(job.condition.model))


def _common(before: Setup, after: Setup) -> list[str]:
    """What has to be the same in two conditions that are compared."""
    remember = before.bank_fingerprint and after.bank_fingerprint
    same_bank = before.bank == after.bank or (before.bank in KINDS and after.bank in KINDS)
    common = [name for name in Setup.COMMON if name != "engine" or not (before.server or after.server)]  # no library is needed for those
    return [*common, *(("bank_fingerprint", "encoder") if remember and same_bank else ())]


def _check_names(suite: Suite, wishes: Wishes) -> None:
    names = [condition.name for condition in suite.conditions]
    for option, given in (("--only", wishes.only), ("--fresh", wishes.fresh)):
        for name in given:
            if name not in names:
                raise UsageError(f"{option} {name}: the suite has no such condition; it has {', '.join(names)}")
    models = {condition.model for condition in suite.conditions}
    for model in wishes.models:
        if model not in models:
            known = ", ".join(sorted(filter(None, models))) or "none"
            raise UsageError(f"--model {model}=…: the suite names no such model; it names {known}")


def _available(things: Field, only: Sequence[str], say: Say) -> tuple[list[Condition], tuple[str, ...]]:
    """The conditions that can be played, and the names of those that cannot for want of a model."""
    wanted = [condition for condition in things.suite.conditions if not only or condition.name in only]
    lacking = {condition.name: reason for condition in wanted if (reason := things.missing(condition))}
    for name, reason in lacking.items():
        say(f"{name} is left out: {reason}; it can be added later, with the same command")
    available = [condition for condition in wanted if condition.name not in lacking]
    if not available:
        raise EdgexpError(f"no condition can be played: {next(iter(lacking.values()))}; see what is there with: edgexp models ls")
    return available, tuple(lacking)

