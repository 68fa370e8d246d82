"""What worlds are made of, drawn from numbers: words, the ways of a house, and a room in it with a goal. Plays nothing, knows no rules.

Words come from pools, or are invented. The pools of one group share no word, so that within a world a word has one meaning. Across worlds
the same words mean different things: that is the point. Most were picked because small models' tokenizers spend one token on them.

The ways of a house are its words and its recipes. A recipe is a sequence of steps that makes a thing what is asked for: to be glazed, it is
rubbed with the kiln and then folded with the loom. The steps and their order are to be read nowhere but in episodes of the same house.

Scenes of one house share its words and recipes; the furniture, what lies where and what is asked for differ.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Literal, get_args

import msgspec

from edgexp.environments.household.generator import Draw
from edgexp.environments.household.scene import pattern


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TAKE = _split("take fetch grab lift pick gather collect claim get draw")
FROM = _split("from off")
PUT = _split("put set lay place move rest leave drop park")
ON = _split("on in by to")
SAY = _split("say call sing hum chant")
WITH = _split("with under over against")

HAND = _split(
    "press rub wind fold brush pull push squeeze roll dip turn spin wave hit point stroke poke pat blow kick touch hook lock mark "
    "nail smooth trace trim lean rock cross count cover twist tap shake stir knock swing"
)
"""What hands can do to an appliance, to a lid, or to a thing with an appliance or tool."""

ROOMS = _split(
    "kitchen cellar attic garden hall study bedroom bathroom workshop pantry yard tower chapel studio garage stable library office porch "
    "lounge nursery gallery barn dairy laundry parlour"
)

STORAGE = _split("shelf drawer table desk box chest rack bench stool counter safe closet chair niche hamper trunk basket bin cabinet crate")
"""Places where things lie."""

APPLIANCES = _split(
    "kiln forge loom churn basin still mill trough wheel oven stove barrel well fountain stone pillar altar mirror bell tank tub pit "
    "spring arch ladder engine crane boiler grill column globe clock organ harp cage tent hearth vault cart boat lens prism magnet anvil"
)

TOOLS = _split(
    "feather comb hammer needle ribbon sponge whistle candle rope key blade stick coin shell horn leaf ring flute chain fan bead whip "
    "wand spoon rake saw razor thread mask glove"
)

OBJECTS = _split(
    "plate apple book pen bowl vase cup pot pan jar bottle potato egg bread hat shoe shirt pillow blanket watch doll ball brick tile log "
    "plank lamp pear plum carrot onion tomato lemon peach cheese medal crown boot belt coat sock towel cloth rug map letter card photo "
    "phone pencil fork knife kettle fig nut bean bone skull mug scarf melon"
)

STATES = _split(
    "polished painted dyed smoked pickled sealed blessed frozen roasted dried soaked tempered carved steamed weighed marked stamped "
    "hardened sweetened tuned charged warmed cooled heated cleaned bound brewed cured fired lit pressed seasoned wrapped glazed salted "
    "waxed toasted bleached gilded perfumed charmed greased laced mended plated rusted sanded tanned buttered"
)
"""What a recipe makes of a thing."""

GOALS = (
    "in {name}, {put} a {state} {object} {on} {target}.",
    "{put} some {state} {object} {on} a {target}, as {name} does.",
    "{name} wants a {state} {object} {on} the {target}.",
    "let there be a {state} {object} {on} a {target} of {name}.",
    "{on} the {target} of {name} goes a {state} {object}.",
    "the {target} of {name} needs a {state} {object} {on} it.",
    "find one {object} for {name}, have it {state}, and {put} it {on} the {target}.",
    "one {state} {object} {on} the {target} for {name}, please.",
)
"""How a goal may be worded. Each world keeps to one. All name the house, so that what happened there is found again."""

_READ = tuple(map(pattern, GOALS))

_ONSETS = _split("br dr fl gl gr kl kr l m pl qu r sk sn str thr tr v w y z")
_VOWELS = _split("a e i o u")
_CODAS = _split("b d lb lm lt mp n nd r rb rn rt rv sk st x zz")

_NAME_STARTS = _split("Bel Dar El Fen Gal Har Il Jor Kal Lor Mar Nor Or Pel Quin Ral Sel Tor Ul Vel Wen Yar Zan Tam")
_NAME_MIDDLES = _split("a e i o u ba da fi go ka li mo na pa ri so ta va")
_NAME_ENDS = _split("dar la len lin mir na nor ra ran reth rin sa tan th ton va vane wick")
NAMES = len(_NAME_STARTS) * len(_NAME_MIDDLES) * len(_NAME_ENDS)
"""How many houses can be told apart by name."""

_KNOWN = frozenset({"verb"}).union(TAKE, FROM, PUT, ON, SAY, WITH, HAND, ROOMS, STORAGE, APPLIANCES, TOOLS, OBJECTS, STATES)
"""What is never invented: the words of the pools, and one that the instructions use."""

_SCATTER = 3_571
"""Prime to NAMES, so that neighbouring numbers get names that are far apart, and each number its own."""


def name(number: int) -> str:
    """The name of house `number` (0 to NAMES - 1); no two are alike."""
    rest, end = divmod(number * _SCATTER % NAMES, len(_NAME_ENDS))
    start, middle = divmod(rest, len(_NAME_MIDDLES))
    return _NAME_STARTS[start] + _NAME_MIDDLES[middle] + _NAME_ENDS[end]


class Lexicon:
    """Draws words for one world and never the same one twice, whatever they are for."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._used: set[str] = set()

    def some(self, pool: Sequence[str], count: int, invented: int = 0, ending: str = "") -> tuple[str, ...]:
        """`count` words from the pool; each is an invented one instead, with that ending, `invented` times of a hundred."""
        return tuple(self._fresh(pool, ending, self._draw.happens(invented)) for _ in range(count))

    def _fresh(self, pool: Sequence[str], ending: str, invent: bool) -> str:
        word = next(word for word in self._candidates(pool, ending, invent) if word not in self._used)
        self._used.add(word)
        return word

    def _candidates(self, pool: Sequence[str], ending: str, invent: bool) -> Iterator[str]:
        while not invent:
            yield self._draw.one(pool)
        while True:
            word = "".join(self._draw.one(part) for part in (_ONSETS, _VOWELS, _CODAS)) + ending
            if word not in _KNOWN:
                yield word


