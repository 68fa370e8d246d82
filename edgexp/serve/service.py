"""What happens to a request: find its session, recall, let the model answer, keep what was said, and then say that it is done.

Knows no HTTP. For the event loop's thread alone; whatever blocks is done on threads of the rooms below.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from time import time
from typing import Any

import msgspec

from edgexp.errors import EdgexpError
from edgexp.serve.answering import Answerer, Question, TooLong
from edgexp.serve.cleaning import Redaction
from edgexp.serve.conversation import Said, task_of
from edgexp.serve.journal import Journal, Line, turn_line
from edgexp.serve.keeping import Keeper
from edgexp.serve.protocol import ChatRequest, Refusal, Written, unknown_session
from edgexp.serve.sessions import ChatSession, Match, Sessions, stays

RESERVE = 2048
"""Tokens of the context that memory leaves to the conversation, where it has as many to spare."""


@dataclass(frozen=True)
class Limits:
    """What the service grants."""

    sessions: int = 1000
    waiting: int = 64
    """Requests under way."""
    memory_tokens: int = 2048
    """Of past episodes in a prompt."""
    idle_seconds: float = 300.0
    """After which a session without an outcome goes into the bank's quarantine."""


@dataclass(eq=False)
class Turn:
    """One answer under way."""

    session: ChatSession
    match: Match
    asked: ChatRequest
    question: Question
    ended: bool = False

    def about(self) -> dict[str, Any]:
        """What the answer says of itself."""
        session, recall = self.session, self.session.recall
        used = [{"id": one.id, "score": round(one.score, 6), "success": one.success, "tokens": session.costs.get(one.id, 0),
                 "task": one.task_id, "usefulness": one.usefulness} for one in recall.used] if recall else []  # fmt: skip
        left = [{"id": one.id, "score": round(one.score, 6), "reason": one.reason, "tokens": one.tokens} for one in recall.dropped] \
            if recall else []
        in_prompt = {trajectory.id for trajectory in self.question.memory}
        return {"session": session.id, "recalled": [one for one in used if one["id"] in in_prompt], "left_out": left}


