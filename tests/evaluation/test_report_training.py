"""The course of a training, from its log."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.errors import EdgexpError
from edgexp.evaluation.report.training_curves import Curve, read_curve
from edgexp.training import events


def write_log(path: Path) -> None:
    """A log as a training writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for step in (1, 2, 3, 4):
        events.append(path, events.Stepped(step, step / 4, 1 / step, 0.5, 1e-4, 1.0, 100, 0.5))
        if step % 2 == 0:
            scores = {name: events.Scores(1 / step + place, 0.5, step / 4) for place, name in enumerate(("matched", "none"))}
            events.append(path, events.Evaluated(step, scores, 1.0))


def write_record(folder: Path, **fields: Any) -> None:
    record = {"name": "sample", "step": 2, "curve": [{"step": 2, "won": 0.25}, {"step": 4}], **fields}
    (folder / "manifest.json").write_text(json.dumps(record))


def test_an_adapter_is_read_with_its_record(tmp_path: Path) -> None:
    write_log(tmp_path / "training.jsonl")
    write_record(tmp_path)
    curve = read_curve(tmp_path)
    assert (curve.name, curve.chosen, curve.won) == ("sample", 2, ((2, 0.25),))
    assert curve.loss == ((1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3)), (4, 0.25))
    assert curve.held_out == {"matched": ((2, 0.5), (4, 0.25)), "none": ((2, 1.5), (4, 1.25))}
    assert curve.actions["none"] == ((2, 0.5), (4, 1.0))


def test_a_run_leads_to_its_adapter(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_log(run / "metrics.jsonl")
    assert read_curve(run).name == "run" and read_curve(run).chosen is None
    write_log(run / "adapter" / "training.jsonl")
    write_record(run / "adapter")
    assert read_curve(run).chosen == 2


def test_a_folder_without_a_log_says_so(tmp_path: Path) -> None:
    with pytest.raises(EdgexpError, match="neither an adapter nor a run of training"):
        read_curve(tmp_path)


def test_a_log_without_a_step_says_so(tmp_path: Path) -> None:
    events.append(tmp_path / "metrics.jsonl", events.Notice("hello"))
    with pytest.raises(EdgexpError, match=r"metrics\.jsonl: no step of training"):
        read_curve(tmp_path)


def test_a_log_of_another_form_says_so(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"type":"step","loss":1}\n')
    with pytest.raises(EdgexpError, match="not a log of training"):
        read_curve(tmp_path)


def test_a_damaged_record_says_so(tmp_path: Path) -> None:
    write_log(tmp_path / "training.jsonl")
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(EdgexpError, match=r"manifest\.json: cannot be read"):
        read_curve(tmp_path)


EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(("step", "evaluated", "notice"))},
    optional={"step": st.sampled_from((1, 2.5, "3", None, [], 10**400)), "loss": st.sampled_from((0.5, "0.25", None, {})),
              "scores": st.sampled_from(({}, [], None, 1, {"none": {}}, {"none": {"loss": 1, "actions": 0.5}}, {"none": [1]}))},
)  # fmt: skip
RECORDS = st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from(("a", 1, None)), "step": st.sampled_from((2, None, "x", [])),
                  "curve": st.sampled_from(([], None, 1, [1], ["won"], [{"won": 0.5}], [{"won": 0.5, "step": 2}],
                                            [{"won": "y", "step": 1}]))},
)  # fmt: skip


@given(st.lists(EVENTS, max_size=4), st.none() | RECORDS)
def test_whatever_a_log_holds_is_read_or_said_in_one_line(tmp_path_factory: pytest.TempPathFactory, lines: list[Any], record: Any) -> None:
    folder = tmp_path_factory.mktemp("log")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if record is not None:
        (folder / "manifest.json").write_text(json.dumps(record))
    try:
        curve = read_curve(folder)
    except EdgexpError as error:
        assert "\n" not in str(error) and str(folder) in str(error)
    else:
        assert curve.loss and msgspec.json.decode(msgspec.json.encode(curve), type=Curve) == curve


@pytest.mark.parametrize("record", [b"\xff", b'{"name":"\xff"}', b"[]", b"", b'"text"'])
def test_a_record_that_is_no_object_is_said(tmp_path: Path, record: bytes) -> None:
    write_log(tmp_path / "training.jsonl")
    (tmp_path / "manifest.json").write_bytes(record)
    with pytest.raises(EdgexpError, match=r"manifest\.json: cannot be read") as caught:
        read_curve(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_log_under_way_may_end_in_the_middle_of_a_line(tmp_path: Path) -> None:
    write_log(tmp_path / "metrics.jsonl")
    data = (tmp_path / "metrics.jsonl").read_bytes()
    (tmp_path / "metrics.jsonl").write_bytes(data + b'{"type":"step","step":5,"lo')
    assert read_curve(tmp_path).loss[-1] == (4, 0.25)


def test_a_log_counts_its_latest_measurement_of_a_step(tmp_path: Path) -> None:
    """A run that was resumed may have measured a checkpoint twice."""
    write_log(tmp_path / "metrics.jsonl")
    events.append(tmp_path / "metrics.jsonl", events.Evaluated(4, {"none": events.Scores(9.0, 0.5, 0.125)}, 1.0))
    curve = read_curve(tmp_path)
    assert curve.held_out["none"] == ((2, 1.5), (4, 9.0)) and curve.actions["none"][-1] == (4, 0.125)
    assert curve.held_out["matched"] == ((2, 0.5), (4, 0.25))


def test_a_folder_given_as_here_has_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path / "mine" / "metrics.jsonl")
    monkeypatch.chdir(tmp_path / "mine")
    assert read_curve(Path()).name == "mine"