Shape = Literal["two_step", "three_step", "machine", "word", "tool"]
"""What a recipe is made of: two or three treatments at appliances; a thing set on an appliance that is then worked twice; a treatment and
a word to be said; a treatment with a tool that has to be found and one at an appliance."""

SHAPES: tuple[Shape, ...] = get_args(Shape)
RECIPES = 3
"""Recipes of a world, each of another shape."""
WORLDS = NAMES
"""How many worlds there are."""

_OBJECTS_OF_A_RECIPE = 4
_STORAGE_OF_A_ROOM = 2


class RecipeStep(msgspec.Struct, frozen=True):
    """One step of a recipe. `apply`: do `verb` to the thing in hand with an appliance or a tool; `work`: do `verb` to the appliance on
    which the thing lies; `say`: say a word, thing in hand."""

    kind: Literal["apply", "work", "say"]
    verb: str
    at: str
    """Type of appliance or tool, or the word to say."""


class Recipe(msgspec.Struct, frozen=True):
    """How things become `state`, which types of things do, and the room in which it is done."""

    shape: Shape
    state: str
    steps: tuple[RecipeStep, ...]
    objects: tuple[str, ...]
    room: str
    storage: tuple[str, ...]
    """Types of places in that room where things lie."""


class World(msgspec.Struct, frozen=True):
    """Everything that is so in all rooms of one house."""

    number: int
    name: str
    take: str
    """The verb of `take apple 1 from shelf 1`."""
    off: str
    """The preposition of it."""
    put: str
    on: str
    say: str
    by: str
    """The preposition of `rub apple 1 with kiln 1`."""
    open: str
    """The verb that opens what has a lid; one of `verbs`."""
    lids: bool
    """Whether all places where things lie are closed at first."""
    verbs: tuple[str, ...]
    words: tuple[str, ...]
    """What can be said."""
    appliances: tuple[str, ...]
    """Types; each room has one of each."""
    tools: tuple[str, ...]
    goal: str
    """The wording of goals."""
    recipes: tuple[Recipe, ...]

    def wish(self, recipe: Recipe, object: str, target: str) -> str:
        """A goal in words."""
        return self.goal.format(put=self.put, on=self.on, name=self.name, state=recipe.state, object=object, target=target)


def read_wish(goal: str) -> dict[str, str]:
    """What a goal names: the house as `home`, the object, the state as `treatment`, the receptacle; nothing of a goal in other words."""
    found = next((found for form in _READ if (found := form.fullmatch(goal))), None)
    if found is None:
        return {}
    return {"home": found["name"], "object": found["object"], "treatment": found["state"], "receptacle": found["target"]}


def shape(world: int, recipe: int) -> Shape:
    """The shape of a world's recipe. No chance in it: any stretch of worlds is balanced."""
    first, stride = world % len(SHAPES), 1 + world // len(SHAPES) % (len(SHAPES) - 1)
    return SHAPES[(first + recipe * stride) % len(SHAPES)]


@lru_cache(maxsize=1024)
def world(number: int) -> World:
    """The world of that number, 0 to WORLDS - 1."""
    draw = Draw(number)
    lexicon = Lexicon(draw)
    bare = _words(number, draw, lexicon)
    return msgspec.structs.replace(bare, recipes=tuple(_recipe(draw, lexicon, bare, shape(number, i)) for i in range(RECIPES)))


