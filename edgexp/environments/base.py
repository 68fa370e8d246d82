"""What an environment is. Environments know nothing of models, prompts or banks.

An environment is a plain object with the members of `Environment`. Two abilities are optional and found by their methods:
`admissible()` (the actions that are valid now) and `expert()` (a scripted player that sees only what an agent sees).
Everything is deterministic: the same task and the same actions give the same texts.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from edgexp.trajectory import Task


class Start(msgspec.Struct, frozen=True):
    """The beginning of an episode: the goal in words and the first observation (without the goal)."""

    goal: str
    observation: str


class Outcome(msgspec.Struct, frozen=True):
    """What one action led to. `success` and `score` (0 to 1) are the episode's state so far; `done` ends it."""

    observation: str
    reward: float = 0.0
    done: bool = False
    success: bool = False
    score: float = 0.0


@runtime_checkable
class Environment(Protocol):
    """The contract every environment keeps. `close` frees every process and file; closing twice is fine."""

    name: str
    version: str
    """Changes whenever the same actions could give other texts; goes into every trajectory's provenance."""
    max_steps: int
    """Actions an episode may take when the caller names no other limit."""

    def splits(self) -> Sequence[str]:
        """The names of the splits, for example `train`, `dev`, `test`."""

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split, in a fixed order; may be lazy. Raises UsageError for an unknown split."""

    def task(self, task_id: str) -> Task:
        """The task of that id. Raises UsageError where there is none."""

    def instructions(self) -> str:
        """What the system prompt says about acting here: the form of actions, one template a line."""

    def reset(self, task: Task) -> Start:
        """Begin an episode of that task; an episode under way is dropped. Raises EdgexpError when the task cannot be loaded."""

    def step(self, action: str) -> Outcome:
        """Take an action, any text at all. After the end, or before a reset, raises EdgexpError."""

    def close(self) -> None:
        """Free everything."""


@runtime_checkable
class HasAdmissible(Protocol):
    """An environment that can list what is valid now."""

    def admissible(self) -> list[str]:
        """Valid actions in the current state, sorted, without repeats; empty when the episode is over."""


class Expert(Protocol):
    """A scripted player. It sees the goal and observations, as an agent does, and nothing else."""

    def begin(self, goal: str, observation: str) -> None:
        """A new episode."""

    def act(self, observation: str) -> str | None:
        """The next action, given the latest observation; None when it gives up."""


@runtime_checkable
class HasExpert(Protocol):
    """An environment with a scripted expert."""

    def expert(self) -> Expert:
        """A fresh player."""
