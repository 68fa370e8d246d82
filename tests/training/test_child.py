"""The training process itself: killed at any moment it goes on, asked to stop it saves, and when it fails it says why."""

import hashlib
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("torch", reason="training needs its extra: uv sync --extra train")

import tiny
from safetensors import SafetensorError

from edgexp.errors import EdgexpError
from edgexp.export.reference import read_reference
from edgexp.training import backend, checkpoint, child, events, launch, recipe
from edgexp.training.launch import Run
from edgexp.training.loop import Loop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.checkpoint(tmp_path_factory.mktemp("weights"))


def logged(run: Run) -> dict[int, float]:
    lines = events.read(run.metrics, "step")
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return {line["step"]: line["loss"] for line in lines}


def unbroken(weights: Path, folder: Path, asked: recipe.Recipe) -> dict[int, float]:
    """What a training without interruptions logs; in this process, since loading torch takes longer than all the rest."""
    seen: list[events.Event] = []
    Loop(backend.load(weights, asked, lambda _: None), asked, "tiny", tiny.samples(24), {}, folder, seen.append).run()
    return {e.step: e.loss for e in seen if isinstance(e, events.Stepped)}


def test_killed_and_started_again_it_takes_the_same_steps(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tiny.settings(train__steps=40, check__checkpoint_every=8, base__dtype="bf16")
    run = tiny.run(tmp_path / "run", weights, asked)
    started: list[subprocess.Popen[bytes]] = []
    start = launch._start

    def remembered(*arguments: Any) -> "subprocess.Popen[bytes]":
        started.append(start(*arguments))
        return started[-1]

    def kill(event: events.Event) -> None:
        if isinstance(event, events.Stepped) and event.step == 13:
            os.kill(started[-1].pid, signal.SIGKILL)

    monkeypatch.setattr(launch, "_start", remembered)
    with pytest.raises(EdgexpError, match=r"killed, most often because memory ran out.*goes on from the last checkpoint"):
        launch.follow(run, ["train"], kill)
    # It may have gone on for some steps before the signal came, and written a checkpoint in that time.
    before = checkpoint.steps(run.checkpoints)
    assert before and before[-1] < 40
    seen: list[events.Event] = []
    launch.follow(run, ["train"], seen.append)
    assert next(e for e in seen if isinstance(e, events.Started)).done == before[-1]
    assert logged(run) == pytest.approx(unbroken(weights, tmp_path / "unbroken", asked))

    launch.follow(run, ["finish", "40"], lambda _: None)
    exact, trained = (read_reference(run.adapter / part / "reference.safetensors") for part in ("", "as-trained"))
    assert (exact.origin.precision, trained.origin.precision) == ("f32", "bf16")
    assert exact.origin.adapter_sha256 == trained.origin.adapter_sha256
    assert [len(p) for p in exact.positions] == [len(tiny.samples(3, seed=1).labels(i)) for i in range(3)]
    for one, other in zip(exact.logprobs, trained.logprobs, strict=True):
        assert abs(one - other).max() < 0.3


def test_it_goes_on_from_an_adapter(weights: Path, tmp_path: Path) -> None:
    asked = tiny.settings(lora__dropout=0.0, train__steps=3)
    unbroken(weights, tmp_path / "first", asked)
    (step,) = checkpoint.steps(tmp_path / "first")[-1:]
    first = tmp_path / "first" / checkpoint.name(step) / checkpoint.ADAPTER
    run = tiny.run(tmp_path / "run", weights, asked)
    job = run.job()
    assert job is not None
    data = first.read_bytes()
    (run.data / checkpoint.ADAPTER).write_bytes(data)
    run.write_job(msgspec.structs.replace(
        job, base=msgspec.structs.replace(job.base, adapter=str(first.parent), adapter_sha256=hashlib.sha256(data).hexdigest())))
    seen: list[events.Event] = []
    learner = backend.load(weights, asked, lambda _: None)
    learner.load_adapter(checkpoint.load_adapter(first.parent))
    Loop(learner, asked, "tiny", tiny.samples(24), {}, tmp_path / "here", seen.append).run()
    launch.follow(run, ["train"], lambda _: None)
    assert logged(run) == pytest.approx({e.step: e.loss for e in seen if isinstance(e, events.Stepped)})
    assert logged(run)[1] < 0.95 * unbroken(weights, tmp_path / "anew", asked)[1]

    shutil.rmtree(run.checkpoints)
    (run.data / checkpoint.ADAPTER).write_bytes(data[:-1])
    with pytest.raises(EdgexpError, match="is not the adapter that this training began with; train again with --fresh"):
        launch.follow(run, ["train"], lambda _: None)


def test_asked_to_stop_it_finishes_the_step_and_saves(weights: Path, tmp_path: Path) -> None:
    """By whoever started it going away, then by Ctrl-C."""
    run = tiny.run(tmp_path / "run", weights, tiny.settings(train__steps=100_000, check__checkpoint_every=90_000))
    with run.log.open("wb") as log:
        process = launch._start(run, ["train"], log)
    assert process.stdin and process.stdout
    while b'"step"' not in process.stdout.readline():
        pass
    environment = Path(f"/proc/{process.pid}/environ")  # not before it has said something: until then it may be the parent's
    if environment.exists():
        assert {b"HF_HUB_OFFLINE=1", b"DO_NOT_TRACK=1"} <= set(environment.read_bytes().split(b"\0"))
    process.stdin.close()
    threading.Thread(target=process.stdout.read, daemon=True).start()
    assert process.wait(timeout=120) == 0
    (saved,) = checkpoint.steps(run.checkpoints)

    seen: list[events.Event] = []

    def interrupt(event: events.Event) -> None:
        seen.append(event)
        if isinstance(event, events.Stepped) and event.step == saved + 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch.follow(run, ["train"], interrupt)
    last = seen[-1]
    assert isinstance(last, events.Finished) and last.stopped and last.step >= saved + 3
    assert checkpoint.steps(run.checkpoints) == [saved, last.step]


def test_a_failure_in_the_process_is_said_in_its_words(weights: Path, tmp_path: Path) -> None:
    run = tiny.run(tmp_path / "run", tmp_path / "nowhere", tiny.settings())
    with pytest.raises(EdgexpError, match=r"nowhere is not a checkpoint.*base\.checkpoint.*child\.log") as error:
        launch.follow(run, ["train"], lambda _: None)
    assert error.value.details.startswith("Traceback") and error.value.details == run.log.read_text()


@pytest.mark.parametrize(("error", "said"), [
    (EdgexpError("as it is"), "as it is"),
    (MemoryError(), "memory ran out: with --set train.recompute=true the same command goes on"),
    (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "lower train.tokens_at_once or train.sequence"),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "with --fresh, or in another folder with --out"),
    (OSError(28, "No space left on device", "/x/y"), "no space left on the disk (of /x/y): make room"),
    (OSError(28, "No space left on device"), "no space left on the disk (of /runs/mine): make room"),
    (SafetensorError("I/O error: No space left on device (os error 28)"), "no space left on the disk (of /runs/mine, or of"),
    (ImportError("No module named 'peft'"), "uv sync --extra train"),
    (ValueError("first line\nsecond"), "ValueError: first line"),
])
def test_reasons(error: Exception, said: str) -> None:
    reason = child.reason(error, Path("/runs/mine"))
    assert said in reason and "\n" not in reason
