"""A session that was read from a file, and the trajectory that is made of it. Knows no format.

The goal is what the user said first. Every turn of the assistant is a step: its text, then its calls as edgexp writes them
(`read(path="a.txt"); read(path="b.txt")`). What tools and users say next is the observation. What a system says is left out, and so are
thoughts. Where nobody says how it ended, the end is `no outcome`.

Texts are made writable, secrets are taken out, and what is longer than `LONGEST` loses its middle, with a mark in its place.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from edgexp.environments.calls import BadCall, Call, write_calls
from edgexp.errors import EdgexpError
from edgexp.redaction import redact
from edgexp.trajectory import NO_OUTCOME, Provenance, Step, Task, Trajectory

Role = Literal["system", "user", "assistant", "tool"]

ENVIRONMENT = "chat"
SPLIT = "imported"
TYPE = "session"
LONGEST = 262_144
"""Characters of a goal, an action or an observation."""
MOST_STEPS = 20_000


@dataclass(frozen=True)
class Turn:
    """What one side said. `calls` are pairs of a tool's name and its arguments, a dictionary or a text of the model's own."""

    role: Role
    text: str = ""
    calls: tuple[tuple[str, Any], ...] = ()


@dataclass
class Dialogue:
    """A session as a file has it."""

    turns: list[Turn]
    place: str = ""
    """Where in the file: `line 3`, `session 4f1c`."""
    success: bool | None = None
    """None where the file does not say."""
    score: float | None = None
    model: str = ""
    created: str = ""
    """As the file says it."""


@dataclass
class Tally:
    """What happened to texts on their way."""

    secrets: Counter[str] = field(default_factory=Counter)
    shortened: int = 0


def trajectory_of(dialogue: Dialogue, origin: str, tally: Tally, *, secrets: bool = False) -> Trajectory:
    """The trajectory of a session. `origin` says where it is from; `secrets` leaves them in.

    Raises EdgexpError where nobody asks for anything, or nothing is done.
    """

    def clean(text: str) -> str:
        return _clean(text, tally, secrets)

    goal, rest = _goal_of(dialogue.turns)
    observation, steps = _steps_of(rest, clean)
    if not goal.strip():
        raise EdgexpError("no user says anything in it")
    if not steps:
        raise EdgexpError("no assistant says anything in it")
    if len(steps) > MOST_STEPS:
        raise EdgexpError(f"it has {len(steps):,} turns of the assistant, more than {MOST_STEPS:,}")
    goal = clean(goal.strip())
    digest = hashlib.sha256(goal.encode()).hexdigest()[:12]
    success, score = _outcome(dialogue)
    return Trajectory(
        Task(f"{ENVIRONMENT}/{SPLIT}/{digest}", ENVIRONMENT, SPLIT, TYPE), goal, observation, steps, bool(success), score,
        NO_OUTCOME if success is None else "done",
        Provenance("import", model=clean(dialogue.model)[:200], created=created(dialogue.created), origin=origin),
    )  # fmt: skip


def _goal_of(turns: Sequence[Turn]) -> tuple[str, list[Turn]]:
    """What the user said first, and all that follows but for what systems say. An assistant's greeting before it does not count."""
    spoken = [turn for turn in turns if turn.role != "system"]
    first = next((n for n, turn in enumerate(spoken) if turn.role == "user" and turn.text.strip()), len(spoken))
    return ("", []) if first == len(spoken) else (spoken[first].text, spoken[first + 1 :])


def _steps_of(turns: Iterable[Turn], clean: Callable[[str], str]) -> tuple[str, tuple[Step, ...]]:
    """What is seen before the first action, and the steps."""
    actions: list[str] = []
    seen: list[list[str]] = [[]]
    for turn in turns:
        if turn.role != "assistant":
            if turn.text.strip():
                seen[-1].append(turn.text.strip())
        elif action := _action_of(turn):
            actions.append(action)
            seen.append([])
    first, *others = (clean("\n\n".join(texts)) for texts in seen)
    return first, tuple(Step(clean(action), observation) for action, observation in zip(actions, others, strict=True))


def _action_of(turn: Turn) -> str:
    return "\n".join(part for part in (turn.text.strip(), _written(turn.calls)) if part)


def _written(calls: Sequence[tuple[str, Any]]) -> str:
    """The calls of a turn on one line; what cannot be written so stands as it is."""
    try:
        return write_calls([Call(name, arguments) for name, arguments in calls if isinstance(arguments, dict)]) if all(
            isinstance(arguments, dict) for _, arguments in calls) else "; ".join(f"{name}({arguments})" for name, arguments in calls)
    except (BadCall, RecursionError, TypeError, ValueError):
        return "; ".join(f"{name}(…)" for name, _ in calls)


def _outcome(dialogue: Dialogue) -> tuple[bool | None, float]:
    """Success, where known, and the score from 0 to 1."""
    score = dialogue.score
    if score is None or not math.isfinite(score):
        return dialogue.success, float(bool(dialogue.success))
    return dialogue.success, min(1.0, max(0.0, float(score)))


def _clean(text: str, tally: Tally, secrets: bool) -> str:
    """A text that can be stored. It is shortened after its secrets have gone, so that none is cut in two."""
    text = text.encode("utf-8", "replace").decode()
    if not secrets:
        text, found = redact(text)
        tally.secrets += found
    if len(text) <= LONGEST:
        return text
    tally.shortened += 1
    half = LONGEST // 2 - 50
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters left out …]\n{text[-half:]}"


def created(said: str) -> str:
    """A time as UTC in ISO 8601, out of such a text or of seconds (or thousandths of them) since 1970; empty where it is neither."""
    try:
        if said.replace(".", "", 1).isdigit():
            seconds = float(said)
            moment = datetime.fromtimestamp(seconds / 1000 if seconds > 1e11 else seconds, UTC)
        else:
            moment = datetime.fromisoformat(said.replace("Z", "+00:00"))
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        return moment.isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return ""
