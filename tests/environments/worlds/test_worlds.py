"""The worlds environment keeps the contract of environments: splits, tasks, episodes, errors, the expert."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.environments import registry
from edgexp.environments.base import Environment, HasAdmissible, HasExpert, Outcome, aspects_of, family_of, lesson_of
from edgexp.environments.worlds.invented import RECIPES, SHAPES
from edgexp.environments.worlds.worlds import SPLITS, Worlds
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.collecting import expert_episode
from edgexp.play.rollout import run
from edgexp.trajectory import Task, Trajectory

any_task = st.sampled_from(list(SPLITS)).flatmap(
    lambda split: st.integers(0, len(Worlds().tasks(split)) - 1).map(lambda n: Worlds().tasks(split)[n])
)


@pytest.fixture
def worlds() -> Worlds:
    return Worlds()


def taught(task: Task) -> Trajectory:
    """The expert's episode of a task."""
    return run(expert_episode(Worlds(), task)).trajectory


def test_is_registered_and_keeps_the_contract() -> None:
    worlds = registry.make("worlds")
    assert isinstance(worlds, Worlds) and isinstance(worlds, Environment)
    assert isinstance(worlds, HasAdmissible) and isinstance(worlds, HasExpert)
    assert worlds.name == "worlds" and worlds.max_steps == 20
    assert list(worlds.splits()) == ["train", "train-small", "dev", "test", "dev-bank", "test-bank"]


def test_tasks_are_lazy_and_known_by_position(worlds: Worlds) -> None:
    tasks = worlds.tasks("train")
    assert len(tasks) == 27_000 and len(worlds.tasks("dev")) == 900 and len(worlds.tasks("dev-bank")) == 2_700
    assert tasks[10].id == "worlds/train/1/1" and tasks[10].environment == "worlds" and tasks[10].split == "train"
    assert tasks[-1].id == "worlds/train/2999/8" and [task.id for task in tasks[:2]] == ["worlds/train/0/0", "worlds/train/0/1"]
    with pytest.raises(IndexError):
        tasks[27_000]


def test_types_are_balanced_and_take_turns_in_a_world(worlds: Worlds) -> None:
    for split in SPLITS:
        some = worlds.tasks(split)[:900]
        assert all(sum(task.type == shape for task in some) == 180 for shape in SHAPES)
        assert {task.group for task in some} == {""}
    world = [task.type for task in worlds.tasks("train")[:9]]
    assert len(set(world[:3])) == 3 and world == world[:3] * 3


@given(any_task)
def test_the_type_is_the_shape_of_the_recipe(task: Task) -> None:
    assert Worlds().scene(task).recipe.shape == task.type


@given(any_task)
def test_task_of_an_id_is_the_task_of_the_split(task: Task) -> None:
    assert Worlds().task(task.id) == task


def test_held_out_worlds_are_not_trained_on_and_banks_are_of_the_same_worlds() -> None:
    def houses(split: str) -> set[int]:
        return set(range(SPLITS[split].first, SPLITS[split].first + SPLITS[split].houses))

    apart = ["train", "train-small", "dev", "test"]
    assert len(set().union(*map(houses, apart))) == sum(len(houses(split)) for split in apart)
    assert houses("dev") == houses("dev-bank") and houses("test") == houses("test-bank")


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_bank_has_each_recipe_of_a_task_and_never_its_scene(worlds: Worlds, split: str) -> None:
    played = [worlds.scene(task) for task in worlds.tasks(split)]
    shown = [worlds.scene(task) for task in worlds.tasks(f"{split}-bank")]
    assert not {(s.world.name, s.places, s.things, s.goal) for s in played} & {(s.world.name, s.places, s.things, s.goal) for s in shown}
    lessons = [(scene.world.number, scene.recipe.state) for scene in shown]
    assert all(lessons.count((scene.world.number, scene.recipe.state)) == 3 for scene in played)
    assert len(lessons) == 300 * RECIPES * 3


BAD_IDS = ["", "17", "worlds", "worlds/train", "worlds/train/0", "worlds/train/3000/0", "worlds/train/0/9", "worlds/dev/0/3",
           "worlds/train/-1/0", "worlds/train/01/0", "worlds/train/1/1 ", "worlds/valid/1/1", "household/train/1", "worlds/train/1/2/3",
           "worlds/train/٣/1", "worlds/dev-bank/300/0", "worlds/train/99999999999999999999/0"]  # fmt: skip


@pytest.mark.parametrize("task_id", BAD_IDS)
def test_unknown_tasks_are_refused(worlds: Worlds, task_id: str) -> None:
    with pytest.raises(UsageError, match="worlds has no task"):
        worlds.task(task_id)


@pytest.mark.parametrize("split", ["", "valid", "Train", "train-bank"])
def test_unknown_splits_are_refused(worlds: Worlds, split: str) -> None:
    with pytest.raises(UsageError, match="it has train, train-small, dev, test, dev-bank, test-bank"):
        worlds.tasks(split)


def test_a_task_that_says_something_else_is_refused(worlds: Worlds) -> None:
    own = worlds.tasks("train")[0]
    with pytest.raises(UsageError, match="not worlds' own task"):
        worlds.reset(Task(own.id, own.environment, own.split, "easy"))


