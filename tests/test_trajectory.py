"""Trajectories as data: what is encoded is decoded, ids follow from what happened and from nothing else."""

import hashlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.errors import EdgexpError
from edgexp.trajectory import Provenance, Step, Task, Trajectory, content_id, decode, encode, read_lines

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
TASKS = st.builds(Task, TEXT, TEXT, TEXT, TEXT, TEXT)
STEPS = st.builds(Step, TEXT, TEXT, NUMBER, st.booleans())
SOURCES = st.sampled_from(["expert", "agent", "import", "person", "takeover"])
PROVENANCES = st.builds(Provenance, SOURCES, TEXT, st.integers(0, 2**53), TEXT, TEXT, TEXT, TEXT, TEXT)
TRAJECTORIES = st.builds(
    Trajectory, TASKS, TEXT, TEXT, st.lists(STEPS, max_size=5).map(tuple), st.booleans(), st.floats(0, 1), TEXT, PROVENANCES
)
ONE = Trajectory(
    Task("toy/train/1", "toy", "train", "fetch", "easy"),
    "win.",
    "You see a box.",
    (Step("open box", "It holds a key."), Step("take key", "You win.", 1.0)),
    True,
    1.0,
    "done",
    Provenance("expert", "1", 7, "m", "s", "2026-11-22T12:00:00+00:00"),
)


@given(TRAJECTORIES)
def test_what_is_encoded_is_decoded(t: Trajectory) -> None:
    """Any Unicode: line breaks of every kind, NUL, quotes, direction marks, characters beyond the first plane."""
    line = encode(t)
    assert decode(line) == t == decode(line.decode("utf-8"))
    assert b"\n" not in line and b"\r" not in line, "one line"
    assert json.loads(line)["goal"] == t.goal, "and any JSON reader reads the same"
    assert decode(line).id == t.id == content_id(t)


@given(st.lists(TRAJECTORIES, max_size=4), st.integers(0, 3))
def test_lines_are_read_in_order_and_blank_ones_passed_over(given_: list[Trajectory], blank: int) -> None:
    lines = [line for t in given_ for line in [encode(t) + b"\n", *[b" \n"] * blank]]
    assert list(read_lines(lines, "a file")) == given_
    assert list(read_lines([line.decode() for line in lines], "a file")) == given_


def test_an_id_is_for_good() -> None:
    """Banks and exports out there hold these ids: this one was made before, and must be what it was."""
    body = [ONE.task, ONE.goal, ONE.observation, ONE.steps, ONE.success, ONE.score, ONE.end]
    by_hand = hashlib.sha256(b"edgexp.trajectory.1\0" + msgspec.json.encode(body, order="deterministic")).hexdigest()[:24]
    assert ONE.id == f"t{by_hand}" and len(ONE.id) == 25
    assert ONE.id == "t7be51648f4c9dfdb57849723"


@given(PROVENANCES)
def test_who_did_it_and_when_is_not_part_of_the_id(provenance: Provenance) -> None:
    assert msgspec.structs.replace(ONE, provenance=provenance).id == ONE.id


@pytest.mark.parametrize(
    "change",
    [
        {"goal": "win"},
        {"observation": "You see a box"},
        {"success": False},
        {"score": 0.5},
        {"end": "max_steps"},
        {"steps": ONE.steps[:1]},
        {"steps": ONE.steps[::-1]},
        {"steps": (ONE.steps[0], Step("take key", "You win.", 0.5))},
        {"steps": (ONE.steps[0], Step("take key", "You win!", 1.0))},
        {"steps": (ONE.steps[0], Step("take key", "You win.", 1.0, True))},
        {"task": Task("toy/train/2", "toy", "train", "fetch", "easy")},
        {"task": Task("toy/train/1", "toy", "train", "fetch", "hard")},
    ],
)
def test_everything_that_happened_is_part_of_the_id(change: dict[str, object]) -> None:
    assert msgspec.structs.replace(ONE, **change).id != ONE.id


FEW = st.sampled_from(["", "a"])
FEW_STEPS = st.lists(st.builds(Step, FEW, FEW, st.sampled_from([0.0, 1.0]), st.booleans()), max_size=1).map(tuple)
ALIKE = st.builds(lambda *changed: Trajectory(ONE.task, *changed, 1.0, "done", ONE.provenance), FEW, FEW, FEW_STEPS, st.booleans())


@given(ALIKE, ALIKE)
def test_two_ids_are_equal_exactly_where_what_happened_is(one: Trajectory, other: Trajectory) -> None:
    assert (one.id == other.id) == (one == other)


def test_text_that_moves_from_one_field_to_the_next_is_another_trajectory() -> None:
    a, b = msgspec.structs.replace(ONE, goal="ab", observation="c"), msgspec.structs.replace(ONE, goal="a", observation="bc")
    assert a.id != b.id


def test_a_lone_surrogate_is_no_text() -> None:
    with pytest.raises(UnicodeEncodeError):
        content_id(msgspec.structs.replace(ONE, goal="\ud800"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"goal": 3}, r"\$\.goal"),
        ({"steps": [{"action": "a"}]}, r"observation.*\$\.steps\[0\]"),
        ({"steps": [{"action": "a", "observation": "b", "thought": "c"}]}, "thought"),
        ({"provenance": {"source": "nobody"}}, r"nobody.*\$\.provenance\.source"),
        ({"extra": 1}, "extra"),
        ({"success": "yes"}, r"\$\.success"),
    ],
)
def test_what_is_none_names_the_field(change: dict[str, object], said: str) -> None:
    with pytest.raises(EdgexpError, match=f"not a trajectory: .*{said}"):
        decode(json.dumps({**json.loads(encode(ONE)), **change}))


@given(st.data())
def test_a_line_that_was_cut_or_changed_is_an_error_or_another_trajectory(data: st.DataObject) -> None:
    line = encode(ONE)
    place, byte = data.draw(st.integers(0, len(line) - 1)), data.draw(st.integers(0, 255))
    with pytest.raises(EdgexpError):
        decode(line[:place])
    try:
        assert decode(line[:place] + bytes([byte]) + line[place + 1 :]) is not None
    except EdgexpError as error:
        assert "\n" not in str(error)


def test_a_damaged_line_is_named_by_its_number() -> None:
    lines = [encode(ONE), b"", b"{", encode(ONE)]
    seen = []
    with pytest.raises(EdgexpError, match=r"exported\.jsonl, line 3: not a trajectory"):
        seen.extend(read_lines(lines, "exported.jsonl"))
    reading = read_lines(lines, "exported.jsonl")
    assert next(reading) == ONE, "what stands before it is read"


def test_defaults_are_left_out_and_old_lines_without_them_are_read() -> None:
    line = encode(ONE)
    assert b"slip" not in line and line.count(b"reward") == 1
    table = json.loads(line)
    del table["provenance"]["seed"], table["task"]["group"]
    assert decode(json.dumps(table)).task.group == ""


@pytest.mark.parametrize("data", [b"[" * 200_000, b'{"goal":' * 100_000, b"\xff\xfe", b"", b"null", b'{"goal": "\\ud800"}'])
def test_what_is_no_trajectory_is_one_line(data: bytes) -> None:
    with pytest.raises(EdgexpError, match="not a trajectory"):
        decode(data)
