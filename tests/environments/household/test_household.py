"""The household environment keeps the contract of environments: splits, tasks, episodes, errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.environments import registry
from edgexp.environments.base import Environment, HasAdmissible, HasExpert, Outcome
from edgexp.environments.household.household import Household
from edgexp.environments.household.scene import GOAL_KINDS, GROUPS
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Task


@pytest.fixture
def household() -> Household:
    return Household()


def play(household: Household, task: Task) -> tuple[list[str], list[Outcome]]:
    """The expert's actions and what they led to."""
    start, expert = household.reset(task), household.expert()
    expert.begin(start.goal, start.observation)
    observation = start.observation
    actions: list[str] = []
    outcomes: list[Outcome] = []
    while not (outcomes and outcomes[-1].done) and len(actions) < 200:
        action = expert.act(observation)
        assert action is not None
        actions.append(action)
        outcomes.append(household.step(action))
        observation = outcomes[-1].observation
    return actions, outcomes


def test_is_registered_and_keeps_the_contract() -> None:
    household = registry.make("household")
    assert isinstance(household, Household) and isinstance(household, Environment)
    assert isinstance(household, HasAdmissible) and isinstance(household, HasExpert)
    assert household.name == "household" and household.max_steps == 50
    assert list(household.splits()) == ["train", "dev", "test"]


def test_tasks_are_lazy_balanced_and_known_by_position(household: Household) -> None:
    tasks = household.tasks("train")
    assert len(tasks) == 100_000 and len(household.tasks("dev")) == len(household.tasks("test")) == 10_000
    some = tasks[600:1200]
    assert all(sum(task.type == kind for task in some) == 100 for kind in GOAL_KINDS)
    assert all(task.group == GROUPS[task.type] and task.environment == "household" and task.split == "train" for task in some)
    assert sum(task.group == "easy" for task in some) == 300
    assert tasks[17] == tasks[17 - 100_000] == Task("household/train/17", "household", "train", "pick_two_obj_and_place", "hard")
    assert [task.id for task in tasks[99_998:]] == ["household/train/99998", "household/train/99999"]
    with pytest.raises(IndexError):
        tasks[100_000]


@given(st.sampled_from(["train", "dev", "test"]), st.integers(0, 9_999))
def test_task_of_an_id_is_the_task_of_the_split(split: str, number: int) -> None:
    household = Household()
    task = household.tasks(split)[number]
    assert household.task(task.id) == task
    assert task.id == f"household/{split}/{number}"


def test_splits_share_no_scene(household: Household) -> None:
    """Same numbers, so same types: only the split makes the difference."""
    seen = {split: {repr(household.scene(task)) for task in household.tasks(split)[:300]} for split in household.splits()}
    assert all(len(scenes) == 300 for scenes in seen.values())
    assert not (seen["train"] & seen["dev"] or seen["train"] & seen["test"] or seen["dev"] & seen["test"])


BAD_IDS = ["", "17", "household", "household/train", "household/train/", "household/train/100000", "household/dev/10000",
           "household/train/-1", "household/train/017", "household/train/1 ", "household/valid/1", "alfworld/train/1",
           "household/train/1/2", "household/train/٣", "household/train/99999999999999999999"]  # fmt: skip


@pytest.mark.parametrize("task_id", BAD_IDS)
def test_unknown_tasks_are_refused(household: Household, task_id: str) -> None:
    with pytest.raises(UsageError, match="household has no task"):
        household.task(task_id)


@pytest.mark.parametrize("split", ["", "valid", "Train", "household/train"])
def test_unknown_splits_are_refused(household: Household, split: str) -> None:
    with pytest.raises(UsageError, match="it has train, dev, test"):
        household.tasks(split)


def test_a_task_that_says_something_else_is_refused(household: Household) -> None:
    own = household.tasks("train")[0]
    forged = Task(own.id, own.environment, own.split, "pick_two_obj_and_place", "hard")
    with pytest.raises(UsageError, match="not household's own task"):
        household.reset(forged)


def test_the_same_task_and_actions_give_the_same_texts(household: Household) -> None:
    for task in household.tasks("test")[:30]:
        assert household.reset(task) == Household().reset(task)
        assert play(household, task) == play(Household(), task)


def test_an_episode_ends_when_it_is_won(household: Household) -> None:
    for task in household.tasks("dev")[:12]:
        _, outcomes = play(household, task)
        assert all(outcome == Outcome(outcome.observation) for outcome in outcomes[:-1])
        assert outcomes[-1] == Outcome(outcomes[-1].observation, reward=1.0, done=True, success=True, score=1.0)
        assert household.admissible() == []
        with pytest.raises(EdgexpError, match="the episode is over"):
            household.step("look")
        household.reset(task)
        assert household.step("look").done is False


def test_the_goal_is_not_in_the_observation(household: Household) -> None:
    for task in household.tasks("dev")[:60]:
        start = household.reset(task)
        assert start.observation.startswith("You are in the middle of a room.")
        assert "task" not in start.observation and start.goal not in start.observation
        assert start.goal.endswith(".") and not start.goal.startswith("Your task")


def test_acting_before_a_reset_is_an_error(household: Household) -> None:
    with pytest.raises(EdgexpError, match="reset"):
        household.step("look")


def test_a_reset_drops_the_episode_under_way(household: Household) -> None:
    first, second = household.tasks("dev")[:2]
    household.reset(first)
    household.step(household.admissible()[0])
    start = household.reset(second)
    assert start == Household().reset(second)


@pytest.mark.parametrize("action", ["", " ", "\n", "go to", "take", "open  ", "take apple 1 from", "move  to ", "heat with",
                                    "go to fridge 999", "<|im_end|>", "x" * 1_000_000, "look\x00", "go to " * 1000, "☃ 1"])  # fmt: skip
def test_any_text_is_an_action(household: Household, action: str) -> None:
    household.reset(household.tasks("dev")[3])
    before = household.admissible()
    assert household.step(action).observation == "Nothing happens."
    assert household.admissible() == before


@given(st.integers(0, 9_999), st.randoms(use_true_random=False))
def test_valid_actions_are_sorted_unique_and_do_something(number: int, chance: object) -> None:
    household = Household()
    household.reset(household.tasks("dev")[number])
    for _ in range(15):
        valid = household.admissible()
        if not valid:  # won by chance
            break
        assert valid == sorted(set(valid))
        outcome = household.step(chance.choice(valid))  # type: ignore[attr-defined]
        assert outcome.observation and outcome.observation != "Nothing happens."


def test_every_form_of_action_is_in_the_instructions(household: Household) -> None:
    verbs = {line.split()[0] for line in household.instructions().split("\n")[1:-1]}
    used = {action.split()[0] for task in household.tasks("dev")[:60] for action in play(household, task)[0]}
    assert used <= verbs
    household.reset(household.tasks("dev")[3])
    assert {action.split()[0] for action in household.admissible()} <= verbs | {"help"}


def test_closing_twice_is_fine(household: Household) -> None:
    household.reset(household.tasks("dev")[0])
    household.close()
    household.close()
    with pytest.raises(EdgexpError):
        household.step("look")
