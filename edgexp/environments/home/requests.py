"""What people ask for at home: requests of many types, each with the calls that answer it, made in a home whose things are in some state.

A maker takes a `Scene`, brings what it asks about into a state in which there is something to do, and returns a `Request`, or None where
this home has nothing to ask for. The types here are the `easy` ones, which may be trained on; see `hard_requests.py` for the others, and
`habits.py` for those that only a home's past explains. Knows no tasks and no judge.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from edgexp.environments.calls import Call
from edgexp.environments.home.homes import Dwelling, some
from edgexp.environments.home.inventory import Entity, House
from edgexp.environments.household.generator import Draw

COVERS = {"blind": "blinds", "curtain": "curtains", "garage": "garage door", "awning": "awning"}
KINDS = {"light": "light", "fan": "fan", "lock": "lock", "vacuum": "vacuum", "valve": "valve", "climate": "thermostat"}
"""What people call a thing of a domain."""
SHADES = tuple(range(5, 100, 5))


def light_level(percent: int) -> int:
    """A brightness in percent as lights report it."""
    return round(255 * percent / 100)


class Request(msgspec.Struct, frozen=True):
    """Something asked for, and the calls that do it, in order."""

    goal: str
    calls: tuple[Call, ...] = ()


class Scene:
    """A home at some moment: chance, and the home's things, whose states a maker may set."""

    def __init__(self, draw: Draw, dwelling: Dwelling, house: House) -> None:
        self.draw, self.dwelling, self.house = draw, dwelling, house

    def of(self, *domains: str, device_class: str = "", dims: bool = False, feature: str = "") -> list[Entity]:
        """All things of some domains, of a device class, that can be dimmed, that have a feature."""
        return [
            e for e in self.house.inventory.entities
            if e.domain in domains and (not device_class or e.device_class == device_class) and (not feature or feature in e.features)
            and (not dims or self.house.values[e.id]["modes"] != ["onoff"])
        ]  # fmt: skip

    def pick(self, found: Sequence[Entity]) -> Entity | None:
        """Any one of them; None where there is none."""
        return self.draw.one(found) if found else None

    def set(self, entity: Entity, **values: Any) -> None:
        """Bring a thing into a state."""
        self.house.values[entity.id].update(values)

    def switch(self, entity: Entity, on: bool) -> None:
        """On or off; open or closed; locked or not."""
        match entity.domain:
            case "light":
                dims = self.house.values[entity.id]["modes"] != ["onoff"]
                self.set(entity, on=on, **({"brightness": light_level(self.draw.one(SHADES))} if dims else {}))
            case "cover" | "valve":
                self.set(entity, position=100 * on)
            case "fan":
                self.set(entity, percentage=100 * on)
            case "lock":
                self.set(entity, state="locked" if on else "unlocked")
            case "media_player":
                self.set(entity, state=self.draw.one(("playing", "paused")) if on else "off")
            case "climate":
                self.set(entity, state="heat" if on else "off")
            case _:
                self.set(entity, state="on" if on else "off")

    def area_name(self, entity: Entity) -> str:
        """Of the area that a thing is in; empty where it is in none."""
        area = self.house.inventory.area(entity.area)
        return area.name if area else ""

    def say(self, wordings: Sequence[str], **words: object) -> str:
        """One of some wordings, as people write: with a capital or without, with a please or without, with a point or without."""
        form = self.draw.one(wordings)
        text = form.format(**words)
        if self.draw.happens(12):
            text = f"{text} please" if form.startswith(("{", "the ")) or self.draw.happens(40) else f"please {text}"
        text = text[0].upper() + text[1:] if self.draw.happens(75) else text
        return text + "." * self.draw.happens(20)

    def cased(self, name: str) -> str:
        """A name as it is written, or in small letters."""
        return name if self.draw.happens(45) else name.lower()

    def is_only(self, entity: Entity, *, inside: bool) -> bool:
        """Whether nothing else of its kind is in the home, or in its area."""
        same = [e for e in self.of(entity.domain) if e.domain not in ("cover", "media_player") or e.device_class == entity.device_class]
        return len([e for e in same if not inside or e.area == entity.area]) == 1

    def kind(self, entity: Entity) -> str:
        """What people call a thing of its kind; empty for what has to be named."""
        if entity.domain == "cover":
            return COVERS.get(entity.device_class, "")
        if entity.domain == "media_player":
            return "TV" if entity.device_class == "tv" else self.draw.one(("speaker", "speaker", "music"))
        return KINDS.get(entity.domain, "")

    def words(self, entity: Entity) -> str:
        """How somebody refers to a thing, so that no other is meant: by its name, or by its kind and where it is."""
        kind, area = self.kind(entity), self.area_name(entity)
        name = self.cased(entity.name)
        if not self.is_unique(entity):
            return f"the {name} in the {self.cased(area)}"
        if kind and self.is_only(entity, inside=False) and self.draw.happens(25):
            return f"the {kind}"
        if kind and area and self.is_only(entity, inside=True) and self.draw.happens(35):
            place = self.cased(area)
            return self.draw.one((f"the {place} {kind}", f"the {place} {kind}", f"the {kind} in the {place}"))
        return name if self.draw.happens(35) else f"the {name}"

    def is_unique(self, entity: Entity) -> bool:
        """Whether nothing else has its name."""
        return sum(other.name == entity.name for other in self.house.inventory.entities) == 1

    def target(self, entity: Entity) -> dict[str, Any]:
        """The arguments that a call names the thing by."""
        return {"name": entity.name} if self.is_unique(entity) else {"name": entity.name, "area": self.area_name(entity)}

    def call(self, tool: str, entity: Entity, **arguments: Any) -> Call:
        """A call about one thing."""
        return Call(tool, {**self.target(entity), **arguments})


