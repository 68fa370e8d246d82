"""What is so of an entity, by domain: its values, what of them is reported as state and attributes, and what a service does to them.

These are the state rules under which the public data set `home-assistant-datasets` is scored (its homes are made of the devices of
`synthetic-home`), written anew. Moves take no time. Knows no names, areas or tools.

Values by domain. light: `on`, `brightness` (0 to 255, or None), `modes`, `mode`, `color`, `kelvin`. cover and valve: `position` (0 to 100).
fan: `percentage`. media_player: `state`, `track`, `volume` (0 to 1), `muted`. todo: `items`. climate: `state`, `temperature`, `modes`.
All others: `state`. `fixed` holds attributes that nothing changes.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from edgexp.environments.home.inventory import Entity, Values

T = TypeVar("T")

SWITCHED = frozenset({"switch", "siren", "input_boolean", "humidifier", "remote", "camera", "water_heater", "automation", "script"})
"""Domains that are on or off and nothing else."""
TRACKS = 20
"""A player's playlist is as long; after the last comes the first."""
COLOURED = frozenset({"hs", "rgb", "rgbw", "rgbww", "xy"})
_PLAIN = "onoff"
STEP = 0.1
"""By how much `up` and `down` change the volume."""


class Refused(Exception):
    """A service that an entity does not have."""


# From and to the form in which inventories are written


def values_of(domain: str, state: Any, attributes: Mapping[str, Any]) -> Values:
    """The values of an entity that is described by a state and attributes. `state` may be None, a truth or a text."""
    read = _READERS.get(domain, _read_other)
    return read(state, dict(attributes))


def report(domain: str, values: Values) -> dict[str, Any]:
    """State and attributes as everybody sees them. An attribute that is None is there and has no value."""
    found: dict[str, Any] = dict(values.get("fixed", {}))
    write = _REPORTS.get(domain)
    return {**found, **write(values)} if write else {**found, "state": values["state"]}


def _is_on(state: Any) -> bool:
    return state is True or str(state).lower() in ("on", "true", "open", "opening")


def _read_light(state: Any, attributes: dict[str, Any]) -> Values:
    modes = attributes.get("supported_color_modes")
    modes = [str(mode) for mode in modes] if modes and isinstance(modes, list) else [_PLAIN]
    mode = attributes.pop("color_mode", None) or modes[0]
    brightness = _number(attributes.pop("brightness", None), None)
    lit = bool(brightness) or _is_on(state)  # a light that has a brightness is on, whatever its state says
    return {"on": lit, "brightness": brightness, "modes": list(modes), "mode": mode, "color": attributes.pop("rgb_color", None),
            "kelvin": attributes.pop("color_temp_kelvin", None), "fixed": attributes}


def _report_light(values: Values) -> dict[str, Any]:
    lit, found = values["on"], dict[str, Any]()
    if _dims(values):
        found["brightness"] = values["brightness"] if lit else None
    if values["color"] is not None:
        found["rgb_color"] = values["color"] if lit else None
    if values["kelvin"] is not None:
        found["color_temp_kelvin"] = values["kelvin"] if lit else None
    return {"state": "on" if lit else "off", "color_mode": values["mode"] if lit else None, **found}


def _dims(values: Values) -> bool:
    return any(mode != _PLAIN for mode in values["modes"])


def _read_moving(state: Any, attributes: dict[str, Any]) -> Values:
    return {"position": _number(attributes.pop("current_position", None), 100 * _is_on(state)), "fixed": attributes}


def _report_moving(values: Values) -> dict[str, Any]:
    return {"state": "open" if values["position"] else "closed", "current_position": values["position"]}


def _read_fan(state: Any, attributes: dict[str, Any]) -> Values:
    return {"percentage": _number(attributes.pop("percentage", None), 100 * _is_on(state)), "fixed": attributes}


def _report_fan(values: Values) -> dict[str, Any]:
    return {"state": "on" if values["percentage"] else "off", "percentage": values["percentage"]}


def _read_player(state: Any, attributes: dict[str, Any]) -> Values:
    track, volume = attributes.pop("media_track", 0), attributes.pop("volume_level", 1.0)
    return {"state": _word(state, "idle"), "track": _number(track, 0), "volume": _number(volume, 1.0),
            "muted": attributes.pop("is_volume_muted", None), "fixed": attributes}


def _report_player(values: Values) -> dict[str, Any]:
    if values["state"] == "off":
        return {"state": "off"}
    return {"state": values["state"], "media_track": values["track"], "volume_level": values["volume"], "is_volume_muted": values["muted"]}


def _read_list(state: Any, attributes: dict[str, Any]) -> Values:
    held = attributes.pop("todo_items", None)
    items = [str(item.get("summary", "")) if isinstance(item, dict) else str(item) for item in held] if isinstance(held, list) else []
    return {"items": items, "fixed": attributes}


def _report_list(values: Values) -> dict[str, Any]:
    return {"state": str(len(values["items"]))}


def _read_climate(state: Any, attributes: dict[str, Any]) -> Values:
    target = _number(attributes.pop("target_temperature", attributes.pop("temperature", None)), None)
    modes = attributes.get("hvac_modes")
    return {"state": _word(state if state is not None else attributes.get("hvac_mode"), "off"), "temperature": target,
            "modes": [str(mode) for mode in modes] if isinstance(modes, list) else ["off", "heat"], "fixed": attributes}


