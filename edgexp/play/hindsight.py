"""Hindsight: a lost episode as one of the goal that it did reach (Andrychowicz et al. 2017), where its environment can tell which.

What comes after the goal was reached is cut. The actions were chosen for another goal, so an action is a label only where the
environment's expert would have taken it for the goal that was reached; where no expert can be asked, only where it was valid and was not
taken before when the same was to be seen. The trajectory is marked as what it is, has a task id of its own (`trajectory.hindsight_id`), and
is of the family of the task that was asked for.
"""

from collections.abc import Iterator

import msgspec

from edgexp.environments.base import Achieved, Environment, achieved_by, has_expert, valid_actions_of
from edgexp.environments.checked_calls import bad_call
from edgexp.errors import EdgexpError
from edgexp.play.scripted import Teacher
from edgexp.trajectory import Step, Task, Trajectory, hindsight_id


def in_hindsight(environment: Environment, trajectory: Trajectory) -> Trajectory | None:
    """The trajectory as one of the goal that it reached; None where it was won, reached none, or holds nothing to learn.

    It is played again, so the environment must have no episode under way. None as well where that fails: hindsight is a bonus.
    """
    try:
        return _seen_again(environment, trajectory)
    except EdgexpError:
        return None


def _seen_again(environment: Environment, trajectory: Trajectory) -> Trajectory | None:
    if trajectory.success or trajectory.broke_off or trajectory.provenance.asked or trajectory.task.environment != environment.name:
        return None
    reached = achieved_by(environment, trajectory)
    if reached is None or reached.goal == trajectory.goal:
        return None
    steps = tuple(_played_again(environment, trajectory, reached))
    if len(steps) < reached.steps or all(step.mistake for step in steps):
        return None
    asked = trajectory.task
    task = Task(hindsight_id(asked.id, reached.goal), asked.environment, asked.split, reached.type, reached.group)
    return Trajectory(task, reached.goal, trajectory.observation, steps, True, 1.0, "done",
                      msgspec.structs.replace(trajectory.provenance, asked=asked.id))  # fmt: skip


def _played_again(environment: Environment, trajectory: Trajectory, reached: Achieved) -> Iterator[Step]:
    """The steps up to the goal, those that are no labels marked; fewer where the environment does not do the same again."""
    if environment.reset(trajectory.task).observation != trajectory.observation:
        return
    teacher, latest = _teacher(environment, reached.goal, trajectory.observation), trajectory.observation
    list_valid, taken = valid_actions_of(environment), set[tuple[str, str]]()
    for step in trajectory.steps[: reached.steps]:
        valid = step.action in list_valid() if list_valid else not bad_call(step.action, environment)
        if teacher is None:
            right = valid and (latest, step.action) not in taken
            taken.add((latest, step.action))
        else:
            teacher.look(latest)
            right = teacher.judge(step.action, valid)
        if environment.step(step.action).observation != step.observation:
            return
        yield msgspec.structs.replace(step, mistake=step.mistake or not right)
        latest = step.observation


def _teacher(environment: Environment, goal: str, observation: str) -> Teacher | None:
    """The expert, begun with the goal; None where there is none that can be asked, or it knows no such goal."""
    teacher = Teacher(environment) if has_expert(environment) else None
    if teacher is None or not (teacher.follows and teacher.advises):
        return None
    try:
        teacher.begin(goal, observation)
    except EdgexpError:
        return None
    return teacher
