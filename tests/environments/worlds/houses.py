"""What the tests of worlds share: any house, and episodes without an environment around them."""

from hypothesis import strategies as st

from edgexp.environments.base import Expert
from edgexp.environments.worlds.invented import WORLDS, world
from edgexp.environments.worlds.worlds import Game

any_world = st.integers(0, WORLDS - 1).map(world)


def play(game: Game, player: Expert, limit: int = 20) -> int:
    """Actions until the game is won; 0 when it is not."""
    observation = game.observation()
    player.begin(game.scene.goal, observation)
    for number in range(1, limit + 1):
        action = player.act(observation)
        if action is None:
            return 0
        observation = game.step(action)
        if game.won:
            return number
    return 0
