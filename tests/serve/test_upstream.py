"""Another server behind `edgexp serve`: it is asked what the client asked, with experience; whatever it answers is an answer or a line."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import chat_server
import pytest
from chat_server import Reply
from hypothesis import given
from hypothesis import strategies as st
from serve_toys import Running, assistant, serving

from edgexp.errors import EdgexpError, UsageError
from edgexp.play import chat_stream
from edgexp.play.chat_client import Terms
from edgexp.serve.conversation import Call
from edgexp.serve.upstream import Reading, open_upstream


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_stream, "FIRST_WAIT", 0.001)


def stream(*pieces: Any, usage: Any = None, done: bool = True, finish: str = "stop", **more: Any) -> Reply:
    """A good stream: texts, or deltas."""
    deltas = [{"content": piece} if isinstance(piece, str) else piece for piece in pieces]
    events: list[Any] = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    events += [{"choices": [], "usage": usage}] if usage else []
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n" * done
    return Reply(200, body.encode(), {"Content-Type": "text/event-stream"}, **more)


def models(_: Any) -> Reply:
    return Reply(200, json.dumps({"data": [{"id": "qwen", "max_model_len": 4000}]}).encode())


Opened = Callable[..., tuple[Running, chat_server.Serving]]


@pytest.fixture
def above(make_service) -> Iterator[Opened]:
    """A function that starts a server above one that answers so."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        def start(answer: Callable[[Any], Any], seconds: float = 20) -> tuple[Running, chat_server.Serving]:
            below = stack.enter_context(chat_server.serving(answer, models=models, whole=True))
            service = make_service(open_upstream(below.url, Terms("", seconds)))
            return stack.enter_context(serving(service)), below

        yield start


def test_what_is_asked_goes_there_and_what_comes_is_told(above):
    server, below = above(lambda _: stream("hel", "lo", usage={"prompt_tokens": 9, "completion_tokens": 2,
                                                               "prompt_tokens_details": {"cached_tokens": 4}}))  # fmt: skip
    told = server.chat({"role": "system", "content": "S"}, "hi", temperature=0.5, seed=3, stop="x", max_tokens=7, top_p=0.9).json()
    assert told["model"] == "qwen" and told["choices"][0]["message"]["content"] == "hello"
    assert told["usage"]["prompt_tokens_details"]["cached_tokens"] == 4 and told["usage"]["total_tokens"] == 11
    [asked] = below.asked
    wanted = {"model": "qwen", "temperature": 0.5, "seed": 3, "stop": ["x"], "max_tokens": 7, "top_p": 0.9, "stream": True,
              "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "hi"}]}  # fmt: skip
    assert {name: asked[name] for name in wanted} == wanted


def test_what_nobody_asked_for_is_not_asked(above):
    server, below = above(lambda _: stream("yes"))
    server.chat("hi")
    assert set(below.asked[0]) == {"path", "model", "messages", "stream", "stream_options"}


def test_experience_stands_in_the_system_turn(above):
    server, below = above(lambda _: stream("yes"))
    session = server.chat("the red kettle").json()["edgexp"]["session"]
    server.http.post(f"/v1/sessions/{session}/outcome", json={"success": True})
    told = server.chat({"role": "system", "content": "S"}, "the red kettle again").json()
    assert len(told["edgexp"]["recalled"]) == 1
    first, last = below.asked[-1]["messages"]
    assert first["role"] == "system" and first["content"].startswith("S\n\nPast episodes that succeeded:")
    assert first["content"].endswith("the red kettle\n>yes\n") and last == {"role": "user", "content": "the red kettle again"}
    server.chat({"role": "system", "content": "S"}, "the red kettle again", assistant("yes"), "on")
    assert below.asked[-1]["messages"][0] == first, "the same for all of a session"


def test_pieces_come_as_they_come(above):
    server, _ = above(lambda _: stream("one", " two"))
    text = server.chat("hi", stream=True).text
    assert '"content":"one"' in text and '"content":" two"' in text


def test_a_server_that_does_not_stream_is_fine(above):
    server, _ = above(lambda _: chat_server.say("whole", prompt_tokens=3, completion_tokens=1))
    told = server.chat("hi").json()
    assert told["choices"][0]["message"]["content"] == "whole" and told["usage"]["total_tokens"] == 4


TOOLS = [{"type": "function", "function": {"name": "look", "description": "", "parameters": {"type": "object"}}}]


def test_tools_and_calls_pass_through(above):
    calls = [{"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "look", "arguments": '{"a"'}}]},
             {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}]  # fmt: skip
    def answer(question: Any) -> Reply:
        return stream(*calls, finish="tool_calls") if question["messages"][-1]["role"] == "user" else stream("ok")

    server, below = above(answer)
    told = server.chat("go", tools=TOOLS, tool_choice="required").json()["choices"][0]
    assert told["finish_reason"] == "tool_calls"
    assert told["message"]["tool_calls"] == [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}]
    assert below.asked[0]["tools"] == TOOLS and below.asked[0]["tool_choice"] == "required"
    server.chat("go", told["message"], {"role": "tool", "tool_call_id": "c1", "content": "seen"}, tools=TOOLS)
    assert below.asked[1]["messages"][1]["tool_calls"][0]["id"] == below.asked[1]["messages"][2]["tool_call_id"] == "c1"


@pytest.mark.parametrize(("answer", "status", "words"), [
    (Reply(500, b'{"error": {"message": "out of order"}}'), 502, "out of order"), (Reply(400, b"no such thing"), 400, "no such thing"),
    (Reply(0), 502, "broke"), (Reply(200, b"<html>"), 502, "not a chat completion"),
    (Reply(302, headers={"Location": "http://x/"}), 502, "302"),
    (Reply(200, b"data: {\n\n", {"Content-Type": "text/event-stream"}), 502, "not a chat completion"),
    (Reply(200, b'data: {"error": {"message": "too hot"}}\n\n', {"Content-Type": "text/event-stream"}), 502, "too hot"),
    (Reply(429, b"later"), 429, "later"), (Reply(401, b"who are you"), 502, "401"),
    (Reply(400, b'{"error": {"message": "the context length is exceeded"}}'), 400, "context"),
])  # fmt: skip
def test_whatever_goes_wrong_there_is_one_line_here(above, answer, status, words):
    server, _ = above(lambda _: answer)
    for more in ({}, {"stream": True}):
        told = server.chat("hi", **more)
        assert told.status_code == status and words in told.json()["error"]["message"], told.text
    assert len(server.service.sessions) == 0


def test_what_fails_before_it_began_is_asked_again(above):
    answers = iter([Reply(503), Reply(0), stream("third")])
    server, below = above(lambda _: next(answers))
    assert server.chat("hi").json()["choices"][0]["message"]["content"] == "third" and len(below.asked) == 3


def test_a_stream_that_breaks_is_an_error_and_no_turn(above):
    server, _ = above(lambda _: stream("half", done=False, length=100_000))
    text = server.chat("hi", stream=True).text
    assert '"content":"half"' in text and '"error"' in text and text.endswith("data: [DONE]\n\n")
    assert len(server.service.sessions) == 0


def test_a_context_that_is_full_is_asked_again_without_memory(above):
    def answer(question: Any) -> Reply:
        full = "Past episodes" in question["messages"][0]["content"]
        return Reply(400, b"exceed_context_size") if full else stream("fits")

    server, below = above(answer)
    session = server.chat("the red kettle").json()["edgexp"]["session"]
    server.http.post(f"/v1/sessions/{session}/outcome", json={"success": True})
    told = server.chat("the red kettle again").json()
    assert told["choices"][0]["message"]["content"] == "fits" and told["edgexp"]["recalled"] == [] and len(below.asked) == 3


def test_a_slow_server_is_waited_for_so_long(above):
    server, _ = above(lambda _: stream("a", "b", "c", piece=20, pause=0.2), seconds=0.5)
    began = time.monotonic()
    assert "no answer within 0.5 seconds" in server.chat("hi").json()["error"]["message"]
    assert time.monotonic() - began < 10


def test_a_client_that_goes_is_not_answered_for(above):
    import httpx

    server, below = above(lambda _: stream(*["word"] * 10_000, piece=100, pause=0.01))
    with pytest.raises(httpx.ReadTimeout):
        server.http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "a"}]}, timeout=0.3)
    end = time.monotonic() + 10
    while server.service._under_way:
        assert time.monotonic() < end
        time.sleep(0.01)
    del below


