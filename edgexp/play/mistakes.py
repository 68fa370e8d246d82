"""An expert that makes mistakes: before some of its actions it takes a wrong one. What is trained on is what it does about it.

An expert that never errs shows nobody how to go on after `Nothing happens.`, or with the wrong thing in hand. Mistakes are marked as such
in the trajectory; they are seen in prompts, and are never labels.
"""

import random
import re
from collections.abc import Sequence

from edgexp.environments.base import Environment, FollowsOthers, valid_actions_of
from edgexp.errors import UsageError
from edgexp.play.episode import Asking, Playing, ask
from edgexp.play.scripted import ExpertPolicy
from edgexp.trajectory import Decision, Step

_NAME = re.compile(r"\b[a-z]+ \d+\b")
_INVALID = 0.6
"""The share of mistakes that are not valid, where the expert can also go on after valid ones."""
_MISCOUNTED = 0.4
"""Of these, the share in which a name gets the next number: counting on through drawers that are not there."""
_TRIES = 20


class ErringExpert(ExpertPolicy):
    """The environment's expert, with mistakes at a share of its turns, never two in a row. A task and a seed always give the same."""

    def __init__(self, environment: Environment, share: float, seed: int = 0):
        super().__init__(environment)
        if valid_actions_of(environment) is None:
            raise UsageError(f"the environment {environment.name} does not list valid actions, so nobody can tell what a mistake would be")
        self._share, self._seed = share, seed
        self._chance = random.Random()
        self._heard = 0
        """Steps of the episode that the expert has heard of."""

    def begin(self, episode: Playing) -> None:
        """Tell the expert, and make the chance of this task."""
        super().begin(episode)
        self._chance, self._heard = random.Random(f"{self._seed}/{episode.task.id}"), 0

    def decide(self, episode: Playing) -> Asking[Decision | None]:
        """The expert's next action, or a mistake."""
        environment, steps = episode.environment, episode.steps
        list_valid = valid_actions_of(environment)
        assert list_valid is not None
        if self._heard < len(steps):  # a mistake that nothing came of: the expert acts on what was seen before it, and never hears of it
            self._heard = len(steps)
            decision = self.act(steps[-2].observation if len(steps) > 1 else episode.start.observation)
        elif self._may_err(steps) and (mistake := self._mistake(episode, (yield from ask(environment, list_valid)))):
            return Decision(mistake, mistake=True)
        else:
            decision = self.act(episode.observation)
        self._heard += 1
        return decision

    def _may_err(self, steps: Sequence[Step]) -> bool:
        return not (steps and steps[-1].mistake) and self._chance.random() < self._share

    def _mistake(self, episode: Playing, valid: Sequence[str]) -> str:
        """A mistake; empty where none comes to mind. What is valid is told to the expert."""
        latest = episode.observation
        if isinstance(self._expert, FollowsOthers) and self._chance.random() >= _INVALID:
            verbs: dict[str, list[str]] = {}
            for action in valid:
                verbs.setdefault(action.partition(" ")[0], []).append(action)
            mistake = self._chance.choice(self._chance.choice(list(verbs.values())))
            self._expert.saw(latest, mistake)
            self._heard += 1
            return mistake
        return self._invalid(episode, valid)

    def _invalid(self, episode: Playing, valid: Sequence[str]) -> str:
        """What cannot be done: an action with the name of another thing or place, or with the next number."""
        taken = [step.action for step in episode.steps]
        known = [*valid, *taken]
        names = _NAME.findall(" ".join([episode.start.observation, episode.observation, *taken]))
        for _ in range(_TRIES):
            action = self._chance.choice(known)
            if not (found := _NAME.findall(action)):
                continue
            old = self._chance.choice(found)
            kind, _, number = old.partition(" ")
            new = f"{kind} {int(number) + 1}" if self._chance.random() < _MISCOUNTED else self._chance.choice(names)
            if (mistake := action.replace(old, new)) not in valid:
                return mistake
        return ""
