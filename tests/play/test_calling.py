"""Calls as actions, from the environment to the bank and back into the prompt: an action stays a text, and the rest stays as it is."""

import json
from pathlib import Path
from typing import Any

import pytest
from bank_samples import WordEncoder
from mock_engine import VOCABULARY, MockEngine, make_policy, renderer_of, saying
from tool_toys import LAMPS, THINGS, Home
from toys import Counting

from edgexp.bank import Bank, Filters
from edgexp.environments.base import Outcome, action_form_of, action_tokens_of
from edgexp.environments.boundary import checked
from edgexp.environments.calls import check_call, parse_call
from edgexp.errors import UsageError
from edgexp.play.acting import Acting
from edgexp.play.call_grammar import seen_texts
from edgexp.play.collecting import expert_episode
from edgexp.play.episode import play
from edgexp.play.rollout import run
from edgexp.play.scripted import ExpertPolicy
from edgexp.play.session import Settings, with_actions
from edgexp.play.takeover import Patience, TakeoverPolicy
from edgexp.retrieval import Retrieval, VectorRetriever
from edgexp.trajectory import Trajectory, decode, encode


def at_home() -> Any:
    """The environment as everybody has it: behind the boundary."""
    return checked(Home(), "test")


def played(number: int, think: Any = None, world: Any = None, **acting: Any) -> Trajectory:
    """An episode by a mock model that calls by the tree, or as `acting` says."""
    world = world or at_home()
    engine = MockEngine(think) if think else MockEngine()
    policy = make_policy(world, action_tokens=120, **acting)
    return run(play(world, world.tasks("train")[number], policy), engine).trajectory


def test_whatever_a_model_thinks_it_calls_validly() -> None:
    for number in range(8):
        world = at_home()
        trajectory = played(number, world=world, temperature=1.0, seed=number)
        assert len(world.stepped) == len(trajectory.steps) > 0, "the environment is asked only for what is a call"
        tools = Home()
        tools.reset(trajectory.task)
        for step in trajectory.steps:
            assert check_call(parse_call(step.action), tools.tools()) == ""


@pytest.mark.parametrize("number", range(8))
def test_a_model_that_knows_what_to_call_wins(number: int) -> None:
    wanted = f'switch(lamp="{LAMPS[number]}", on=true)' if number < 4 else f"list_add(item={json.dumps(THINGS[number - 4])})"
    trajectory = played(number, saying(lambda _: wanted))
    assert trajectory.success and [step.action for step in trajectory.steps] == [wanted]


def test_free_calls_are_parsed_and_a_bad_one_is_answered_in_a_line() -> None:
    answers = iter(["I switch it on", 'switch(lamp="big lamp")', 'switch(lamp="no lamp", on=true)', 'switch(lamp="big lamp", on=true)'])
    world = at_home()
    said: dict[int, str] = {}

    def think(prompt: str) -> str:
        turn = prompt.count("<|im_start|>assistant")
        if turn not in said:
            said[turn] = next(answers)
        return said[turn]

    trajectory = played(0, saying(think), world, actions="free")
    seen = [step.observation for step in trajectory.steps]
    assert seen == [
        'character 3: there is "switch it on", but "(" after I is wanted',
        "switch: on is missing",
        'switch: lamp is "no lamp", but "big lamp"|"big lamp 2"|"desk lamp"|"porch" is wanted',
        "Done.",
    ]
    assert trajectory.success and world.stepped == ['switch(lamp="big lamp", on=true)']


def test_a_bad_call_changes_nothing_of_the_score() -> None:
    class Half(Home):
        def step(self, action: str) -> Outcome:
            super().step(action)
            return Outcome("Half.", 0.5, False, True, 0.5)

    world = checked(Half(), "test")
    world.reset(world.tasks("train")[0])
    world.step('switch(lamp="porch", on=true)')
    assert world.step("nonsense") == Outcome('character 9: the text ends, but "(" after nonsense is wanted', 0.0, False, True, 0.5)


def test_experts_fill_a_bank_and_what_they_called_is_recalled(tmp_path: Path) -> None:
    world = at_home()
    episodes = [run(expert_episode(world, task)) for task in world.tasks("train")]
    assert all(p.trajectory.success for p in episodes)
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank:
        bank.add([p.trajectory for p in episodes])
        bank.verify()
        retriever = VectorRetriever(bank, Retrieval(k=2), Filters(environment="home_toy"), exclude_self=True)
        task = world.tasks("test")[6]
        policy = make_policy(world, retriever, action_tokens=120)
        engine = MockEngine(saying(lambda _: f"list_add(item={json.dumps(THINGS[2])})"))
        again = run(play(world, task, policy), engine)
        assert again.trajectory.success and again.recalls[0].used
        assert json.dumps(THINGS[2]) in seen_texts_of(policy.memory.recalled[0].trajectory)
        bank.add([again.trajectory])
        assert decode(encode(again.trajectory)) == again.trajectory


