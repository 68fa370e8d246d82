"""Takeovers: when the expert takes over, what it is told, and that nothing which is no choice of its own is ever a label."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bank_samples import WordEncoder
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Counting

from edgexp.bank import Bank
from edgexp.environments.base import Environment, FollowsOthers, expert_of, valid_actions_of
from edgexp.environments.registry import make
from edgexp.errors import UsageError
from edgexp.play.collecting import collect, left_to_play
from edgexp.play.episode import Asking, CannotGoOn, Playing, play
from edgexp.play.rollout import run, run_many
from edgexp.play.takeover import Patience, TakeoverPolicy
from edgexp.trajectory import Decision, Provenance, Task, Trajectory

NAMES = ("household", "treatments", "errands")


class Muddler:
    """A learner that does at random what the expert would, something valid, or nothing of sense."""

    def __init__(self, seed: int, skill: float, sense: float = 0.6):
        self.chance, self.skill, self.sense, self.resumed = random.Random(seed), skill, sense, 0

    def begin(self, episode: Playing) -> None:
        self.teacher = expert_of(episode.environment)
        assert self.teacher is not None and isinstance(self.teacher, FollowsOthers)
        self.teacher.begin(episode.start.goal, episode.start.observation)
        self.latest, self.heard = episode.start.observation, 0

    def decide(self, episode: Playing) -> Asking[Decision | None]:
        yield from ()
        valid = (valid_actions_of(episode.environment) or list)()
        if self.chance.random() < self.skill:
            return Decision(self._advice(episode) or "look")
        return Decision(self.chance.choice(valid) if self.chance.random() < self.sense else "go to nowhere 1")

    def _advice(self, episode: Playing) -> str | None:
        """What a fresh expert would do that has seen everything so far."""
        return choices(make(episode.task.environment), episode.task, [step.action for step in episode.steps])[-1]

    def resume(self, episode: Playing) -> None:
        self.resumed += 1

    def provenance(self, environment: Environment) -> Provenance:
        return Provenance("agent", environment.version, model="muddler")


def choices(environment: Environment, task: Task, actions: list[str]) -> list[str | None]:
    """What the expert would do before each action and after the last, if it hears of valid actions only. An independent replay."""
    start, found = environment.reset(task), []
    latest, done = start.observation, False
    teacher = expert_of(environment)
    assert teacher is not None and isinstance(teacher, FollowsOthers)
    teacher.begin(start.goal, start.observation)
    for action in actions:
        found.append(teacher.advise(latest))  # type: ignore[attr-defined]
        valid = (valid_actions_of(environment) or list)()
        outcome = environment.step(action)
        if action == found[-1]:
            assert teacher.act(latest) == action
        elif action in valid:
            teacher.saw(latest, action)
        else:
            continue
        latest, done = outcome.observation, outcome.done
    return found if done else [*found, teacher.advise(latest)]  # type: ignore[attr-defined]


def muddle(name: str, number: int, seed: int, skill: float, patience: Patience | None = None, steps: int = 60) -> Trajectory:
    environment = make(name)
    policy = TakeoverPolicy(environment, Muddler(seed, skill), patience, steps)
    return run(play(environment, environment.tasks("train")[number], policy, max_steps=steps)).trajectory


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 300), st.integers(0, 5), st.sampled_from([0.0, 0.3, 0.7]), st.sampled_from([0, 1, 3]))
def test_after_a_takeover_every_label_is_the_experts_own_choice(name: str, number: int, seed: int, skill: float, back: int) -> None:
    t = muddle(name, number, seed, skill, Patience(hand_back=back))
    advised = choices(make(name), t.task, [step.action for step in t.steps])
    if t.provenance.source == "takeover":
        for step, advice in zip(t.steps, advised, strict=False):
            assert step.mistake == (step.action != advice)
    else:
        assert t.provenance.source == "agent" and not any(step.mistake for step in t.steps)
    assert t.provenance.model == "muddler"


@pytest.mark.parametrize("name", NAMES)
def test_what_a_muddler_begins_the_expert_finishes(name: str) -> None:
    played = [muddle(name, number, number, 0.4) for number in range(60)]
    assert sum(t.success for t in played) >= 54
    helped = [t for t in played if t.provenance.source == "takeover"]
    assert len(helped) > 30 and all(any(step.mistake for step in t.steps) for t in helped)


@pytest.mark.parametrize(("patience", "sense", "least"), [(Patience(invalid=1), 0.0, 1), (Patience(invalid=4), 0.0, 4)])
def test_it_takes_over_after_so_many_invalid_actions(patience: Patience, sense: float, least: int) -> None:
    environment = make("household")
    policy = TakeoverPolicy(environment, Muddler(1, 0.0, sense), patience, 50)
    t = run(play(environment, environment.tasks("train")[0], policy)).trajectory
    assert [step.mistake for step in t.steps] == [True] * least + [False] * (len(t.steps) - least) and t.success


class Circling(Muddler):
    """Goes to and fro between two places."""

    def decide(self, episode: Playing) -> Asking[Decision | None]:
        yield from ()
        valid = (valid_actions_of(episode.environment) or list)()
        return Decision(next(action for action in valid if action.startswith("go to ")))


def test_it_takes_over_from_who_goes_in_circles_or_uses_up_the_steps_or_is_astray() -> None:
    taken: list[int] = []
    far = {"invalid": 99, "circles": 99, "astray": 99, "late": 1.0}
    for change in ({"circles": 2}, {"late": 0.5}, {"astray": 5}):
        environment = make("household")
        policy = TakeoverPolicy(environment, Circling(0, 0.0), Patience(**(far | change)), 40)  # type: ignore[arg-type]
        t = run(play(environment, environment.tasks("train")[3], policy, max_steps=40)).trajectory
        assert t.success and t.provenance.source == "takeover"
        own = choices(make("household"), t.task, [step.action for step in t.steps])
        taken.append(max(n for n, (step, one) in enumerate(zip(t.steps, own, strict=False)) if step.action != one) + 1)
    assert taken[1] == 20 and taken[2] <= 8 and taken[0] < 10


class Full(Muddler):
    """Its prompt is full after two actions."""

    def decide(self, episode: Playing) -> Asking[Decision | None]:
        if len(episode.steps) == 2:
            raise CannotGoOn("context_full")
        return (yield from super().decide(episode))


def test_where_the_models_prompt_is_full_the_expert_goes_on() -> None:
    environment = make("household")
    policy = TakeoverPolicy(environment, Full(1, 0.0, 1.0), Patience(), 50)
    t = run(play(environment, environment.tasks("train")[4], policy)).trajectory
    assert t.success and t.provenance.source == "takeover" and len(t.steps) > 2


def test_it_hands_back_and_the_model_hears_of_it() -> None:
    environment, learner = make("household"), Muddler(2, 0.0, 0.0)
    policy = TakeoverPolicy(environment, learner, Patience(hand_back=2, late=0.5), 60)
    t = run(play(environment, environment.tasks("train")[5], policy, max_steps=60)).trajectory
    marks = "".join("x" if step.mistake else "." for step in t.steps)
    assert marks.startswith("xx..xx..") and learner.resumed == marks.count("..xx") and t.success


class Lone(Counting):
    """Its expert cannot follow."""

    def expert(self) -> Any:
        from edgexp.environments.java.gold import GoldExpert

        return GoldExpert(lambda: None)  # type: ignore[arg-type, return-value]


def test_an_expert_that_cannot_follow_cannot_take_over() -> None:
    with pytest.raises(UsageError, match="counting cannot go on after another's actions"):
        TakeoverPolicy(Lone(), Muddler(0, 0.0))
    with pytest.raises(UsageError, match="has no scripted expert"):
        TakeoverPolicy(Counting(), Muddler(0, 0.0))


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    with Bank.open(tmp_path / "bank", WordEncoder()) as opened:
        yield opened


def test_it_is_collected_at_several_places_and_goes_on_where_it_stopped(bank: Bank) -> None:
    worlds = [make("household") for _ in range(3)]
    tasks = list(make("household").tasks("train")[:12])

    def start(task: Task) -> Any:
        return lambda place: play(worlds[place], task, TakeoverPolicy(worlds[place], Muddler(7, 0.5), None, 50))

    def starts(some: list[Task]) -> Any:
        return list(map(start, some))

    collect(bank, run_many(starts(tasks[:5]), 3))
    left = left_to_play(bank, tasks, ("agent", "takeover"), "lost")
    assert not {task.id for task in left} & {entry.task_id for entry in bank.entries() if entry.success}
    collect(bank, run_many(starts(left), 3))
    assert {entry.task_id for entry in bank.entries()} == {task.id for task in tasks}
    assert {entry.source for entry in bank.entries()} <= {"agent", "takeover"}
