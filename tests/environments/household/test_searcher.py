"""The searching expert: reads texts only, wins what can be won, gives up when it has looked everywhere."""

import os
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.environments import registry
from edgexp.environments.household import scene as goals
from edgexp.environments.household.household import Household, SceneEnvironment
from edgexp.environments.household.scene import GOAL_KINDS, Goal, GoalKind, Kind, Receptacle, Scene, Thing
from edgexp.environments.household.searcher import Notes, SearchExpert
from edgexp.environments.household.simulator import Game
from edgexp.errors import EdgexpError
from edgexp.trajectory import Task

WORDS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12)


# Goals


@given(st.sampled_from(GOAL_KINDS), WORDS, WORDS, st.integers(0, 1))
def test_goals_are_read_as_they_are_worded(kind: GoalKind, thing: str, target: str, wording: int) -> None:
    request = goals.Request(kind, thing, target)
    text = goals.word(request, wording)
    assert goals.read(text) == goals.read(text.removesuffix(".")) == goals.read(f"Your task is to: {text}\n") == request


@pytest.mark.parametrize("text", ["", "win.", "put a clean in.", "put 2 apple in fridge.", "put a very clean apple in fridge."])
def test_goals_in_other_words_are_an_error_that_names_them(text: str) -> None:
    assert goals.read(text) is None
    with pytest.raises(EdgexpError, match="cannot read the goal"):
        SearchExpert().begin(text, "You are in the middle of a room.")


# Notes


def test_notes_follow_the_texts() -> None:
    notes = Notes("You are in the middle of a room. Looking quickly around you, you see a fridge 1, a shelf 12, and a shelf 1.")
    assert notes.receptacles == ["fridge 1", "shelf 12", "shelf 1"] and not notes.contents
    notes.learn("go to fridge 1", "You arrive at fridge 1. The fridge 1 is closed.")
    assert notes.here == "fridge 1" and notes.closed == {"fridge 1"} and not notes.contents
    notes.learn("open fridge 1", "You open the fridge 1. The fridge 1 is open. In it, you see a cup 3, and a mug 1.")
    assert notes.contents == {"fridge 1": ["cup 3", "mug 1"]} and not notes.closed
    notes.learn("take cup 3 from fridge 1", "You pick up the cup 3 from the fridge 1.")
    assert notes.held == "cup 3" and notes.contents == {"fridge 1": ["mug 1"]}
    notes.learn("go to shelf 12", "You arrive at shelf 12. On the shelf 12, you see nothing.")
    notes.learn("move cup 3 to shelf 12", "You move the cup 3 to the shelf 12.")
    assert notes.held == "" and notes.where("cup") == [("cup 3", "shelf 12")]


# Hand-made rooms


CUP = Kind("Cup", portable=True, heatable=True, coolable=True, cleanable=True)
LAMP = Kind("DeskLamp", toggleable=True)
BOX = Kind("Box", portable=True)
FITS = {type: frozenset({"Cup", "Box"}) for type in ("Fridge", "Microwave", "Drawer", "Shelf", "Pedestal")}


def room(kind: GoalKind, target: str, text: str, *receptacles: Receptacle, **lying: tuple[Kind, int]) -> Scene:
    """A scene; `lying` is name (with _ for the blank) → kind and index of its receptacle."""
    things = tuple(Thing(name.replace("_", " "), of, (at,), (receptacles[at].place,)) for name, (of, at) in lying.items())
    return Scene(receptacles, things, Goal(kind, "Cup", target, text), FITS)


def commands(scene: Scene, limit: int = 200) -> list[str] | None:
    """What the expert does until it has won; None when it gives up."""
    game, expert, done = Game(scene), SearchExpert(), []
    observation = game.observation()
    expert.begin(scene.goal.text, observation)
    while not game.won:
        command = expert.act(observation)
        if command is None:
            return None
        done.append(command)
        assert len(done) < limit, done
        observation = game.step(command)
    return done


def test_heats_with_the_door_closed_and_opens_only_where_it_must() -> None:
    scene = room("pick_heat_then_place_in_recep", "Drawer", "put a hot cup in drawer.",
                 Receptacle("drawer 1", "Drawer", 0, openable=True), Receptacle("microwave 1", "Microwave", 1, openable=True),
                 Receptacle("shelf 1", "Shelf", 2), cup_1=(CUP, 2))  # fmt: skip
    done = commands(scene)
    assert done is not None and done[-6:] == [
        "take cup 1 from shelf 1", "go to microwave 1", "heat cup 1 with microwave 1",
        "go to drawer 1", "open drawer 1", "move cup 1 to drawer 1",
    ]  # fmt: skip


def test_two_things_end_in_the_same_receptacle() -> None:
    scene = room("pick_two_obj_and_place", "Drawer", "find two cup and put them in drawer.",
                 *(Receptacle(f"drawer {5 - i}", "Drawer", i, openable=True) for i in range(5)), Receptacle("shelf 1", "Shelf", 9),
                 cup_3=(CUP, 0), cup_2=(CUP, 3), cup_1=(CUP, 4))  # fmt: skip
    done = commands(scene)
    assert done is not None
    assert len({command.split(" to ")[1] for command in done if command.startswith("move")}) == 1


