"""A model behind a server as the policy: what it is asked, what is made of its answers, and what is told and recorded of both."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from bank_samples import WordEncoder
from chat_server import Answer, Reply, choose, say, serving, tell
from hypothesis import example, given
from hypothesis import strategies as st
from toys import Counting

from edgexp.bank import Bank
from edgexp.environments.base import Start
from edgexp.errors import EdgexpError, UsageError
from edgexp.play import chat_client
from edgexp.play.acting import Acting
from edgexp.play.chat_client import Terms
from edgexp.play.choosing import chosen, first_line, restrict, without_thoughts
from edgexp.play.episode import play
from edgexp.play.remote import ChatModel, RemotePolicy, count_tokens, estimate, fold, open_chat_model
from edgexp.play.rollout import Finished, run
from edgexp.play.scripted import Scripted
from edgexp.play.session import Settings, open_session
from edgexp.play.takeover import Patience
from edgexp.prompt.messages import chat, whole
from edgexp.retrieval import Retrieval, VectorRetriever
from edgexp.trajectory import Played, Task


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_client, "_FIRST_WAIT", 0.001)
    monkeypatch.delenv("EDGEXP_API_KEY", raising=False)


class Unlisted(Counting):
    """The counting environment without a list of valid actions."""

    admissible = None  # type: ignore[assignment]


class Numbered(Counting):
    """The goal says which task it is."""

    def reset(self, task: Task) -> Start:
        return msgspec.structs.replace(super().reset(task), goal=f"count to {self.target} in {task.id}.")


class Cornered(Counting):
    """The one action to choose from is the last of the valid ones."""

    def admissible(self) -> list[str]:
        return ['say "ä\\b"', "wait"]


def settings_for(url: str, **other: Any) -> Settings:
    return Settings(**{"environment": "toys:Counting", "model": f"{url}#toy", "memory": "off", "k": 0, "answer_seconds": 20.0} | other)


def play_some(settings: Settings, count: int = 1) -> tuple[list[Played], list[str]]:
    """Episodes of a session, and what was told."""
    told = list[str]()
    with open_session(settings, told.append) as session:
        finished = list[Finished](session.play(Counting().tasks("train")[:count]))
    assert not [one.error for one in finished if one.error]
    return [one.played for one in sorted(finished, key=lambda one: one.number) if one.played], told


def of_an_episode(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The questions after those by which the server was met."""
    return [question for question in asked if "count" in question["messages"][0]["content"]]


# What is asked


def test_it_is_asked_for_each_action_with_the_whole_episode() -> None:
    usage = {"prompt_tokens": 40, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 30}}
    with serving(lambda _: tell("  add one \nand then I win", model="toy:7b", usage=usage)) as server:
        [played], told = play_some(settings_for(server.url, actions="free", temperature=0.5, seed=9))
    t, asked = played.trajectory, of_an_episode(server.asked)
    assert [step.action for step in t.steps] == ["add one"] * 3 and t.success and told == []
    turns = chat(whole(Counting().instructions(), t))
    assert [question["messages"] for question in asked] == [turns[:2], turns[:4], turns[:6]]
    assert {(q["model"], q["temperature"], q["seed"], q["max_tokens"]) for q in asked} == {("toy", 0.5, 9, 64)}
    tokens = played.tokens
    assert (tokens.prompt, tokens.generated, tokens.evaluated, tokens.reused) == (40, 15, 30, 90)
    who = t.provenance
    assert (who.source, who.model, who.server, who.seed, who.model_sha256) == ("agent", "toy:7b", server.url, 9, "")
    assert who.settings == "actions free, temperature 0.5, context 8192"


@pytest.mark.parametrize("way", ["structured_outputs", "guided_choice", "grammar", "json_schema"])
def test_it_chooses_among_valid_actions_where_it_can_be_made_to(way: str) -> None:
    with serving(lambda question: tell(choose(question, (way,))), whole=True) as server:
        [played], told = play_some(settings_for(server.url, repeats=0))
    assert told == [f"{server.url}: it chooses among the valid actions, by {way}"]
    assert played.trajectory.success and [step.action for step in played.trajectory.steps] == ["add one"] * 3
    assert played.trajectory.provenance.settings.startswith(f"actions admissible by {way}, ")


