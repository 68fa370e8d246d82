"""Homes from numbers: areas, things and lists under such names as people give them. The same number always gives the same home.

Knows no requests, and nothing of what only a home's past tells; see `habits.py`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import msgspec

from edgexp.environments.home.inventory import Area, Entity, Inventory
from edgexp.environments.home.states import values_of
from edgexp.environments.household.generator import Draw

T = TypeVar("T")

_SEEDS = 4_000_000_000
"""Above those of `errands` and its rooms. What is drawn for one home and one purpose has a seed of its own."""
PURPOSES = 128
"""Seeds of one home: number 0 for the home itself, 1 for its habits, and from 2 on its scenes."""

_FIRST = (
    "Juniper", "Harbour", "Maple", "Rose", "Willow", "Orchard", "Chapel", "Mill", "Bramble", "Station", "Hazel", "Linden", "Lake", "Fox",
    "Birch", "Castle", "Bridge", "Heron", "Clover", "Meadow", "Sunny", "Quarry", "Ivy", "Raven", "Copper", "Garden", "Aspen", "Coral",
    "Pebble", "Thistle",
)  # fmt: skip
_SECOND = ("Cottage", "Street 4", "House", "Lane 12", "Court", "Road 7", "Villa", "Square 2", "Place 9", "Flat", "Farm", "Hill 3", "Yard",
           "Loft", "Avenue 15", "Gate", "Row 21", "Lodge")  # fmt: skip
NAMES = len(_FIRST) * len(_SECOND)
"""Homes whose names are all different."""
_PRIME = 199
"""Prime to NAMES: neighbouring numbers get names that are far apart."""


class Room(msgspec.Struct, frozen=True):
    """A kind of area: what it is called, how often homes have it, and on which of two floors it is."""

    names: tuple[str, ...]
    chance: int
    upstairs: bool = False


ROOMS = {
    "kitchen": Room(("Kitchen", "Kitchen", "Galley"), 100),
    "living": Room(("Living Room", "Living Room", "Lounge", "Family Room", "Sitting Room"), 100),
    "bedroom": Room(("Bedroom", "Master Bedroom", "Main Bedroom", "Bedroom 1"), 100, upstairs=True),
    "second": Room(("Guest Room", "Kids Room", "Nursery", "Bedroom 2", "Spare Room", "Emma's Room", "Noah's Room"), 65, upstairs=True),
    "bath": Room(("Bathroom", "Bathroom", "Shower Room"), 50, upstairs=True),
    "hall": Room(("Hallway", "Entrance", "Hall", "Vestibule", "Foyer"), 60),
    "dining": Room(("Dining Room", "Dining Area"), 30),
    "office": Room(("Office", "Study", "Library", "Workshop", "Music Room"), 45, upstairs=True),
    "garage": Room(("Garage",), 35),
    "outside": Room(("Garden", "Backyard", "Patio", "Balcony", "Front Yard", "Veranda"), 65),
    "basement": Room(("Basement", "Cellar", "Laundry Room", "Utility Room"), 30),
}
_FLOORS = (("Downstairs", "Upstairs"), ("Ground Floor", "First Floor"), ("First Floor", "Second Floor"), ("Ground", "Upper"))
SIZES = ((3, 9), (4, 10), (5, 12), (6, 14), (7, 14))
"""Most rooms, and most things without lists (but for homes with many lights)."""

_PLAYS = ("PLAY", "PAUSE", "STOP", "VOLUME_SET", "VOLUME_MUTE", "VOLUME_STEP", "TURN_ON", "TURN_OFF", "NEXT_TRACK", "PREVIOUS_TRACK")
_FEATURES = {
    "cover": ("OPEN", "CLOSE", "SET_POSITION", "STOP"), "valve": ("OPEN", "CLOSE", "SET_POSITION"), "fan": ("SET_SPEED", "SPEEDS"),
    "media_player": _PLAYS, "vacuum": ("START", "RETURN_HOME", "PAUSE", "STOP"), "climate": ("TARGET_TEMPERATURE", "TURN_ON", "TURN_OFF"),
}  # fmt: skip


class Thing(msgspec.Struct, frozen=True):
    """What a room may have: a domain with names to draw from (`{}` is the area's), and a chance of a hundred."""

    domain: str
    names: tuple[str, ...]
    chance: int
    device_class: str = ""


_LAMPS = ("Floor Lamp", "Reading Lamp", "Table Lamp", "Corner Lamp", "Wall Lamp", "Spotlights", "LED Strip", "Lantern", "Pendant",
          "Arc Lamp", "Uplighter", "Picture Light", "Hue Go", "Salt Lamp", "Paper Lamp", "Globe", "Tripod Lamp", "Shelf Light")  # fmt: skip
_BLINDS = Thing("cover", ("{} Blinds", "{} Shades", "Roller Blind"), 35, "blind")
_CURTAINS = Thing("cover", ("{} Curtains", "Drapes", "{} Curtain"), 35, "curtain")

THINGS: dict[str, tuple[Thing, ...]] = {
    "kitchen": (Thing("light", ("Counter Lights", "Island Pendant", "Stove Light"), 55), Thing("switch", ("Coffee Maker", "Kettle",
                "Dishwasher", "Toaster Plug"), 50, "outlet"), Thing("media_player", ("Kitchen Radio", "Kitchen Speaker", "Echo Dot"), 40,
                                                                    "speaker"),
                Thing("climate", ("Thermostat", "Kitchen Thermostat"), 25)),
    "living": (Thing("light", _LAMPS, 90), Thing("light", _LAMPS, 55), Thing("media_player", ("TV", "Living Room TV", "LG TV",
                                                                                              "Soundbar"), 75, "tv"),
               Thing("media_player", ("Sonos", "Living Room Speaker", "HomePod", "Record Player"), 40, "speaker"), _CURTAINS,
               Thing("vacuum", ("Roomba", "Eufy", "Robot Vacuum", "Dusty", "Rosie", "Sweepy"), 50),
               Thing("climate", ("Thermostat", "{} Thermostat", "Fireplace"), 35), Thing("fan", ("Ceiling Fan", "{} Fan"), 20),
               Thing("switch", ("Christmas Tree", "Aquarium", "Game Console"), 25, "outlet")),
    "bedroom": (Thing("light", ("Bedside Lamp", "Nightstand Lamp", "Bed Light"), 80), _BLINDS, Thing("fan", ("{} Fan", "Box Fan",
                                                                                                             "Tower Fan"), 35),
                Thing("climate", ("{} Thermostat", "{} Radiator"), 35), Thing("media_player", ("{} Speaker", "Clock Radio"), 25,
                                                                              "speaker")),
    "second": (Thing("light", ("Night Light", "Desk Lamp", "Star Lamp"), 60), _CURTAINS, Thing("fan", ("{} Fan",), 15)),
    "bath": (Thing("light", ("Mirror Light", "Shower Light"), 50), Thing("climate", ("{} Radiator", "Towel Rail"), 35),
             Thing("fan", ("Extractor Fan", "{} Fan"), 35)),
    "hall": (Thing("lock", ("Front Door Lock", "Front Door", "Yale Lock", "Entrance Lock"), 85), Thing("light", ("Coat Rack Light",
                                                                                                               "Stair Lights"), 35)),
    "dining": (Thing("light", ("Chandelier", "Dining Pendant", "Buffet Lamp"), 60), _BLINDS),
    "office": (Thing("light", ("Desk Lamp", "Monitor Light", "Bookshelf Light"), 75), Thing("switch", ("Printer", "Computer",
                                                                                                       "3D Printer"), 45, "outlet"),
               Thing("media_player", ("{} Speaker", "Studio Monitors"), 35, "speaker"), _BLINDS),
    "garage": (Thing("cover", ("Garage Door", "Garage Gate"), 90, "garage"), Thing("lock", ("Garage Lock", "Side Door Lock"), 35),
               Thing("switch", ("Car Charger", "Freezer"), 40, "outlet")),
    "outside": (Thing("light", ("String Lights", "Path Lights", "Step Lights", "Pond Light"), 55), Thing("valve", ("Sprinkler",
                                                                                                                   "Lawn Valve",
                                                                                                                   "Garden Tap",
                "Drip Line"), 50, "water"), Thing("media_player", ("Garden Speaker", "Patio Speaker"), 30, "speaker"),
                Thing("lock", ("Back Door Lock", "Gate Lock"), 30), Thing("cover", ("Awning", "Sun Sail"), 25, "awning")),
    "basement": (Thing("switch", ("Washing Machine", "Dehumidifier", "Dryer"), 60, "outlet"), Thing("valve", ("Main Water Valve",), 30,
                                                                                                    "water"),
                 Thing("light", ("Workbench Light",), 30)),
}  # fmt: skip
LISTS = ("Shopping List", "Groceries", "To-Do", "Chores", "Packing List", "Hardware Store", "Pharmacy", "Weekend", "Private Errands",
         "Family List",
         "Work Tasks", "Birthday Ideas", "Garden Jobs", "Repairs")  # fmt: skip
PEOPLE = ("Anna", "Ben", "Carla", "David", "Elif", "Finn", "Greta", "Hugo", "Ines", "Jonas", "Kofi", "Lena", "Mateo", "Nora", "Otis",
          "Priya", "Quinn",
          "Rosa", "Sven", "Tara", "Umar", "Vera", "Wim", "Yuki", "Zoe", "Grandma", "Grandpa", "Aunt Jo")  # fmt: skip


class Dwelling(msgspec.Struct, frozen=True):
    """A home: its name, and what it has, at rest."""

    number: int
    name: str
    inventory: Inventory
    people: tuple[str, ...]


def chance(number: int, purpose: int) -> Draw:
    """The chance by which something of a home is drawn."""
    return Draw(_SEEDS + number * PURPOSES + purpose)


def some(draw: Draw, of: Sequence[T], count: int) -> list[T]:
    """`count` of them, none twice, or all where there are fewer."""
    left, found = list(of), list[T]()
    while left and len(found) < count:
        found.append(left.pop(int(draw.one(range(len(left))))))
    return found


@lru_cache(maxsize=1024)
def dwelling(number: int) -> Dwelling:
    """Home `number`, from 0 to NAMES - 1."""
    first, second = divmod(number * _PRIME % NAMES, len(_SECOND))
    draw = chance(number, 0)
    most_rooms, most_things = draw.one(SIZES)
    kinds = _kinds(draw, most_rooms)
    areas = _areas(draw, kinds)
    entities = _main_lights(draw, kinds, areas)
    for kind, area in zip(kinds, areas, strict=True):
        for thing in THINGS[kind]:
            if draw.happens(thing.chance):
                _add(draw, entities, thing, area)
    _enough_lights(draw, entities, areas)
    entities = _not_too_many(draw, entities, most_things)
    if draw.happens(85):
        for name in some(draw, LISTS, 2 + int(draw.happens(60)) + int(draw.happens(30))):
            _add(draw, entities, Thing("todo", (name,), 100), None)
    order = {area.id: place for place, area in enumerate(areas)}
    entities.sort(key=lambda entity: order.get(entity.area, len(order)))  # stable
    return Dwelling(number, f"{_FIRST[first]} {_SECOND[second]}", Inventory(areas, tuple(entities)), tuple(some(draw, PEOPLE, 3)))


def _kinds(draw: Draw, most: int) -> list[str]:
    """Which rooms there are, in the order of the table."""
    always = [kind for kind, room in ROOMS.items() if room.chance == 100]
    others = [kind for kind, room in ROOMS.items() if room.chance < 100 and draw.happens(room.chance)]
    kept = {*always, *some(draw, others, most - len(always))}
    return [kind for kind in ROOMS if kind in kept]


def _areas(draw: Draw, kinds: Sequence[str]) -> tuple[Area, ...]:
    floors = draw.one(_FLOORS) if draw.happens(50) else ("", "")
    found = []
    for kind in kinds:
        name = draw.one(ROOMS[kind].names)
        found.append(Area(slug(name), name, floors[ROOMS[kind].upstairs]))
    return tuple(found)


def _main_lights(draw: Draw, kinds: Sequence[str], areas: Sequence[Area]) -> list[Entity]:
    """A light in most rooms. In some homes two of them have the same name."""
    style, found = draw.one(("{} Light", "{} Light", "{} Ceiling Light", "{} Lights")), list[Entity]()
    for area in areas:
        if draw.happens(85):
            _add(draw, found, Thing("light", (style,), 100), area)
    if len(found) > 1 and draw.happens(20):
        one, other = some(draw, range(len(found)), 2)
        for place in (one, other):
            found[place] = msgspec.structs.replace(found[place], name="Ceiling Light")
    return found


def _enough_lights(draw: Draw, entities: list[Entity], areas: Sequence[Area]) -> None:
    """At least six lights, four of which can be dimmed: a light that is called by another name is to be one of many."""
    while sum(e.domain == "light" for e in entities) < 6:
        _add(draw, entities, Thing("light", _LAMPS, 100), draw.one(areas))
    plain = [place for place, e in enumerate(entities) if e.domain == "light" and e.values["modes"] == ["onoff"]]
    lights = sum(e.domain == "light" for e in entities)
    for place in plain[: max(0, 4 - (lights - len(plain)))]:
        entities[place] = msgspec.structs.replace(entities[place], values=values_of("light", "off", _light_attributes("brightness")))


def _not_too_many(draw: Draw, entities: list[Entity], most: int) -> list[Entity]:
    """The lights, and of the others as many as a small model can read."""
    lights = sum(entity.domain == "light" for entity in entities)
    kept = some(draw, [e.id for e in entities if e.domain != "light"], max(4, most - lights))
    return [entity for entity in entities if entity.domain == "light" or entity.id in kept]


def _add(draw: Draw, entities: list[Entity], thing: Thing, area: Area | None) -> None:
    """Add a thing under a name that nothing has; where all its names are taken, it is left out."""
    used = {entity.name for entity in entities}
    names = [name for form in thing.names if (name := form.format(area.name if area else "")) not in used]
    if not names:
        return
    name = draw.one(names)
    id = f"{thing.domain}.{slug(name)}"
    features = _FEATURES.get(thing.domain, ())
    if thing.device_class == "garage":
        features = ("OPEN", "CLOSE")
    values = values_of(thing.domain, *_at_rest(draw, thing.domain))
    entities.append(Entity(id, name, area.id if area else "", (), thing.device_class, frozenset(features), values))


def _at_rest(draw: Draw, domain: str) -> tuple[str | None, dict[str, object]]:
    """State and attributes, before a scene draws its own."""
    match domain:
        case "light":
            return "off", _light_attributes(("onoff", "brightness", "rgb", "color_temp")[draw.weighed((25, 50, 15, 10))])
        case "media_player":
            return "off", {"media_track": 1, "volume_level": 0.4, "is_volume_muted": False}
        case "climate":
            return "heat", {"target_temperature": 20, "hvac_modes": ["off", "heat"]}
        case "vacuum":
            return "docked", {}
        case "lock":
            return "locked", {}
    return "off", {}


def _light_attributes(mode: str) -> dict[str, object]:
    return {"supported_color_modes": [mode], "color_mode": mode, **({} if mode == "onoff" else {"brightness": 0})}


def slug(name: str) -> str:
    """A name as ids write it."""
    return "".join(letter if letter.isalnum() else "_" for letter in name.lower().replace("'", ""))
