"""Which entities a call is about: Home Assistant's order and rules, on a small house and on generated ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgexp.environments.home.homes import NAMES, dwelling
from edgexp.environments.home.inventory import Area, Entity, House, Inventory
from edgexp.environments.home.matching import Unmatched, Wanted, match
from edgexp.environments.home.states import values_of


def thing(id: str, name: str, area: str = "", device_class: str = "", features: str = "", state: str = "off", aliases: tuple[str,
                                                                                                                             ...] = ()):
    return Entity(id, name, area, aliases, device_class, frozenset(features.split()), values_of(id.partition(".")[0], state, {}))


AREAS = (Area("kitchen", "Kitchen", "Ground", ("the galley",)), Area("bed", "Bedroom", "Upper"), Area("shed", "Shed"))
THINGS = (
    thing("light.one", "Kitchen Light", "kitchen"), thing("light.two", "Ceiling Light", "kitchen", aliases=("Big Light",)),
    thing("light.three", "Ceiling Light", "bed"), thing("lock.door", "Front Door", "bed", state="locked"),
    thing("binary_sensor.door", "Front Door", "bed", "door"), thing("cover.blind", "Blinds", "bed", "blind", "OPEN CLOSE SET_POSITION"),
    thing("cover.shed", "Shed Door", "shed", "garage", "OPEN CLOSE"), thing("media_player.radio", "Radio", "kitchen", "speaker", "PAUSE",
                                                                            "playing"),
)  # fmt: skip


def house(here: str = "") -> House:
    return House(Inventory(AREAS, THINGS, here))


def found(here: str = "", **wanted: object) -> list[str]:
    return [entity.id for entity in match(house(here), Wanted(**wanted))]  # type: ignore[arg-type]


@pytest.mark.parametrize(("wanted", "ids"), [
    ({"name": "Kitchen Light"}, ["light.one"]),
    ({"name": "  kitchen LIGHT "}, ["light.one"]),
    ({"name": "big light"}, ["light.two"]),
    ({"name": "light.one"}, ["light.one"]),
    ({"area": "THE GALLEY", "domains": frozenset({"light"})}, ["light.one", "light.two"]),
    ({"area": "bed", "domains": frozenset({"light"})}, ["light.three"]),
    ({"floor": "upper", "domains": frozenset({"light", "cover"})}, ["light.three", "cover.blind"]),
    ({"name": "Front Door", "domains": frozenset({"lock"})}, ["lock.door"]),
    ({"name": "Ceiling Light", "area": "Kitchen"}, ["light.two"]),
    ({"domains": frozenset({"cover"}), "classes": frozenset({"garage"})}, ["cover.shed"]),
    ({"domains": frozenset({"cover"}), "features": frozenset({"SET_POSITION"})}, ["cover.blind"]),
    ({"states": frozenset({"playing"})}, ["media_player.radio"]),
])  # fmt: skip
def test_what_is_asked_for_is_found(wanted: dict[str, object], ids: list[str]) -> None:
    assert found(**wanted) == ids


@pytest.mark.parametrize(("wanted", "reason"), [
    ({}, "say which"),
    ({"domains": frozenset({"vacuum"})}, "there is no vacuum"),
    ({"name": "Kitchen"}, 'no device is called "Kitchen"'),
    ({"name": "Kitchen Light", "domains": frozenset({"cover"})}, "no device is called"),
    ({"name": "Kitchen Light", "area": "Bedroom"}, 'there is none in "Bedroom"'),
    ({"area": "Attic"}, 'no area is called "Attic"'),
    ({"floor": "Attic"}, 'no floor is called "Attic"'),
    ({"floor": "Upper", "name": "Radio"}, "there is none on the floor"),
    ({"classes": frozenset({"shade"})}, "no device is a shade"),
    ({"name": "Radio", "features": frozenset({"NEXT_TRACK"})}, "cannot do that"),
    ({"name": "Ceiling Light"}, 'several devices are called "Ceiling Light"'),
    ({"name": "Front Door"}, "several devices are called"),
    ({"domains": frozenset({"light"}), "states": frozenset({"on"})}, "none is on"),
])  # fmt: skip
def test_what_is_not_there_is_told(wanted: dict[str, object], reason: str) -> None:
    with pytest.raises(Unmatched, match=reason):
        found(**wanted)


def test_one_of_two_names_is_meant_by_where_somebody_is() -> None:
    assert found("kitchen", name="Ceiling Light") == ["light.two"] and found("bed", name="Ceiling Light") == ["light.three"]
    with pytest.raises(Unmatched):
        found("shed", name="Ceiling Light")


def test_one_alone_is_wanted_where_the_tool_is_for_one() -> None:
    lights = Wanted(domains=frozenset({"light"}))
    with pytest.raises(Unmatched, match="several"):
        match(house(), lights, single=True)
    assert [e.id for e in match(house("bed"), lights, single=True)] == ["light.three"]


_words = st.one_of(st.none(), st.text(max_size=12), st.sampled_from(["Kitchen", "bedroom", "TV", "Ceiling Light", "Upstairs", "all"]))
_sets = st.frozensets(st.sampled_from(["light", "cover", "lock", "nothing", "speaker", "blind", "PAUSE"]), max_size=2)


@settings(max_examples=40)
@given(st.integers(0, NAMES - 1), _words, _words, _words, _sets, _sets, _sets, st.booleans())
def test_what_is_found_is_all_that_holds(number, name, area, floor, domains, classes, features, single) -> None:
    home = House(dwelling(number).inventory)
    wanted = Wanted(name, area, floor, domains, classes, features)
    try:
        ids = match(home, wanted, single=single)
    except Unmatched as error:
        assert str(error) and "\n" not in str(error)
        return
    floors = {a.id: a.floor for a in home.inventory.areas}
    names = {a.id: a.name for a in home.inventory.areas}
    assert ids and (not single or len(ids) == 1) and (name is None or len(ids) == 1)
    for entity in ids:
        assert name is None or name.strip().casefold() == entity.name.strip().casefold() or name == entity.id
        assert area is None or area.strip().casefold() in (entity.area.casefold(), names[entity.area].casefold())
        assert floor is None or floor.strip().casefold() == floors[entity.area].casefold()
        assert not domains or entity.domain in domains
        assert not classes or entity.device_class in classes
        assert features <= entity.features