Maker = Callable[[Scene], Request | None]

_Forms = Mapping[bool, Sequence[str]]
_TURN: _Forms = {
    True: ("turn on {thing}", "switch on {thing}", "turn {thing} on", "{thing} on", "put {thing} on", "can you turn on {thing}?"),
    False: ("turn off {thing}", "switch off {thing}", "turn {thing} off", "{thing} off", "shut off {thing}", "can you turn off {thing}?",
            "power off {thing}"),
}  # fmt: skip
_MOVE: _Forms = {
    True: ("open {thing}", "open up {thing}", "can you open {thing}?", "raise {thing}", "I want {thing} open"),
    False: ("close {thing}", "shut {thing}", "can you close {thing}?", "lower {thing}", "I want {thing} closed"),
}
_FLOW: _Forms = {
    True: ("open {thing}", "can you open {thing}?", "I want {thing} open"),
    False: ("close {thing}", "shut {thing}", "can you close {thing}?", "I want {thing} closed"),
}
_LOCK: _Forms = {
    True: ("lock {thing}", "can you lock {thing}?", "make sure that {thing} is locked", "secure {thing}"),
    False: ("unlock {thing}", "can you unlock {thing}?", "open up {thing} for the neighbour", "undo {thing}"),
}


def turn_call(scene: Scene, entity: Entity, on: bool) -> Call:
    """What turns a thing on or off, opens or closes it, locks or unlocks it."""
    return scene.call("HassTurnOn" if on else "HassTurnOff", entity)


def turned(scene: Scene, entity: Entity) -> tuple[str, Call]:
    """A thing that is to be turned, and is not yet: in words, and the call."""
    on = scene.draw.happens(50)
    scene.switch(entity, not on)
    forms = {"lock": _LOCK, "cover": _MOVE, "valve": _FLOW}.get(entity.domain, _TURN)
    return scene.draw.one(forms[on]).format(thing=scene.words(entity)), turn_call(scene, entity, on)


def _turn(*domains: str) -> Maker:
    def make(scene: Scene) -> Request | None:
        entity = scene.pick(scene.of(*domains))
        if entity is None:
            return None
        words, call = turned(scene, entity)
        return Request(scene.say(["{words}"], words=words), (call,))

    return make


