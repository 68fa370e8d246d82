"""The model of another server, which is given experience: the conversation goes there with past episodes in its system turn.

What is asked is what the client asked; how many tokens it has is only estimated here, and the other server's own cache is its own affair.
"""

import asyncio
import re
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from edgexp.errors import EdgexpError, UsageError
from edgexp.play.acting import now
from edgexp.play.chat_client import Address, ServerFailed, Terms, parse_address, read_key
from edgexp.play.chat_stream import StreamingClient
from edgexp.play.remote import LONGEST, count_tokens
from edgexp.prompt.messages import memory_text, remembering
from edgexp.serve.answering import Question, TooLong, until_written
from edgexp.serve.conversation import Call, Said, system_text
from edgexp.serve.protocol import Refusal, Tool, Usage, Written
from edgexp.trajectory import Provenance, Trajectory

_FULL = re.compile(r"context[ _](length|size|window)|exceed_context|too many tokens|prompt is too long", re.IGNORECASE)


class UpstreamModel:
    """Answers by another server."""

    def __init__(self, client: StreamingClient, room: int, at_once: int = 64):
        self._client = client
        self.name, self.room = client.address.model, room
        self._threads = ThreadPoolExecutor(at_once, "edgexp upstream")

    async def answer(self, question: Question) -> AsyncGenerator[str | Written, None]:
        """As `Answerer.answer`."""
        loop, told, gone = asyncio.get_running_loop(), asyncio.Queue[Any](), threading.Event()

        def tell(event: Any) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(told.put_nowait, event)

        def work() -> None:
            try:
                reading = Reading()
                for piece in self._client.pieces(question_of(question, self.name), gone.is_set):
                    if text := reading.take(piece):
                        tell(text)
                tell(reading.written())
            except Exception as error:
                tell(self._as_refusal(error, question))

        self._threads.submit(work)
        try:
            async for event in until_written(told):
                yield event
        finally:
            gone.set()

    def size(self, messages: Sequence[Said], tools: Sequence[Tool]) -> int:
        """About how many tokens a conversation has."""
        texts = [*(said.text for said in messages), *(tool.line for tool in tools)]
        return sum(count_tokens(text) + 4 for text in texts)

    def cost(self, trajectory: Trajectory) -> int:
        """About how many tokens a trajectory takes."""
        return count_tokens(memory_text(trajectory)) + 8

    def provenance(self) -> Provenance:
        """The server, and the model by its word."""
        return Provenance("agent", model=self.name, created=now(), server=self._client.address.url, settings="served")

    def forget(self, session: str) -> None:
        """Nothing is kept of sessions here."""

    def close(self) -> None:
        """As `Answerer.close`."""
        self._client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _as_refusal(self, error: Exception, question: Question) -> Exception:
        if not isinstance(error, ServerFailed):
            return error
        if error.status in (400, 413, 422, 500) and _FULL.search(str(error)):
            return TooLong(self.size(question.messages, question.tools), self.room)
        words = f"{self._client.address.url}: {error}"
        if error.status in (400, 404, 413, 422):
            return Refusal(words, error.status)
        return Refusal(words, 429 if error.status == 429 else 502, "rate_limit_error" if error.status == 429 else "server_error")


