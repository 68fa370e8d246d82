"""A folder of the public data set `home-assistant-datasets`: its homes, its records, and the rule by which it scores.

A home is a folder with `_fixtures.yaml`; every other YAML file in it is a record of tests. A damaged file is told in one line and left out,
with the tests in it; the others are read. Knows no calls and plays nothing.
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgexp.environments import plain
from edgexp.environments.home import states
from edgexp.environments.home.inventory import Area, Entity, House, Inventory
from edgexp.errors import EdgexpError

LARGEST = 2_000_000
"""Bytes of a file that are read."""
_MOVING = frozenset({"is_closed", "is_opening", "is_closing"})
"""Attributes that never count."""
SORRY = "Sorry"
"""A reply with this word in it is no success."""

Snapshot = dict[str, dict[str, Any]]
"""Entity → state (as `state`) and attributes."""


class Sentence(msgspec.Struct, frozen=True):
    """One sentence, and what it is to lead to."""

    id: str
    """`<home>/<record>/<number>`."""
    category: str
    text: str
    inventory: Inventory
    changes: Mapping[str, Mapping[str, Any]] = {}
    """Entity → what is to be so afterwards, as in a snapshot."""
    ignored: Mapping[str, frozenset[str]] = {}
    response: tuple[str, ...] = ()
    """The reply has one of these words in it, where there are any."""


def snapshot(house: House) -> Snapshot:
    """State and attributes of everything."""
    return {entity.id: states.report(entity.domain, house.values[entity.id]) for entity in house.inventory.entities}


def unexpected(test: Sentence, before: Snapshot, after: Snapshot) -> list[str]:
    """The entities that are not as the test wants them, whichever these are."""
    return [id for id in after if _differs({**before[id], **test.changes.get(id, {})}, after[id], test.ignored.get(id, frozenset()))]


def _differs(wanted: Mapping[str, Any], found: Mapping[str, Any], ignored: frozenset[str]) -> bool:
    return any(not _same(wanted.get(name), found.get(name)) for name in {*wanted, *found} - ignored - _MOVING)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or str(one) == str(other)


def passes(test: Sentence, before: Snapshot, after: Snapshot, reply: str = "") -> bool:
    """The verdict: everything is as it is wanted, and the reply has what it must have and no apology."""
    said = not test.response or any(word.lower() in reply.lower() for word in test.response)
    return said and SORRY not in reply and not unexpected(test, before, after)


# Reading


def read_folder(root: Path) -> tuple[list[Sentence], dict[str, str]]:
    """All tests of a folder that count, in the order of their ids, and of each file that cannot be used the reason, by its path.

    Raises EdgexpError where no home is there.
    """
    tests, problems = list[Sentence](), dict[str, str]()
    try:
        fixtures = sorted(path for path in root.rglob("_fixtures.yaml") if path.is_file())
    except OSError as error:
        raise EdgexpError(f"{root}: the folder cannot be read: {plain.explain(error)}") from error
    if not fixtures:
        raise EdgexpError(f"{root}: no home is there: the folder of a data set has folders with a _fixtures.yaml in each")
    for fixture in fixtures:
        try:
            home = Described.read(_load(fixture))
        except EdgexpError as error:
            problems[fixture.relative_to(root).as_posix()] = str(error)
            continue
        for record in sorted(path for path in fixture.parent.glob("*.yaml") if not path.name.startswith("_")):
            name = f"{fixture.parent.relative_to(root).as_posix().replace('/', '-').strip('.') or root.name}/{record.stem}"
            try:
                tests += _tests_of(home, name, _load(record))
            except EdgexpError as error:
                problems[record.relative_to(root).as_posix()] = str(error)
            except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
                problems[record.relative_to(root).as_posix()] = f"it cannot be understood: {plain.explain(error)}"
    return tests, problems


def _load(path: Path) -> dict[str, Any]:
    """What a YAML file holds. Raises EdgexpError, without the path, where that is no mapping."""
    try:
        yaml = importlib.import_module("yaml")
    except ImportError as error:
        raise EdgexpError("PyYAML is missing: install it to read data sets of homes") from error
    try:
        if path.stat().st_size > LARGEST:
            raise EdgexpError(f"it has more than {LARGEST:,} bytes")
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise EdgexpError(f"it cannot be read: {plain.explain(error)}") from error
    if not isinstance(found, dict):
        raise EdgexpError("it holds no mapping")
    return found


class Described(msgspec.Struct, frozen=True):
    """A home as its file describes it."""

    areas: tuple[Area, ...]
    entities: tuple[Mapping[str, Any], ...]
    area_of: Mapping[str, str]
    """Device → the id of its area."""

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> "Described":
        """Raises EdgexpError where something that is needed is missing or of another kind."""
        areas = tuple(
            Area(_text(one, "id"), _text(one, "name"), str(one.get("floor") or ""), _aliases(one)) for one in _rows(table, "areas")
        )
        area_of = {_text(one, "id"): str(one.get("area") or "") for one in _rows(table, "devices")}
        entities = tuple(_rows(table, "entities"))
        ids = [_text(one, "id") for one in entities]
        if not entities or len({*ids}) < len(ids) or not all("." in id for id in ids):
            raise EdgexpError("its entities have no ids of the form domain.name, each once")
        return cls(areas, entities, area_of)

    def inventory(self, setup: Mapping[str, Any], speaker: str) -> Inventory:
        """The home with some entities in another state, and the satellite that is spoken to."""
        entities = tuple(_entity(one, self.area_of, _mapping(setup.get(one["id"]), "setup")) for one in self.entities)
        return Inventory(self.areas, entities, self.area_of.get(speaker, ""))


def _entity(row: Mapping[str, Any], area_of: Mapping[str, str], setup: Mapping[str, Any]) -> Entity:
    attributes = {**_mapping(row.get("attributes"), "attributes"), **_mapping(setup.get("attributes"), "attributes")}
    features = attributes.pop("supported_features", None) or []
    device_class = _last(attributes.pop("device_class", None) or "")
    id, state = row["id"], setup.get("state", row.get("state"))
    try:
        values = states.values_of(id.partition(".")[0], state, attributes)
    except (TypeError, ValueError, AttributeError) as error:
        raise EdgexpError(f"{id}: its state and attributes do not fit: {plain.explain(error)}") from error
    area = row.get("area") or area_of.get(str(row.get("device")), "")
    named = [features] if isinstance(features, str) else features if isinstance(features, list) else []
    return Entity(id, _text(row, "name"), str(area), _aliases(row), device_class, frozenset(map(_last, named)), values)


def _tests_of(home: Described, name: str, table: Mapping[str, Any]) -> Iterator[Sentence]:
    """The tests of a record that count: each sentence once, as its last test has it."""
    found: dict[str, Sentence | None] = {}
    category = table.get("category")
    kind = str((category[0] if isinstance(category, list) and category else category) or name.rpartition("/")[2])
    for test in _rows(table, "tests"):
        expected, response = _mapping(test.get("expect_changes"), "expect_changes"), _words(test.get("expect_response"))
        ids = {entity["id"] for entity in home.entities}
        if unknown := sorted(map(str, {*expected, *_mapping(test.get("setup"), "setup")} - ids)):
            raise EdgexpError(f"it names entities that the home has not: {', '.join(unknown)[:200]}")
        inventory = home.inventory(_mapping(test.get("setup"), "setup"), str(test.get("context_device") or ""))
        ignored = {str(id): frozenset(map(str, names or ())) for id, names in _mapping(test.get("ignore_changes"),
                                                                                       "ignore_changes").items()}
        changes = {id: _flat(change) for id, change in expected.items()}
        for sentence in _words(test.get("sentences")):
            counts = bool(changes or response)
            found[sentence] = Sentence("", kind, sentence, inventory, changes, ignored, response) if counts else None
    for number, made in enumerate(found.values()):
        if made is not None:
            yield msgspec.structs.replace(made, id=f"{name}/{number}")


def _flat(change: Any) -> dict[str, Any]:
    """State and attributes in one mapping, as in a snapshot."""
    table = _mapping(change, "expect_changes")
    state = {"state": table["state"]} if table.get("state") is not None else {}
    return {**state, **_mapping(table.get("attributes"), "attributes")}


def _rows(table: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    rows = table.get(name) or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise EdgexpError(f"{name} is no list of mappings")
    return rows


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise EdgexpError(f"{name} is {plain.shown(value)}, but a mapping is wanted")
    return value


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise EdgexpError(f"{name} is {plain.shown(value)}, but a text is wanted")
    return value


def _words(value: Any) -> tuple[str, ...]:
    """Texts, or one; a number is meant as it is written, and so are the words that YAML takes for truths."""
    found = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(one, str | int | float) for one in found):
        raise EdgexpError(f"{plain.shown(value)} is no text and no list of texts")
    return tuple({True: "yes", False: "no"}[one] if isinstance(one, bool) else str(one) for one in found)


def _aliases(row: Mapping[str, Any]) -> tuple[str, ...]:
    return _words(row.get("aliases"))


def _last(dotted: Any) -> str:
    """The last part of `cover.CoverEntityFeature.OPEN`; device classes are written in small letters."""
    word = str(dotted).rpartition(".")[2]
    return word.lower() if "DeviceClass" in str(dotted) else word
