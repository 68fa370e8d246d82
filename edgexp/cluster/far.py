"""The driver's side: sessions and an evaluation's players like those of this process, whose episodes are played by a crew.

Files are found and checked here, and what workers remember is a copy of the bank, made when playing begins. Knows no Ray.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from edgexp.bank import Bank, default_path
from edgexp.bank.schema import FILE
from edgexp.cluster import parcels, wire
from edgexp.cluster.crew import Crew, Link
from edgexp.cluster.wire import Item, Opening, Over, Parcel, Turn, Weights
from edgexp.environments.base import Environment
from edgexp.errors import EdgexpError, UsageError
from edgexp.evaluation import experience
from edgexp.evaluation.evaluate import Wishes
from edgexp.evaluation.field import Field
from edgexp.evaluation.playing import Job
from edgexp.evaluation.results import Setup
from edgexp.evaluation.suite import Condition
from edgexp.files import working_folder
from edgexp.models import DEFAULT_EMBEDDER, Ready, resolve
from edgexp.play.chat_client import is_address
from edgexp.play.fleet import Environments, Say
from edgexp.play.rollout import Finished
from edgexp.play.session import Settings, open_bank, with_actions
from edgexp.trajectory import Played, Task


@dataclass
class FarSession:
    """A session whose episodes are played elsewhere."""

    settings: Settings
    environment: Environment
    bank: Bank | None
    """Open to keep episodes in, where that was asked for."""
    _crew: Crew
    _opening: Opening

    def play(self, tasks: Iterable[Task], *, steps: int | None = None) -> Iterator[Finished]:
        """As `OpenSession.play`, but that what is remembered is what the bank held when the session was opened."""
        play = self._opening.play
        if isinstance(play, wire.SessionPlay):
            play = replace(play, steps=steps)
        turns = (Turn(number, (Item(0, task),)) for number, task in enumerate(tasks))
        for over in self._crew.play(replace(self._opening, play=play), turns):
            yield Finished(over.turn, over.played, None if over.played else _error(over))


@dataclass
class FarFieldPlayers:
    """One model of an evaluation, played elsewhere; see `FarPlayers`."""

    places: int
    _field: Field
    _crew: Crew
    _opening: Opening

    def setup(self, job: Job) -> Setup:
        """See `Field.setup`."""
        return self._field.setup(job)

    def play(self, turns: Sequence[Sequence[Job]]) -> Iterator[tuple[Job, Played | EdgexpError]]:
        """See `FarPlayers.play`."""
        made = (Turn(number, tuple(self._item(n, job) for n, job in enumerate(turn))) for number, turn in enumerate(turns))
        for over in self._crew.play(self._opening, made):
            yield turns[over.turn][over.position], over.played or _error(over)

    def _item(self, position: int, job: Job) -> Item:
        suite = self._field.suite
        return Item(position, job.task, suite.conditions.index(job.condition), suite.tasks.index(job.tasks))


class Cluster:
    """Plays on the machines that a link leads to."""

    def __init__(self, link: Link, workers: int | None = None, say: Say = lambda _: None):
        """`workers` in all; None for one on each machine."""
        self._crew = Crew(link, workers, say)

    @contextmanager
    def open_session(self, settings: Settings, say: Say = lambda _: None, *, keep: bool = False,
                     in_use: bool = False) -> Iterator[FarSession]:
        """As `edgexp.play.session.open_session`; the model is opened by the workers only."""
        with ExitStack() as stack:
            environment = stack.enter_context(Environments()).at(settings.environment)
            settings = with_actions(settings, environment)
            weights = list[Weights]()
            if not settings.policy and not is_address(settings.model):
                weights.append(_weights(settings.model, resolve(settings.model, role="policy", say=say)))
            bank = stack.enter_context(open_bank(settings.bank, settings.encoder, say)) if keep else None
            banks = list[Parcel]()
            if settings.remembers:
                weights.append(_weights(settings.encoder, resolve(settings.encoder, role="embedder", say=say)))
                banks += _copies(stack, [settings.bank or default_path()])
            play = wire.SessionPlay(replace(settings, bank=None), None, in_use, banks[0].digest if banks else "")
            opening = _opening(play, {settings.environment: environment.version}, weights, banks)
            yield FarSession(settings, environment, bank, self._crew, opening)

    def expert_episodes(self, environment: Environment, name: str, tasks: Iterable[Task], *, steps: int | None = None,
                        mistakes: float = 0.0, seed: int = 0, parallel: int = 1) -> Iterator[Finished]:
        """As `edgexp.play.collecting.expert_episodes`."""
        opening = _opening(wire.ExpertPlay(name, steps, mistakes, seed, parallel), {name: environment.version})
        turns = (Turn(number, (Item(0, task),)) for number, task in enumerate(tasks))
        for over in self._crew.play(opening, turns):
            yield Finished(over.turn, over.played, None if over.played else _error(over))

    @contextmanager
    def players(self, field: Field, conditions: Sequence[Condition], wishes: Wishes) -> Iterator[FarFieldPlayers]:
        """Players for conditions of one model of an evaluation."""
        with ExitStack() as stack:
            weights = [] if field.server(conditions[0]) else [_weights(field.found(conditions[0]), field.ready(conditions[0]))]
            paths = _banks_of(field, conditions)
            copies = dict(zip(paths, _copies(stack, list(paths)), strict=True))
            for job in paths.values():
                field.check(job)  # the copy is of what the setup says
            if copies:
                weights.append(_weights(DEFAULT_EMBEDDER, resolve(DEFAULT_EMBEDDER, role="embedder")))
            numbers = tuple(field.suite.conditions.index(condition) for condition in conditions)
            entries = [replace(entry, experience=replace(entry.experience, bank=str(experience.folder(field.name, entry))))
                       for entry in field.suite.tasks]
            suite = wire.with_banks(replace(field.suite, tasks=tuple(entries)), partial(_parcel_name, copies))
            play = wire.SuitePlay(field.name, suite, dict(wishes.models), numbers, wishes.parallel, wishes.gpu_layers, wishes.vault,
                                  wishes.terms)
            versions = {entry.environment: field.environments.at(entry.environment).version for entry in field.suite.tasks}
            opening = _opening(play, versions, weights, list(copies.values()))
            yield FarFieldPlayers(wishes.parallel, field, self._crew, opening)


def _opening(play: wire.ExpertPlay | wire.SessionPlay | wire.SuitePlay, environments: dict[str, str], weights: Sequence[Weights] = (),
             banks: Sequence[Parcel] = ()) -> Opening:
    return Opening(play, environments, tuple(weights), tuple(banks), wire.plain(str(Path.cwd())))


def _weights(called: str, ready: Ready) -> Weights:
    first = ready.path.name if ready.role == "policy" else ""
    return Weights(called, ready.name, ready.role, ready.sha256, ready.context, ready.licence, first, parcels.pack_weights(ready))


def _copies(stack: ExitStack, banks: Sequence[Path]) -> list[Parcel]:
    """Parcels of copies of banks as they are now; the copies are gone when the stack is closed."""
    made = list[Parcel]()
    for path in banks:
        folder = stack.enter_context(working_folder(parcels.brought(), "copy"))
        if not (path / FILE).is_file():  # where nothing was kept yet, nothing is remembered
            Bank.open(path, None).close()
        with Bank.open(path, None, readonly=True) as bank:
            made.append(parcels.pack("bank", folder, bank.copy_to(folder)))
    return made


def _banks_of(field: Field, conditions: Sequence[Condition]) -> dict[Path, Job]:
    """The folders of the banks that conditions remember from, each with a job that does."""
    found = dict[Path, Job]()
    for job in field.jobs(conditions):
        path = experience.banks(field.name, job.condition, job.tasks)
        if path is not None:
            found.setdefault(path, job)
    return found


def _parcel_name(copies: dict[Path, Parcel], named: str) -> str:
    """How a suite that is sent names a bank; one that none of its conditions needs here stays as it is."""
    parcel = copies.get(Path(named).expanduser().absolute())
    return wire.PARCEL + parcel.digest if parcel else named


def _error(over: Over) -> EdgexpError:
    """Why an episode was not played. Raises UsageError where that is so for all."""
    if over.usage:
        raise UsageError(over.error)
    return EdgexpError(over.error or "the episode was over without an end")
