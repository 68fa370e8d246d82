"""Calls of the Assist tools: what they take, what they change, and that nothing that is called breaks anything."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgexp.environments.calls import check_call, shape_of
from edgexp.environments.home.assist import INTENTS, READS, carry_out
from edgexp.environments.home.homes import NAMES, dwelling
from edgexp.environments.home.inventory import Area, Entity, House, Inventory
from edgexp.environments.home.knowing import led_to
from edgexp.environments.home.offered import offered
from edgexp.environments.home.sentences import snapshot
from edgexp.environments.home.states import report, values_of


def one(domain: str, state: Any, features: str = "", device_class: str = "", **attributes: Any) -> House:
    """A house with one thing, called X, in the hall."""
    entity = Entity(f"{domain}.x", "X", "hall", (), device_class, frozenset(features.split()), values_of(domain, state, attributes))
    return House(Inventory((Area("hall", "Hall"),), (entity,)))


def after(house: House, tool: str, **arguments: Any) -> dict[str, Any]:
    """State and attributes of the one thing, after a call that was served."""
    done = carry_out(house, tool, {"name": "X", **arguments})
    assert not done.problem, done.problem
    (entity,) = house.inventory.entities
    return report(entity.domain, house.values[entity.id])


DIM = {"supported_color_modes": ["brightness"], "color_mode": "brightness"}


def test_a_light_with_a_brightness_is_on_whatever_its_state_says() -> None:
    assert snapshot(one("light", "off", brightness=100, **DIM))["light.x"]["state"] == "on"
    assert snapshot(one("light", "off", brightness=0, **DIM))["light.x"]["state"] == "off"
    assert snapshot(one("light", "on", brightness=0, **DIM))["light.x"]["brightness"] == 0


def test_lights_report_brightness_while_they_are_on() -> None:
    house = one("light", "off", brightness=0, **DIM)
    assert after(house, "HassTurnOn") == {"state": "on", "brightness": 0, "color_mode": "brightness",
                                          "supported_color_modes": ["brightness"]}
    assert after(house, "HassLightSet", brightness=50)["brightness"] == 128
    assert after(house, "HassTurnOff")["brightness"] is None
    assert after(house, "HassLightSet", brightness=0)["state"] == "off"
    assert "brightness" not in after(one("light", "off"), "HassTurnOn")
    assert carry_out(house, "HassLightSet", {"name": "X", "temperature": 0}).problem


def test_a_lock_is_locked_by_turning_it_on() -> None:
    house = one("lock", "unlocked")
    assert after(house, "HassTurnOn")["state"] == "locked" and after(house, "HassTurnOff")["state"] == "unlocked"


def test_covers_and_valves_move_at_once() -> None:
    for domain in ("cover", "valve"):
        house = one(domain, "closed", "OPEN CLOSE SET_POSITION")
        assert after(house, "HassTurnOn")["current_position"] == 100
        assert after(house, "HassSetPosition", position="30") == {"state": "open", "current_position": 30}
        assert after(house, "HassSetPosition", position=0)["state"] == "closed"
    assert "cannot" in carry_out(one("cover", "open", "OPEN CLOSE"), "HassSetPosition", {"name": "X", "position": 3}).problem


def test_the_fan_of_the_data_set_has_one_speed() -> None:
    house = one("fan", "off", "SET_SPEED")
    assert after(house, "HassFanSetSpeed", percentage=30)["percentage"] == 100 and after(house, "HassTurnOff")["percentage"] == 0
    assert after(one("fan", "off", "SET_SPEED SPEEDS"), "HassFanSetSpeed", percentage=30)["percentage"] == 30


PLAYS = "PAUSE NEXT_TRACK PREVIOUS_TRACK VOLUME_SET VOLUME_MUTE TURN_ON TURN_OFF"


def test_players() -> None:
    house = one("media_player", "playing", PLAYS, media_track=0, volume_level=0.5)
    assert after(house, "HassMediaNext")["media_track"] == 1 and after(house, "HassMediaPrevious")["media_track"] == 0
    assert after(house, "HassMediaPrevious")["media_track"] == 19
    assert after(house, "HassSetVolume", volume_level=0)["volume_level"] == 0
    assert after(house, "HassSetVolumeRelative", volume_step="up")["volume_level"] == 0.1
    assert after(house, "HassMediaPlayerMute")["is_volume_muted"] is True
    assert after(house, "HassMediaPause")["state"] == "paused"
    assert "playing" in carry_out(house, "HassMediaNext", {"name": "X"}).problem
    assert after(house, "HassMediaUnpause")["state"] == "playing"
    assert after(house, "HassTurnOff") == {"state": "off"}
    assert after(house, "HassTurnOn")["media_track"] == 0


def test_lists_and_vacuums_and_warmth() -> None:
    house = one("todo", None)
    assert after(house, "HassListAddItem", item="milk")["state"] == "1"
    assert after(house, "HassListCompleteItem", item=" MILK")["state"] == "0"
    assert carry_out(house, "HassListCompleteItem", {"name": "X", "item": "milk"}).problem
    house = one("vacuum", "docked", "START RETURN_HOME")
    assert after(house, "HassVacuumStart")["state"] == "cleaning" and after(house, "HassVacuumReturnToBase")["state"] == "returning"
    assert carry_out(house, "HassTurnOn", {"name": "X"}).problem
    house = one("climate", "heat", "TARGET_TEMPERATURE")
    assert after(house, "HassClimateSetTemperature", temperature=21.5)["temperature"] == 21.5


@pytest.mark.parametrize("arguments", [
    {"name": ""}, {"name": None}, {"name": ["X"]}, {"name": "X", "domain": ["lock"]}, {"name": "X", "domain": "lock"}, {"name": "X",
                                                                                                                        "domain": 3},
    {"name": "X", "device_class": "light"}, {"name": "X", "area": ""}, {},
])  # fmt: skip
def test_what_home_assistant_refuses_is_refused(arguments: dict[str, Any]) -> None:
    house = one("light", "off")
    assert carry_out(house, "HassTurnOn", arguments).problem and not house.values["light.x"]["on"]


@pytest.mark.parametrize("arguments", [
    {"name": "x"}, {"name": "X", "domain": "light"}, {"name": "X", "domain": ["light", "fan"]}, {"name": "X", "device_class": []},
    {"name": "X", "areas": 4, "nonsense": {}}, {"area": "hall"}, {"domain": ["light"]}, {"name": "all", "area": "Hall"}, {"name": "X",
                                                                                                                          "domain": None},
])  # fmt: skip
def test_what_home_assistant_takes_is_taken(arguments: dict[str, Any]) -> None:
    house = one("light", "off")
    assert not carry_out(house, "HassTurnOn", arguments).problem and house.values["light.x"]["on"]


@pytest.mark.parametrize(("house", "names"), [
    (one("media_player", "playing", "PAUSE TURN_OFF"), {"HassTurnOff", "HassMediaPause", "HassMediaUnpause"}),
    (one("media_player", "off", "PAUSE NEXT_TRACK"), {"HassMediaUnpause"}),
    (one("cover", "open", "OPEN CLOSE"), {"HassTurnOn", "HassTurnOff"}),
    (one("cover", "open", "CLOSE SET_POSITION"), {"HassTurnOff", "HassSetPosition"}),
    (one("vacuum", "docked", "START"), {"HassVacuumStart"}),
    (one("climate", "heat"), set()),
    (one("sensor", "3"), set()),
    (one("todo", None), {"HassListAddItem"}),
    (one("todo", None, todo_items=["figs"]), {"HassListAddItem", "HassListCompleteItem"}),
])  # fmt: skip
def test_nothing_is_offered_that_would_fail(house: House, names: set[str]) -> None:
    assert {tool.name for tool in offered(house)} == {*names, "Done"}


def test_what_fails_for_one_is_done_for_the_others() -> None:
    entities = (Entity("light.x", "L", "hall", values=values_of("light", "off", {})), Entity("sensor.x", "S", "hall",
                                                                                             values={"state": "3"}))
    house = House(Inventory((Area("hall", "Hall"),), entities))
    done = carry_out(house, "HassTurnOn", {"area": "Hall"})
    assert [entity.name for entity in done.served] == ["L"] and not done.problem


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=10) | st.sampled_from(["on", "Kitchen",
                                                                                                                    "light", "up"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=5,
)  # fmt: skip
any_arguments = st.dictionaries(
    st.sampled_from(["name", "area", "floor", "domain", "device_class", "brightness", "color", "temperature", "position", "percentage",
                     "item",
                     "volume_level", "volume_step", "other"]), json_values, max_size=5)  # fmt: skip


@settings(max_examples=40)
@given(st.integers(0, NAMES - 1), st.sampled_from([*INTENTS, *sorted(READS), "Nothing", ""]), any_arguments)
def test_any_call_is_taken_or_refused_in_one_line(number: int, tool: str, arguments: dict[str, Any]) -> None:
    house = House(dwelling(number).inventory)
    before = snapshot(house)
    done = carry_out(house, tool, arguments)
    assert "\n" not in done.problem
    if done.problem or not done.served:
        assert snapshot(house) == before
    served = {entity.id for entity in done.served}
    assert all(snapshot(house)[id] == before[id] for id in before if id not in served)


@settings(max_examples=40)
@given(st.integers(0, NAMES - 1), st.data())
def test_whatever_is_offered_is_valid_and_is_served(number: int, data: st.DataObject) -> None:
    """Calls made of the schemas as they stand: each does what it says, and none is refused."""
    house = House(dwelling(number).inventory)
    for entity in house.inventory.entities:
        if entity.domain == "media_player":
            house.values[entity.id]["state"] = data.draw(st.sampled_from(["playing", "off"]))
        if entity.domain == "todo":
            house.values[entity.id]["items"] = data.draw(st.lists(st.sampled_from(["milk", "a \"b\"", "ü"]), max_size=2))
    for tool in offered(house, ("milk",))[:-1]:
        assert shape_of(tool) is not None
        options = tool.parameters.get("anyOf", [tool.parameters])
        option = data.draw(st.sampled_from(options))
        arguments = {name: data.draw(_values(schema)) for name, schema in option["properties"].items()}
        call = led_to(house, ()).finish.__class__(tool.name, arguments)
        assert check_call(call, [tool]) == "" and not carry_out(_copied(house), tool.name, arguments).problem, call


def _copied(house: House) -> House:
    found = House(house.inventory)
    found.values = {id: {name: list(v) if isinstance(v, list) else v for name, v in values.items()} for id, values in house.values.items()}
    return found


def _values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "integer":
        return st.integers(schema["minimum"], schema["maximum"])
    return st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(str.strip)
