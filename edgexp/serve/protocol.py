"""OpenAI's chat protocol as data: what a request asks, checked, and the bodies of answers and errors. Knows no sessions, memory or models.

Whatever a body holds, reading it ends in a `ChatRequest` or in a `Refusal`, which is an error in the protocol's own shape.
"""

import json
import re
from dataclasses import dataclass, field
from time import time
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgexp.errors import EdgexpError
from edgexp.serve.conversation import Call, Said
from edgexp.terminal import clean

MOST_MESSAGES, MOST_TOOLS, MOST_STOPS = 4096, 256, 16
LONGEST_STOP = 256
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a client may call a session."""
_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
"""What a tool may be called."""


class Refusal(EdgexpError):
    """A request that gets no answer, with HTTP's status and the protocol's words for why."""

    def __init__(self, message: str, status: int = 400, kind: str = "invalid_request_error", param: str | None = None,
                 code: str | None = None):
        super().__init__(message)
        self.status, self.kind, self.param, self.code = status, kind, param, code

    @property
    def body(self) -> dict[str, Any]:
        """The error as the protocol has it."""
        return {"error": {"message": clean(str(self), None), "type": self.kind, "param": self.param, "code": self.code}}


def unknown_session(identity: str) -> Refusal:
    """The refusal of a session's name that nobody knows."""
    return Refusal(f"there is no session {identity[:64]!r}", 404, "not_found_error", "session")


class _Part(msgspec.Struct):
    type: str = "text"
    text: str | None = None


class _Function(msgspec.Struct):
    name: str
    arguments: str | dict[str, Any] | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part | str] | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None


class _Tool(msgspec.Struct):
    function: _Function
    type: str = "function"


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = False


class _Format(msgspec.Struct):
    type: str = "text"


class _Chosen(msgspec.Struct):
    name: str


class _Choice(msgspec.Struct):
    function: _Chosen
    type: str = "function"


class _Own(msgspec.Struct):
    memory: bool | None = None
    session: str | None = None


class _Body(msgspec.Struct):
    messages: Annotated[list[_Message], Meta(min_length=1, max_length=MOST_MESSAGES)]
    model: str | None = None
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    seed: int | None = None
    stop: str | Annotated[list[str], Meta(max_length=MOST_STOPS)] | None = None
    n: int | None = 1
    logprobs: bool | None = False
    tools: Annotated[list[_Tool], Meta(max_length=MOST_TOOLS)] | None = None
    tool_choice: str | _Choice | None = None
    response_format: _Format | None = None
    edgexp: _Own | None = None


@dataclass(frozen=True)
class Tool:
    """A function that the model may call."""

    name: str
    description: str
    parameters: dict[str, Any]

    @property
    def line(self) -> str:
        """The tool as a line of JSON, for a prompt."""
        about = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return json.dumps({"type": "function", "function": about}, ensure_ascii=False)


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn. None is for the server to fill in."""

    temperature: float | None = None
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    limit: int | None = None
    """Tokens."""


@dataclass(frozen=True)
class ChatRequest:
    """What a request asks for."""

    messages: tuple[Said, ...]
    model: str = ""
    stream: bool = False
    usage: bool = False
    """Whether a stream is to tell its usage at its end."""
    sampling: Sampling = field(default_factory=Sampling)
    tools: tuple[Tool, ...] = ()
    must_call: str | None = None
    """The tool that is to be called; empty for any, None where none need be."""
    memory: bool | None = None
    """None where the request does not say."""
    session: str = ""
    """What the client calls its session; empty where the messages are to tell."""


def read_chat(data: bytes) -> ChatRequest:
    """A request by its body. Raises Refusal for one that cannot be understood, or that asks for what there is not."""
    body = _decode(data)
    _refuse_the_unknown(body)
    tools, must_call = _tools_of(body)
    own = body.edgexp or _Own()
    limits = [limit for limit in (body.max_tokens, body.max_completion_tokens) if limit]
    sampling = Sampling(body.temperature, body.top_p or 1.0, body.seed, _stops_of(body.stop), min(limits, default=None))
    messages = tuple(_said(message, f"messages[{number}]") for number, message in enumerate(body.messages))
    usage = bool(body.stream_options and body.stream_options.include_usage)
    return ChatRequest(messages, body.model or "", bool(body.stream), usage, sampling, tools, must_call, own.memory,
                       check_key(own.session or ""))  # fmt: skip


def check_key(key: str) -> str:
    """A client's name for a session. Raises Refusal for one that is none."""
    if key and not _KEY.fullmatch(key):
        raise Refusal("the name of a session has up to 64 letters, digits, dots, dashes and underscores", param="session")
    return key


def _decode(data: bytes) -> _Body:
    try:
        return msgspec.json.decode(data, type=_Body)
    except msgspec.ValidationError as error:
        words, _, place = str(error).partition(" - at ")
        param = place.strip("`").removeprefix("$.") or None
        raise Refusal(f"{words}{f' at {param}' if param else ''}", param=param) from error
    except (ValueError, RecursionError) as error:
        raise Refusal(f"the body is not JSON: {error}") from error


def _refuse_the_unknown(body: _Body) -> None:
    if body.n not in (None, 1):
        raise Refusal("n: one answer at a time", param="n")
    if body.logprobs:
        raise Refusal("logprobs: this server does not tell them", param="logprobs")
    if body.response_format and body.response_format.type != "text":
        raise Refusal("response_format: this server writes text only; ask for JSON in words", param="response_format")


