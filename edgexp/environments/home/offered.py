"""What may be called in a home now: the tools with the names, areas, floors and domains that this home has. Carries nothing out.

Of all calls that Home Assistant would take these are the ones without a choice that leads to an error: a name stands with an area or a
domain only where several things have it, an area with a domain of which something is there. Who writes calls freely may write any; see
`assist.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgexp.environments.calls import Tool
from edgexp.environments.home import assist, states
from edgexp.environments.home.inventory import Entity, House

FINISH = "Done"
"""The call that ends an episode."""
ANSWER = "Answer"
"""As `Done`, with words for whoever asked."""

Schema = dict[str, Any]

_SWITCHABLE = states.SWITCHED | {"light", "cover", "valve", "fan", "lock", "media_player", "climate", "button", "scene"}
_WHOLE: Schema = {"type": "integer", "minimum": 0, "maximum": 100}
_LISTS = frozenset({"todo"})


def offered(house: House, examples: Sequence[str] = (), *, answers: bool = False) -> list[Tool]:
    """The tools of a home as it is now. `examples` are texts that an open argument may well be."""
    found = [tool for name, intent in assist.INTENTS.items() if (tool := _tool(house, name, intent, examples))]
    if answers:
        found.append(Tool(ANSWER, "", _record({"text": {"type": "string"}}, ["text"])))
    return [*found, Tool(FINISH, "", _record({}, []))]


def _tool(house: House, name: str, intent: assist.Intent, examples: Sequence[str]) -> Tool | None:
    entities = [entity for entity in house.inventory.entities if _fits(house, name, intent, entity)]
    if not entities:
        return None
    if intent.domains == _LISTS:
        return _list_tool(house, name, entities, examples)
    which = [*_by_name(house, entities), *([] if intent.single else _by_place(house, entities))]
    options = [_record({**target, **extra}, [*target, *needed]) for target in which for extra, needed in _values(house, name, entities)]
    return Tool(name, "", options[0] if len(options) == 1 else {"type": "object", "anyOf": options})


def _fits(house: House, name: str, intent: assist.Intent, entity: Entity) -> bool:
    """Whether the tool would serve the entity now."""
    if (intent.domains and entity.domain not in intent.domains) or not intent.features <= entity.features:
        return False
    if intent.states and states.report(entity.domain, house.values[entity.id])["state"] not in intent.states:
        return False
    match name:
        case "HassTurnOn" | "HassTurnOff":
            on = name == "HassTurnOn"
            needs = {"cover": ("OPEN", "CLOSE"), "valve": ("OPEN", "CLOSE"), "media_player": ("TURN_ON", "TURN_OFF"),
                     "climate": ("TURN_ON", "TURN_OFF")}.get(entity.domain)  # fmt: skip
            if entity.domain not in _SWITCHABLE or (not on and entity.domain in ("button", "scene")):
                return False
            return needs is None or needs[0 if on else 1] in entity.features
        case "HassSetPosition":
            return "SET_POSITION" in entity.features
        case "HassStopMoving":
            return "STOP" in entity.features
        case "HassClimateSetTemperature":
            return "TARGET_TEMPERATURE" in entity.features
        case "HassListCompleteItem":
            return bool(house.values[entity.id]["items"])
    return True


# Which things


def _by_name(house: House, entities: Sequence[Entity]) -> Iterable[Schema]:
    """Names that are one thing's; then those of several, each with what tells them apart."""
    everything = house.inventory.entities
    names = list(dict.fromkeys(entity.name for entity in entities))
    alike = {name: [e for e in everything if e.name.strip().casefold() == name.strip().casefold()] for name in names}
    if single := [name for name in names if len(alike[name]) == 1]:
        yield {"name": {"enum": single}}
    for name in names:
        if len(alike[name]) > 1:
            yield from _told_apart(house, name, alike[name], [e for e in entities if e in alike[name]])


