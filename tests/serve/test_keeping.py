"""Sessions in the log and in the bank: what is recalled, what is accepted, what survives a stop, and what nobody finds any more."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from bank_samples import trajectory
from serve_toys import ScriptedModel, assistant, serving

from edgexp.bank import Filters
from edgexp.serve.journal import FILE, Journal
from edgexp.serve.service import Limits

WORDS = ["the red kettle sings", "a blue whale dives", "my green bicycle rattles", "the yellow lamp flickers"]


def entries(server: Any, **filters: Any) -> list[Any]:
    """What the bank has."""
    return server.service.keeper.at_once(lambda bank: bank.entries(Filters(**filters)))


def session_of(told: Any) -> str:
    return told.json()["edgexp"]["session"]


def won(server: Any, session: str, success: bool = True) -> str:
    """Say how a session ended; its trajectory."""
    return server.http.post(f"/v1/sessions/{session}/outcome", json={"success": success}).json()["trajectory"]


def test_what_ended_well_is_recalled_for_the_next_first_message(server):
    past = {text: won(server, session_of(server.chat(text))) for text in WORDS}
    told = server.chat("the red kettle sings again").json()["edgexp"]
    assert told["recalled"][0]["id"] == past[WORDS[0]] and len(told["recalled"]) == 2
    assert all(one["tokens"] == 20 and one["success"] for one in told["recalled"])
    question = server.service.model.questions[-1]
    assert question.memory[0].goal == WORDS[0] and question.memory[0].steps[0].action == f"1: {WORDS[0]}"


def test_memory_is_recalled_once(server):
    won(server, session_of(server.chat(WORDS[0])))
    first = server.chat("the red kettle").json()["edgexp"]["recalled"]
    won(server, session_of(server.chat("the red kettle is mine", edgexp={"memory": False})))
    then = server.chat("the red kettle", assistant("1: the red kettle"), "the red kettle is mine").json()["edgexp"]["recalled"]
    assert [one["id"] for one in first] == [one["id"] for one in then] and first
    again = server.chat("the red kettle", assistant("1: the red kettle"), "rewritten").json()["edgexp"]["recalled"]
    assert [one["id"] for one in again] == [one["id"] for one in first], "a branch remembers what its beginning did"


@pytest.mark.parametrize("off", [{"headers": {"X-Edgexp-Memory": "off"}}, {"edgexp": {"memory": False}}])
def test_memory_can_be_switched_off(server, off):
    won(server, session_of(server.chat(WORDS[0])))
    told = server.chat(WORDS[0], **off).json()["edgexp"]
    assert told["recalled"] == [] and server.service.model.questions[-1].memory == ()
    told = server.chat(WORDS[0], assistant(f"1: {WORDS[0]}"), "go on").json()["edgexp"]
    assert told["recalled"] == []


def test_what_has_no_outcome_is_never_recalled(make_service):
    with serving(make_service(limits=Limits(idle_seconds=0)), sweep_seconds=0.05) as server:
        session_of(server.chat(WORDS[0]))
        while not entries(server):
            pass
        [kept] = entries(server)
        assert kept.status == "quarantined" and not kept.success
        assert server.chat(WORDS[0]).json()["edgexp"]["recalled"] == []


def test_an_outcome_replaces_what_waited_in_quarantine(make_service):
    with serving(make_service(limits=Limits(idle_seconds=0)), sweep_seconds=0.05) as server:
        session = session_of(server.chat(WORDS[0]))
        while not server.service.sessions.get(session).banked:
            pass
        won(server, session)
        [kept] = entries(server)
        assert kept.status == "accepted" and kept.success
        won(server, session, False)
        [kept] = entries(server)
        assert kept.status == "accepted" and not kept.success


def test_a_session_is_a_trajectory(server):
    server.chat({"role": "system", "content": "S"}, "You are in a room.\n\nYour task is to: find the key")
    first = assistant("2: You are in a room.\n\nYour task is to: find the key")
    told = server.chat({"role": "system", "content": "S"}, "You are in a room.\n\nYour task is to: find the key", first,
                       {"role": "tool", "tool_call_id": "x", "content": "nothing"})  # fmt: skip
    won(server, session_of(told))
    [kept] = entries(server)
    t = server.service.keeper.at_once(lambda bank: bank.get(kept.id))
    assert (t.goal, t.observation, t.end) == ("find the key", "You are in a room.", "done")
    assert (t.task.environment, t.task.split, t.task.id) == ("chat", "served", f"chat/served/{session_of(told)}")
    assert [step.observation for step in t.steps] == ["<tool_response>\nnothing\n</tool_response>", ""]
    assert t.steps[0].action == first["content"] and t.provenance.model == "scripted" and t.provenance.source == "agent"


def test_what_was_remembered_is_logged_with_the_outcome(server):
    past = won(server, session_of(server.chat(WORDS[0])))
    won(server, session_of(server.chat(WORDS[0] + " now")))
    log = server.service.keeper.at_once(lambda bank: [bank.why(one.id) for one in bank.episodes()])
    assert [one.success for one in log] == [True, True]
    assert [hit.id for recall in log[0].recalls for hit in recall.hits if not hit.dropped] == [past]
    useful = server.service.keeper.at_once(lambda bank: bank.usefulness([past]))[past]
    assert (useful.uses, useful.wins) == (1, 1)


def test_memory_that_does_not_fit_its_budget_is_left_out(make_service):
    with serving(make_service(limits=Limits(memory_tokens=25), k=2)) as server:
        for text in WORDS[:2]:
            won(server, session_of(server.chat(text)))
        told = server.chat("anything").json()["edgexp"]
        assert len(told["recalled"]) == 1 and told["left_out"][0]["reason"] == "budget" and told["left_out"][0]["tokens"] == 20


def test_a_conversation_that_outgrows_the_context_loses_its_memory_and_goes_on(make_service):
    said = []
    with serving(make_service(tell=said.append)) as server:
        won(server, session_of(server.chat(WORDS[0])))
        first = server.chat("short").json()
        assert first["edgexp"]["recalled"]
        told = server.chat("short", assistant("1: short"), "word " * 4080).json()
        assert told["edgexp"]["recalled"] == [] and told["edgexp"]["session"] == first["edgexp"]["session"]
        assert any("left out from now on" in line for line in said)


# The log


def lines(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "served" / FILE).read_text().splitlines()]


def test_a_finished_turn_is_in_the_log_before_the_client_knows(make_service, tmp_path):
    with serving(make_service()) as server:
        server.chat(WORDS[0])
        assert [line["said"][-1]["text"] for line in lines(tmp_path / "bank")] == [f"1: {WORDS[0]}"]
        seen = []
        body = {"messages": [{"role": "user", "content": "x"}], "stream": True}
        with server.http.stream("POST", "/v1/chat/completions", json=body) as told:
            for event in told.iter_lines():
                if '"finish_reason":"stop"' in event:
                    seen = lines(tmp_path / "bank")
        assert seen[-1]["said"][-1]["text"] == "1: x"


def test_sessions_go_on_after_a_stop(make_service):
    with serving(make_service()) as server:
        won(server, session_of(server.chat(WORDS[0])))
        told = server.chat(WORDS[1], headers={"X-Edgexp-Session": "mine"}).json()["edgexp"]
    with serving(make_service()) as server:
        then = server.chat(WORDS[1], assistant(f"1: {WORDS[1]}"), "and now?").json()["edgexp"]
        assert then["session"] == told["session"] == server.service.sessions.get("mine").id
        assert [one["id"] for one in then["recalled"]] == [one["id"] for one in told["recalled"]] != []
        [question] = server.service.model.questions
        assert [t.goal for t in question.memory] == [WORDS[0]]
    with serving(make_service()) as server:
        assert [said.text for said in server.service.sessions.get("mine").said] == [
            WORDS[1], f"1: {WORDS[1]}", "and now?", "3: and now?",
        ]  # fmt: skip


def test_a_history_that_was_rewritten_is_so_after_a_stop_too(make_service):
    name = {"headers": {"X-Edgexp-Session": "mine"}}
    with serving(make_service()) as server:
        server.chat("a", **name)
        server.chat("a", assistant("1: a"), "b", **name)
        server.chat("a", assistant("1: a"), "B", **name)
        kept = [said.text for said in server.service.sessions.get("mine").said]
        assert kept == ["a", "1: a", "B", "3: B"]
    with serving(make_service()) as server:
        assert [said.text for said in server.service.sessions.get("mine").said] == kept
        server.chat("other", **name)
        log = Journal(server.service.journal.folder).read()
        assert [said.text for said in log[0].said] == ["other", "1: other"]


def test_outcomes_that_come_all_at_once_leave_one_trajectory(make_service):
    with serving(make_service(limits=Limits(idle_seconds=0)), sweep_seconds=0.01) as server:
        for number in range(4):
            session = session_of(server.chat(f"task {number}"))
            threads = [threading.Thread(target=won, args=(server, session, number % 2 == 0)) for number in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        won(server, session)
        found = entries(server)
        assert len(found) == 4 and {one.status for one in found} == {"accepted"}


def test_a_stop_puts_every_session_into_the_bank(make_service):
    with serving(make_service()) as server:
        for text in WORDS:
            server.chat(text)
    with serving(make_service()) as server:
        assert [(kept.status, kept.success) for kept in entries(server)] == [("quarantined", False)] * 4
        assert len(server.service.sessions) == 4


def test_only_so_many_sessions_are_kept_and_none_is_lost(make_service):
    with serving(make_service(limits=Limits(sessions=2)), sweep_seconds=0.05) as server:
        for text in WORDS:
            server.chat(text)
        assert len(server.service.sessions) == 2
        while len(entries(server)) < 2:
            pass
    with serving(make_service(limits=Limits(sessions=2))) as server:
        assert len(entries(server)) == 4 and len(server.service.sessions) == 2


def test_when_all_sessions_are_busy_another_has_to_wait(make_service):
    model = ScriptedModel()
    model.gate = threading.Event()
    with serving(make_service(model, limits=Limits(sessions=1))) as server:
        asked = threading.Thread(target=server.chat, args=("a",))
        asked.start()
        while not model.questions:
            pass
        assert server.chat("b").status_code == 429
        model.gate.set()
        asked.join()
        assert server.chat("b").status_code == 200


def test_what_is_damaged_in_the_log_is_passed_over(make_service, tmp_path):
    with serving(make_service()) as server:
        for text in WORDS[:2]:
            server.chat(text)
    path = tmp_path / "bank" / "served" / FILE
    data = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(data[0][:50] + b"\n" + b'{"session": "s1", "kind": "outcome"}\n\xff\xfe\n[]\n' + b"".join(data[1:]) + data[1][:30])
    with serving(make_service()) as server:
        assert len(server.service.sessions) == 1
        server.chat("after")
    assert len(Journal(tmp_path / "bank" / "served").read()) == 2


def test_what_is_forgotten_is_nowhere(make_service, tmp_path):
    with serving(make_service()) as server:
        session = session_of(server.chat("unspeakable words"))
        won(server, session)
        server.chat(WORDS[0])
        assert server.http.post(f"/api/sessions/{session}/forget", headers={"X-Edgexp-Page": "1"}).status_code == 200
        assert server.http.get(f"/api/sessions/{session}").status_code == 404
        assert all(kept.task_id != f"chat/served/{session}" for kept in entries(server))
        assert "unspeakable" not in (tmp_path / "bank" / "served" / FILE).read_text()
    with serving(make_service()) as server:
        assert len(server.service.sessions) == 1


def test_secrets_are_not_kept_and_the_model_is_asked_with_them(make_service, tmp_path):
    secret = "sk-proj-abcdefgh1jklmn0pqrstuvwx"
    with serving(make_service(ScriptedModel(lambda question: f"you said {question.messages[-1].text}"))) as server:
        told = server.chat(f"my key is {secret}")
        assert secret in told.json()["choices"][0]["message"]["content"]
        then = server.chat(f"my key is {secret}", assistant(f"you said my key is {secret}"), "thanks")
        assert session_of(then) == session_of(told), "it is recognised all the same"
        won(server, session_of(told))
        assert secret not in json.dumps(server.http.get(f"/api/sessions/{session_of(told)}").json())
    for path in (tmp_path / "bank").rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    with serving(make_service()) as server:
        [kept] = entries(server)
        t = server.service.keeper.at_once(lambda bank: bank.get(kept.id))
        assert t.goal == "my key is [redacted: API key]" and t.steps[0].action == "you said my key is [redacted: API key]"


def test_episodes_of_another_name_are_not_recalled(make_service):
    with serving(make_service()) as server:
        server.service.keeper.at_once(lambda bank: bank.add([trajectory(1, "household", True)]))
        assert server.chat("put a book on the shelf").json()["edgexp"]["recalled"] == []


def test_without_a_log_nothing_is_kept_and_what_is_there_is_recalled(make_service):
    with serving(make_service()) as server:
        past = won(server, session_of(server.chat(WORDS[0])))
    service = make_service(limits=Limits(idle_seconds=0))
    service.journal = None
    with serving(service, sweep_seconds=0.01) as server:
        told = server.chat("the red kettle").json()["edgexp"]
        assert [one["id"] for one in told["recalled"]] == [past]
        assert won(server, told["session"]) == "" and len(entries(server)) == 1


def test_without_a_bank_everything_else_works(make_service):
    with serving(make_service(bank=False)) as server:
        session = session_of(server.chat("a"))
        assert won(server, session) == "" and server.http.get("/api/search?q=a").json() == {"found": []}