def _tools_of(body: _Body) -> tuple[tuple[Tool, ...], str | None]:
    """The tools that may be called, and what must be."""
    tools = tuple(Tool(t.function.name, t.function.description or "", t.function.parameters or {}) for t in body.tools or [])
    for tool in tools:
        if not _NAME.fullmatch(tool.name):
            raise Refusal("a tool's name has up to 128 letters, digits and any of _ . : / -", param="tools")
    choice = body.tool_choice
    if choice is None or choice == "auto":
        return tools, None
    if choice == "none":
        return (), None
    named = choice.function.name if isinstance(choice, _Choice) else ""
    if (isinstance(choice, str) and choice != "required") or not tools or (named and named not in {tool.name for tool in tools}):
        raise Refusal("tool_choice is none, auto, required or one of the tools", param="tool_choice")
    return tools, named


def _stops_of(given: str | list[str] | None) -> tuple[str, ...]:
    stops = tuple(dict.fromkeys(stop for stop in ([given] if isinstance(given, str) else given or []) if stop))
    if any(len(stop) > LONGEST_STOP for stop in stops):
        raise Refusal(f"a stop has at most {LONGEST_STOP} characters", param="stop")
    return stops


_ROLES: dict[str, Literal["system", "user", "assistant", "tool"]] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool", "function": "tool",
}  # fmt: skip


def _said(message: _Message, where: str) -> Said:
    role = _ROLES.get(message.role)
    if role is None:
        raise Refusal(f"{where}.role: {message.role[:40]!r} is none of {', '.join(_ROLES)}", param=f"{where}.role")
    calls = tuple(Call(c.function.name, _arguments(c.function.arguments), c.id or "") for c in message.tool_calls or [])
    if calls and role != "assistant":
        raise Refusal(f"{where}.tool_calls: only an assistant calls tools", param=f"{where}.tool_calls")
    if any(not _NAME.fullmatch(call.name) for call in calls):
        raise Refusal(f"{where}.tool_calls: a name that no tool has", param=f"{where}.tool_calls")
    return Said(role, _text(message.content, where), calls, message.tool_call_id or "")


def _text(content: str | list[_Part | str] | None, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    texts = [_Part("text", part) if isinstance(part, str) else part for part in content]
    for part in texts:
        if part.type not in ("text", "input_text", "output_text", "refusal"):
            raise Refusal(f"{where}.content: {part.type[:40]!r}: this server reads text only", param=f"{where}.content")
    return "".join(part.text or "" for part in texts)


def _arguments(given: str | dict[str, Any] | None) -> str:
    return given if isinstance(given, str) else json.dumps(given or {}, ensure_ascii=False)


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer."""

    prompt: int = 0
    cached: int = 0
    """Of the prompt: what the model had seen before."""
    generated: int = 0

    @property
    def body(self) -> dict[str, Any]:
        """As the protocol has it."""
        return {
            "prompt_tokens": self.prompt, "completion_tokens": self.generated, "total_tokens": self.prompt + self.generated,
            "prompt_tokens_details": {"cached_tokens": self.cached}, "completion_tokens_details": {"reasoning_tokens": 0},
        }  # fmt: skip


@dataclass(frozen=True)
class Written:
    """A finished answer."""

    text: str
    calls: tuple[Call, ...] = ()
    finish: str = "stop"
    """`stop`, `length` or `tool_calls`."""
    usage: Usage = field(default_factory=Usage)

    @property
    def said(self) -> Said:
        """The answer as the next request will hold it."""
        return Said("assistant", self.text, self.calls)


class Bodies:
    """The bodies of one answer: all of it, or piece by piece."""

    def __init__(self, identity: str, model: str):
        self._common: dict[str, Any] = {"id": f"chatcmpl-{identity}", "created": int(time()), "model": model,
                                        "system_fingerprint": "edgexp"}  # fmt: skip

    def whole(self, written: Written, about: dict[str, Any]) -> dict[str, Any]:
        """The body of an answer that does not stream; `about` is its `edgexp` member."""
        message: dict[str, Any] = {"role": "assistant", "content": written.text if written.text or not written.calls else None,
                                   "refusal": None}  # fmt: skip
        if written.calls:
            message["tool_calls"] = [_call_body(call) for call in written.calls]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": written.finish}
        return {**self._common, "object": "chat.completion", "choices": [choice], "usage": written.usage.body, "edgexp": about}

    def first(self, about: dict[str, Any]) -> dict[str, Any]:
        """The first piece of a stream, which has no text."""
        return {**self._piece({"role": "assistant", "content": ""}), "edgexp": about}

    def text(self, text: str) -> dict[str, Any]:
        """A piece of text."""
        return self._piece({"content": text})

    def last(self, written: Written, about: dict[str, Any]) -> dict[str, Any]:
        """The last piece: the calls, where there are any, and why it is the last."""
        calls = [{"index": n, **_call_body(call)} for n, call in enumerate(written.calls)]
        return {**self._piece({"tool_calls": calls} if calls else {}, written.finish), "edgexp": about}

    def usage(self, written: Written) -> dict[str, Any]:
        """What follows the last piece where the client wants to know the usage."""
        return {**self._common, "object": "chat.completion.chunk", "choices": [], "usage": written.usage.body}

    def _piece(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._common, "object": "chat.completion.chunk", "choices": [choice]}


def _call_body(call: Call) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