@dataclass
class Reading:
    """An answer in the making, out of the pieces of a stream or out of one whole answer."""

    text: str = ""
    finish: str = "stop"
    usage: Usage = field(default_factory=Usage)
    calls: dict[int, list[str]] = field(default_factory=dict)
    """Place → id, name and arguments so far."""

    def take(self, piece: dict[str, Any]) -> str:
        """Take a piece in; the text that came with it."""
        if isinstance(usage := piece.get("usage"), dict):
            self.usage = _usage(usage)
        choices = piece.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        delta = choice.get("delta", choice.get("message"))
        delta = delta if isinstance(delta, dict) else {}
        if choice.get("finish_reason") in ("stop", "length", "tool_calls"):
            self.finish = choice["finish_reason"]
        calls = delta.get("tool_calls")
        for number, call in enumerate(calls if isinstance(calls, list) else []):
            self._call(number, call)
        text = delta.get("content")
        self.text += text if isinstance(text, str) else ""
        return text if isinstance(text, str) else ""

    def written(self) -> Written:
        """All of it."""
        calls = tuple(Call(name, arguments or "{}", identity) for identity, name, arguments in self.calls.values() if name)
        return Written(self.text, calls, self.finish, self.usage)

    def _call(self, number: int, call: object) -> None:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(call, dict) or not isinstance(function, dict):
            return
        place = call.get("index") if type(call.get("index")) is int else number
        parts = self.calls.setdefault(place if place is not None else number, ["", "", ""])
        for n, value in enumerate((call.get("id"), function.get("name"), function.get("arguments"))):
            parts[n] += value if isinstance(value, str) else ""


def _usage(told: dict[str, Any]) -> Usage:
    details = told.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    counts = (told.get("prompt_tokens"), cached, told.get("completion_tokens"))
    prompt, cached, generated = (value if type(value) is int and 0 <= value < 2**31 else 0 for value in counts)
    return Usage(prompt, min(prompt, cached), generated)


def question_of(question: Question, model: str) -> dict[str, Any]:
    """The body of a question to the other server."""
    sampling = question.sampling
    asked: dict[str, Any] = {"model": model or "default", "messages": _messages(question), "temperature": sampling.temperature,
                             "seed": sampling.seed, "max_tokens": sampling.limit, "stop": list(sampling.stop) or None,
                             "top_p": sampling.top_p if sampling.top_p < 1 else None}  # fmt: skip
    if question.tools:
        asked["tools"] = [{"type": "function", "function": {"name": tool.name, "description": tool.description,
                                                            "parameters": tool.parameters}} for tool in question.tools]  # fmt: skip
        if question.must_call is not None:
            named = {"type": "function", "function": {"name": question.must_call}}
            asked["tool_choice"] = named if question.must_call else "required"
    return {name: value for name, value in asked.items() if value is not None}


def _messages(question: Question) -> list[dict[str, Any]]:
    messages = list(question.messages)
    if question.memory:
        leading = next((n for n, said in enumerate(messages) if said.role != "system"), len(messages))
        memory = "".join(message.text for message in remembering(question.memory))
        messages[:leading] = [Said("system", (system_text(messages) + memory).lstrip("\n"))]
    return [_message(said) for said in messages]


def _message(said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {"role": said.role, "content": said.text}
    if said.calls:
        message["tool_calls"] = [{"id": call.id or f"call_{n}", "type": "function", "function": {"name": call.name, "arguments":
                                  call.arguments}} for n, call in enumerate(said.calls)]  # fmt: skip
        message["content"] = said.text or None
    if said.role == "tool":
        message["tool_call_id"] = said.answers or "call_0"
    return message


def open_upstream(address: str, terms: Terms, context: int = 0, at_once: int = 64) -> UpstreamModel:
    """The model at an address, which has to answer. Raises UsageError for what is no address or names no model, EdgexpError where the
    server cannot be asked."""
    client = StreamingClient(parse_address(address), read_key(terms.key_variable), terms.seconds)
    try:
        listed = client.models()
    except ServerFailed as error:
        client.close()
        raise EdgexpError(f"{client.address.url}: {error}") from error
    found = client.address
    if not found.model:
        if len(listed) != 1:
            client.close()
            names = ", ".join(one.name for one in listed[:20])
            raise UsageError(f"{found.url}: name one of its models, as in {found.url}#name; it has {names or 'none that it lists'}")
        client.address = Address(found.url, listed[0].name, found.login)
    known = next((one.context for one in listed if one.name == client.address.model), 0)
    return UpstreamModel(client, context or known or LONGEST, at_once)