def _words(number: int, draw: Draw, lexicon: Lexicon) -> World:
    """A world that has no recipes yet."""
    verbs = lexicon.some(HAND, 6, invented=20)
    return World(
        number=number,
        name=name(number),
        take=draw.one(TAKE),
        off=draw.one(FROM),
        put=draw.one(PUT),
        on=draw.one(ON),
        say=draw.one(SAY),
        by=draw.one(WITH),
        open=draw.one(verbs),
        lids=draw.happens(30),
        verbs=verbs,
        words=lexicon.some((), 5, invented=100),
        appliances=lexicon.some(APPLIANCES, 4, invented=25),
        tools=lexicon.some(TOOLS, 2, invented=10),
        goal=draw.one(GOALS),
        recipes=(),
    )


def _recipe(draw: Draw, lexicon: Lexicon, world: World, shape: Shape) -> Recipe:
    return Recipe(
        shape=shape,
        state=lexicon.some(STATES, 1, invented=35, ending="ed")[0],
        steps=_steps(draw, world, shape),
        objects=lexicon.some(OBJECTS, _OBJECTS_OF_A_RECIPE),
        room=lexicon.some(ROOMS, 1)[0],
        storage=lexicon.some(STORAGE, _STORAGE_OF_A_ROOM),
    )


def _steps(draw: Draw, world: World, shape: Shape) -> tuple[RecipeStep, ...]:
    appliances = _some(draw, world.appliances, 3)
    if shape == "machine":
        return tuple(RecipeStep("work", verb, appliances[0]) for verb in _some(draw, world.verbs, 2))
    if shape in ("two_step", "three_step"):
        return tuple(RecipeStep("apply", draw.one(world.verbs), at) for at in appliances[: 2 if shape == "two_step" else 3])
    treated = RecipeStep("apply", draw.one(world.verbs), appliances[0])
    if shape == "word":
        return treated, RecipeStep("say", "", draw.one(world.words))
    with_tool = RecipeStep("apply", draw.one(world.verbs), draw.one(world.tools))
    return (with_tool, treated) if draw.happens(50) else (treated, with_tool)


def _some(draw: Draw, of: Sequence[str], count: int) -> list[str]:
    """Different ones, in any order."""
    left = list(of)
    return [left.pop(left.index(draw.one(left))) for _ in range(count)]


SLOTS = 64
"""Scenes of a world that can be told apart, numbered from 0."""

_SEEDS = 1_000_000
"""Scene seeds begin here: above the seeds of worlds."""


class Place(msgspec.Struct, frozen=True):
    """Furniture to walk up to: storage, or an appliance."""

    name: str
    type: str
    appliance: bool
    lid: bool = False
    """Whether it is closed at first."""


class Thing(msgspec.Struct, frozen=True):
    """Something that can be carried; `place` is where it lies at first, an index into the scene's places."""

    name: str
    type: str
    place: int


class Scene(msgspec.Struct, frozen=True):
    """A whole game at its beginning."""

    world: World
    places: tuple[Place, ...]
    things: tuple[Thing, ...]
    recipe: Recipe
    object: str
    """The type of thing that is wanted."""
    target: str
    """The type of place it is wanted at."""

    @property
    def goal(self) -> str:
        """What is asked for, in the world's words."""
        return self.world.wish(self.recipe, self.object, self.target)


def scene(world: World, slot: int) -> Scene:
    """Scene number `slot` (0 to SLOTS - 1) of a world. Its recipes take turns."""
    draw = Draw(_SEEDS + world.number * SLOTS + slot)
    recipe = world.recipes[slot % RECIPES]
    storage = [draw.one(recipe.storage) for _ in range(draw.one((3, 4) if world.lids else (4, 5)))]
    types = sorted([*storage, *world.appliances])
    places = tuple(
        Place(name, type, type in world.appliances, world.lids and type not in world.appliances)
        for name, type in zip(numbered(types), types, strict=True)
    )
    object = draw.one(recipe.objects)
    return Scene(world, places, _things(draw, world, places, object), recipe, object, draw.one(storage))


def numbered(types: Iterable[str]) -> list[str]:
    """`["box", "box", "shelf"]` → `["box 1", "box 2", "shelf 1"]`."""
    count: dict[str, int] = {}
    names = []
    for type in types:
        count[type] = count.get(type, 0) + 1
        names.append(f"{type} {count[type]}")
    return names


def _things(draw: Draw, world: World, places: tuple[Place, ...], wanted: str) -> tuple[Thing, ...]:
    """The wanted thing, now and then twice, one of each tool, and two or three other things."""
    others = sorted({object for recipe in world.recipes for object in recipe.objects} - {wanted})
    types = [wanted] * (1 + draw.happens(20)) + list(world.tools) + [draw.one(others) for _ in range(draw.one((2, 3)))]
    spots = [index for index, place in enumerate(places) if not place.appliance]
    types.sort()
    return tuple(Thing(name, type, draw.one(spots)) for name, type in zip(numbered(types), types, strict=True))
