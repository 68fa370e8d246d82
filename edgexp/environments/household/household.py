"""The household environment: generated scenes without end, by ALFWorld's rules. Knows which task is which scene, and no rules or texts.

`SceneEnvironment` is what `household`, `alfworld` and `treatments` share: an episode over one scene, wherever that comes from.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from edgexp.environments.base import Achieved, Expert, Start
from edgexp.environments.household import scene as goals
from edgexp.environments.household.generator import generate
from edgexp.environments.household.scene import GOAL_KINDS, GROUPS, GoalKind, Scene
from edgexp.environments.household.simulator import Game
from edgexp.environments.household.texts import NOTHING
from edgexp.environments.splits import Made, check_split
from edgexp.environments.text_game import GameEnvironment
from edgexp.errors import UsageError
from edgexp.trajectory import Task, Trajectory

INSTRUCTIONS = """\
You are in a home and do what is asked of you, one action a turn. Answer with the action only, in one of these forms:
go to [receptacle]
open [receptacle]
close [receptacle]
take [object] from [receptacle]
move [object] to [receptacle]
use [object]
heat [object] with [receptacle]
cool [object] with [receptacle]
clean [object] with [receptacle]
slice [object] with [object]
examine [receptacle or object]
look
inventory
Names end in a number, as in apple 1 or drawer 2. Your hands hold one object."""
"""What the system prompt says about acting in this world."""


_DEMANDING: Sequence[GoalKind] = (
    "pick_two_obj_and_place",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_clean_then_place_in_recep",
    "look_at_obj_in_light",
    "pick_and_place_simple",
)
"""Goals, those first whose being met says most."""


def achieved_in(scene: Scene, trajectory: Trajectory) -> Achieved | None:
    """The goal, of the six shapes, that an episode in the scene reached and kept to its end: the one that asks for most.

    None where it reached none, and for an episode that the scene does not give (any more).
    """
    game = Game(scene)
    states = [game.met()]
    for step in trajectory.steps:
        if game.step(step.action) != step.observation:
            return None
        states.append(game.met())
    found = min(states[-1] - states[0], key=lambda goal: (_DEMANDING.index(goal[0]), goal), default=None)
    if found is None:
        return None
    steps = next(number for number, state in enumerate(states) if found in state)
    request = goals.Request(found[0], found[1].lower(), found[2].lower())
    return Achieved(goals.word(request, steps % 2), request.kind, GROUPS[request.kind], steps)


class SceneEnvironment(GameEnvironment[Game], ABC):
    """An environment whose tasks are scenes. A subclass adds `name`, `version`, the splits and tasks, and which scene a task is."""

    max_steps = 50
    refusals = (NOTHING,)

    @abstractmethod
    def scene(self, task: Task) -> Scene:
        """The scene of a task. Raises EdgexpError where it cannot be had."""

    def instructions(self) -> str:
        """How to act: one template a line."""
        return INSTRUCTIONS

    def reset(self, task: Task) -> Start:
        """Begin an episode; one under way is dropped. Raises EdgexpError where the task has no scene that can be played."""
        self._begin(None)
        scene = self.scene(task)
        game = Game(scene)
        self._begin(game)
        return Start(goal=scene.goal.text, observation=game.observation())

    def expert(self) -> Expert:
        """A fresh player that searches as a person would."""
        from edgexp.environments.household.searcher import SearchExpert

        return SearchExpert()

    def misled(self, goal: str) -> Sequence[Expert]:
        """Players who forget what has to be done to the thing, or do another thing to it."""
        from edgexp.environments.household.searcher import misled

        request = goals.read(goal)
        return misled(request) if request else ()

    def aspects(self, task: Task, goal: str) -> Mapping[str, str]:
        """The type, the object, and where they are asked for: receptacle or lamp, treatment (`hot`, `cool`, `clean`), count (`2`)."""
        return {"type": task.type, **goals.aspects(goal)}


SIZES = {"train": 100_000, "dev": 10_000, "test": 10_000}
"""Split → number of tasks. Scenes of different splits have different seeds."""


class Household(SceneEnvironment):
    """ALFWorld's six kinds of tasks in generated rooms. Needs no files, holds nothing open."""

    name = "household"
    version = "1"

    def splits(self) -> Sequence[str]:
        """`train`, `dev`, `test`."""
        return tuple(SIZES)

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split, lazily; the six types take turns. Raises UsageError for an unknown split."""
        check_split(self.name, split, SIZES)
        return Made(SIZES[split], lambda number: _task(split, number))

    def task(self, task_id: str) -> Task:
        """The task of that id. Raises UsageError where there is none."""
        split, number = _parse(task_id)
        return _task(split, number)

    def scene(self, task: Task) -> Scene:
        """The scene of a task. Raises UsageError when it is not one of this environment's tasks."""
        if task != self.task(task.id):
            raise UsageError(f"{task.id}: this is not household's own task of that id; get it from task({task.id!r})")
        split, number = _parse(task.id)
        return generate(_kind(number), number * 8 + list(SIZES).index(split))

    def achieved(self, trajectory: Trajectory) -> Achieved | None:
        """Which of the six goals the episode reached. Raises as `scene` does."""
        return achieved_in(self.scene(trajectory.task), trajectory)


def _task(split: str, number: int) -> Task:
    kind = _kind(number)
    return Task(f"household/{split}/{number}", "household", split, kind, GROUPS[kind])


def _kind(number: int) -> GoalKind:
    return GOAL_KINDS[number % len(GOAL_KINDS)]


def _parse(task_id: str) -> tuple[str, int]:
    found = re.fullmatch(r"household/([a-z]+)/(0|[1-9][0-9]{0,9})", task_id)
    if not found or int(found[2]) >= SIZES.get(found[1], 0):
        known = ", ".join(f"household/{split}/0 to {size - 1}" for split, size in SIZES.items())
        raise UsageError(f"household has no task {task_id!r}; it has {known}")
    return found[1], int(found[2])