@given(any_task)
def test_the_same_task_and_actions_give_the_same_texts(task: Task) -> None:
    assert taught(task).id == taught(task).id


def test_texts_do_not_depend_on_the_python_that_draws_them(worlds: Worlds) -> None:
    """Ids hash all that was seen and done: they change with any draw, word or rule of these scenes, and then `version` has to change."""
    assert [taught(worlds.tasks(split)[n]).id for split, n in (("train", 0), ("dev", 17), ("test-bank", 2_699))] == [
        "te1531702f61345ae5dff1946",
        "t41b8d35ec4c2d16f24ab1ca7",
        "ta574b5daddb87b6135ff537f",
    ]


@given(any_task)
def test_the_expert_always_wins_in_time_and_does_nothing_in_vain(task: Task) -> None:
    trajectory = taught(task)
    assert trajectory.success and trajectory.end == "done" and 5 <= len(trajectory.steps) <= 18
    assert all(step.observation != "Nothing happens." for step in trajectory.steps)


def test_an_episode_ends_when_it_is_won(worlds: Worlds) -> None:
    for task in worlds.tasks("dev")[:12]:
        actions = [step.action for step in taught(task).steps]
        worlds.reset(task)
        outcomes = [worlds.step(action) for action in actions]
        assert all(outcome == Outcome(outcome.observation) for outcome in outcomes[:-1])
        assert outcomes[-1] == Outcome(outcomes[-1].observation, reward=1.0, done=True, success=True, score=1.0)
        assert worlds.admissible() == []
        with pytest.raises(EdgexpError, match="the episode is over"):
            worlds.step("look")
        worlds.reset(task)
        assert worlds.step("look").done is False


def test_acting_before_a_reset_is_an_error(worlds: Worlds) -> None:
    for call in (lambda: worlds.step("look"), worlds.admissible, lambda: worlds.expert().begin("", "")):
        with pytest.raises(EdgexpError, match="reset"):
            call()


def test_a_failed_reset_leaves_no_episode(worlds: Worlds) -> None:
    worlds.reset(worlds.tasks("dev")[0])
    with pytest.raises(UsageError):
        worlds.reset(Task("worlds/dev/0/99", "worlds", "dev", "word"))
    with pytest.raises(EdgexpError, match="reset"):
        worlds.step("look")


def test_closing_twice_is_fine(worlds: Worlds) -> None:
    worlds.reset(worlds.tasks("dev")[0])
    worlds.close()
    worlds.close()
    with pytest.raises(EdgexpError):
        worlds.step("look")


@pytest.mark.parametrize("action", ["", " ", "\n", "go to", "take", "open  ", "go to kiln 999", "<|im_end|>", "x" * 1_000_000,
                                    "look\x00", "go to " * 1000, "☃ 1"])  # fmt: skip
def test_any_text_is_an_action(worlds: Worlds, action: str) -> None:
    worlds.reset(worlds.tasks("dev")[3])
    before = worlds.admissible()
    assert worlds.step(action).observation == "Nothing happens."
    assert worlds.admissible() == before


@given(any_task, st.integers(0, 2**32))
def test_valid_actions_are_sorted_unique_few_and_the_only_ones_that_are_answered(task: Task, seed: int) -> None:
    worlds, chance = Worlds(), random.Random(seed)
    worlds.reset(task)
    said: set[str] = set()
    for _ in range(20):
        valid = worlds.admissible()
        assert valid == sorted(set(valid)) and 8 <= len(valid) <= 50
        said |= set(valid)
        invalid = chance.choice(sorted(said - set(valid)) or ["dance"])
        assert worlds.step(invalid).observation == "Nothing happens."
        assert worlds.admissible() == valid
        if worlds.step(chance.choice(valid)).observation == "Nothing happens.":
            pytest.fail("a valid action was not answered")
        if not worlds.admissible():
            break


def test_instructions_tell_no_ways(worlds: Worlds) -> None:
    """Only forms of actions are the same in all houses."""
    words = set(worlds.instructions().lower().replace("[", " ").replace("]", " ").split())
    for task in worlds.tasks("train")[:2700:9]:
        world = worlds.scene(task).world
        for secret in (world.name.lower(), *world.verbs, *world.words, *world.appliances, *(recipe.state for recipe in world.recipes)):
            assert secret not in words


@given(any_task)
def test_aspects_are_those_of_the_scene(task: Task) -> None:
    scene = Worlds().scene(task)
    assert dict(aspects_of(Worlds(), task, scene.goal)) == {
        "type": scene.recipe.shape, "home": scene.world.name, "object": scene.object, "treatment": scene.recipe.state,
        "receptacle": scene.target,
    }  # fmt: skip


@given(any_task, st.integers(0, 8), any_task)
def test_a_house_is_a_family_and_a_lesson_whatever_the_recipe(task: Task, other_scene: int, stranger: Task) -> None:
    worlds = Worlds()
    first = worlds.houses[task.split]
    neighbour = worlds.task(f"{task.id.rpartition('/')[0]}/{other_scene % first.scenes}")
    for say in (family_of, lesson_of):
        assert say(worlds, task) == say(worlds, neighbour)
        assert (say(worlds, task) == say(worlds, stranger)) is (worlds.place(task)[0] == worlds.place(stranger)[0])
