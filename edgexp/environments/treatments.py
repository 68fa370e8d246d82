"""The treatments environment: `household`'s rooms and rules, and in each home one treatment more, which only its past episodes tell.

A treatment is a verb, the state it gives and the appliance it is done at, drawn from the home's number. A home has the same one in all its
rooms. Other homes use the same words for other appliances, so that no word tells what to do. None is a treatment of the household's own,
nor said in words for warm, cold or clean. Knows which home and which room a task is; the rules are the household's.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import msgspec

from edgexp.environments.base import Expert, Start
from edgexp.environments.household import scene as goals
from edgexp.environments.household.generator import Draw, generate
from edgexp.environments.household.household import SceneEnvironment
from edgexp.environments.household.scene import GoalKind, Scene, Way
from edgexp.environments.household.searcher import MisledExpert, SearchExpert, misled
from edgexp.environments.splits import Housed, Houses
from edgexp.environments.worlds import invented as words
from edgexp.trajectory import Task

_VERBS = (
    "polish", "paint", "pickle", "seal", "bless", "smoke", "carve", "mark", "stamp", "harden", "sweeten", "tune", "charge", "bind",
    "brew", "cure", "fire", "press", "season", "wrap", "glaze", "salt", "wax", "bleach", "gild", "perfume", "charm", "grease", "lace",
    "mend", "plate", "rust", "sand", "tan", "butter", "label", "weigh", "scan", "varnish", "engrave", "soften", "test", "ink", "oil",
    "sort", "trim", "inspect", "sign", "bend", "dust", "starch", "fold",
)  # fmt: skip
_INVENTED = 40
"""How many verbs of a hundred are invented."""

APPLIANCES = (
    ("Fridge", "Microwave", "Toaster", "CoffeeMachine", "StoveBurner", "SinkBasin", "GarbageCan", "CounterTop"),
    ("Toilet", "SinkBasin", "HandTowelHolder", "ToiletPaperHanger", "TowelHolder", "GarbageCan"),
    ("Bed", "Drawer", "GarbageCan", "Sofa"),
)
"""Types of receptacles that rooms of one kind have: kitchens, bathrooms, and the others."""
_ROOMS = (60, 25, 15)
"""How many treatments of a hundred are done in each kind of room."""

_HOME_SEEDS = 3_000_000_000
"""Seeds of homes begin here: above those of worlds and of their scenes."""
_FIRST_NAME = 4_000
"""Names up to here are those of the houses of `worlds`."""


class Home(msgspec.Struct, frozen=True):
    """What is so in all rooms of a home."""

    name: str
    way: Way


@lru_cache(maxsize=4096)
def home(number: int) -> Home:
    """Home `number`, from 0 to some thousands."""
    draw = Draw(_HOME_SEEDS + number)
    appliance = draw.one(APPLIANCES[draw.weighed(_ROOMS)])
    verb = words.Lexicon(draw).some(_VERBS, 1, invented=_INVENTED)[0]
    return Home(words.name(_FIRST_NAME + number), Way(verb, _participle(verb), appliance))


def _participle(verb: str) -> str:
    if verb.endswith("e"):
        return verb + "d"
    return {"bind": "bound", "bend": "bent"}.get(verb, verb + "ed")


WORDINGS = ("in {name}, put a {state} {object} in {target}.", "in {name}, {verb} some {object} and put it in {target}.")
"""The two ways in which `household` words what is to be heated, cooled or cleaned, and whose home it is: so its past is found again."""

_READ = tuple(map(goals.pattern, WORDINGS))

SPLITS = {
    "train": Houses(0, 300, 0, 6),
    "dev": Houses(300, 100, 6, 2),
    "test": Houses(400, 100, 6, 2),
    "dev-bank": Houses(300, 100, 0, 6),
    "test-bank": Houses(400, 100, 0, 6),
}
"""The train split is its own bank; dev and test have banks of the same homes in other scenes."""

_ROOM = "in the middle of a room"
"""What the first observation says in every home."""
_SCENES = 64
"""Scenes of a home that can be told apart."""
_TASK_SEEDS = 2_000_000_000
"""Seeds of rooms begin here: far above those of `household`, so that no room of its test tasks is ever trained on."""
_TRIES = 997
"""Seeds of rooms tried for a scene, each this far from the one before, until one has the appliance."""


class Treatments(Housed, SceneEnvironment):
    """Household tasks with treatments that only experience tells. Needs no files, holds nothing open."""

    name = "treatments"
    version = "1"
    houses = SPLITS

    def type_of(self, house: int, scene: int) -> str:
        """Every task is of one type: what tells is the home."""
        return "pick_treat_then_place_in_recep"

    def scene(self, task: Task) -> Scene:
        """The scene of a task. Raises UsageError when it is not one of this environment's tasks."""
        house, number = self.place(task)
        return treated(home(house), _TASK_SEEDS + house * _SCENES + number)

    def reset(self, task: Task) -> Start:
        """As in `household`, but that the first observation names the home. Raises EdgexpError where the task is none of these."""
        start, name = super().reset(task), home(self.place(task)[0]).name
        return msgspec.structs.replace(start, observation=start.observation.replace(_ROOM, f"{_ROOM} of {name}", 1))

    def aspects(self, task: Task, goal: str) -> Mapping[str, str]:
        """The type, and of a goal that is worded as here the home, the object, the treatment (`glazed`) and the receptacle."""
        found = next((found.groupdict() for form in _READ if (found := form.fullmatch(goal))), None)
        if found is None:
            return {"type": task.type}
        treatment = found.get("state") or _participle(found["verb"])
        return {"type": task.type, "home": found["name"], "object": found["object"], "treatment": treatment, "receptacle": found["target"]}

    def expert(self) -> Expert:
        """A player that searches as the household's does, and knows the treatment."""
        return TreatingExpert(lambda: self._running().scene)

    def misled(self, goal: str) -> Sequence[Expert]:
        """Players who do to the thing what household tasks ask for, nothing, or the right thing at the wrong appliance."""
        found = next((found for form in _READ if (found := form.fullmatch(goal))), None)
        asked = self._running().scene.goal
        if found is None or asked.way is None:
            return ()
        request = goals.Request(asked.kind, found["object"], found["target"])
        elsewhere = [a.lower() for kind in APPLIANCES for a in kind if a != asked.way.appliance]
        return [*misled(request), MisledExpert(request), *(MisledExpert(request, (asked.way.verb, place)) for place in elsewhere)]


