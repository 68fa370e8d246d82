"""A prompt in words: an episode and its memory as a list of messages. Pure functions; knows no tokens and no model.

Messages of one role that follow each other are parts of one turn: the system turn holds the instructions, and then each past episode as a
message of its own. `chat` joins them, for a server that wants whole turns; `edgexp.prompt.render` turns them into token ids.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from edgexp.trajectory import Step, Trajectory

VERSION = 1
"""Raised whenever the same episode and memory would give other words. A model is at home in the version that it was trained with."""

SUCCEEDED = "\n\nPast episodes that succeeded:"
FAILED = "\n\nPast episodes that failed:"

Role = Literal["system", "user", "assistant"]
Layout = Literal["chained", "apart"]
"""How memory stands in a prompt. Chained: past episodes one after the other, each read with those before it. Apart: each a block of its own
that is read after the instructions only, so that it is the same block in every prompt."""


@dataclass(frozen=True)
class Message:
    """A stretch of text in one role."""

    role: Role
    text: str
    part: str
    """What it is: `instructions`, `memory header`, `memory <id>`, `task`, `action <n>` or `observation <n>`."""
    label: bool = False
    """Whether it is what the model is to say: an action that is no mistake."""
    block: bool = False
    """Whether it is a past episode that stands apart."""


def opening(instructions: str, goal: str, observation: str, memory: Sequence[Trajectory] = (), layout: Layout = "chained") -> list[Message]:
    """Everything up to where the first action begins. `memory` has the most relevant trajectory first."""
    past, task = remembering(memory, layout), Message("user", first_turn(goal, observation), "task")
    return [Message("system", instructions, "instructions"), *past, task]


def remembering(memory: Sequence[Trajectory], layout: Layout = "chained") -> list[Message]:
    """The past episodes, failed ones first. The most relevant stand last, nearest to the task: small models read what is near best.

    Apart, each has its own heading, since a block cannot know what stands beside it, and they go by their ids, since no order is read.
    """
    if layout == "apart":
        blocks = {block_text(t): t for t in sorted(memory, key=lambda t: t.id, reverse=True)}  # to read one twice would be to heed it more
        return [Message("system", text, f"memory {t.id}", block=True) for text, t in reversed(blocks.items())]
    messages = []
    for header, succeeded in ((FAILED, False), (SUCCEEDED, True)):
        group = [Message("system", memory_text(t), f"memory {t.id}") for t in reversed(memory) if t.success is succeeded]
        messages += [Message("system", header, "memory header"), *group] if group else []
    return messages


def history(instructions: str, goal: str, observation: str, steps: Sequence[Step], memory: Sequence[Trajectory] = (),
            layout: Layout = "chained") -> list[Message]:
    """An episode so far, up to where the next action begins."""
    turns = (message for n, step in enumerate(steps, 1) for message in turn(n, step))
    return [*opening(instructions, goal, observation, memory, layout), *turns]


def turn(number: int, step: Step) -> tuple[Message, Message]:
    """Step `number` of an episode, counted from 1: the action, and what it led to."""
    return action(number, step), Message("user", step.observation, f"observation {number}")


def action(number: int, step: Step) -> Message:
    """The action of step `number`."""
    return Message("assistant", step.action, f"action {number}", not step.mistake)


def whole(instructions: str, trajectory: Trajectory, memory: Sequence[Trajectory] = (), layout: Layout = "chained") -> list[Message]:
    """A finished episode, up to the end of its last action: what a training sample is made of."""
    t = trajectory
    messages = history(instructions, t.goal, t.observation, t.steps[:-1], memory, layout)
    return [*messages, action(len(t.steps), t.steps[-1])] if t.steps else messages


def chat(messages: Iterable[Message]) -> list[dict[str, str]]:
    """Whole turns, as chat servers take them: `{"role": …, "content": …}`."""
    return [{"role": role, "content": "".join(m.text for m in turn)} for role, turn in groupby(messages, lambda m: m.role)]


def first_turn(goal: str, observation: str) -> str:
    """The first observation with the goal, as the first user turn says it."""
    return f"{observation}\n\nYour task is to: {goal}"


def memory_text(trajectory: Trajectory) -> str:
    """A past trajectory as plain text, in the words in which episodes are played.

    An action follows `>` without a space, so that its tokens are the very ones the model would say at the start of a turn.
    """
    lines = ["", "", first_turn(trajectory.goal, trajectory.observation).replace("\n\n", "\n")]
    for step in trajectory.steps:
        lines += [f">{step.action}", step.observation]
    return "\n".join(lines)


def block_text(trajectory: Trajectory) -> str:
    """A past trajectory with the heading that it has where it stands apart."""
    return (SUCCEEDED if trajectory.success else FAILED) + memory_text(trajectory)