class ChatService:
    """Conversations with one model. Without a `keeper` nothing is remembered, without a `journal` nothing is kept."""

    def __init__(self, model: Answerer, keeper: Keeper | None = None, journal: Journal | None = None,
                 redaction: Redaction | None = None, limits: Limits | None = None, tell: Callable[[str], None] = lambda _: None):
        self.model, self.keeper, self.journal, self.limits = model, keeper, journal, limits or Limits()
        self._redaction, self._tell = redaction or Redaction(), tell
        secret = journal.secret if journal is not None else b"edgexp"
        self.sessions = Sessions(self.limits.sessions, secret, self._leave)
        self._writer = ThreadPoolExecutor(1, "edgexp journal")
        self._left = list[ChatSession]()
        """Sessions that were given up, and that the bank does not have yet."""
        self._keeping = asyncio.Lock()
        """One session after the other goes into the bank: two at once would not know of what the other has put there."""
        self._under_way = 0
        self.closed = False
        self.changes = 0
        """Raised with everything that a page may want to show anew."""

    # Requests

    async def begin(self, asked: ChatRequest) -> Turn:
        """The turn of a request, with its memory. `end` has to follow, whatever happens. Raises Refusal."""
        if self._under_way >= self.limits.waiting:
            raise Refusal(f"{self._under_way} requests are under way; ask again later", 429, "rate_limit_error", code="too_many_requests")
        match = self.sessions.match(asked.messages, asked.session)
        session = self.sessions.begin(match)
        self._under_way += 1
        self.changes += 1
        try:
            session.pending = await asyncio.to_thread(self._clean_all, asked.messages[stays(session, match) :])
            await self._remember(session, match, asked)
            origin = match.origin.id if match.origin is not None else session.id
            memory = session.memory if asked.memory is not False else ()
            question = Question(session.id, asked.messages, asked.sampling, asked.tools, asked.must_call, memory, match.known, origin)
            return Turn(session, match, asked, question)
        except BaseException:
            self._release(session)
            raise

    async def answer(self, turn: Turn) -> AsyncGenerator[str | Written, None]:
        """Pieces of text, and the whole answer when it is in the log."""
        try:
            async for piece in self._answer(turn):
                if isinstance(piece, str):
                    turn.session.progress += piece
                else:
                    await self._finish(turn, piece)
                self.changes += 1
                yield piece
        except TooLong:
            if not turn.question.memory or turn.session.progress:
                raise
            self._tell(f"session {turn.session.id}: it has outgrown the context with its memory, which is left out from now on")
            turn.session.memory, turn.session.costs = (), {}
            turn.question = replace(turn.question, memory=())
            async for piece in self.answer(turn):
                yield piece

    async def _answer(self, turn: Turn) -> AsyncGenerator[str | Written, None]:
        async with contextlib.aclosing(self.model.answer(turn.question)) as pieces:
            async for piece in pieces:
                yield piece

    def end(self, turn: Turn) -> None:
        """Nobody waits for the answer any more, whether it came or not. Ending twice is fine."""
        if not turn.ended:
            turn.ended = True
            self._release(turn.session)

    def _release(self, session: ChatSession) -> None:
        self._under_way -= 1
        self.changes += 1
        self.sessions.release(session)
        if not session.turns:
            self.model.forget(session.id)

    async def _remember(self, session: ChatSession, match: Match, asked: ChatRequest) -> None:
        """Recall, where the session begins; what a session from before a restart remembered is read again."""
        keeper = self.keeper
        if keeper is None:
            return
        if session.wanted:
            wanted, session.wanted = session.wanted, ()
            there = {trajectory.id: trajectory for trajectory in await keeper.read(wanted)}
            session.memory = tuple(there[one] for one in wanted if one in there)
        if not match.fresh:
            return
        session.memory, session.recall, session.costs = (), None, {}
        if asked.memory is False or not keeper.retrieval.remembers:
            return
        bare = await asyncio.to_thread(self.model.size, asked.messages, asked.tools)
        room = self.model.room
        budget = min(self.limits.memory_tokens, room - min(room // 2, RESERVE) - bare)
        goal, observation = task_of(asked.messages)
        memory, recall, session.costs = await keeper.recall(goal, observation, self.model.cost, budget)
        session.recall = msgspec.structs.replace(recall, query=self._redaction.clean(recall.query))
        session.memory = tuple(one.trajectory for one in memory.recalled)

    async def _finish(self, turn: Turn, written: Written) -> None:
        """Take an answer in, and write it down before anybody is told that it is whole."""
        session, usage = turn.session, written.usage
        keep = stays(session, turn.match)
        answer = await asyncio.to_thread(self._clean, written.said)
        self.sessions.finish(session, turn.match, written.said, [*session.pending, answer])
        session.pending, session.progress = [], ""
        session.model = self.model.name
        for name in session.tokens:
            session.tokens[name] += getattr(usage, name)
        if turn.match.rewrites:
            self._tell(f"session {session.id}: the history was rewritten after message {turn.match.known}; "
                       f"{usage.prompt - usage.cached:,} of {usage.prompt:,} tokens of the prompt were evaluated for it")  # fmt: skip
        await self._write(turn_line(session, keep))

    def _clean_all(self, messages: Sequence[Said]) -> list[Said]:
        return [self._clean(said) for said in messages]

    def _clean(self, said: Said) -> Said:
        clean = self._redaction.clean
        return Said(said.role, clean(said.text), tuple(replace(call, arguments=clean(call.arguments)) for call in said.calls), said.answers)

    async def _write(self, *lines: Line) -> None:
        if self.journal is not None:
            try:
                await asyncio.get_running_loop().run_in_executor(self._writer, self.journal.add, *lines)
            except OSError as error:
                raise EdgexpError(f"{self.journal.folder}: the log cannot be written ({error.strerror or error})") from error

    # Outcomes, and what a person says on the page

    async def outcome(self, identity: str, success: bool, score: float | None = None) -> ChatSession:
        """Say how a session ended; it is accepted into the bank. Raises Refusal where nobody knows it."""
        session = self.sessions.get(identity)
        if session is None or not session.turns:
            raise unknown_session(identity)
        session.success, session.score, session.dirty = success, score, True
        await self._write(Line(session.id, "outcome", time(), success=success, score=score))
        self.changes += 1
        await self.keep(session)
        return session

    async def forget(self, identity: str) -> None:
        """Know nothing of a session any more, here, in the log and in the bank. Raises Refusal where nobody knows it, or it is busy."""
        session = self.sessions.get(identity)
        if session is None:
            raise unknown_session(identity)
        if session.busy:
            raise Refusal(f"session {session.id} is being answered; wait for it", 409, "conflict_error")
        self.sessions.drop(session)
        self.model.forget(session.id)
        self.changes += 1
        async with self._keeping:
            if self.keeper is not None and session.banked:
                await self.keeper.forget([session.banked])
            session.turns = 0  # whoever has it still keeps it no more
        if self.journal is not None:
            kept = [one for one in [*self._left, *self.sessions] if one.turns]
            await asyncio.get_running_loop().run_in_executor(self._writer, self.journal.rewrite, kept)

    # The bank

    async def keep(self, session: ChatSession) -> None:
        """Put a session into the bank; what cannot be put there stays in the log."""
        async with self._keeping:
            if self.keeper is None or self.journal is None or not session.turns:
                return
            try:
                await self.keeper.keep(session, self.model.provenance())
                await self._write(Line(session.id, "left" if session.dirty else "banked", time(), trajectory=session.banked))
            except EdgexpError as error:
                self._tell(f"session {session.id}: not in the bank: {error}")

    async def sweep(self) -> None:
        """Put into the bank what has been idle, and what was given up."""
        left, self._left = self._left, []
        idle = time() - self.limits.idle_seconds
        for session in [*left, *(s for s in self.sessions if s.dirty and not s.busy and s.used < idle)]:
            await self.keep(session)

    async def restore(self) -> int:
        """Take in the sessions that the log has, and put those into the bank that it lacks; how many there are."""
        if self.journal is None:
            return 0
        found = await asyncio.to_thread(self.journal.read)
        for session in found:
            if session.dirty:
                await self.keep(session)
        lost = [session for session in found[: -self.limits.sessions] if session.dirty]  # the bank did not take them
        kept = found[-self.limits.sessions :]
        for session in kept:
            self.sessions.restore(session)
        try:
            await asyncio.to_thread(self.journal.rewrite, [*lost, *kept])
        except OSError as error:
            self._tell(f"{self.journal.folder}: the log stays as long as it is ({error.strerror or error})")
        return len(kept)

    async def close(self) -> None:
        """Put everything into the bank, and close all. Closing twice is fine."""
        if self.closed:
            return
        self.closed = True
        self.limits = replace(self.limits, idle_seconds=-1.0)
        await self.sweep()
        await asyncio.to_thread(self.model.close)
        if self.keeper is not None:
            await asyncio.to_thread(self.keeper.close)
        self._writer.shutdown()

    def _leave(self, session: ChatSession) -> None:
        self.model.forget(session.id)
        if session.dirty:
            self._left.append(session)
