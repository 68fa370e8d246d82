"""Training goes on after any interruption as if there had been none, and fails in words."""

import errno
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs its extra: uv sync --extra train")

import tiny  # noqa: E402

from edgexp.errors import EdgexpError  # noqa: E402
from edgexp.training import backend, checkpoint, events  # noqa: E402
from edgexp.training.loop import Loop, learning_rate  # noqa: E402
from edgexp.training.prepared import Samples  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.checkpoint(tmp_path_factory.mktemp("weights"))


def go(weights: Path, checkpoints: Path, stop_after: int = 99, data: Samples | None = None, **changes: Any) -> list[events.Event]:
    """One process's worth of training: load, go on from the last checkpoint, stop after some steps."""
    asked, seen = tiny.settings(**changes), list[events.Event]()
    learner = backend.load(weights, asked, lambda _: None)
    held_out = {"none": tiny.samples(3, seed=1)}

    def stop() -> bool:
        return sum(isinstance(e, events.Stepped) for e in seen) >= stop_after

    Loop(learner, asked, "tiny", data or tiny.samples(24), held_out, checkpoints, seen.append, stop).run()
    return seen


def losses(seen: list[events.Event]) -> dict[int, tuple[float, float]]:
    return {e.step: (e.loss, e.norm) for e in seen if isinstance(e, events.Stepped)}


@pytest.mark.parametrize("stop_after", [1, 2, 3, 5])
def test_a_resumed_run_has_the_losses_of_an_unbroken_one(weights: Path, tmp_path: Path, stop_after: int) -> None:
    unbroken = go(weights, tmp_path / "a")
    first = go(weights, tmp_path / "b", stop_after)
    assert first[-1] == events.Finished(stop_after, stopped=True)
    second = go(weights, tmp_path / "b")
    assert second[-1] == events.Finished(6)
    assert losses(first) | losses(second) == losses(unbroken)
    assert not losses(first).keys() & losses(second).keys()
    ends = [checkpoint.read(tmp_path / name / checkpoint.name(6)).record.files[checkpoint.ADAPTER] for name in "ab"]
    assert ends[0] == ends[1]


def test_a_run_that_goes_on_with_less_memory_takes_the_same_steps(weights: Path, tmp_path: Path) -> None:
    unbroken = go(weights, tmp_path / "a")
    first = go(weights, tmp_path / "b", 3)
    assert losses(first) | losses(go(weights, tmp_path / "b", train__recompute="true")) == losses(unbroken)


def test_a_run_with_memory_apart_goes_on_as_if_unbroken_and_learns_something_else(weights: Path, tmp_path: Path) -> None:
    data = tiny.with_blocks(24)
    unbroken, first = go(weights, tmp_path / "a", data=data), go(weights, tmp_path / "b", 3, data)
    assert losses(first) | losses(go(weights, tmp_path / "b", data=data)) == losses(unbroken)
    chained = Samples(data.ids, data.spans, [blocks[:0] for blocks in data.blocks])
    assert losses(go(weights, tmp_path / "c", data=chained)) != losses(unbroken)


def test_the_loss_falls(weights: Path, tmp_path: Path) -> None:
    found = losses(go(weights, tmp_path, train__steps=30, lora__dropout=0.0))
    assert found[30][0] < 0.8 * found[1][0]