def _room(scene: Scene, *, here: bool) -> Request | None:
    """All lights of a room, by its name, or because somebody is in it."""
    rooms = [area for area in scene.house.inventory.areas if sum(e.area == area.id for e in scene.of("light")) > (not here)]
    if not rooms:
        return None
    area, on = scene.draw.one(rooms), scene.draw.happens(50)
    for entity in scene.of("light"):
        scene.switch(entity, (not on) if entity.area == area.id else scene.draw.happens(50))
    word = "on" if on else "off"
    if here:
        scene.house.inventory = msgspec.structs.replace(scene.house.inventory, here=area.id)
        lights = "lights" if sum(e.area == area.id for e in scene.of("light")) > 1 else "light"
        forms = [f"turn {{word}} the {lights}", f"{lights} {{word}}", f"switch the {lights} {{word}}",
                 f"turn the {lights} {{word}} in here",
                 f"the {lights} in this room {{word}}"]  # fmt: skip
    else:
        forms = ["turn {word} the lights in the {area}", "{area} lights {word}", "switch {word} all the lights in the {area}",
                 "turn {word} all {area} lights", "lights {word} in the {area}"]  # fmt: skip
    goal = scene.say(forms, word=word, area=scene.cased(area.name))
    return Request(goal, (Call("HassTurnOn" if on else "HassTurnOff", {"area": area.name, "domain": "light"}),))


def _dim(scene: Scene) -> Request | None:
    entity = scene.pick(scene.of("light", dims=True))
    if entity is None:
        return None
    scene.switch(entity, scene.draw.happens(50))
    level = other_than(scene, SHADES, round((scene.house.values[entity.id]["brightness"] or 0) / 2.55))
    goal = scene.say(["set {thing} to {level}%", "dim {thing} to {level} percent", "{thing} at {level}%",
                      "set {thing} to {level}% brightness",
                      "change the brightness of {thing} to {level}%", "make {thing} {level} percent bright"],
                     thing=scene.words(entity), level=level)  # fmt: skip
    return Request(goal, (scene.call("HassLightSet", entity, brightness=level),))


def other_than(scene: Scene, values: Sequence[int], present: int) -> int:
    """One of some values that is not the present one."""
    return scene.draw.one([value for value in values if value != present])


def _position(scene: Scene) -> Request | None:
    entity = scene.pick(scene.of("cover", "valve", feature="SET_POSITION"))
    if entity is None:
        return None
    scene.switch(entity, scene.draw.happens(50))
    level = scene.draw.one(tuple(range(10, 100, 5)))
    goal = scene.say(["set {thing} to {level}%", "open {thing} to {level} percent", "move {thing} to {level}%", "put {thing} at {level}%",
                      "I want {thing} {level}% open"], thing=scene.words(entity), level=level)  # fmt: skip
    return Request(goal, (scene.call("HassSetPosition", entity, position=level),))


_PLAYERS: Mapping[str, tuple[str, Sequence[str]]] = {
    "HassMediaPause": ("playing", ("pause {thing}", "pause the music on {thing}", "hold {thing} for a moment", "stop playing on {thing}")),
    "HassMediaUnpause": ("paused", ("resume {thing}", "unpause {thing}", "continue playing on {thing}", "go on with the music on {thing}")),
    "HassMediaNext": ("playing", ("next track on {thing}", "skip this song on {thing}", "skip to the next one on {thing}",
                                  "next song on {thing}")),
    "HassMediaPrevious": ("playing", ("previous track on {thing}", "go back to the last song on {thing}",
                                      "play the song before on {thing}")),
}  # fmt: skip


def _play(scene: Scene) -> Request | None:
    entity = scene.pick(scene.of("media_player"))
    if entity is None:
        return None
    tool = scene.draw.one(list(_PLAYERS))
    state, forms = _PLAYERS[tool]
    scene.set(entity, state=state)
    return Request(scene.say(forms, thing=scene.words(entity)), (scene.call(tool, entity),))


