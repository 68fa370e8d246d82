"""Requests of types that nobody is trained on: tools, arguments and combinations that the easy ones do not have. See `requests.py`."""

from collections.abc import Mapping

from edgexp.environments.calls import Call
from edgexp.environments.home.assist import COMMON
from edgexp.environments.home.homes import some
from edgexp.environments.home.requests import COVERS, Maker, Request, Scene, fill_lists, joined, other_than, turn_call

_COLOURED, _WARM = ("rgb", "hs", "xy", "rgbw", "rgbww"), "color_temp"


def _lights_of_mode(scene: Scene, modes: tuple[str, ...]) -> list[str]:
    return [e.id for e in scene.of("light") if {*modes} & {*scene.house.values[e.id]["modes"]}]


def _mute(scene: Scene) -> Request | None:
    entity = scene.pick(scene.of("media_player"))
    if entity is None:
        return None
    muted = scene.draw.happens(65)
    scene.set(entity, state="playing", muted=not muted)
    forms = ["mute {thing}", "silence {thing}", "no sound from {thing}", "sound off on {thing}"] if muted else [
        "unmute {thing}", "sound on again on {thing}", "I want to hear {thing} again"]  # fmt: skip
    goal = scene.say(forms, thing=scene.words(entity))
    return Request(goal, (scene.call("HassMediaPlayerMute" if muted else "HassMediaPlayerUnmute", entity),))


def _color(scene: Scene) -> Request | None:
    ids = _lights_of_mode(scene, _COLOURED)
    entity = scene.pick([e for e in scene.of("light") if e.id in ids])
    if entity is None:
        return None
    scene.switch(entity, scene.draw.happens(50))
    color = scene.draw.one(COMMON)
    goal = scene.say(["make {thing} {color}", "turn {thing} {color}", "set {thing} to {color}", "{color} light from {thing}",
                      "{thing} in {color}"],
                     thing=scene.words(entity), color=color)  # fmt: skip
    return Request(goal, (scene.call("HassLightSet", entity, color=color),))


def _kelvin(scene: Scene) -> Request | None:
    ids = _lights_of_mode(scene, (_WARM,))
    entity = scene.pick([e for e in scene.of("light") if e.id in ids])
    if entity is None:
        return None
    scene.switch(entity, scene.draw.happens(50))
    kelvin = scene.draw.one((2200, 2700, 3000, 3500, 4000, 5000, 6500))
    goal = scene.say(["set {thing} to {kelvin} kelvin", "{thing} at {kelvin}K", "change the colour temperature of {thing} to {kelvin}"],
                     thing=scene.words(entity), kelvin=kelvin)  # fmt: skip
    return Request(goal, (scene.call("HassLightSet", entity, temperature=kelvin),))


def _floor(scene: Scene) -> Request | None:
    """All lights of a floor."""
    floors = {area.id: area.floor for area in scene.house.inventory.areas}
    counts = {floor: sum(floors.get(e.area) == floor for e in scene.of("light")) for floor in scene.house.inventory.floors()}
    lit = [floor for floor, count in counts.items() if count]
    if len(lit) < 2:
        return None
    floor, on = scene.draw.one(lit), scene.draw.happens(40)
    for entity in scene.of("light"):
        scene.switch(entity, (not on) if floors.get(entity.area) == floor else scene.draw.happens(50))
    word, name = "on" if on else "off", floor.lower()
    place = name if name.endswith("stairs") else f"on the {name}" if "floor" in name else f"on the {name} floor"
    goal = scene.say(["turn {word} all the lights {place}", "all lights {word} {place}", "lights {word} {place}",
                      "switch every light {place} {word}"], word=word, place=place)  # fmt: skip
    return Request(goal, (Call("HassTurnOn" if on else "HassTurnOff", {"floor": floor, "domain": "light"}),))


