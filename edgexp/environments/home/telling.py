"""A home in words: what it has, how its things are, and what a call led to. Texts are short, for small models. Changes nothing."""

from collections.abc import Sequence
from typing import Any

from edgexp.environments.home.inventory import Area, Entity, House, Values
from edgexp.environments.home.states import report

_SILENT = frozenset({"scene", "script", "button", "automation"})
"""Domains whose state says nothing."""

_SENSORS = frozenset({"sensor", "binary_sensor", "weather", "calendar", "event", "image", "device_tracker", "person", "sun", "zone"})
"""Domains that can only be read."""

_LONGEST_ITEM = 80
"""Characters of a list's item that are shown."""


def describe(house: House, name: str, *, sensors: bool = False) -> str:
    """The whole home, an area a line: each thing with its domain and state. The first sentence says where whoever speaks is.

    `name` is the home's. Without `sensors`, what can only be read is left out.
    """
    inventory = house.inventory
    shown = [entity for entity in inventory.entities if sensors or entity.domain not in _SENSORS]
    here = inventory.area(inventory.here)
    place = f"You are in the {here.name} of {name}." if here else f"You are in {name}."
    lines = [_line(house, area, [e for e in shown if e.area == area.id]) for area in inventory.areas]
    known = {area.id for area in inventory.areas}
    rest = [entity for entity in shown if entity.area not in known]
    return "\n".join([place, *lines, *([f"No area: {_things(house, rest)}"] if rest else [])])


def _line(house: House, area: Area, entities: Sequence[Entity]) -> str:
    return f"{area.name}{f' ({area.floor})' if area.floor else ''}: {_things(house, entities) or 'nothing'}"


def _things(house: House, entities: Sequence[Entity]) -> str:
    return ", ".join(f"{entity.name} ({entity.domain}{_after(entity, house.values[entity.id])})" for entity in entities)


def _after(entity: Entity, values: Values) -> str:
    return "" if entity.domain in _SILENT else f" {state_words(entity, values)}"


def state_words(entity: Entity, values: Values) -> str:
    """How a thing is, in a few words: `on 40%`, `open`, `playing, volume 30`."""
    seen = report(entity.domain, values)
    state = seen["state"]
    match entity.domain:
        case "light":
            return " ".join(filter(None, [state, _light_words(seen)]))
        case "cover" | "valve":
            return f"open {seen['current_position']}%" if 0 < seen["current_position"] < 100 else state
        case "fan":
            return f"on {seen['percentage']}%" if state == "on" else state
        case "media_player" if state != "off":
            track = f" track {seen['media_track']}" if state == "playing" else ""
            return f"{state}{track}, " + ("muted" if seen["is_volume_muted"] else f"volume {round(100 * seen['volume_level'])}")
        case "climate":
            return f"{state}, {_number(seen['temperature'])} degrees" if seen["temperature"] is not None else state
        case "todo":
            return "; ".join(" ".join(item.split())[:_LONGEST_ITEM] for item in values["items"]) or "empty"
    return " ".join(str(state).split())


def _light_words(seen: dict[str, Any]) -> str:
    words = [f"{round(seen['brightness'] * 100 / 255)}%"] if seen.get("brightness") is not None else []
    if seen.get("rgb_color") is not None:
        words.append(str(seen["rgb_color"]))
    if seen.get("color_temp_kelvin") is not None:
        words.append(f"{seen['color_temp_kelvin']}K")
    return " ".join(words)


def _number(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def tell(house: House, served: Sequence[Entity]) -> str:
    """What a call led to: how the things are now that it was about."""
    if not served:
        return "Done."
    return "; ".join(f"{entity.name}: {state_words(entity, house.values[entity.id])}" for entity in served) + "."
