"""A policy of one file that asks another process: with memory and without, and whatever its server does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import server_policy
from bank_samples import WordEncoder
from chat_server import Answer, Serving, say, serving
from toys import Counting

from edgexp.bank import Bank
from edgexp.environments.registry import make
from edgexp.errors import UsageError
from edgexp.play.acting import Acting
from edgexp.play.episode import Recalled, play
from edgexp.play.fleet import Environments
from edgexp.play.rollout import run, run_many
from edgexp.play.scripted import Scripted
from edgexp.play.session import OpenSession, Settings
from edgexp.prompt.messages import chat, whole
from edgexp.retrieval import Retrieval, Retriever, VectorRetriever
from edgexp.trajectory import Played

FILE = Path(server_policy.__file__)


def test_all_it_takes_is_a_short_file_and_the_standard_library() -> None:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    imported = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert imported - {"edgexp"} <= set(sys.stdlib_module_names)


def copy(turns: list[dict[str, str]]) -> tuple[int, bytes]:
    """Says what the past episode that stands last did last, and waits where there is none."""
    _, found, after = turns[0]["content"].rpartition("\n>")
    return say(after.partition("\n")[0] if found else "wait", prompt_tokens=len(turns[0]["content"]), completion_tokens=3)


def play_all(server: Serving, monkeypatch: pytest.MonkeyPatch, count: int = 1, *, places: int = 1,
             limits: dict[int, float] | None = None, retriever: Retriever | None = None) -> dict[int, Played]:
    """Episodes of the counting environment, task after task, by number. `limits`: seconds to wait in some of them."""
    monkeypatch.setenv("CHAT_SERVER", server.url)

    def start(number: int):  # type: ignore[no-untyped-def]
        def begin(_: int):  # type: ignore[no-untyped-def]
            monkeypatch.setenv("CHAT_SECONDS", str((limits or {}).get(number, 60)))
            return play(world, world.tasks("train")[number], server_policy.make(world, retriever, Acting()), max_steps=4)

        world = Counting(goal=f"count to {{}} as number {number}.")
        return begin

    finished = {one.number: one for one in run_many([start(number) for number in range(count)], places)}
    assert not any(one.error for one in finished.values())
    return {number: one.played for number, one in finished.items() if one.played}


def test_the_server_is_asked_for_each_action_with_the_whole_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda turns: say("  add one \nand then I win", prompt_tokens=len(turns), completion_tokens=5)) as server:
        played = play_all(server, monkeypatch)[0]
    t = played.trajectory
    assert [step.action for step in t.steps] == ["add one"] * 3 and t.success and t.end == "done"
    assert [question["path"] for question in server.asked] == ["/v1/chat/completions"] * 3
    told = chat(whole(Counting().instructions(), t))
    assert [question["messages"] for question in server.asked] == [told[:2], told[:4], told[:6]]
    assert (played.tokens.prompt, played.tokens.generated, played.tokens.evaluated) == (2, 15, 0)
    assert t.provenance.source == "agent" and t.provenance.model == "default"
    assert [decision.generated for decision in played.decisions] == [5, 5, 5]


def test_memory_is_what_its_retriever_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that copies the past wins with it, and waits without."""
    world = Counting()
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank, serving(copy) as server:
        bank.add([run(play(world, world.tasks("test")[1], Scripted(["add one"] * 3))).trajectory])
        retriever = VectorRetriever(bank, Retrieval(k=1, memory="dynamic", every=2))
        alone, reminded = (play_all(server, monkeypatch, retriever=given)[0] for given in (None, retriever))
    assert [step.action for step in alone.trajectory.steps] == ["wait"] * 4 and alone.recalls == ()
    assert [step.action for step in reminded.trajectory.steps] == ["add one"] * 3
    assert [(recall.step, len(recall.used)) for recall in reminded.recalls] == [(0, 1), (2, 1)]
    assert len(reminded.memories) == 1 and reminded.seconds.retrieval > 0
    assert reminded.tokens.prompt > alone.tokens.prompt


def test_memory_without_room_is_left_out_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_policy, "ROOM", 10)
    world, events = Counting(), []
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank, serving(copy) as server:
        bank.add([run(play(world, world.tasks("test")[1], Scripted(["add one"] * 3))).trajectory])
        monkeypatch.setenv("CHAT_SERVER", server.url)
        policy = server_policy.make(world, VectorRetriever(bank), Acting())
        run(play(world, world.tasks("train")[0], policy, max_steps=1, watch=events.append))
    [memory] = [event.memory for event in events if isinstance(event, Recalled)]
    assert memory.recalled == () and [dropped.reason for dropped in memory.dropped] == ["budget"]
    assert "Past episodes" not in server.asked[0]["messages"][0]["content"]


