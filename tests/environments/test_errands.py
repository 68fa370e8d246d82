"""The errands environment: the household's contract, a word for an errand in each home, and nothing but experience that explains it."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgexp.environments import registry
from edgexp.environments.base import Environment, HasAdmissible, HasExpert, HasMisled, aspects_of, family_of, lesson_of
from edgexp.environments.errands import SHAPES, SPLITS, Errands, errand
from edgexp.environments.household.household import Household
from edgexp.errors import UsageError
from edgexp.play.collecting import expert_episode
from edgexp.play.rollout import run
from edgexp.trajectory import Task, Trajectory

any_task = st.sampled_from(list(SPLITS)).flatmap(
    lambda split: st.integers(0, len(Errands().tasks(split)) - 1).map(lambda n: Errands().tasks(split)[n])
)


def taught(task: Task) -> Trajectory:
    """The expert's episode of a task."""
    return run(expert_episode(Errands(), task, 200)).trajectory


def test_is_registered_and_keeps_the_contract() -> None:
    errands = registry.make("errands")
    assert isinstance(errands, Errands) and isinstance(errands, Environment)
    assert isinstance(errands, HasAdmissible) and isinstance(errands, HasExpert) and isinstance(errands, HasMisled)
    assert errands.instructions() == Household().instructions()


@settings(max_examples=60)
@given(any_task)
def test_the_expert_goes_through_all_stages_with_as_many_things_as_asked_for(task: Task) -> None:
    episode, asked = taught(task), errand(Errands().place(task)[0])
    assert episode.success and task.type == asked.shape.name
    target = Errands().scene(task).goal.target.lower()
    brought = [step.action for step in episode.steps if re.fullmatch(rf"move \w+ \d+ to {target} \d+", step.action)]
    treated = [step.action for step in episode.steps if step.action.startswith(f"{asked.way.verb} ")]
    assert len(brought) == asked.shape.count
    assert len(treated) == asked.shape.count * ("treat" in asked.shape.stages)
    assert any(step.action.startswith("use ") for step in episode.steps) == ("light" in asked.shape.stages)


@settings(max_examples=40)
@given(any_task)
def test_it_is_won_by_the_last_action_and_by_no_part_of_the_episode(task: Task) -> None:
    """Leaving out any delivery, treatment or lamp, it is not won."""
    errands, episode, asked = Errands(), taught(task), errand(Errands().place(task)[0])
    needed = [n for n, step in enumerate(episode.steps) if step.action.split()[0] in ("move", "use", asked.way.verb)]
    for left_out in needed:
        errands.reset(task)
        assert not any(errands.step(step.action).done for n, step in enumerate(episode.steps) if n != left_out)


@given(any_task)
def test_goal_and_first_observation_name_the_home_and_the_goal_has_its_word(task: Task) -> None:
    start, asked = Errands().reset(task), errand(Errands().place(task)[0])
    assert start.goal.startswith(f"in {asked.name}, {asked.word} ") and f" a room of {asked.name}. " in start.observation
    found = aspects_of(Errands(), task, start.goal)
    assert found["home"] == asked.name and found["word"] == asked.word and found["type"] == task.type
    assert lesson_of(Errands(), task) == family_of(Errands(), task)


def test_no_goal_is_worded_as_one_of_the_household_and_nothing_of_the_hard_types_is_needed() -> None:
    from edgexp.environments.household import scene as goals

    for task in Errands().tasks("train")[:300:6]:
        assert goals.read(Errands().reset(task).goal) is None
        assert not any(step.action.startswith(("heat ", "cool ")) for step in taught(task).steps)


def test_shapes_take_turns_and_splits_share_no_home() -> None:
    for split in SPLITS:
        types = Counter(task.type for task in Errands().tasks(split))
        assert set(types) == {shape.name for shape in SHAPES} and len(set(types.values())) == 1
    names = {split: {errand(part.first + n).name for n in range(part.houses)} for split, part in SPLITS.items()}
    assert len(names["train"] | names["dev"] | names["test"]) == sum(SPLITS[split].houses for split in ("train", "dev", "test"))
    assert names["dev"] == names["dev-bank"] and names["test"] == names["test-bank"]


def test_the_same_word_means_other_errands_elsewhere() -> None:
    meanings: dict[str, set[str]] = {}
    for number in range(480):
        meanings.setdefault(errand(number).word, set()).add(errand(number).shape.name)
    assert sum(len(shapes) > 1 for shapes in meanings.values()) > 15


def test_a_thing_brought_twice_counts_once() -> None:
    errands = Errands()
    task = next(t for t in errands.tasks("train") if t.type == "errand_two")
    steps = taught(task).steps
    errands.reset(task)
    first = next(n for n, step in enumerate(steps) if step.action.startswith("move "))
    for step in steps[: first + 1]:
        errands.step(step.action)
    thing, place = steps[first].action.removeprefix("move ").split(" to ")
    for _ in range(3):
        assert errands.step(f"take {thing} from {place}").observation.startswith("You pick up")
        outcome = errands.step(f"move {thing} to {place}")
        assert outcome.observation.startswith("You move") and not outcome.done


def test_unknown_ids_are_the_users() -> None:
    with pytest.raises(UsageError, match="errands has no task 'errands/train/320/0'"):
        Errands().task("errands/train/320/0")
