"""The ways of a house: its words and its recipes, drawn from its number. Knows no scenes and plays nothing.

A recipe is a sequence of steps that makes a thing so: to be glazed, it is rubbed with the kiln and then folded under the loom. Three steps
and their order are nowhere to be read but in episodes of the same house.
"""

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


class Step(msgspec.Struct, frozen=True):
    """One step of a recipe. `apply`: do `verb` to the thing in hand with an appliance or a tool; `work`: do `verb` to the appliance on
    which the thing lies; `say`: say a word, thing in hand."""

    kind: Literal["apply", "work", "say"]
    verb: str
    at: str
    """Type of appliance or tool, or the word to say."""


class Recipe(msgspec.Struct, frozen=True):
    """How things become `state`, and which types of things do."""

    shape: Shape
    state: str
    steps: tuple[Step, ...]
    objects: tuple[str, ...]


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
    storage: tuple[str, ...]
    appliances: tuple[str, ...]
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
    verbs = lexicon.some(words.HAND, 6, invented=20)
    appliances = lexicon.some(words.APPLIANCES, 4, invented=25)
    tools = lexicon.some(words.TOOLS, 2, invented=10)
    said = lexicon.some([], 4, invented=100)
    return World(
        number,
        words.name(number),
        *(draw.one(pool) for pool in (words.TAKE, words.FROM, words.PUT, words.ON, words.SAY, words.WITH)),
        open=draw.one(verbs),
        lids=draw.happens(30),
        verbs=verbs,
        words=said,
        storage=lexicon.some(words.STORAGE, 3),
        appliances=appliances,
        tools=tools,
        goal=draw.one(words.GOALS),
        recipes=tuple(_recipe(draw, lexicon, shape(number, i), verbs, appliances, tools, said) for i in range(RECIPES)),
    )


def _recipe(
    draw: Draw, lexicon: Lexicon, shape: Shape, verbs: tuple[str, ...], appliances: tuple[str, ...], tools: tuple[str, ...], said: tuple[str, ...]
) -> Recipe:
    def verb_at(kind: Literal["apply", "work"], at: str) -> Step:
        return Step(kind, draw.one(verbs), at)

    if shape == "machine":
        at = draw.one(appliances)
        steps = [verb_at("work", at), verb_at("work", at)]
        while steps[0] == steps[1]:
            steps[1] = verb_at("work", at)
    else:
        first, second, third = _different(draw, appliances, 3)
        steps = [verb_at("apply", first)]
        if shape == "word":
            steps.append(Step("say", "", draw.one(said)))
        elif shape == "tool":
            steps.insert(int(draw.happens(50)), verb_at("apply", draw.one(tools)))
        else:
            steps += [verb_at("apply", at) for at in (second, third)[: 2 if shape == "three_step" else 1]]
    state = lexicon.some(words.STATES, 1, invented=35, ending="ed")[0]
    return Recipe(shape, state, tuple(steps), lexicon.some(words.OBJECTS, _OBJECTS_OF_A_RECIPE))


def _different(draw: Draw, pool: tuple[str, ...], count: int) -> list[str]:
    left = list(pool)
    return [left.pop(left.index(draw.one(left))) for _ in range(count)]