@pytest.mark.parametrize("refusal", [lambda q: tell("yes"), lambda q: Reply(400, b"unknown field"), lambda q: Reply(500, b"crashed")])
def test_it_is_free_where_it_cannot_and_that_is_told(refusal: Any) -> None:
    ways = {"structured_outputs", "guided_choice", "grammar", "response_format"}

    def answer(question: Mapping[str, Any]) -> Any:
        return refusal(question) if ways & set(question) else say("add one")

    with serving(answer, whole=True) as server:
        [played], told = play_some(settings_for(server.url))
        with pytest.raises(UsageError, match="cannot be made to choose among the valid actions, so --actions admissible cannot be"):
            play_some(settings_for(server.url, insist=True))
    assert len(told) == 2 and "it cannot be made to choose among the valid actions" in told[0] and "--actions free" in told[1]
    assert played.trajectory.success and played.trajectory.provenance.settings.startswith("actions free, ")


def test_an_environment_without_valid_actions_needs_no_choice() -> None:
    with serving(lambda _: say("add one")) as server:
        [played], told = play_some(settings_for(server.url, environment="test_remote:Unlisted"))
    assert played.trajectory.success and told == [] and len(server.asked) == 4


def test_actions_that_go_in_circles_are_not_offered() -> None:
    with serving(lambda q: tell(choose(q, ("guided_choice",))), whole=True) as server:
        [played], _ = play_some(settings_for(server.url, environment="test_remote:Cornered"))
    offered = [question["guided_choice"] for question in of_an_episode(server.asked)]
    assert offered[:2] == [['say "ä\\b"', "wait"], ["wait"]]
    assert [step.action for step in played.trajectory.steps][:2] == ['say "ä\\b"', "wait"]


def test_a_server_that_does_not_keep_to_the_choice_ends_the_episode() -> None:
    def answer(question: Mapping[str, Any]) -> Any:
        return tell("fly" if len(question["messages"]) > 3 else choose(question, ("guided_choice",)))

    with serving(answer, whole=True) as server:
        [played], _ = play_some(settings_for(server.url))
    assert played.trajectory.end == f"error: {server.url}: it was to choose among the valid actions, and said 'fly'"
    assert len(played.trajectory.steps) == 1


def test_what_a_server_does_not_take_is_left_out() -> None:
    def answer(question: Mapping[str, Any]) -> Any:
        if "max_tokens" in question:
            return Reply(400, b'{"error": {"message": "Unsupported parameter: use max_completion_tokens"}}')
        for name in ("seed", "temperature"):
            if name in question:
                return Reply(422, f'{{"detail": "{name}: extra inputs are not permitted"}}'.encode())
        return Reply(400, b"System role not supported") if question["messages"][0]["role"] == "system" else say("add one")

    with serving(answer, whole=True) as server:
        [played], told = play_some(settings_for(server.url, actions="free"))
    assert played.trajectory.success and len(told) == 3
    question = server.asked[-1]
    assert question["max_completion_tokens"] == 64 and not {"seed", "temperature", "max_tokens"} & set(question)
    assert question["messages"][0]["content"].startswith(Counting().instructions() + "\n\nThe count is 0.")
    assert played.trajectory.provenance.settings.endswith("without seed and temperature")


@pytest.mark.parametrize("places", [1, 3])
def test_many_are_asked_at_once(places: int) -> None:
    def answer(_: object) -> Any:
        time.sleep(0.02)
        return say("add one")

    with serving(answer) as server:
        played, _ = play_some(settings_for(server.url, actions="free", parallel=places), 4)
    assert [one.trajectory.success for one in played] == [True] * 4
    assert (server.most_at_once > 1) == (places > 1) and server.most_at_once <= places


