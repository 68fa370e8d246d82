"""Who may talk to the server: an ASGI layer before everything else, which checks Host, Origin and token, and reads bodies within limits.

A web page that a person has open elsewhere can send requests to this machine. It is told apart by `Origin` and `Sec-Fetch-Site`, which
browsers always send and pages cannot change; and a page whose own name was made to lead here (DNS rebinding) by `Host`. Knows no routes
but those that it is given.
"""

import asyncio
import contextlib
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from edgexp.serve.protocol import Refusal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PAGE_HEADER = b"x-edgexp-page"
"""What a request of the page that changes something has to carry: no page elsewhere can add it without being asked by the browser first."""
_HERE = ("localhost", "127.0.0.1", "::1")
_SAFE = ("GET", "HEAD")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"), (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"), (b"cross-origin-opener-policy", b"same-origin"), (b"cache-control", b"no-store"),
)  # fmt: skip


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach what listens at a host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Rules:
    """What is asked of a request."""

    host: str = "127.0.0.1"
    """Where the server listens."""
    names: tuple[str, ...] = ()
    """Further names of this machine that a request may be for."""
    token: str = ""
    """Empty where none is needed."""
    most_bytes: int = 4 << 20
    """Of a body."""
    body_seconds: float = 30.0
    """For a whole body to come."""

    def knows(self, host: str) -> bool:
        """Whether a `Host` may be meant for this server: a name of this machine, or, where others can reach it, any address in digits,
        which no name server has made up."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if is_loopback(self.host):
            return name in _HERE or is_loopback(name) or name in self.names
        return name in _HERE or name in self.names or name == self.host.lower() or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """The layer. `open_paths` are for everybody who is no page elsewhere; `page_paths` begin what only the page itself may change."""

    def __init__(self, app: App, rules: Rules, open_paths: Iterable[str] = ("/",), page_paths: str = "/api/"):
        self._app, self._rules, self._open, self._page = app, rules, frozenset(open_paths), page_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        try:
            self._check(scope)
            body = await self._read(scope, receive) if scope["method"] not in _SAFE else b""
        except Refusal as refusal:
            await refuse(refusal, send)
        except ConnectionError:
            return
        else:
            with contextlib.suppress(Exception):  # it has been told and logged by then; the connection ends with it
                await self._app(scope, _given(body, receive), _with_headers(send))

    def _check(self, scope: Scope) -> None:
        headers = _headers(scope)
        if not self._rules.knows(headers.get(b"host", b"").decode("latin-1")):
            raise Refusal("this server does not answer to that Host; --allow-host names others", 403, "permission_error", code="host")
        self._check_page(scope, headers)
        if self._rules.token and scope["path"] not in self._open:
            given = headers.get(b"authorization", b"").decode("latin-1").removeprefix("Bearer ").strip()
            if not hmac.compare_digest(given.encode("latin-1"), self._rules.token.encode("latin-1", "replace")):
                raise Refusal("a token is needed: Authorization: Bearer …", 401, "authentication_error", code="invalid_api_key")

    def _check_page(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Refuse the pages of other places, and what the own page did not ask for."""
        origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site", b"none")
        visit = scope["method"] in _SAFE and scope["path"] in self._open and headers.get(b"sec-fetch-mode") == b"navigate"
        own = b"http://" + headers.get(b"host", b"")
        if (origin is not None and origin.lower() not in (own.lower(), b"https" + own.lower()[4:])) or (
                site not in (b"none", b"same-origin") and not visit):
            raise Refusal("a page of another origin may not use this server", 403, "permission_error", code="origin")
        if scope["path"].startswith(self._page) and scope["method"] not in _SAFE and PAGE_HEADER not in headers:
            raise Refusal("only the page itself changes things here: x-edgexp-page is missing", 403, "permission_error", code="page")

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body. Raises Refusal where it is too long or too slow, and ConnectionError where nobody waits any more."""
        most = self._rules.most_bytes
        length = _headers(scope).get(b"content-length", b"0")
        if length.isdigit() and int(length[:18]) > most:
            raise _too_large(most)
        try:
            async with asyncio.timeout(self._rules.body_seconds):
                return await _all_of(receive, most)
        except TimeoutError:
            raise Refusal(f"the body did not come within {self._rules.body_seconds:g} seconds", 408, code="timeout") from None


async def _all_of(receive: Receive, most: int) -> bytes:
    data = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        data += message.get("body", b"")
        if len(data) > most:
            raise _too_large(most)
        if not message.get("more_body"):
            return bytes(data)


def _too_large(most: int) -> Refusal:
    return Refusal(f"a body may have {most:,} bytes", 413, code="body_too_large")


def _headers(scope: Scope) -> dict[bytes, bytes]:
    """The headers; a name that comes twice has a value that fits nothing."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        found[name.lower()] = found[name.lower()] + b", " + value if name.lower() in found else value
    return found


def _given(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that has been read, and then waits for the end of the connection."""
    given = False

    async def again() -> MutableMapping[str, Any]:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again


def _with_headers(send: Send) -> Send:
    async def more(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message.get("headers", [])}
            message = {**message, "headers": [*message.get("headers", []), *(one for one in _HEADERS if one[0] not in there)]}
        await send(message)

    return more


async def refuse(refusal: Refusal, send: Send) -> None:
    """Answer with an error in the protocol's shape, and have the connection closed: what else comes on it was not read."""
    body = msgspec.json.encode(refusal.body)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close"), *_HEADERS]
    if refusal.status in (429, 503):
        headers.append((b"retry-after", b"1"))
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