def test_a_damaged_checkpoint_is_passed_over(weights: Path, tmp_path: Path) -> None:
    unbroken = go(weights, tmp_path)
    broken = tmp_path / checkpoint.name(6) / checkpoint.OPTIMIZER
    data = bytearray(broken.read_bytes())
    data[len(data) // 2] ^= 1
    broken.write_bytes(data)
    again = go(weights, tmp_path)
    notices = [e.text for e in again if isinstance(e, events.Notice)]
    assert len(notices) == 1 and "step-000006" in notices[0] and "damaged" in notices[0]
    assert losses(again) == {step: found for step, found in losses(unbroken).items() if step > 4}


def test_what_a_crash_leaves_half_written_is_no_checkpoint(weights: Path, tmp_path: Path) -> None:
    go(weights, tmp_path, stop_after=2)
    (tmp_path / ".step-000004-x1").mkdir()
    (tmp_path / ".step-000004-x1" / checkpoint.ADAPTER).write_bytes(b"half")
    assert checkpoint.steps(tmp_path) == [2]


def test_a_full_disk_is_said_and_costs_no_earlier_checkpoint(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(weights, tmp_path, stop_after=2)

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_atomic", full)
        with pytest.raises(EdgexpError, match=r"checkpoint of step 4 cannot be written.*No space left.*make room"):
            go(weights, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [checkpoint.name(2)]
    assert losses(go(weights, tmp_path)).keys() == {3, 4, 5, 6}


def test_a_loss_that_is_no_number_ends_it_in_words(weights: Path, tmp_path: Path) -> None:
    go(weights, tmp_path, stop_after=2)
    found, _ = checkpoint.latest(tmp_path)
    assert found
    tensors = checkpoint.load_adapter(found.folder)
    name = next(name for name in tensors if "lora_B" in name)
    tensors[name][0, 0] = float("nan")
    asked = tiny.settings()
    learner = backend.load(weights, asked, lambda _: None)
    optimizer = torch.optim.AdamW(learner.parameters)
    checkpoint.restore(found, optimizer)
    checkpoint.save(tmp_path, 2, tensors, b"{}", optimizer, {})
    with pytest.raises(EdgexpError, match=r"no number at step 3 .*lower train\.lr \(now 0\.01\)"):
        go(weights, tmp_path)


def test_a_checkpoint_of_another_adapter_is_refused(weights: Path, tmp_path: Path) -> None:
    go(weights, tmp_path, stop_after=2)
    with pytest.raises(EdgexpError, match="--out"):
        go(weights, tmp_path, lora__r=2)


def test_checkpoints_are_thinned_out_but_never_the_best(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = iter([3.0, 1.0, 2.0, 1.5, 2.5, 2.5])

    def scripted(*_: Any) -> dict[str, events.Scores]:
        return {"none": events.Scores(next(script), 0.5, 0.5)}

    monkeypatch.setattr("edgexp.training.loop.evaluate", scripted)
    changes = {"train__steps": 12, "check__keep": 2, "check__evaluate_every": 2, "check__select": "loss"}
    go(weights, tmp_path, stop_after=7, **changes)
    go(weights, tmp_path, **changes)
    assert checkpoint.steps(tmp_path) == [4, 10, 12]
    assert checkpoint.scores(tmp_path)[4]["none"].loss == 1.0


def test_warmup_and_schedules() -> None:
    train = tiny.settings(train__lr=1.0, train__warmup=2, train__steps=12, train__final_lr=0.1).train
    rates = [learning_rate(train, done, 12) for done in range(12)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert all(a > b for a, b in pairwise(rates[2:])) and 0.1 < rates[-1] < 0.2
    flat = tiny.settings(train__schedule="constant").train
    assert {learning_rate(flat, done, 6) for done in range(6)} == {flat.lr}


def test_steps_are_the_mean_over_their_label_tokens(weights: Path, tmp_path: Path) -> None:
    """However a step is divided into batches, its loss and gradient are those of the whole."""
    alone = losses(go(weights, tmp_path / "a", train__steps=2, lora__dropout=0.0, train__tokens_at_once=1))
    learner = backend.load(weights, tiny.settings(lora__dropout=0.0), lambda _: None)
    assert not learner.pads
    made = Loop(learner, tiny.settings(train__steps=2, lora__dropout=0.0), "tiny", tiny.samples(24), {}, tmp_path / "b", lambda _: None)
    step = made._plan().steps[0]
    whole = (tuple(i for batch in step for i in batch),)
    assert made._gradients(whole, 0)[0] == pytest.approx(alone[1][0], rel=1e-5)
    norm = torch.nn.utils.clip_grad_norm_(learner.parameters, 1e9)
    assert float(norm) == pytest.approx(alone[1][1], rel=1e-4)
