"""The errands environment: `household`'s rooms and rules, and in each home a word for an errand, which only its past episodes explain.

An errand is done with one, two or three things of a kind, in stages: bring it somewhere, do something to it at an appliance, hold it under
a lamp; before it is brought or after. So deliveries that do not end with the first one, and things that are taken up again, are learned
without one task of the types that are held back from training. Knows which home and which room a task is; the rules are the household's.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Literal

import msgspec

from edgexp.environments.base import Expert, Start
from edgexp.environments.household import rooms
from edgexp.environments.household import scene as goals
from edgexp.environments.household.generator import Draw, generate
from edgexp.environments.household.household import SceneEnvironment
from edgexp.environments.household.scene import GoalKind, Scene, Way
from edgexp.environments.household.searcher import MisledExpert, SearchExpert, misled
from edgexp.environments.household.simulator import Game
from edgexp.environments.splits import Housed, Houses
from edgexp.environments.treatments import APPLIANCES
from edgexp.environments.worlds import invented as words
from edgexp.trajectory import Task

Stage = Literal["bring", "stop", "treat", "light"]
"""To the place that the goal names; to the home's own place; at an appliance; under a lamp."""


class Shape(msgspec.Struct, frozen=True):
    """What the errands of some homes have in common."""

    name: str
    count: int
    """Things that have to go through all stages."""
    stages: tuple[Stage, ...]


SHAPES = (
    Shape("errand_two", 2, ("bring",)),
    Shape("errand_treat_first", 1, ("treat", "bring")),
    Shape("errand_three", 3, ("bring",)),
    Shape("errand_light_first", 1, ("light", "bring")),
    Shape("errand_treat_last", 1, ("bring", "treat")),
    Shape("errand_by_way", 1, ("stop", "bring")),
    Shape("errand_treat_two", 2, ("treat", "bring")),
    Shape("errand_light_last", 1, ("bring", "light")),
)

_WORDS = (
    "settle", "arrange", "prepare", "handle", "tend", "present", "host", "stage", "ready", "treat", "honour", "greet", "serve", "keep",
    "manage", "attend", "process", "follow", "see", "place", "finish", "start", "help", "visit", "answer", "call",
)  # fmt: skip
_INVENTED = 60
"""How many words of a hundred are invented."""
WORDINGS = ("in {name}, {word} {object} for {target}.", "in {name}, {word} some {object}, {target}.")
_READ = tuple(map(goals.pattern, WORDINGS))

_STOPS = ("Bed", "Cabinet", "CoffeeTable", "CounterTop", "Desk", "DiningTable", "Drawer", "Dresser", "GarbageCan", "Shelf", "SideTable",
          "Sofa")  # fmt: skip
_LAMP = "DeskLamp"

_HOME_SEEDS = 3_500_000_000
"""Above those of `treatments`, as are those of rooms."""
_FIRST_NAME = 5_000
_TASK_SEEDS = 2_500_000_000
_SCENES = 64
"""Scenes of a home that can be told apart."""
_TRIES = 997
_ROOM = "in the middle of a room"

SPLITS = {
    "train": Houses(0, 320, 0, 6),
    "dev": Houses(320, 80, 6, 2),
    "test": Houses(400, 80, 6, 2),
    "dev-bank": Houses(320, 80, 0, 6),
    "test-bank": Houses(400, 80, 0, 6),
}
"""The train split is its own bank; dev and test have banks of the same homes in other scenes."""


class Errand(msgspec.Struct, frozen=True):
    """What a home's word asks for."""

    name: str
    """The home's."""
    word: str
    shape: Shape
    way: Way
    """What `treat` means; drawn for every home, whether its errand needs it or not."""
    stop: str
    """A type of receptacle."""


@lru_cache(maxsize=4096)
def errand(number: int) -> Errand:
    """The errand of home `number`, from 0 to some hundreds."""
    draw = Draw(_HOME_SEEDS + number)
    shape = SHAPES[number % len(SHAPES)]
    word, verb = words.Lexicon(draw).some(_WORDS, 2, invented=_INVENTED)
    appliance, stop = draw.one([one for kind in APPLIANCES for one in kind]), draw.one(_STOPS)
    return Errand(words.name(_FIRST_NAME + number), word, shape, Way(verb, verb, appliance), stop)


