"""The client of chat servers: whatever a server sends, there is an answer or one line, in time, and no secret in either."""

import json
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import msgspec
import pytest
from chat_server import Answer, Reply, say, serving, tell
from hypothesis import example, given
from hypothesis import strategies as st

from edgexp.errors import UsageError
from edgexp.play import chat_client
from edgexp.play.chat_client import Address, ChatClient, Listed, ServerFailed, hide_login, is_address, parse_address, read_key, read_usage
from edgexp.terminal import clean

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 64}
KEY = "sk-test-0123456789abcdef"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_client, "_FIRST_WAIT", 0.001)


def ask(answer: Answer, *, seconds: float = 20, key: str = KEY, **options: Any) -> Any:
    """One question to a server that answers so; the answer, or the error as text."""
    with serving(answer, **options) as server, ChatClient(Address(server.url, "m"), key, seconds) as client:
        try:
            return client.ask(QUESTION)
        except ServerFailed as error:
            return str(error)


# Addresses


@pytest.mark.parametrize(("text", "url", "model", "login"), [
    ("http://localhost:8080/v1#qwen", "http://localhost:8080/v1", "qwen", ""),
    ("https://api.example.org/v1/#org/name:tag@2", "https://api.example.org/v1", "org/name:tag@2", ""),
    ("HTTP://localhost:8080", "http://localhost:8080", "", ""),
    ("http://[::1]:8080/v1/chat/completions#m", "http://[::1]:8080/v1", "m", ""),
    ("http://me:p%40ss@host/v1#m", "http://host/v1", "m", "me:p@ss"),
])  # fmt: skip
def test_an_address_has_its_parts(text: str, url: str, model: str, login: str) -> None:
    address = parse_address(text)
    assert (address.url, address.model, address.login) == (url, model, login)
    assert is_address(text) and "ss" not in f"{address} {address!r}".replace("address", "").replace("Address", "")


@pytest.mark.parametrize("text", [
    "http://", "http:///v1", "https://:80/v1", "http://host:port/v1", "http://host:99999/v1", "http://ho st/v1", "http://[::1/v1",
    "http://host/v1?api-key=hunter2", "http://me:hunter2@", "http://me:hunter2@host:x/v1", "http://me:hunter2/@host/v1",
    "http://me:hun#ter2@host/v1", "http://me:hun?ter2@host/v1", "http://me:hunter2@[host/v1", "http://ho\x1bst/v1", "http://host/v1#\x1b[2J",
])  # fmt: skip
def test_what_is_no_address_is_one_line_without_a_password(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_address(text)
    assert "hun" not in str(error.value) and "ter2" not in str(error.value) and "\n" not in str(error.value)


@given(st.text(alphabet="ab:/@#?[]%. é\x00", max_size=30))
@example("//@")
def test_any_text_is_an_address_or_one_line(text: str) -> None:
    try:
        address = parse_address("http://" + text)
    except UsageError:
        return
    assert parse_address(str(address)) == Address(address.url, address.model)


def test_no_password_is_shown() -> None:
    assert hide_login("http://me:secret@host/v1#m") == "http://host/v1#m"
    assert hide_login("http://host/v1#m") == "http://host/v1#m"


def test_a_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEXP_API_KEY", raising=False)
    assert read_key("") == ""
    monkeypatch.setenv("EDGEXP_API_KEY", f" {KEY}\n")
    monkeypatch.setenv("OTHER", "two words")
    assert read_key("") == KEY
    for variable, words in (("MISSING_KEY", "--api-key-env MISSING_KEY"), ("OTHER", "environment variable OTHER holds no key")):
        with pytest.raises(UsageError, match=words) as error:
            read_key(variable)
        assert "two words" not in str(error.value)


# Good answers


def test_an_answer_with_all_that_goes_with_it() -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 12}}
    with serving(lambda _: tell("go north", finish="length", usage=usage)) as server, ChatClient(Address(server.url, "m"), KEY) as client:
        answer = client.ask(QUESTION)
        client.ask(QUESTION)
    assert (answer.text, answer.cut, answer.model) == ("go north", True, "toy-7b")
    assert (answer.usage.prompt, answer.usage.cached, answer.usage.generated, answer.usage.doubtful) == (20, 12, 3, False)
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert server.asked == [{"path": "/v1/chat/completions", **QUESTION}] * 2


@pytest.mark.parametrize(("content", "text"), [
    (None, ""), ("", ""), ([{"type": "text", "text": "go"}, {"type": "image"}, {"type": "text", "text": " on"}], "go on"), ([1, None], ""),
])
def test_content_in_other_shapes(content: object, text: str) -> None:
    assert ask(lambda _: say(content)).text == text