def test_the_expert_takes_over_from_a_server() -> None:
    with serving(lambda _: say("look")) as server:
        settings = settings_for(server.url, actions="free", environment="household", takeover=Patience())
        with open_session(settings) as session:
            [finished] = session.play(session.environment.tasks("train")[:1])
    assert finished.trajectory is not None and finished.trajectory.success
    assert (finished.trajectory.provenance.source, finished.trajectory.provenance.server) == ("takeover", server.url)


# What is made of answers


@pytest.mark.parametrize(("said", "action"), [
    ("go north", "go north"), ("\n\n  go north  \nbecause", "go north"), ("<think>west?\nno</think>\n\ngo north", "go north"),
    ("west? no</think>go north", "go north"), ("<think>a</think><THINKING>b</THINKING> go north", "go north"),
    ("west?</think><think>east", ""), ("go north<think>or not", "go north"),
    ("go north <think>sure</think>", "go north"), ("<think>for ever", ""), ("", ""), (" \n", ""),
    ("\x1b[31mgo\x07 north\x1b[0m", "go north"), ("go\x00 north\x9f", "go north"), ("go north\x0bgo west", "go north"),
])  # fmt: skip
def test_an_action_is_the_first_line_without_thoughts_and_controls(said: str, action: str) -> None:
    assert first_line(said) == action


PIECES = ("<think>", "</think>", "</reasoning>", "<", "a", " ", "\n", "\x1b[", "\x1b", "\x85", "é")


@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
@example("<think>" * 5)
def test_any_text_is_an_action_of_one_line(text: str) -> None:
    action = first_line(text)
    assert action == action.strip() and len(action.splitlines()) <= 1 and "\x1b" not in action
    rest = without_thoughts(text)
    assert "think>" not in rest and "</reasoning>" not in rest and first_line(rest) == action


def test_many_thoughts_take_no_time() -> None:
    assert first_line("<think>" * 500_000) == "" and first_line("</think>" * 500_000 + "go") == "go"


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), min_size=1, max_size=4))
def test_a_choice_is_written_so_that_it_can_be_read(choices: list[str]) -> None:
    """Of a grammar the literals are read as llama.cpp reads them."""
    for method in ("structured_outputs", "guided_choice", "grammar", "json_schema"):
        json.loads(json.dumps(restrict(method, choices)))  # type: ignore[arg-type]
    rest = str(restrict("grammar", choices)["grammar"]).removeprefix("root ::= ")
    assert [read_literal(one) for one in split_literals(rest)] == choices
    assert chosen(json.dumps({"action": choices[0]}), "json_schema") == choices[0]


def split_literals(text: str) -> list[str]:
    found, inside, start, at = list[str](), False, 0, 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == '"':
            if inside:
                found.append(text[start : at + 1])
            inside, start = not inside, at
        at += 1
    return found


def read_literal(text: str) -> str:
    out, at = "", 1
    while at < len(text) - 1:
        if text[at] != "\\":
            out, at = out + text[at], at + 1
        elif text[at + 1] == "x":
            out, at = out + chr(int(text[at + 2 : at + 4], 16)), at + 4
        else:
            out, at = out + text[at + 1], at + 2
    return out


@pytest.mark.parametrize("text", ["7", "[]", '{"action": 3}', "{", "[" * 50_000, '{"other": "x"}', "nan"])
def test_a_choice_in_no_json_is_what_was_said(text: str) -> None:
    assert chosen(text, "json_schema") == text


def test_a_model_that_thinks_gets_room_for_it() -> None:
    def answer(question: Mapping[str, Any]) -> Any:
        return tell("<think>hm", finish="length") if question["max_tokens"] < 1000 else tell("<think>hm</think>\nadd one")

    with serving(answer, whole=True) as server:
        played, told = play_some(settings_for(server.url, actions="free", parallel=2), 2)
    assert [one.trajectory.success for one in played] == [True, True]
    assert told == [f"{server.url}: it thinks before it acts; an answer may have 4,096 tokens from now on"]


def test_thoughts_without_an_end_are_no_action() -> None:
    with serving(lambda _: tell(None, finish="length")) as server:
        [played], _ = play_some(settings_for(server.url, actions="free"))
    assert played.trajectory.end == f"error: {server.url}: it came to no action within 4,096 tokens"


