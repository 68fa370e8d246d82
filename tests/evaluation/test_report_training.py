"""The course of a training, from its log."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgexp.errors import EdgexpError
from edgexp.evaluation.report.training_curves import read_curve
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
