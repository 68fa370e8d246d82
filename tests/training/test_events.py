"""Events of a training: whatever they hold, they are one line that reads back, and the log survives crashes."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.training import events

whole = st.integers(0, 10**9)
number = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(max_size=60)
scores = st.builds(events.Scores, number, number, number)
any_event = st.one_of(
    st.builds(events.Notice, text),
    st.builds(events.Started, whole, whole, whole, whole, text, text, text, whole, number),
    st.builds(events.Stepped, whole, number, number, number, number, number, whole, number),
    st.builds(events.Evaluated, whole, st.dictionaries(text, scores, max_size=3), number),
    st.builds(events.Saved, whole, text),
    st.builds(events.Finished, whole, st.booleans()),
    st.builds(events.Failed, text),
)


def step(number: int) -> events.Stepped:
    return events.Stepped(number, 0.1, 1.0, 0.5, 1e-3, 1.0, 100, 0.1)


def test_every_kind_of_event_is_tried_here() -> None:
    tried = {kind.__name__ for kind in (events.Notice, events.Started, events.Stepped, events.Evaluated, events.Saved, events.Finished,
                                        events.Failed)}
    assert tried == {kind.__name__ for kind in events.Event.__args__}
    assert len({kind.__struct_config__.tag for kind in events.Event.__args__}) == len(tried)


@given(any_event)
def test_an_event_is_one_line_and_reads_back(event: events.Event) -> None:
    line = events.encode(event)
    assert line.endswith(b"\n") and line.count(b"\n") == 1 and b"\r" not in line
    assert events.decode(line) == event


@pytest.mark.parametrize("line", [b"", b"\n", b"{", b"[]", b"3", b'{"type":"dance"}', b'{"step":1}', b'{"type":"step","step":"one"}',
                                  b"Loading weights: 100%", b"\xff\xfe"])  # fmt: skip
def test_what_a_library_prints_is_no_event(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        events.decode(line)


def test_a_newer_training_may_say_more() -> None:
    """A field that this version does not know is passed over: a report of an old edgexp reads a newer log."""
    assert events.decode(b'{"type":"saved","step":3,"path":"x","later":true}') == events.Saved(3, "x")


@given(st.lists(any_event, max_size=8))
def test_what_is_appended_is_read_by_kind_in_order(tmp_path_factory: pytest.TempPathFactory, told: list[events.Event]) -> None:
    path = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    for event in told:
        events.append(path, event)
    for kind in events.Event.__args__:
        tag = kind.__struct_config__.tag
        found = events.read(path, tag)
        assert all(line.pop("time") > 0 for line in found)
        assert found == [json.loads(events.encode(event)) for event in told if isinstance(event, kind)]


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 60))
def test_after_going_back_every_step_is_there_once(tmp_path_factory: pytest.TempPathFactory, made: int, kept: int, torn: int) -> None:
    """A run of `made` steps dies while it writes the next one, and goes on from a checkpoint of step `kept`."""
    path = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    for n in range(1, made + 1):
        events.append(path, step(n))
    with path.open("ab") as file:
        file.write(events.encode(step(made + 1))[:-1][:torn])
    back = min(kept, made)
    events.rewind(path, back)
    for n in range(back + 1, 14):
        events.append(path, step(n))
    assert [line["step"] for line in events.read(path, "step")] == list(range(1, 14))
    assert all(json.loads(line) for line in path.read_bytes().splitlines())


def test_going_back_keeps_what_belongs_to_no_step(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for event in (events.Notice("hello"), step(1), events.Evaluated(1, {}, 0.1), events.Saved(1, "a"), step(2), events.Saved(2, "b")):
        events.append(path, event)
    events.rewind(path, 1)
    kinds = [json.loads(line)["type"] for line in path.read_bytes().splitlines()]
    assert kinds == ["notice", "step", "evaluated", "saved"]
    events.rewind(path, 0)
    assert [json.loads(line)["type"] for line in path.read_bytes().splitlines()] == ["notice"]


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert events.read(tmp_path / "none", "step") == []
    events.rewind(tmp_path / "none", 3)
    assert (tmp_path / "none").read_bytes() == b""


def test_lines_that_are_none_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\n[1]\n7\nnull\n{broken\n\xff\n" + events.encode(step(1)))
    assert [line["step"] for line in events.read(path, "step")] == [1]


def test_times_do_not_go_into_what_the_process_says() -> None:
    """Two runs of the same recipe say the same."""
    assert "time" not in json.loads(events.encode(step(1)))
