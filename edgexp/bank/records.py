"""What goes into and comes out of a bank, as data, and the texts a trajectory is found by. Knows no SQL, no files and no vectors.

A trajectory has two keys: its task (what was asked and first seen) and its history (what was asked and done). An episode is matched by
its task before it begins, and by its history while it runs. Store and queries compose the texts of keys here, so that the two always match.
"""

import re
from collections.abc import Sequence
from typing import Literal, get_args

import msgspec

from edgexp.trajectory import Source, Trajectory

Status = Literal["accepted", "quarantined"]


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which trajectories count; a field left out does not restrict. Only accepted ones are ever found by a search."""

    environment: str | None = None
    success: bool | None = None
    source: Source | None = None
    split: str | None = None
    task_type: str | None = None
    group: str | None = None
    exclude_task_ids: tuple[str, ...] = ()
    ids: tuple[str, ...] | None = None
    """Only these trajectories."""


class Hit(msgspec.Struct, frozen=True):
    """A trajectory found by a search, and the cosine between its vector and the query's."""

    id: str
    score: float


class AddResult(msgspec.Struct, frozen=True):
    """The ids that are new in the bank, and those it held already, each once."""

    added: tuple[str, ...]
    known: tuple[str, ...]
    repeated: int = 0
    """How many of the given trajectories were equal to an earlier one of them."""


class Entry(msgspec.Struct, frozen=True):
    """What the bank knows of a trajectory without reading its steps."""

    id: str
    status: Status
    environment: str
    task_id: str
    task_type: str
    group: str
    split: str
    success: bool
    score: float
    source: Source
    steps: int
    created: str


class Scored(msgspec.Struct, frozen=True, omit_defaults=True):
    """One trajectory that a retrieval found: its score, and why it was left out of the prompt, where it was."""

    id: str
    score: float
    dropped: str = ""
    """Empty when it was used; else the reason, for example `budget`."""
    tokens: int = 0
    """What it would have cost, where that is why it was dropped."""
    frame: float | None = None
    """How alike the frames of the two goals are, where that counted."""
    usefulness: float | None = None
    """How useful it had proved by then, where that counted."""


class Recall(msgspec.Struct, frozen=True):
    """One retrieval of an episode: before which step (0 is before the first action), with which query, what it found, best first."""

    step: int
    query: str
    seconds: float
    hits: tuple[Scored, ...]


class Episode(msgspec.Struct, frozen=True):
    """A played episode as the log keeps it. `id` is given out by the bank and empty until then."""

    run: str
    environment: str
    task_id: str
    trajectory: str
    """Its content id; the trajectory itself need not be in the bank."""
    success: bool
    score: float
    model: str
    created: str
    """UTC, ISO 8601."""
    recalls: tuple[Recall, ...] = ()
    id: str = ""
    task_type: str = ""
    """Empty in what was logged before this was kept."""
    ending: str = ""
    """As a trajectory's `end`; empty in what was logged before this was kept."""


class Stats(msgspec.Struct, frozen=True):
    """Figures of a bank, for people."""

    path: str
    trajectories: int
    accepted: int
    quarantined: int
    successful: int
    by_environment: dict[str, int]
    by_source: dict[str, int]
    episodes: int
    encoder: str
    encoder_id: str
    dimensions: int
    indexed: dict[str, int]
    """Vectors of each kind in mapped index files; the others are in memory."""
    database_bytes: int
    index_bytes: int
    fingerprint: str


Kind = Literal["task", "course"]
"""What a key is about. `course` means the history: banks have always stored it under that word."""
KINDS: tuple[Kind, ...] = get_args(Kind)

VERSION = 3
"""Of how keys are made of texts. Raise it with every change to that: a bank made before then says that it must be rebuilt."""
_SENTENCE = re.compile(r".*?[.!?](?=\s|$)", re.DOTALL)
_LONGEST = 80
"""Characters of a first sentence that count."""


def task_text(goal: str, observation: str) -> str:
    """The key of the task: the goal on the first line, then the first sentence of the first observation, which says where one is.

    What follows it, a room's long list of furniture, says little about the task and drowns the goal: of the best hits for household tasks
    68 % had the task's type with it and 80 % without (docs/benchmarks.md).
    """
    found = _SENTENCE.match(observation)
    sentence = found[0] if found else observation
    return f"{' '.join(goal.splitlines())}\n{' '.join(sentence.split())[:_LONGEST]}"


def split_key(kind: Kind, text: str) -> list[str]:
    """The texts that a key is made of. They are embedded apart and their unit vectors added, so that each counts the same."""
    parts = text.split("\n", 1) if kind == "task" else [text]
    return [part for part in parts if part.strip()] or [text]


def history_text(goal: str, actions: Sequence[str]) -> str:
    """The key of the history, of kind `course`: the goal and the actions, one a line."""
    return "\n".join([goal, *actions])


def key_text(trajectory: Trajectory, kind: Kind) -> str:
    """The key of a finished trajectory. The encoder cuts off the end of what is longer than its limit."""
    if kind == "task":
        return task_text(trajectory.goal, trajectory.observation)
    return history_text(trajectory.goal, [step.action for step in trajectory.steps])
