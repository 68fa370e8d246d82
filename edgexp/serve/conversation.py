"""A conversation in words: its messages, the digests by which it is recognised, its turns for a prompt, and the trajectory that it makes.

Pure functions. A message is recognised by what it says: an assistant's text counts without the white space around it, arguments of calls
by their JSON value, and the ids of calls not at all, since clients change all of these. Knows no protocol, no tokens and no model.
"""

import hmac
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from edgexp.trajectory import NO_OUTCOME, Provenance, Step, Task, Trajectory

Role = Literal["system", "user", "assistant", "tool"]

TASK_WORDS = "\n\nYour task is to: "
"""What stands between the first observation and the goal in the first message of a client that speaks as edgexp's own prompts do."""


@dataclass(frozen=True)
class Call:
    """A tool that an assistant calls. `arguments` is a text of JSON, as the model wrote it."""

    name: str
    arguments: str = "{}"
    id: str = ""


@dataclass(frozen=True)
class Said:
    """One message."""

    role: Role
    text: str
    calls: tuple[Call, ...] = ()
    answers: str = ""
    """The id of the call that a tool's message answers."""


def digests(messages: Iterable[Said], key: bytes = b"edgexp", *, loose: bool = False, before: bytes = b"") -> list[bytes]:
    """One digest for every message, over it and all before it: `before` is that of the last one before.

    `loose` passes system messages over: their digest is the one before.
    """
    found, last = list[bytes](), before
    for said in messages:
        if not (loose and said.role == "system"):
            last = hmac.digest(key, last + _essence(said), "sha256")[:16]
        found.append(last)
    return found


def _essence(said: Said) -> bytes:
    text = said.text.strip() if said.role == "assistant" else said.text
    return json.dumps([said.role, text, [[call.name, _value(call.arguments)] for call in said.calls]], sort_keys=True).encode()


def _value(arguments: str) -> object:
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


def first_user(messages: Sequence[Said]) -> int:
    """The place of the first message that is neither the system's nor the assistant's; the number of messages where there is none."""
    return next((n for n, said in enumerate(messages) if said.role in ("user", "tool")), len(messages))


def system_text(messages: Sequence[Said]) -> str:
    """What the system says before anybody else does."""
    leading = []
    for said in messages:
        if said.role != "system":
            break
        leading.append(said.text)
    return "\n\n".join(text for text in leading if text)


def written_call(call: Call) -> str:
    """A call as the model writes it."""
    return f'<tool_call>\n{{"name": {json.dumps(call.name)}, "arguments": {call.arguments}}}\n</tool_call>'


def words_of(said: Said) -> str:
    """A message as it stands in a prompt."""
    if said.role == "tool":
        return f"<tool_response>\n{said.text}\n</tool_response>"
    return "\n".join(part for part in (said.text, *map(written_call, said.calls)) if part)


def turns_of(messages: Iterable[Said]) -> list[tuple[Literal["user", "assistant"], str]]:
    """Turns that follow the system turn or an assistant's: a user's, an assistant's and so on, a user's at the end.

    What users, tools and a late system say one after the other is one turn. Where an assistant speaks twice, or first, an empty turn of
    the user stands before it.
    """
    turns: list[tuple[Literal["user", "assistant"], str]] = []
    for spoken, group in groupby(messages, lambda said: said.role == "assistant"):
        if not spoken:
            turns.append(("user", "\n\n".join(words_of(said) for said in group)))
            continue
        for said in group:
            turns += [] if turns and turns[-1][0] == "user" else [("user", "")]
            turns.append(("assistant", words_of(said)))
    return turns if turns and turns[-1][0] == "user" else [*turns, ("user", "")]


def task_of(messages: Sequence[Said]) -> tuple[str, str]:
    """Goal and first observation: the last part of the first user's turn after `Your task is to:`, or else all of it and nothing."""
    start = first_user(messages)
    group = []
    for said in messages[start:]:
        if said.role == "assistant":
            break
        group.append(words_of(said))
    observation, found, goal = "\n\n".join(group).rpartition(TASK_WORDS)
    return (goal, observation) if found and goal.strip() else ("\n\n".join(group), "")


def steps_of(messages: Sequence[Said]) -> tuple[Step, ...]:
    """What the assistant said after the first user's turn, each with what it led to."""
    steps: list[Step] = []
    for spoken, group in groupby(messages[first_user(messages) :], lambda said: said.role == "assistant"):
        texts = [words_of(said) for said in group]
        if spoken:
            steps += [Step(text, "") for text in texts]
        elif steps:
            steps[-1] = Step(steps[-1].action, "\n\n".join(texts))
    return tuple(steps)


def trajectory_of(messages: Sequence[Said], environment: str, identity: str, success: bool | None, score: float | None,
                  provenance: Provenance) -> Trajectory:
    """A session as a trajectory. Without an outcome it counts as failed, and says that nobody said."""
    goal, observation = task_of(messages)
    task = Task(f"{environment}/{SPLIT}/{identity}", environment, SPLIT, "session")
    won = bool(success)
    return Trajectory(task, goal, observation, steps_of(messages), won, float(won) if score is None else score,
                      NO_OUTCOME if success is None else "done", provenance)  # fmt: skip


SPLIT = "served"
"""The split of the tasks that sessions are episodes of."""
