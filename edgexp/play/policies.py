"""Who acts: a language model with memory, an environment's expert, or a fixed list of actions."""

from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Literal

from edgexp.engine import decide
from edgexp.engine.decide import Chooser, Decision
from edgexp.engine.engine import ContextFull, TokenSequence
from edgexp.environments.base import Environment, Start, expert_of, valid_actions_of
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.episode import Asked, Recalled, Stats, Watcher, ask
from edgexp.prompt.render import Renderer
from edgexp.retrieval import Memory, Retriever, fit
from edgexp.trajectory import Provenance, Source, Step, Task

Mode = Literal["admissible", "weighed", "free"]
"""How a model acts: a walk through the valid actions, the same with every branch weighed, or text until the end of turn."""


class Scripted:
    """Plays a fixed list of actions, then gives up."""

    def __init__(self, actions: Iterable[str], source: Source = "person"):
        self.stats, self._actions, self._source = Stats(), list(actions), source

    def begin(self, task: Task, start: Start, watch: Watcher) -> None:
        """Nothing to prepare."""

    def decide(self, steps: Sequence[Step], environment: Environment) -> Generator[Asked, Any, Decision | None]:
        """The next action of the list."""
        yield from ()
        return Decision(self._actions[len(steps)], 0) if len(steps) < len(self._actions) else None

    def provenance(self, environment: Environment) -> Provenance:
        return Provenance(self._source, environment.version, created=now())


class ExpertPolicy:
    """The environment's scripted expert, which sees what an agent sees."""

    def __init__(self, environment: Environment):
        expert = expert_of(environment)
        if expert is None:
            raise UsageError(f"the environment {environment.name} has no scripted expert; collect with: --policy agent")
        self.stats, self._start, self._expert = Stats(), Start("", ""), expert

    def begin(self, task: Task, start: Start, watch: Watcher) -> None:
        """Tell the expert the goal and what is seen first."""
        self._start = start
        self._expert.begin(start.goal, start.observation)

    def decide(self, steps: Sequence[Step], environment: Environment) -> Generator[Asked, Any, Decision | None]:
        """The expert's next action; None when it gives up."""
        yield from ()
        action = self._expert.act(steps[-1].observation if steps else self._start.observation)
        return None if action is None else Decision(action, 0)

    def provenance(self, environment: Environment) -> Provenance:
        return Provenance("expert", environment.version, created=now())


