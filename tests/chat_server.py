"""A chat server in a thread of the test, that answers as it is told: well, late, wrongly, in pieces, elsewhere or not at all."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What is sent: status 0 closes the connection without a word."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    """The length that is announced, where that is not the body's."""
    raw: bytes | None = None
    """Everything that is sent, in place of a proper answer."""
    piece: int = 0
    """Bytes that are sent at once, where the body comes in pieces."""
    pause: float = 0.0
    """Seconds before each piece."""


Answer = Callable[[Any], "Reply | tuple[int, bytes]"]
"""From whole turns, or with `whole` from the whole question, to what is sent."""


def say(text: object, **usage: Any) -> tuple[int, bytes]:
    """A good answer."""
    return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage}).encode()


def tell(text: object, *, model: str = "toy-7b", finish: str = "stop", **more: Any) -> Reply:
    """A good answer with all that goes with one."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return Reply(200, json.dumps({"id": "1", "model": model, "choices": [choice], **more}).encode())


def choose(question: Mapping[str, Any], ways: tuple[str, ...]) -> str:
    """The first action that a server must choose among, if it knows the way; `wait` where it is free."""
    if "structured_outputs" in question and "structured_outputs" in ways:
        return str(question["structured_outputs"]["choice"][0])
    if "guided_choice" in question and "guided_choice" in ways:
        return str(question["guided_choice"][0])
    if "grammar" in question and "grammar" in ways:
        return str(json.loads(question["grammar"].removeprefix("root ::= ").split(" | ")[0]))
    if "response_format" in question and "json_schema" in ways:
        schema = question["response_format"]["json_schema"]["schema"]
        return json.dumps({"action": schema["properties"]["action"]["enum"][0]})
    return "wait"


class Serving:
    """A server that runs: its address, and the questions it was asked."""

    def __init__(self, url: str) -> None:
        self.url, self.asked, self.stop = url, list[dict[str, Any]](), threading.Event()
        """`stop` is set when the server closes; a late answer waits for it."""
        self.headers = list[dict[str, str]]()
        """Of each question, names in small letters."""
        self.at_once = self.most_at_once = 0
        """Questions under way, and the most there ever were."""


@contextmanager
def serving(answer: Answer, *, models: Answer | None = None, whole: bool = False) -> Iterator[Serving]:
    """A server on a port of its own; `models` answers `/models`, which is else unknown."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                told.asked.append({"path": self.path, **question})
                told.headers.append({name.lower(): value for name, value in self.headers.items()})
                told.at_once += 1
                told.most_at_once = max(told.at_once, told.most_at_once)
            try:
                self.send(answer(question if whole else question["messages"]))
            finally:
                with lock:
                    told.at_once -= 1

        def do_GET(self) -> None:
            self.send(models(self.path) if models else Reply(404))

        def send(self, given: "Reply | tuple[int, bytes]") -> None:
            reply = given if isinstance(given, Reply) else Reply(*given)
            self.close_connection = not reply.status or reply.raw is not None or reply.length is not None
            with suppress(OSError):  # whoever asked waits no longer
                if reply.raw is not None:
                    self.wfile.write(reply.raw)
                elif reply.status:
                    self.send_whole(reply)

        def send_whole(self, reply: Reply) -> None:
            self.send_response(reply.status)
            self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            for start in range(0, len(reply.body), reply.piece or max(1, len(reply.body))):
                if reply.pause and told.stop.wait(reply.pause):
                    return
                self.wfile.write(reply.body[start : start + (reply.piece or len(reply.body))])
                self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        told = Serving(f"http://127.0.0.1:{server.server_port}/v1")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield told
        finally:
            told.stop.set()
            server.shutdown()
            thread.join()
