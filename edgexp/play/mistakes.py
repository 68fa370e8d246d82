"""An expert that makes mistakes: before some of its actions it takes wrong ones, and in some episodes it mistakes the goal. What is trained
on is what it does about it.

An expert that never errs shows nobody how to go on after `Nothing happens.`, or with the wrong thing in hand. One that errs once at a time
shows nobody how to go on after two: a model that counted on to a drawer that is not there counted on for the rest of its episode. So
mistakes come in runs, and what a run does is what models were seen to do: count on, do the same again, repeat what is done already, take
one name for another, wander. Mistakes are marked as such in the trajectory; they are seen in prompts, and are never labels.
"""

import random
import re
from collections.abc import Sequence

from edgexp.environments.base import Environment, Expert, misled_players, valid_actions_of
from edgexp.errors import UsageError
from edgexp.play.episode import Asking, Playing, ask
from edgexp.play.scripted import ExpertPolicy
from edgexp.trajectory import Decision

_NAME = re.compile(r"\b[a-z]+ \d+\b")
_LONGEST, _ON = 6, 0.5
"""Most mistakes in a row, and how likely one is followed by another."""
_INVALID = 0.6
"""The share of runs whose mistakes are not valid, where the expert can also go on after valid ones."""
_SORTS = {"count": 45, "again": 25, "misname": 30}
"""Of a hundred mistakes that are not valid: the next number, an action of this episode once more, another name."""
_MISLED = 2.0
"""Episodes in which the goal is mistaken, as a multiple of the share of turns at which a run begins; at most half of all."""
_TRIES = 20


class ErringExpert(ExpertPolicy):
    """The environment's expert, with runs of mistakes that begin at a share of its turns. A task and a seed always give the same."""

    def __init__(self, environment: Environment, share: float, seed: int = 0):
        super().__init__(environment)
        if valid_actions_of(environment) is None:
            raise UsageError(f"the environment {environment.name} does not list valid actions, so nobody can tell what a mistake would be")
        self._share, self._seed = share, seed

    def begin(self, episode: Playing) -> None:
        """Tell the expert, and make the chance of this task."""
        super().begin(episode)
        self._chance = random.Random(f"{self._seed}/{episode.task.id}")
        self._left, self._erred = 0, False
        self._misled = self._mislead(episode)

    def decide(self, episode: Playing) -> Asking[Decision | None]:
        """The expert's next action, or a mistake."""
        self._teacher.look(episode.observation)
        if self._misled or self._errs():
            list_valid = valid_actions_of(episode.environment)
            assert list_valid is not None
            valid = yield from ask(episode.environment, list_valid)
            mistake = self._mistaken_step(episode) if self._misled else self._mistake(episode, valid)
            if mistake:
                self._left, self._erred = self._left - 1, True
                self._teacher.saw(mistake, mistake in valid)
                return Decision(mistake, mistake=True)
        self._left, self._erred = (self._left if self._misled else 0), False
        return self.act()

    def _errs(self) -> bool:
        """Whether a run goes on or begins. Between two there is an action of the expert's."""
        if not self._left and not self._erred and self._chance.random() < self._share:
            self._left = self._length()
            self._wanders = self._teacher.follows and self._chance.random() >= _INVALID
        return self._left > 0

    def _length(self) -> int:
        length = 1
        while length < _LONGEST and self._chance.random() < _ON:
            length += 1
        return length

    # Mistaking the goal

    def _mislead(self, episode: Playing) -> Expert | None:
        """A player who takes the goal for another one, in some of the episodes; who makes how many mistakes is drawn."""
        players = misled_players(episode.environment, episode.start.goal)
        able = self._teacher.follows and self._teacher.advises
        if not players or not able or self._chance.random() >= min(0.5, _MISLED * self._share):
            return None
        player = self._chance.choice(players)
        player.begin(episode.start.goal, episode.start.observation)
        self._left = self._length() + self._chance.randrange(3)  # a plan has more steps than a slip
        return player

    def _mistaken_step(self, episode: Playing) -> str:
        """What the misled player does next, where the expert would do something else; empty where it would not."""
        assert self._misled is not None
        action = self._misled.act(episode.observation)
        if action is None or not self._left:
            self._misled = None
        return action if self._misled and action and action != self._teacher.advise() else ""

    # Slips

    def _mistake(self, episode: Playing, valid: Sequence[str]) -> str:
        """A mistake; empty where none comes to mind."""
        if not self._wanders:
            return self._invalid(episode, valid)
        verbs: dict[str, list[str]] = {}
        for action in valid:
            verbs.setdefault(action.partition(" ")[0], []).append(action)
        # Walking has many forms, looking around one; neither is to be all that a wanderer does.
        return self._chance.choice(self._chance.choices(list(verbs.values()), [len(actions) ** 0.5 for actions in verbs.values()])[0])

    def _invalid(self, episode: Playing, valid: Sequence[str]) -> str:
        """What cannot be done."""
        taken = [step.action for step in episode.steps]
        known = [*valid, *taken]
        names = _NAME.findall(" ".join([episode.start.observation, episode.observation, *taken]))
        for _ in range(_TRIES):
            sort = self._chance.choices(list(_SORTS), list(_SORTS.values()))[0]
            goes_on = taken and (self._erred or sort == "again") and self._chance.random() < 0.6
            action = self._chance.choice(taken[-1:] if goes_on else known)
            mistake = action if sort == "again" else self._changed(action, names, sort)
            if mistake and mistake not in valid:
                return mistake
        return ""

    def _changed(self, action: str, names: Sequence[str], sort: str) -> str:
        """The action with the next number, or with another name; empty where it has no name."""
        if not (found := _NAME.findall(action)):
            return ""
        old = found[-1] if sort == "count" else self._chance.choice(found)
        kind, _, number = old.partition(" ")
        new = f"{kind} {int(number) + 1}" if sort == "count" else self._chance.choice(names)
        return action.replace(old, new)
