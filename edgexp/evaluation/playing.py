"""Plays episodes of an evaluation, many at once, each kept as soon as it is over. Knows no models: players bring the episodes."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Protocol

from edgexp.errors import EdgexpError
from edgexp.evaluation import results
from edgexp.evaluation.results import Remembered, Row, Seconds, Setup, Tokens, Writer
from edgexp.evaluation.suite import Condition, Tasks
from edgexp.play.episode import Acted, Began, Ended, Episode, Event, Recalled, Watcher
from edgexp.play.policies import now
from edgexp.play.rollout import Course, Evaluator, Start, run_many
from edgexp.trajectory import Task, Trajectory

ALTERNATIVES = 5
"""Other actions kept of each decision."""


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

    def episode(self, place: int, job: Job, watch: Watcher) -> Episode:
        """The job's episode, to be played at a place."""

    def read(self, job: Job, ids: Sequence[str]) -> Sequence[Trajectory]:
        """Trajectories of the job's bank."""

    def check(self, job: Job) -> None:
        """Raise EdgexpError where what the setup says is no longer so, now that the episode is over."""


Kept = Callable[[Row], None]


def play_all(jobs: Sequence[Job], players: Players, writer: Writer, kept: Kept = lambda _: None) -> list[Failure]:
    """Play the jobs and write a row for each; those that could not be played are returned.

    Played one at a time they keep their order. With more places, jobs whose episodes begin with the same prompt are played at one place
    one after the other, so that it is evaluated once.
    """
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
        turns.setdefault((job.task.id, (c.k, c.bank, c.diversity) if c.remembers else None), []).append(job)
    tasks = {job.task.id: number for number, job in reversed([*enumerate(jobs)])}
    together = sorted(turns.items(), key=lambda item: tasks[item[0][0]])
    return [sorted(held, key=lambda job: job.condition.memory == "dynamic") for _, held in together]


def _in_turn(jobs: Sequence[Job], place: int, players: Players, writer: Writer, kept: Kept, failures: list[Failure]) -> Course:
    """Episodes one after the other at a place, each kept as soon as it is over. Raises EdgexpError where nothing can go on."""
    trajectory = None
    for job in jobs:
        taker = _Taker(partial(players.read, job))
        try:
            trajectory = yield from players.episode(place, job, taker)
        except EdgexpError as error:
            failures.append(Failure(job, str(error)))
            continue
        players.check(job)
        row = taker.row(job, writer.know(players.setup(job)), players.places)
        writer.add(row, taker.memories)
        kept(row)
    return trajectory


@dataclass
class _Taker:
    """A watcher that makes an episode's row."""

    read: Callable[[Sequence[str]], Sequence[Trajectory]]
    memories: list[Trajectory] = field(default_factory=list)
    """What was found, used or not."""
    _actions: list[results.Action] = field(default_factory=list)
    _recalls: list[results.Recall] = field(default_factory=list)
    _ended: Ended | None = None
    _started: float = field(default_factory=perf_counter)
    _seconds: float = 0.0

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case Began():
                pass
            case Recalled():
                self._recalls.append(self._recall(event))
            case Acted():
                self._actions.append(_action(event))
            case Ended():
                self._ended, self._seconds = event, perf_counter() - self._started

    def row(self, job: Job, setup: str, places: int) -> Row:
        """The finished episode."""
        if self._ended is None:
            raise EdgexpError(f"{job.task.id} in {job.condition.name}: the episode was over without an end")
        t, s, task = self._ended.trajectory, self._ended.stats, job.task
        return Row(
            condition=job.condition.name,
            split=task.split,
            environment=task.environment,
            task_id=task.id,
            task_type=task.type,
            group=task.group,
            setup=setup,
            success=t.success,
            score=t.score,
            steps=len(t.steps),
            end=t.end,
            goal=t.goal,
            observation=t.observation,
            actions=tuple(self._actions),
            recalls=tuple(self._recalls),
            tokens=Tokens(s.prompt, s.evaluated, s.generated, s.reused),
            seconds=Seconds(s.first_action_seconds, s.deciding_seconds, s.retrieval_seconds, s.environment_seconds, self._seconds),
            finished=now(),
            parallel=places,
        )

    def _recall(self, event: Recalled) -> results.Recall:
        memory = event.memory
        left_out = self.read([d.id for d in memory.dropped]) if memory.dropped else ()
        self.memories += [*(r.trajectory for r in memory.recalled), *left_out]
        used = tuple(_remembered(r.trajectory, r.score) for r in memory.recalled)
        dropped = tuple(_remembered(t, d.score, d.reason, d.tokens) for t, d in zip(left_out, memory.dropped, strict=True))
        return results.Recall(event.step, memory.query, memory.seconds, used, dropped)


def _remembered(t: Trajectory, score: float, reason: str = "", tokens: int = 0) -> Remembered:
    return Remembered(t.id, score, t.task.id, t.task.type, t.success, reason, tokens)


def _action(event: Acted) -> results.Action:
    decision, outcome = event.decision, event.outcome
    others = decision.alternatives[:ALTERNATIVES]
    return results.Action(decision.text, outcome.observation, outcome.reward, decision.probability, others, event.seconds)