def test_a_lamp_seen_first_is_gone_back_to() -> None:
    scene = room("look_at_obj_in_light", "DeskLamp", "examine the cup with the desklamp.",
                 Receptacle("shelf 1", "Shelf", 0), Receptacle("drawer 1", "Drawer", 1, openable=True),
                 cup_1=(CUP, 1), desklamp_1=(LAMP, 0))  # fmt: skip
    assert commands(scene) == [
        "go to shelf 1", "go to drawer 1", "open drawer 1", "take cup 1 from drawer 1", "go to shelf 1", "use desklamp 1",
    ]  # fmt: skip


def test_receptacles_at_one_place_are_all_looked_into() -> None:
    """Walking to a receptacle at the place where one stands already is not valid, and tells nothing."""
    scene = room("pick_and_place_simple", "Shelf", "put a cup in shelf.",
                 Receptacle("drawer 2", "Drawer", 0, openable=True), Receptacle("drawer 1", "Drawer", 0, openable=True),
                 Receptacle("pedestal 2", "Pedestal", 1), Receptacle("pedestal 1", "Pedestal", 1), Receptacle("shelf 1", "Shelf", 3),
                 cup_1=(CUP, 0))  # fmt: skip
    done = commands(scene)
    assert done is not None and "go to drawer 2" in done
    assert done[done.index("go to drawer 2") + 1] == "open drawer 2"
    elsewhere = room("pick_and_place_simple", "Shelf", "put a cup in shelf.", *scene.receptacles, cup_1=(CUP, 2))
    assert commands(elsewhere) is not None


def test_a_room_it_does_not_know_is_searched_all_the_same() -> None:
    pedestals = [Receptacle(f"pedestal {30 - i}", "Pedestal", i, openable=i % 2 == 0) for i in range(30)]
    shelf = Receptacle("shelf 1", "Shelf", 40)
    for at in range(30):
        scene = room("pick_and_place_simple", "Shelf", "put some cup on shelf.", *pedestals, shelf, cup_1=(CUP, at))
        assert commands(scene) is not None


def test_gives_up_when_it_has_looked_everywhere() -> None:
    shelf, drawer = Receptacle("shelf 1", "Shelf", 0), Receptacle("drawer 1", "Drawer", 1, openable=True)
    nothing = room("pick_and_place_simple", "Drawer", "put a cup in drawer.", shelf, drawer, box_1=(BOX, 0))
    no_drawer = room("pick_and_place_simple", "Drawer", "put a cup in drawer.", shelf, cup_1=(CUP, 0))
    no_lamp = room("look_at_obj_in_light", "DeskLamp", "look at cup under the desklamp.", shelf, drawer, cup_1=(CUP, 0))
    no_fridge = room("pick_cool_then_place_in_recep", "Drawer", "put a cool cup in drawer.", shelf, drawer, cup_1=(CUP, 0))
    for scene in (nothing, no_drawer, no_lamp, no_fridge):
        assert commands(scene, limit=15) is None


@given(st.integers(0, 9_999), st.lists(st.booleans(), max_size=60), st.booleans())
def test_answers_that_make_no_sense_never_keep_it_busy_forever(number: int, refused: list[bool], always: bool) -> None:
    """In a world that refuses valid commands now and then, it ends: by winning or by giving up."""
    household = Household()
    game, expert = Game(household.scene(household.tasks("dev")[number])), SearchExpert()
    observation = game.observation()
    expert.begin(game.scene.goal.text, observation)
    for step in range(400):
        command = expert.act(observation)
        if command is None or game.won:
            return
        refuse = always or (step < len(refused) and refused[step])
        observation = "Nothing happens." if refuse else game.step(command)
    raise AssertionError("still at it after 400 commands")


# Figures


def play(environment: SceneEnvironment, task: Task) -> bool:
    """Whether the expert wins the task within the environment's limit."""
    start, expert = environment.reset(task), environment.expert()
    expert.begin(start.goal, start.observation)
    observation = start.observation
    for _ in range(environment.max_steps):
        action = expert.act(observation)
        if action is None:
            return False
        outcome = environment.step(action)
        if outcome.success:
            return True
        observation = outcome.observation
    return False


def shares(environment: SceneEnvironment, tasks: list[Task], wins: Callable[[SceneEnvironment, Task], bool] = play) -> dict[str, float]:
    """Task type → share of games won, and `all`."""
    won, played = Counter[str](), Counter[str]()
    for task in tasks:
        success = wins(environment, task)
        for name in (task.type, "all"):
            played[name] += 1
            won[name] += success
    return {name: won[name] / played[name] for name in played}


def test_wins_within_fifty_actions() -> None:
    household = Household()
    result = shares(household, household.tasks("dev")[:1200])  # type: ignore[arg-type]
    assert result["all"] >= 0.99 and min(result.values()) >= 0.97, result


@pytest.mark.parametrize("split", ["train", "valid_seen"])
def test_wins_official_games_within_fifty_actions(split: str) -> None:
    if not os.environ.get("ALFWORLD_DATA"):
        pytest.skip("needs ALFWorld's games: set ALFWORLD_DATA to the folder that holds json_2.1.1")
    alfworld = registry.make("alfworld")
    assert isinstance(alfworld, SceneEnvironment)
    result = shares(alfworld, list(alfworld.tasks(split))[:: 20 if split == "train" else 2])
    assert result["all"] >= 0.97 and min(result.values()) >= 0.95, result