def _volume(scene: Scene) -> Request | None:
    entity = scene.pick(scene.of("media_player"))
    if entity is None:
        return None
    scene.set(entity, state="playing")
    level = other_than(scene, SHADES, round(100 * scene.house.values[entity.id]["volume"]))
    forms = ["set the volume of {thing} to {level}%", "{thing} volume {level} percent", "set {thing} volume to {level}%",
             "turn {thing} to {level}% volume", "put the volume on {thing} at {level}"]  # fmt: skip
    if len(scene.of("media_player")) == 1:
        way = "up" if level > 100 * scene.house.values[entity.id]["volume"] else "down"
        forms += [f"turn the volume {way} to {{level}}%", "volume {level}%", "volume to {level} percent"]
    goal = scene.say(forms, thing=scene.words(entity), level=level)
    return Request(goal, (scene.call("HassSetVolume", entity, volume_level=level),))


def _vacuum(scene: Scene) -> Request | None:
    entity = scene.pick(scene.of("vacuum"))
    if entity is None:
        return None
    start = scene.draw.happens(55)
    scene.set(entity, state=scene.draw.one(("docked", "idle")) if start else "cleaning")
    forms = ["start {thing}", "start vacuuming", "let {thing} clean", "vacuum the floor", "send {thing} out to clean",
             "run {thing}"] if start else [
        "send {thing} home", "return {thing} to base", "{thing} back to its dock", "stop {thing}",
        "that is clean enough, {thing} can go home"]  # fmt: skip
    return Request(scene.say(forms, thing=scene.words(entity)), (scene.call("HassVacuumStart" if start else "HassVacuumReturnToBase",
                                                                            entity),))


def _warmth(scene: Scene) -> Request | None:
    entity = scene.pick(scene.of("climate"))
    if entity is None:
        return None
    degrees = other_than(scene, range(15, 26), scene.house.values[entity.id]["temperature"])
    goal = scene.say(["set {thing} to {degrees} degrees", "{thing} to {degrees}", "make {thing} {degrees} degrees",
                      "change {thing} to {degrees}°",
                      "I want {thing} at {degrees} degrees"], thing=scene.words(entity), degrees=degrees)  # fmt: skip
    return Request(goal, (scene.call("HassClimateSetTemperature", entity, temperature=degrees),))


def _speed(scene: Scene) -> Request | None:
    entity = scene.pick(scene.of("fan"))
    if entity is None:
        return None
    scene.switch(entity, scene.draw.happens(50))
    level = scene.draw.one(tuple(range(10, 100, 5)))
    goal = scene.say(["set {thing} to {level}%", "run {thing} at {level} percent", "{thing} speed {level}%",
                      "put {thing} on {level} percent"],
                     thing=scene.words(entity), level=level)  # fmt: skip
    return Request(goal, (scene.call("HassFanSetSpeed", entity, percentage=level),))


GOODS = ("milk", "bread", "eggs", "butter", "apples", "coffee", "oat milk", "rice", "tomatoes", "cheese", "olive oil", "toilet paper",
         "dish soap",
         "batteries", "light bulbs", "tape", "screws", "paint", "sunscreen", "birthday cards", "dog food", "cough drops", "socks",
         "lemons",
         "flour", "tea", "honey", "envelopes", "string", "soap", "cat litter", "sponges", "nails", "plasters", "candles",
         "ink")  # fmt: skip
ITEMS = (*GOODS, "call the dentist", "water the plants", "clean the oven", "pay the rent", "return the books", "fix the bike",
         "wash the car",
         "book a table", "mow the lawn", "math homework", "renew the passport", "buy a gift for Sam", "sweep the stairs", "feed the fish",
         "answer Mia's letter", "pick up the parcel", "defrost the fridge", "iron the shirts")  # fmt: skip


