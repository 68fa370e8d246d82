"""The server over its socket, with a model that is a function: the protocol, sessions, outcomes, errors, streams, and who may not talk."""

import asyncio
import json
import threading
import time
from typing import Any

import httpx
import pytest
from serve_toys import ScriptedModel, assistant, serving

from edgexp.errors import EdgexpError
from edgexp.serve.conversation import Call
from edgexp.serve.guard import Rules
from edgexp.serve.protocol import Usage, Written
from edgexp.serve.service import Limits


def events(response: httpx.Response) -> list[Any]:
    """The events of a stream."""
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_an_answer_has_the_protocols_shape(server):
    told = server.chat("hello").json()
    [choice] = told["choices"]
    assert told["object"] == "chat.completion" and told["model"] == "scripted" and told["id"].startswith("chatcmpl-")
    assert choice["message"] == {"role": "assistant", "content": "1: hello", "refusal": None} and choice["finish_reason"] == "stop"
    assert told["usage"]["total_tokens"] == told["usage"]["prompt_tokens"] + told["usage"]["completion_tokens"] == 3
    assert told["edgexp"]["session"].startswith("s") and told["edgexp"]["recalled"] == []


def test_a_stream_says_the_same_piece_by_piece(server):
    found = events(server.chat("hello there", stream=True, stream_options={"include_usage": True}))
    first, *pieces, last, usage = found
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""} and first["edgexp"]["session"]
    assert [piece["choices"][0]["delta"]["content"] for piece in pieces] == ["1:", " hello", " there"]
    assert last["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert usage["choices"] == [] and usage["usage"]["prompt_tokens"] == 2
    assert {one["object"] for one in found} == {"chat.completion.chunk"} and len({one["id"] for one in found}) == 1


def test_a_stream_without_the_wish_tells_no_usage(server):
    assert all("usage" not in one for one in events(server.chat("hello", stream=True)))


def test_a_conversation_is_one_session(server):
    first = server.chat("a").json()
    second = server.chat("a", assistant("1: a"), "b").json()
    third = server.chat("a", assistant("1: a"), "b", assistant("3: b"), "c", stream=True)
    assert first["edgexp"]["session"] == second["edgexp"]["session"] == events(third)[0]["edgexp"]["session"]
    assert [question.known for question in server.service.model.questions] == [0, 2, 4]


def test_a_client_may_trim_what_the_assistant_said(make_service):
    with serving(make_service(ScriptedModel(lambda _: "  yes \n"))) as server:
        first = server.chat("a").json()
        assert first["choices"][0]["message"]["content"] == "  yes \n"
        assert server.chat("a", assistant("yes"), "b").json()["edgexp"]["session"] == first["edgexp"]["session"]


def test_two_clients_that_begin_alike_are_two_sessions(server):
    one, other = server.chat("a").json()["edgexp"]["session"], server.chat("a").json()["edgexp"]["session"]
    assert one != other
    went_on = {server.chat("a", assistant("1: a"), text).json()["edgexp"]["session"] for text in "bc"}
    assert went_on == {one, other}


def test_a_rewritten_history_is_a_session_of_its_own_and_is_answered(make_service):
    said = []
    with serving(make_service(tell=said.append)) as server:
        first = server.chat("a").json()["edgexp"]["session"]
        server.chat("a", assistant("1: a"), "b")
        again = server.chat("a", assistant("1: a"), "B").json()
        assert again["choices"][0]["message"]["content"] == "3: B" and again["edgexp"]["session"] != first
        assert server.service.model.questions[-1].origin == first
    [line] = [line for line in said if "rewritten" in line]
    assert line.startswith(f"session {again['edgexp']['session']}: the history was rewritten after message 2;")


def test_a_system_text_that_changes_keeps_the_session(server):
    def system(text: str) -> dict[str, str]:
        return {"role": "system", "content": text}

    first = server.chat(system("It is 9:00."), "a").json()["edgexp"]["session"]
    assert server.chat(system("It is 9:01."), "a", assistant("2: a"), "b").json()["edgexp"]["session"] == first


@pytest.mark.parametrize("how", ["header", "body", "path"])
def test_a_client_may_name_its_session(server, how):
    def ask(*messages: Any) -> str:
        more = {"headers": {"X-Edgexp-Session": "mine"}} if how == "header" else {"edgexp": {"session": "mine"}} if how == "body" else {}
        if how == "path":
            turns = [{"role": "user", "content": m} if isinstance(m, str) else m for m in messages]
            return server.http.post("/s/mine/v1/chat/completions", json={"messages": turns}).json()["edgexp"]["session"]
        return server.chat(*messages, **more).json()["edgexp"]["session"]

    first = ask("a")
    assert ask("a") == first, "the same again is the same session"
    assert ask("something else") == first
    assert server.service.sessions.get("mine").id == first
    assert [said.text for said in server.service.sessions.get("mine").said] == ["something else", "1: something else"]
    assert server.chat("a").json()["edgexp"]["session"] != first


def test_models_are_listed(server):
    assert [one["id"] for one in server.http.get("/v1/models").json()["data"]] == ["scripted"]
    assert server.http.get("/v1/models/scripted").json()["id"] == "scripted"
    assert server.http.get("/v1/models/other").json()["error"]["code"] == "model_not_found"


CALLED = Written("let me see", (Call("look", '{"at": "a"}', "call_1"),), "tool_calls", Usage(3, 1, 5))
TOOLS = [{"type": "function", "function": {"name": "look", "description": "Look.", "parameters": {"type": "object"}}}]


def test_a_call_of_a_tool_and_its_result(make_service):
    model = ScriptedModel(lambda question: CALLED if question.messages[-1].role == "user" else "done")
    with serving(make_service(model)) as server:
        told = server.chat("go", tools=TOOLS).json()
        [choice] = told["choices"]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["tool_calls"] == [
            {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "a"}'}}
        ]
        back = {**choice["message"], "tool_calls": [{**choice["message"]["tool_calls"][0], "id": "renamed"}]}
        then = server.chat("go", back, {"role": "tool", "tool_call_id": "renamed", "content": "nothing"}, tools=TOOLS).json()
        assert then["choices"][0]["message"]["content"] == "done"
        assert then["edgexp"]["session"] == told["edgexp"]["session"]
        assert model.questions[0].tools[0].name == "look"
        *_, last = events(server.chat("go again", tools=TOOLS, stream=True))
        assert last["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "look"


@pytest.mark.parametrize(("body", "words"), [
    ({}, "messages"), ({"messages": []}, "messages"), ({"messages": "hello"}, "messages"), ({"messages": [1]}, "messages[0]"),
    ({"messages": [{"role": "wizard", "content": "a"}]}, "messages[0].role"), ({"messages": [{"content": "a"}]}, "role"),
    ({"messages": [{"role": "user", "content": 5}]}, "content"), ({"messages": [{"role": "user", "content": "a"}], "n": 2}, "n"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "text only"),
    ({"messages": [{"role": "user", "content": "a"}], "temperature": -1}, "temperature"),
    ({"messages": [{"role": "user", "content": "a"}], "max_tokens": 0}, "max_tokens"),
    ({"messages": [{"role": "user", "content": "a"}], "tools": [{"type": "function"}]}, "tools"),
    ({"messages": [{"role": "user", "content": "a"}], "tool_choice": "required"}, "tool_choice"),
    ({"messages": [{"role": "user", "content": "a"}], "response_format": {"type": "json_object"}}, "response_format"),
    ({"messages": [{"role": "user", "content": "a"}], "edgexp": {"session": "../x"}}, "session"),
])  # fmt: skip
def test_what_cannot_be_answered_is_refused_in_the_protocols_shape(server, body, words):
    told = server.http.post("/v1/chat/completions", json=body)
    error = told.json()["error"]
    assert told.status_code == 400 and error["type"] == "invalid_request_error" and words in error["message"], error
    assert set(error) == {"message", "type", "param", "code"}
    assert len(server.service.sessions) == 0


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat", "/nothing", "/api/nothing"])
def test_what_is_not_there_is_said_in_the_protocols_shape(server, path):
    told = server.http.get(path)
    assert told.status_code == 404 and told.json()["error"]["code"] == "unknown_url"
    assert server.http.get("/v1/chat/completions").status_code == 405


def test_a_model_that_fails_is_an_error_and_the_session_goes_on(make_service):
    def fail(question):
        if question.messages[-1].text == "fail":
            raise ValueError("a bug of the model")
        return "fine"

    with serving(make_service(ScriptedModel(fail))) as server:
        first = server.chat("a").json()["edgexp"]["session"]
        for stream in (False, True):
            told = server.chat("a", assistant("fine"), "fail", stream=stream)
            assert told.status_code == 500 and told.json()["error"]["type"] == "server_error", told.text
        assert server.chat("a", assistant("fine"), "b").json()["edgexp"]["session"] == first


def test_what_does_not_fit_the_context_is_an_error(server):
    told = server.chat("word " * 5000)
    assert told.status_code == 400 and told.json()["error"]["code"] == "context_length_exceeded"


# Outcomes


def test_an_outcome_is_told_and_kept(server):
    session = server.chat("a").json()["edgexp"]["session"]
    told = server.http.post(f"/v1/sessions/{session}/outcome", json={"success": True, "score": 0.5}).json()
    assert (told["success"], told["score"]) == (True, 0.5)
    [kept] = server.service.keeper.at_once(lambda bank: bank.entries())
    assert (kept.id, kept.status, kept.success, kept.score) == (told["trajectory"], "accepted", True, 0.5)


@pytest.mark.parametrize("body", [{}, {"success": "yes"}, {"success": True, "score": 2}, {"success": True, "more": 1}, []])
def test_an_outcome_that_is_none_is_refused(server, body):
    session = server.chat("a").json()["edgexp"]["session"]
    assert server.http.post(f"/v1/sessions/{session}/outcome", json=body).status_code == 400
    assert server.http.post("/v1/sessions/s0/outcome", json={"success": True}).status_code == 404


def test_an_outcome_by_a_header(server):
    first = server.chat("a").json()["edgexp"]["session"]
    server.chat("another task", headers={"X-Edgexp-Outcome": f"{first}=failure"})
    assert server.service.sessions.get(first).success is False
    server.chat("a", assistant("1: a"), "thanks", headers={"X-Edgexp-Outcome": "success"})
    assert server.service.sessions.get(first).success is True
    assert server.chat("x", headers={"X-Edgexp-Outcome": "success"}).status_code == 400
    assert server.chat("x", headers={"X-Edgexp-Outcome": "maybe"}).status_code == 400
    assert server.chat("x", headers={"X-Edgexp-Outcome": "s0=success"}).status_code == 404


# Clients that vanish


def until(true, seconds: float = 10) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_stops_the_model(make_service, stream):
    model = ScriptedModel(lambda _: "word " * 100_000)
    model.gate = threading.Event()
    with serving(make_service(model)) as server:
        def go() -> None:
            with httpx.Client(trust_env=False) as http, pytest.raises(httpx.ReadTimeout):
                body = {"messages": [{"role": "user", "content": "a"}], "stream": stream}
                http.post(f"{server.url}/v1/chat/completions", json=body, timeout=0.3)

        go()
        until(lambda: model.stopped == 1 and len(server.service.sessions) == 0)  # nothing was finished, so there is no session
        assert model.words < 100_000
        model.gate.set()
        model.say = lambda _: "yes"
        assert server.chat("a").json()["choices"][0]["message"]["content"] == "yes"


def test_a_client_that_takes_nothing_is_let_go(make_service):
    model = ScriptedModel(lambda _: ("word" * 5000 + " ") * 5000)
    with serving(make_service(model), send_seconds=0.3) as server:
        body = {"messages": [{"role": "user", "content": "a"}], "stream": True}
        with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, trust_env=False) as told:
            next(told.iter_raw())
            until(lambda: model.stopped == 1)
            assert model.words < 5000
        assert server.http.get("/health").json() == {"status": "ok"}


def test_too_many_at_once_are_told_to_come_again(make_service):
    model = ScriptedModel()
    model.gate = threading.Event()
    with serving(make_service(model, limits=Limits(waiting=2))) as server:
        async def ask() -> list[int]:
            async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
                asked = [asyncio.create_task(http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": str(n)}]}))
                         for n in range(2)]  # fmt: skip
                while len(model.questions) < 2:
                    await asyncio.sleep(0.01)
                third = await http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "3"}]})
                assert third.headers["retry-after"] == "1" and third.json()["error"]["type"] == "rate_limit_error"
                model.gate.set()
                return [third.status_code, *[(await one).status_code for one in asked]]

        assert asyncio.run(ask()) == [429, 200, 200]


