"""What only a home's past explains: names that its people gave to lamps and rooms, what a word means there, who wants what, and where they
write things down. Drawn anew for every home, from the same words, so that no word tells what it means elsewhere.

Each habit makes requests as the makers of `requests.py` do. Whatever could give it away is levelled: all lamps that could be meant are in
the same state. Knows no tasks.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import msgspec

from edgexp.environments.calls import Call
from edgexp.environments.home.homes import chance, dwelling, some
from edgexp.environments.home.inventory import Entity, House
from edgexp.environments.home.requests import GOODS, SHADES, Request, Scene, fill_lists, turn_call

Kind = Literal["own_name", "own_scene", "own_person", "own_place", "own_list"]

_NAMES = (
    "the big one", "Olaf", "the moon", "old faithful", "the ugly one", "number five", "the pirate", "the snail", "Bertha", "the lighthouse",
    "the crooked one", "Kevin", "the new one", "sunshine", "the giraffe", "the tall one", "the gift", "Lumi", "the egg", "the mushroom",
    "firefly", "the witness", "the captain", "the small one", "the good one", "Doris", "the heirloom", "the comet", "Mister Bright",
    "the owl",
    "the flea market one", "Pluto", "the nosy one", "the lemon", "Frida", "the candle", "the antenna", "the loud one", "the loaf", "Nemo",
)  # fmt: skip
_SCENES = (
    "cosy", "bedtime", "movie night", "siesta", "party", "date night", "game night", "yoga", "homework", "dinner", "breakfast", "storm",
    "quiet hour", "Sunday", "away", "guests", "nap time", "reading hour", "bath time", "painting", "karaoke", "cinema", "tea time",
    "deep work", "wind down", "fiesta", "full moon", "rainy day", "jazz", "night shift", "baby asleep", "harvest", "aquarium", "snow day",
)  # fmt: skip
_PLACES = (
    "the cave", "the nest", "the zoo", "Siberia", "HQ", "the ship", "the lab", "base camp", "the jungle", "paradise", "the bunker",
    "the tavern", "the stage", "the tower", "downtown", "the forum", "the oasis", "the hangar", "the swamp", "Little Paris", "the cockpit",
    "the embassy", "the dojo", "the beach",
)  # fmt: skip
_NOTES = (
    "we are out of {item}", "note down {item}", "remember {item}", "jot down {item}", "don't forget {item}", "keep {item} in mind",
    "somebody should think of {item}", "put down {item}", "{item} for later", "{item}, as usual", "log {item}", "{item} is missing",
)  # fmt: skip
WARMTHS = tuple(range(15, 26))


class Habit(msgspec.Struct, frozen=True):
    """One thing that is so in one home."""

    kind: Kind
    word: str
    """What people say: a name, a scene's word, a person, a place, a wording with `{item}` in it."""
    entity: str = ""
    """The thing or list that is meant, or an area's id."""
    tools: tuple[tuple[str, str, int | None], ...] = ()
    """Of a scene: tool, entity, and a number where the tool takes one."""
    wish: Literal["light", "warmth", "volume"] = "light"
    """What a person cares about."""
    value: int = 0
    """How much of it."""


@lru_cache(maxsize=1024)
def habits(number: int) -> tuple[Habit, ...]:
    """All habits of a home, in an order that is not the same in all homes; most homes have eight."""
    draw, home = chance(number, 1), dwelling(number)
    scene = Scene(draw, home, House(home.inventory))
    lights = scene.of("light")
    found = [Habit("own_name", word, entity.id) for word, entity in zip(some(draw, _NAMES, 2), some(draw, lights, 2), strict=True)]
    found += [Habit("own_scene", word, tools=_settings(scene)) for word in some(draw, _SCENES, 2)]
    found += [_wish(scene, person) for person in home.people[:2]]
    areas = list(dict.fromkeys(entity.area for entity in lights))
    found.append(Habit("own_place", draw.one(_PLACES), draw.one(areas)))
    if len(lists := scene.of("todo")) > 1:
        found.append(Habit("own_list", draw.one(_NOTES), draw.one(lists).id))
    return tuple(some(draw, found, len(found)))


def _settings(scene: Scene) -> tuple[tuple[str, str, int | None], ...]:
    """What a word for a scene does: to a lamp that can be dimmed, and to one or two other things."""
    draw = scene.draw
    lamp = draw.one(scene.of("light", dims=True))
    others = [e for e in scene.of("light", "cover", "switch", "fan", "lock", "media_player") if e.id != lamp.id and scene.is_unique(e)]
    found: list[tuple[str, str, int | None]] = [("HassLightSet", lamp.id, draw.one(SHADES))]
    for entity in some(draw, others, 1 + int(draw.happens(30))):
        found.append((draw.one(("HassTurnOn", "HassTurnOff")), entity.id, None))
    return tuple(some(draw, found, len(found)))