def _list_words(scene: Scene, entity: Entity) -> str:
    """A list by its name, or by a word of it that no other list has."""
    name = scene.cased(entity.name)
    others = " ".join(other.name for other in scene.of("todo") if other.id != entity.id).lower().split()
    own = [word for word in entity.name.lower().split() if word not in (*others, "list")]
    if own and scene.draw.happens(25):
        name = scene.draw.one(own)
        return scene.draw.one((f"the {name} list", f"my {name} list", f"my {name}"))
    return scene.draw.one((f"the {name}" if "list" in name.lower() else f"the {name} list", f"my {name}", f"the {name}"))


def _note(scene: Scene) -> Request | None:
    entity = scene.pick(scene.of("todo"))
    if entity is None:
        return None
    fill_lists(scene)
    item = scene.draw.one([item for item in ITEMS if item not in scene.house.values[entity.id]["items"]])
    goal = scene.say(["add {item} to {thing}", "put {item} on {thing}", "write {item} on {thing}", "{thing}: {item}",
                      "I need {item} on {thing}"],
                     item=item, thing=_list_words(scene, entity))  # fmt: skip
    return Request(goal, (Call("HassListAddItem", {"item": item, "name": entity.name}),))


def fill_lists(scene: Scene) -> None:
    """Some lists have something on them."""
    for entity in scene.of("todo"):
        scene.set(entity, items=some(scene.draw, ITEMS, scene.draw.one((0, 0, 1, 2))))


def _both(scene: Scene) -> Request | None:
    """Two things at once."""
    return joined(scene, 2)


def joined(scene: Scene, count: int) -> Request | None:
    """Several things to turn, in one sentence."""
    things = some(scene.draw, scene.of("light", "switch", "fan", "lock", "cover"), count)
    if len(things) < count:
        return None
    parts = [turned(scene, entity) for entity in things]
    words = [text.removeprefix("can you ").removesuffix("?") for text, _ in parts]
    last = scene.draw.one((" and ", " and then ", ", then ", " and also ") if count == 2 else (" and ", ", and then ", " and "))
    return Request(scene.say(["{words}"], words=", ".join(words[:-1]) + last + words[-1]), tuple(call for _, call in parts))


_NOWHERE = ("sauna", "elevator", "hot tub", "drawbridge", "popcorn machine", "jukebox", "treadmill", "ice maker", "fountain",
            "chimney flap",
            "cement mixer", "aviary light", "stable door", "greenhouse heater", "observatory dome", "tower clock")  # fmt: skip


def _unclear(scene: Scene) -> Request | None:
    """What cannot be done without asking: there is no such thing, or nobody knows which of many is meant. Nothing is to be changed."""
    scene.house.inventory = msgspec.structs.replace(scene.house.inventory, here="")
    word = scene.draw.one(("on", "off"))
    several = [domain for domain in ("light", "light", "lock", "fan", "todo") if len(scene.of(domain)) > 1]
    match "" if scene.draw.happens(50) else scene.draw.one(several):
        case "light":
            return Request(scene.say(["turn off the light", "turn the light on", "the light please", "dim the light", "light {word}"],
                                     word=word))
        case "lock":
            return Request(scene.say(["lock the door", "unlock the door", "is the door locked? if not, lock it"]))
        case "fan":
            return Request(scene.say(["turn {word} the fan", "fan {word}"], word=word))
        case "todo":
            return Request(scene.say(["put {item} on the list", "add {item} to the list"], item=scene.draw.one(ITEMS)))
    return Request(scene.say(["turn {word} the {thing}", "{thing} {word}", "switch the {thing} {word}"], word=word,
                             thing=scene.draw.one(_NOWHERE)))


EASY: Mapping[str, Maker] = {
    "light": _turn("light"), "device": _turn("switch", "fan", "media_player"), "room": lambda scene: _room(scene, here=False), "dim": _dim,
    "cover": _turn("cover"), "position": _position, "lock": _turn("lock"), "play": _play, "volume": _volume, "vacuum": _vacuum,
    "warmth": _warmth, "speed": _speed, "note": _note, "both": _both, "here": lambda scene: _room(scene, here=True),
    "valve": _turn("valve"),
    "unclear": _unclear,
}  # fmt: skip
"""Type → what makes a request of it."""