def _report_climate(values: Values) -> dict[str, Any]:
    return {"state": values["state"], "temperature": values["temperature"]}


def _read_other(state: Any, attributes: dict[str, Any]) -> Values:
    if state is None:
        state = attributes.get("native_value", "unknown")
    return {"state": _word(state, "unknown"), "fixed": attributes}


def _number(value: Any, missing: T) -> Any | T:
    """A finite number as it is; what a file says instead counts as not said."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if known else missing


def _word(state: Any, missing: str) -> str:
    if isinstance(state, bool):
        return "on" if state else "off"
    return missing if state is None else str(state)


_READERS: dict[str, Callable[[Any, dict[str, Any]], Values]] = {
    "light": _read_light, "cover": _read_moving, "valve": _read_moving, "fan": _read_fan, "media_player": _read_player, "todo": _read_list,
    "climate": _read_climate,
}  # fmt: skip
_REPORTS: dict[str, Callable[[Values], dict[str, Any]]] = {
    "light": _report_light, "cover": _report_moving, "valve": _report_moving, "fan": _report_fan, "media_player": _report_player,
    "todo": _report_list, "climate": _report_climate,
}  # fmt: skip


# Services


def turn(entity: Entity, values: Values, *, on: bool) -> None:
    """On and off; open and closed; locked and unlocked. Raises Refused for what has no such two states."""
    match entity.domain:
        case "light":
            values["on"] = on
        case "cover" | "valve":
            _need(entity, "OPEN" if on else "CLOSE")
            values["position"] = 100 * on
        case "fan":
            values["percentage"] = 100 * on
        case "lock":
            values["state"] = "locked" if on else "unlocked"
        case "media_player":
            _need(entity, "TURN_ON" if on else "TURN_OFF")
            values["state"], values["track"] = ("idle", 0) if on else ("off", values["track"])
        case "climate":
            _turn_climate(entity, values, on)
        case domain if domain in SWITCHED:
            values["state"] = "on" if on else "off"
        case "button" | "scene" if on:
            pass  # it is pressed, which changes nothing that can be seen
        case domain:
            raise Refused(f"{entity.name} cannot be turned {'on' if on else 'off'}")


def _turn_climate(entity: Entity, values: Values, on: bool) -> None:
    _need(entity, "TURN_ON" if on else "TURN_OFF")
    warm = [mode for mode in ("heat_cool", "heat", "cool", "auto") if mode in values["modes"]]
    values["state"] = (warm[0] if warm else values["state"]) if on else "off"


def set_light(entity: Entity, values: Values, brightness: int | None, color: str | None, kelvin: int | None) -> None:
    """Brightness in percent (0 turns off), a colour's name, a colour temperature; each where the light can."""
    if kelvin == 0:
        raise Refused("a colour temperature of 0 is none")  # Home Assistant divides by it
    if brightness == 0 and _dims(values):
        values["on"] = False
        return
    values["on"] = True
    if brightness is not None and _dims(values):
        values["brightness"] = round(255 * brightness / 100)
    if color is not None and COLOURED & {*values["modes"]}:
        values["color"], values["kelvin"], values["mode"] = color, None, next(mode for mode in values["modes"] if mode in COLOURED)
    elif kelvin and "color_temp" in values["modes"]:
        values["kelvin"], values["color"], values["mode"] = kelvin, None, "color_temp"


def set_position(entity: Entity, values: Values, position: int) -> None:
    """Open a cover or a valve so far, in percent."""
    _need(entity, "SET_POSITION")
    values["position"] = position


def stop_moving(entity: Entity, values: Values) -> None:
    """Stop where it is: nothing changes, for moves take no time."""
    _need(entity, "STOP")


def set_speed(entity: Entity, values: Values, percentage: int) -> None:
    """A fan's speed. The data set's fan has one: it is at 100 whatever is asked for; a fan with `SPEEDS` does as it is told."""
    values["percentage"] = percentage if "SPEEDS" in entity.features else 100


def send_vacuum(entity: Entity, values: Values, state: str) -> None:
    """Let it clean, or send it home."""
    values["state"] = state


def play(entity: Entity, values: Values, state: str) -> None:
    """`playing` or `paused`."""
    values["state"] = state


def skip(entity: Entity, values: Values, by: int) -> None:
    """Go on by so many tracks, or back."""
    values["track"] = (values["track"] + by) % TRACKS


def set_volume(entity: Entity, values: Values, level: float) -> None:
    """From 0 to 1; what is beyond is cut off."""
    values["volume"] = round(min(max(level, 0.0), 1.0), 2)


def mute(entity: Entity, values: Values, muted: bool) -> None:
    """Silent, or not any more; the volume stays what it was."""
    values["muted"] = muted


def add_item(entity: Entity, values: Values, item: str) -> None:
    """Write something on a list."""
    values["items"].append(item)


def complete_item(entity: Entity, values: Values, item: str) -> None:
    """Tick something off. Raises Refused where it does not stand on the list."""
    found = next((held for held in values["items"] if held.casefold() == item.strip().casefold()), None)
    if found is None:
        raise Refused(f"{entity.name} has no such item")
    values["items"].remove(found)


def set_temperature(entity: Entity, values: Values, degrees: float) -> None:
    """The temperature that a room is to have."""
    _need(entity, "TARGET_TEMPERATURE")
    values["temperature"] = degrees


def _need(entity: Entity, feature: str) -> None:
    if feature not in entity.features:
        raise Refused(f"{entity.name} cannot do that")
