"""A server on its socket, from its first line to its last: the port, connections that say nothing, Ctrl-C, and a stop that keeps sessions.

Knows the application as something that uvicorn runs.
"""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgexp.errors import EdgexpError, UsageError
from edgexp.serve.guard import App
from edgexp.terminal import clean

QUIET_SECONDS = 20.0
"""For a client to say what it wants, once it is connected."""
TOGETHER = 0.5
"""Seconds. Signals that come so close are one: a terminal and a parent process often both send it."""
STOP_SECONDS = 10
"""For answers under way, when the server is to stop."""


class Patient(H11Protocol):
    """A connection that is closed where its first words do not come in time. uvicorn waits for them for ever."""

    def connection_made(self, transport: Any) -> None:
        """A client is there."""
        super().connection_made(transport)
        self._waiting = self.loop.call_later(QUIET_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._waiting.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """It says something: from where its last request has ended it has so much time for all of the next one's head."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._waiting.cancel()
            self._waiting = self.loop.call_later(QUIET_SECONDS, self._give_up)

    def _give_up(self) -> None:
        """Close it where the head of a request is overdue; while it is answered, or idle by uvicorn's own clock, it is not."""
        answered = self.cycle is not None and not self.cycle.response_complete
        if answered or self.timeout_keep_alive_task is not None:
            self._waiting = self.loop.call_later(QUIET_SECONDS, self._give_up)
        elif not self.transport.is_closing():
            self.transport.close()


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises EdgexpError with one line where that cannot be."""
    if not host.strip():  # which would be every address that this machine has
        raise UsageError("--host: it is empty; name an address, or leave the option out")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP, or asyncio does not see that it is, and every answer waits 40 ms for the client's system to acknowledge its head.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
        listening.setblocking(False)
        return listening
    except (OSError, OverflowError) as error:
        listening.close()
        number = getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            raise EdgexpError(f"port {port} of {host} is taken by another program; choose another with --port, or 0 for any") from error
        if number == errno.EACCES:
            raise EdgexpError(f"port {port} of {host} may not be used; choose one above 1023 with --port") from error
        raise EdgexpError(f"nothing can listen at {clean(host)}:{port}: {getattr(error, 'strerror', None) or error}") from error


def listen(app: App, listening: socket.socket, connections: int, ready: Callable[[], None] = lambda: None,
           begin: Callable[[uvicorn.Server], None] = lambda _: None) -> int:
    """Serve until Ctrl-C or SIGTERM, or until the server that `begin` is given is told to exit; the signal's number.

    Answers under way have `STOP_SECONDS`; then everything is kept and closed.
    """
    config = uvicorn.Config(
        app, http=Patient, ws="none", lifespan="on", log_level="warning", access_log=False, server_header=False, date_header=False,
        limit_concurrency=connections, timeout_graceful_shutdown=STOP_SECONDS, h11_max_incomplete_event_size=64 << 10,
    )  # fmt: skip
    server = _Server(config, ready)
    begin(server)
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    asyncio.run(server.serve(sockets=[listening]))
    return server.stopped_by


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]):
        super().__init__(config)
        self._ready, self.stopped_by, self._told = ready, 0, 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop. A second signal ends the process at once: what was said is in the log."""
        if self.should_exit and monotonic() - self._told > TOGETHER:
            os._exit(128 + sig)
        self._told = self._told if self.should_exit else monotonic()
        self.should_exit, self.stopped_by = True, sig

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()


def _is_news(record: logging.LogRecord) -> bool:
    """Clients that send no HTTP, or want what is not there, are not worth a line."""
    return not record.getMessage().startswith(("Invalid HTTP request", "Unsupported upgrade request", "No supported WebSocket"))
