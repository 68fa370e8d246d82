"""What the page asks for and does, as JSON under `/api/`. Knows the service, and not how anything looks."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgexp.serve.conversation import task_of, words_of
from edgexp.serve.keeping import Keeper
from edgexp.serve.protocol import Refusal, unknown_session
from edgexp.serve.service import ChatService
from edgexp.serve.sessions import ChatSession
from edgexp.trajectory import encode

MOST_LISTED, MOST_FOUND, LONGEST_QUERY = 200, 30, 2000
LONGEST_GOAL = 300
"""Characters of a goal in a list."""


def routes(service: ChatService) -> list[Route]:
    """The page's own routes."""
    return PageData(service).routes()


class PageData:
    """What the page asks for, and what is done on it."""

    def __init__(self, service: ChatService):
        self._service = service

    def routes(self) -> list[Route]:
        """Every address."""
        asked = {"state": self.state, "sessions/{session}": self.session, "search": self.search, "memories/{memory}": self.memory}
        done = {"sessions/{session}/outcome": self.outcome, "sessions/{session}/forget": self.forget_session,
                "memories/{memory}/outcome": self.mark, "memories/{memory}/accept": self.accept, "memories/{memory}/forget": self.forget}
        return [*(Route(f"/api/{path}", show) for path, show in asked.items()),
                *(Route(f"/api/{path}", act, methods=["POST"]) for path, act in done.items())]  # fmt: skip

    async def state(self, _: Request) -> Response:
        """Everything that the list shows; `changes` tells whether anything has changed."""
        service = self._service
        listed = sorted(service.sessions, key=lambda session: -session.used)[:MOST_LISTED]
        return JSONResponse({
            "model": service.model.name, "context": service.model.room, "changes": service.changes, "bank": _bank(service),
            "sessions": [_summary(session) for session in listed], "total": len(service.sessions),
        })  # fmt: skip

    async def session(self, request: Request) -> Response:
        """A session with its messages, and what it remembers."""
        found, keeper = self._find(request), self._service.keeper
        ids = _remembered(found)
        useful = await keeper.usefulness(ids) if keeper else {}
        goals = {t.id: t.goal for t in await keeper.read(ids)} if keeper else {}
        return JSONResponse(_whole(found, {one: msgspec.structs.asdict(value) for one, value in useful.items()}, goals))

    async def outcome(self, request: Request) -> Response:
        """Somebody says how a session ended."""
        told = await _body(request, _Outcome)
        return JSONResponse(_summary(await self._service.outcome(request.path_params["session"], told.success)))

    async def forget_session(self, request: Request) -> Response:
        """A session is forgotten everywhere."""
        await self._service.forget(request.path_params["session"])
        return JSONResponse({"forgotten": 1})

    async def search(self, request: Request) -> Response:
        """What the bank has that is like some words, or the newest."""
        words = request.query_params.get("q", "")[:LONGEST_QUERY]
        return JSONResponse({"found": await self._service.keeper.search(words, MOST_FOUND) if self._service.keeper else []})

    async def memory(self, request: Request) -> Response:
        """A trajectory whole."""
        identity = request.path_params["memory"]
        found = await self._keeper().read([identity])
        if not found:
            raise Refusal(f"the bank holds no {identity[:64]!r}", 404, "not_found_error")
        return JSONResponse(msgspec.json.decode(encode(found[0])))

    async def mark(self, request: Request) -> Response:
        """Somebody says how what a trajectory tells ended; where it is a session's, the session ended so."""
        told, identity = await _body(request, _Outcome), request.path_params["memory"]
        if (session := self._session_of(identity)) is not None:
            return JSONResponse({"id": (await self._service.outcome(session.id, told.success)).banked})
        return JSONResponse({"id": await self._keeper().mark(identity, told.success)})

    async def accept(self, request: Request) -> Response:
        """A trajectory leaves quarantine."""
        return JSONResponse({"accepted": await self._keeper().accept(request.path_params["memory"])})

    async def forget(self, request: Request) -> Response:
        """A trajectory is forgotten, and the session that it came from with it."""
        identity = request.path_params["memory"]
        if (session := self._session_of(identity)) is not None:
            await self._service.forget(session.id)
        return JSONResponse({"forgotten": await self._keeper().forget([identity])})

    def _session_of(self, identity: str) -> ChatSession | None:
        return next((one for one in self._service.sessions if one.banked == identity), None)

    def _keeper(self) -> Keeper:
        if self._service.keeper is None:
            raise Refusal("this server has no bank", 404, "not_found_error")
        return self._service.keeper

    def _find(self, request: Request) -> ChatSession:
        identity = request.path_params["session"]
        found = self._service.sessions.get(identity)
        if found is None:
            raise unknown_session(identity)
        return found


class _Outcome(msgspec.Struct, forbid_unknown_fields=True):
    success: bool


async def _body(request: Request, kind: type[_Outcome]) -> _Outcome:
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (ValueError, RecursionError) as error:
        raise Refusal(str(error)) from error


def _bank(service: ChatService) -> dict[str, Any] | None:
    keeper = service.keeper
    return None if keeper is None else {"environment": keeper.environment, "k": keeper.retrieval.k if keeper.retrieval.remembers else 0}


def _remembered(session: ChatSession) -> list[str]:
    recall = session.recall
    return [one.id for one in (*recall.used, *recall.dropped)] if recall else []


def _summary(session: ChatSession) -> dict[str, Any]:
    goal, _ = task_of(session.said or session.pending)
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
    messages = [{"role": said.role, "text": words_of(said)} for said in (*session.said, *session.pending)]
    return {**_summary(session), "messages": messages, "progress": session.progress if session.busy else "", "remembered": remembered,
            "query": recall.query if recall else "", "model": session.model}  # fmt: skip
