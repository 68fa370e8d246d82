"""The texts a trajectory is found by. Store and queries compose them here, so that the two always match.

A trajectory has one vector of each kind: `task` (what was asked and first seen) and `course` (what was asked and done), so that an
episode can be matched by its task before it begins and by its course while it runs.
"""

from collections.abc import Sequence
from typing import Literal, get_args

from edgexp.trajectory import Trajectory

Kind = Literal["task", "course"]
KINDS: tuple[Kind, ...] = get_args(Kind)


VERSION = 2
"""Of how keys are made of texts: to be raised with every change here, so that a bank made before says that it must be rebuilt."""
OBSERVATION_WEIGHT = 0.75
"""What the first observation counts in a `task` key, where the goal counts 1.

The two are embedded apart and their vectors added. Embedded as one text, a room's long list of furniture drowns the goal: of the best hit
for a household task, 68 % had its task type as one text and 79 % so (docs/benchmarks.md).
"""


def task_text(goal: str, observation: str) -> str:
    """The `task` key: the goal on the first line, then the first observation."""
    return f"{' '.join(goal.splitlines())}\n{observation}"


def pieces(kind: Kind, text: str) -> list[tuple[str, float]]:
    """The texts that a key is made of and what each counts; their unit vectors are added by these weights and scaled to length 1."""
    goal, _, observation = text.partition("\n")
    if kind == "task" and observation.strip():
        return [(goal, 1.0), (observation, OBSERVATION_WEIGHT)]
    return [(text, 1.0)]


def course_text(goal: str, actions: Sequence[str]) -> str:
    """The `course` key: the goal and the actions, one a line."""
    return "\n".join([goal, *actions])


def text_of(trajectory: Trajectory, kind: Kind) -> str:
    """The text of a finished trajectory; what is longer than the encoder's limit loses its end there."""
    if kind == "task":
        return task_text(trajectory.goal, trajectory.observation)
    return course_text(trajectory.goal, [step.action for step in trajectory.steps])
