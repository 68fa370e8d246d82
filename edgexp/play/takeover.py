"""A model that acts under a teacher's eyes: where it errs, the environment's expert takes over and finishes, or hands back after a while.

What an expert shows by itself is how to go on from where experts come to. A model comes to other places; what to do there is shown here
(DAgger, Ross et al. 2011). The model's own mistakes are seen in prompts and are never labels: once the expert has taken over, an action of
the model's is a label only where the expert would have taken it too. Where the model wins by itself, all its actions are its own win.
Knows no engine: the model is any policy that can go on after another's actions.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from edgexp.environments.base import Environment, valid_actions_of
from edgexp.environments.checked_calls import bad_call
from edgexp.errors import UsageError
from edgexp.play.episode import Asking, CannotGoOn, Playing, Policy, ask, last_observations
from edgexp.play.scripted import Teacher
from edgexp.trajectory import Decision, Provenance


class Patience(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the expert takes over. What is counted begins anew when it hands back."""

    invalid: Annotated[int, Meta(ge=1)] = 2
    """After so many actions in a row that are not valid, where the environment lists those that are."""
    circles: Annotated[int, Meta(ge=1)] = 2
    """When an action has been taken so often again when the same was to be seen."""
    astray: Annotated[int, Meta(ge=1)] = 8
    """After so many actions in a row of which the expert would have taken none, where it can be asked: the wrong thing in hand, the wrong
    plan."""
    late: Annotated[float, Meta(gt=0, le=1)] = 0.6
    """When this share of the episode's steps is used."""
    hand_back: Annotated[int, Meta(ge=0)] = 0
    """The model goes on after so many actions of the expert's; 0: the expert finishes. Near the end it always does."""


class Learner(Policy, Protocol):
    """A policy that can go on after another's actions."""

    def resume(self, episode: Playing) -> None:
        """Others have acted since the last decision."""


class TakeoverPolicy:
    """A learner, and the environment's expert that takes over. `steps` is how many actions the episode may have."""

    def __init__(self, environment: Environment, learner: Learner, patience: Patience | None = None, steps: int | None = None):
        self._learner, self._patience, self._teacher = learner, patience or Patience(), Teacher(environment)
        if not self._teacher.follows:
            raise UsageError(f"the expert of the environment {environment.name} cannot go on after another's actions (it has no `saw`), "
                             "so it cannot take over; collect with: --policy agent, or --policy expert")
        self._late = self._patience.late * (steps or environment.max_steps)

    def begin(self, episode: Playing) -> None:
        """Tell both."""
        self._teacher.begin(episode.start.goal, episode.start.observation)
        self._learner.begin(episode)
        self._own: list[bool] = []
        """For each action whether the expert took it, or would have."""
        self._invalid: list[bool] = []
        self._since, self._taught, self._teaches, self._took_over = 0, 0, False, False

    def decide(self, episode: Playing) -> Asking[Decision | None]:
        """The model's next action, or the expert's."""
        self._teacher.look(episode.observation)
        late = len(episode.steps) >= self._late
        if self._teaches and 0 < self._patience.hand_back <= self._taught and not late:
            self._hand_back(episode)
        if not self._teaches and (late or self._errs(episode)):
            self._take_over(episode)
        if not self._teaches:
            try:
                decision = yield from self._learner.decide(episode)
            except CannotGoOn:  # its prompt is full; the expert has none
                decision = None
            if decision is not None:
                return (yield from self._watch(episode, decision))
            self._take_over(episode)
        return self._teach()

    def provenance(self, environment: Environment) -> Provenance:
        """The learner, and that it was helped where it was."""
        learner = self._learner.provenance(environment)
        return msgspec.structs.replace(learner, source="takeover") if self._took_over else learner

    def _watch(self, episode: Playing, decision: Decision) -> Asking[Decision]:
        """Take note of the model's action, and say whether it is a mistake, as far as that is known now."""
        list_valid = valid_actions_of(episode.environment)
        if list_valid is None:
            allowed = not (yield from ask(episode.environment, partial(bad_call, decision.text, episode.environment)))
        else:
            allowed = decision.text in (yield from ask(episode.environment, list_valid))
        own = self._teacher.judge(decision.text, allowed)
        self._own.append(own)
        self._invalid.append(not allowed)
        return msgspec.structs.replace(decision, mistake=self._took_over and not own)

    def _teach(self) -> Decision | None:
        action = self._teacher.act()
        self._own.append(True)
        self._invalid.append(False)
        self._taught += 1
        return None if action is None else Decision(action)

    def _take_over(self, episode: Playing) -> None:
        episode.mark_mistakes(number for number, own in enumerate(self._own) if not own)
        self._teaches, self._took_over, self._taught = True, True, 0

    def _hand_back(self, episode: Playing) -> None:
        self._teaches, self._since = False, len(episode.steps)
        self._learner.resume(episode)

    def _errs(self, episode: Playing) -> bool:
        """Whether the model has been at a loss for long enough."""
        patience, since = self._patience, self._since
        if _streak(self._invalid[since:], True) >= patience.invalid:
            return True
        if self._teacher.advises and _streak(self._own[since:], False) >= patience.astray:
            return True
        seen = last_observations(episode.start.observation, episode.steps)
        taken = Counter((before, step.action) for before, step in zip(seen[since:], episode.steps[since:], strict=False))
        return max(taken.values(), default=0) > patience.circles


def _streak(values: Sequence[bool], of: bool) -> int:
    """How many of the last values in a row are that."""
    count = 0
    for value in reversed(values):
        if value != of:
            break
        count += 1
    return count
