"""The worlds environment: thousands of houses with ways of their own. Knows which task is which scene, and no rules.

Tasks of held-out splits are played; the banks of those splits are other scenes of the same houses, from which their ways can be learned.
"""

import re
from collections.abc import Sequence
from typing import overload

import msgspec

from edgexp.environments.base import Expert, Outcome, Start
from edgexp.environments.worlds.engine import Game
from edgexp.environments.worlds.players import expert
from edgexp.environments.worlds.scene import Scene, scene
from edgexp.environments.worlds.world import RECIPES, shape, world
from edgexp.errors import EdgexpError, UsageError
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


class Split(msgspec.Struct, frozen=True):
    """Which worlds a split has, and which scenes of each."""

    first_world: int
    worlds: int
    first_slot: int
    scenes: int
    """Scenes of each world: a multiple of RECIPES, so that all its recipes come up equally often."""


SPLITS = {
    "train": Split(0, 3_000, 0, 3 * RECIPES),
    "train-small": Split(3_600, 300, 0, 3 * RECIPES),
    "dev": Split(3_000, 300, 8 * RECIPES, RECIPES),
    "test": Split(3_300, 300, 8 * RECIPES, RECIPES),
    "dev-bank": Split(3_000, 300, 0, 3 * RECIPES),
    "test-bank": Split(3_300, 300, 0, 3 * RECIPES),
}
"""The train splits are their own banks; dev and test have banks of the same worlds in other scenes. `train-small` is for those who cannot
fill a bank with all of `train`: a draw from `train` would hold too few episodes of each world."""


class Tasks(Sequence[Task]):
    """The tasks of one split, made when asked for; the scenes of a world stand together."""

    def __init__(self, split: str) -> None:
        self._name, self._split = split, SPLITS[split]

    def __len__(self) -> int:
        return self._split.worlds * self._split.scenes

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        """A task by position, or a list of tasks by slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        house, number = divmod(range(len(self))[index], self._split.scenes)
        kind = shape(self._split.first_world + house, (self._split.first_slot + number) % RECIPES)
        return Task(f"worlds/{self._name}/{house}/{number}", "worlds", self._name, kind)


class Worlds:
    """Houses with ways of their own. Needs no files, holds nothing open."""

    name = "worlds"
    version = "1"
    max_steps = 20

    def __init__(self) -> None:
        self._game: Game | None = None
        self._over = False

    def splits(self) -> Sequence[str]:
        """`train`, `train-small`, `dev`, `test`, `dev-bank`, `test-bank`."""
        return tuple(SPLITS)

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split, lazily. Raises UsageError for an unknown split."""
        if split not in SPLITS:
            raise UsageError(f"worlds has no split {split!r}; it has {', '.join(SPLITS)}")
        return Tasks(split)

    def task(self, task_id: str) -> Task:
        """The task of that id. Raises UsageError where there is none."""
        name, house, number = _parse(task_id)
        return Tasks(name)[house * SPLITS[name].scenes + number]

    def scene(self, task: Task) -> Scene:
        """The scene of a task. Raises UsageError when it is not one of this environment's tasks."""
        if task != self.task(task.id):
            raise UsageError(f"{task.id}: this is not worlds' own task of that id; get it from task({task.id!r})")
        name, house, number = _parse(task.id)
        split = SPLITS[name]
        return scene(world(split.first_world + house), split.first_slot + number)

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


def _parse(task_id: str) -> tuple[str, int, int]:
    found = re.fullmatch(r"worlds/([a-z-]+)/(0|[1-9][0-9]{0,5})/(0|[1-9][0-9]?)", task_id)
    split = SPLITS.get(found[1]) if found else None
    if not found or not split or int(found[2]) >= split.worlds or int(found[3]) >= split.scenes:
        known = ", ".join(f"worlds/{name}/0/0 to {s.worlds - 1}/{s.scenes - 1}" for name, s in SPLITS.items())
        raise UsageError(f"worlds has no task {task_id!r}; it has {known}")
    return found[1], int(found[2]), int(found[3])
