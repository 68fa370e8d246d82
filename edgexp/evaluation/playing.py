"""Plays episodes of an evaluation, many at once, each kept as soon as it is over. Knows no models: players bring the episodes.

Also tells which code plays: the version, and a digest of the sources that decide what an episode is.
"""

import ast
import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol, runtime_checkable

import edgexp
from edgexp.errors import EdgexpError
from edgexp.evaluation.results import Row, Setup, Writer, row_of
from edgexp.evaluation.suite import Condition, Tasks
from edgexp.play.episode import Episode
from edgexp.play.rollout import Episodes, Evaluator, Start, run_many
from edgexp.trajectory import Played, Task


@dataclass(frozen=True)
class Job:
    """One episode to play."""

    condition: Condition
    tasks: Tasks
    """The suite's entry that the task is of."""
    task: Task

    @property
    def key(self) -> tuple[str, str]:
        """Of the row that it becomes."""
        return self.condition.name, self.task.id


@dataclass(frozen=True)
class Failure:
    """An episode that could not be played; it stays missing."""

    job: Job
    reason: str


class Players(Protocol):
    """Episodes of some conditions, at a number of places."""

    @property
    def places(self) -> int:
        """How many episodes are played at once."""

    @property
    def engines(self) -> Sequence[Evaluator]:
        """What answers them, as `run_many` shares them out; none where no episode asks for a model."""

    def setup(self, job: Job) -> Setup:
        """Everything that decides what the job's episode means."""

    def episode(self, place: int, job: Job) -> Episode:
        """The job's episode, to be played at a place."""

    def check(self, job: Job) -> None:
        """Raise EdgexpError where what the setup says is no longer so, now that the episode is over."""


@runtime_checkable
class FarPlayers(Protocol):
    """Players that are on other machines: they play by themselves, and what they remember cannot change meanwhile."""

    @property
    def places(self) -> int:
        """How many episodes each of them plays at once."""

    def setup(self, job: Job) -> Setup:
        """As `Players.setup`."""

    def play(self, turns: Sequence[Sequence[Job]]) -> Iterator[tuple[Job, Played | EdgexpError]]:
        """Play turns, the jobs of each one after the other; each job once, when it is over, with its record or why there is none."""


Kept = Callable[[Row], None]


def play_all(jobs: Sequence[Job], players: Players | FarPlayers, writer: Writer, kept: Kept = lambda _: None) -> list[Failure]:
    """Play the jobs and write a row for each; those that could not be played are returned.

    Played one at a time they keep their order. With more places, jobs whose episodes begin with the same prompt are played at one place
    one after the other, so that it is evaluated once.
    """
    if isinstance(players, FarPlayers):
        return _play_far(jobs, players, writer, kept)
    failures: list[Failure] = []

    def start(turns: Sequence[Job]) -> Start:
        return lambda place: _in_turn(turns, place, players, writer, kept, failures)

    for finished in run_many(map(start, in_turns(jobs) if players.places > 1 else [jobs]), players.places, players.engines):
        if finished.error is not None:
            raise finished.error
    return failures


def in_turns(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs whose episodes begin with the same prompt, together; task by task. Memory that changes on the way comes last."""
    turns: dict[tuple[str, Hashable], list[Job]] = {}
    for job in jobs:
        c = job.condition
        memory = (c.k, c.bank, c.diversity, c.frame, c.usefulness, c.failures) if c.remembers else None
        turns.setdefault((job.task.id, memory), []).append(job)
    tasks = {job.task.id: number for number, job in reversed([*enumerate(jobs)])}
    together = sorted(turns.items(), key=lambda item: tasks[item[0][0]])
    return [sorted(held, key=lambda job: job.condition.memory == "dynamic") for _, held in together]


def _in_turn(jobs: Sequence[Job], place: int, players: Players, writer: Writer, kept: Kept, failures: list[Failure]) -> Episodes:
    """Episodes one after the other at a place, each kept as soon as it is over. Raises EdgexpError where nothing can go on."""
    played = None
    for job in jobs:
        try:
            played = yield from players.episode(place, job)
        except EdgexpError as error:
            failures.append(Failure(job, str(error)))
            continue
        players.check(job)
        _keep(job, played, players, writer, kept)
    return played


def _play_far(jobs: Sequence[Job], players: FarPlayers, writer: Writer, kept: Kept) -> list[Failure]:
    failures: list[Failure] = []
    for job, over in players.play(in_turns(jobs)):
        if isinstance(over, EdgexpError):
            failures.append(Failure(job, str(over)))
        else:
            _keep(job, over, players, writer, kept)
    return failures


def _keep(job: Job, played: Played, players: Players | FarPlayers, writer: Writer, kept: Kept) -> None:
    row = row_of(played, job.condition.name, writer.know(players.setup(job)), players.places)
    writer.add(row, played.memories)
    kept(row)


PLAYS = ("edgexp.evaluation.experience", "edgexp.evaluation.field")
"""Where an evaluation's episodes come from."""
ROOMS = ("bank", "embedding", "engine", "evaluation", "play", "prompt", "retrieval", "trajectory")
"""What decides an episode, of all that playing imports. Environments and models have versions of their own."""


@lru_cache(maxsize=1)
def code() -> str:
    """`0.1.0+1a2b3c4d5e6f`: the version, and a digest of what playing imports. Line ends do not count: a checkout may have those of its
    platform.
    """
    folder, digest = Path(edgexp.__file__).parent, hashlib.sha256(b"edgexp.code.2\0")
    for name, path in sorted(sources(folder).items()):
        text = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(name.encode() + b"\0" + hashlib.sha256(text).digest())
    return f"{edgexp.__version__}+{digest.hexdigest()[:12]}"


def sources(folder: Path) -> dict[str, Path]:
    """The modules that playing imports, as far as they are in `ROOMS`, with their files. `folder` is the package's."""
    found: dict[str, Path] = {}
    waiting = list(PLAYS)
    while waiting:
        name = waiting.pop()
        path = _file(folder, name)
        if name in found or path is None or name.split(".")[1] not in ROOMS:
            continue
        found[name] = path
        waiting += _imported(path)
    return found


def _file(folder: Path, name: str) -> Path | None:
    """A module's file; None for what is a name inside a module, and for the package itself."""
    parts = name.split(".")[1:]
    places = [folder.joinpath(*parts).with_suffix(".py"), folder.joinpath(*parts, "__init__.py")] if parts else []
    return next((place for place in places if place.is_file()), None)


def _imported(path: Path) -> Iterator[str]:
    """The names that a source imports from this package, also inside functions."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "edgexp":
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