def test_fifty_clients_at_once_and_nothing_is_mixed_up(make_service):
    """Each has a conversation of five turns; what it is told belongs to it."""
    with serving(make_service(limits=Limits(waiting=1000), k=0)) as server:
        async def client(http: httpx.AsyncClient, number: int) -> str:
            messages: list[dict[str, str]] = [{"role": "system", "content": "same for all"}]
            sessions = set()
            for turn in range(5):
                text = "hello" if not turn else f"{number} in turn {turn}"
                messages.append({"role": "user", "content": text})
                if number % 2:
                    told = (await http.post("/v1/chat/completions", json={"messages": messages})).json()
                    said, session = told["choices"][0]["message"]["content"], told["edgexp"]["session"]
                else:
                    found = events(await http.post("/v1/chat/completions", json={"messages": messages, "stream": True}))
                    said = "".join(one["choices"][0]["delta"].get("content", "") for one in found)
                    session = found[0]["edgexp"]["session"]
                assert said == f"{len(messages)}: {text}"
                messages.append({"role": "assistant", "content": said})
                sessions.add((turn > 1, session))
            assert len({session for late, session in sessions if late}) == 1
            return session

        async def all_of_them() -> list[str]:
            limits = httpx.Limits(max_connections=60)
            async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=60, trust_env=False) as http:
                return await asyncio.gather(*(client(http, number) for number in range(50)))

        sessions = asyncio.run(all_of_them())
        assert len(set(sessions)) == 50
        for number, session in enumerate(sessions):
            said = [one.text for one in server.service.sessions.get(session).said if one.role == "user"]
            assert said == ["hello", *(f"{number} in turn {turn}" for turn in range(1, 5))]


