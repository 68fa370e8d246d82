"""The policy that is a language model in this process: a growing prompt with memory at its front, and actions chosen by an engine."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import msgspec

from edgexp.engine import decide
from edgexp.engine.decide import Chooser
from edgexp.engine.engine import TokenSequence
from edgexp.engine.guided import Guesses, guided
from edgexp.environments.base import LINE_TOKENS, Environment, most_calls_of, refusals_of, tools_of, valid_actions_of
from edgexp.environments.calls import Tool
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.acting import Acting, now
from edgexp.play.call_grammar import calls_before, grammar_of, seen_texts
from edgexp.play.choosing import reading_of
from edgexp.play.circles import Futile, drop_repeated_actions, taken_too_often
from edgexp.play.episode import Asking, CannotGoOn, Playing, ask
from edgexp.prompt.render import Renderer
from edgexp.prompt.thoughts import learn_thinking
from edgexp.retrieval import Memory, Retriever, fit
from edgexp.trajectory import Decision, Provenance, Trajectory

ACTION_TOKENS = LINE_TOKENS
"""The most that an action may have, where the environment does not say."""


class LocalPolicy:
    """A language model that acts on a growing prompt, with recalled trajectories at its front.

    `sequence` is reused from episode to episode: what two prompts have in common at the front is not evaluated again. `context` is the
    room in tokens. Of it `reserve` is kept for the episode itself; memory that does not fit the rest is dropped, trajectory by trajectory,
    and the `Memory` says so.
    """

    def __init__(self, sequence: TokenSequence, renderer: Renderer, retriever: Retriever | None, acting: Acting | None = None, *,
                 context: int = 8192, reserve: int = 2048, action_tokens: int = ACTION_TOKENS, model: str = "", model_sha256: str = ""):
        self.memory = Memory()
        self._sequence, self._renderer, self._retriever, self._acting = sequence, renderer, retriever, acting or Acting()
        self._context, self._reserve, self._limit = context, reserve, action_tokens
        self._needed = action_tokens + self._acting.think
        """Tokens that a turn may take."""
        self._model, self._sha256 = model, model_sha256
        self._choose: Chooser = decide.greedy
        self._thinking = learn_thinking(renderer.template, renderer.tokenizer) if self._acting.think else None
        self._seen = 0
        """Steps of the episode whose observations are in the prompt."""

    def begin(self, episode: Playing) -> None:
        """Recall what is relevant and set the prompt. Raises EdgexpError when not even the bare prompt fits the context."""
        self.memory, self._seen, self._choose = Memory(), 0, _chooser(self._acting, episode.task.id)
        if self._retriever is not None and self._retriever.due(0):
            self._recall(episode, self._retriever)
        self._set_prompt(episode)
        prompt = episode.tokens.prompt = self._sequence.cells
        if prompt + self._needed > self._context:
            need = f"{prompt} tokens of prompt and {self._needed} for an action"
            raise EdgexpError(f"{episode.task.id}: {need} do not fit a context of {self._context}; ask for more with: --context")

    def decide(self, episode: Playing) -> Asking[Decision | None]:
        """The model's next action. Raises CannotGoOn when the episode outgrows the context."""
        self._observe(episode)
        sequence, tokens = self._sequence, episode.tokens
        if sequence.cells + self._needed > self._context:
            raise CannotGoOn("context_full")
        seen = min(sequence.evaluated, len(sequence.ids) - 1) + (sequence.shared.cells if sequence.held == sequence.shared else 0)
        ran, loaded, attached = sequence.ran, sequence.loaded, sequence.attached
        thought, thoughts = yield from self._think()
        decision = yield from self._choosing(episode)
        if thoughts:
            decision = msgspec.structs.replace(decision, thought=thought, generated=decision.generated + thoughts)
        loaded, attached = sequence.loaded - loaded, sequence.attached - attached
        tokens.reused += seen + loaded + attached
        tokens.loaded += loaded
        tokens.attached += attached
        tokens.evaluated += sequence.ran - ran
        tokens.generated += decision.generated
        return decision

    def resume(self, episode: Playing) -> None:
        """Go on after another has acted in the episode: its actions stand in the prompt as if they were the model's."""
        self._set_prompt(episode)
        self._seen = len(episode.steps)

    def provenance(self, environment: Environment) -> Provenance:
        """The model, by name and digest."""
        return Provenance("agent", environment.version, self._acting.seed, self._model, self._sha256, now())

    def _think(self) -> Asking[tuple[str, int]]:
        """What the model thinks before it acts, and in how many tokens."""
        if (how := self._thinking) is None:
            return "", 0
        self._sequence.cut(len(self._sequence.ids) - how.replaced)
        answers = self._renderer.answers
        return (yield from decide.think(self._sequence, answers, how.opened, how.closed, how.mark, self._choose, self._acting.think))

    def _choosing(self, episode: Playing) -> Asking[Decision]:
        environment, renderer = episode.environment, self._renderer
        if self._acting.actions == "free":
            read = reading_of(environment)
            end, futile = renderer.template.end, self._futile(episode)
            return (yield from decide.free(self._sequence, renderer.answers, end, self._choose, self._limit, read, futile))
        list_valid, list_tools = valid_actions_of(environment), tools_of(environment)
        if list_valid is None and list_tools is not None:
            return (yield from self._calling(episode, list_tools))
        if list_valid is None:
            raise UsageError(f"the environment {environment.name} does not list valid actions; play it with: --actions free")
        valid = yield from ask(environment, list_valid)
        offered = drop_repeated_actions(valid, episode.steps, episode.start.observation, self._acting.repeats)
        actions: Mapping[str, list[int]] = {action: renderer.action(action) for action in offered}
        walk: Any = decide.scored if self._acting.actions == "scored" else decide.admissible
        decision: Decision = yield from walk(self._sequence, actions, self._choose)
        return decision

    def _futile(self, episode: Playing) -> Futile | None:
        """What is not to be said now; None where nobody knows, since the environment does not say which answers are refusals."""
        repeats, refusals = self._acting.repeats, refusals_of(episode.environment)
        return Futile(episode.steps, episode.start.observation, repeats, refusals) if repeats and refusals and episode.steps else None

    def _calling(self, episode: Playing, list_tools: Callable[[], Sequence[Tool]]) -> Asking[Decision]:
        """A call of what may be called now."""
        if self._acting.actions == "scored":
            raise UsageError("there are too many calls to score every one; play it with: --actions admissible, or --actions free")
        tools = yield from ask(episode.environment, list_tools)
        remembered = [r.trajectory for r in self.memory.recalled]
        grammar = grammar_of(tools, most_calls_of(episode.environment), seen_texts(episode, remembered))
        guesses = Guesses(calls_before(episode, remembered), f"{episode.start.goal}\n{episode.observation}")
        answers, end = self._renderer.answers, self._renderer.template.end
        often = taken_too_often(episode.steps, episode.start.observation, self._acting.repeats)
        decision: Decision = yield from guided(self._sequence, answers, end, grammar, self._choose, self._limit, guesses, often)
        return decision

    def _observe(self, episode: Playing) -> None:
        """Append the observations since the last decision; recall again where the retriever says that it is time."""
        steps, retriever = episode.steps, self._retriever
        if not steps:
            return
        if retriever is not None and retriever.due(len(steps)) and self._recall(episode, retriever):
            self._set_prompt(episode)
        else:
            for step in steps[self._seen :]:
                self._sequence.append(self._renderer.reply(step.observation))
        self._seen = len(steps)

    def _recall(self, episode: Playing, retriever: Retriever) -> bool:
        """Retrieve and fit memory into its room. Returns whether it is other than before."""
        started, before, start = perf_counter(), _ids(self.memory.recalled), episode.start
        memory = retriever.recall(episode.task, start.goal, start.observation, tuple(episode.steps))
        bare = self._renderer.history(start.goal, start.observation, episode.steps)
        room = self._context - self._reserve - len(bare.ids) - self._renderer.headers_cost
        self.memory = fit(memory, self._renderer.cost, max(0, room))
        episode.seconds.retrieval += perf_counter() - started
        episode.remember(self.memory)
        return _ids(self.memory.recalled) != before

    def _set_prompt(self, episode: Playing) -> None:
        remembered: list[Trajectory] = [r.trajectory for r in self.memory.recalled]
        start = episode.start
        rendered = self._renderer.history(start.goal, start.observation, episode.steps, remembered)
        if self._renderer.layout == "apart":
            prefix, (_, blocks, own) = self._renderer.prefix(), rendered.shared
            names = [part.name.removeprefix("memory ") for part in rendered.parts if part.name.startswith("memory ")]
            self._sequence.share(prefix, blocks, names)
            self._sequence.replace(own if blocks else own[len(prefix) :])
        else:
            self._sequence.share(())
            self._sequence.replace(rendered.ids)


def _chooser(acting: Acting, task_id: str) -> Chooser:
    if acting.temperature == 0:
        return decide.greedy
    seed = int.from_bytes(hashlib.sha256(f"{acting.seed}/{task_id}".encode()).digest()[:8], "big")
    return decide.sampler(acting.temperature, seed)


def _ids(recalled: Sequence[Any]) -> list[str]:
    return [r.trajectory.id for r in recalled]
