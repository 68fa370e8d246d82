"""The treatments environment: the household's contract, one treatment more, and nothing but experience that tells it."""

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgexp.environments import registry
from edgexp.environments.base import Environment, HasAdmissible, HasExpert, aspects_of, family_of, lesson_of
from edgexp.environments.household.household import SIZES, Household
from edgexp.environments.household.scene import Way
from edgexp.environments.treatments import APPLIANCES, SPLITS, WORDINGS, Treatments, home
from edgexp.errors import EdgexpError
from edgexp.play.collecting import expert_episode
from edgexp.play.rollout import run
from edgexp.trajectory import Task, Trajectory

any_task = st.sampled_from(list(SPLITS)).flatmap(
    lambda split: st.integers(0, len(Treatments().tasks(split)) - 1).map(lambda n: Treatments().tasks(split)[n])
)


def way_of(task: Task) -> Way:
    """What the task's home does to things."""
    way = Treatments().scene(task).goal.way
    assert way is not None
    return way


def taught(task: Task) -> Trajectory:
    """The expert's episode of a task."""
    return run(expert_episode(Treatments(), task, 200)).trajectory


def test_is_registered_and_keeps_the_contract() -> None:
    treatments = registry.make("treatments")
    assert isinstance(treatments, Treatments) and isinstance(treatments, Environment)
    assert isinstance(treatments, HasAdmissible) and isinstance(treatments, HasExpert)
    assert treatments.instructions() == Household().instructions()


@settings(max_examples=60)
@given(any_task)
def test_the_expert_does_what_the_home_wants_and_nothing_else_is_asked(task: Task) -> None:
    episode, way = taught(task), way_of(task)
    treating = [step for step in episode.steps if step.action.startswith(f"{way.verb} ")]
    assert episode.success and len(treating) == 1
    assert re.fullmatch(rf"{way.verb} \w+ \d+ with {way.appliance.lower()} \d+", treating[0].action)
    assert treating[0].observation.startswith(f"You {way.verb} the ")
    assert (way.verb in episode.goal.split()) or (way.state in episode.goal.split())


@settings(max_examples=30)
@given(any_task)
def test_without_the_treatment_it_is_not_won(task: Task) -> None:
    treatments, episode, way = Treatments(), taught(task), way_of(task)
    treatments.reset(task)
    for step in episode.steps:
        if not step.action.startswith(f"{way.verb} "):
            assert not treatments.step(step.action).done


@given(any_task)
def test_the_treatment_is_valid_at_its_appliance_only(task: Task) -> None:
    treatments, way = Treatments(), way_of(task)
    treatments.reset(task)
    for step in taught(task).steps:
        offered = [action for action in treatments.admissible() if action.startswith(f"{way.verb} ")]
        assert all(f" with {way.appliance.lower()} " in action for action in offered)
        assert not step.action.startswith(f"{way.verb} ") or step.action in offered
        treatments.step(step.action)


@given(any_task)
def test_goal_and_first_observation_name_the_home(task: Task) -> None:
    start = Treatments().reset(task)
    name = home(Treatments().place(task)[0]).name
    assert start.goal.startswith(f"in {name}, ") and start.observation.startswith(f"You are in the middle of a room of {name}. ")


def test_homes_have_names_of_their_own_and_words_that_tell_nothing() -> None:
    homes = [home(number) for number in range(500)]
    assert len({h.name for h in homes}) == 500
    by_verb = {verb: {h.way.appliance for h in found} for verb, found in itertools.groupby(
        sorted(homes, key=lambda h: h.way.verb), key=lambda h: h.way.verb)}
    several = [places for verb, places in by_verb.items() if sum(h.way.verb == verb for h in homes) > 4]
    assert several and all(len(places) > 1 for places in several)
    forbidden = {"heat", "cool", "clean", "warm", "chill", "freeze", "wash", "rinse", "take", "move", "open", "close", "use", "go", "slice"}
    assert not forbidden & set(by_verb)
    assert {h.way.appliance for h in homes} == set().union(*APPLIANCES)


def test_banks_are_of_the_same_homes_in_other_scenes_and_splits_share_none() -> None:
    treatments = Treatments()
    for split in ("dev", "test"):
        played = {treatments.place(task) for task in treatments.tasks(split)}
        shown = {treatments.place(task) for task in treatments.tasks(f"{split}-bank")}
        assert not played & shown and {house for house, _ in played} == {house for house, _ in shown}
    apart = [{treatments.place(task)[0] for task in treatments.tasks(split)} for split in ("train", "dev", "test")]
    assert len(set().union(*apart)) == sum(map(len, apart))


@pytest.mark.slow
def test_rooms_are_none_of_the_households() -> None:
    treatments, seeds = Treatments(), 8 * max(SIZES.values())
    rooms = {treatments.scene(task).things for task in treatments.tasks("train")[:40]}
    household = {Household().scene(task).things for split in SIZES for task in Household().tasks(split)[:3_000]}
    assert seeds < 2_000_000_000 and not rooms & household


def test_an_action_before_a_reset_is_an_error() -> None:
    with pytest.raises(EdgexpError, match="reset the environment"):
        Treatments().step("look")


def test_texts_do_not_depend_on_the_python_that_draws_them() -> None:
    """Ids hash all that was seen and done: they change with any draw, word or rule, and then `version` has to change."""
    assert [taught(Treatments().tasks(split)[n]).id for split, n in (("train", 0), ("dev", 17), ("test-bank", 599))] == [
        "tc882507b876e364d7ec24c08",
        "t768f16ebd143f7d10cc40080",
        "t4f5662f0bd2dd601cff0c74e",
    ]


@given(any_task)
def test_aspects_are_those_of_the_scene_and_tell_no_appliance(task: Task) -> None:
    treatments = Treatments()
    scene = treatments.scene(task)
    assert scene.goal.way is not None
    aspects = dict(aspects_of(treatments, task, scene.goal.text))
    assert aspects == {
        "type": "pick_treat_then_place_in_recep", "home": home(treatments.place(task)[0]).name, "object": scene.goal.object.lower(),
        "treatment": scene.goal.way.state, "receptacle": scene.goal.target.lower(),
    }  # fmt: skip
    assert scene.goal.way.appliance.lower() not in aspects.values()  # never where the thing is to be put


def test_both_wordings_are_about_the_same_treatment() -> None:
    treatments, task = Treatments(), Treatments().tasks("train")[0]
    for verb, state in {home(number).way.verb: home(number).way.state for number in range(500)}.items():
        told, asked = (wording.format(name="Beladar", object="mug", target="shelf", verb=verb, state=state) for wording in WORDINGS)
        assert aspects_of(treatments, task, told) == aspects_of(treatments, task, asked)
        assert aspects_of(treatments, task, told)["treatment"] == state


@given(any_task, any_task)
def test_a_home_is_a_family_and_a_lesson(one: Task, other: Task) -> None:
    treatments = Treatments()
    same = treatments.place(one)[0] == treatments.place(other)[0]
    assert (family_of(treatments, one) == family_of(treatments, other)) is same
    assert (lesson_of(treatments, one) == lesson_of(treatments, other)) is same