def _everywhere(scene: Scene) -> Request | None:
    """All of a domain in the whole home."""
    domain, thing = scene.draw.one([(d, t) for d, t in (("light", "lights"), ("fan", "fans"), ("media_player", "speakers and screens"))
                                    if len(scene.of(d)) > 1])  # fmt: skip
    for entity in scene.of(domain):
        scene.switch(entity, True)
    goal = scene.say(["turn off all the {thing} in the house", "all {thing} off everywhere", "switch every one of the {thing} off",
                      "no {thing} on anywhere"], thing=thing)  # fmt: skip
    return Request(goal, (Call("HassTurnOff", {"domain": domain}),))


def _shades(scene: Scene) -> Request | None:
    """All covers of one kind, and none of another."""
    kinds = list(dict.fromkeys(e.device_class for e in scene.of("cover") if e.device_class in COVERS))
    if len(kinds) < 2:
        return None
    kind, up = scene.draw.one(kinds), scene.draw.happens(50)
    for entity in scene.of("cover"):
        scene.switch(entity, (not up) if entity.device_class == kind else scene.draw.happens(50))
    goal = scene.say(["{verb} all the {thing} in the house", "every one of the {thing} {state}", "{verb} all {thing}"],
                     verb="open" if up else "close", state="open" if up else "closed",
                     thing=COVERS[kind].removesuffix("s") + "s")  # fmt: skip
    return Request(goal, (Call("HassTurnOn" if up else "HassTurnOff", {"domain": "cover", "device_class": kind}),))


def _tick(scene: Scene) -> Request | None:
    """Take something off a list."""
    fill_lists(scene)
    entity = scene.pick(scene.of("todo"))
    if entity is None:
        return None
    items = some(scene.draw, ("milk", "call the bank", "bread", "clean the windows", "nails", "rye flour", "write to Jo", "plums",
                              "fix the tap"), 2)
    scene.set(entity, items=items)
    item = scene.draw.one(items)
    name = scene.cased(entity.name)
    goal = scene.say(["tick {item} off {thing}", "{item} is done, take it off {thing}", "cross {item} off {thing}",
                      "we have {item} now, it can go from {thing}"],
                     item=item, thing=f"the {name}" if "list" in name.lower() else f"the {name} list")  # fmt: skip
    return Request(goal, (Call("HassListCompleteItem", {"item": item, "name": entity.name}),))


def _louder(scene: Scene) -> Request | None:
    entity = scene.pick(scene.of("media_player"))
    if entity is None:
        return None
    up = scene.draw.happens(50)
    scene.set(entity, state="playing", volume=other_than(scene, range(20, 85, 5), 0) / 100)
    forms = ["louder on {thing}", "turn up {thing} a bit", "{thing} is too quiet"] if up else [
        "quieter on {thing}", "turn down {thing} a bit", "{thing} is too loud"]  # fmt: skip
    goal = scene.say(forms, thing=scene.words(entity))
    return Request(goal, (scene.call("HassSetVolumeRelative", entity, volume_step="up" if up else "down"),))


def _all_but(scene: Scene) -> Request | None:
    """All lights of a room but one: one call for each of the others."""
    inventory = scene.house.inventory
    rooms = [area for area in inventory.areas if 2 <= sum(e.area == area.id for e in scene.of("light")) <= 3]
    if not rooms:
        return None
    area = scene.draw.one(rooms)
    lights = [e for e in scene.of("light") if e.area == area.id]
    for entity in lights:
        scene.switch(entity, True)
    left = scene.draw.one(lights)
    goal = scene.say(["turn off the lights in the {area}, but leave {thing} on", "only {thing} is to stay on in the {area}",
                      "all {area} lights off except {thing}"], area=scene.cased(area.name),
                      thing=f"the {scene.cased(left.name)}")  # fmt: skip
    return Request(goal, tuple(turn_call(scene, entity, False) for entity in lights if entity != left))


def _three(scene: Scene) -> Request | None:
    return joined(scene, 3)


HARD: Mapping[str, Maker] = {
    "mute": _mute, "color": _color, "floor": _floor, "tick": _tick, "three": _three, "everywhere": _everywhere, "louder": _louder,
    "all_but": _all_but, "kelvin": _kelvin, "shades": _shades,
}  # fmt: skip
"""Type → what makes a request of it."""
