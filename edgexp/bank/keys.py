"""The texts a trajectory is found by. Store and queries compose them here, so that the two always match.

A trajectory has one vector of each kind: `task` (what was asked and first seen) and `course` (what was asked and done), so that an
episode can be matched by its task before it begins and by its course while it runs.
"""

import re
from collections.abc import Sequence
from typing import Literal, get_args

from edgexp.trajectory import Trajectory

Kind = Literal["task", "course"]
KINDS: tuple[Kind, ...] = get_args(Kind)


VERSION = 3
"""Of how keys are made of texts: to be raised with every change here, so that a bank made before says that it must be rebuilt."""
_SENTENCE = re.compile(r".*?[.!?](?=\s|$)", re.DOTALL)
_LONGEST = 80
"""Characters of a first sentence that count."""


def task_text(goal: str, observation: str) -> str:
    """The `task` key: the goal on the first line, then the first sentence of the first observation, which says where one is.

    What follows it, a room's long list of furniture, says little about the task and drowns the goal: of the best hits for household tasks
    68 % had the task's type with it and 80 % without (docs/benchmarks.md).
    """
    found = _SENTENCE.match(observation)
    sentence = found[0] if found else observation
    return f"{' '.join(goal.splitlines())}\n{' '.join(sentence.split())[:_LONGEST]}"


def pieces(kind: Kind, text: str) -> list[str]:
    """The texts that a key is made of: embedded apart, their unit vectors added and scaled to length 1, so that each counts the same."""
    parts = text.split("\n", 1) if kind == "task" else [text]
    return [part for part in parts if part.strip()] or [text]


def course_text(goal: str, actions: Sequence[str]) -> str:
    """The `course` key: the goal and the actions, one a line."""
    return "\n".join([goal, *actions])


def text_of(trajectory: Trajectory, kind: Kind) -> str:
    """The text of a finished trajectory; what is longer than the encoder's limit loses its end there."""
    if kind == "task":
        return task_text(trajectory.goal, trajectory.observation)
    return course_text(trajectory.goal, [step.action for step in trajectory.steps])