def test_many_at_once(above):
    server, _ = above(lambda question: stream(question["messages"][-1]["content"]))
    told = dict[int, str]()

    def ask(number: int) -> None:
        told[number] = server.chat(f"I am {number}").json()["choices"][0]["message"]["content"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == {number: f"I am {number}" for number in range(20)}


def test_a_server_that_is_not_there_is_one_line():
    with pytest.raises(EdgexpError, match="cannot be reached"):
        open_upstream("http://127.0.0.1:9/v1", Terms("", 2))
    with pytest.raises(UsageError):
        open_upstream("nonsense", Terms())
    with chat_server.serving(lambda _: stream("x")) as below, pytest.raises(UsageError, match="#name"):
        open_upstream(below.url, Terms())


NAMES = st.sampled_from(["choices", "delta", "message", "content", "tool_calls", "function", "index", "id", "name", "arguments", "usage",
                         "prompt_tokens", "finish_reason"])  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
ANY = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner), max_leaves=12)


@given(st.lists(st.dictionaries(st.sampled_from(["choices", "usage", "x"]), ANY), max_size=4))
def test_whatever_pieces_say_there_is_an_answer(pieces):
    reading = Reading()
    told = "".join(reading.take(piece) for piece in pieces)
    written = reading.written()
    assert written.text == told and all(isinstance(call, Call) and call.name for call in written.calls)
    assert 0 <= written.usage.cached <= written.usage.prompt and written.finish in ("stop", "length", "tool_calls")


def test_edgexp_itself_is_a_client_and_a_server_behind_another(make_service, tmp_path):
    """`edgexp run --model http://…` asks as this client does, and one `edgexp serve` may stand before another."""
    from edgexp.play.acting import Acting
    from edgexp.play.remote import open_chat_model

    with serving(make_service(folder=tmp_path / "below")) as below:
        with open_chat_model(f"{below.url}/v1", Terms(), choose=True) as model:
            assert model.name == "scripted" and model.method is None and model.room == 4096
            assert model.ask([{"role": "user", "content": "go"}], Acting()).text == "1: go"
        with serving(make_service(open_upstream(f"{below.url}/v1", Terms()), folder=tmp_path / "above")) as above:
            first = above.chat("hello").json()
            assert first["choices"][0]["message"]["content"] == "1: hello" and first["usage"]["prompt_tokens"] == 1
            second = above.chat("hello", assistant("1: hello"), "more", stream=True).text
            assert '"content":" more"' in second
            assert len(above.service.sessions) == 1 and max(one.turns for one in below.service.sessions) == 2