def only_second(bad: Answer) -> Answer:
    """Wins by counting, but for the second episode, in which `bad` answers."""
    return lambda turns: bad(turns) if "as number 1" in turns[1]["content"] else say("add one")


FAILURES = {
    "refuses": (lambda _: (500, b"out of memory\nat line 7"), "the server answered 500 Internal Server Error: out of memory at line 7"),
    "is told off": (lambda _: (404, b""), "the server answered 404 Not Found:"),
    "talks nonsense": (lambda _: (200, b"<html>\nhello"), "the server's answer is no chat completion: '<html>\\nhello'"),
    "talks JSON": (lambda _: (200, b'{"choices": []}'), "the server's answer is no chat completion: '{\"choices\": []}'"),
    "talks a list": (lambda _: (200, b"[]"), "the server's answer is no chat completion: '[]'"),
    "hangs up": (lambda _: (0, b""), "RemoteDisconnected: Remote end closed connection without response"),
}  # fmt: skip


@pytest.mark.parametrize("what", FAILURES)
@pytest.mark.parametrize("places", [1, 2])
def test_an_answer_that_is_none_ends_its_own_episode_with_one_line(what: str, places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, words = FAILURES[what]
    with serving(only_second(answer)) as server:
        played = play_all(server, monkeypatch, 3, places=places)
    assert [played[number].trajectory.end for number in (0, 2)] == ["done", "done"]
    assert played[1].trajectory.end == f"error: {server.url}: {words}" and not played[1].trajectory.steps


def test_a_server_that_says_nothing_has_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for nothing in (None, "", " \n "):
        with serving(lambda _, text=nothing: say(text)) as server:  # type: ignore[misc]
            assert play_all(server, monkeypatch)[0].trajectory.end == "gave_up"


@pytest.mark.parametrize("places", [1, 2])
def test_an_answer_that_does_not_come_ends_its_own_episode(places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(_: object) -> tuple[int, bytes]:
        server.stop.wait(60)
        return say("too late")

    with serving(only_second(late)) as server:
        played = play_all(server, monkeypatch, 3, limits={1: 0.3}, places=places)
    assert played[1].trajectory.end == f"error: {server.url}: no answer within 0.3 seconds"
    assert [played[number].trajectory.end for number in (0, 2)] == ["done", "done"]


def test_a_server_that_is_not_there_ends_every_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(copy) as server:
        pass
    ends = [played.trajectory.end for played in play_all(server, monkeypatch, 3, places=2).values()]
    assert len(ends) == 3 and set(ends) == {ends[0]}
    assert ends[0].startswith(f"error: {server.url}: ConnectionRefusedError: ")


def test_an_address_that_is_none_is_told_before_anything_is_played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_SERVER", "localhost:8080")
    with pytest.raises(UsageError, match="CHAT_SERVER=localhost:8080: it has to begin with http"), Environments() as environments:
        session = OpenSession(environments, 1, policy=server_policy.make)
        session.settings, session.retriever = Settings(environment="toys:Counting"), None
        list(session.play(Counting().tasks("train")))


COMMAND = ("run", "household", "--policy", "server_policy:make", "--memory", "off", "-n", "3", "--steps", "2", "--json")


def call(url: str, *more: str) -> "subprocess.CompletedProcess[str]":
    """The command line in another process, in the folder of the policy."""
    surroundings = {**os.environ, "CHAT_SERVER": url, "CHAT_SECONDS": "20"}
    command = [sys.executable, "-P", "-m", "edgexp", *COMMAND, *more]  # -P: as the installed command, which does not look in this folder
    return subprocess.run(command, cwd=FILE.parent, env=surroundings, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_the_command_line_plays_it() -> None:
    import msgspec

    with serving(lambda _: say("look")) as server:
        done = call(server.url, "--parallel", "2", "--seed", "3")
    assert done.returncode == 0, done.stderr
    *episodes, summary = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
    assert len(episodes) == 3 and "summary" in summary
    assert [[step["action"] for step in one["trajectory"]["steps"]] for one in episodes] == [["look", "look"]] * 3
    assert {question["seed"] for question in server.asked} == {3} and len(server.asked) == 6
    household = make("household")
    assert {question["messages"][0]["content"] for question in server.asked} == {household.instructions()}


@pytest.mark.slow
def test_on_the_command_line_a_server_that_refuses_ends_each_episode_with_one_line() -> None:
    with serving(lambda _: (503, b"loading")) as server:
        done = call(server.url)
    assert "Traceback" not in done.stderr and done.stdout.count("the server answered 503 Service Unavailable: loading") == 3, done.stderr
