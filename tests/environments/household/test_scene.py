"""Goals of the household world, both ways between what is asked for and words; names and numbers; what scenes are as data."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.environments.household import scene as goals
from edgexp.environments.household.generator import generate
from edgexp.environments.household.scene import GOAL_KINDS, GROUPS, WORDINGS, GoalKind, Kind, Receptacle, Request, Scene, Thing, numbered
from edgexp.errors import EdgexpError

WORD = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12)
KINDS = st.sampled_from(GOAL_KINDS)


# Goals in words


@given(KINDS, WORD, WORD, st.integers(0, 1))
def test_what_is_worded_is_read_again(kind: GoalKind, object: str, target: str, wording: int) -> None:
    request = Request(kind, object, target)
    text = goals.word(request, wording)
    for variant in (text, text.removesuffix("."), f"Your task is to: {text}\n", text.upper(), f"  {text}  "):
        assert goals.read(variant) == request


@given(WORD, WORD)
def test_no_two_goals_are_worded_alike(object: str, target: str) -> None:
    texts = [goals.word(Request(kind, object, target), wording) for kind in GOAL_KINDS for wording in (0, 1)]
    assert len(set(texts)) == 12


@given(st.lists(st.sampled_from(["put", "a", "some", "two", "hot", "heat", "mug", "shelf", "in", "on", "and", "it", "."]), max_size=8))
def test_what_is_read_is_what_would_be_said(words: list[str]) -> None:
    """Of texts that are goals and texts that are nearly."""
    text = " ".join(words).replace(" .", ".")
    request = goals.read(text)
    assert request is None or text.rstrip(".") + "." in (goals.word(request, 0), goals.word(request, 1))


@pytest.mark.parametrize("text", ["", ".", "put a mug", "put a mug in", "put a mug in shelf 1.", "put a hot clean mug in shelf.",
                                  "put three mug in shelf.", "put a mug in shelf. please", "look at mug.", "heat some mug.",
                                  "find two mug and put it in shelf.", "put a mug2 in shelf.", "put a m-ug in shelf."])  # fmt: skip
def test_goals_in_other_words_are_not_read(text: str) -> None:
    assert goals.read(text) is None and goals.aspects(text) == {}


def test_there_are_two_wordings_of_six_goals_and_each_is_on_a_side() -> None:
    assert set(WORDINGS) == set(GOAL_KINDS) == set(GROUPS) and all(len(set(wordings)) == 2 for wordings in WORDINGS.values())
    assert sorted(GROUPS.values()) == ["easy"] * 3 + ["hard"] * 3


@pytest.mark.parametrize("slots", ["{object}", "{object} {target}", "a {verb} ({object}) of {name}.", "{a}{b}", "no slot at all?"])
def test_a_pattern_takes_one_word_a_slot_and_the_rest_as_it_is(slots: str) -> None:
    names = [part.partition("}")[0] for part in slots.split("{")[1:]]
    form = goals.pattern(slots)
    found = form.fullmatch(slots.format(**{name: f"Word{name}" for name in names}))
    assert found and set(found.groupdict()) == set(names)
    assert not form.fullmatch(slots.format(**{name: f"Word{name}" for name in names}) + "!")
    assert not names or not form.fullmatch(slots.format(**dict.fromkeys(names, "two words")))


# What goals are about


@pytest.mark.parametrize(("text", "aspects"), [
    ("put a mug in shelf.", {"object": "mug", "receptacle": "shelf"}),
    ("put some mug on shelf.", {"object": "mug", "receptacle": "shelf"}),
    ("look at bowl under the desklamp.", {"object": "bowl", "lamp": "desklamp"}),
    ("examine the bowl with the desklamp.", {"object": "bowl", "lamp": "desklamp"}),
    ("put a clean mug in shelf.", {"object": "mug", "receptacle": "shelf", "treatment": "clean"}),
    ("clean some mug and put it in shelf.", {"object": "mug", "receptacle": "shelf", "treatment": "clean"}),
    ("put a cool mug in shelf.", {"object": "mug", "receptacle": "shelf", "treatment": "cool"}),
    ("heat some egg and put it in fridge.", {"object": "egg", "receptacle": "fridge", "treatment": "hot"}),
    ("put two cd in safe.", {"object": "cd", "receptacle": "safe", "count": "2"}),
    ("find two cd and put them in safe.", {"object": "cd", "receptacle": "safe", "count": "2"}),
    ("Your task is to: put a hot egg in fridge", {"object": "egg", "receptacle": "fridge", "treatment": "hot"}),
])  # fmt: skip
def test_aspects_of_goals(text: str, aspects: dict[str, str]) -> None:
    assert goals.aspects(text) == aspects


@given(KINDS, st.integers(0, 100_000))
def test_aspects_are_those_of_the_scene(kind: GoalKind, seed: int) -> None:
    goal = generate(kind, seed).goal
    aspects = goals.aspects(goal.text)
    assert aspects["object"] == goal.object.lower()
    assert aspects["lamp" if kind == "look_at_obj_in_light" else "receptacle"] == goal.target.lower()
    assert ("lamp" in aspects) != ("receptacle" in aspects)
    assert ("treatment" in aspects) == ("then_place" in kind) and ("count" in aspects) == (kind == "pick_two_obj_and_place")


@given(KINDS, WORD, WORD)
def test_both_wordings_are_about_the_same(kind: GoalKind, object: str, target: str) -> None:
    request = Request(kind, object, target)
    assert goals.aspects(goals.word(request, 0)) == goals.aspects(goals.word(request, 1)) != {}


# Names


@given(st.lists(st.sampled_from(["Drawer", "Shelf", "SideTable", "drawer"]), max_size=30))
def test_names_are_unique_and_the_last_of_a_type_is_number_one(types: list[str]) -> None:
    names = numbered(types)
    assert len(set(names)) == len(types)
    assert [name.split()[0] for name in names] == [type.lower() for type in types]
    for type in {type.lower() for type in types}:
        numbers = [int(name.split()[1]) for name in names if name.split()[0] == type]
        assert numbers == list(range(len(numbers), 0, -1))


# Scenes as data


@given(KINDS, st.integers(0, 100_000))
def test_a_scene_survives_json(kind: GoalKind, seed: int) -> None:
    scene = generate(kind, seed)
    assert msgspec.json.decode(msgspec.json.encode(scene), type=Scene) == scene


def test_a_scene_cannot_be_changed() -> None:
    scene = generate("pick_and_place_simple", 1)
    for part, field in ((scene, "start"), (scene.goal, "text"), (scene.things[0], "hot"), (scene.receptacles[0], "place")):
        with pytest.raises(AttributeError):
            setattr(part, field, None)


@pytest.mark.parametrize("wrong", [{"name": "shelf 1", "type": "Shelf"}, {"name": "shelf 1", "type": "Shelf", "place": "here"},
                                   {"name": "shelf 1", "type": "Shelf", "place": 1, "colour": "red"}])  # fmt: skip
def test_a_scene_with_something_else_in_it_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Receptacle)


def test_what_is_left_out_is_false_or_nothing() -> None:
    thing = Thing("mug 1", Kind("Mug"))
    assert not any((thing.clean, thing.hot, thing.cool, thing.sliced, thing.toggled, thing.receptacles, thing.places, thing.contents))
    assert not any(getattr(thing.kind, name) for name in Kind.__struct_fields__ if name != "type")


def test_the_expert_names_where_wordings_are_known() -> None:
    from pathlib import Path

    import edgexp
    from edgexp.environments.household.searcher import SearchExpert

    with pytest.raises(EdgexpError, match=r"the wordings it knows are in household/scene\.py"):
        SearchExpert().begin("win.", "You are in the middle of a room.")
    assert (Path(edgexp.__file__).parent / "environments" / "household" / "scene.py").is_file()
