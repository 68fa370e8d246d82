"""Asks servers that speak OpenAI's chat protocol: a question leads to an answer, or to one line that says why there is none.

Nothing that a server says is trusted: sizes, types and counts are checked here, and neither key nor password is in any text that leaves
this module. Redirects are not followed. Knows nothing of episodes, prompts or memory. Loads httpx when a client is made, and not before.
"""

import base64
import os
import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from ipaddress import ip_address
from time import monotonic, time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import msgspec

from edgexp.environments import plain
from edgexp.errors import EdgexpError, UsageError
from edgexp.terminal import clean

if TYPE_CHECKING:
    import httpx

KEY_VARIABLE = "EDGEXP_API_KEY"
"""The environment variable of the key, where nobody names another."""
SECONDS = 180.0
"""For one answer, everything that is tried for it included."""

_TRIES = 5
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0
"""Seconds between two tries; each wait is twice the one before. A server may ask for another."""
_CONNECT = 10.0
"""Seconds to reach a server."""
_MOST_BYTES = 4 * 2**20
"""Of an answer; an action is no book."""
_MOST_WORDS = 300
"""Characters of a server's own words in an error."""
_TURN_TOKENS, _TEMPLATE_TOKENS = 64, 8192
"""The most that a template is believed to put around a turn, and around a whole prompt."""
_SHORTEST_SECRET = 6
"""What is shorter is a placeholder, such as `none`, and may be part of any word."""
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
"""Statuses after which the same question may be answered."""


class ServerFailed(EdgexpError):
    """There is no answer. `status` is HTTP's, 0 where there was none; `wait` says when to ask again: None for never, 0 for soon."""

    def __init__(self, message: str, status: int = 0, wait: float | None = None):
        super().__init__(message)
        self.status, self.wait = status, wait


@dataclass(frozen=True)
class Address:
    """Where a model is served, `http://host:port/v1#name`, and nothing in it that is secret but `login`."""

    url: str
    """Without a login and a name, and without a slash at its end."""
    model: str
    """Empty where the server is to say which it has."""
    login: str = field(default="", repr=False)
    """`user:password`, where the address has one."""

    def __str__(self) -> str:
        return f"{self.url}#{self.model}" if self.model else self.url


@dataclass(frozen=True)
class Terms:
    """How a server is asked."""

    key_variable: str = ""
    """The environment variable that holds the key; empty for `EDGEXP_API_KEY`, which need not be set."""
    seconds: float = SECONDS


@dataclass(frozen=True)
class Usage:
    """Tokens by the server's count, where that can be true; None for what it does not say or what cannot be."""

    prompt: int | None = None
    cached: int | None = None
    """Of the prompt: what the server had evaluated before."""
    generated: int | None = None
    doubtful: bool = False
    """Whether something that it says cannot be true."""


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    text: str
    cut: bool
    """Whether it was not done when its tokens were used up."""
    model: str
    """Who says so, by the server's word; empty where it does not say."""
    usage: Usage


@dataclass(frozen=True)
class Listed:
    """A model that a server lists."""

    name: str
    context: int
    """Tokens; 0 where it does not say."""


def is_address(name: str) -> bool:
    """Whether a model's name is that of a server."""
    return name.lower().startswith(("http://", "https://"))


def parse_address(text: str) -> Address:
    """The parts of `http://host:port/v1#name`. Raises UsageError, which does not repeat a login, where it is none."""
    start, _, model = text.partition("#")
    shown = hide_login(text)
    try:
        parts = urlsplit(start)
        host, port = parts.hostname, parts.port
    except ValueError:  # which may repeat a part of a password
        host = port = None
    if not host or not is_address(start) or not _is_plain(start) or not model.isprintable() or "@" in parts.path:
        raise UsageError(f"{shown}: no address of a server; write it as http://localhost:8080/v1#name")
    if parts.query:
        raise UsageError(f"{shown.partition('?')[0]}: an address has no query (?…); a key belongs into the variable {KEY_VARIABLE}")
    path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    where = f"[{host}]" if ":" in host else host
    login, _, _ = parts.netloc.rpartition("@")
    return Address(f"{parts.scheme}://{where}{f':{port}' if port else ''}{path}", model.strip(), unquote(login))


def hide_login(text: str) -> str:
    """An address as it may be shown: without what stands before an `@`."""
    scheme, slashes, rest = text.partition("//")
    return f"{scheme}{slashes}{rest.rpartition('@')[2]}"


def read_key(variable: str) -> str:
    """The key in an environment variable; empty for none. Raises UsageError where a variable that was named holds none."""
    key = os.environ.get(variable or KEY_VARIABLE, "").strip()
    if variable and not key:
        raise UsageError(f"--api-key-env {variable}: there is no such environment variable, or it is empty")
    if not _is_plain(key):
        raise UsageError(f"the environment variable {variable or KEY_VARIABLE} holds no key: keys have neither spaces nor unusual letters")
    return key


