"""The sentences of the household world, as the original says them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.environments.household import texts

NAMES = st.lists(st.from_regex(r"[a-z]{1,8} [1-9]", fullmatch=True), max_size=8)


@pytest.mark.parametrize(("names", "text"), [
    ([], "nothing"),
    (["mug 1"], "a mug 1"),
    (["apple 1"], "a apple 1"),  # as the original
    (["mug 2", "mug 1"], "a mug 2, and a mug 1"),
    (["book 1", "pen 2", "pen 1"], "a book 1, a pen 2, and a pen 1"),
])  # fmt: skip
def test_listings(names: list[str], text: str) -> None:
    assert texts.listing(names) == text


@given(NAMES)
def test_a_listing_names_everything_once_and_in_order(names: list[str]) -> None:
    text = texts.listing(names, "")
    assert [part.removeprefix("and ") for part in text.split(", ")] == (names or ["nothing"])


def test_the_middle_of_a_room() -> None:
    assert texts.middle_of_room(["bed 1", "desk 1"]) == (
        "You are in the middle of a room. Looking quickly around you, you see a bed 1, and a desk 1."
    )
    assert texts.middle_of_room([]).endswith("you see nothing.")


def test_facing_receptacles() -> None:
    assert texts.facing(["bed 1"], []) == "You are facing the bed 1. Next to it, you see nothing."
    assert texts.facing(["drawer 2", "drawer 1"], ["pen 1"]) == "You are facing the drawer 2, and drawer 1. Next to it, you see a pen 1."


@pytest.mark.parametrize(("openable", "opened", "text"), [
    (False, False, "On the shelf 1, you see a mug 1."),
    (False, True, "On the shelf 1, you see a mug 1."),
    (True, True, "The shelf 1 is open. In it, you see a mug 1."),
    (True, False, "The shelf 1 is closed."),
])  # fmt: skip
def test_receptacles_show_what_is_in_them_unless_they_are_closed(openable: bool, opened: bool, text: str) -> None:
    assert texts.receptacle("shelf 1", openable, opened, ["mug 1"]) == text


@pytest.mark.parametrize(("states", "text"), [
    (set(), "There's nothing special about mug 1."),
    ({"hot"}, "This is a hot mug 1."),
    ({"cool"}, "This is a cold mug 1."),
    ({"clean"}, "This is a clean mug 1."),
    ({"hot", "clean"}, "This is a hot and clean mug 1."),
    ({"cool", "clean"}, "This is a cool and clean mug 1."),
    ({"cool", "sliced"}, "This is a cool sliced mug 1."),
    ({"sliced"}, "This is a sliced mug 1."),
    ({"toggled"}, "This mug 1 is on."),
    ({"toggled", "hot"}, "This is a hot mug 1."),
    ({"hot", "cool"}, "This is a hot mug 1."),
])  # fmt: skip
def test_things_tell_what_was_done_to_them(states: set[str], text: str) -> None:
    assert texts.thing("mug 1", states, toggleable=True, sliceable=True) == text


@given(st.sets(st.sampled_from(["sliced", "toggled"])))
def test_what_cannot_be_sliced_or_lit_says_nothing_of_it(states: set[str]) -> None:
    assert texts.thing("mug 1", states, toggleable=False, sliceable=False) == "There's nothing special about mug 1."


def test_vessels_tell_what_is_in_them() -> None:
    assert texts.vessel("bowl 1", []) == "This is a normal bowl 1. In it, you see nothing."
    assert texts.vessel("bowl 1", ["key 2", "key 1"]) == "This is a normal bowl 1. In it, you see a key 2, and a key 1."


def test_the_help_text_names_every_command_in_columns() -> None:
    lines = texts.HELP.splitlines()
    assert lines[0] == "Available commands:" and len(lines) == 14 and texts.HELP.endswith("\n")
    forms = [line.strip().partition(":")[0] for line in lines[1:]]
    assert [form.split()[0] for form in forms] == ["look", "inventory", "go", "open", "close", "take", "move", "examine", "use", "heat",
                                                   "clean", "cool", "slice"]  # fmt: skip
    starts = {form: len(line) - len(line.partition(":")[2].lstrip()) for form, line in zip(forms, lines[1:], strict=True)}
    assert {start for form, start in starts.items() if not form.startswith("move")} == {36}
    assert starts["move (object) to (receptacle)"] == 34  # as the original