def test_a_server_that_says_nothing_has_given_up() -> None:
    with serving(lambda _: tell(" \n")) as server:
        [played], _ = play_some(settings_for(server.url, actions="free"))
    assert played.trajectory.end == "gave_up"


def test_counts_that_cannot_be_true_are_left_out_and_that_is_told_once() -> None:
    with serving(lambda _: tell("add one", usage={"prompt_tokens": 10**12, "completion_tokens": 3})) as server:
        [played], told = play_some(settings_for(server.url, actions="free"))
    assert told == [f"{server.url}: its counts of tokens cannot all be true; those that cannot are left out"]
    assert (played.tokens.prompt, played.tokens.generated, played.tokens.evaluated) == (0, 9, 0)


# Memory and room


def remembering(tmp_path: Path, room: int, reserve: int = 50, **settings: Any) -> tuple[Played, list[str], list[dict[str, Any]]]:
    """An episode with one past one in the bank, by a server that copies its first action."""

    def answer(turns: list[dict[str, str]]) -> Any:
        _, found, after = turns[0]["content"].partition("\n>")
        return say(after.partition("\n")[0] if found else "wait")

    world, told = Counting(), list[str]()
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank, serving(answer) as server:
        bank.add([run(play(world, world.tasks("test")[1], Scripted(["add one"] * 3))).trajectory])
        retriever = VectorRetriever(bank, Retrieval(**{"k": 1} | settings))
        with open_chat_model(f"{server.url}#toy", Terms(), context=room, say=told.append) as model:
            policy = RemotePolicy(model, world.instructions(), retriever, Acting(actions="free"), reserve=reserve)
            return run(play(world, world.tasks("train")[0], policy, max_steps=4)), told, of_an_episode(server.asked)


def test_memory_is_what_its_retriever_gives(tmp_path: Path) -> None:
    played, _, _ = remembering(tmp_path, 4096, memory="dynamic", every=2)
    assert played.trajectory.success
    assert [(recall.step, len(recall.used)) for recall in played.recalls] == [(0, 1), (2, 1)]


def test_memory_without_room_is_left_out_and_told(tmp_path: Path) -> None:
    played, _, asked = remembering(tmp_path, 140, reserve=100)
    [recall] = played.recalls
    assert recall.used == () and [one.reason for one in recall.dropped] == ["budget"] and recall.dropped[0].tokens > 10
    assert "Past episodes" not in asked[0]["messages"][0]["content"] and played.trajectory.steps[0].action == "wait"


def test_a_prompt_that_does_not_fit_is_no_episode_and_one_that_outgrows_it_ends() -> None:
    with serving(lambda _: say("wait")) as server:
        def playing(context: int) -> Finished:
            with open_session(settings_for(server.url, actions="free", context=context)) as session:
                return next(iter(session.play(Counting().tasks("train")[:1])))

        assert "do not fit a context of 70; ask for more with: --context" in str(playing(70).error)
        ended = playing(140).trajectory
    assert ended is not None and ended.end == "context_full" and 0 < len(ended.steps) < 10


def test_a_context_that_the_server_says_is_full_ends_the_episode() -> None:
    def answer(question: Mapping[str, Any]) -> Any:
        return Reply(400, b'{"error": {"message": "exceed_context_size_error"}}') if len(question["messages"]) > 5 else say("wait")

    with serving(answer, whole=True) as server:
        [played], _ = play_some(settings_for(server.url, actions="free"))
    assert played.trajectory.end == "context_full" and len(played.trajectory.steps) == 2


@given(st.text(max_size=50), st.text(max_size=50))
def test_an_estimate_grows_with_the_text(first: str, second: str) -> None:
    assert count_tokens(first) <= count_tokens(first + second) <= count_tokens(first) + count_tokens(second)
    assert len(first) / 4 <= count_tokens(first) <= len(first)
    turns = [{"role": "system", "content": first}, {"role": "user", "content": second}, {"role": "assistant", "content": "x"}]
    assert [turn["role"] for turn in fold(turns)] == ["user", "assistant"] and estimate(turns) >= count_tokens(first + second)


