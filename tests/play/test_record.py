"""The one record of a played episode, and what is kept of it: views of the record, and nothing that the record does not say."""

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from bank_samples import WordEncoder
from hypothesis import given
from hypothesis import strategies as st
from mock_engine import MockEngine, make_policy
from toys import Counting, make_trajectory

from edgexp.bank import Bank
from edgexp.play.episode import Acted, Began, Ended, Event, Recalled, play, recall_of
from edgexp.play.record import ALTERNATIVES, Recorder, json_line, log_entry
from edgexp.play.rollout import run
from edgexp.play.scripted import Scripted
from edgexp.retrieval import Dropped, Memory
from edgexp.retrieval import Recalled as Found
from edgexp.trajectory import Decision, Played, Recall, Remembered, Seconds, Step, Task, Tokens

OLD = [make_trajectory((f"act {number}",), goal=f"goal {number}.", success=number % 2 == 0) for number in range(4)]


class Changing:
    """A retriever of somebody's own: at each of its times it remembers the next few of `OLD`, and passes one over."""

    def __init__(self, times: Sequence[int]) -> None:
        self.times, self.asked = times, list[tuple[int, str, str]]()

    def due(self, step: int) -> bool:
        return step in self.times

    def recall(self, task: Task, goal: str, observation: str, steps: Sequence[Step] = ()) -> Memory:
        self.asked.append((len(steps), goal, observation))
        first, second, passed = (OLD[(len(self.asked) + place) % 4] for place in range(3))
        found = (Found(first, 0.9), Found(second, 0.8))
        return Memory(f"query {len(self.asked)}", found, (Dropped(passed, 0.85, "diversity"),), 0.001)


def play_one(retriever: Any = None, **options: Any) -> tuple[Played, list[Event]]:
    """An episode by chance, and what was told of it."""
    events: list[Event] = []
    world = Counting()
    return run(play(world, world.tasks("train")[0], make_policy(world, retriever, **options), watch=events.append), MockEngine()), events


@pytest.mark.parametrize("actions", ["admissible", "scored", "free"])
def test_a_record_holds_one_decision_a_step_and_what_it_cost(actions: str) -> None:
    played, events = play_one(Changing([0, 2]), actions=actions, action_tokens=8)
    told = [event for event in events if isinstance(event, Acted)]
    assert len(played.decisions) == len(played.trajectory.steps) == len(told) > 2
    for number, (step, decision, event) in enumerate(zip(played.trajectory.steps, played.decisions, told, strict=True), 1):
        assert step.action == decision.text and step.mistake == decision.mistake
        assert event.number == number and event.decision is decision and event.outcome.observation == step.observation
        assert decision.seconds > 0
    seconds, tokens = played.seconds, played.tokens
    assert sum(decision.seconds for decision in played.decisions) == pytest.approx(seconds.deciding)
    assert tokens.generated == sum(decision.generated for decision in played.decisions)
    assert tokens.prompt > 0 and tokens.evaluated >= tokens.prompt and tokens.reused > 0
    assert 0 < seconds.retrieval < seconds.wall and 0 < seconds.environment < seconds.wall and seconds.deciding < seconds.wall
    assert played.decisions[0].seconds < seconds.first_action <= played.decisions[0].seconds + seconds.retrieval


def test_a_record_holds_each_recall_with_what_was_used_and_what_was_left_out() -> None:
    retriever = Changing([0, 2, 3])
    played, events = play_one(retriever)
    assert [step for step, *_ in retriever.asked] == [recall.step for recall in played.recalls] == [0, 2, 3]
    assert {asked[1:] for asked in retriever.asked} == {("count to 3.", "The count is 0.")}
    first = played.recalls[0]
    assert first.query == "query 1" and first.seconds == 0.001
    assert first.used == tuple(Remembered(t.id, score, "toy/train/1", "fetch", t.success) for t, score in ((OLD[1], 0.9), (OLD[2], 0.8)))
    assert first.dropped == (Remembered(OLD[3].id, 0.85, "toy/train/1", "fetch", OLD[3].success, "diversity", 0),)
    told = [recall_of(event.step, event.memory) for event in events if isinstance(event, Recalled)]
    assert tuple(told) == played.recalls
    assert sorted(t.id for t in played.memories) == sorted(t.id for t in OLD), "each once, used or not"


def test_memory_that_finds_no_room_is_dropped_with_its_cost() -> None:
    bare = play_one()[0].tokens.prompt
    played, _ = play_one(Changing([0]), context=bare + 200, reserve=150)
    [recall] = played.recalls
    assert len(recall.used) + len(recall.dropped) == 3 and not recall.used
    assert sorted((one.reason, one.tokens > 0) for one in recall.dropped) == [("budget", True), ("budget", True), ("diversity", False)]
    assert played.tokens.prompt == bare and len(played.memories) == 3


def test_events_come_in_order_and_nothing_is_told_after_the_end() -> None:
    played, events = play_one(Changing([0, 1]))
    kinds = [type(event) for event in events]
    assert kinds[:4] == [Began, Recalled, Acted, Recalled] and set(kinds[4:-1]) == {Acted} and kinds[-1] is Ended
    assert isinstance(events[0], Began) and events[0].task.id == "counting/train/0" and events[0].start.goal == "count to 3."
    assert isinstance(events[-1], Ended) and events[-1].played is played


