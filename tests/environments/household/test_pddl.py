"""Game files: what is written is read back as the same scene, and damaged or foreign files are errors that name the file."""

import random
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgexp.environments.household import pddl
from edgexp.environments.household.generator import generate
from edgexp.environments.household.pddl import Templates
from edgexp.environments.household.scene import GOAL_KINDS, Goal, GoalKind, Kind, Receptacle, Scene, Thing
from edgexp.environments.household.simulator import Game
from edgexp.errors import EdgexpError

TEMPLATES = Templates(domain="(define (domain alfred))", grammar='grammar :: """{"task": [{"rhs": "Your task is to: UNKNOWN GOAL."}]}""";')
"""Stands in for ALFWorld's own rules and texts, which reading does not need."""

APPLE = Kind("Apple", portable=True, cleanable=True, heatable=True, coolable=True, sliceable=True)
SCENE = Scene(
    receptacles=(
        Receptacle("bathtubbasin 1", "SinkBasin", 1),
        Receptacle("fridge 1", "Fridge", 3, openable=True, opened=True),
        Receptacle("sinkbasin 1", "SinkBasin", 1),
    ),
    things=(
        Thing("apple 2", APPLE, (1,), (3,), clean=True, hot=True, sliced=True),
        Thing("apple 1", APPLE, (0, 2), (1, 2), cool=True),
        Thing("bowl 1", Kind("Bowl", portable=True, vessel=True), (0,), (1,), contents=(0, 3)),
        Thing("desklamp 1", Kind("DeskLamp", toggleable=True), (1,), (3,), toggled=True),
        Thing("faucet 1", Kind(""), (), (1,)),
    ),
    goal=Goal("look_at_obj_in_light", "Apple", "DeskLamp", 'look at "apple" under the déjà-vu lamp.'),
    fits={"Fridge": frozenset({"Apple", "Bowl"}), "Shelf": frozenset({"Vase"})},
)
"""One of everything a file can say."""


def canonical(scene: Scene) -> Scene:
    """The same with places numbered in the order in which they come up, as reading numbers them."""
    places: defaultdict[int, int] = defaultdict(lambda: len(places))
    change = msgspec.structs.replace
    start = places[scene.start]
    receptacles = tuple(change(r, place=places[r.place]) for r in scene.receptacles)
    things = tuple(change(t, places=tuple(sorted(places[p] for p in t.places))) for t in scene.things)
    return change(scene, receptacles=receptacles, things=things, start=start)


def written(folder: Path, scene: Scene = SCENE, plan: list[str] | None = None) -> Path:
    path = folder / "game.tw-pddl"
    path.write_bytes(pddl.encode(scene, TEMPLATES, plan))
    return path


def test_a_file_says_everything_a_scene_can(tmp_path: Path) -> None:
    assert pddl.read(written(tmp_path)) == canonical(SCENE)


@given(st.sampled_from(GOAL_KINDS), st.integers(0, 100_000))
@settings(deadline=None, max_examples=60)
def test_generated_scenes_survive_writing_and_reading(kind: GoalKind, seed: int) -> None:
    scene = generate(kind, seed)
    back = pddl.parse(pddl.write(scene), scene.goal.text)
    assert back == canonical(scene)
    ours, theirs, draw = Game(scene), Game(back), random.Random(seed)
    for _ in range(10):
        command = draw.choice(ours.admissible())
        assert ours.step(command) == theirs.step(command)


def test_the_plan_is_kept_and_older_wording_is_brought_up_to_date(tmp_path: Path) -> None:
    path = written(tmp_path, plan=["go to fridge 1", "put apple 2 in/on fridge 1", "move apple 2 to fridge 1"])
    assert pddl.walkthrough(path) == ["go to fridge 1", "move apple 2 to fridge 1", "move apple 2 to fridge 1"]
    assert pddl.walkthrough(written(tmp_path)) == []


def test_any_game_serves_as_template_for_the_next(tmp_path: Path) -> None:
    templates = Templates.of_game(written(tmp_path, generate("pick_and_place_simple", 1)))
    assert templates.domain == TEMPLATES.domain
    path = tmp_path / "next.tw-pddl"
    path.write_bytes(pddl.encode(SCENE, templates))
    assert pddl.read(path) == canonical(SCENE)


