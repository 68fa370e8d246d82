"""Policies without a model: an environment's expert, or a fixed list of actions."""

from collections.abc import Iterable

from edgexp.environments.base import Environment, expert_of
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


class ExpertPolicy:
    """The environment's scripted expert, which sees what an agent sees."""

    def __init__(self, environment: Environment):
        expert = expert_of(environment)
        if expert is None:
            raise UsageError(f"the environment {environment.name} has no scripted expert; collect with: --policy agent")
        self._expert = expert

    def begin(self, episode: Playing) -> None:
        """Tell the expert the goal and what is seen first."""
        self._expert.begin(episode.start.goal, episode.start.observation)

    def decide(self, episode: Playing) -> Asking[Decision | None]:
        """The expert's next action; None when it gives up."""
        yield from ()
        return self.act(episode.observation)

    def act(self, observation: str) -> Decision | None:
        """What the expert does about an observation."""
        action = self._expert.act(observation)
        return None if action is None else Decision(action)

    def provenance(self, environment: Environment) -> Provenance:
        """The environment's expert."""
        return Provenance("expert", environment.version, created=now())