class ChatClient:
    """Asks one server, from as many threads as one likes. Close it, or use it as a context manager."""

    def __init__(self, address: Address, key: str = "", seconds: float = SECONDS):
        """Connects when it is first asked. Raises UsageError where httpx is not installed, or where the address is none to it."""
        self.address, self.has_key, self.seconds = address, bool(key), seconds
        basic = base64.b64encode(address.login.encode()).decode()
        header = f"Bearer {key}" if key else f"Basic {basic}" if address.login else ""
        password = address.login.partition(":")[2]
        self._secrets = [one for one in (key, basic, address.login, password) if len(one) >= _SHORTEST_SECRET]
        self._closed, self._failed = threading.Event(), 0
        self._httpx = _load_httpx()
        common = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "edgexp"}
        try:
            host = self._httpx.URL(address.url).host
            self._http = self._httpx.Client(
                headers=common | ({"Authorization": header} if header else {}), follow_redirects=False, trust_env=not is_here(host),
                limits=self._httpx.Limits(max_connections=None, max_keepalive_connections=64),
            )  # fmt: skip
        except (self._httpx.InvalidURL, ValueError, OSError) as error:
            raise UsageError(f"{address}: no server can be asked there: {plain.explain(error)}") from error

    def __enter__(self) -> "ChatClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Whoever waits for an answer is told that there will be none."""
        self._closed.set()
        self._http.close()

    def ask(self, question: Mapping[str, Any], tries: int = _TRIES) -> Answer:
        """The answer to a body of `/chat/completions`. Raises ServerFailed."""
        body = msgspec.json.encode(question)
        data = self._request("POST", "/chat/completions", body, tries)
        return self._answer(self._decode(data, "a chat completion"), data, question)

    def models(self) -> list[Listed]:
        """What the server lists; nothing where it does not list any. Raises ServerFailed where it cannot be reached or wants a key."""
        try:
            told = self._decode(self._request("GET", "/models", None, 3), "a list of models")
        except ServerFailed as error:
            if error.status in (401, 403) or not error.status:
                raise
            return []
        listed = told.get("data")
        found = (entry for entry in listed if isinstance(entry, dict)) if isinstance(listed, list) else ()
        return [Listed(name, _context_of(entry)) for entry in found if (name := self._shown(entry.get("id"), 200))]

    def _request(self, method: str, path: str, body: bytes | None, tries: int) -> bytes:
        """The body of a good answer, however often one has to ask. A server that failed often is asked once, until it answers again."""
        until, wait, tries = monotonic() + self.seconds, _FIRST_WAIT, 1 if self._failed >= 3 else tries
        for tried in range(1, tries + 1):
            try:
                data = self._once(method, path, body, until)
                self._failed = 0
                return data
            except ServerFailed as error:
                pause = wait * random.uniform(0.75, 1.25) if not error.wait else error.wait
                if error.wait is None or tried == tries or monotonic() + pause >= until:
                    self._failed += error.wait is not None
                    often = f" (asked {tried} times)" if tried > 1 else ""
                    raise ServerFailed(f"{error}{often}", error.status) from error
            wait = min(2 * wait, _LONGEST_WAIT)
            if self._closed.wait(pause):
                raise ServerFailed("no longer asked")
        raise AssertionError("unreachable: the last try returns or raises")

    def _once(self, method: str, path: str, body: bytes | None, until: float) -> bytes:
        left, kinds = max(0.001, until - monotonic()), self._httpx
        timeout = kinds.Timeout(left, connect=min(_CONNECT, left))
        sent = {"Content-Type": "application/json"} if body is not None else {}
        try:
            with self._http.stream(method, self.address.url + path, content=body, headers=sent, timeout=timeout) as response:
                data = self._read(response, until)
                self._check_status(response, data)
                return data
        except ServerFailed:
            raise
        except kinds.ConnectTimeout:
            raise ServerFailed(f"cannot be reached within {min(_CONNECT, left):.3g} seconds", wait=0) from None
        except kinds.TimeoutException:
            raise self._late() from None
        except kinds.ConnectError as error:
            raise ServerFailed(f"cannot be reached: {self._shown(error)}", wait=0) from None
        except kinds.TransportError as error:
            raise ServerFailed(f"the connection broke before there was a whole answer: {self._shown(error)}", wait=0) from None
        except Exception as error:  # whatever a server can make a library raise
            told = "no longer asked" if self._closed.is_set() else f"no answer: {self._shown(plain.explain(error))}"
            raise ServerFailed(told) from None

    def _read(self, response: "httpx.Response", until: float) -> bytes:
        """The body, as far as it is worth reading."""
        most = _MOST_BYTES if response.is_success else 16 * _MOST_WORDS
        data = bytearray()
        for chunk in response.iter_raw():
            data += chunk
            if len(data) > most:
                if response.is_success:
                    raise ServerFailed(f"the server's answer is longer than {_MOST_BYTES:,} bytes", response.status_code)
                break
            if monotonic() >= until:
                raise self._late()
        return bytes(data)

    def _check_status(self, response: "httpx.Response", data: bytes) -> None:
        status = response.status_code
        if response.is_success:
            if (encoding := response.headers.get("content-encoding", "identity")) != "identity":
                raise ServerFailed(f"the server's answer is packed ({self._shown(encoding, 40)}), which nobody asked for", status)
            return
        if 300 <= status < 400:
            place = self._shown(hide_login(response.headers.get("location", "")))
            raise ServerFailed(f"the server answered {status}: go to {place or 'nowhere'}; name that address, if you trust it", status)
        wait = _seconds_asked_for(response.headers.get("retry-after", ""))
        later = f" (it asks to wait for {wait:.3g} seconds)" if wait else ""
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
        line = f"the server answered {status} {phrase}".rstrip() + f": {self._words(data)}" + later
        raise ServerFailed(line, status, wait if status in _AGAIN else None)

    def _late(self) -> ServerFailed:
        return ServerFailed(f"no answer within {self.seconds:g} seconds")

    def _decode(self, data: bytes, wanted: str) -> dict[str, Any]:
        try:
            told = msgspec.json.decode(data)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            raise ServerFailed(f"the server's answer is not {wanted}: {self._quoted(data)}", 200)
        return told

    def _answer(self, told: dict[str, Any], data: bytes, question: Mapping[str, Any]) -> Answer:
        """The answer in a body, given as it came and decoded."""
        choices = told.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = choice.get("message") if isinstance(choice, dict) else None
        text = _text_of(message.get("content")) if isinstance(message, dict) else None
        if text is None or not isinstance(choice, dict):
            if told.get("error"):
                raise ServerFailed(f"the server answered with an error: {self._words(data)}", 200)
            raise ServerFailed(f"the server's answer is not a chat completion: {self._quoted(data)}", 200)
        usage = read_usage(told.get("usage"), question)
        return Answer(self._without_secrets(text), choice.get("finish_reason") == "length", self._shown(told.get("model"), 200), usage)

    def _words(self, data: bytes) -> str:
        """What a server says of what is wrong, in its own words."""
        try:
            told = msgspec.json.decode(data)
        except (ValueError, RecursionError):
            told = None
        for name in ("error", "message", "detail", "message"):
            told = told[name] if isinstance(told, dict) and told.get(name) else told
        return self._shown(told if isinstance(told, str) else data.decode("utf-8", "replace"))

    def _quoted(self, data: bytes) -> str:
        return plain.shown(self._without_secrets(data.decode("utf-8", "replace"))[:80])

    def _shown(self, value: object, most: int = _MOST_WORDS) -> str:
        """A text from outside in one line that is safe to show and to keep; empty where it is none."""
        words = value if isinstance(value, str) else str(value) if isinstance(value, Exception) else ""
        return clean(" ".join(plain.one_line(self._without_secrets(words), most).split()), None)

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        return text