class TreatingExpert(SearchExpert):
    """The teacher: knows what has to be done, but not where things lie. `scene` gives the scene that is being played."""

    def __init__(self, scene: Callable[[], Scene]) -> None:
        self._scene = scene

    def _understand(self, goal: str) -> tuple[goals.Request, tuple[str, str] | None]:
        asked = self._scene().goal
        assert asked.way is not None
        return goals.Request(asked.kind, asked.object.lower(), asked.target.lower()), (asked.way.verb, asked.way.appliance.lower())


def treated(home: Home, seed: int) -> Scene:
    """The scene of that seed with a thing to treat: the first room in turn that has the appliance, and wants the thing elsewhere."""
    way = home.way
    kind: GoalKind = "pick_clean_then_place_in_recep" if way.appliance in APPLIANCES[0] else "pick_and_place_simple"
    while True:
        scene = generate(kind, seed)
        if scene.goal.target != way.appliance and any(r.type == way.appliance for r in scene.receptacles):
            break
        seed += _TRIES
    goal = scene.goal
    wording = WORDINGS[seed % len(WORDINGS)]
    text = wording.format(state=way.state, verb=way.verb, name=home.name, object=goal.object.lower(), target=goal.target.lower())
    asked = msgspec.structs.replace(goal, kind="pick_and_place_simple", text=text, way=way)
    return msgspec.structs.replace(scene, goal=asked)
