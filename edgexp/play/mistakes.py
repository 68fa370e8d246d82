"""An expert that makes mistakes: before some of its actions it takes a wrong one. What is trained on is what it does about it.

An expert that never errs shows nobody how to go on after `Nothing happens.`, or with the wrong thing in hand. Slips are marked as such in
the trajectory; they are seen in prompts, and are never labels.
"""

import random
import re
from collections.abc import Generator, Sequence
from typing import Any

from edgexp.engine.decide import Decision
from edgexp.environments.base import Environment, FollowsOthers, Start, valid_actions_of
from edgexp.errors import UsageError
from edgexp.play.episode import Asked, Watcher, ask
from edgexp.play.policies import ExpertPolicy
from edgexp.trajectory import Step, Task

_NAME = re.compile(r"\b[a-z]+ \d+\b")
_INVALID = 0.6
"""The share of slips that are not valid, where the expert can also go on after valid ones."""
_MISCOUNTED = 0.4
"""Of these, the share in which a name gets the next number: counting on through drawers that are not there."""
_TRIES = 20


class SlippingExpert(ExpertPolicy):
    """The environment's expert, with mistakes at a share of its turns, never two in a row. A task and a seed always give the same."""

    def __init__(self, environment: Environment, share: float, seed: int = 0):
        super().__init__(environment)
        if valid_actions_of(environment) is None:
            raise UsageError(f"the environment {environment.name} does not list valid actions, so nobody can tell what a slip would be")
        self._share, self._seed = share, seed
        self._chance = random.Random()
        self._heard = 0
        """Steps of the episode that the expert has heard of."""

    def begin(self, task: Task, start: Start, watch: Watcher) -> None:
        """Tell the expert, and make the chance of this task."""
        super().begin(task, start, watch)
        self._chance, self._heard = random.Random(f"{self._seed}/{task.id}"), 0

    def decide(self, steps: Sequence[Step], environment: Environment) -> Generator[Asked, Any, Decision | None]:
        """The expert's next action, or a slip."""
        list_valid = valid_actions_of(environment)
        assert list_valid is not None
        if self._heard < len(steps):  # a slip that nothing came of: the expert acts on what was seen before it, and never hears of it
            self._heard = len(steps)
            decision = yield from super().decide(steps[:-1], environment)
        elif self._may_slip(steps) and (slip := self._slip(steps, (yield from ask(environment, list_valid)))):
            return Decision(slip, 0, slip=True)
        else:
            decision = yield from super().decide(steps, environment)
        self._heard += 1
        return decision

    def _may_slip(self, steps: Sequence[Step]) -> bool:
        return not (steps and steps[-1].slip) and self._chance.random() < self._share

    def _slip(self, steps: Sequence[Step], valid: Sequence[str]) -> str:
        """A mistake; empty where none comes to mind. What is valid is told to the expert."""
        latest = steps[-1].observation if steps else self._start.observation
        if isinstance(self._expert, FollowsOthers) and self._chance.random() >= _INVALID:
            verbs: dict[str, list[str]] = {}
            for action in valid:
                verbs.setdefault(action.partition(" ")[0], []).append(action)
            slip = self._chance.choice(self._chance.choice(list(verbs.values())))
            self._expert.saw(latest, slip)
            self._heard += 1
            return slip
        return self._invalid(latest, steps, valid)

    def _invalid(self, latest: str, steps: Sequence[Step], valid: Sequence[str]) -> str:
        """What cannot be done: an action with the name of another thing or place, or with the next number."""
        known = [*valid, *(step.action for step in steps)]
        names = _NAME.findall(" ".join([self._start.observation, latest, *(step.action for step in steps)]))
        for _ in range(_TRIES):
            action = self._chance.choice(known)
            if not (found := _NAME.findall(action)):
                continue
            old = self._chance.choice(found)
            kind, _, number = old.partition(" ")
            new = f"{kind} {int(number) + 1}" if self._chance.random() < _MISCOUNTED else self._chance.choice(names)
            if (slip := action.replace(old, new)) not in valid:
                return slip
        return ""