# What cannot be


def opened(answer: Answer, models: list[Any] | None = None, name: str = "#toy", **terms: Any) -> str:
    """What is said where a server cannot be the model; else the model's name."""
    listed = None if models is None else (lambda _: Reply(200, json.dumps({"data": models}).encode()))
    with serving(answer, models=listed) as server:
        try:
            with open_chat_model(server.url + name, Terms(**terms)) as model:
                return model.name
        except EdgexpError as error:
            return str(error).replace(server.url, "URL")


def test_the_name_is_what_the_server_says() -> None:
    assert opened(lambda _: tell("yes", model="toy:7b-q8")) == "toy:7b-q8"
    assert opened(lambda _: say("yes")) == "toy"
    assert opened(lambda _: say("yes"), [{"id": "only"}], "") == "only"
    assert opened(lambda _: say("yes"), [{"id": "a"}, {"id": "b"}], "") == "URL: name one of its models, as in URL#a; it has a, b"


def test_a_server_that_says_how_much_it_reads_is_not_given_more() -> None:
    listed = Reply(200, b'{"data": [{"id": "toy", "max_model_len": 2000}]}')
    with serving(lambda _: say("yes"), models=lambda _: listed) as server:
        for context, room in ((0, 2000), (1000, 1000), (5000, 2000)):
            with open_chat_model(f"{server.url}#toy", Terms(), context=context) as model:
                assert model.room == room


@pytest.mark.parametrize(("reply", "words"), [
    (Reply(401, b'{"error": "who are you?"}'), "URL: the server answered 401 Unauthorized: who are you?; no key was sent: put it into the "
                                               "environment variable EDGEXP_API_KEY"),
    (Reply(404, b"no model toy"), "URL: the server answered 404 Not Found: no model toy; an address mostly ends in /v1"),
    (Reply(200, b"<html>"), "URL: the server's answer is not a chat completion: '<html>'"),
    (Reply(503, b"loading"), "URL: the server answered 503 Service Unavailable: loading (asked 3 times)"),
])  # fmt: skip
def test_a_server_that_is_of_no_use_is_told_before_anything_is_played(reply: Reply, words: str) -> None:
    assert opened(lambda _: reply).startswith(words)


def test_a_key_that_is_wrong_is_told_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-0123456789")
    told = opened(lambda _: Reply(403, b"sk-0123456789?"), key_variable="MY_KEY")
    assert told == "URL: the server answered 403 Forbidden: [key]?; the key is that of the environment variable MY_KEY"


@pytest.mark.parametrize(("other", "words"), [
    ({"actions": "scored"}, "a server gives no probabilities of actions"), ({"layout": "apart"}, "a server cannot be given memory apart"),
    ({"template": "chatml"}, "--template is for a model of this process"), ({"gpu_layers": 3}, "--gpu-layers is for a model"),
    ({"model": "http://host:port#m"}, "no address of a server"), ({"api_key_env": "NOT_SET"}, "--api-key-env NOT_SET: there is no"),
])  # fmt: skip
def test_what_a_server_cannot_do_is_told_before_it_is_asked(other: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words), open_session(settings_for("http://127.0.0.1:9/v1", **other)):
        pass


def test_without_httpx_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(UsageError, match=r"pip install 'edgexp\[server\]'"), open_session(settings_for("http://127.0.0.1:9/v1")):
        pass


def test_a_key_without_cover_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEXP_API_KEY", "sk-0123456789")
    monkeypatch.setattr("edgexp.play.remote._meet", lambda client, *_: ChatModel(client, 8192))
    for url, count in (("http://example.org/v1", 1), ("https://example.org/v1", 0), ("http://127.0.0.1/v1", 0), ("http://[::1]/v1", 0)):
        told = list[str]()
        open_chat_model(f"{url}#m", Terms(), say=told.append)
        assert len(told) == count and "sk-" not in str(told)