def test_an_episode_that_ends_at_once_has_a_record_too() -> None:
    played = run(play(Counting(), Counting().tasks("train")[0], Scripted([])))
    assert (played.trajectory.end, played.decisions, played.recalls, played.memories) == ("gave_up", (), (), ())
    assert played.tokens == Tokens() and played.seconds.deciding == played.seconds.first_action == 0 < played.seconds.wall


def test_a_record_reads_back_from_json() -> None:
    for played, _ in (play_one(Changing([0, 2])), play_one()):
        assert msgspec.json.decode(msgspec.json.encode(played), type=Played) == played


found = st.builds(Remembered, st.text("abc", min_size=1), st.floats(-1, 1), st.text(), st.text(), st.booleans(),
                  st.sampled_from(["budget", "diversity"]), st.integers(0, 999))
recalls = st.builds(Recall, st.integers(0, 50), st.text(), st.floats(0, 9), st.lists(found).map(tuple), st.lists(found).map(tuple))
records = st.builds(
    Played, st.sampled_from(OLD), st.lists(recalls, max_size=3).map(tuple),
    st.lists(st.builds(Decision, st.text(), probability=st.none() | st.floats(0, 1), seconds=st.floats(0, 9),
                       alternatives=st.lists(st.tuples(st.text(), st.floats(0, 1)), max_size=9).map(tuple)), max_size=4).map(tuple),
    st.builds(Tokens, *[st.integers(0, 10**6)] * 4), st.builds(Seconds, *[st.floats(0, 99)] * 5),
)  # fmt: skip


@given(records)
def test_the_log_keeps_all_that_was_found_the_best_first(played: Played) -> None:
    entry, t = log_entry(played, "run 1"), played.trajectory
    assert (entry.run, entry.environment, entry.task_id, entry.trajectory) == ("run 1", "toy", "toy/train/1", t.id)
    assert (entry.success, entry.score, entry.model, entry.created) == (t.success, t.score, t.provenance.model, t.provenance.created)
    assert len(entry.recalls) == len(played.recalls)
    for kept, recall in zip(entry.recalls, played.recalls, strict=True):
        assert (kept.step, kept.query, kept.seconds) == (recall.step, recall.query, recall.seconds)
        scores = [hit.score for hit in kept.hits]
        assert scores == sorted(scores, reverse=True)
        hits = [(hit.id, hit.score, hit.dropped, hit.tokens) for hit in kept.hits]
        every = [(one.id, one.score, one.reason, one.tokens) for one in (*recall.used, *recall.dropped)]
        assert sorted(hits) == sorted(every)


@given(records)
def test_a_line_of_json_says_what_the_record_says(played: Played) -> None:
    line = json.loads(msgspec.json.encode(json_line(played, "run 1", "e7")))
    assert list(line) == ["id", "episode", "run", "trajectory", "recalls", "actions", "stats"]
    assert (line["id"], line["episode"], line["run"]) == (played.trajectory.id, "e7", "run 1")
    assert line["trajectory"] == json.loads(msgspec.json.encode(played.trajectory))
    assert line["recalls"] == json.loads(msgspec.json.encode(log_entry(played, "").recalls))
    assert [action["probability"] for action in line["actions"]] == [decision.probability for decision in played.decisions]
    for action, decision in zip(line["actions"], played.decisions, strict=True):
        assert [tuple(other) for other in action["alternatives"]] == list(decision.alternatives[:ALTERNATIVES])
    stats = line["stats"]
    assert [stats[field.name] for field in msgspec.structs.fields(played.tokens)] == list(msgspec.structs.astuple(played.tokens))
    names = ("first_action", "deciding", "retrieval", "environment", "wall")
    assert [stats[f"{name}_seconds"] for name in names] == list(msgspec.structs.astuple(played.seconds)) and len(stats) == 11


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    with Bank.open(tmp_path / "bank", WordEncoder()) as opened:
        yield opened


def count(*actions: str) -> Played:
    return run(play(Counting(), Counting().tasks("train")[0], Scripted(actions, "agent")))


@pytest.mark.parametrize("learn", [False, True])
def test_with_learning_the_bank_keeps_what_succeeded(bank: Bank, learn: bool) -> None:
    recorder = Recorder(bank, "run 1", learn=learn)
    won, lost = count(*["add one"] * 3), count("wait")
    names = []
    for played in (lost, won, lost, won):
        recorder.keep(played)
        names.append(recorder.last_id)
    assert [entry.id for entry in bank.entries()] == ([won.trajectory.id] if learn else [])
    assert len(set(names)) == 4 and all(names), "each episode has an entry of its own in the log"
    assert bank.why(names[0]).trajectory == lost.trajectory.id and bank.why(names[1]).run == "run 1"


def test_a_file_gets_a_line_an_episode_at_once_and_without_a_bank_there_is_no_log(bank: Bank) -> None:
    file = io.BytesIO()
    played = [count("wait"), count("add one", "add one", "add one")]
    alone = Recorder(None, "run 2", learn=True, file=file)
    lines = [alone.keep(one) for one in played]
    assert file.getvalue() == b"".join(lines) and all(line.endswith(b"}\n") and line.count(b"\n") == 1 for line in lines)
    assert alone.last_id == "" and json.loads(lines[0])["episode"] == ""
    kept = Recorder(bank, "run 2").keep(played[0])
    assert json.loads(kept)["episode"].startswith("e")
