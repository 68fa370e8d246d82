"""What environments share that play one game in text in this process: an episode is one game, won or not. Knows no rules and no texts."""

from typing import Generic, Protocol, TypeVar

from edgexp.environments.base import Outcome
from edgexp.errors import EdgexpError


class TextGame(Protocol):
    """A game under way."""

    @property
    def won(self) -> bool:
        """Whether what was asked for is done."""

    def step(self, command: str, /) -> str:
        """Take an action; what is to be seen then."""

    def admissible(self) -> list[str]:
        """The valid actions now, sorted."""


G = TypeVar("G", bound=TextGame)


class GameEnvironment(Generic[G]):
    """The half of an environment that plays. A subclass makes a game of a task, in `reset`, and gives it to `_begin`."""

    def __init__(self) -> None:
        self._game: G | None = None
        self._over = False

    def _begin(self, game: G | None) -> None:
        """A new episode with that game; with None, the one under way is dropped."""
        self._game, self._over = game, False

    def step(self, action: str) -> Outcome:
        """Take an action; anything that is not valid now gets `Nothing happens.` Raises EdgexpError before a reset or after the end."""
        game = self._running()
        observation = game.step(action)
        if not game.won:
            return Outcome(observation)
        self._over = True
        return Outcome(observation, reward=1.0, done=True, success=True, score=1.0)

    def admissible(self) -> list[str]:
        """The valid actions now, sorted; none once the episode is over. Raises EdgexpError before a reset."""
        if self._game is not None and self._over:
            return []
        return self._running().admissible()

    def close(self) -> None:
        """Drop the episode under way. Nothing else is held."""
        self._game = None

    def _running(self) -> G:
        if self._game is None:
            raise EdgexpError("no episode is under way: reset the environment with a task first")
        if self._over:
            raise EdgexpError("the episode is over: reset the environment before the next action")
        return self._game