def test_templates_come_from_the_folder_of_the_package(tmp_path: Path) -> None:
    with pytest.raises(EdgexpError, match="does not hold ALFWorld's"):
        Templates.of_folder(tmp_path)
    (tmp_path / "alfred.pddl").write_text(TEMPLATES.domain)
    (tmp_path / "alfred.twl2").write_text(TEMPLATES.grammar)
    assert Templates.of_folder(tmp_path) == TEMPLATES


def test_a_grammar_without_a_task_is_no_template() -> None:
    with pytest.raises(EdgexpError, match="0 times"):
        pddl.encode(SCENE, Templates("", "grammar"))


def changed(**fields: object) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(pddl.encode(SCENE, TEMPLATES)) | fields)


WHOLE = pddl.encode(SCENE, TEMPLATES)
PROBLEM = pddl.write(SCENE)
BAD = {
    "empty": (b"", "not a game file, or damaged"),
    "truncated": (WHOLE[:3000], "not a game file, or damaged"),
    "not JSON": (b"(define (problem x))", "not a game file, or damaged"),
    "not text": (b'{"grammar": "\xff\xfe"}', "not a game file, or damaged"),
    "no problem": (msgspec.json.encode({"pddl_domain": "", "grammar": "Your task is to: x"}), "missing required field `pddl_problem`"),
    "a number": (changed(grammar=7), "grammar"),
    "no task": (changed(grammar="nothing"), "does not say"),
    "bad task": (changed(grammar='"Your task is to: \\x"'), "game.tw-pddl: "),
    "no init": (changed(pddl_problem="(define (problem x))"), "no \\(:init"),
    "truncated problem": (changed(pddl_problem=PROBLEM[:400]), "no \\(:init"),
    "no start": (changed(pddl_problem=PROBLEM.replace("(atLocation agent1", "(wasAt agent1")), "0 times where the player starts"),
    "unknown goal": (changed(pddl_problem=PROBLEM.replace("(isToggled ?ot)", "(isSliced ?ot)")), "none of the six shapes"),
    "other goal": (changed(pddl_problem=PROBLEM.replace("(exists (?o - ", "(forall (?o - ")), "none of the six shapes"),
    "unknown place": (changed(pddl_problem=PROBLEM.replace("(receptacleType fridge_bar_0001 FridgeType)", "")), "puts apple_bar_0000 in"),
    "nowhere": (changed(pddl_problem=PROBLEM.replace("(receptacleAtLocation fridge_bar_0001 loc_bar_3)", "")), "where fridge_bar_0001 is"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_named_with_what_is_wrong(case: str, tmp_path: Path) -> None:
    content, what = BAD[case]
    path = tmp_path / "game.tw-pddl"
    path.write_bytes(content)
    with pytest.raises(EdgexpError, match=what) as error:
        pddl.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(EdgexpError, match=r"gone\.tw-pddl"):
        pddl.read(tmp_path / "gone.tw-pddl")
    with pytest.raises(EdgexpError, match="test_a_missing"):
        pddl.read(tmp_path)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_changed_byte_is_a_scene_or_a_clear_error(position: int, byte: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[position] = byte
    try:
        file = msgspec.json.decode(bytes(damaged), type=pddl._File)
        Game(pddl.parse(file.pddl_problem, "x")).intro()
    except (EdgexpError, msgspec.DecodeError, UnicodeDecodeError):
        pass


def test_goals_are_known_whatever_the_order_of_their_parts() -> None:
    goal = """(:goal (and (exists (?r - receptacle) (exists (?o - object)
        (and (isHot ?o) (inReceptacle   ?o ?r) (receptacleType ?r FridgeType) (heatable ?o) (objectType ?o EggType))))))"""
    assert pddl.parse_goal(goal, "heat.") == Goal("pick_heat_then_place_in_recep", "Egg", "Fridge", "heat.")


@pytest.mark.parametrize(
    ("scene", "what"),
    [
        (msgspec.structs.replace(SCENE, things=SCENE.things[::-1], receptacles=()), "sorted by lower-case type"),
        (msgspec.structs.replace(SCENE, receptacles=(Receptacle("shelf 2", "Shelf", 1),)), "its shelf 2 would be called shelf 1"),
        (msgspec.structs.replace(SCENE, receptacles=(Receptacle("Küche 1", "Shelf", 1),)), "cannot be written"),
    ],
)
def test_scenes_that_would_come_out_otherwise_are_not_written(scene: Scene, what: str) -> None:
    with pytest.raises(EdgexpError, match=what):
        pddl.write(scene)
