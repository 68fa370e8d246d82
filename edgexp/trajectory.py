"""What happened in an episode, as data: Task, Step, Provenance, Trajectory. Knows nothing of models, banks or environments.

A trajectory's id is a hash of what happened (task, goal, observations, actions, outcome) and not of who did it or when, so the same
episode recorded twice is one trajectory, and anybody can re-derive the id from the content.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from edgexp.errors import EdgexpError

Source = Literal["expert", "agent", "import", "person"]


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing to do in one environment; `id` is stable and unique among all environments, for example `household/train/17`."""

    id: str
    environment: str
    split: str
    type: str
    group: str = ""
    """The side of the paper's split this task type is on, `easy` or `hard`, where the environment has one."""


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An action and the observation it led to."""

    action: str
    observation: str
    reward: float = 0.0
    slip: bool = False
    """A mistake made on purpose, so that what comes after it shows how to go on; it is never trained on."""


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who acted, with which weights, under which environment version. Not part of the trajectory's id."""

    source: Source
    environment_version: str = ""
    seed: int = 0
    model: str = ""
    model_sha256: str = ""
    created: str = ""
    """UTC, ISO 8601."""


class Trajectory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A finished episode: what was asked, what was seen and done, how it ended."""

    task: Task
    goal: str
    observation: str
    """The first observation, before any action."""
    steps: tuple[Step, ...]
    success: bool
    score: float
    """The environment's own score of the end, 0 to 1."""
    end: str
    """Why it ended: `done`, `max_steps`, `context_full`, `gave_up` or `error: …`."""
    provenance: Provenance

    @property
    def id(self) -> str:
        """Content id: `t` and 24 hexadecimal digits."""
        return content_id(self)


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Trajectory)


def content_id(trajectory: Trajectory) -> str:
    """The id re-derived from the content: the tagged SHA-256 of everything but the provenance."""
    t = trajectory
    body = _encoder.encode([t.task, t.goal, t.observation, t.steps, t.success, t.score, t.end])
    return "t" + hashlib.sha256(b"edgexp.trajectory.1\0" + body).hexdigest()[:24]


def encode(trajectory: Trajectory) -> bytes:
    """One line of JSON, without the newline."""
    return _encoder.encode(trajectory)


def decode(data: bytes | str) -> Trajectory:
    """The reverse of `encode`. Raises EdgexpError naming the field that is wrong."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EdgexpError(f"not a trajectory: {error}") from error


def read_lines(lines: Iterable[bytes | str], where: str) -> Iterator[Trajectory]:
    """Trajectories from JSON lines; blank lines are passed over. Errors name `where` and the line number."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield decode(line)
            except EdgexpError as error:
                raise EdgexpError(f"{where}, line {number}: {error}") from error
