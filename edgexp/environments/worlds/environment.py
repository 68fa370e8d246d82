"""The worlds environment: thousands of houses with ways of their own. Knows which task is which scene, and no rules.

Tasks of held-out splits are played; the banks of those splits are other scenes of the same houses, from which their ways can be learned.
"""

from edgexp.environments.base import Expert, Outcome, Start
from edgexp.environments.splits import Housed, Houses
from edgexp.environments.worlds.engine import Game
from edgexp.environments.worlds.players import expert
from edgexp.environments.worlds.scene import Scene, scene
from edgexp.environments.worlds.world import RECIPES, shape, world
from edgexp.errors import EdgexpError
from edgexp.trajectory import Task

INSTRUCTIONS = """\
You are in a house that has its own ways and do what is asked of you, one action a turn. Answer with the action only, in one of these forms:
go to [place]
[verb] [object] [preposition] [place or object]
[verb] [place]
[verb] [word]
examine [place or object]
look
inventory
Which verbs and words a house has, and what has to be done in which order, past episodes in that house show.
Names end in a number, as in apple 1 or drawer 2. Your hands hold one object."""
"""What the system prompt says about acting in these worlds."""


SPLITS = {
    "train": Houses(0, 3_000, 0, 3 * RECIPES),
    "train-small": Houses(3_600, 300, 0, 3 * RECIPES),
    "dev": Houses(3_000, 300, 8 * RECIPES, RECIPES),
    "test": Houses(3_300, 300, 8 * RECIPES, RECIPES),
    "dev-bank": Houses(3_000, 300, 0, 3 * RECIPES),
    "test-bank": Houses(3_300, 300, 0, 3 * RECIPES),
}
"""The train splits are their own banks; dev and test have banks of the same worlds in other scenes. `train-small` is for those who cannot
fill a bank with all of `train`: a draw from `train` would hold too few episodes of each world. Scenes of a world: a multiple of RECIPES, so
that all its recipes come up equally often."""


class Worlds(Housed):
    """Houses with ways of their own. Needs no files, holds nothing open."""

    name = "worlds"
    version = "1"
    max_steps = 20
    houses = SPLITS

    def __init__(self) -> None:
        self._game: Game | None = None
        self._over = False

    def type_of(self, house: int, scene: int) -> str:
        """The shape of the recipe that the scene asks for."""
        return shape(house, scene % RECIPES)

    def scene(self, task: Task) -> Scene:
        """The scene of a task. Raises UsageError when it is not one of this environment's tasks."""
        house, number = self.place(task)
        return scene(world(house), number)

    def instructions(self) -> str:
        """How to act: general forms, no house's ways."""
        return INSTRUCTIONS

    def reset(self, task: Task) -> Start:
        """Begin an episode; one under way is dropped. Raises UsageError when the task is none of this environment."""
        self._game, self._over = None, False
        self._game = Game(self.scene(task))
        return Start(goal=self._game.scene.goal, observation=self._game.observation())

    def step(self, action: str) -> Outcome:
        """Take an action; anything that is not valid now gets `Nothing happens.` Raises EdgexpError before a reset or after the end."""
        game = self._running()
        observation = game.step(action)
        if not game.won:
            return Outcome(observation)
        self._over = True
        return Outcome(observation, reward=1.0, done=True, success=True, score=1.0)

    def admissible(self) -> list[str]:
        """The valid actions now, sorted, most of them useless; none once the episode is over. Raises EdgexpError before a reset."""
        if self._game is not None and self._over:
            return []
        return self._running().admissible()

    def expert(self) -> Expert:
        """A fresh player. It knows the ways of the house, and of what lies where only what it has seen."""
        return expert(lambda: self._running().scene)

    def close(self) -> None:
        """Drop the episode under way. Nothing else is held."""
        self._game = None

    def _running(self) -> Game:
        if self._game is None:
            raise EdgexpError("no episode is under way: reset the environment with a task first")
        if self._over:
            raise EdgexpError("the episode is over: reset the environment before the next action")
        return self._game
