"""What a trajectory is found by."""

import numpy as np
import pytest

from edgexp.bank.records import history_text, split_key, task_text
from edgexp.bank.upkeep import key_vectors


class Axes:
    """Gives every text a direction of its own."""

    id, name, dimensions, max_tokens = "e", "axes", 4, 99

    def encode(self, texts, *, query=False):
        return np.eye(4, dtype=np.float32)[[" abc".index(text[0]) for text in texts]]

    def count(self, text, *, query=False):
        return 1


def test_a_task_key_is_the_goal_and_where_one_is():
    [vector] = key_vectors(Axes(), "task", [task_text("a", "b is here. c is there.")])
    np.testing.assert_allclose(vector, [0, 0.5**0.5, 0.5**0.5, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("observation", "sentence"),
    [
        ("You are in a room. Looking around, you see a bed 1.", "You are in a room."),
        ("A bell rings!\nYou see 3.5 doors.", "A bell rings!"),
        ("no end at all", "no end at all"),
        ("x" * 200, "x" * 80),
        ("", ""),
    ],
)
def test_only_the_first_sentence_of_an_observation_counts(observation, sentence):
    assert task_text("heat\nsome egg", observation) == f"heat some egg\n{sentence}"


def test_a_goal_alone_and_a_history_are_one_text():
    assert split_key("task", "heat some egg") == ["heat some egg"]
    assert split_key("task", task_text("", "")) == ["\n"]
    assert split_key("course", history_text("a", ["b", "c"])) == ["a\nb\nc"]


def test_nothing_to_embed_is_nothing():
    assert len(key_vectors(Axes(), "course", [])) == 0