# Who may not talk


FOREIGN = [
    {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}, {"Origin": "http://localhost:1"},
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Host": "evil.example"}, {"Host": "evil.example:8321"},
    {"Host": ""}, {"Host": "127.0.0.1.evil.example"}, {"Host": "localhost.evil.example"}, {"Host": "127.0.0.1@evil.example"},
    {"Origin": "http://127.0.0.1.evil.example"}, {"Host": "192.168.0.5"},
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), [
    ("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("GET", "/api/state"), ("OPTIONS", "/v1/chat/completions"),
])  # fmt: skip
def test_a_page_of_another_origin_and_a_request_for_another_host_are_refused(server, method, path):
    for headers in FOREIGN:
        told = server.http.request(method, path, headers=headers, json={"messages": [{"role": "user", "content": "a"}]})
        assert told.status_code in (400, 403), (headers, told.text)
        assert "access-control-allow-origin" not in told.headers
    assert not server.service.model.questions


def test_the_own_page_and_a_link_to_it_are_fine(server):
    own = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
    assert server.http.get("/api/state", headers=own).status_code == 200
    assert server.http.get("/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}).status_code == 200
    assert server.http.get("/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}).status_code == 403
    localhost = server.url.replace("127.0.0.1", "localhost")
    assert server.http.get("/v1/models", headers={"Host": localhost[7:], "Origin": localhost}).status_code == 200


def test_the_page_alone_changes_things(server):
    session = server.chat("a").json()["edgexp"]["session"]
    path = f"/api/sessions/{session}/outcome"
    assert server.http.post(path, json={"success": True}).status_code == 403
    assert server.http.post(path, json={"success": True}, headers={"X-Edgexp-Page": "1"}).status_code == 200


def test_without_the_token_nothing_is_answered(make_service):
    with serving(make_service(), Rules(token="right")) as server:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "right2"}, {"Authorization": "Bearer rightx"},
                        {"Authorization": "Bearer \xff"}):  # fmt: skip
            raw = {name: value.encode("latin-1") for name, value in headers.items()}
            for path in ("/v1/models", "/api/state", "/v1/nothing"):
                told = server.http.get(path, headers=raw)
                assert told.status_code == 401 and told.json()["error"]["code"] == "invalid_api_key"
            assert server.chat("a", headers=raw).status_code == 401
        assert server.chat("a", headers={"Authorization": "Bearer right"}).status_code == 200
        assert server.http.get("/").status_code == 200, "the page holds nothing, and asks for the token"


