"""A model of this process behind the server: one thread runs the engine and answers all who ask at once, a token each in turn.

What a session's prompt was, token by token, is kept with the places at which answers ended. A request that goes on from such a place
appends to it; what was generated stays as it was sampled. Everything else is written anew from the request's own messages.
"""

import asyncio
import queue
import threading
from array import array
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgexp.engine.engine import Engine
from edgexp.errors import EdgexpError
from edgexp.play.acting import now
from edgexp.prompt.messages import Message, remembering
from edgexp.prompt.render import Renderer, Vocabulary
from edgexp.prompt.template import Template
from edgexp.serve import tool_calls
from edgexp.serve.answering import Question, TooLong, until_written
from edgexp.serve.conversation import Said, system_text, turns_of
from edgexp.serve.generation import Generation
from edgexp.serve.protocol import Tool, Written
from edgexp.serve.slots import Slots
from edgexp.trajectory import Provenance, Trajectory

MOST_HELD = 512
"""Sessions whose prompts are kept token by token."""
SHORTEST = 16
"""Tokens that an answer must have room for."""
SPARE = 16
"""Tokens that what was sampled may have more when it is spelt anew, the end of the turn included."""


@dataclass
class Held:
    """The prompt of a session, with its last answer."""

    key: tuple[str, ...]
    """The system turn: its text and the past episodes in it."""
    ids: "array[int]"
    marks: list[tuple[int, int]]
    """Messages and tokens up to the end of each answer."""

    def mark(self, known: int) -> tuple[int, int]:
        """The last mark within so many messages; (0, 0) for none."""
        return max((mark for mark in self.marks if mark[0] <= known), default=(0, 0))


@dataclass(eq=False)
class _Job:
    """An answer that somebody waits for."""

    question: Question
    generation: Generation
    held: Held
    """The prompt, with the marks in it."""
    tell: Callable[[Any], None]
    cancelled: threading.Event = field(default_factory=threading.Event)