def test_a_login_goes_where_it_belongs() -> None:
    with serving(lambda _: say("yes")) as server:
        address = parse_address(server.url.replace("//", "//me:hunter2@"))
        with ChatClient(address) as client:
            client.ask(QUESTION)
    assert server.headers[0]["authorization"] == "Basic bWU6aHVudGVyMg=="


@pytest.mark.parametrize(("told", "known"), [
    (None, (None, None, None, False)),
    ({}, (None, None, None, False)),
    ("lots", (None, None, None, True)),
    ({"prompt_tokens": 10**9, "completion_tokens": 5}, (None, None, 5, True)),
    ({"prompt_tokens": 50, "completion_tokens": 10**30}, (50, None, None, True)),
    ({"prompt_tokens": -1, "completion_tokens": -1}, (None, None, None, True)),
    ({"prompt_tokens": True, "completion_tokens": 1.5}, (None, None, None, True)),
    ({"prompt_tokens": 50, "prompt_tokens_details": {"cached_tokens": 51}}, (50, None, None, True)),
    ({"prompt_tokens": 50, "prompt_tokens_details": [7]}, (50, None, None, False)),
])
def test_counts_are_taken_where_they_can_be_true(told: object, known: tuple[object, ...]) -> None:
    usage = read_usage(told, QUESTION)
    assert (usage.prompt, usage.cached, usage.generated, usage.doubtful) == known


def test_models_are_listed_as_far_as_they_are() -> None:
    data = [{"id": "a", "max_model_len": 4096}, {"id": "b\n\x1b[2J", "context_length": "x"}, {"id": 3}, "c", {}]
    for body, found in (({"data": data}, [Listed("a", 4096), Listed("b \\x1b[2J", 0)]), ({"data": {}}, []), ([], []), ({}, [])):
        reply = Reply(200, json.dumps(body).encode())
        with serving(lambda _: say(""), models=lambda _, r=reply: r) as server, ChatClient(Address(server.url, "")) as client:  # type: ignore[misc]
            assert client.models() == found
    with serving(lambda _: say("")) as server, ChatClient(Address(server.url, "")) as client:
        assert client.models() == []


# Bad answers


BAD = {
    "nonsense": (Reply(200, b"<html>\nhello"), "the server's answer is not a chat completion: '<html>"),
    "no JSON object": (Reply(200, b"[]"), "the server's answer is not a chat completion: '[]'"),
    "empty choices": (Reply(200, b'{"choices": []}'), "the server's answer is not a chat completion: "),
    "wrong types": (Reply(200, b'{"choices": [{"message": {"content": 7}}]}'), "the server's answer is not a chat completion: "),
    "not UTF-8": (Reply(200, b'{"choices": "\xff"}'), "the server's answer is not a chat completion: "),
    "half a letter": (Reply(200, b'{"choices": [{"message": {"content": "\\ud800"}}]}'), "the server's answer is not a chat completion: "),
    "deep": (Reply(200, b"[" * 100_000), "the server's answer is not a chat completion: '[[["),
    "empty": (Reply(200), "the server's answer is not a chat completion: ''"),
    "an error that is a success": (Reply(200, b'{"error": {"message": "no credit"}}'), "the server answered with an error: no credit"),
    "huge": (Reply(200, b" " * (2**22 + 1)), "the server's answer is longer than 4,194,304 bytes"),
    "packed": (Reply(200, b"\x1f\x8b", {"Content-Encoding": "gzip"}), "the server's answer is packed (gzip), which nobody asked for"),
    "unknown model": (Reply(404, b'{"error": {"message": "model m\\nnot \\u001b[31mfound", "type": "x"}}'),
                      "the server answered 404 Not Found: model m not \\x1b[31mfound"),
    "wrong key": (Reply(401, b'{"error": "bad key"}'), "the server answered 401 Unauthorized: bad key"),
    "detail": (Reply(422, b'{"detail": "no seed"}'), "the server answered 422 "),
    "no status of HTTP": (Reply(799, b"what"), "the server answered 799: what"),
    "elsewhere": (Reply(307, b"", {"Location": "http://u:p@evil.example/"}), "the server answered 307: go to http://evil.example/; name "),
    "no HTTP": (Reply(200, raw=b"SSH-2.0-OpenSSH\r\n"), "the connection broke before there was a whole answer: "),
    "cut off": (Reply(200, b'{"choices"', length=100), "the connection broke before there was a whole answer: "),
    "hangs up": (Reply(0), "the connection broke before there was a whole answer: "),
    "half a header": (Reply(200, raw=b"HTTP/1.1 200 OK\r\nContent-Le"), "the connection broke before there was a whole answer: "),
    "endless header": (Reply(200, raw=b"HTTP/1.1 200 OK\r\nA: " + b"x" * 300_000), "the connection broke before there was a whole answer"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_answer_is_one_line_with_the_servers_words(what: str) -> None:
    reply, words = BAD[what]
    told = ask(lambda _: reply)
    assert isinstance(told, str) and told.startswith(words), told
    assert told.isprintable() and len(told) < 600


def test_nobody_is_sent_elsewhere_with_the_key() -> None:
    with serving(lambda _: say("stolen")) as other:
        for status in (301, 302, 303, 307, 308):
            told = ask(lambda _, s=status: Reply(s, b"", {"Location": other.url + "/chat/completions"}))  # type: ignore[misc]
            assert f"the server answered {status}: go to {other.url}" in told
    assert other.asked == []


@pytest.mark.parametrize("reply", [
    Reply(401, json.dumps({"error": f"key {KEY} is wrong"}).encode()), Reply(400, KEY.encode() * 300), Reply(200, b"no " + KEY.encode()),
    Reply(307, b"", {"Location": f"http://evil/?{KEY}"}), tell(f"go {KEY}", model=KEY), Reply(200, b" " * 70 + KEY.encode()),
    Reply(200, raw=b"HTTP/1.1 " + KEY.encode()),
])  # fmt: skip
def test_the_key_is_in_nothing_that_comes_back(reply: Reply) -> None:
    told = repr(ask(lambda _: reply))
    assert KEY not in told and KEY[:12] not in told and KEY[-12:] not in told


# Again, and no longer


def in_turn(*replies: Reply | tuple[int, bytes]) -> Answer:
    """One after the other, the last for ever."""
    left = list(replies)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize("first", [
    Reply(429), Reply(500), Reply(503, b"loading"), Reply(0), Reply(200, b"{", length=9), Reply(429, b"", {"Retry-After": "0"}),
])  # fmt: skip
def test_what_passes_is_asked_again(first: Reply) -> None:
    assert ask(in_turn(first, first, say("yes"))).text == "yes"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 501])
