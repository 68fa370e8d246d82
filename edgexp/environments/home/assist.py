"""The tools of Home Assistant's Assist API: what each takes, which entities it is for, and what it does to them.

A call is taken as Home Assistant takes it: arguments that a tool does not know are passed over, one that is out of range is an error, and
where a service fails for some entities the others are served. What may be called in a home now is for `offered.py` to say; this module
takes any call. Knows no tasks and no texts but the reason of an error.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from edgexp.environments.home import states
from edgexp.environments.home.inventory import Entity, House, Values
from edgexp.environments.home.matching import Unmatched, Wanted, match

Serve = Callable[[Entity, Values, Mapping[str, Any]], None]
"""Serves one entity, given its values and the arguments of the call. Raises `states.Refused`."""
Check = Callable[[Any], Any]
"""An argument as it is meant. Raises ValueError for one that is not taken."""


class Done(msgspec.Struct, frozen=True):
    """What a call led to."""

    served: tuple[Entity, ...] = ()
    problem: str = ""
    """Why nothing was done; empty where something was."""


class Intent(msgspec.Struct, frozen=True):
    """One tool that controls something."""

    serve: Serve
    domains: frozenset[str] = frozenset()
    """The only ones that it is for; empty for all."""
    features: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()
    """The states in which it is for something."""
    classes: frozenset[str] | None = frozenset()
    """The device classes that may be named; None where the tool does not know the argument."""
    arguments: Mapping[str, Check] = {}
    required: tuple[str, ...] = ()
    single: bool = False


# Arguments

COMMON = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "white", "magenta", "turquoise", "gold")
"""Those that people ask for."""

_NAMES = (
    "homeassistant aliceblue antiquewhite aqua aquamarine azure beige bisque black blanchedalmond blue blueviolet brown burlywood "
    "cadetblue chartreuse chocolate coral cornflowerblue cornsilk crimson cyan darkblue darkcyan darkgoldenrod darkgray darkgreen "
    "darkgrey darkkhaki darkmagenta darkolivegreen darkorange darkorchid darkred darksalmon darkseagreen darkslateblue darkslategray "
    "darkslategrey darkturquoise darkviolet deeppink deepskyblue dimgray dimgrey dodgerblue firebrick floralwhite forestgreen fuchsia "
    "gainsboro ghostwhite gold goldenrod gray green greenyellow grey honeydew hotpink indianred indigo ivory khaki lavender "
    "lavenderblush lawngreen lemonchiffon lightblue lightcoral lightcyan lightgoldenrodyellow lightgray lightgreen lightgrey "
    "lightpink lightsalmon lightseagreen lightskyblue lightslategray lightslategrey lightsteelblue lightyellow lime limegreen linen "
    "magenta maroon mediumaquamarine mediumblue mediumorchid mediumpurple mediumseagreen mediumslateblue mediumspringgreen "
    "mediumturquoise mediumvioletred midnightblue mintcream mistyrose moccasin navajowhite navy navyblue oldlace olive olivedrab "
    "orange orangered orchid palegoldenrod palegreen paleturquoise palevioletred papayawhip peachpuff peru pink plum powderblue "
    "purple red rosybrown royalblue saddlebrown salmon sandybrown seagreen seashell sienna silver skyblue slateblue slategray "
    "slategrey snow springgreen steelblue tan teal thistle tomato turquoise violet wheat white whitesmoke yellow yellowgreen"
)
COLORS = frozenset(_NAMES.split())


def _text(value: Any) -> str:
    if isinstance(value, list | dict) or value is None or not str(value).strip():
        raise ValueError("a text is wanted")
    return str(value)


def _texts(value: Any) -> frozenset[str]:
    found = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(one, str) for one in found):
        raise ValueError("a text is wanted")
    return frozenset(found)


def _whole(least: int, most: int) -> Check:
    def check(value: Any) -> int:
        if isinstance(value, list | dict) or value is None:
            raise ValueError("a number is wanted")
        number = int(float(value)) if isinstance(value, str) else int(value)
        if not least <= number <= most:
            raise ValueError(f"a number from {least} to {most} is wanted")
        return number

    return check


def _degrees(value: Any) -> float:
    if isinstance(value, list | dict) or value is None:
        raise ValueError("a number is wanted")
    number = float(value)
    if not -50 <= number <= 200:
        raise ValueError("a temperature is wanted")
    return number


def _color(value: Any) -> str:
    name = _text(value).strip().lower().replace(" ", "")
    if name not in COLORS:
        raise ValueError("no colour is called so")
    return name


def _step(value: Any) -> float:
    if value in ("up", "down"):
        return states.STEP if value == "up" else -states.STEP
    return float(_whole(-100, 100)(value)) / 100


COVERS = frozenset({"awning", "blind", "curtain", "damper", "door", "garage", "gate", "shade", "shutter", "window"})
_VALVES = frozenset({"water", "gas"})
_PLAYERS = frozenset({"tv", "speaker", "receiver"})
_SWITCHED = COVERS | _VALVES | _PLAYERS | {"outlet", "switch", "identify", "restart", "update"}
_PLAYER, _VACUUM = frozenset({"media_player"}), frozenset({"vacuum"})
_MOVING, _PLAYING = frozenset({"cover", "valve"}), frozenset({"playing"})
_LIGHT_ARGUMENTS: Mapping[str, Check] = {"color": _color, "temperature": _whole(0, 1_000_000), "brightness": _whole(0, 100)}


def _skips(feature: str, by: int) -> Intent:
    return Intent(lambda e, v, a: states.skip(e, v, by), _PLAYER, frozenset({feature}), _PLAYING, _PLAYERS)


def _mutes(muted: bool) -> Intent:
    return Intent(lambda e, v, a: states.mute(e, v, muted), _PLAYER, frozenset({"VOLUME_MUTE"}), classes=_PLAYERS)


INTENTS: Mapping[str, Intent] = {
    "HassTurnOn": Intent(lambda e, v, a: states.turn(e, v, on=True), classes=_SWITCHED),
    "HassTurnOff": Intent(lambda e, v, a: states.turn(e, v, on=False), classes=_SWITCHED),
    "HassLightSet": Intent(lambda e, v, a: states.set_light(e, v, a.get("brightness"), a.get("color"), a.get("temperature")),
                           frozenset({"light"}), classes=None, arguments=_LIGHT_ARGUMENTS),
    "HassSetPosition": Intent(lambda e, v, a: states.set_position(e, v, a["position"]), _MOVING, classes=COVERS | _VALVES,
                              arguments={"position": _whole(0, 100)}, required=("position",)),
    "HassStopMoving": Intent(lambda e, v, a: states.stop_moving(e, v), _MOVING, classes=COVERS | _VALVES),
    "HassFanSetSpeed": Intent(lambda e, v, a: states.set_speed(e, v, a["percentage"]), frozenset({"fan"}), classes=None,
                              arguments={"percentage": _whole(0, 100)}, required=("percentage",)),
    "HassVacuumStart": Intent(lambda e, v, a: states.send_vacuum(e, v, "cleaning"), _VACUUM, frozenset({"START"}), classes=None),
    "HassVacuumReturnToBase": Intent(lambda e, v, a: states.send_vacuum(e, v, "returning"), _VACUUM, frozenset({"RETURN_HOME"}),
                                     classes=None),
    "HassMediaPause": Intent(lambda e, v, a: states.play(e, v, "paused"), _PLAYER, frozenset({"PAUSE"}), _PLAYING, _PLAYERS),
    "HassMediaUnpause": Intent(lambda e, v, a: states.play(e, v, "playing"), _PLAYER, classes=_PLAYERS),
    "HassMediaNext": _skips("NEXT_TRACK", 1),
    "HassMediaPrevious": _skips("PREVIOUS_TRACK", -1),
    "HassSetVolume": Intent(lambda e, v, a: states.set_volume(e, v, a["volume_level"] / 100), _PLAYER, frozenset({"VOLUME_SET"}),
                            classes=_PLAYERS, arguments={"volume_level": _whole(0, 100)}, required=("volume_level",)),
    "HassSetVolumeRelative": Intent(lambda e, v, a: states.set_volume(e, v, v["volume"] + a["volume_step"]), _PLAYER,
                                    frozenset({"VOLUME_SET"}), classes=_PLAYERS, arguments={"volume_step": _step},
                                    required=("volume_step",)),
    "HassMediaPlayerMute": _mutes(True),
    "HassMediaPlayerUnmute": _mutes(False),
    "HassListAddItem": Intent(lambda e, v, a: states.add_item(e, v, a["item"]), frozenset({"todo"}), classes=None,
                              arguments={"item": _text}, required=("item", "name")),
    "HassListCompleteItem": Intent(lambda e, v, a: states.complete_item(e, v, a["item"]), frozenset({"todo"}), classes=None,
                                   arguments={"item": _text}, required=("item", "name")),
    "HassClimateSetTemperature": Intent(lambda e, v, a: states.set_temperature(e, v, a["temperature"]), frozenset({"climate"}),
                                        classes=None, arguments={"temperature": _degrees}, required=("temperature",), single=True),
}  # fmt: skip

READS = frozenset({"GetLiveContext", "GetDateTime", "todo_get_items", "calendar_get_events", "HassCancelAllTimers", "HassGetState",
                   "HassNevermind", "HassGetCurrentTime", "HassGetCurrentDate", "HassClimateGetTemperature"})
"""Tools that change nothing here."""


def carry_out(house: House, tool: str, arguments: Mapping[str, Any]) -> Done:
    """Take a call. Whatever it is, it is taken or refused with a reason; nothing is raised."""
    if tool in READS:
        return Done()
    intent = INTENTS.get(tool)
    if intent is None:
        return Done(problem="there is no such tool")
    try:
        given, wanted = _read(intent, arguments)
        found = match(house, wanted, single=intent.single)
    except (ValueError, OverflowError, Unmatched) as error:
        return Done(problem=str(error))
    served, refusals = list[Entity](), list[str]()
    for entity in found:
        try:
            intent.serve(entity, house.values[entity.id], given)
            served.append(entity)
        except states.Refused as error:
            refusals.append(str(error))
    return Done(tuple(served), "" if served else refusals[0])


def _read(intent: Intent, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], Wanted]:
    """The arguments as they are meant, and what they ask for. Raises ValueError."""
    for name in intent.required:
        if name not in arguments:
            raise ValueError(f"{name} is missing")
    given = {name: _checked(name, check, arguments[name]) for name, check in intent.arguments.items() if name in arguments}
    which = {name: _checked(name, _text, arguments[name]) for name in ("name", "area", "floor") if name in arguments}
    domains = _checked("domain", _texts, arguments.get("domain"))
    if intent.domains and not domains <= intent.domains:
        raise ValueError(f"domain: only {' or '.join(sorted(intent.domains))} will do")
    classes = frozenset[str]() if intent.classes is None else _checked("device_class", _texts, arguments.get("device_class"))
    if intent.classes is not None and not classes <= intent.classes:
        raise ValueError("device_class: there is no such class")
    called = which.get("name")
    wanted = Wanted(None if called == "all" else called, which.get("area"), which.get("floor"), domains or intent.domains, classes,
                    intent.features, intent.states)  # fmt: skip
    return given, wanted


def _checked(name: str, check: Check, value: Any) -> Any:
    try:
        return check(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{name}: {str(error)[:80] or 'a value of another kind is wanted'}") from error
