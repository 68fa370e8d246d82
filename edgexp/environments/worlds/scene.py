"""A room in a house and a goal in it, drawn from the world and a number. Knows no rules.

Scenes of one world share its words and recipes; the furniture, what lies where and what is asked for differ.
"""

from collections.abc import Iterable

import msgspec

from edgexp.environments.household.generator import Draw
from edgexp.environments.worlds.world import RECIPES, Recipe, World

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