def test_what_stays_is_not_asked_again(status: int) -> None:
    assert f"{status}" in ask(in_turn(Reply(status, b"never"), say("yes")))


def test_it_is_asked_a_few_times_and_then_no_more() -> None:
    with serving(lambda _: Reply(503, b"loading")) as server, ChatClient(Address(server.url, "m")) as client:
        with pytest.raises(ServerFailed, match=r"the server answered 503 Service Unavailable: loading \(asked 5 times\)"):
            client.ask(QUESTION)
        asked = len(server.asked)
        for _ in range(4):
            with pytest.raises(ServerFailed):
                client.ask(QUESTION)
        assert asked == 5 and len(server.asked) == 5 + 5 + 5 + 1 + 1  # a server that fails and fails is not waited for every time


def test_a_server_that_asks_for_a_wait_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = list[float | None]()
    with serving(in_turn(Reply(429, b"slow down", {"Retry-After": "7"}), Reply(503, b""), say("yes"))) as server:
        client = ChatClient(Address(server.url, "m"))
        monkeypatch.setattr(client._closed, "wait", lambda seconds: waits.append(seconds) or False)
        assert client.ask(QUESTION).text == "yes"
    assert waits[0] == 7 and waits[1] is not None and waits[1] < 0.1


@pytest.mark.parametrize("asked", ["3600", "Fri, 31 Dec 2100 23:59:59 GMT", "1e999"])
def test_a_wait_that_is_too_long_is_told(asked: str) -> None:
    assert "(it asks to wait for " in ask(lambda _: Reply(429, b"tomorrow", {"Retry-After": asked}))


@pytest.mark.parametrize("asked", ["", "soon", "-5", "nan", "-inf", "9" * 400, "\x00"])
def test_a_wait_that_is_none_is_passed_over(asked: str) -> None:
    told = ask(in_turn(Reply(429, b"", {"Retry-After": asked}), say("yes")), seconds=5)
    assert getattr(told, "text", "") == "yes" or "it asks to wait for" in told


def late(server: list[Any]) -> Answer:
    def answer(_: object) -> Reply:
        server[0].stop.wait(30)
        return Reply(200)

    return answer


def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    holder = list[Any]()
    with serving(late(holder)) as server, ChatClient(Address(server.url, "m"), seconds=0.3) as client:
        holder.append(server)
        with pytest.raises(ServerFailed, match=r"no answer within 0.3 seconds"):
            client.ask(QUESTION)


def test_an_answer_in_drops_is_not_waited_for() -> None:
    drops = Reply(200, b" " * 1000, piece=1, pause=0.05)
    began = monotonic()
    assert ask(lambda _: drops, seconds=0.4) == "no answer within 0.4 seconds"
    assert monotonic() - began < 20  # all drops would take fifty seconds


