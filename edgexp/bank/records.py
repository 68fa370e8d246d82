"""What goes into and comes out of a bank, as data. No SQL, no vectors."""

from typing import Literal

import msgspec

from edgexp.trajectory import Source

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
    """The ids that are new in the bank, and those it held already."""

    added: tuple[str, ...]
    known: tuple[str, ...]


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


class Weighed(msgspec.Struct, frozen=True, omit_defaults=True):
    """One trajectory a retrieval weighed: its score, and why it was left out of the prompt, where it was."""

    id: str
    score: float
    dropped: str = ""
    """Empty when it was used; else the reason, for example `budget`."""
    tokens: int = 0
    """What it would have cost, where that is why it was dropped."""


class Recall(msgspec.Struct, frozen=True):
    """One retrieval of an episode: before which step (0 is before the first action), with which query, what it found, best first."""

    step: int
    query: str
    seconds: float
    hits: tuple[Weighed, ...]


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
