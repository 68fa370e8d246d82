"""What a home has: areas, and entities with their names, features and values. Knows no rules and no texts.

An inventory is what a home has at the beginning, and never changes. A `House` is an inventory in use, whose values do.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

Values = dict[str, Any]
"""What is so of one entity. `states.py` says which values a domain has."""


class Area(msgspec.Struct, frozen=True):
    """A room, or a place outside."""

    id: str
    name: str
    floor: str = ""
    """A floor's name; empty where the home names none."""
    aliases: tuple[str, ...] = ()


class Entity(msgspec.Struct, frozen=True):
    """One thing that can be seen or controlled: a light, a lock, a list."""

    id: str
    """`<domain>.<something>`."""
    name: str
    area: str = ""
    """An area's id: the entity's own, or that of its device."""
    aliases: tuple[str, ...] = ()
    device_class: str = ""
    features: frozenset[str] = frozenset()
    """As in Home Assistant, in capitals: `SET_POSITION`, `PAUSE`."""
    values: Mapping[str, Any] = {}
    """At the beginning."""

    @property
    def domain(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]


class Inventory(msgspec.Struct, frozen=True):
    """Everything that a home has, and where whoever speaks is."""

    areas: tuple[Area, ...]
    entities: tuple[Entity, ...]
    here: str = ""
    """The id of the area that requests come from; empty where nobody knows."""

    def area(self, id: str) -> Area | None:
        """The area of that id."""
        return next((area for area in self.areas if area.id == id), None)

    def floors(self) -> list[str]:
        """The names of the floors, each once, in the order of the areas."""
        return list(dict.fromkeys(area.floor for area in self.areas if area.floor))


class House:
    """A home in use."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.values: dict[str, Values] = {entity.id: _copied(entity.values) for entity in inventory.entities}
        """By entity."""


def _copied(values: Mapping[str, Any]) -> Values:
    return {name: list(value) if isinstance(value, list) else value for name, value in values.items()}