def test_a_body_that_is_too_long_is_refused(make_service):
    with serving(make_service(), Rules(most_bytes=1000)) as server:
        assert server.chat("a" * 2000).status_code == 413

        def pieces():
            for _ in range(100):
                yield b"a" * 100

        told = server.http.post("/v1/chat/completions", content=pieces(), headers={"Content-Type": "application/json"})
        assert told.status_code == 413 and told.json()["error"]["code"] == "body_too_large"
        assert server.chat("a").status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for(make_service):
    import socket

    with serving(make_service(), Rules(body_seconds=0.2)) as server:
        host, port = server.url[7:].split(":")
        with socket.create_connection((host, int(port)), 10) as half:
            half.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\n{{".encode())
            assert b"408" in half.recv(1000)
        assert server.chat("a").status_code == 200


@pytest.mark.parametrize("said", [b"", b"GET /health HTTP/1.1\r\nHost: 127", b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /hea"])
def test_a_connection_that_says_no_more_is_closed(make_service, monkeypatch, said):
    import socket

    from edgexp.serve import listening

    monkeypatch.setattr(listening, "QUIET_SECONDS", 0.3)
    with serving(make_service(k=0)) as server:
        host, port = server.url[7:].split(":")
        with socket.create_connection((host, int(port)), 10) as half:
            half.sendall(said)
            while half.recv(1000):
                pass
        model = server.service.model
        model.gate = threading.Event()
        threading.Timer(1, model.gate.set).start()
        assert server.chat("slow").status_code == 200, "an answer that takes longer is waited for"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_small_pieces_are_sent_at_once(make_service, host):
    """Each connection has TCP_NODELAY; without it every answer takes 40 ms longer."""
    import socket

    from edgexp.serve.listening import Patient, bind

    try:
        bind(host, 0).close()
    except EdgexpError:
        pytest.skip(f"nothing can listen at {host} here")
    seen = []

    class Watched(Patient):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            seen.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("edgexp.serve.listening.Patient", Watched)
        with serving(make_service(k=0), Rules(host)) as server:
            assert server.http.get("/health").status_code == 200
    assert seen and all(seen)
