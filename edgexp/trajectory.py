"""What happened in an episode, as data: Task, Step, Provenance, Trajectory, and Played, which also says how it came about. Knows nothing of
models, banks or environments.

A trajectory's id is a hash of what happened (task, goal, observations, actions, outcome) and not of who did it or when, so the same
episode recorded twice is one trajectory, and anybody can re-derive the id from the content.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from edgexp.errors import EdgexpError

Source = Literal["expert", "agent", "import", "person", "takeover"]
"""Who acted. `takeover`: a model, until its environment's expert took over."""

NO_OUTCOME = "no outcome"
"""How an episode ends of which nobody has said whether it succeeded. It counts as one that did not."""


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
    mistake: bool = msgspec.field(default=False, name="slip")
    """Made on purpose, or by a model before its teacher took over: what comes after it shows how to go on. It is never trained on. Files
    call it `slip`."""


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who acted, with which weights, under which environment version. Not part of the trajectory's id."""

    source: Source
    environment_version: str = ""
    seed: int = 0
    model: str = ""
    model_sha256: str = ""
    """Empty where a server had the model."""
    created: str = ""
    """UTC, ISO 8601."""
    claimed: str = ""
    """What a file that it was imported from says the source was. Nobody here knows whether that is true."""
    asked: str = ""
    """In hindsight: the id of the task that was asked for, where the trajectory counts as one of another goal, which it did reach."""
    server: str = ""
    """The address of the server that had the model, without name and login; empty for a model of one's own process."""
    settings: str = ""
    """How that server was asked, in words."""
    origin: str = ""
    """Where an import is from: the format, the SHA-256 of the file, and the place in it."""


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
    """Why it ended: `done`, `max_steps`, `context_full`, `gave_up`, `no outcome` or `error: …`."""
    provenance: Provenance

    @property
    def broke_off(self) -> bool:
        """Whether the episode ended because the environment or the policy failed."""
        return self.end.startswith("error: ")

    @property
    def outcome_known(self) -> bool:
        """Whether anybody has said whether the episode succeeded."""
        return self.end != NO_OUTCOME

    @property
    def id(self) -> str:
        """Content id: `t` and 24 hexadecimal digits."""
        return content_id(self)


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An action that was chosen, and how."""

    text: str
    generated: int = 0
    """Tokens that the model itself decided; forced tokens do not count."""
    probability: float | None = None
    """Of this action among the valid ones; None where nobody computed it."""
    alternatives: tuple[tuple[str, float], ...] = ()
    """Other valid actions, or beginnings of several (ending in `…`), with their probabilities, most probable first."""
    stop: str = "end"
    """`end` of turn, `newline`, `closed`: a block or a call was complete, or `length`: the limit on an action's tokens was met."""
    mistake: bool = False
    """As in `Step`."""
    seconds: float = 0.0
    """Time to decide."""
    thought: str = ""
    """What the model thought before. It is part of no trajectory, and so of no memory."""


class Remembered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A trajectory that a recall found."""

    id: str
    score: float
    task_id: str
    task_type: str
    success: bool
    reason: str = ""
    """Why it was left out of the prompt (`budget`, `usefulness`, `diversity`); empty when it was used."""
    tokens: int = 0
    """What it would have cost, where that is why it was left out."""
    frame: float | None = None
    """How alike the frames of the two goals are, where that counted."""
    usefulness: float | None = None
    """How useful it had proved by then, where that counted."""


class Recall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One recall, before action number `step` + 1."""

    step: int
    query: str
    seconds: float
    used: tuple[Remembered, ...]
    dropped: tuple[Remembered, ...]


class Tokens(msgspec.Struct, forbid_unknown_fields=True):
    """What an episode cost the model. Tokens count once for every decision."""

    prompt: int = 0
    """Up to where the first action begins, memory included."""
    evaluated: int = 0
    generated: int = 0
    reused: int = 0
    """What a server without a cache would have run again."""
    attached: int = 0
    """Of the memory and the instructions, where they stand apart: what was in memory already …"""
    loaded: int = 0
    """… and what came from disk."""


class Seconds(msgspec.Struct, forbid_unknown_fields=True):
    """Where an episode's time went. Among episodes played at once `deciding` and `wall` include waiting for the others in the batch."""

    first_action: float = 0.0
    deciding: float = 0.0
    retrieval: float = 0.0
    environment: float = 0.0
    wall: float = 0.0


class Played(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A played episode, whole: what happened, what was recalled and why, how each action was decided, and what it cost.

    The bank's log, the rows of an evaluation and the lines of `edgexp run --json` are views of it.
    """

    trajectory: Trajectory
    recalls: tuple[Recall, ...] = ()
    decisions: tuple[Decision, ...] = ()
    """One for each step."""
    tokens: Tokens = msgspec.field(default_factory=Tokens)
    seconds: Seconds = msgspec.field(default_factory=Seconds)
    memories: tuple[Trajectory, ...] = ()
    """The trajectories that the recalls found, used or not, each once."""


_IN_HINDSIGHT = "/#"
"""Stands in a task's id between the task that was asked for and the goal that was reached instead."""


def hindsight_id(task_id: str, goal: str) -> str:
    """The id of the task that an episode of another one has fulfilled: one for every goal, in the same family."""
    return root_of(task_id) + _IN_HINDSIGHT + re.sub(r"\W+", "-", goal.lower()).strip("-")


def root_of(task_id: str) -> str:
    """The task that was asked for: the id itself but where it is one of hindsight."""
    return task_id.partition(_IN_HINDSIGHT)[0]


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Trajectory)


def content_id(trajectory: Trajectory) -> str:
    """The id re-derived from the content: the tagged SHA-256 of everything but the provenance."""
    t = trajectory
    body = _encoder.encode([t.task, t.goal, t.observation, t.steps, t.success, t.score, t.end])
    return "t" + hashlib.sha256(b"edgexp.trajectory.1\0" + body).hexdigest()[:24]


def as_import(trajectory: Trajectory) -> Trajectory:
    """The trajectory as one that a file brings: its source is `import`, and what the file says the source was is kept as a claim.

    The id stays as it is.
    """
    given = trajectory.provenance
    if given.source == "import":
        return trajectory
    return msgspec.structs.replace(trajectory, provenance=msgspec.structs.replace(given, source="import", claimed=given.source))


def encode(trajectory: Trajectory) -> bytes:
    """One line of JSON, without the newline."""
    return _encoder.encode(trajectory)


def decode(data: bytes | str) -> Trajectory:
    """The reverse of `encode`. Raises EdgexpError naming the field that is wrong."""
    try:
        return _decoder.decode(data)
    except (ValueError, RecursionError) as error:
        raise EdgexpError(f"not a trajectory: {error}") from error


def check_readable(trajectory: Trajectory) -> None:
    """Raise EdgexpError where a trajectory, once written, could not be read again as the same one."""
    try:
        written = encode(trajectory)
    except (TypeError, ValueError, OverflowError) as error:
        raise EdgexpError(f"{trajectory.task.id}: what was played cannot be written: {error}") from error
    if encode(decode(written)) != written:
        raise EdgexpError(f"{trajectory.task.id}: what was played is another trajectory when it is read again")


def read_lines(lines: Iterable[bytes | str], where: str) -> Iterator[Trajectory]:
    """Trajectories from JSON lines; blank lines are passed over. Errors name `where` and the line number."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield decode(line)
            except EdgexpError as error:
                raise EdgexpError(f"{where}, line {number}: {error}") from error
