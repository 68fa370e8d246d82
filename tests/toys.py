"""A tiny environment and ready-made trajectories, for tests that are not about either."""

from edgexp.environments.base import Outcome, Start
from edgexp.errors import EdgexpError
from edgexp.trajectory import Provenance, Step, Task, Trajectory


class Counting:
    """Count to a number by saying `add one`: the smallest environment there is, with valid actions and texts of the test's choice."""

    name, version, max_steps = "counting", "1", 10

    def __init__(self, target: int = 3, observation: str = "The count is {}.", goal: str = "count to {}."):
        self.target, self.observation, self.goal, self.count, self.closed = target, observation, goal, -1, False

    def splits(self) -> tuple[str, ...]:
        return ("train", "test")

    def tasks(self, split: str) -> list[Task]:
        return [Task(f"counting/{split}/{n}", "counting", split, "count", "easy") for n in range(4)]

    def task(self, task_id: str) -> Task:
        return next(t for s in self.splits() for t in self.tasks(s) if t.id == task_id)

    def instructions(self) -> str:
        return "You count. Answer with one action: add one, or take one."

    def reset(self, task: Task) -> Start:
        self.count = 0
        return Start(self.goal.format(self.target), self.observation.format(0))

    def step(self, action: str) -> Outcome:
        if not 0 <= self.count < self.target:
            raise EdgexpError("the episode is over")
        self.count += {"add one": 1, "take one": -1}.get(action, 0)
        self.count = max(self.count, 0)
        won = self.count == self.target
        return Outcome(self.observation.format(self.count), float(won), won, won, self.count / self.target)

    def admissible(self) -> list[str]:
        return ["add one", "take one", "wait"]

    def close(self) -> None:
        self.closed = True


def make_trajectory(
    actions: tuple[str, ...] = ("open it", "take it"),
    *,
    goal: str = "win.",
    observation: str = "You see a box.",
    success: bool = True,
    task_id: str = "toy/train/1",
    observations: tuple[str, ...] | None = None,
) -> Trajectory:
    """A trajectory for tests that are not about how it came to be."""
    seen = observations or tuple(f"After {a}." for a in actions)
    steps = tuple(Step(a, o) for a, o in zip(actions, seen, strict=True))
    task = Task(task_id, "toy", "train", "fetch", "easy")
    return Trajectory(task, goal, observation, steps, success, float(success), "done" if success else "max_steps", Provenance("expert"))