def is_here(host: str) -> bool:
    """Whether a host is this machine, which is asked by no proxy."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_usage(told: object, question: Mapping[str, Any]) -> Usage:
    """The counts that can be true: a token stands for a byte at least, and nobody generates more than was allowed."""
    if not isinstance(told, dict):
        return Usage(doubtful=told is not None)
    turns: Sequence[Mapping[str, str]] = question.get("messages", ())
    most = sum(len(turn["content"].encode()) + _TURN_TOKENS for turn in turns) + _TEMPLATE_TOKENS
    allowed = question.get("max_tokens") or question.get("max_completion_tokens") or 0
    details = told.get("prompt_tokens_details")
    said = told.get("prompt_tokens"), told.get("completion_tokens"), details.get("cached_tokens") if isinstance(details, dict) else None
    prompt, generated = _count(said[0], 1, most), _count(said[1], 0, allowed + 1)  # some count the end of the turn
    cached = None if prompt is None else _count(said[2], 0, prompt)
    doubtful = any(value is not None and known is None for value, known in zip(said, (prompt, generated, cached), strict=True))
    return Usage(prompt, cached, generated, doubtful)


def _count(value: object, least: int, most: int) -> int | None:
    return value if type(value) is int and least <= value <= most else None


def _text_of(content: object) -> str | None:
    """A message's text; empty for none, and None for what is no content."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "".join(part for part in parts if isinstance(part, str))
    return "" if content is None else content if isinstance(content, str) else None


def _context_of(entry: Mapping[str, Any]) -> int:
    """Tokens of a listed model's context, as vLLM and others say it."""
    found = (_count(entry.get(name), 1, 2**31) for name in ("max_model_len", "context_length", "max_context_length"))
    return next((count for count in found if count), 0)


def _seconds_asked_for(text: str) -> float:
    """What `Retry-After` says: seconds, or a date; 0 for nothing that can be understood."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time()
        except (ValueError, TypeError, OverflowError, IndexError):
            return 0.0
    return min(max(seconds, 0.0), 1e6) if seconds == seconds else 0.0


def _is_plain(text: str) -> bool:
    return all("!" <= letter <= "~" for letter in text)


def _load_httpx() -> Any:
    try:
        import httpx
    except ImportError as error:
        raise UsageError("to ask a server edgexp needs httpx; install it with: pip install 'edgexp[server]'") from error
    return httpx
