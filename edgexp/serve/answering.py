"""What the server wants of a model, here or behind another server: a question leads to pieces of text, and then to a finished answer."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgexp.serve.conversation import Said
from edgexp.serve.protocol import Refusal, Sampling, Tool, Written
from edgexp.trajectory import Provenance, Trajectory


@dataclass(frozen=True)
class Question:
    """A conversation that is to go on."""

    session: str
    messages: Sequence[Said]
    sampling: Sampling
    tools: Sequence[Tool] = ()
    must_call: str | None = None
    """The tool that is to be called; empty for any, None where none need be."""
    memory: Sequence[Trajectory] = ()
    """The most useful first."""
    known: int = 0
    """How many of the messages `origin` has been through."""
    origin: str = ""
    """The session whose beginning this one shares: itself, or the one that it branches off from; empty for none."""


class TooLong(Refusal):
    """The conversation does not fit the model's context."""

    def __init__(self, tokens: int, room: int):
        super().__init__(f"the conversation has {tokens:,} tokens and the context of this model {room:,}", code="context_length_exceeded",
                         param="messages")  # fmt: skip


class Answerer(Protocol):
    """A model that answers."""

    name: str
    room: int
    """Tokens of its context."""

    def answer(self, question: Question) -> AsyncGenerator[str | Written, None]:
        """Pieces of text, and at the end the whole answer. Whoever stops iterating stops the model. Raises Refusal, TooLong among others,
        and EdgexpError where it fails."""

    def size(self, messages: Sequence[Said], tools: Sequence[Tool]) -> int:
        """Tokens of a conversation without memory, maybe about so many."""

    def cost(self, trajectory: Trajectory) -> int:
        """Tokens that a trajectory takes as memory."""

    def provenance(self) -> Provenance:
        """Who answers."""

    def forget(self, session: str) -> None:
        """A session will not go on."""

    def close(self) -> None:
        """Free everything; who waits for an answer is told that there will be none."""


async def until_written(told: "asyncio.Queue[Any]") -> AsyncGenerator[str | Written, None]:
    """What a thread tells of an answer, up to the whole of it. Raises what the thread tells as an error."""
    while True:
        event = await told.get()
        if isinstance(event, BaseException):
            raise event
        yield event
        if isinstance(event, Written):
            return