class Errands(Housed, SceneEnvironment):
    """Household tasks whose wording only experience explains. Needs no files, holds nothing open."""

    name = "errands"
    version = "1"
    houses = SPLITS

    def type_of(self, house: int, scene: int) -> str:
        """The shape of the home's errand."""
        return errand(house).shape.name

    def scene(self, task: Task) -> Scene:
        """The scene of a task. Raises UsageError when it is not one of this environment's tasks."""
        house, number = self.place(task)
        return furnished(errand(house), _TASK_SEEDS + house * _SCENES + number)

    def reset(self, task: Task) -> Start:
        """As in `household`, but that the first observation names the home. Raises EdgexpError where the task is none of these."""
        asked, scene = errand(self.place(task)[0]), self.scene(task)
        game = ErrandGame(scene, asked)
        self._begin(game)
        return Start(goal=scene.goal.text, observation=game.observation().replace(_ROOM, f"{_ROOM} of {asked.name}", 1))

    def aspects(self, task: Task, goal: str) -> Mapping[str, str]:
        """The type, and of a goal that is worded as here the home, its word, the object and the receptacle."""
        found = next((found for form in _READ if (found := form.fullmatch(goal))), None)
        if found is None:
            return {"type": task.type}
        return {"type": task.type, "home": found["name"], "word": found["word"], "object": found["object"], "receptacle": found["target"]}

    def expert(self) -> Expert:
        """A player that searches as the household's does, and knows the errand."""
        return ErrandExpert(self._errand)

    def misled(self, goal: str) -> Sequence[Expert]:
        """Players who just bring the thing, or do to it what household tasks ask for."""
        found = next((found for form in _READ if (found := form.fullmatch(goal))), None)
        if found is None:
            return ()
        request = goals.Request("pick_and_place_simple", found["object"], found["target"])
        return [MisledExpert(request), *misled(request)]

    def _errand(self) -> tuple[Errand, Scene]:
        game = self._running()
        assert isinstance(game, ErrandGame)
        return game.errand, game.scene


class ErrandGame(Game):
    """A household game that is won when as many things as asked for have been through all stages, one after the other."""

    def __init__(self, scene: Scene, errand: Errand) -> None:
        self.errand = errand
        super().__init__(scene)

    def reset(self) -> None:
        """Back to the beginning."""
        self._through = [0] * len(self.scene.things)
        super().reset()

    def step(self, command: str) -> str:
        """Carry out a command and return what is seen."""
        observation = super().step(command)
        event = event_of(command, observation, self.errand, self.scene.goal.target)
        for index, thing in enumerate(self._things):
            if thing.kind.type == self.scene.goal.object:
                self._advance(index, event if event and event[0] == thing.name else None)
        return observation

    def _advance(self, thing: int, event: "tuple[str, frozenset[Stage]] | None") -> None:
        stages, reached = self.errand.shape.stages, set(event[1] if event else ())
        lit = {t for t in self._is["toggled"] if self._things[t].kind.toggleable}
        if self._held == thing and any(lit & self._holds[receptacle] for receptacle in self._here):
            reached.add("light")
        if self._through[thing] < len(stages) and stages[self._through[thing]] in reached:
            self._through[thing] += 1

    @property
    def won(self) -> bool:
        """Whether enough things have been through everything."""
        stages = len(self.errand.shape.stages)
        return sum(reached == stages for reached in self._through) >= self.errand.shape.count


_MOVED = re.compile(r"move (\w+ \d+) to (\w+) \d+")


def event_of(command: str, observation: str, errand: Errand, target: str) -> "tuple[str, frozenset[Stage]] | None":
    """The thing that went through a stage by that command, and which it can have been; None for all else."""
    words = command.split()
    if observation.startswith(f"You {errand.way.verb} the ") and words[0] == errand.way.verb:
        return " ".join(words[1:3]), frozenset({"treat"})
    moved = _MOVED.fullmatch(command.strip()) if observation.startswith("You move the ") else None
    if moved is None:
        return None
    places: dict[str, Stage] = {errand.stop.lower(): "stop", target.lower(): "bring"}
    return (moved[1], frozenset({places[moved[2]]})) if moved[2] in places else None


def furnished(asked: Errand, seed: int) -> Scene:
    """The scene of that seed: the first room in turn in which the errand can be done, and is not done by one delivery less."""
    shape = asked.shape
    while (scene := _suited(asked, generate(_base(shape), seed), seed)) is None:
        seed += _TRIES
    goal = scene.goal
    text = WORDINGS[seed % len(WORDINGS)].format(name=asked.name, word=asked.word, object=goal.object.lower(), target=goal.target.lower())
    way = asked.way if "treat" in shape.stages else None
    return msgspec.structs.replace(scene, goal=msgspec.structs.replace(goal, kind="pick_and_place_simple", text=text, way=way))


