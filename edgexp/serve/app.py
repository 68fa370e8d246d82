"""The server's routes: OpenAI's chat protocol, outcomes, and the page. What is done for a request is `service.py`'s to know."""

import asyncio
import base64
import contextlib
import hashlib
import logging
import sys
import traceback
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgexp.errors import EdgexpError, UsageError
from edgexp.process import keep_log
from edgexp.serve import page_data
from edgexp.serve.guard import Guard, Rules, refuse
from edgexp.serve.protocol import Bodies, ChatRequest, Refusal, Written, check_key, read_chat
from edgexp.serve.service import ChatService, Turn

_log = logging.getLogger("edgexp.serve")
SWEEP_SECONDS = 15.0
SEND_SECONDS = 60.0
"""For a client to take a piece of a stream."""


def make_app(service: ChatService, rules: Rules | None = None, *, sweep_seconds: float = SWEEP_SECONDS,
             send_seconds: float = SEND_SECONDS) -> Guard:
    """The whole server as an ASGI application."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await service.restore()
        sweeping = asyncio.create_task(_sweep(service, sweep_seconds))
        try:
            yield
        finally:
            sweeping.cancel()
            await service.close()

    routes = [Route("/health", _health), Route("/", page), *page_data.routes(service), *Endpoints(service, send_seconds).routes()]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={
        HTTPException: _unknown, EdgexpError: _refused, Exception: _failed,
    })  # fmt: skip
    return Guard(app, rules or Rules(), open_paths=("/", "/health"))


class Endpoints:
    """What clients of the protocol ask for."""

    def __init__(self, service: ChatService, send_seconds: float = SEND_SECONDS):
        self._service, self._send_seconds = service, send_seconds

    def routes(self) -> list[Route]:
        """Every address: with `/v1` and without, and under the name of a session."""
        found = [Route("/s/{key}/v1/chat/completions", self.chat, methods=["POST"]), Route("/s/{key}/v1/models", self.models),
                 Route("/s/{session}/outcome", self.outcome, methods=["POST"])]  # fmt: skip
        for prefix in ("/v1", ""):
            found += [
                Route(f"{prefix}/chat/completions", self.chat, methods=["POST"]),
                Route(f"{prefix}/models", self.models),
                Route(f"{prefix}/models/{{name:path}}", self.model),
                Route(f"{prefix}/sessions/{{session}}/outcome", self.outcome, methods=["POST"]),
            ]
        return found

    async def chat(self, request: Request) -> Response:
        """An answer, whole or as a stream."""
        return await _chat(self._service, request, self._send_seconds)

    async def models(self, _: Request) -> Response:
        """The one model that there is."""
        return JSONResponse({"object": "list", "data": [self._about()]})

    async def model(self, request: Request) -> Response:
        """The same by its name."""
        name, there = request.path_params["name"], self._service.model.name
        if name != there:
            raise Refusal(f"there is no model {name[:100]!r}; this server has {there}", 404, "not_found_error", "model", "model_not_found")
        return JSONResponse(self._about())

    async def outcome(self, request: Request) -> Response:
        """How a session ended."""
        told = _decode(await request.body(), Outcome)
        session = await self._service.outcome(request.path_params["session"], told.success, told.score)
        return JSONResponse({"session": session.id, "success": session.success, "score": session.score, "trajectory": session.banked})

    def _about(self) -> dict[str, Any]:
        model = self._service.model
        return {"id": model.name, "object": "model", "created": 0, "owned_by": "edgexp", "context_length": model.room}


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


class Outcome(msgspec.Struct, forbid_unknown_fields=True):
    """How a session ended, as a client says it."""

    success: bool
    score: float | None = None

    def __post_init__(self) -> None:
        if self.score is not None and not 0 <= self.score <= 1:
            raise ValueError("a score is between 0 and 1")


def _decode(data: bytes, kind: type[Outcome]) -> Outcome:
    try:
        return msgspec.json.decode(data, type=kind)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{error}; wanted: {{\"success\": true}}, and maybe \"score\": 0 to 1") from error


async def page(_: Request) -> Response:
    """The page."""
    text, policy = read_page()
    return Response(text, media_type="text/html", headers={"content-security-policy": policy})


@cache
def read_page() -> tuple[str, str]:
    """The page, and what a browser is to allow it: its own script and style, and this server."""
    text = (files("edgexp.serve") / "page.html").read_text(encoding="utf-8")
    script, style = (f"'sha256-{_digest(text.partition(f'<{tag}>')[2].partition(f'</{tag}>')[0])}'" for tag in ("script", "style"))
    return text, (f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; base-uri 'none'; "
                  "form-action 'none'; frame-ancestors 'none'")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


async def _sweep(service: ChatService, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await service.sweep()
        except Exception:
            _tell_bug("sweeping")


async def _chat(service: ChatService, request: Request, send_seconds: float) -> Response:
    asked = _read_headers(request, read_chat(await request.body()))
    await _take_outcome(service, request, asked)
    turn = await service.begin(asked)
    bodies = Bodies(f"{turn.session.id}-{turn.session.turns}", service.model.name)
    headers = {"x-edgexp-session": turn.session.id}
    if asked.stream:
        return _Stream(service, turn, bodies, headers, send_seconds)
    try:
        written = await _unless_gone(request, _whole(service, turn))
    finally:
        service.end(turn)
    return JSONResponse(bodies.whole(written, turn.about()), headers=headers)


async def _whole(service: ChatService, turn: Turn) -> Written:
    async with contextlib.aclosing(service.answer(turn)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Written):
                return piece
    raise EdgexpError("the model ended without an answer")


async def _unless_gone(request: Request, work: Any) -> Written:
    """What some work gives, which is stopped when the client has gone."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Refusal("the client has gone", 499)
        written: Written = task.result()
        return written
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Stream(Response):
    """An answer piece by piece, as server-sent events. A client that takes nothing more, or is gone, stops the model."""

    def __init__(self, service: ChatService, turn: Turn, bodies: Bodies, headers: dict[str, str], seconds: float):
        self._service, self._turn, self._bodies, self._seconds = service, turn, bodies, seconds
        super().__init__(None, 200, headers, "text/event-stream")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send everything."""
        turn = self._turn
        try:
            await _unless_gone(Request(scope, receive), self._send_all(send))
        except (EdgexpError, OSError):
            pass  # the client was told, or has gone, or takes nothing
        finally:
            self._service.end(turn)

    async def _send_all(self, send: Any) -> Written:
        bodies, turn, written = self._bodies, self._turn, None
        events = self._events()
        try:
            first = await anext(events)  # what fails before there is anything to send is an ordinary error
        except EdgexpError as error:
            self._service.end(turn)
            await refuse(_as_refusal(error), send)
            raise
        headers = [one for one in self.raw_headers if one[0] != b"content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._event(send, bodies.first(turn.about()))
        try:
            async with contextlib.aclosing(events):
                written = await self._piece(send, first) or written
                async for piece in events:
                    written = await self._piece(send, piece) or written
        except EdgexpError as error:
            self._service.end(turn)
            await self._event(send, _as_refusal(error).body)
        if written is not None and turn.asked.usage:
            await self._event(send, bodies.usage(written))
        await self._send(send, b"data: [DONE]\n\n", more=False)
        return written or Written("")

    async def _events(self) -> AsyncGenerator[str | Written, None]:
        async with contextlib.aclosing(self._service.answer(self._turn)) as pieces:
            async for piece in pieces:
                yield piece

    async def _piece(self, send: Any, piece: str | Written) -> Written | None:
        if isinstance(piece, str):
            await self._event(send, self._bodies.text(piece))
            return None
        self._service.end(self._turn)  # first: who knows that it is over may go on at once
        await self._event(send, self._bodies.last(piece, self._turn.about()))
        return piece

    async def _event(self, send: Any, body: dict[str, Any]) -> None:
        await self._send(send, b"data: " + msgspec.json.encode(body) + b"\n\n")

    async def _send(self, send: Any, data: bytes, more: bool = True) -> None:
        async with asyncio.timeout(self._seconds):
            await send({"type": "http.response.body", "body": data, "more_body": more})


def _read_headers(request: Request, asked: ChatRequest) -> ChatRequest:
    """The request with what its headers and its path say."""
    headers = request.headers
    key = check_key(request.path_params.get("key", "") or headers.get("x-edgexp-session", "") or asked.session)
    memory = asked.memory
    if (said := headers.get("x-edgexp-memory")) is not None:
        if said.lower() not in ("off", "on"):
            raise Refusal("X-Edgexp-Memory is on or off", param="x-edgexp-memory")
        memory = said.lower() == "on"
    return replace(asked, session=key, memory=memory)


_ENDED = {"success": True, "failure": False}


async def _take_outcome(service: ChatService, request: Request, asked: ChatRequest) -> None:
    """`X-Edgexp-Outcome: success`, or `ID=failure` of another session than the one that the request goes on with."""
    said = request.headers.get("x-edgexp-outcome")
    if said is None:
        return
    identity, _, ended = said.strip().rpartition("=")
    if ended.lower() not in _ENDED:
        raise Refusal("X-Edgexp-Outcome is success or failure, of a session: ID=success", param="x-edgexp-outcome")
    if not identity:
        session = service.sessions.match(asked.messages, asked.session).session
        if session is None:
            raise Refusal("X-Edgexp-Outcome: the request goes on with no session; name one: ID=success", param="x-edgexp-outcome")
        identity = session.id
    await service.outcome(identity, _ENDED[ended.lower()])


# Errors


def _as_refusal(error: EdgexpError) -> Refusal:
    if isinstance(error, UsageError):
        return Refusal(str(error))
    return error if isinstance(error, Refusal) else Refusal(str(error), 500, "server_error")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, EdgexpError)
    refusal = _as_refusal(error)
    headers = {"retry-after": "1"} if refusal.status in (429, 503) else {}
    return JSONResponse(refusal.body, refusal.status, headers)


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: f"there is nothing at {request.url.path[:100]}", 405: f"{request.method} is not for {request.url.path[:100]}"}
    refusal = Refusal(words.get(error.status_code, str(error.detail)), error.status_code, code="unknown_url")
    return JSONResponse(refusal.body, error.status_code)


async def _failed(_: Request, error: Exception) -> Response:
    _tell_bug("answering", error)
    return JSONResponse(Refusal("this is a bug of edgexp; the server's log has it", 500, "server_error").body, 500)


def _tell_bug(doing: str, error: BaseException | None = None) -> None:
    error = error or sys.exception()
    log = keep_log("bug", "".join(traceback.format_exception(error)) if error else "")
    _log.error("a bug while %s: %s (log: %s)", doing, f"{type(error).__name__}: {error}"[:300], log)
