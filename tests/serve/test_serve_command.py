"""`edgexp serve` as a program: the `openai` client unchanged against the real model, kill -9, the port, the token, Ctrl-C."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgexp.models import BASE_POLICY

openai = pytest.importorskip("openai")
pytestmark = pytest.mark.slow

SYSTEM = {"role": "system", "content": "You are a helpful assistant."}


class Program:
    """A server in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]", url: str, first: str) -> None:
        self.process, self.url, self.first = process, url, first
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, timeout=120)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """End it; its exit code and what else it said."""
        self.process.send_signal(number)
        said = self.process.communicate(timeout=60)
        return self.process.returncode, "".join(said)


@contextmanager
def program(home: Path, *arguments: str, model: str = BASE_POLICY, **variables: str) -> Iterator[Program]:
    """`edgexp serve` on a port of its own."""
    command = [sys.executable, "-m", "edgexp", "serve", "--port", "0", "--model", model, "--context", "2048", *arguments]
    environment = {**os.environ, "EDGEXP_HOME": str(home), "PYTHONUNBUFFERED": "1", **variables}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            first = process.stdout.readline()
            found = re.search(r"(http://[^/]+)/v1", first)
            if not found:
                raise AssertionError(first + process.stderr.read())
            yield Program(process, found[1], first)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def served(own_home: Path, policy_path: Path, encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The real model, served for the tests of this module."""
    with program(own_home, "--bank", str(tmp_path_factory.mktemp("served") / "bank"), "--slots", "2") as running:
        yield running


def test_a_conversation_of_ten_turns_evaluates_each_token_once(served):
    messages: list[Any] = [SYSTEM]
    evaluated = generated = 0
    sessions = set()
    for turn in range(10):
        messages.append({"role": "user", "content": f"Say something about the number {turn}."})
        told = served.client.chat.completions.create(model="any", messages=messages, max_tokens=12, temperature=0)
        messages.append(told.choices[0].message.model_dump(exclude_none=True))
        usage = told.usage
        evaluated += usage.prompt_tokens - usage.prompt_tokens_details.cached_tokens
        generated += usage.completion_tokens
        sessions.add(told.model_extra["edgexp"]["session"])
    assert len(sessions) == 1
    # Of a prompt the first is read whole. Later ones read what is new, and of the answer before its last token and the end of its turn.
    assert usage.prompt_tokens <= evaluated + generated <= usage.prompt_tokens + 12 + 10


def test_a_stream_says_what_a_whole_answer_says(served):
    messages: list[Any] = [SYSTEM, {"role": "user", "content": "Name a colour."}]
    whole = served.client.chat.completions.create(model="any", messages=messages, max_tokens=20)
    pieces = list(served.client.chat.completions.create(model="any", messages=messages, max_tokens=20, stream=True,
                                                        stream_options={"include_usage": True}))  # fmt: skip
    said = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert said == whole.choices[0].message.content and said
    assert pieces[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert pieces[-2].choices[0].finish_reason == whole.choices[0].finish_reason


def test_a_seed_a_stop_and_a_limit(served):
    def ask(**more: Any) -> Any:
        messages: list[Any] = [SYSTEM, {"role": "user", "content": "Count: one two three"}]
        return served.client.chat.completions.create(model="any", messages=messages, **more).choices[0]

    assert ask(temperature=1, seed=5, max_tokens=10).message.content == ask(temperature=1, seed=5, max_tokens=10).message.content
    assert ask(max_tokens=3).finish_reason == "length"
    text = ask(max_tokens=30).message.content
    stop = text[4:8]
    stopped = ask(max_tokens=30, stop=[stop])
    assert stopped.message.content == text[: text.index(stop)] and stopped.finish_reason == "stop"


def test_a_tool_that_must_be_called(served):
    tools: Any = [{"type": "function", "function": {"name": "get_weather", "description": "The weather in a city.", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]  # fmt: skip
    told = served.client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": "What is the weather in Paris?"}], tools=tools, max_tokens=60,
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
    )  # fmt: skip
    choice = told.choices[0]
    if choice.message.tool_calls:  # a model of this size may write no JSON
        assert choice.message.tool_calls[0].function.name == "get_weather" and choice.finish_reason == "tool_calls"
    else:
        assert '"get_weather"' in choice.message.content


def test_errors_are_those_of_the_client_library(served):
    with pytest.raises(openai.BadRequestError, match="wizard"):
        served.client.chat.completions.create(model="any", messages=[{"role": "wizard", "content": "a"}])
    with pytest.raises(openai.BadRequestError) as error:
        served.client.chat.completions.create(model="any", messages=[{"role": "user", "content": "word " * 4000}])
    assert error.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        served.client.models.retrieve("nothing")
    assert served.client.models.list().data[0].id == BASE_POLICY


def test_an_outcome_makes_a_memory(served):
    def ask(text: str) -> Any:
        messages: list[Any] = [SYSTEM, {"role": "user", "content": text}]
        return served.client.chat.completions.create(model="any", messages=messages, max_tokens=10).model_extra["edgexp"]

    first = ask("How do I boil an egg in a kettle?")
    told = httpx.post(f"{served.url}/v1/sessions/{first['session']}/outcome", json={"success": True}).json()
    then = ask("How do I boil two eggs in a kettle?")
    assert [one["id"] for one in then["recalled"]] == [told["trajectory"]] and then["recalled"][0]["tokens"] > 10


def test_many_clients_at_once_are_answered(served):
    answers = dict[int, str]()

    def ask(number: int) -> None:
        messages: list[Any] = [SYSTEM, {"role": "user", "content": f"Repeat: {number}"}]
        answers[number] = served.client.chat.completions.create(model="any", messages=messages, max_tokens=8).choices[0].message.content

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 6


def test_a_port_that_is_taken_is_one_line(own_home, policy_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        command = [sys.executable, "-m", "edgexp", "serve", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"edgexp: port {port} of 127.0.0.1 is taken by another program; choose another with --port, or 0 for any\n"


def ask(url: str, text: str, limit: int = 5) -> Any:
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": limit}
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()


def test_after_kill_9_every_finished_turn_is_in_the_log(own_home, policy_path, encoder_folder, tmp_path):
    bank = tmp_path / "bank"
    finished = []
    with program(own_home, "--bank", str(bank), "--no-redaction") as running:
        def clients() -> None:
            try:
                for number in range(1000):
                    told = ask(running.url, f"question {number}")
                    finished.append((f"question {number}", told["choices"][0]["message"]["content"]))
            except (httpx.HTTPError, KeyError):
                pass

        thread = threading.Thread(target=clients)
        thread.start()
        while len(finished) < 4:
            pass
        running.end(signal.SIGKILL)
        thread.join()
    logged = [json.loads(line) for line in (bank / "served" / "sessions.jsonl").read_text().splitlines()]
    there = {(line["said"][0]["text"], line["said"][1]["text"]) for line in logged if line["kind"] == "turn"}
    assert finished and set(finished) <= there
    with program(own_home, "--bank", str(bank)) as again:
        assert httpx.get(f"{again.url}/api/state").json()["total"] == len(there)
        body = {"messages": [{"role": "user", "content": finished[0][0]}, {"role": "assistant", "content": finished[0][1]},
                             {"role": "user", "content": "and now?"}], "max_tokens": 4}  # fmt: skip
        told = httpx.post(f"{again.url}/v1/chat/completions", json=body, timeout=60).json()
        assert told["edgexp"]["session"] == logged[0]["session"], "it goes on where it was"
        code, said = again.end()
        assert code == 143 and "stopped; sessions are kept" in said and "Traceback" not in said


@pytest.mark.parametrize("arguments", [
    ("--memory", "dynamic"), ("--layout", "apart"), ("--environment", "a/b"), ("--redact", "("), ("--upstream", "nonsense"),
    ("--upstream", "http://127.0.0.1:9/v1#m", "--answer-seconds", "1"), ("--upstream", "http://127.0.0.1:9/v1", "--template", "chatml"),
    ("--host", "no.such.host.example"), ("--host", ""), ("--host", "999.1.1.1"), ("--model", "nothing"),
], ids=" ".join)  # fmt: skip
def test_what_cannot_be_is_one_line(own_home, tmp_path, arguments):
    command = [sys.executable, "-m", "edgexp", "serve", "--port", "0", "--bank", str(tmp_path / "bank"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode in (1, 2) and done.stdout == ""
    assert done.stderr.startswith("edgexp: ") and done.stderr.count("\n") == 1, done.stderr


def test_two_servers_do_not_share_a_bank(own_home, policy_path, encoder_folder, tmp_path):
    with program(own_home, "--bank", str(tmp_path / "bank")):
        command = [sys.executable, "-m", "edgexp", "serve", "--port", "0", "--bank", str(tmp_path / "bank")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "another edgexp serve" in done.stderr


def test_where_others_can_reach_it_a_token_is_needed(own_home, policy_path, encoder_folder, tmp_path):
    with program(own_home, "--bank", str(tmp_path / "bank"), "--host", "0.0.0.0") as running:
        token = running.first.partition("#token=")[2].strip()
        assert len(token) > 20 and httpx.get(f"{running.url}/v1/models").status_code == 401
        assert httpx.get(f"{running.url}/v1/models", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        code, said = running.end(signal.SIGINT)
        assert code == 130 and f"clients need the token {token}" in said
