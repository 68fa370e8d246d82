"""One episode: reset, recall, then until it is over decide, act, record. Knows no SQL, no llama.cpp and no rendering rules.

`play` is a generator: it yields what it needs from elsewhere and returns the record of the episode, so that one driver can run it alone
and another can run many at once (`rollout.py`). It yields two kinds of things: a `Request`, which an engine in this process answers, and
`Elsewhere`, work that another process does (an environment or a model server). A policy that asks a server therefore needs no engine. What
happens on the way is told to a watcher, event by event.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any, Protocol, TypeVar

import msgspec

from edgexp.environments import plain
from edgexp.environments.base import Environment, Outcome, Start, is_remote
from edgexp.environments.boundary import LONGEST_ACTION
from edgexp.errors import EdgexpError
from edgexp.retrieval import Dropped, Memory
from edgexp.retrieval import Recalled as Found
from edgexp.trajectory import Decision, Played, Provenance, Recall, Remembered, Seconds, Step, Task, Tokens, Trajectory, check_readable

Answer = TypeVar("Answer")

LONGEST_THOUGHT = 1_000_000
"""Characters."""

PASS = (KeyboardInterrupt, GeneratorExit)
"""What goes through whatever is raised in somebody else's code: Ctrl-C, and an episode that is dropped. `sys.exit` does not."""


@dataclass(frozen=True)
class Elsewhere:
    """Work that waits for another process: whoever drives the episode does it on a thread, and lets other episodes go on meanwhile."""

    work: Callable[[], Any]
    limit: float | None = None
    """Seconds after which the episode is told TimeoutError; the work's own end is not waited for any more. None: it has its own limit."""


Asking = Generator[Any, Any, Answer]
"""A generator that yields what an episode may yield (a `Request` of `edgexp.engine.decide`, or `Elsewhere`), and returns an answer."""
Episode = Asking[Played]


class EnvironmentFailed(EdgexpError):
    """The environment died, hung or raised while it was asked for something; that ends the episode and nothing else."""


class PolicyFailed(EdgexpError):
    """What the policy asks could not answer, or could not in time; that ends the episode and nothing else."""


class CannotGoOn(EdgexpError):
    """The policy has no way to go on. `end` is how the episode ends, as in `Trajectory.end`."""

    def __init__(self, end: str):
        super().__init__(end)
        self.end = end


@dataclass
class Playing:
    """An episode being played: what a policy may look at, and what it notes about itself."""

    environment: Environment
    task: Task
    start: Start
    watch: "Watcher"
    steps: list[Step] = field(default_factory=list)
    outcome: Outcome = field(default_factory=lambda: Outcome(""))
    decisions: list[Decision] = field(default_factory=list)
    tokens: Tokens = field(default_factory=Tokens)
    """The policy counts these."""
    seconds: Seconds = field(default_factory=Seconds)
    """The policy adds `retrieval`; the rest is measured here."""
    recalls: list[Recall] = field(default_factory=list)
    memories: dict[str, Trajectory] = field(default_factory=dict)
    began: float = field(default_factory=perf_counter)

    @property
    def observation(self) -> str:
        """The latest one."""
        return self.steps[-1].observation if self.steps else self.start.observation

    def mark_mistakes(self, numbers: Iterable[int]) -> None:
        """These of the actions taken (from 0) were mistakes after all."""
        for number in numbers:
            self.steps[number] = msgspec.structs.replace(self.steps[number], mistake=True)
            self.decisions[number] = msgspec.structs.replace(self.decisions[number], mistake=True)

    def remember(self, memory: Memory) -> None:
        """Take note of what was recalled, and tell the watcher."""
        self.memories |= {t.id: t for t in (*(r.trajectory for r in memory.recalled), *(d.trajectory for d in memory.dropped))}
        self.recalls.append(recall_of(len(self.steps), memory))
        self.watch(Recalled(len(self.steps), memory))

    def played(self, end: str, provenance: Provenance) -> Played:
        """The record of what happened so far, as that of a finished episode."""
        self.seconds.wall = perf_counter() - self.began
        outcome, start = self.outcome, self.start
        trajectory = Trajectory(
            self.task, start.goal, start.observation, tuple(self.steps), outcome.success, outcome.score, end, provenance
        )
        return Played(trajectory, tuple(self.recalls), tuple(self.decisions), self.tokens, self.seconds, tuple(self.memories.values()))


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


