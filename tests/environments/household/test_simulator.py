"""The simulator's rules and texts, command by command, on a kitchen small enough to read; and what holds of every scene."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgexp.environments.household.generator import generate
from edgexp.environments.household.scene import GOAL_KINDS, Goal, GoalKind, Kind, Receptacle, Scene, Thing, numbered
from edgexp.environments.household.simulator import Game
from edgexp.environments.household.texts import NOTHING

FOOD = Kind("Apple", portable=True, cleanable=True, heatable=True, coolable=True, sliceable=True)
KNIFE = Kind("Knife", portable=True, cleanable=True)
LAMP = Kind("DeskLamp", toggleable=True)
BOWL = Kind("Bowl", portable=True, cleanable=True, coolable=True, vessel=True)
WINDOW = Kind("Window")

KITCHEN = Scene(
    receptacles=(
        Receptacle("countertop 1", "CounterTop", 1),
        Receptacle("drawer 2", "Drawer", 2, openable=True),
        Receptacle("drawer 1", "Drawer", 2, openable=True, opened=True),
        Receptacle("fridge 1", "Fridge", 3, openable=True),
        Receptacle("microwave 1", "Microwave", 4, openable=True),
        Receptacle("sinkbasin 1", "SinkBasin", 5),
    ),
    things=(
        Thing("apple 2", FOOD, (0,), (1,)),
        Thing("apple 1", FOOD, (3,), (3,), cool=True),
        Thing("bowl 1", BOWL, (0,), (1,), contents=(0,)),
        Thing("desklamp 1", LAMP, (0,), (1,)),
        Thing("knife 1", KNIFE, (2,), (2,)),
        Thing("window 1", WINDOW, (), (1,)),
    ),
    goal=Goal("pick_heat_then_place_in_recep", "Apple", "CounterTop", "put a hot apple in countertop."),
    fits={"CounterTop": frozenset({"Apple", "Bowl", "Knife"}), "Drawer": frozenset({"Knife"}), "Fridge": frozenset({"Apple"})},
)


def game(scene: Scene = KITCHEN, *commands: str) -> Game:
    """A game in which those commands were given, all of them valid."""
    made = Game(scene)
    for command in commands:
        assert made.step(command) != NOTHING, command
    return made


def goal(kind: GoalKind, thing: str, target: str) -> Scene:
    return msgspec.structs.replace(KITCHEN, goal=Goal(kind, thing, target, "…"))


def test_the_first_text_names_everything_in_listing_order() -> None:
    assert game().intro() == (
        "-= Welcome to TextWorld, ALFRED! =-\n\n"
        "You are in the middle of a room. Looking quickly around you, you see a countertop 1, a drawer 2, a drawer 1, a fridge 1,"
        " a microwave 1, and a sinkbasin 1.\n\n"
        "Your task is to: put a hot apple in countertop."
    )


def test_a_look_in_the_middle_of_the_room_shows_nothing_any_more() -> None:
    assert game().step("look") == "You are in the middle of a room. Looking quickly around you, you see nothing."


@pytest.mark.parametrize(
    ("before", "command", "answer"),
    [
        ([], "inventory", "You are not carrying anything."),
        ([], "go to countertop 1", "You arrive at countertop 1. On the countertop 1, you see a apple 2, a bowl 1, and a desklamp 1."),
        ([], "go to fridge 1", "You arrive at fridge 1. The fridge 1 is closed."),
        ([], "go to drawer 1", "You arrive at drawer 1. The drawer 1 is open. In it, you see a knife 1."),
        ([], "go to sinkbasin 1", "You arrive at sinkbasin 1. On the sinkbasin 1, you see nothing."),
        (["go to fridge 1"], "open fridge 1", "You open the fridge 1. The fridge 1 is open. In it, you see a apple 1."),
        (["go to fridge 1", "open fridge 1"], "close fridge 1", "You close the fridge 1."),
        (["go to fridge 1"], "examine fridge 1", "The fridge 1 is closed."),
        (["go to fridge 1"], "look", "You are facing the fridge 1. Next to it, you see nothing."),
        (["go to drawer 1"], "look", "You are facing the drawer 2, and drawer 1. Next to it, you see nothing."),
        (["go to drawer 1"], "take knife 1 from drawer 1", "You pick up the knife 1 from the drawer 1."),
        (["go to drawer 1", "take knife 1 from drawer 1"], "inventory", "You are carrying: a knife 1."),
        (["go to drawer 1", "take knife 1 from drawer 1"], "examine knife 1", "There's nothing special about knife 1."),
        (["go to drawer 1", "take knife 1 from drawer 1"], "move knife 1 to drawer 1", "You move the knife 1 to the drawer 1."),
        (["go to countertop 1"], "use desklamp 1", "You turn on the desklamp 1."),
        (["go to countertop 1", "use desklamp 1"], "use desklamp 1", "You turn on the desklamp 1."),
        (["go to countertop 1", "take bowl 1 from countertop 1"], "examine bowl 1", "This is a normal bowl 1. In it, you see a apple 2."),
        ([], "  inventory\n", "You are not carrying anything."),
    ],
)  # fmt: skip
def test_valid_commands(before: list[str], command: str, answer: str) -> None:
    assert game(KITCHEN, *before).step(command) == answer


@pytest.mark.parametrize(
    ("before", "command"),
    [
        ([], ""),
        ([], "look around"),
        ([], "Look"),
        ([], "open fridge 1"),
        ([], "go to fridge"),
        ([], "go to  fridge 1"),
        ([], "take apple 2 from countertop 1"),
        (["go to fridge 1"], "go to fridge 1"),
        (["go to drawer 1"], "go to drawer 2"),  # it is at the same place
        (["go to drawer 1"], "open drawer 1"),
        (["go to countertop 1"], "open countertop 1"),
        (["go to countertop 1"], "close countertop 1"),
        (["go to fridge 1"], "take apple 1 from fridge 1"),  # closed
        (["go to countertop 1"], "take desklamp 1 from countertop 1"),  # fixed
        (["go to countertop 1"], "examine apple 2"),  # not in hand
        (["go to countertop 1"], "examine window 1"),
        (["go to countertop 1"], "use apple 2"),
        (["go to countertop 1", "take apple 2 from countertop 1"], "take bowl 1 from countertop 1"),
        (["go to countertop 1", "take apple 2 from countertop 1", "go to sinkbasin 1"], "move apple 2 to sinkbasin 1"),  # does not fit
        (["go to countertop 1", "take apple 2 from countertop 1", "go to fridge 1"], "move apple 2 to fridge 1"),  # closed
        (["go to countertop 1", "take apple 2 from countertop 1", "go to fridge 1"], "heat apple 2 with fridge 1"),
        (["go to countertop 1", "take bowl 1 from countertop 1", "go to microwave 1"], "heat bowl 1 with microwave 1"),  # not heatable
        (["go to countertop 1", "take apple 2 from countertop 1"], "put apple 2 in/on countertop 1"),
    ],
)
def test_what_is_not_valid_changes_nothing(before: list[str], command: str) -> None:
    played = game(KITCHEN, *before)
    valid = played.admissible()
    assert played.step(command) == NOTHING
    assert played.admissible() == valid


def test_what_was_moved_between_two_drawers_at_one_place_lies_next_to_them() -> None:
    played = game(KITCHEN, "go to drawer 1", "open drawer 2", "take knife 1 from drawer 1", "move knife 1 to drawer 2")
    assert played.step("look") == "You are facing the drawer 2, and drawer 1. Next to it, you see a knife 1."


def test_a_knife_slices_what_lies_in_a_closed_fridge() -> None:
    played = game(KITCHEN, "go to drawer 1", "take knife 1 from drawer 1", "go to fridge 1")
    assert "slice apple 1 with knife 1" in played.admissible()
    assert played.step("slice apple 1 with knife 1") == "You sliced the apple 1 with the knife 1."


FETCH = ("go to countertop 1", "take apple 2 from countertop 1")
SLICE = ("go to drawer 1", "take knife 1 from drawer 1", "go to countertop 1", "slice apple 2 with knife 1", "move knife 1 to countertop 1",
         "go to sinkbasin 1")  # fmt: skip
TREATMENTS = {"heat": "microwave 1", "cool": "fridge 1", "clean": "sinkbasin 1"}


@pytest.mark.parametrize(
    ("treatments", "text"),
    [
        ((), "There's nothing special about apple 2."),
        (("heat",), "This is a hot apple 2."),
        (("cool",), "This is a cold apple 2."),
        (("clean",), "This is a clean apple 2."),
        (("clean", "heat"), "This is a hot and clean apple 2."),
        (("cool", "clean"), "This is a cool and clean apple 2."),
        (("heat", "cool"), "This is a cold apple 2."),
        (("slice",), "This is a sliced apple 2."),
        (("slice", "heat"), "This is a hot sliced apple 2."),
        (("slice", "cool"), "This is a cool sliced apple 2."),
        (("slice", "clean"), "This is a clean sliced apple 2."),
        (("slice", "clean", "heat"), "This is a hot and clean sliced apple 2."),
        (("slice", "clean", "cool"), "This is a cool and clean sliced apple 2."),
    ],
)
def test_a_close_look_tells_what_was_done(treatments: tuple[str, ...], text: str) -> None:
    played = game(KITCHEN, *(SLICE if "slice" in treatments else ()), *FETCH)
    for verb in treatments:
        if verb != "slice":
            played.step(f"go to {TREATMENTS[verb]}")
            assert played.step(f"{verb} apple 2 with {TREATMENTS[verb]}") == f"You {verb} the apple 2 using the {TREATMENTS[verb]}."
    assert played.step("examine apple 2") == text


@pytest.mark.parametrize(
    ("scene", "commands"),
    [
        (goal("pick_and_place_simple", "Knife", "CounterTop"),
         ("go to drawer 1", "take knife 1 from drawer 1", "go to countertop 1", "move knife 1 to countertop 1")),
        (goal("pick_heat_then_place_in_recep", "Apple", "CounterTop"),
         (*FETCH, "go to microwave 1", "heat apple 2 with microwave 1", "go to countertop 1", "move apple 2 to countertop 1")),
        (goal("pick_cool_then_place_in_recep", "Apple", "CounterTop"),
         (*FETCH, "go to fridge 1", "cool apple 2 with fridge 1", "go to countertop 1", "move apple 2 to countertop 1")),
        (goal("pick_clean_then_place_in_recep", "Apple", "CounterTop"),
         (*FETCH, "go to sinkbasin 1", "clean apple 2 with sinkbasin 1", "go to countertop 1", "move apple 2 to countertop 1")),
        (goal("pick_two_obj_and_place", "Apple", "CounterTop"),
         ("go to fridge 1", "open fridge 1", "take apple 1 from fridge 1", "go to countertop 1", "move apple 1 to countertop 1")),
        (goal("look_at_obj_in_light", "Apple", "DeskLamp"), (*FETCH, "use desklamp 1")),
    ],
)  # fmt: skip
def test_a_goal_is_met_by_the_last_command_and_not_before(scene: Scene, commands: tuple[str, ...]) -> None:
    played = game(scene)
    for command in commands:
        assert not played.won
        assert played.step(command) != NOTHING
    assert played.won
    played.reset()
    assert not played.won
    assert played.step("inventory") == "You are not carrying anything."


def test_a_goal_met_can_be_lost_again() -> None:
    scene = goal("look_at_obj_in_light", "Apple", "DeskLamp")
    assert not game(scene, *FETCH, "use desklamp 1", "go to fridge 1").won


@pytest.mark.parametrize(("kind", "first", "then"), [
    ("pick_cool_then_place_in_recep", "cool", "heat"),
    ("pick_heat_then_place_in_recep", "heat", "cool"),
])  # fmt: skip
def test_heat_undoes_cold_and_cold_undoes_heat(kind: GoalKind, first: str, then: str) -> None:
    treated = [command for verb in (first, then) for command in (f"go to {TREATMENTS[verb]}", f"{verb} apple 2 with {TREATMENTS[verb]}")]
    back = ("go to countertop 1", "move apple 2 to countertop 1")
    assert game(goal(kind, "Apple", "CounterTop"), *FETCH, *treated[:2], *back).won
    assert not game(goal(kind, "Apple", "CounterTop"), *FETCH, *treated, *back).won


def test_a_goal_that_cannot_be_met_is_not_met() -> None:
    played = game(goal("pick_two_obj_and_place", "Piano", "Fridge"), *FETCH)
    assert not played.won
    assert not game(goal("look_at_obj_in_light", "Apple", "FloorLamp"), *FETCH, "use desklamp 1").won


def test_numbering_counts_down_within_a_type() -> None:
    assert numbered(["Cabinet", "Drawer", "Drawer", "SideTable"]) == ["cabinet 1", "drawer 2", "drawer 1", "sidetable 1"]


@pytest.mark.slow
@given(st.sampled_from(GOAL_KINDS), st.integers(0, 10_000), st.text(max_size=60))
def test_any_text_is_answered(kind: GoalKind, seed: int, text: str) -> None:
    assert Game(generate(kind, seed)).step(text)


@pytest.mark.parametrize("text", ["go to " + "x" * 100_000, "\ud800", "\0", "看", "take " * 20_000, "look " + " " * 100_000 + "x"])
def test_odd_and_enormous_texts_are_not_valid(text: str) -> None:
    assert Game(KITCHEN).step(text) == NOTHING


@pytest.mark.slow
@given(st.sampled_from(GOAL_KINDS), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_command_works_exactly_if_it_is_admissible(kind: GoalKind, seed: int) -> None:
    """Along a random walk, for valid commands and any others; each is tried on a game of its own that went the same way."""
    scene, draw = generate(kind, seed), random.Random(seed)
    played, walked = Game(scene), list[str]()
    for _ in range(15):
        valid = played.admissible()
        assert valid == sorted(set(valid))
        for command in draw.sample(every_command(scene, draw), 40) + draw.sample(valid, 5):
            assert (game_after(scene, walked).step(command) != NOTHING) == (command in valid), command
        walked.append(draw.choice(valid))
        assert played.step(walked[-1]) != NOTHING


def game_after(scene: Scene, commands: list[str]) -> Game:
    made = Game(scene)
    for command in commands:
        made.step(command)
    return made


def every_command(scene: Scene, draw: random.Random) -> list[str]:
    """A few hundred commands over names of the scene, most of them not valid now."""
    receptacles, things = [r.name for r in scene.receptacles], [t.name for t in scene.things]
    made = [f"{verb} {r}" for verb in ("go to", "open", "close", "examine") for r in receptacles]
    made += [f"{verb} {t}" for verb in ("examine", "use") for t in things]
    pairs = (("take", "from"), ("move", "to"), ("heat", "with"), ("cool", "with"), ("clean", "with"))
    made += [f"{verb} {t} {word} {draw.choice(receptacles)}" for verb, word in pairs for t in things]
    return made + [f"slice {t} with {draw.choice(things)}" for t in things]
