"""Asks a server that speaks OpenAI's chat protocol for an answer in pieces. What is true of `chat_client.py` is true here as well.

A server that does not stream gives its answer as one piece. Knows nothing of what the pieces say.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

import msgspec

from edgexp.environments import plain
from edgexp.play.chat_client import ChatClient, ServerFailed

LONGEST_LINE, MOST_BYTES = 1 << 20, 64 << 20
"""Bytes of an event, and of an answer."""
TRIES, FIRST_WAIT = 3, 0.5
"""Before there is a first piece."""


class StreamingClient(ChatClient):
    """A client of one server that tells what comes as it comes."""

    def pieces(self, question: Mapping[str, Any], gone: Callable[[], bool] = lambda: False) -> Iterator[dict[str, Any]]:
        """The events of an answer, or the whole answer as the only one. `gone` says whether anybody still waits.

        Raises ServerFailed; what could be asked again before there was a first piece has been.
        """
        body = msgspec.json.encode({**question, "stream": True, "stream_options": {"include_usage": True}})
        until, wait = monotonic() + self.seconds, FIRST_WAIT
        for tried in range(1, TRIES + 1):
            began = False
            try:
                for piece in self._stream(body, until, gone):
                    began = True
                    yield piece
                return
            except ServerFailed as error:
                if began or error.wait is None or tried == TRIES or monotonic() + max(wait, error.wait) >= until or gone():
                    raise
                self._closed.wait(max(wait, error.wait))
                wait *= 2

    def _stream(self, body: bytes, until: float, gone: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        kinds = self._httpx
        timeout = kinds.Timeout(max(0.001, until - monotonic()), connect=min(10.0, self.seconds))
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}
        url = self.address.url + "/chat/completions"
        try:
            with self._http.stream("POST", url, content=body, headers=headers, timeout=timeout) as response:
                if not response.is_success:
                    self._check_status(response, self._read(response, until))
                streams = "event-stream" in response.headers.get("content-type", "")
                lines = self._lines(response.iter_raw(), until, gone)
                yield from self._events(lines) if streams else [self._decode(b"".join(lines), "a chat completion")]
        except ServerFailed:
            raise
        except kinds.TimeoutException:
            raise self._late() from None
        except kinds.ConnectError as error:
            raise ServerFailed(f"cannot be reached: {self._shown(error)}", wait=0) from None
        except kinds.TransportError as error:
            raise ServerFailed(f"the connection broke before there was a whole answer: {self._shown(error)}", wait=0) from None
        except Exception as error:  # whatever a server can make a library raise
            raise ServerFailed(f"no answer: {self._shown(plain.explain(error))}") from None

    def _lines(self, chunks: Iterator[bytes], until: float, gone: Callable[[], bool]) -> Iterator[bytes]:
        """Lines with their ends."""
        rest, total = b"", 0
        for chunk in chunks:
            if gone():
                raise ServerFailed("no longer asked")
            if monotonic() >= until:
                raise self._late()
            *lines, rest = (rest + chunk).splitlines(keepends=True) or [b""]
            if rest.endswith(b"\n"):
                lines, rest = [*lines, rest], b""
            total += len(chunk)
            if len(rest) > LONGEST_LINE or total > MOST_BYTES:
                raise ServerFailed(f"the server's answer is longer than {MOST_BYTES:,} bytes")
            yield from lines
        yield rest

    def _events(self, lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
        for line in lines:
            data = line.strip()
            if not data.startswith(b"data:"):
                continue
            data = data.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                return
            told: Any = None
            with suppress(ValueError, RecursionError):
                told = msgspec.json.decode(data)
            if not isinstance(told, dict):
                raise ServerFailed(f"the server's answer is not a chat completion: {self._quoted(data)}", 200)
            if told.get("error"):
                raise ServerFailed(f"the server answered with an error: {self._words(data)}", 200)
            yield told
