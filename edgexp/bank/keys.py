"""The texts a trajectory is found by. Store and queries compose them here, so that the two always match.

A trajectory has one vector of each kind: `task` (what was asked and first seen) and `course` (what was asked and done), so that an
episode can be matched by its task before it begins and by its course while it runs.
"""

from collections.abc import Sequence
from typing import Literal, get_args

from edgexp.trajectory import Trajectory

Kind = Literal["task", "course"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def task_text(goal: str, observation: str) -> str:
    """The `task` key: the goal and the first observation."""
    return f"{goal}\n{observation}"


def course_text(goal: str, actions: Sequence[str]) -> str:
    """The `course` key: the goal and the actions, one a line."""
    return "\n".join([goal, *actions])


def text_of(trajectory: Trajectory, kind: Kind) -> str:
    """The text of a finished trajectory; what is longer than the encoder's limit loses its end there."""
    if kind == "task":
        return task_text(trajectory.goal, trajectory.observation)
    return course_text(trajectory.goal, [step.action for step in trajectory.steps])
