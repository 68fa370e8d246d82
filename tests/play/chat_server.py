"""A chat server in a thread of the test, that answers as it is told: well, late, wrongly or not at all."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[list[dict[str, str]]], tuple[int, bytes]]
"""From whole turns to a status and a body."""


def say(text: str | None, **usage: int) -> tuple[int, bytes]:
    """A good answer."""
    return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage}).encode()


class Serving:
    """A server that runs: its address, and the questions it was asked."""

    def __init__(self, url: str) -> None:
        self.url, self.asked, self.stop = url, list[dict[str, Any]](), threading.Event()
        """`stop` is set when the server closes; a late answer waits for it."""


@contextmanager
def serving(answer: Answer) -> Iterator[Serving]:
    """A server on a port of its own. Status 0 closes the connection without a word."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.asked.append({"path": self.path, **question})
            status, body = answer(question["messages"])
            if not status:
                return
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                pass  # whoever asked waits no longer

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
