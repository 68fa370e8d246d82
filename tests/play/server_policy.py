"""A policy that asks an OpenAI-like chat server: all it takes to let a model play that runs in another process, or on another machine.

`edgexp run --policy server_policy:make` plays it, from this folder; CHAT_SERVER, CHAT_MODEL and CHAT_SECONDS say whom it asks and for how
long it waits. Needs nothing but the standard library. Knows no tokens and no engine: the server has its own.
"""

import json
import os
from collections.abc import Sequence
from functools import partial
from http.client import HTTPConnection, HTTPSConnection
from urllib.parse import urlsplit

from edgexp.environments.base import Environment
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.acting import Acting, now
from edgexp.play.episode import Asking, Playing, elsewhere
from edgexp.prompt.messages import chat, history, memory_text
from edgexp.retrieval import Retriever, fit
from edgexp.trajectory import Decision, Provenance, Trajectory

ROOM = 12_000
"""Characters of past episodes in a prompt; of the server's tokens nothing is known here."""
ANSWER_TOKENS = 64


def make(environment: Environment, retriever: Retriever | None, acting: Acting) -> "ServerPolicy":
    """The policy, by what the surroundings say. Raises UsageError where they name no server."""
    url = os.environ.get("CHAT_SERVER", "http://127.0.0.1:8080/v1")
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"CHAT_SERVER={url}: it has to begin with http:// or https://")
    server = ChatServer(url, os.environ.get("CHAT_MODEL", "default"), float(os.environ.get("CHAT_SECONDS", "60")))
    return ServerPolicy(server, environment.instructions(), retriever, acting)


class ServerPolicy:
    """Plays by the answers of a chat server, with past episodes in its prompt."""

    def __init__(self, server: "ChatServer", instructions: str, retriever: Retriever | None, acting: Acting):
        self._server, self._instructions, self._retriever, self._acting = server, instructions, retriever, acting
        self._memory: Sequence[Trajectory] = ()

    def begin(self, episode: Playing) -> None:
        """Recall what is relevant."""
        self._memory = ()
        self._recall(episode)

    def decide(self, episode: Playing) -> Asking[Decision | None]:
        """The first line of what the server says; None when it says nothing."""
        if episode.steps:
            self._recall(episode)
        start = episode.start
        turns = chat(history(self._instructions, start.goal, start.observation, episode.steps, self._memory))
        ask = partial(self._server.answer, turns, self._acting)
        text, prompt_tokens, tokens = yield from elsewhere(ask, self._server.limit, self._server.url)
        if not episode.steps:
            episode.tokens.prompt = prompt_tokens
        episode.tokens.generated += tokens
        lines = text.strip().splitlines()
        return Decision(lines[0].strip(), tokens) if lines else None

    def provenance(self, environment: Environment) -> Provenance:
        """The server's model, by its name there."""
        return Provenance("agent", environment.version, self._acting.seed, self._server.model, created=now())

    def _recall(self, episode: Playing) -> None:
        """Recall where the retriever says that it is time, as much as there is room for."""
        if self._retriever is None or not self._retriever.due(len(episode.steps)):
            return
        start = episode.start
        found = self._retriever.recall(episode.task, start.goal, start.observation, tuple(episode.steps))
        memory = fit(found, lambda t: len(memory_text(t)), ROOM)
        self._memory = [recalled.trajectory for recalled in memory.recalled]
        episode.seconds.retrieval += memory.seconds
        episode.remember(memory)


class ChatServer:
    """One OpenAI-like server. A connection a question, so that nothing is shared between threads or episodes."""

    def __init__(self, url: str, model: str, limit: float):
        self.url, self.model, self.limit = url.rstrip("/"), model, limit

    def answer(self, turns: Sequence[dict[str, str]], acting: Acting) -> tuple[str, int, int]:
        """What the server says, and the tokens of prompt and answer where it counts them. Raises EdgexpError or OSError."""
        asked = {"model": self.model, "messages": turns, "max_tokens": ANSWER_TOKENS, "temperature": acting.temperature}
        status, reason, body = self._post(json.dumps(asked | {"seed": acting.seed}).encode())
        if status != 200:
            raise EdgexpError(f"the server answered {status} {reason}: {body[:200].decode('utf-8', 'replace')}")
        try:
            told = json.loads(body)
            text, usage = told["choices"][0]["message"]["content"], told.get("usage") or {}
            return str(text or ""), int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise EdgexpError(f"the server's answer is no chat completion: {body[:80].decode('utf-8', 'replace')!r}") from error

    def _post(self, body: bytes) -> tuple[int, str, bytes]:
        parts = urlsplit(self.url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self.limit)
        try:
            connection.request("POST", f"{parts.path}/chat/completions", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.reason, response.read()
        finally:
            connection.close()
