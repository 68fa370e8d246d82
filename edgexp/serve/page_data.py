"""What the page asks for and does, as JSON under `/api/`. Knows the service, and not how anything looks."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgexp.serve.conversation import task_of, words_of
from edgexp.serve.protocol import Refusal, unknown_session
from edgexp.serve.service import ChatService
from edgexp.serve.sessions import ChatSession
from edgexp.trajectory import encode

MOST_LISTED = 200
LONGEST_GOAL = 300
"""Characters of a goal in a list."""


def routes(service: ChatService) -> list[Route]:
    """The page's own routes."""
    async def state(_: Request) -> Response:
        listed = sorted(service.sessions, key=lambda session: -session.used)[:MOST_LISTED]
        return JSONResponse({
            "model": service.model.name, "context": service.model.room, "changes": service.changes,
            "bank": _bank(service), "sessions": [_summary(session) for session in listed], "total": len(service.sessions),
        })  # fmt: skip

    async def session(request: Request) -> Response:
        found = _find(service, request)
        useful = await service.keeper.usefulness(_remembered(found)) if service.keeper else {}
        goals = {t.id: t.goal for t in await service.keeper.read(_remembered(found))} if service.keeper else {}
        return JSONResponse(_whole(found, {one: msgspec.structs.asdict(value) for one, value in useful.items()}, goals))

    async def outcome(request: Request) -> Response:
        told = await _body(request, _Outcome)
        return JSONResponse(_summary(await service.outcome(request.path_params["session"], told.success)))

    async def forget_session(request: Request) -> Response:
        await service.forget(request.path_params["session"])
        return JSONResponse({"forgotten": 1})

    async def search(request: Request) -> Response:
        if service.keeper is None:
            return JSONResponse({"found": []})
        return JSONResponse({"found": await service.keeper.search(request.query_params.get("q", "")[:2000], 30)})

    async def memory(request: Request) -> Response:
        keeper, identity = _keeper(service), request.path_params["memory"]
        found = await keeper.read([identity])
        if not found:
            raise Refusal(f"the bank holds no {identity[:64]!r}", 404, "not_found_error")
        return JSONResponse(msgspec.json.decode(encode(found[0])))

    async def mark(request: Request) -> Response:
        told, identity = await _body(request, _Outcome), request.path_params["memory"]
        for one in service.sessions:
            if one.banked == identity:
                return JSONResponse({"id": (await service.outcome(one.id, told.success)).banked})
        return JSONResponse({"id": await _keeper(service).mark(identity, told.success)})

    async def accept(request: Request) -> Response:
        return JSONResponse({"accepted": await _keeper(service).accept(request.path_params["memory"])})

    async def forget(request: Request) -> Response:
        identity = request.path_params["memory"]
        for one in service.sessions:  # what is forgotten is not kept by the session that it came from either
            if one.banked == identity:
                await service.forget(one.id)
        return JSONResponse({"forgotten": await _keeper(service).forget([identity])})

    return [
        Route("/api/state", state), Route("/api/sessions/{session}", session), Route("/api/search", search),
        Route("/api/memories/{memory}", memory), *(Route(path, act, methods=["POST"]) for path, act in _acts(
            outcome, forget_session, mark, accept, forget)),
    ]  # fmt: skip


def _acts(*acts: Callable[[Request], Awaitable[Response]]) -> list[tuple[str, Callable[[Request], Awaitable[Response]]]]:
    paths = ("/api/sessions/{session}/outcome", "/api/sessions/{session}/forget", "/api/memories/{memory}/outcome",
             "/api/memories/{memory}/accept", "/api/memories/{memory}/forget")  # fmt: skip
    return list(zip(paths, acts, strict=True))


class _Outcome(msgspec.Struct, forbid_unknown_fields=True):
    success: bool


async def _body(request: Request, kind: type[_Outcome]) -> _Outcome:
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (ValueError, RecursionError) as error:
        raise Refusal(str(error)) from error


def _keeper(service: ChatService) -> Any:
    if service.keeper is None:
        raise Refusal("this server has no bank", 404, "not_found_error")
    return service.keeper


def _find(service: ChatService, request: Request) -> ChatSession:
    identity = request.path_params["session"]
    found = service.sessions.get(identity)
    if found is None:
        raise unknown_session(identity)
    return found


def _bank(service: ChatService) -> dict[str, Any] | None:
    keeper = service.keeper
    return None if keeper is None else {"environment": keeper.environment, "k": keeper.retrieval.k if keeper.retrieval.remembers else 0}


def _remembered(session: ChatSession) -> list[str]:
    recall = session.recall
    return [one.id for one in (*recall.used, *recall.dropped)] if recall else []


def _summary(session: ChatSession) -> dict[str, Any]:
    goal = task_of(session.said)[0] if session.said else session.asked
    return {
        "id": session.id, "key": session.key, "goal": goal[:LONGEST_GOAL], "turns": session.turns, "busy": session.busy,
        "used": session.used, "success": session.success, "score": session.score, "banked": session.banked, "tokens": session.tokens,
        "recalled": len(session.costs), "memory_tokens": sum(session.costs.values()),
    }  # fmt: skip


def _whole(session: ChatSession, useful: dict[str, Any], goals: dict[str, str]) -> dict[str, Any]:
    recall = session.recall
    remembered = [
        {**msgspec.structs.asdict(one), "goal": goals.get(one.id, "")[:LONGEST_GOAL], "in_prompt": one.id in session.costs,
         "tokens": session.costs.get(one.id, one.tokens), "now": useful.get(one.id)}
        for one in (*recall.used, *recall.dropped)
    ] if recall else []  # fmt: skip
    messages = [{"role": said.role, "text": words_of(said)} for said in session.said]
    return {**_summary(session), "messages": messages, "progress": session.progress if session.busy else "", "remembered": remembered,
            "query": recall.query if recall else "", "model": session.model}  # fmt: skip
