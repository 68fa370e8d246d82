"""Mistakes of the expert: marked, never labels, and what follows them is what the expert does about them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgexp.environments.base import Environment, Outcome, Start
from edgexp.environments.household.household import Household
from edgexp.environments.registry import make
from edgexp.errors import UsageError
from edgexp.play.collecting import expert_episode
from edgexp.play.mistakes import ErringExpert
from edgexp.play.rollout import run
from edgexp.trajectory import Task, content_id, decode, encode

ENVIRONMENTS = ("household", "treatments", "worlds")
places = st.tuples(st.sampled_from(ENVIRONMENTS), st.integers(0, 800), st.integers(0, 3))


def task_of(name: str, number: int) -> tuple[Environment, Task]:
    environment = make(name)
    return environment, environment.tasks("train")[number]


@pytest.mark.slow
@settings(max_examples=60)
@given(places)
def test_slips_never_follow_one_another_and_invalid_ones_change_nothing(place: tuple[str, int, int]) -> None:
    name, number, seed = place
    environment, task = task_of(name, number)
    episode = run(expert_episode(environment, task, 80, 0.3, seed)).trajectory
    assert not any(a.mistake and b.mistake for a, b in zip(episode.steps, episode.steps[1:], strict=False))
    if name == "worlds":  # its expert cannot go on after a wrong action that is valid
        assert all(step.observation == "Nothing happens." for step in episode.steps if step.mistake)
        plain = run(expert_episode(environment, task)).trajectory
        assert [s for s in episode.steps if not s.mistake] == list(plain.steps)


@pytest.mark.slow
def test_the_expert_recovers_and_both_sorts_of_slips_come_up() -> None:
    household = Household()
    episodes = [run(expert_episode(household, task, 80, 0.25)).trajectory for task in household.tasks("train")[:300]]
    slips = [step for episode in episodes for step in episode.steps if step.mistake]
    assert sum(episode.success for episode in episodes) >= 295
    invalid = sum(step.observation == "Nothing happens." for step in slips)
    assert 0.4 < invalid / len(slips) < 0.8
    turns = sum(not step.mistake for episode in episodes for step in episode.steps)
    assert 0.15 < len(slips) / turns < 0.35


@pytest.mark.slow
def test_the_wrong_thing_is_put_back() -> None:
    household, found = Household(), 0
    for task in household.tasks("train")[:400]:
        episode = run(expert_episode(household, task, 80, 0.25)).trajectory
        for slip, answer in zip(episode.steps, episode.steps[1:], strict=False):
            taken = slip.mistake and slip.observation.startswith("You pick up")
            if taken and not slip.action.startswith(f"take {household.scene(task).goal.object.lower()} "):
                thing, place = slip.action.removeprefix("take ").split(" from ")
                found += answer.action == f"move {thing} to {place}"
    assert found > 5


def test_a_task_and_a_seed_always_give_the_same() -> None:
    environment, task = task_of("household", 18)
    episodes = [run(expert_episode(environment, task, None, 0.4, seed)).trajectory.id for seed in (1, 1, 2)]
    assert episodes[0] == episodes[1] != episodes[2]


def test_slips_are_kept_with_the_trajectory_and_change_no_other_ids() -> None:
    environment, task = task_of("household", 18)
    slipping, plain = run(expert_episode(environment, task, None, 0.5)).trajectory, run(expert_episode(environment, task)).trajectory
    assert any(step.mistake for step in slipping.steps) and decode(encode(slipping)) == slipping
    assert b"slip" not in encode(plain) and content_id(plain) == plain.id


class Mute:
    """An environment with an expert that does not list valid actions."""

    name, version, max_steps = "mute", "1", 3

    def expert(self):
        raise NotImplementedError

    def reset(self, task: Task) -> Start:
        return Start("", "")

    def step(self, action: str) -> Outcome:
        return Outcome("")


def test_where_nobody_can_tell_what_is_valid_there_are_no_slips() -> None:
    class WithExpert(Mute):
        def expert(self):
            return Household().expert()

    with pytest.raises(UsageError, match="mute does not list valid actions"):
        ErringExpert(WithExpert(), 0.1)  # type: ignore[arg-type]