def _base(shape: Shape) -> GoalKind:
    if "light" in shape.stages:
        return "look_at_obj_in_light"
    return "pick_two_obj_and_place" if shape.count > 1 else "pick_and_place_simple"


def _suited(asked: Errand, scene: Scene, seed: int) -> Scene | None:
    """The scene with the target of its goal, or one of another choice; None where the errand cannot be done in it."""
    present, stages, object = {r.type for r in scene.receptacles}, asked.shape.stages, scene.goal.object
    if "treat" in stages and asked.way.appliance not in present:
        return None
    if "stop" in stages and not (asked.stop in present and object in rooms.FITS.get(asked.stop, ())):
        return None
    if sum(thing.kind.type == object for thing in scene.things) < asked.shape.count:
        return None
    target = scene.goal.target
    if target == _LAMP:
        lying = {scene.receptacles[at].type for thing in scene.things if thing.kind.type == object for at in thing.receptacles}
        fitting = sorted(type for type in present - lying - rooms.UNASKED if object in rooms.FITS.get(type, ()))
        if not fitting:
            return None
        target = fitting[seed % len(fitting)]
    if target in (asked.stop if "stop" in stages else "", asked.way.appliance if "treat" in stages else ""):
        return None
    return msgspec.structs.replace(scene, goal=msgspec.structs.replace(scene.goal, target=target))


class ErrandExpert(SearchExpert):
    """The teacher: knows what the word asks for, but not where things lie. `asked` gives the errand and the scene that is being played."""

    def __init__(self, asked: Callable[[], tuple[Errand, Scene]]) -> None:
        self._asked = asked

    def _understand(self, goal: str) -> tuple[goals.Request, tuple[str, str] | None]:
        self._errand, scene = self._asked()
        self._through: dict[str, int] = {}
        return goals.Request("pick_and_place_simple", scene.goal.object.lower(), scene.goal.target.lower()), None

    def _learn(self, observation: str) -> None:
        super()._learn(observation)
        event, notes = event_of(self._command or "look", observation, self._errand, self._request.target), self._notes
        thing, reached = event or (notes.held, frozenset[Stage]())
        lit = any(f"use {lamp}" in notes.done and place == notes.here for lamp, place in notes.where(_LAMP.lower()))
        if thing and self._stage(thing) in reached | ({"light"} if lit and thing == notes.held else set()):
            self._through[thing] = self._through.get(thing, 0) + 1

    def _stage(self, thing: str) -> Stage | None:
        """What comes next for a thing; None where it is through, or no such thing is asked for."""
        stages, reached = self._errand.shape.stages, self._through.get(thing, 0)
        return stages[reached] if reached < len(stages) and thing.startswith(f"{self._request.object} ") else None

    def _plan(self) -> str | None:
        notes = self._notes
        if not notes.held:
            return self._fetch()
        if back := self._put_back():
            return back
        stage = self._stage(notes.held)
        if stage == "treat":
            return self._at(self._errand.way.appliance, f"{self._errand.way.verb} {notes.held} with {{}}", inside=False)
        if stage == "light":
            return self._hold_under(_LAMP.lower())
        if stage is None:
            return self._put_away(notes.held)
        return self._at(self._errand.stop if stage == "stop" else self._request.target, f"move {notes.held} to {{}}")

    def _fetch(self) -> str | None:
        """Take up the thing that is furthest through, or look for one."""
        found = [(thing, place) for thing, place in self._notes.where(self._request.object) if self._stage(thing)]
        if not found:
            return self._search(self._request.object)
        thing, place = max(found, key=lambda pair: self._through.get(pair[0], 0))
        return self._reach(place, f"take {thing} from {place}")

    def _at(self, type: str, command: str, *, inside: bool = True) -> str | None:
        """The command at the nearest place of that type, or what has to come before it; `{}` in the command is the place."""
        notes = self._notes
        places = [name for name in notes.receptacles if name.startswith(f"{type.lower()} ") and (notes.held, name) not in notes.refused]
        if not places:
            return None
        place = min(places, key=lambda name: (self._effort(name), int(name.split()[1])))
        return self._reach(place, command.format(place), inside=inside)
