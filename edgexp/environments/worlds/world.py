"""The ways of a house: its words and its recipes, drawn from its number. Knows no scenes and plays nothing.

A recipe is a sequence of steps that makes a thing what is asked for: to be glazed, it is rubbed with the kiln and then folded with the
loom. The steps and their order are to be read nowhere but in episodes of the same house.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, get_args

import msgspec

from edgexp.environments.household.generator import Draw
from edgexp.environments.worlds import words
from edgexp.environments.worlds.words import Lexicon

Shape = Literal["two_step", "three_step", "machine", "word", "tool"]
"""What a recipe is made of: two or three treatments at appliances; a thing set on an appliance that is then worked twice; a treatment and
a word to be said; a treatment with a tool that has to be found and one at an appliance."""

SHAPES: tuple[Shape, ...] = get_args(Shape)
RECIPES = 3
"""Recipes of a world, each of another shape."""
WORLDS = words.NAMES
"""How many worlds there are."""

_OBJECTS_OF_A_RECIPE = 4
_STORAGE_OF_A_ROOM = 2


class Step(msgspec.Struct, frozen=True):
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
    steps: tuple[Step, ...]
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
    verbs = lexicon.some(words.HAND, 6, invented=20)
    return World(
        number=number,
        name=words.name(number),
        take=draw.one(words.TAKE),
        off=draw.one(words.FROM),
        put=draw.one(words.PUT),
        on=draw.one(words.ON),
        say=draw.one(words.SAY),
        by=draw.one(words.WITH),
        open=draw.one(verbs),
        lids=draw.happens(30),
        verbs=verbs,
        words=lexicon.some((), 5, invented=100),
        appliances=lexicon.some(words.APPLIANCES, 4, invented=25),
        tools=lexicon.some(words.TOOLS, 2, invented=10),
        goal=draw.one(words.GOALS),
        recipes=(),
    )


def _recipe(draw: Draw, lexicon: Lexicon, world: World, shape: Shape) -> Recipe:
    return Recipe(
        shape=shape,
        state=lexicon.some(words.STATES, 1, invented=35, ending="ed")[0],
        steps=_steps(draw, world, shape),
        objects=lexicon.some(words.OBJECTS, _OBJECTS_OF_A_RECIPE),
        room=lexicon.some(words.ROOMS, 1)[0],
        storage=lexicon.some(words.STORAGE, _STORAGE_OF_A_ROOM),
    )


def _steps(draw: Draw, world: World, shape: Shape) -> tuple[Step, ...]:
    appliances = _some(draw, world.appliances, 3)
    if shape == "machine":
        return tuple(Step("work", verb, appliances[0]) for verb in _some(draw, world.verbs, 2))
    if shape in ("two_step", "three_step"):
        return tuple(Step("apply", draw.one(world.verbs), at) for at in appliances[: 2 if shape == "two_step" else 3])
    treated = Step("apply", draw.one(world.verbs), appliances[0])
    if shape == "word":
        return treated, Step("say", "", draw.one(world.words))
    with_tool = Step("apply", draw.one(world.verbs), draw.one(world.tools))
    return (with_tool, treated) if draw.happens(50) else (treated, with_tool)


def _some(draw: Draw, of: Sequence[str], count: int) -> list[str]:
    """Different ones, in any order."""
    left = list(of)
    return [left.pop(left.index(draw.one(left))) for _ in range(count)]
