"""The expert of a home: it knows how the home is to be, and calls what brings it there, from whatever state others have left it in.

Knows no requests: what is wanted is a state of the home, and the calls that lead to it when nobody has erred.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from edgexp.environments.base import Expert, Outcome
from edgexp.environments.calls import Call, Tool, write_call
from edgexp.environments.home import assist
from edgexp.environments.home.inventory import Entity, House, Values
from edgexp.environments.home.offered import FINISH
from edgexp.environments.home.replies import Answering
from edgexp.environments.home.states import report
from edgexp.errors import EdgexpError


class Wanted(msgspec.Struct, frozen=True):
    """How a home is to be, and how one gets there."""

    amiss: Callable[[House], set[str]]
    """The things that are not as they are to be."""
    values: Mapping[str, Values]
    """What everything is like in the end."""
    calls: tuple[Call, ...] = ()
    finish: Call = Call(FINISH)
    """What is said when all is well."""


def led_to(house: House, calls: Sequence[Call]) -> Wanted:
    """What some calls lead to in a home, which is left as it is: everything that can be seen, and on every list the same in any order."""
    after = _copy(house)
    for call in calls:
        assist.carry_out(after, call.name, call.arguments)
    wanted = {entity.id: _seen(entity, after.values[entity.id]) for entity in house.inventory.entities}

    def amiss(house: House) -> set[str]:
        return {e.id for e in house.inventory.entities if _seen(e, house.values[e.id]) != wanted[e.id]}

    return Wanted(amiss, after.values, tuple(calls))


def _seen(entity: Entity, values: Values) -> object:
    if entity.domain == "todo":
        return sorted(" ".join(item.split()).casefold() for item in values["items"])
    return report(entity.domain, values)


def _copy(house: House) -> House:
    """The home as it is now."""
    found = House(house.inventory)
    found.values = {id: {name: list(v) if isinstance(v, list) else v for name, v in values.items()} for id, values in house.values.items()}
    return found


class KnowingExpert:
    """Says the calls that are left, and `Done` when nothing is. `looking` gives the home, what is wanted, and the tools."""

    def __init__(self, looking: Callable[[], tuple[House, Wanted, Sequence[Tool]]]) -> None:
        self._looking = looking

    def begin(self, goal: str, observation: str) -> None:
        """Nothing is noted: the home is looked at."""

    def act(self, observation: str) -> str | None:
        """The next call; None where nothing leads to what is wanted any more."""
        house, wanted, tools = self._looking()
        call = next_call(house, wanted)
        return None if call is None else write_call(call, next((tool for tool in tools if tool.name == call.name), None))

    def saw(self, observation: str, action: str) -> None:
        """Nothing is noted."""

    def advise(self, observation: str) -> str | None:
        """What `act` says."""
        return self.act(observation)


def next_call(house: House, wanted: Wanted) -> Call | None:
    """The first call that mends something and breaks nothing: of those that were meant, then of any; `Done` where all is well.

    Where none does, the first of two that do: what is to be paused has to play first.
    """
    amiss = wanted.amiss(house)
    if not amiss:
        return wanted.finish
    meant = next((call for call in wanted.calls if wanted.amiss(_after(house, call)) < amiss), None)
    return meant or _mend(house, wanted, amiss) or next(
        (call for call in _mending(house, wanted, amiss) if _mend(_after(house, call), wanted, amiss)), None)  # fmt: skip


def _mend(house: House, wanted: Wanted, amiss: set[str]) -> Call | None:
    """A call after which less is amiss than so much."""
    return next((call for call in _mending(house, wanted, amiss) if wanted.amiss(_after(house, call)) < amiss), None)


def _after(house: House, call: Call) -> House:
    tried = _copy(house)
    assist.carry_out(tried, call.name, call.arguments)
    return tried


def _mending(house: House, wanted: Wanted, amiss: set[str]) -> Iterator[Call]:
    for entity in house.inventory.entities:
        if entity.id in amiss:
            for tool, arguments in _ways(entity, house.values[entity.id], wanted.values[entity.id]):
                yield Call(tool, {**_target(house, entity), **arguments})


def _target(house: House, entity: Entity) -> dict[str, Any]:
    """Whatever names this thing and no other."""
    alike = [other for other in house.inventory.entities if other.name == entity.name]
    area = house.inventory.area(entity.area)
    if len(alike) == 1 or entity.domain == "todo":
        return {"name": entity.name}
    if sum(other.domain == entity.domain for other in alike) == 1:
        return {"name": entity.name, "domain": entity.domain}
    return {"name": entity.name, **({"area": area.name} if area else {})}


def _ways(entity: Entity, now: Values, wanted: Values) -> Iterator[tuple[str, dict[str, Any]]]:
    """Calls that may bring a thing from one state to another, or nearer."""
    match entity.domain:
        case "light":
            if wanted["on"]:
                yield "HassTurnOn", {}
                if wanted["color"] is not None:
                    yield "HassLightSet", {"color": wanted["color"]}
                if wanted["kelvin"] is not None:
                    yield "HassLightSet", {"temperature": wanted["kelvin"]}
                yield "HassLightSet", {"brightness": round((wanted["brightness"] or 0) / 2.55)}
        case "cover" | "valve":
            yield "HassSetPosition", {"position": wanted["position"]}
            if wanted["position"]:
                yield "HassTurnOn", {}
        case "fan":
            yield "HassFanSetSpeed", {"percentage": wanted["percentage"]}
        case "media_player":
            yield from _ways_of_player(now, wanted)
        case "climate":
            yield "HassClimateSetTemperature", {"temperature": wanted["temperature"]}
        case "vacuum":
            yield {"cleaning": "HassVacuumStart"}.get(wanted["state"], "HassVacuumReturnToBase"), {}
        case "todo":
            yield from (("HassListCompleteItem", {"item": item}) for item in now["items"] if item not in wanted["items"])
            yield from (("HassListAddItem", {"item": item}) for item in wanted["items"] if item not in now["items"])
    if str(report(entity.domain, wanted)["state"]) in ("on", "open", "locked", "idle", "heat"):
        yield "HassTurnOn", {}
    else:
        yield "HassTurnOff", {}


def _ways_of_player(now: Values, wanted: Values) -> Iterator[tuple[str, dict[str, Any]]]:
    if wanted["state"] in ("playing", "paused"):
        yield "HassMediaUnpause" if wanted["state"] == "playing" or now["state"] != "playing" else "HassMediaPause", {}
    yield "HassSetVolume", {"volume_level": round(100 * wanted["volume"])}
    yield "HassMediaPlayerMute" if wanted["muted"] else "HassMediaPlayerUnmute", {}
    yield "HassMediaNext" if now["track"] < wanted["track"] else "HassMediaPrevious", {}


class AskedHome:
    """The half of an environment in which a home is asked for something. A subclass makes an `Answering` and a `Wanted`, in `reset`."""

    def __init__(self) -> None:
        self._answering: Answering | None = None
        self._wanted: Wanted | None = None

    def tools(self) -> Sequence[Tool]:
        """What may be called now; nothing when no episode is under way."""
        return self._answering.tools() if self._answering else []

    def step(self, action: str) -> Outcome:
        """Take a call, several, or any text: see `replies.py`. Raises EdgexpError before a reset or after the end."""
        return self._running().act(action)

    def close(self) -> None:
        """Drop the episode under way."""
        self._answering = self._wanted = None

    def expert(self) -> Expert:
        """A player that knows what is to be so afterwards, and what is to be answered; it mends what others did."""
        return KnowingExpert(self._looking)

    def _running(self) -> Answering:
        if self._answering is None:
            raise EdgexpError("no episode is under way: reset the environment with a task first")
        return self._answering

    def _looking(self) -> tuple[House, Wanted, Sequence[Tool]]:
        answering = self._running()
        assert self._wanted is not None
        return answering.house, self._wanted, answering.tools()
