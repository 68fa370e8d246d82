"""The contract of environments: what holds where an optional member is missing, and that what an environment says goes first."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import make_trajectory

from edgexp.environments import base
from edgexp.environments.base import (
    Achieved,
    Environment,
    FollowsOthers,
    Outcome,
    Start,
    achieved_by,
    aspects_of,
    expert_of,
    family_of,
    family_of_id,
    has_expert,
    is_remote,
    lesson_of,
    misled_players,
    restarts_of,
    valid_actions_of,
)
from edgexp.environments.household.searcher import SearchExpert
from edgexp.environments.java.gold import GoldExpert
from edgexp.trajectory import Task, Trajectory

TASK = Task("bare/train/7", "bare", "train", "carry", "easy")
OPTIONAL = ("admissible", "expert", "remote", "restarts", "family", "lesson", "aspects", "saw", "advise", "misled", "achieved",
            "tools", "most_calls", "action_tokens", "action_form", "refusals", "reads_calls")


class Bare:
    """An environment with the ten members and nothing else."""

    name, version, max_steps = "bare", "1", 3

    def splits(self) -> tuple[str, ...]:
        return ("train",)

    def tasks(self, split: str) -> list[Task]:
        return [TASK]

    def task(self, task_id: str) -> Task:
        return TASK

    def instructions(self) -> str:
        return "carry on"

    def reset(self, task: Task) -> Start:
        return Start("carry it.", "You see it.")

    def step(self, action: str) -> Outcome:
        return Outcome("Nothing happens.")

    def close(self) -> None:
        pass


class Silent:
    """An expert that gives up at once."""

    def begin(self, goal: str, observation: str) -> None:
        pass

    def act(self, observation: str) -> str | None:
        return None


class Whole(Bare):
    """An environment with every optional member."""

    remote, restarts = True, 4

    def admissible(self) -> list[str]:
        return ["carry"]

    def expert(self) -> Silent:
        return Silent()

    def family(self, task: Task) -> str:
        return f"of {task.id}"

    def lesson(self, task: Task) -> str:
        return f"how to {task.type}"

    def aspects(self, task: Task, goal: str) -> dict[str, str]:
        return {"type": task.type, "goal": goal}

    def achieved(self, trajectory: Trajectory) -> Achieved:
        return Achieved("stand by it.", "stand", "", 1)

    def misled(self, goal: str) -> list[Silent]:
        return [Silent()]


def test_what_holds_where_nothing_is_said() -> None:
    bare = Bare()
    assert isinstance(bare, Environment)
    assert valid_actions_of(bare) is None
    assert not has_expert(bare) and expert_of(bare) is None
    assert achieved_by(bare, make_trajectory()) is None
    assert misled_players(bare, "carry it.") == ()
    assert is_remote(bare) is False and restarts_of(bare) == 0
    assert family_of(bare, TASK) == "bare/train/7"
    assert lesson_of(bare, TASK) == "carry"
    assert aspects_of(bare, TASK, "carry it.") == {"type": "carry"}


def test_without_an_environment_at_hand_the_same_holds_for_tasks() -> None:
    for say in (family_of, lesson_of):
        assert say(None, TASK) == say(Bare(), TASK)
    assert aspects_of(None, TASK, "carry it.") == aspects_of(Bare(), TASK, "carry it.")


def test_what_an_environment_says_goes_first() -> None:
    whole = Whole()
    listed = valid_actions_of(whole)
    assert listed is not None and listed() == ["carry"]
    assert has_expert(whole) and isinstance(expert_of(whole), Silent) and expert_of(whole) is not expert_of(whole)
    assert achieved_by(whole, make_trajectory()) == Achieved("stand by it.", "stand", "", 1)
    assert [type(player) for player in misled_players(whole, "carry it.")] == [Silent]
    assert is_remote(whole) is True and restarts_of(whole) == 4
    assert family_of(whole, TASK) == "of bare/train/7" and lesson_of(whole, TASK) == "how to carry"
    assert aspects_of(whole, TASK, "carry it.") == {"type": "carry", "goal": "carry it."}


def test_asking_whether_there_is_an_expert_makes_none() -> None:
    class Costly(Whole):
        def expert(self) -> Silent:
            raise AssertionError("nobody asked for a player")

    assert has_expert(Costly())
    with pytest.raises(AssertionError, match="nobody asked"):
        expert_of(Costly())


@pytest.mark.parametrize(("said", "remote"), [(False, False), (0, False), ("", False), (True, True), (1, True)])
def test_remote_is_a_truth_value_whatever_was_written(said: object, remote: bool) -> None:
    whole = Whole()
    whole.remote = said  # type: ignore[assignment]
    assert is_remote(whole) is remote


def test_restarts_are_counted_by_object_and_may_grow() -> None:
    one, other = Whole(), Whole()
    one.restarts += 1
    assert (restarts_of(one), restarts_of(other)) == (5, 4)


@pytest.mark.parametrize("lacking", ["name", "version", "max_steps", "splits", "tasks", "task", "instructions", "reset", "step", "close"])
def test_each_of_the_ten_members_is_needed(lacking: str) -> None:
    members = {name: getattr(Bare(), name) for name in dir(Bare) if not name.startswith("_")}
    assert isinstance(SimpleNamespace(**members), Environment)
    members.pop(lacking)
    assert not isinstance(SimpleNamespace(**members), Environment)


def test_experts_follow_others_where_they_can_be_told() -> None:
    assert isinstance(SearchExpert(), FollowsOthers)
    assert not isinstance(Silent(), FollowsOthers)
    assert not isinstance(GoldExpert(lambda: None), FollowsOthers)  # type: ignore[arg-type, return-value]


def test_an_outcome_says_little_unless_told() -> None:
    assert Outcome("You see it.") == Outcome("You see it.", 0.0, False, False, 0.0)


# Families by the usual form of ids


@pytest.mark.parametrize(("one", "other", "same"), [
    ("household/train/1", "household/train/1", True),
    ("household/train/1", "household/train/11", False),
    ("household/train/1", "household/dev/1", False),
    ("worlds/train/17/3", "worlds/train/17/8", True),
    ("worlds/train/17/3", "worlds/train/18/3", False),
    ("worlds/train/17/3", "treatments/train/17/3", False),
    ("worlds/dev/17/0", "worlds/dev-bank/17/5", True),
    ("worlds/dev/17/0", "worlds/test-bank/17/0", False),
    ("alfworld/train/pick-Mug-None-Desk-301/trial_1", "alfworld/train/pick-Mug-None-Desk-301/trial_2", True),
    ("scienceworld/dev/boil/14", "scienceworld/dev-5/boil/14", False),
    ("plain", "other", False),
    ("plain", "plain", True),
])  # fmt: skip
def test_families_by_id(one: str, other: str, same: bool) -> None:
    assert (family_of_id(one) == family_of_id(other)) is same


PART = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=12)


@given(PART, PART.filter(lambda split: not split.endswith("-bank")), PART, PART, PART)
def test_a_family_is_all_that_differs_in_the_number_alone(environment: str, split: str, family: str, one: str, other: str) -> None:
    whole = f"{environment}/{split}/{family}"
    assert family_of_id(f"{whole}/{one}") == family_of_id(f"{whole}/{other}") == whole
    assert family_of_id(f"{environment}/{split}-bank/{family}/{one}") == whole


@given(PART, PART.filter(lambda split: not split.endswith("-bank")), PART)
def test_an_id_of_three_parts_is_a_family_of_its_own(environment: str, split: str, number: str) -> None:
    assert family_of_id(f"{environment}/{split}/{number}") == f"{environment}/{split}/{number}"


@given(st.text(max_size=60))
def test_any_text_has_a_family(text: str) -> None:
    """Banks hold tasks of plug-ins, whose ids may be anything."""
    family = family_of_id(text)
    assert family_of_id(family) == family


# The page in the module's head


def test_every_optional_member_is_told_of_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)", base.__doc__ or "", re.MULTILINE)
    assert sorted(rows) == sorted(OPTIONAL)


def test_every_optional_member_has_a_protocol_and_none_is_part_of_the_contract() -> None:
    told = {name: thing for name, thing in vars(base).items() if getattr(thing, "_is_protocol", False)}
    members: dict[str, Any] = {name: set(getattr(thing, "__annotations__", ())) | public(thing) for name, thing in told.items()}
    needed = members.pop("Environment")
    assert members.pop("Expert") == {"begin", "act"}
    assert {member for some in members.values() for member in some} == set(OPTIONAL)
    assert not needed & set(OPTIONAL)


def public(thing: type) -> set[str]:
    """The methods a protocol asks for."""
    return {name for name, value in vars(thing).items() if callable(value) and not name.startswith("_")}