@dataclass(frozen=True)
class Ended:
    """The episode is over."""

    played: Played


Event = Began | Recalled | Acted | Ended
Watcher = Callable[[Event], None]


class Policy(Protocol):
    """Whatever chooses actions: a model with memory, a scripted expert, a program that asks a server."""

    def begin(self, episode: Playing) -> None:
        """A new episode; nothing is decided yet."""

    def decide(self, episode: Playing) -> Asking[Decision | None]:
        """The next action, given the episode so far; None to give up."""

    def provenance(self, environment: Environment) -> Provenance:
        """Who acted, for the trajectory's record."""


def elsewhere(work: Callable[[], Answer], limit: float | None = None, who: str = "the policy") -> Asking[Answer]:
    """What another process answers: a policy writes `answer = yield from elsewhere(partial(ask, server))`.

    Raises PolicyFailed in place of whatever the work raises, and after `limit` seconds.
    """
    try:
        answer: Answer = yield Elsewhere(work, limit)
        return answer
    except (CannotGoOn, *PASS):
        raise
    except BaseException as error:  # the other side may fail in any way; the run goes on
        raise PolicyFailed(f"{who}: {_reason(error, limit)}") from error


def ask(environment: Environment, work: Callable[[], Answer]) -> Asking[Answer]:
    """What the environment answers. Raises EnvironmentFailed in place of whatever it raises.

    Where the environment lives in another process, other episodes go on while it works.
    """
    try:
        if is_remote(environment):
            answer: Answer = yield Elsewhere(work)
            return answer
        return work()
    except PASS:
        raise
    except BaseException as error:  # a plug-in, or the server behind it, may die in any way; the run goes on
        raise EnvironmentFailed(_reason(error)) from error


def play(environment: Environment, task: Task, policy: Policy, *, max_steps: int | None = None, watch: Watcher = lambda _: None) -> Episode:
    """Play one episode and return its record. Raises EdgexpError when the task cannot be begun.

    Where the environment or the policy fails on the way, the episode ends with `error: …`.
    """
    try:
        start = yield from ask(environment, partial(environment.reset, task))
    except EnvironmentFailed as error:
        if isinstance(error.__cause__, EdgexpError):
            raise error.__cause__ from None
        raise EdgexpError(f"{task.id}: {environment.name} cannot begin it: {error}") from error
    episode = Playing(environment, task, start, watch)
    watch(Began(task, start))
    _begin(episode, policy)
    end = yield from _until_over(episode, policy, max_steps or environment.max_steps)
    played = episode.played(end, _provenance(episode, policy))
    check_readable(played.trajectory)
    watch(Ended(played))
    return played


def _begin(episode: Playing, policy: Policy) -> None:
    try:
        policy.begin(episode)
    except (EdgexpError, *PASS):
        raise
    except BaseException as error:  # a policy is somebody's own code; the other episodes go on
        raise EdgexpError(f"{episode.task.id}: the policy cannot begin it: {_reason(error)}") from error


def _until_over(episode: Playing, policy: Policy, max_steps: int) -> Asking[str]:
    """Decide and act until the episode is over; how it ended."""
    while len(episode.steps) < max_steps:
        try:
            decision = yield from _decide(episode, policy)
            if decision is None:
                return "gave_up"
            yield from _act(episode, decision)
        except CannotGoOn as error:
            return error.end
        except (EnvironmentFailed, PolicyFailed) as error:
            return f"error: {error}"
        if episode.outcome.done:
            return "done"
    return "max_steps"