class ModelPolicy:
    """A language model that acts on a growing prompt, with retrieved trajectories at its front.

    `sequence` is reused from episode to episode: what two prompts have in common at the front is not evaluated again. `context` is the
    room in tokens; of it `reserve` is kept for the episode itself, and memory that does not fit the rest is dropped, trajectory by
    trajectory, and said so in the `Memory`. Where `repeats` is not 0, an action that was taken so many times when the same was to be seen,
    or twice as often in all, is not offered again, unless there is no other: small models go in circles. (Not in free mode, where nothing
    is offered.)
    """

    def __init__(
        self,
        sequence: TokenSequence,
        renderer: Renderer,
        retriever: Retriever | None,
        *,
        mode: Mode = "admissible",
        context: int = 8192,
        reserve: int = 2048,
        choose: Chooser = decide.greedy,
        action_tokens: int = 64,
        repeats: int = 0,
        model: str = "",
        model_sha256: str = "",
        seed: int = 0,
    ):
        self.stats, self.memory = Stats(), Memory()
        self._sequence, self._renderer, self._retriever = sequence, renderer, retriever
        self._mode, self._context, self._reserve, self._choose, self._limit = mode, context, reserve, choose, action_tokens
        self._model, self._sha256, self._seed, self._repeats = model, model_sha256, seed, repeats
        self._task, self._start = Task("", "", "", ""), Start("", "")
        self._watch: Watcher = lambda _: None
        self._seen = 0

    def begin(self, task: Task, start: Start, watch: Watcher) -> None:
        """Recall what is relevant and set the prompt. Raises EdgexpError when not even the bare prompt fits the context."""
        self._task, self._start, self._watch, self._seen = task, start, watch, 0
        self._recall([])
        self._set_prompt([])
        self.stats.prompt = len(self._sequence.ids)
        if self.stats.prompt + self._limit > self._context:
            need = f"{self.stats.prompt} tokens of prompt and {self._limit} for an action"
            raise EdgexpError(f"{task.id}: {need} do not fit a context of {self._context}; ask for more with: --context")

    def decide(self, steps: Sequence[Step], environment: Environment) -> Generator[Asked, Any, Decision | None]:
        """The model's next action. Raises ContextFull when the episode outgrows the context."""
        self._observe(steps)
        if len(self._sequence.ids) + self._limit > self._context:
            raise ContextFull(f"the context of {self._context} tokens is full")
        self.stats.reused += min(self._sequence.evaluated, len(self._sequence.ids) - 1)
        ran = self._sequence.ran
        decision = yield from self._choosing(environment, steps)
        self.stats.evaluated += self._sequence.ran - ran
        self.stats.generated += decision.generated
        return decision

    def provenance(self, environment: Environment) -> Provenance:
        return Provenance("agent", environment.version, self._seed, self._model, self._sha256, now())

    def _choosing(self, environment: Environment, steps: Sequence[Step]) -> Generator[Asked, Any, Decision]:
        if self._mode == "free":
            free = decide.free(self._sequence, self._renderer.tokenizer, self._renderer.template.end, self._choose, self._limit)
            return (yield from free)
        list_valid = valid_actions_of(environment)
        if list_valid is None:
            raise UsageError(f"the environment {environment.name} does not list valid actions; play it with: --actions free")
        valid = yield from ask(environment, list_valid)
        offered = untried(valid, steps, self._start.observation, self._repeats)
        actions = {action: self._renderer.action(action) for action in offered}
        walk = decide.weighed if self._mode == "weighed" else decide.admissible
        return (yield from walk(self._sequence, actions, self._choose))

    def _observe(self, steps: Sequence[Step]) -> None:
        """Append the observations since the last decision; with dynamic retrieval, recall again when it is time."""
        if not steps:
            return
        retriever = self._retriever
        if retriever and retriever.mode == "dynamic" and len(steps) % retriever.every == 0 and self._recall(steps):
            self._set_prompt(steps)
        else:
            for step in steps[self._seen :]:
                self._sequence.append(self._renderer.reply(step.observation))
        self._seen = len(steps)

    def _recall(self, steps: Sequence[Step]) -> bool:
        """Retrieve and fit memory into its room. Returns whether it is other than before."""
        if self._retriever is None or self._retriever.mode == "off":
            self.memory = Memory()
            return False
        started = perf_counter()
        before = [r.trajectory.id for r in self.memory.recalled] if steps else []
        memory = self._retriever.recall(self._task, self._start.goal, self._start.observation, tuple(steps))
        bare = self._renderer.course(self._start.goal, self._start.observation, steps)
        room = self._context - self._reserve - len(bare.ids) - self._renderer.headers_cost
        self.memory = fit(memory, self._renderer.cost, max(0, room))
        self.stats.retrieval_seconds += perf_counter() - started
        self._watch(Recalled(len(steps), self.memory))
        return [r.trajectory.id for r in self.memory.recalled] != before

    def _set_prompt(self, steps: Sequence[Step]) -> None:
        remembered = [r.trajectory for r in self.memory.recalled]
        rendered = self._renderer.course(self._start.goal, self._start.observation, steps, remembered)
        self._sequence.replace(rendered.ids)


def untried(actions: Sequence[str], steps: Sequence[Step], first: str, repeats: int) -> list[str]:
    """The actions taken fewer than `repeats` times when the same was to be seen as now, and fewer than twice that in the whole episode.

    All of them where none is left, or `repeats` is 0. `first` is the observation before the first step. Of 600 household episodes the
    expert took no action more than twice, and none twice when the same was to be seen.
    """
    seen = [first, *(step.observation for step in steps)]
    now = Counter(step.action for before, step in zip(seen, steps, strict=False) if before == seen[-1])
    ever = Counter(step.action for step in steps)
    return [action for action in actions if now[action] < repeats and ever[action] < 2 * repeats] or list(actions)


def now() -> str:
    """The time as a trajectory's provenance writes it: UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
