"""Policies without a model: an environment's expert, or a fixed list of actions."""

from collections.abc import Iterable

from edgexp.environments.base import Environment, Expert, FollowsOthers, GivesAdvice, expert_of
from edgexp.errors import UsageError
from edgexp.play.acting import now
from edgexp.play.episode import Asking, Playing
from edgexp.trajectory import Decision, Provenance, Source


class Scripted:
    """Plays a fixed list of actions, then gives up."""

    def __init__(self, actions: Iterable[str], source: Source = "person"):
        self._actions, self._source = list(actions), source

    def begin(self, episode: Playing) -> None:
        """Nothing to prepare."""

    def decide(self, episode: Playing) -> Asking[Decision | None]:
        """The next action of the list."""
        yield from ()
        number = len(episode.steps)
        return Decision(self._actions[number]) if number < len(self._actions) else None

    def provenance(self, environment: Environment) -> Provenance:
        """Whom the list is said to be of."""
        return Provenance(self._source, environment.version, created=now())


class Teacher:
    """An environment's expert beside somebody who acts: it looks on, can be asked, and can act at any moment.

    It hears of another's valid actions only. Of the others nothing came, so it acts on what was seen before them.
    """

    def __init__(self, environment: Environment):
        expert = expert_of(environment)
        if expert is None:
            raise UsageError(f"the environment {environment.name} has no scripted expert; collect with: --policy agent")
        self._expert: Expert = expert
        self._latest, self._unheard = "", False

    @property
    def follows(self) -> bool:
        """Whether it can go on after a valid action that was not its own."""
        return isinstance(self._expert, FollowsOthers)

    @property
    def advises(self) -> bool:
        """Whether it can be asked without being followed."""
        return isinstance(self._expert, GivesAdvice)

    def begin(self, goal: str, observation: str) -> None:
        """A new episode."""
        self._expert.begin(goal, observation)
        self._latest, self._unheard = "", False

    def look(self, observation: str) -> None:
        """What is to be seen before the next action; to be called before each."""
        if not self._unheard:
            self._latest = observation
        self._unheard = False

    def act(self) -> str | None:
        """What it does; None when it gives up."""
        return self._expert.act(self._latest)

    def advise(self) -> str | None:
        """What it would do; None where it would give up, or cannot be asked."""
        return self._expert.advise(self._latest) if isinstance(self._expert, GivesAdvice) else None

    def judge(self, action: str, valid: bool) -> bool:
        """Whether another's action is the very one it would take; takes note of it."""
        if action != self.advise():
            self.saw(action, valid)
            return False
        self.act()
        return True

    def saw(self, action: str, valid: bool) -> None:
        """Another's action is taken in place of its own."""
        if valid and isinstance(self._expert, FollowsOthers):
            self._expert.saw(self._latest, action)
        else:
            self._unheard = True


class ExpertPolicy:
    """The environment's scripted expert, which sees what an agent sees."""

    def __init__(self, environment: Environment):
        self._teacher = Teacher(environment)

    def begin(self, episode: Playing) -> None:
        """Tell the expert the goal and what is seen first."""
        self._teacher.begin(episode.start.goal, episode.start.observation)

    def decide(self, episode: Playing) -> Asking[Decision | None]:
        """The expert's next action; None when it gives up."""
        yield from ()
        self._teacher.look(episode.observation)
        return self.act()

    def act(self) -> Decision | None:
        """What the expert does about what it saw last."""
        action = self._teacher.act()
        return None if action is None else Decision(action)

    def provenance(self, environment: Environment) -> Provenance:
        """The environment's expert."""
        return Provenance("expert", environment.version, created=now())
