"""Which entities a call is about, by the rules of Home Assistant's `async_match_targets`. Knows no tools and changes nothing.

The order is the original's, since it decides which reason is told: domain, state, name, feature, device class, floor, area, duplicates.
"""

from collections.abc import Callable, Iterable

import msgspec

from edgexp.environments.home import states
from edgexp.environments.home.inventory import Area, Entity, House


class Unmatched(Exception):
    """Nothing fits, or too much. The text is what the caller is told."""


class Wanted(msgspec.Struct, frozen=True):
    """What a call asks for. Everything that is given must hold."""

    name: str | None = None
    area: str | None = None
    floor: str | None = None
    domains: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()
    features: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()

    @property
    def says_anything(self) -> bool:
        """Whether it asks for less than everything in the house."""
        return bool(self.name or self.area or self.floor or self.domains or self.classes or self.features or self.states)


def match(house: House, wanted: Wanted, *, single: bool = False) -> list[Entity]:
    """The entities, in the order of the inventory. `single`: one is wanted, and where one is decides among several.

    Raises Unmatched.
    """
    if not wanted.says_anything:
        raise Unmatched("say which: a name, an area or a domain is missing")
    found = list(house.inventory.entities)
    found = _kept(found, wanted.domains, lambda e: e.domain in wanted.domains, f"there is no {_listed(wanted.domains)}")
    found = _kept(found, wanted.states, lambda e: _state(house, e) in wanted.states, f"none is {_listed(wanted.states)} now")
    if wanted.name is not None:
        found = _kept(found, True, lambda e: _is_called(e, wanted.name or ""), f"no device is called {_quoted(wanted.name)}"
                      + (f" with domain {_listed(wanted.domains)}" if wanted.domains else ""))
    found = _kept(found, wanted.features, lambda e: wanted.features <= e.features, "it cannot do that")
    found = _kept(found, wanted.classes, lambda e: e.device_class in wanted.classes, f"no device is a {_listed(wanted.classes)}")
    found = _at(house, wanted, found)
    if wanted.name is not None and len(found) > 1:
        found = _nearest(house, found)
        if len(found) > 1:
            raise Unmatched(f"several devices are called {_quoted(wanted.name)}: say its domain or area")
    if single and len(found) > 1:
        found = _nearest(house, found)
        if len(found) > 1:
            raise Unmatched("there are several: say the name or the area")
    return found


def _kept(found: list[Entity], asked: object, keep: Callable[[Entity], bool], reason: str) -> list[Entity]:
    if not asked:
        return found
    kept = [entity for entity in found if keep(entity)]
    if not kept:
        raise Unmatched(reason)
    return kept


def _at(house: House, wanted: Wanted, found: list[Entity]) -> list[Entity]:
    """Those in the floor and area that are asked for."""
    if wanted.floor is not None:
        floor = _normal(wanted.floor)
        on_floor = {area.id for area in house.inventory.areas if area.floor and _normal(area.floor) == floor}
        if not on_floor:
            raise Unmatched(f"no floor is called {_quoted(wanted.floor)}")
        found = _kept(found, True, lambda e: e.area in on_floor, f"there is none on the floor {_quoted(wanted.floor)}")
    if wanted.area is not None:
        areas = {area.id for area in areas_called(house.inventory.areas, wanted.area)}
        if not areas:
            raise Unmatched(f"no area is called {_quoted(wanted.area)}")
        found = _kept(found, True, lambda e: e.area in areas, f"there is none in {_quoted(wanted.area)}")
    return found


def areas_called(areas: Iterable[Area], name: str) -> list[Area]:
    """The areas of that name, id or alias."""
    return [area for area in areas if _normal(name) in {_normal(area.id), _normal(area.name), *map(_normal, area.aliases)}]


def _is_called(entity: Entity, name: str) -> bool:
    return name == entity.id or _normal(name) in {_normal(entity.name), *map(_normal, entity.aliases)}


def _nearest(house: House, found: list[Entity]) -> list[Entity]:
    """The one of several that is where whoever speaks is, by floor, then by area; all of them where that does not leave one."""
    here = house.inventory.area(house.inventory.here)
    if here is None:
        return found
    beside = {area.id for area in house.inventory.areas if here.floor and area.floor == here.floor}
    on_floor = [entity for entity in found if entity.area in beside]
    if len(on_floor) == 1:
        return on_floor
    at_hand = [entity for entity in found if entity.area == here.id]
    return at_hand if len(at_hand) == 1 else found


def _state(house: House, entity: Entity) -> str:
    return str(states.report(entity.domain, house.values[entity.id])["state"])


def _normal(name: str) -> str:
    return name.strip().casefold()


def _quoted(name: str) -> str:
    return '"' + " ".join(name.split())[:60] + '"'


def _listed(words: Iterable[str]) -> str:
    return " or ".join(sorted(words))[:80]
