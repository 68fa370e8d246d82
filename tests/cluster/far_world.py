"""An environment that takes its time, and counts; importable by workers."""

import time

from toys import Counting

from edgexp.errors import EdgexpError
from edgexp.play.scripted import Scripted
from edgexp.trajectory import Task


class Slow(Counting):
    """The counting environment with many tasks, of a tenth of a second each; its expert loses one of three."""

    name = "slow"

    def tasks(self, split: str) -> list[Task]:
        return [Task(f"slow/{split}/{n}", "slow", split, "count", ("easy", "hard")[n % 2]) for n in range(200)]

    def task(self, task_id: str) -> Task:
        return next(t for s in self.splits() for t in self.tasks(s) if t.id == task_id)

    def reset(self, task: Task):  # type: ignore[no-untyped-def]
        if task.id.endswith("/199"):
            raise EdgexpError("this one is broken")
        return super().reset(task)

    def step(self, action: str):  # type: ignore[no-untyped-def]
        time.sleep(0.03)
        return super().step(action)


class Sometimes(Scripted):
    """Wins two of three tasks, always the same."""

    def __init__(self) -> None:
        super().__init__(["add one"] * 9, "agent")

    def begin(self, episode):  # type: ignore[no-untyped-def]
        number = int(episode.task.id.rsplit("/", 1)[1])
        self._actions = ["add one"] * 9 if number % 3 else ["wait", f"say {number}"]


def make(environment, retriever, acting):  # type: ignore[no-untyped-def]
    """For `--policy far_world:make`."""
    return Sometimes()