def _told_apart(house: House, name: str, alike: Sequence[Entity], wanted: Sequence[Entity]) -> Iterable[Schema]:
    domains = [one.domain for one in alike]
    if by_domain := sorted({one.domain for one in wanted if domains.count(one.domain) == 1}):
        yield {"name": {"const": name}, "domain": {"enum": by_domain}}
    places = [one.area for one in alike]
    if by_area := [_area(house, one.area) for one in wanted if domains.count(one.domain) > 1 and one.area and places.count(one.area) == 1]:
        yield {"name": {"const": name}, "area": {"enum": by_area}}


def _by_place(house: House, entities: Sequence[Entity]) -> Iterable[Schema]:
    """All of a domain in an area, on a floor, or in the home."""
    by_domain: dict[str, list[Entity]] = {}
    for entity in entities:
        by_domain.setdefault(entity.domain, []).append(entity)
    floors = {area.id: area.floor for area in house.inventory.areas}
    for domain, found in by_domain.items():
        known = [entity.area for entity in found if entity.area in floors]
        if known:
            yield {"area": {"enum": [_area(house, id) for id in dict.fromkeys(known)]}, "domain": {"const": domain}}
        if on := [floor for floor in dict.fromkeys(floors[id] for id in known) if floor]:
            yield {"floor": {"enum": on}, "domain": {"const": domain}}
    yield {"domain": {"enum": list(by_domain)}}
    if "cover" in by_domain:
        kinds = list(dict.fromkeys(e.device_class for e in by_domain["cover"] if e.device_class in assist.COVERS))
        if len(kinds) > 1:
            yield {"domain": {"const": "cover"}, "device_class": {"enum": kinds}}


def _area(house: House, id: str) -> str:
    area = house.inventory.area(id)
    return area.name if area else id


# The other arguments


def _values(house: House, name: str, entities: Sequence[Entity]) -> list[tuple[Schema, list[str]]]:
    """What a tool takes besides, and which of it is required; one pair for each way to call it."""
    match name:
        case "HassLightSet":
            return _light_values(house, entities)
        case "HassSetPosition":
            return [({"position": _WHOLE}, ["position"])]
        case "HassFanSetSpeed":
            return [({"percentage": _WHOLE}, ["percentage"])]
        case "HassSetVolume":
            return [({"volume_level": _WHOLE}, ["volume_level"])]
        case "HassSetVolumeRelative":
            return [({"volume_step": {"enum": ["up", "down"]}}, ["volume_step"])]
        case "HassClimateSetTemperature":
            return [({"temperature": {"type": "integer", "minimum": 5, "maximum": 35}}, ["temperature"])]
    return [({}, [])]


def _light_values(house: House, entities: Sequence[Entity]) -> list[tuple[Schema, list[str]]]:
    modes = {mode for entity in entities for mode in house.values[entity.id]["modes"]}
    found: list[tuple[Schema, list[str]]] = [({"brightness": _WHOLE}, ["brightness"])]
    if modes & states.COLOURED:
        found.append(({"color": {"enum": list(assist.COMMON)}}, ["color"]))
    if "color_temp" in modes:
        found.append(({"temperature": {"type": "integer", "minimum": 2000, "maximum": 6500}}, ["temperature"]))
    return found


def _list_tool(house: House, name: str, entities: Sequence[Entity], examples: Sequence[str]) -> Tool:
    lists: Schema = {"enum": [entity.name for entity in entities]}
    if name == "HassListAddItem":
        item: Schema = {"type": "string", "minLength": 1, "examples": list(examples)}
        return Tool(name, "", _record({"item": item, "name": lists}, ["item", "name"]))
    options = [_record({"item": {"enum": list(dict.fromkeys(house.values[e.id]["items"]))}, "name": {"const": e.name}}, ["item", "name"])
               for e in entities]  # fmt: skip
    return Tool(name, "", options[0] if len(options) == 1 else {"type": "object", "anyOf": options})


def _record(properties: Mapping[str, Any], required: Sequence[str]) -> Schema:
    return {"type": "object", "properties": dict(properties), "required": list(required), "additionalProperties": False}