# What fails on the way


FAILURES = {
    "refuses": Reply(503, b"out of memory"), "hangs up": Reply(0), "talks nonsense": Reply(200, b"{"),
    "cut off": Reply(200, b"{", length=9),
}  # fmt: skip


@pytest.mark.parametrize("what", FAILURES)
@pytest.mark.parametrize("places", [1, 2])
def test_a_failing_server_ends_its_episode_and_no_other(what: str, places: int) -> None:
    def answer(question: Mapping[str, Any]) -> Any:
        turns = question["messages"]
        return FAILURES[what] if "counting/train/1" in turns[1]["content"] and len(turns) > 3 else say("add one")

    with serving(answer, whole=True) as server:
        played, _ = play_some(settings_for(server.url, actions="free", parallel=places, environment="test_remote:Numbered"), 3)
    first, failed, last = (one.trajectory for one in played)
    assert (first.end, last.end) == ("done", "done") and len(failed.steps) == 1
    assert failed.end.startswith(f"error: {server.url}: the ") and failed.end.isprintable() and failed.broke_off


def test_with_whole_episodes_there_is_no_record_of_half_a_one() -> None:
    failing = serving(lambda q: Reply(400, b"no") if len(q["messages"]) > 3 else say("add one"), whole=True)
    with failing as server, open_session(settings_for(server.url, actions="free")) as session:
        session._whole = True
        [finished] = session.play(Counting().tasks("train")[:1])
    assert finished.played is None and str(finished.error) == f"counting/train/0: {server.url}: the server answered 400 Bad Request: no"


def test_no_secret_is_in_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEXP_API_KEY", "sk-0123456789")
    with serving(lambda _: tell("add sk-0123456789", model="m sk-0123456789")) as server:
        url = server.url.replace("//", "//me:hunter2@")
        played, told = play_some(settings_for(url, actions="free"))
    assert server.headers[-1]["authorization"] == "Bearer sk-0123456789"
    kept = msgspec.json.encode([played, told]).decode()
    assert "hunter2" not in kept and "sk-01" not in kept and played[0].trajectory.steps[0].action == "add [key]"


# On the command line


def command(url: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "edgexp", "run", "household", "--model", f"{url}#toy", "--memory", "off", "--json", *more]


@pytest.mark.slow
def test_the_command_line_plays_it(tmp_path: Path) -> None:
    surroundings = {**os.environ, "MY_KEY": "sk-0123456789"}
    with serving(lambda q: tell(choose(q, ("grammar",))), whole=True) as server:
        asked = command(server.url, "-n", "2", "--steps", "2", "--parallel", "2", "--api-key-env", "MY_KEY")
        done = subprocess.run(asked, env=surroundings, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    *episodes, _ = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
    assert [one["trajectory"]["provenance"]["server"] for one in episodes] == [server.url] * 2
    assert "by grammar" in done.stderr and "sk-01" not in done.stderr + done.stdout
    assert server.headers[-1]["authorization"] == "Bearer sk-0123456789"


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_an_answer() -> None:
    def answer(question: Mapping[str, Any]) -> Any:
        if len(question["messages"][0]["content"]) > 100:
            server.stop.wait(100)
        return say("look")

    with serving(answer, whole=True) as server:
        process = subprocess.Popen(command(server.url, "--actions", "free"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while len(server.asked) < 2:
            time.sleep(0.05)
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in said and "Traceback" not in said


def test_whatever_holds_up_the_client_does_not_hold_up_the_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    """A header that comes in drops, for example: the client waits for each piece, and whoever drives the episode for the whole."""
    monkeypatch.setattr(ChatModel, "patience", 0.5)

    def answer(question: Mapping[str, Any]) -> Any:
        if len(question["messages"][0]["content"]) > 40:
            server.stop.wait(20)
        return say("yes")

    with serving(answer, whole=True) as server:
        [played], _ = play_some(settings_for(server.url, actions="free"))
    assert played.trajectory.end == f"error: {server.url}: no answer within 0.5 seconds"