def _decide(episode: Playing, policy: Policy) -> Asking[Decision | None]:
    """The policy's decision, with the time it took."""
    started, seconds = perf_counter(), episode.seconds
    try:
        decision = yield from policy.decide(episode)
        plainly = None if decision is None else _plain(decision)
    except (EdgexpError, *PASS):
        raise
    except BaseException as error:  # as in `_begin`
        raise PolicyFailed(f"the policy: {_reason(error)}") from error
    took = perf_counter() - started
    if plainly is None:
        return None
    seconds.deciding += took
    if not episode.steps:
        seconds.first_action = took + seconds.retrieval
    return msgspec.structs.replace(plainly, seconds=took)


def _plain(decision: Decision) -> Decision:
    """A decision with plain values in its fields. Raises PolicyFailed where they are none."""
    d, who = decision, "the policy"
    try:
        if not isinstance(d, Decision):
            plain.refuse(d, who, "what decide() returned", "a Decision or None is wanted")
        words = plain.text(d.text, who, "the text of its decision", LONGEST_ACTION)
        probability = None if d.probability is None else plain.number(d.probability, who, "the probability of its decision")
        others = tuple((plain.text(action, who, "an alternative", LONGEST_ACTION), plain.number(p, who, "an alternative's probability"))
                       for action, p in d.alternatives)  # fmt: skip
        generated, stop = plain.whole(d.generated, who, "generated of its decision"), plain.text(d.stop, who, "stop of its decision")
        mistake = plain.truth(d.mistake, who, "mistake of its decision")
        thought = plain.text(d.thought, who, "the thought before it", LONGEST_THOUGHT)
        return Decision(words, generated, probability, others, stop, mistake, thought=thought)
    except EdgexpError as error:
        raise PolicyFailed(str(error)) from error


def _provenance(episode: Playing, policy: Policy) -> Provenance:
    """Who acted, by the policy's word."""
    try:
        provenance = policy.provenance(episode.environment)
        if not isinstance(provenance, Provenance):
            plain.refuse(provenance, "the policy", "what provenance() returned", "a Provenance is wanted")
        return provenance
    except (EdgexpError, *PASS):
        raise
    except BaseException as error:  # as in `_begin`
        raise EdgexpError(f"{episode.task.id}: the policy cannot say who it is: {_reason(error)}") from error


def _act(episode: Playing, decision: Decision) -> Asking[None]:
    """Take the action, and record what it led to."""
    started = perf_counter()
    outcome = episode.outcome = yield from ask(episode.environment, partial(episode.environment.step, decision.text))
    episode.seconds.environment += perf_counter() - started
    episode.steps.append(Step(decision.text, outcome.observation, outcome.reward, decision.mistake))
    episode.decisions.append(decision)
    episode.watch(Acted(len(episode.steps), decision, outcome))


def recall_of(step: int, memory: Memory) -> Recall:
    """What was recalled before action number `step` + 1, as it is kept."""
    used = tuple(_remembered(r) for r in memory.recalled)
    dropped = tuple(_remembered(d, d.reason, d.tokens) for d in memory.dropped)
    return Recall(step, memory.query, memory.seconds, used, dropped)


def _remembered(found: Found | Dropped, reason: str = "", tokens: int = 0) -> Remembered:
    t = found.trajectory
    return Remembered(t.id, found.score, t.task.id, t.task.type, t.success, reason, tokens, found.frame, found.usefulness)


def _reason(error: BaseException, limit: float | None = None) -> str:
    """An error in one line."""
    if isinstance(error, TimeoutError) and limit is not None:
        return f"no answer within {limit:g} seconds"
    return plain.explain(error)


def last_observations(first: str, steps: Sequence[Step]) -> list[str]:
    """What was to be seen before each step, and what is to be seen now: one more than there are steps."""
    return [first, *(step.observation for step in steps)]
