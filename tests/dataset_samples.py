"""For tests of the training data: demonstrations by experts, banks and sources made of them, and an environment that plays one again."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from bank_samples import WordEncoder

from edgexp.bank import Bank, Embedder
from edgexp.environments.base import Outcome, Start
from edgexp.environments.registry import make
from edgexp.play.collecting import spread
from edgexp.play.episode import play
from edgexp.play.rollout import run
from edgexp.play.scripted import ExpertPolicy
from edgexp.prompt.render import Renderer
from edgexp.training import recipe as recipes
from edgexp.training.demonstrations import Source
from edgexp.training.recipe import Data, Recipe
from edgexp.trajectory import Task, Trajectory

ROBUST = "[memory.mix]\nmatched = 0.4\nmismatched = 0.2\nshortened = 0.2\nabsent = 0.2\n"


@cache
def household(count: int) -> tuple[Trajectory, ...]:
    """Episodes of the household's expert, all task types in turn."""
    environment = make("household")
    return tuple(run(play(environment, task, ExpertPolicy(environment))).trajectory for task in spread(environment.tasks("train"), count))


@cache
def worlds(split: str, count: int) -> tuple[Trajectory, ...]:
    """Episodes of the expert in the first scenes of a split."""
    environment = make("worlds")
    tasks = environment.tasks(split)
    return tuple(run(play(environment, tasks[n], ExpertPolicy(environment))).trajectory for n in range(count))


@contextmanager
def bank_of(folder: Path, trajectories: Iterable[Trajectory], encoder: Embedder | None = None) -> Iterator[Bank]:
    """A bank that holds these."""
    with Bank.open(folder, encoder or WordEncoder()) as bank:
        bank.add(list(trajectories))
        yield bank


def recipe(text: str = "", *changes: str) -> Recipe:
    """A recipe of few held-out trajectories, with TOML on top."""
    return recipes.parse(text, "test", ("check.held_out=4", *changes))


def source(bank: Bank, renderer: Renderer, **data: Any) -> Source:
    """All successful household trajectories of a bank, or what `data` says."""
    return Source(Data(**{"groups": (), **data}), bank, renderer)


class Replay:
    """An environment in which a trajectory happens again: its next action is the only valid one."""

    name, version, max_steps = "replay", "1", 500

    def __init__(self, trajectory: Trajectory):
        self._trajectory, self._at = trajectory, 0

    def splits(self) -> Sequence[str]:
        return (self._trajectory.task.split,)

    def tasks(self, split: str) -> Sequence[Task]:
        return [self._trajectory.task]

    def task(self, task_id: str) -> Task:
        return self._trajectory.task

    def instructions(self) -> str:
        return ""

    def reset(self, task: Task) -> Start:
        self._at = 0
        return Start(self._trajectory.goal, self._trajectory.observation)

    def admissible(self) -> list[str]:
        return [self._trajectory.steps[self._at].action]

    def step(self, action: str) -> Outcome:
        self._at += 1
        done = self._at == len(self._trajectory.steps)
        return Outcome(self._trajectory.steps[self._at - 1].observation, float(done), done, done, float(done))

    def close(self) -> None:
        """Nothing is open."""
