"""Going in circles: what is not offered or said again, and that nothing is barred which an expert does."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mock_engine import MockEngine, make_policy, saying

from edgexp.environments import make
from edgexp.environments.base import refusals_of
from edgexp.play.circles import Futile, drop_repeated_actions
from edgexp.play.episode import play
from edgexp.play.rollout import run
from edgexp.play.scripted import ExpertPolicy
from edgexp.trajectory import Step

NO = "Nothing happens."


def steps(*taken):
    return [Step(action, observation) for action, observation in taken]


@pytest.mark.parametrize(("taken", "repeats", "left"), [
    ([], 1, ["a", "b"]),
    ([("a", "room")], 1, ["b"]),  # a led to where we were
    ([("a", "hall")], 1, ["a", "b"]),  # elsewhere, it has not been tried
    ([("a", "hall"), ("b", "room")], 1, ["b"]),
    ([("a", "hall"), ("a", "yard")], 1, ["a", "b"]),  # it led to something new
    ([("d", "yard"), ("a", "room"), ("d", "yard"), ("a", "yard")], 1, ["b"]),  # twice, and nothing new was seen
    ([("d", "yard"), ("a", "room"), ("d", "yard"), ("a", "yard")], 3, ["a", "b"]),
    ([("d", "yard"), ("a", "room"), ("d", "yard"), ("a", "yard"), ("c", "hall")], 1, ["a", "b"]),
    ([("a", "room")], 2, ["a", "b"]),
    ([("a", "room"), ("a", "room")], 2, ["b"]),
    ([("a", "room"), ("b", "room")], 1, ["a", "b"]),  # nothing else is left
    ([("a", "room"), ("a", "room")], 0, ["a", "b"]),
])
def test_what_was_tried_in_a_situation_is_not_offered_again(taken, repeats, left):
    assert drop_repeated_actions(["a", "b"], steps(*taken), "room", repeats) == left


@pytest.mark.parametrize(("taken", "futile", "fine"), [
    ([], [], ["go to shelf 1"]),
    ([("go to shelf 5", NO)], ["go to shelf 5", "go to shelf 6", "go to shelf 77"], ["go to desk 5", "examine shelf 5", "look"]),
    ([("go to shelf 5", NO), ("examine shelf 5", NO)], ["go to shelf 7", "examine shelf 6"], ["go to desk 1"]),
    # Something was answered in between: to count is sensible again, but not where it was refused, and not there what was refused.
    ([("go to shelf 5", NO), ("go to desk 1", "A desk.")], [], ["go to shelf 5", "go to shelf 2"]),
    ([("go to shelf 5", NO), ("go to desk 1", "A desk."), ("go to shelf 1", "room")], ["go to shelf 5"], ["go to shelf 2", "go to desk 1"]),
    ([("use lamp 1", "On."), ("go to bed 1", "A bed."), ("use lamp 1", "On."), ("use lamp 1", "On.")], ["use lamp 1"], ["use lamp 2"]),
])
def test_after_a_refusal_neither_the_same_is_said_nor_the_next_number(taken, futile, fine):
    judge = Futile(steps(*taken), "room", 1, (NO,))
    assert [text for text in [*futile, *fine] if judge(text)] == futile


@given(st.lists(st.tuples(st.sampled_from(["go 1", "go 2", "take 1", "look"]), st.sampled_from(["room", "hall", NO])), max_size=9))
def test_where_no_answer_is_a_refusal_only_repeating_is_futile(taken):
    judge = Futile(steps(*taken), "room", 1, ())
    for action in ("go 1", "go 2", "take 1", "look", "sing"):
        assert judge(action) == (drop_repeated_actions([action, "another"], steps(*taken), "room", 1) == ["another"])


@pytest.mark.parametrize("name", ["household", "treatments", "errands", "worlds"])
def test_nothing_that_an_expert_does_is_futile(name):
    environment = make(name)
    for task in environment.tasks("train-small" if name == "worlds" else "train")[:60]:
        played = run(play(environment, task, ExpertPolicy(environment))).trajectory
        for number, step in enumerate(played.steps):
            assert not Futile(played.steps[:number], played.observation, 1, refusals_of(environment))(step.action)


def counting_on(prompt):
    """A model that counts on to shelves that are not there."""
    said = re.findall(r"go to shelf (\d+)", prompt.rpartition("<|im_start|>user\n")[0]) or ["9"]
    return f"go to shelf {int(said[-1]) + 1}"


@pytest.mark.parametrize(("repeats", "counted"), [(0, 8), (1, 1)])
def test_a_model_that_counts_on_is_brought_to_say_something_else(repeats, counted):
    environment = make("household")
    policy = make_policy(environment, actions="free", repeats=repeats, action_tokens=16)
    episode = play(environment, environment.tasks("test")[0], policy, max_steps=8)
    played = run(episode, MockEngine(saying(counting_on))).trajectory
    assert [step.action for step in played.steps][:1] == ["go to shelf 10"] and played.steps[0].observation == NO
    longest, run_of = 0, 0
    for step in played.steps:
        run_of = run_of + 1 if re.fullmatch(r"go to shelf \d+", step.action) else 0
        longest = max(longest, run_of)
    assert longest == counted