def test_a_server_that_is_not_there() -> None:
    with serving(lambda _: say("")) as server:
        pass
    told = r"cannot be reached: .*refused.* \(asked 5 times\)"
    with ChatClient(Address(server.url, "m")) as client, pytest.raises(ServerFailed, match=told):
        client.ask(QUESTION)


def test_closing_ends_the_wait_between_two_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_client, "_FIRST_WAIT", 50.0)
    with serving(lambda _: Reply(503)) as server:
        client, told = ChatClient(Address(server.url, "m")), list[str]()

        def asking() -> None:
            try:
                client.ask(QUESTION)
            except ServerFailed as error:
                told.append(str(error))

        thread = threading.Thread(target=asking)
        thread.start()
        while not server.asked:
            threading.Event().wait(0.01)
        client.close()
        thread.join(20)
    assert told == ["no longer asked"]


# Anything


@pytest.fixture(scope="module")
def mad() -> Iterator[tuple[ChatClient, dict[str, Reply]]]:
    """A server that says what is put into the dictionary."""
    saying = {"next": Reply(200)}
    with serving(lambda _: saying["next"]) as server, ChatClient(Address(server.url, "m"), KEY, 20) as client:
        yield client, saying


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["choices", "message", "content", "usage", "prompt_tokens", "completion_tokens", "error", "finish_reason", "model",
                         "type", "text", "prompt_tokens_details", "cached_tokens", "detail"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
GOOD = tell("go north", usage={"prompt_tokens": 20, "completion_tokens": 3}).body


@st.composite
def shaken(draw: st.DrawFn) -> bytes:
    """A good answer with some bytes changed, put in or left out."""
    body = bytearray(GOOD)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(body) - 1))
        body[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
        body = body or bytearray(b" ")
    return bytes(body)


def almost(inner: Any) -> dict[str, Any]:
    """An answer of the right shape with something in one of its places."""
    return {"choices": [{"message": {"content": inner}, "finish_reason": inner}], "usage": inner, "model": inner}


BODIES = st.one_of(
    st.binary(max_size=200), shaken(), JSON.map(lambda v: json.dumps(v).encode()), JSON.map(lambda v: json.dumps(almost(v)).encode()),
    JSON.map(lambda v: json.dumps({"choices": [v]}).encode()), JSON.map(lambda v: json.dumps({"choices": [{"message": v}]}).encode()),
)  # fmt: skip


def is_line(text: str) -> bool:
    """Whether a text is one line that a terminal can show."""
    return clean(text, None) == text and len(text.splitlines()) <= 1 and "\t" not in text


@given(body=BODIES, status=st.sampled_from([200, 200, 200, 201, 204, 302, 400, 401, 404, 418, 429, 500, 503]))
@example(body=b'{"choices": 123456789012345678901234567890}', status=200)
@example(body=b'{"error": 1e400}', status=400)
@example(body=b"\x00\t\x00", status=400)
@example(body='{"error": "\u0378\ue000\u200f"}'.encode(), status=400)
def test_any_body_is_an_answer_or_one_line(mad: tuple[ChatClient, dict[str, Reply]], body: bytes, status: int) -> None:
    client, saying = mad
    saying["next"] = Reply(status, b"" if status == 204 else body)
    client._failed = 0
    try:
        answer = client.ask(QUESTION, tries=1)
    except ServerFailed as error:
        assert is_line(str(error)) and len(str(error)) < 1_500
        return
    msgspec.json.encode([answer.text, answer.model])
    assert status in (200, 201) and is_line(answer.model)
    assert all(count is None or 0 <= count < 10**6 for count in (answer.usage.prompt, answer.usage.cached, answer.usage.generated))


@given(raw=st.one_of(st.binary(max_size=300), st.binary(max_size=40).map(lambda more: b"HTTP/1.1 200 OK\r\n" + more + b"\r\n\r\n" + GOOD)))
@example(raw=b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}")
@example(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n{}")
@example(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n")
@example(raw=b"HTTP/1.1 100 Continue\r\n\r\n" * 50)
@example(raw=b"HTTP/1.1 307 X\r\nLocation: \xff\xfe\r\nContent-Length: 0\r\n\r\n")
def test_any_bytes_are_an_answer_or_one_line(mad: tuple[ChatClient, dict[str, Reply]], raw: bytes) -> None:
    client, saying = mad
    saying["next"] = Reply(200, raw=raw)
    client._failed = 0
    try:
        client.ask(QUESTION, tries=1)
    except ServerFailed as error:
        assert is_line(str(error)) and len(str(error)) < 1_500
