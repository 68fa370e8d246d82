"""Mistakes of the expert: marked, never labels, and what follows them is what the expert does about them."""

from collections import Counter
from itertools import groupby, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgexp.environments.base import Environment, FollowsOthers, GivesAdvice, Outcome, Start, expert_of, valid_actions_of
from edgexp.environments.household.household import Household
from edgexp.environments.household.searcher import SearchExpert
from edgexp.environments.registry import make
from edgexp.errors import UsageError
from edgexp.play.collecting import expert_episode
from edgexp.play.mistakes import ErringExpert
from edgexp.play.rollout import run
from edgexp.trajectory import Task, Trajectory, content_id, decode, encode

ENVIRONMENTS = ("household", "treatments", "worlds", "errands")
LONGEST = 8
"""Six slips, or a plan of eight steps."""
places = st.tuples(st.sampled_from(ENVIRONMENTS), st.integers(0, 800), st.integers(0, 3))


def task_of(name: str, number: int) -> tuple[Environment, Task]:
    environment = make(name)
    return environment, environment.tasks("train")[number]


def runs_of(trajectory: Trajectory) -> list[int]:
    """The lengths of runs of mistakes."""
    return [len(list(run)) for mistaken, run in groupby(trajectory.steps, lambda step: step.mistake) if mistaken]


@pytest.mark.slow
@settings(max_examples=60)
@given(places)
def test_runs_end_and_what_is_no_mistake_is_what_the_expert_does(place: tuple[str, int, int]) -> None:
    """A fresh expert that is told of valid mistakes only takes every other action by itself."""
    name, number, seed = place
    environment, task = task_of(name, number)
    episode = run(expert_episode(environment, task, 80, 0.3, seed)).trajectory
    assert max(runs_of(episode), default=0) <= LONGEST
    environment.reset(task)
    teacher, latest = expert_of(environment), episode.observation
    assert teacher is not None
    teacher.begin(episode.goal, episode.observation)
    for step in episode.steps:
        valid = (valid_actions_of(environment) or list)()
        environment.step(step.action)
        if not step.mistake:
            assert teacher.act(latest) == step.action
        elif step.action in valid and isinstance(teacher, FollowsOthers):
            teacher.saw(latest, step.action)
        else:
            assert step.observation == "Nothing happens."
            continue
        latest = step.observation
    if name == "worlds":  # its expert cannot go on after a wrong action that is valid
        plain = run(expert_episode(environment, task)).trajectory
        assert [s for s in episode.steps if not s.mistake] == list(plain.steps)


@pytest.mark.slow
def test_the_expert_recovers_and_all_sorts_of_mistakes_come_up() -> None:
    household = Household()
    episodes = [run(expert_episode(household, task, 80, 0.25)).trajectory for task in household.tasks("train")[:300]]
    mistakes = [step for episode in episodes for step in episode.steps if step.mistake]
    assert sum(episode.success for episode in episodes) >= 295
    invalid = sum(step.observation == "Nothing happens." for step in mistakes)
    assert 0.35 < invalid / len(mistakes) < 0.75
    lengths = Counter(length for episode in episodes for length in runs_of(episode))
    assert lengths[1] > lengths[2] > lengths[3] > lengths[4] > 0 and max(lengths) <= LONGEST
    pairs = [(a, b) for e in episodes for a, b in pairwise(e.steps) if a.mistake and b.mistake and b.observation == "Nothing happens."]
    again = sum(a.action == b.action for a, b in pairs)
    counted = sum(_counted_on(a.action) == b.action for a, b in pairs)
    assert again > 20 and counted > 20


def _counted_on(action: str) -> str:
    head, _, number = action.rpartition(" ")
    return f"{head} {int(number) + 1}" if number.isdigit() else ""


@pytest.mark.parametrize(("name", "wrong"), [("household", "heat"), ("treatments", "heat"), ("errands", "heat")])
def test_goals_are_mistaken_for_those_of_other_types_and_the_expert_puts_it_right(name: str, wrong: str) -> None:
    """Somebody heats what is to be cleaned, or brings it as it is; a thing that was brought too early is taken up again."""
    environment, found = make(name), Counter[str]()
    for task in environment.tasks("train")[:240]:
        episode = run(expert_episode(environment, task, 100, 0.3)).trajectory
        if "heat" in task.type or not episode.success:
            continue
        found["treated"] += any(step.mistake and step.action.startswith(f"{wrong} ") for step in episode.steps)
        brought = {step.action.split(" to ")[0].removeprefix("move ") for step in episode.steps if step.mistake and " to " in step.action}
        found["taken again"] += any(
            not step.mistake and step.action.startswith("take ") and step.action.removeprefix("take ").split(" from ")[0] in brought
            for step in episode.steps
        )
    assert found["treated"] > 3 and found["taken again"] > 3


def test_what_was_undone_is_done_again() -> None:
    """Cooling ends what heating did: an expert that saw it heats the thing once more."""
    household = Household()
    task = next(t for t in household.tasks("train") if t.type == "pick_heat_then_place_in_recep")
    start, teacher, did = household.reset(task), SearchExpert(), list[str]()
    teacher.begin(start.goal, start.observation)
    seen, done = start.observation, False
    while not done:
        heated = did[-1].split()[1:3] if did and did[-1].startswith("heat ") and len(did) < 40 else []
        for action in ("go to fridge 1", f"cool {' '.join(heated)} with fridge 1") if heated and "go to fridge 1" not in did[-2:] else ():
            teacher.saw(seen, action)
            seen = household.step(action).observation
            did.append(action)
        did.append(teacher.act(seen) or "")
        outcome = household.step(did[-1])
        seen, done = outcome.observation, outcome.done
        if sum(action.startswith("heat ") for action in did) == 2:
            break
        assert not done and len(did) < 60
    assert sum(action.startswith("cool ") for action in did) == 1


def test_advice_is_what_is_done_then_and_leaves_no_trace() -> None:
    for name in ("household", "treatments", "errands"):
        environment = make(name)
        for task in environment.tasks("train")[:24]:
            start, teacher = environment.reset(task), expert_of(environment)
            assert isinstance(teacher, GivesAdvice)
            teacher.begin(start.goal, start.observation)
            seen, done = start.observation, False
            while not done:
                advised = [teacher.advise(seen) for _ in range(2)]
                action = teacher.act(seen)
                assert action is not None and advised == [action, action]
                outcome = environment.step(action)
                seen, done = outcome.observation, outcome.done


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
    episodes = [run(expert_episode(environment, task, None, 0.4, seed)).trajectory.id for seed in (1, 1, 2, 3)]
    assert episodes[0] == episodes[1] and len({*episodes}) > 1


def test_slips_are_kept_with_the_trajectory_and_change_no_other_ids() -> None:
    environment, task = task_of("household", 17)
    slipping, plain = run(expert_episode(environment, task, None, 0.5, 3)).trajectory, run(expert_episode(environment, task)).trajectory
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
