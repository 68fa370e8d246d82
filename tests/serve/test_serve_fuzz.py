"""Requests of no sense, thousands of them where one asks for more: no traceback, no hang, no session lost.

A quick run tries some hundreds; `EDGEXP_FUZZ_ROUNDS=20` twenty times as many.
"""

import json
import logging
import random
import socket
import string
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from fuzzing import ROUNDS
from serve_toys import assistant, serving

from edgexp.serve.guard import Rules
from edgexp.serve.protocol import ChatRequest, Refusal, read_chat

LEAVES: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, -(2**64), 1e308, -0.0, 0.5, "", "a", "user", "assistant", "system", "tool", "wizard",
    "\x00", "\ud7ff", "é😀", "<|im_end|>", "<tool_call>", "x" * 3000, [], {}, [[]], [{}], {"a": 1}, "NaN", "none", "auto", "required",
]  # fmt: skip
FIELDS = ["messages", "model", "stream", "stream_options", "temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "stop",
          "n", "logprobs", "tools", "tool_choice", "response_format", "edgexp",
          "user", "metadata", "role", "content", "tool_calls", "function",
          "name", "arguments", "tool_call_id", "type", "text", "memory", "session", "include_usage", "parameters"]  # fmt: skip
GOOD: dict[str, Any] = {
    "model": "m", "temperature": 0.5, "stop": ["x"], "seed": 1, "stream": False,
    "tools": [{"type": "function", "function": {"name": "look", "parameters": {}}}],
    "messages": [
        {"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "look",
                                                                                                           "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "nothing"}, {"role": "user", "content": "b"},
    ],
}  # fmt: skip


def value(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON."""
    kind = rng.random()
    if depth > 3 or kind < 0.6:
        return rng.choice(LEAVES)
    if kind < 0.8:
        return [value(rng, depth + 1) for _ in range(rng.randint(0, 4))]
    return {rng.choice(FIELDS): value(rng, depth + 1) for _ in range(rng.randint(0, 4))}


def spoilt(rng: random.Random, given: Any) -> Any:
    """A good body with something else somewhere in it."""
    if rng.random() < 0.15 or not isinstance(given, dict | list) or not given:
        return value(rng)
    if isinstance(given, list):
        place = rng.randrange(len(given))
        return [spoilt(rng, one) if n == place else one for n, one in enumerate(given)]
    name = rng.choice([*given, rng.choice(FIELDS)])
    return {**given, name: spoilt(rng, given[name]) if name in given else value(rng)}


def bodies(rng: random.Random) -> Iterator[bytes]:
    """Bodies without end."""
    while True:
        kind = rng.random()
        data = json.dumps(spoilt(rng, GOOD) if kind < 0.6 else value(rng)).encode()
        if kind > 0.75:  # bytes that are changed, lost or doubled
            place = rng.randrange(len(data))
            data = rng.choice([data[:place], data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :], data * 2, data + b"\x00",
                               b"[" * 50_000, b'{"messages":' * 10_000, rng.randbytes(100), b"\xff\xfe" + data])  # fmt: skip
        yield data


def test_reading_a_request_ends_in_a_request_or_a_refusal():
    rng = random.Random(17)
    for _, data in zip(range(3000 * ROUNDS), bodies(rng), strict=False):
        try:
            assert isinstance(read_chat(data), ChatRequest)
        except Refusal as refusal:
            assert json.dumps(refusal.body) and 400 <= refusal.status < 500


@pytest.fixture
def bugs(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What the server logs as bugs; there are none."""
    caplog.set_level(logging.WARNING)
    yield []
    assert not [record.getMessage() for record in caplog.records if record.name.startswith(("edgexp", "uvicorn", "asyncio"))]


def test_requests_of_no_sense_are_answered_and_no_session_is_lost(make_service, bugs):
    rng = random.Random(18)
    with serving(make_service(k=0), Rules(most_bytes=1 << 20)) as server:
        session = server.chat("mine").json()["edgexp"]["session"]
        for number, data in zip(range(300 * ROUNDS), bodies(rng), strict=False):
            path = rng.choice(["/v1/chat/completions"] * 6 + [f"/v1/sessions/{session}x/outcome", "/v1/models", "/s/a/v1/chat/completions"])
            headers = rng.choice([{}, {}, {"X-Edgexp-Memory": "off"}, {"X-Edgexp-Session": "a/b"}, {"X-Edgexp-Outcome": "s1=maybe"},
                                  {"Content-Type": "text/plain"}, {"Authorization": "Bearer \x7f"}])  # fmt: skip
            told = server.http.post(path, content=data, headers=headers)
            assert told.status_code < 500, (number, data[:300], told.text)
            if told.status_code != 200:
                assert set(told.json()["error"]) == {"message", "type", "param", "code"}
        assert server.chat("mine", assistant("1: mine"), "on").json()["edgexp"]["session"] == session


def test_connections_that_are_cut_or_speak_no_http_harm_nobody(make_service, bugs):
    rng = random.Random(19)
    letters = string.printable.encode()
    with serving(make_service(k=0), Rules(body_seconds=5)) as server:
        session = server.chat("mine").json()["edgexp"]["session"]
        host, port = server.url[7:].split(":")
        good = json.dumps({"messages": [{"role": "user", "content": "a"}], "stream": True}).encode()
        whole = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(good)}\r\n\r\n".encode() + good
        for _ in range(150 * ROUNDS):
            with socket.create_connection((host, int(port)), 10) as connection:
                kind = rng.random()
                data = whole[: rng.randrange(len(whole) + 1)] if kind < 0.6 else bytes(rng.choice(letters) for _ in range(200))
                if kind > 0.8:
                    place = rng.randrange(len(whole))
                    data = whole[:place] + rng.randbytes(3) + whole[place:]
                with suppress(OSError):
                    connection.sendall(data)
                    if kind > 0.4:
                        connection.settimeout(0.02)
                        connection.recv(100)
        assert server.chat("mine", assistant("1: mine"), "on").json()["edgexp"]["session"] == session


def test_what_the_page_asks_for_can_be_anything(make_service, bugs):
    rng = random.Random(20)
    names = ["t0", "s0", "%00", "%ff%fe", "..%2f..", "a" * 500, "%F0%9F%98%80", "'; DROP TABLE trajectory; --", "*", "state"]
    with serving(make_service(k=0)) as server:
        session = server.chat("mine").json()["edgexp"]["session"]
        server.http.post(f"/v1/sessions/{session}/outcome", json={"success": True})
        names += [session[:-1], session.upper()]
        for _, data in zip(range(150 * ROUNDS), bodies(rng), strict=False):
            name, words = rng.choice(names), rng.choice([*names, "a b", "\ud7ff", "%"])
            path = rng.choice([f"/api/sessions/{name}", f"/api/sessions/{name}/outcome", f"/api/sessions/{name}/forget",
                               f"/api/search?q={words}",
                               f"/api/memories/{name}", f"/api/memories/{name}/accept", f"/api/memories/{name}/outcome",
                               f"/api/memories/{name}/forget", f"/v1/models/{name}", f"/s/{name}/v1/chat/completions"])  # fmt: skip
            told = server.http.request(rng.choice(["GET", "POST"]), path, content=data, headers={"X-Edgexp-Page": "1"})
            assert told.status_code < 500, (path, data[:300], told.text)
        assert server.chat("mine", assistant("1: mine"), "on").json()["edgexp"]["session"] == session
        assert server.service.keeper.at_once(lambda bank: bank.count(status=None)) == 1
