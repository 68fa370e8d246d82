"""What tests of the server share: a model that is a function, a bank with a toy encoder, and the real server on a port of its own."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from bank_samples import WordEncoder

from edgexp.retrieval import Retrieval
from edgexp.serve.answering import Question, TooLong
from edgexp.serve.app import make_app
from edgexp.serve.conversation import Said
from edgexp.serve.guard import Rules
from edgexp.serve.keeping import Keeper
from edgexp.serve.listening import bind, listen
from edgexp.serve.protocol import Tool, Usage, Written
from edgexp.serve.service import ChatService
from edgexp.trajectory import Provenance, Trajectory

Say = Callable[[Question], str | Written]


def echo(question: Question) -> str:
    """Says how many messages there are, and repeats the last one."""
    return f"{len(question.messages)}: {question.messages[-1].text}"


class ScriptedModel:
    """A model that says what a function says, a word at a time. `gate`, where it is set, holds every word back until it is open."""

    name, room = "scripted", 4096

    def __init__(self, say: Say = echo) -> None:
        self.say, self.questions = say, list[Question]()
        self.gate: threading.Event | None = None
        self.words = self.stopped = self.closed = 0
        self.forgotten = list[str]()

    async def answer(self, question: Question) -> AsyncGenerator[str | Written, None]:
        self.questions.append(question)
        size = self.size(question.messages, question.tools) + sum(map(self.cost, question.memory))
        if size > self.room:
            raise TooLong(size, self.room)
        said = self.say(question)
        written = said if isinstance(said, Written) else Written(said, usage=Usage(size, 0, len(said.split())))
        try:
            for number, word in enumerate(written.text.split(" ")):
                while self.gate is not None and not self.gate.is_set():
                    await asyncio.sleep(0.005)
                await asyncio.sleep(0)
                self.words += 1
                yield " " * bool(number) + word
        except GeneratorExit:
            self.stopped += 1
            raise
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        yield written

    def size(self, messages: Sequence[Said], tools: Sequence[Tool]) -> int:
        return sum(len(said.text.split()) for said in messages)

    def cost(self, trajectory: Trajectory) -> int:
        return 10 * (1 + len(trajectory.steps))

    def provenance(self) -> Provenance:
        return Provenance("agent", model=self.name)

    def forget(self, session: str) -> None:
        self.forgotten.append(session)

    def close(self) -> None:
        self.closed += 1


class Running:
    """A server that runs: its address, its service, and a client."""

    def __init__(self, url: str, service: ChatService, said: list[str]) -> None:
        self.url, self.service, self.said = url, service, said
        self.http = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def chat(self, *messages: dict[str, Any] | str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        """Ask; a text is a user's message."""
        turns = [{"role": "user", "content": one} if isinstance(one, str) else one for one in messages]
        return self.http.post("/v1/chat/completions", json={"model": "m", "messages": turns, **more}, headers=headers or {})


def assistant(text: str, **more: Any) -> dict[str, Any]:
    """An assistant's message."""
    return {"role": "assistant", "content": text, **more}


@contextmanager
def serving(service: ChatService, rules: Rules | None = None, connections: int = 256, **more: Any) -> Iterator[Running]:
    """The real server, on a thread."""
    rules = rules or Rules()
    listening, up = bind(rules.host, 0), threading.Event()
    port = listening.getsockname()[1]
    servers = list[Any]()

    def run() -> None:
        listen(make_app(service, rules, **more), listening, connections, up.set, servers.append)
        listening.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert up.wait(30)
    host = f"[{rules.host}]" if ":" in rules.host else rules.host
    running = Running(f"http://{host}:{port}", service, [])
    try:
        yield running
    finally:
        running.http.close()
        servers[0].should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server does not stop"


def bank_keeper(path: Path, **retrieval: Any) -> Keeper:
    """A keeper of a bank with the toy encoder."""
    return Keeper(path, WordEncoder(), Retrieval(**{"usefulness": False, "frame": False} | retrieval), "chat", "run")