class LocalModel:
    """Answers by one engine. `slots`: sequences of the engine, and so answers at once; `room`: tokens of context that each has."""

    def __init__(self, engine: Engine, vocabulary: Vocabulary, template: Template, name: str, *, slots: int, room: int, longest: int = 1024,
                 temperature: float = 0.0, sha256: str = "", close: Callable[[], None] = lambda: None):
        self.name, self.room = name, room
        self._engine, self._vocabulary, self._template, self._sha256 = engine, vocabulary, template, sha256
        self._longest, self._temperature, self._close = longest, temperature, close
        self._slots = Slots(engine, slots)
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._lock = threading.Lock()
        self._new: queue.SimpleQueue[_Job | str | None] = queue.SimpleQueue()
        self._waiting, self._active = list[_Job](), list[_Job]()
        self._thread = threading.Thread(target=self._work, name="edgexp engine", daemon=True)
        self._thread.start()

    async def answer(self, question: Question) -> AsyncGenerator[str | Written, None]:
        """As `Answerer.answer`."""
        loop, told = asyncio.get_running_loop(), asyncio.Queue[Any]()

        def tell(event: Any) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(told.put_nowait, event)

        job = await asyncio.to_thread(self._job, question, tell)
        self._new.put(job)
        try:
            async for event in until_written(told):
                yield event
        finally:
            job.cancelled.set()

    def size(self, messages: Sequence[Said], tools: Sequence[Tool]) -> int:
        """Tokens of a conversation without memory."""
        return len(self._write(messages, tools, ()))

    def cost(self, trajectory: Trajectory) -> int:
        """Tokens that a trajectory takes as memory, its share of the headings included."""
        renderer = self._renderer()
        return renderer.cost(trajectory) + renderer.headers_cost // 2

    def provenance(self) -> Provenance:
        """The model, by name and digest."""
        return Provenance("agent", model=self.name, model_sha256=self._sha256, created=now(), settings="served")

    def forget(self, session: str) -> None:
        """As `Answerer.forget`."""
        with self._lock:
            self._held.pop(session, None)
        self._new.put(session)

    def close(self) -> None:
        """As `Answerer.close`."""
        self._new.put(None)
        self._thread.join()
        self._close()

    # Prompts

    def _renderer(self) -> Renderer:
        """One for each request: what it remembers of texts goes with it."""
        return Renderer(self._vocabulary, self._template, "")

    def _job(self, question: Question, tell: Callable[[Any], None]) -> _Job:
        """A question with its prompt as ids. Raises TooLong."""
        key = (_system(question.messages, question.tools), *(t.id for t in question.memory))
        with self._lock:
            held = self._held.get(question.origin)
        done, tokens = held.mark(question.known) if held and held.key == key else (0, 0)
        if held and done:
            ids = [*held.ids[:tokens], *self._continue(question.messages[done:])]
        else:
            ids = self._write(question.messages, question.tools, question.memory)
        marks = [mark for mark in held.marks if mark[0] <= done] if held and done else []
        if len(ids) + SHORTEST + SPARE > self.room:
            raise TooLong(len(ids), self.room)
        sampling = question.sampling
        if sampling.temperature is None:
            sampling = type(sampling)(self._temperature, sampling.top_p, sampling.seed, sampling.stop, sampling.limit)
        given = tool_calls.beginning(question.must_call)
        spare = self.room - len(ids) - len(given) - len(self._template.end) - SPARE
        limit = max(1, min(sampling.limit or self._longest, self._longest, spare))
        generation = Generation(self._renderer(), ids, sampling, limit, bool(question.tools), given)
        return _Job(question, generation, Held(key, array("i", ids), marks), tell)

    def _write(self, messages: Sequence[Said], tools: Sequence[Tool], memory: Sequence[Trajectory]) -> list[int]:
        system = _system(messages, tools)
        leading = next((n for n, said in enumerate(messages) if said.role != "system"), len(messages))
        words = [Message("system", system, "instructions")] if system or memory else []
        turns = [Message(role, text, "turn") for role, text in turns_of(messages[leading:])]
        return self._renderer().render([*words, *remembering(memory), *turns]).ids

    def _continue(self, messages: Sequence[Said]) -> list[int]:
        renderer = self._renderer()
        turns = turns_of(messages)
        return [token for role, text in turns for token in (renderer.reply(text) if role == "user" else renderer.action(text))]

    # The engine's thread

    def _work(self) -> None:
        while self._take():
            self._drop_cancelled()
            self._admit()
            if self._active:
                self._step()
        for job in [*self._active, *self._waiting]:
            job.tell(EdgexpError("the server is stopping"))

    def _take(self) -> bool:
        """Take in what came; whether to go on."""
        while True:
            try:
                came = self._new.get(block=not (self._active or self._waiting))
            except queue.Empty:
                return True
            if came is None:
                return False
            if isinstance(came, str):
                self._slots.forget(came)
            else:
                self._waiting.append(came)

    def _drop_cancelled(self) -> None:
        self._waiting = [job for job in self._waiting if not job.cancelled.is_set()]
        for job in [job for job in self._active if job.cancelled.is_set()]:
            self._end(job)

    def _admit(self) -> None:
        for job in list(self._waiting):
            if self._slots.free and not self._slots.is_busy(job.question.session):
                self._waiting.remove(job)
                self._guarded(job, self._begin)

    def _begin(self, job: _Job) -> None:
        job.generation.begin(self._slots.take(job.question.session, job.generation.prompt))
        self._active.append(job)

    def _step(self) -> None:
        """One piece of a prompt or one token for everybody."""
        for job in list(self._active):
            self._guarded(job, lambda job: job.generation.prepare())
        try:
            self._engine.evaluate([job.generation.sequence for job in self._active])
        except Exception:  # of one of them: each by itself
            for job in list(self._active):
                self._guarded(job, lambda job: self._engine.evaluate([job.generation.sequence]))
        for job in list(self._active):
            self._guarded(job, self._advance)

    def _advance(self, job: _Job) -> None:
        if text := job.generation.advance():
            job.tell(text)
        if job.generation.finish:
            written = job.generation.written()
            self._keep(job)
            self._end(job)
            job.tell(written)

    def _keep(self, job: _Job) -> None:
        held, ids = job.held, job.generation.sequence.ids
        held.ids = array("i", ids)
        held.marks.append((len(job.question.messages) + 1, len(ids)))
        with self._lock:
            self._held[job.question.session] = held
            self._held.move_to_end(job.question.session)
            while len(self._held) > MOST_HELD:
                self._held.popitem(last=False)

    def _guarded(self, job: _Job, work: Callable[[_Job], None]) -> None:
        """Do something for one job; where it fails, only this one is told."""
        try:
            work(job)
        except Exception as error:
            self._end(job)
            job.tell(error)

    def _end(self, job: _Job) -> None:
        if job in self._active:
            self._active.remove(job)
        self._slots.give_back(job.question.session)


def _system(messages: Sequence[Said], tools: Sequence[Tool]) -> str:
    return "\n\n".join(text for text in (system_text(messages), tool_calls.offer(tools)) if text)

