"""What a trajectory is found by."""

import numpy as np

from edgexp.bank.embed import key_vectors
from edgexp.bank.keys import OBSERVATION_WEIGHT, course_text, pieces, task_text


class Axes:
    """Gives every text a direction of its own."""

    id, name, dimensions, max_tokens = "e", "axes", 4, 99

    def encode(self, texts, *, query=False):
        return np.eye(4, dtype=np.float32)[[" abc".index(text[0]) for text in texts]]

    def count(self, text, *, query=False):
        return 1


def test_a_task_key_is_the_goal_and_less_of_the_room():
    [vector] = key_vectors(Axes(), "task", [task_text("a", "b")])
    np.testing.assert_allclose(vector / vector[1], [0, 1, OBSERVATION_WEIGHT, 0], rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-6)


def test_a_goal_alone_and_a_course_are_one_text():
    assert pieces("task", "heat some egg") == [("heat some egg", 1.0)]
    assert pieces("course", course_text("a", ["b", "c"])) == [("a\nb\nc", 1.0)]


def test_a_goal_of_several_lines_stays_the_goal():
    assert pieces("task", task_text("heat\nsome egg", "a room")) == [("heat some egg", 1.0), ("a room", OBSERVATION_WEIGHT)]


def test_nothing_to_embed_is_nothing():
    assert len(key_vectors(Axes(), "course", [])) == 0