def _wish(scene: Scene, person: str) -> Habit:
    draw = scene.draw
    wishes: list[Literal["light", "warmth", "volume"]] = ["light", "light"]
    wishes += ["warmth"] if scene.of("climate") else []
    wishes += ["volume"] if scene.of("media_player") else []
    wish = draw.one(wishes)
    return Habit("own_person", person, wish=wish, value=draw.one(WARMTHS if wish == "warmth" else SHADES))


def ask(scene: Scene, habit: Habit) -> Request:
    """A request that takes the habit for known."""
    match habit.kind:
        case "own_name":
            return _by_name(scene, habit, _entity(scene, habit.entity))
        case "own_scene":
            return _by_scene(scene, habit)
        case "own_person":
            return _by_person(scene, habit)
        case "own_place":
            return _by_place(scene, habit)
        case "own_list":
            return _by_list(scene, habit, _entity(scene, habit.entity))


def _entity(scene: Scene, id: str) -> Entity:
    return next(entity for entity in scene.house.inventory.entities if entity.id == id)


def _level(scene: Scene, lights: Sequence[Entity], on: bool) -> None:
    """All of them on, or all off."""
    for entity in lights:
        scene.switch(entity, on)


def _by_name(scene: Scene, habit: Habit, entity: Entity) -> Request:
    on = scene.draw.happens(50)
    _level(scene, scene.of("light"), not on)
    if on and scene.house.values[entity.id]["modes"] != ["onoff"] and scene.draw.happens(50):
        level = scene.draw.one(SHADES)
        goal = scene.say(["dim {thing} to {level}%", "set {thing} to {level}%", "{thing} at {level} percent"], thing=habit.word,
                         level=level)
        return Request(goal, (scene.call("HassLightSet", entity, brightness=level),))
    word = "on" if on else "off"
    goal = scene.say(["turn {word} {thing}", "{thing} {word}", "switch {thing} {word}", "can you turn {thing} {word}?"], word=word,
                     thing=habit.word)
    return Request(goal, (turn_call(scene, entity, on),))


def _by_scene(scene: Scene, habit: Habit) -> Request:
    calls = []
    for tool, id, number in habit.tools:
        entity = _entity(scene, id)
        scene.switch(entity, tool == "HassTurnOff")
        calls.append(scene.call(tool, entity, **({} if number is None else {"brightness": number})))
    goal = scene.say(["{word}", "{word} mode", "set the house to {word}", "it is time for {word}", "get everything ready: {word}",
                      "we want {word}"], word=habit.word)  # fmt: skip
    return Request(goal, tuple(calls))


def _by_person(scene: Scene, habit: Habit) -> Request:
    domain, tool, argument, dims = {
        "light": ("light", "HassLightSet", "brightness", True), "warmth": ("climate", "HassClimateSetTemperature", "temperature", False),
        "volume": ("media_player", "HassSetVolume", "volume_level", False),
    }[habit.wish]  # fmt: skip
    entity = scene.draw.one(scene.of(domain, dims=dims))
    if habit.wish == "light":
        scene.switch(entity, False)
    elif habit.wish == "volume":
        scene.set(entity, state="playing", volume=scene.draw.one([s for s in SHADES if s != habit.value]) / 100)
    else:
        scene.set(entity, temperature=scene.draw.one([degrees for degrees in WARMTHS if degrees != habit.value]))
    goal = scene.say(["{thing} the way {who} likes it", "set {thing} for {who}", "{who} is here, make {thing} right",
                      "{thing} as {who} wants it",
                      "{who} would like {thing} as always"], thing=scene.words(entity), who=habit.word)  # fmt: skip
    return Request(goal, (scene.call(tool, entity, **{argument: habit.value}),))


def _by_place(scene: Scene, habit: Habit) -> Request:
    on = scene.draw.happens(50)
    _level(scene, scene.of("light"), not on)
    area = scene.house.inventory.area(habit.entity)
    assert area is not None
    word = "on" if on else "off"
    goal = scene.say(["lights {word} in {place}", "turn {word} the lights in {place}", "{place}: lights {word}",
                      "all lights {word} in {place}"],
                     word=word, place=habit.word)  # fmt: skip
    return Request(goal, (Call("HassTurnOn" if on else "HassTurnOff", {"area": area.name, "domain": "light"}),))


def _by_list(scene: Scene, habit: Habit, entity: Entity) -> Request:
    fill_lists(scene)
    held = {item for one in scene.of("todo") for item in scene.house.values[one.id]["items"]}
    item = scene.draw.one([item for item in GOODS if item not in held])
    return Request(scene.say([habit.word], item=item), (Call("HassListAddItem", {"item": item, "name": entity.name}),))
