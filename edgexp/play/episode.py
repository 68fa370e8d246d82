"""One episode: reset, recall, then until it is over decide, act, record. Knows no SQL, no llama.cpp calls and no rendering rules.

`play` is a generator: it yields what its policy needs evaluated and returns the trajectory, so that one driver can run it alone and
another can run many over one engine (`rollout.py`). What happens on the way is told to a watcher, event by event.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any, Protocol, TypeVar

from edgexp.engine.decide import Decision, Request
from edgexp.engine.engine import ContextFull
from edgexp.environments.base import Environment, Outcome, Start, is_remote
from edgexp.errors import EdgexpError
from edgexp.retrieval import Memory
from edgexp.trajectory import Provenance, Step, Task, Trajectory

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Elsewhere:
    """Work of an environment that lives in another process: whoever drives the episode does it on a thread, and lets others go on."""

    work: Callable[[], Any]


Asked = Request | Elsewhere
"""What an episode yields."""
Episode = Generator[Asked, Any, Trajectory]


class EnvironmentFailed(EdgexpError):
    """The environment died, hung or raised while it was asked for something; that ends the episode and nothing else."""


@dataclass
class Stats:
    """What an episode cost. Tokens count once for every decision; `reused` is what a server without a cache would have run again."""

    prompt: int = 0
    """Tokens up to where the first action begins, memory included."""
    evaluated: int = 0
    generated: int = 0
    reused: int = 0
    first_action_seconds: float = 0.0
    deciding_seconds: float = 0.0
    retrieval_seconds: float = 0.0
    environment_seconds: float = 0.0


@dataclass(frozen=True)
class Began:
    """The episode has begun; nothing is decided yet."""

    task: Task
    start: Start


@dataclass(frozen=True)
class Recalled:
    """Memory was retrieved before action number `step` + 1 (0 at the beginning)."""

    step: int
    memory: Memory


@dataclass(frozen=True)
class Acted:
    """An action was taken; `number` counts from 1."""

    number: int
    decision: Decision
    outcome: Outcome
    seconds: float
    """Time to decide."""


@dataclass(frozen=True)
class Ended:
    """The episode is over."""

    trajectory: Trajectory
    stats: Stats


Event = Began | Recalled | Acted | Ended
Watcher = Callable[[Event], None]


class Policy(Protocol):
    """Whatever chooses actions: a model with memory, a scripted expert, a list of actions in a test."""

    stats: Stats

    def begin(self, task: Task, start: Start, watch: Watcher) -> None:
        """A new episode."""

    def decide(self, steps: Sequence[Step], environment: Environment) -> Generator[Asked, Any, Decision | None]:
        """The next action, given the episode so far; None to give up."""

    def provenance(self, environment: Environment) -> Provenance:
        """Who acted, for the trajectory's record."""


@dataclass
class Record:
    """An episode being played."""

    task: Task
    start: Start
    steps: list[Step] = field(default_factory=list)
    outcome: Outcome = field(default_factory=lambda: Outcome(""))

    def trajectory(self, end: str, provenance: Provenance) -> Trajectory:
        """What happened so far, as a finished trajectory."""
        success, score = self.outcome.success, self.outcome.score
        return Trajectory(self.task, self.start.goal, self.start.observation, tuple(self.steps), success, score, end, provenance)


def ask(environment: Environment, work: Callable[[], Answer]) -> Generator[Asked, Any, Answer]:
    """What the environment answers. Raises EnvironmentFailed in place of whatever it raises.

    Where the environment lives in another process, other episodes go on while it works.
    """
    try:
        if is_remote(environment):
            answer: Answer = yield Elsewhere(work)
            return answer
        return work()
    except Exception as error:  # a plug-in, or the server behind it, may die in any way; the run goes on
        raise EnvironmentFailed(str(error) if isinstance(error, EdgexpError) else f"{type(error).__name__}: {error}") from error


def play(environment: Environment, task: Task, policy: Policy, *, max_steps: int | None = None, watch: Watcher = lambda _: None) -> Episode:
    """Play one episode and return its trajectory. Raises EdgexpError when the task cannot be reset.

    An environment that fails on the way ends the episode with `error: …`; a context that is full ends it with `context_full`.
    """
    try:
        record = Record(task, (yield from ask(environment, partial(environment.reset, task))))
    except EnvironmentFailed as error:
        if isinstance(error.__cause__, EdgexpError):
            raise error.__cause__ from None
        raise EdgexpError(f"{task.id}: {environment.name} cannot begin it: {error}") from error
    policy.stats = Stats()
    watch(Began(task, record.start))
    policy.begin(task, record.start, watch)
    end = "max_steps"
    while len(record.steps) < (max_steps or environment.max_steps):
        started = perf_counter()
        try:
            decision = yield from policy.decide(record.steps, environment)
            seconds = perf_counter() - started
            if decision is None:
                end = "gave_up"
                break
            _clock(policy.stats, seconds, first=not record.steps)
            record.outcome = yield from ask(environment, partial(environment.step, decision.text))
        except ContextFull:
            end = "context_full"
            break
        except EnvironmentFailed as error:
            end = f"error: {error}"
            break
        policy.stats.environment_seconds += perf_counter() - started - seconds
        record.steps.append(Step(decision.text, record.outcome.observation, record.outcome.reward, decision.slip))
        watch(Acted(len(record.steps), decision, record.outcome, seconds))
        if record.outcome.done:
            end = "done"
            break
    trajectory = record.trajectory(end, policy.provenance(environment))
    watch(Ended(trajectory, policy.stats))
    return trajectory


def _clock(stats: Stats, seconds: float, *, first: bool) -> None:
    stats.deciding_seconds += seconds
    if first:
        stats.first_action_seconds = seconds + stats.retrieval_seconds
