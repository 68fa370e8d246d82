"""Scenes and goals from a seed: a room with furniture, things in plausible places and a goal that can be met and is not met yet.

The same seed and kind of goal give the same scene on every platform and Python: `random.Random(seed).random()`, whose numbers Python
promises to keep, is the only source of chance. Knows neither rules nor texts; the simulator plays what comes out.
"""

import random
from collections.abc import Mapping, Sequence, Set
from typing import TypeVar

from edgexp.environments.household import rooms, scene
from edgexp.environments.household.scene import Goal, GoalKind, Receptacle, Scene, Thing, numbered

T = TypeVar("T")

_LAMP = "DeskLamp"
_ABILITY: Mapping[str, frozenset[str]] = {
    "pick_clean_then_place_in_recep": rooms.CLEANABLE,
    "pick_cool_then_place_in_recep": rooms.COOLABLE,
    "pick_heat_then_place_in_recep": rooms.HEATABLE,
}
_APPLIANCE: Mapping[str, str] = {"pick_cool_then_place_in_recep": "Fridge", "pick_heat_then_place_in_recep": "Microwave"}
_ASKED = {type: fits for type, fits in rooms.FITS.items() if type not in rooms.UNASKED}
_PUTTABLE = frozenset().union(*_ASKED.values())


class Draw:
    """Chance, in the few forms needed here."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def happens(self, percent: int) -> bool:
        """True that often of a hundred times."""
        return self._random() * 100 < percent

    def one(self, of: Sequence[T]) -> T:
        """Any one of them."""
        return of[int(self._random() * len(of))]

    def weighed(self, weights: Sequence[int]) -> int:
        """An index, drawn by weight. Whole numbers only: Pythons differ in how they add up others."""
        left = self._random() * sum(weights)
        for index, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return index
        return len(weights) - 1


def generate(kind: GoalKind, seed: int) -> Scene:
    """The scene of that seed with a goal of that kind. Seeds go from 0 to 2**32 - 1: beyond, Python seeds some alike (2 and 2**32 + 2)."""
    draw = Draw(seed)
    places = rooms.WHERE[kind]
    room = rooms.ROOMS[list(places)[draw.weighed(list(places.values()))]]
    receptacles = _furnish(draw, room)
    while not (choices := _choices(kind, room, {receptacle.type for receptacle in receptacles})):
        receptacles = _furnish(draw, room)  # a room without a stand for the lamp
    target = draw.one(list(choices))
    object = choices[target][draw.weighed([room.stock[type].chance for type in choices[target]])]
    text = scene.word(scene.Request(kind, object.lower(), target.lower()), int(draw.happens(50)))
    goal = Goal(kind, object, target, text)
    return Scene(receptacles, _stock(draw, room, receptacles, goal), goal, rooms.FITS)


def _furnish(draw: Draw, room: rooms.Room) -> tuple[Receptacle, ...]:
    types: list[str] = []
    for furniture in room.furniture:
        if draw.happens(furniture.chance):
            types += [furniture.type] * draw.one(furniture.counts)
    types.sort(key=str.lower)
    receptacles: list[Receptacle] = []
    standing: dict[str, list[int]] = {}
    for index, (name, type) in enumerate(zip(numbered(types), types, strict=True)):
        beside = standing.setdefault(type, [])
        shared = bool(beside) and draw.happens(rooms.NEIGHBOURS.get(type, 0))
        place = draw.one(beside) if shared else index
        beside.append(place)
        receptacles.append(Receptacle(name, type, place, openable=draw.happens(rooms.OPENABLE.get(type, 0))))
    return tuple(receptacles)


def _choices(kind: GoalKind, room: rooms.Room, present: Set[str]) -> dict[str, list[str]]:
    """Target → the types of things that a goal of that kind can ask for with it, in this room with this furniture."""
    if kind == "look_at_obj_in_light":
        lit = present & room.stock[_LAMP].spots.keys()
        choices = {_LAMP: [type for type, stock in room.stock.items() if lit and type in _PUTTABLE and present & stock.spots.keys()]}
    else:
        targets = [target for target in sorted(present) if target in _ASKED and target != _APPLIANCE.get(kind)]
        choices = {target: _movable(kind, target, room, present) for target in targets}
    return {target: types for target, types in choices.items() if types}


def _movable(kind: GoalKind, target: str, room: rooms.Room, present: Set[str]) -> list[str]:
    """What can be brought to the target: it fits there and may lie somewhere else."""
    able = _ABILITY.get(kind, _PUTTABLE) & _ASKED[target]
    return [type for type, stock in room.stock.items() if type in able and (present - {target}) & stock.spots.keys()]


def _stock(draw: Draw, room: rooms.Room, receptacles: Sequence[Receptacle], goal: Goal) -> tuple[Thing, ...]:
    by_type: dict[str, list[int]] = {}
    for index, receptacle in enumerate(receptacles):
        by_type.setdefault(receptacle.type, []).append(index)
    lying: list[tuple[str, int]] = []
    for stock in room.stock.values():
        spots = [spot for spot in stock.spots if spot in by_type and not _met_there(goal, stock.type, spot)]
        weights = [stock.spots[spot] for spot in spots]
        for _ in range(_pieces(draw, stock, goal) if spots else 0):
            lying.append((stock.type, draw.one(by_type[spots[draw.weighed(weights)]])))
    lying.sort(key=lambda pair: pair[0].lower())  # stable: where a piece lies says nothing about its number
    names = numbered(type for type, _ in lying)
    return tuple(Thing(name, rooms.KINDS[type], (at,), (receptacles[at].place,)) for name, (type, at) in zip(names, lying, strict=True))


def _met_there(goal: Goal, type: str, spot: str) -> bool:
    """Whether a thing lying there at the start could meet the goal (or half of it) without anything being done."""
    return goal.kind in ("pick_and_place_simple", "pick_two_obj_and_place") and (type, spot) == (goal.object, goal.target)


def _pieces(draw: Draw, stock: rooms.Stock, goal: Goal) -> int:
    """How many of the type there are; the goal makes sure of what it needs."""
    if stock.type == goal.object:
        least = 2 if goal.kind == "pick_two_obj_and_place" else 1
        return least + draw.weighed(rooms.WANTED_ODDS[least - 1 :])
    if draw.happens(stock.chance):
        return 1 + draw.weighed(stock.odds)
    return int(stock.type == goal.target)  # the lamp