def seen_texts_of(trajectory: Trajectory) -> str:
    return "\n".join(step.action for step in trajectory.steps)


def test_a_call_is_rendered_for_training_as_it_was_said() -> None:
    """The ids that the engine held in the end are those of the training sample."""
    world = at_home()
    policy = make_policy(world, action_tokens=120)
    engine = MockEngine(saying(lambda _: f"list_add(item={json.dumps(THINGS[3])})"))
    trajectory = run(play(world, world.tasks("train")[7], policy), engine).trajectory
    rendered = renderer_of(world).trajectory(trajectory)
    assert policy._sequence.ids == rendered.ids
    [(start, end)] = rendered.labels
    assert VOCABULARY.decode(rendered.ids[start:end]).startswith('list_add(item="eggs\\\\ham")')


def test_names_seen_so_far_are_the_candidates() -> None:
    world = Home()
    policy = ExpertPolicy(world)
    trajectory = run(play(world, world.tasks("train")[6], policy)).trajectory

    class Episode:
        start, steps = trajectory, trajectory.steps

    assert seen_texts(Episode()) == ['the "good" butter', "good"], "as the call meant it, and as the goal has it"  # type: ignore[arg-type]
    assert seen_texts(Episode(), [played(4)])[:2] == ['the "good" butter', "good"], "the latest first"  # type: ignore[arg-type]


def test_calls_cannot_be_scored() -> None:
    with pytest.raises(UsageError, match="too many calls to score"):
        played(0, actions="scored")


def test_an_environment_with_tools_is_not_played_freely_unless_told() -> None:
    assert with_actions(Settings(), at_home()).actions == "admissible"
    assert with_actions(Settings(actions="free"), at_home()).actions == "free"
    assert Acting().actions == "admissible"


class Statements(Counting):
    """Every action is a block of lines; the longest wins."""

    admissible = None  # type: ignore[assignment]
    action_form, action_tokens = "block", 80

    def step(self, action: str) -> Outcome:
        won = action.count("\n") > 1
        return Outcome(f"{len(action)} letters", float(won), won, won, float(won))


def test_blocks_are_played_recorded_and_rendered_as_they_were_said() -> None:
    world: Any = checked(Statements(), "test")
    assert (action_form_of(world), action_tokens_of(world)) == ("block", 80)
    policy = make_policy(world, actions="free", action_tokens=80)
    said = iter(["```\none\ntwo\n```", "a\n  b\nc"])
    kept: dict[int, str] = {}

    def answer(prompt: str) -> str:
        turn = prompt.count("<|im_start|>assistant")
        return kept[turn] if turn in kept else kept.setdefault(turn, next(said))

    played = run(play(world, world.tasks("train")[0], policy), MockEngine(saying(answer))).trajectory
    assert [step.action for step in played.steps] == ["one\ntwo", "a\n  b\nc"] and played.success
    assert policy._sequence.ids == renderer_of(world).trajectory(played).ids
    assert decode(encode(played)) == played


def test_the_same_call_is_not_made_again_where_the_same_is_to_be_seen() -> None:
    wanted = saying(lambda _: 'switch(lamp="porch", on=true)')
    circling = [step.action for step in played(0, wanted, repeats=0).steps]
    going_on = [step.action for step in played(0, wanted, repeats=1).steps]
    assert circling == ['switch(lamp="porch", on=true)'] * 4
    assert going_on[:2] == ['switch(lamp="porch", on=true)'] * 2, "the second time something else is to be seen"
    assert len({*going_on}) == 3


@pytest.mark.parametrize("said", [
    '<tool_call>\n{"name": "switch", "arguments": {"lamp": "big lamp", "on": true}}\n</tool_call>\nDone!',
    "switch(lamp='big lamp', on=True)\nThat is it.", '{"name": "switch", "parameters": {"lamp": "big lamp", "on": true}} and so on',
])  # fmt: skip
def test_a_call_in_the_models_own_form_is_kept_in_ours(said: str) -> None:
    world = at_home()
    policy = make_policy(world, actions="free", action_tokens=120)
    trajectory = run(play(world, world.tasks("train")[0], policy), MockEngine(saying(lambda _: said))).trajectory
    assert trajectory.success and trajectory.steps[0].action == 'switch(lamp="big lamp", on=true)'
    assert policy._sequence.ids == renderer_of(world).trajectory(trajectory).ids


def test_a_teacher_takes_over_from_who_calls_wrongly() -> None:
    """What is no valid call counts as invalid, though nothing lists the valid ones."""
    world = at_home()
    learner = make_policy(world, actions="free", action_tokens=120)
    policy = TakeoverPolicy(world, learner, Patience(invalid=2), None)
    trajectory = run(play(world, world.tasks("train")[0], policy), MockEngine(saying(lambda _: "turn on the lamp"))).trajectory
    assert [step.action for step in trajectory.steps] == ["turn on the lamp"] * 2 + ['switch(lamp="big lamp", on=true)']
    assert trajectory.success and [step.mistake for step in trajectory.steps] == [True, True, False]
