"""A run's folder without a training: whose it is, what counts as the same training, which checkpoint is chosen, why a process failed."""

import errno
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.errors import EdgexpError
from edgexp.training import checkpoint, child, events, recipe
from edgexp.training import train as trains
from edgexp.training.events import Scores
from edgexp.training.launch import LESS_MEMORY, Base, Job, Run, same_training
from edgexp.training.recipe import Recipe

JOB = Job("mine", Recipe(), Base("tiny", "/x.gguf", "0" * 64), "/cache")


def changed(*settings: str) -> Job:
    return msgspec.structs.replace(JOB, recipe=recipe.parse("", "test", settings))


# The same training, or another


@pytest.mark.parametrize("setting", [
    "seed=1", "base.model=other", "base.checkpoint=/y", "base.four_bit=true", "base.dtype=f32", "base.backend=peft", "memory.k=3",
    "memory.diversity=0.5", "memory.encoder=other", "memory.budget=100", "memory.mix={matched=0.5, absent=0.5}", "memory.variants=2",
    "lora.r=4", "lora.alpha=8", "lora.dropout=0.0", "lora.targets=['q_proj']", "train.optimizer=adamw", "train.lr=1e-3",
    "train.schedule=cosine", "train.warmup=3", "train.final_lr=0.5", "train.weight_decay=0.1", "train.clip=2.0", "train.epochs=1.0",
    "train.steps=10", "train.trajectories=4", "train.tokens_at_once=100", "train.sequence=4096", "train.over_length=skip",
    "check.held_out=4", "data.bank=/b", "data.environment=worlds", "data.split=dev", "data.source=agent", "data.types=['heat']",
    "data.groups=[]", "data.limit=5", "data.mix={matched=1.0}", "data=[{}, {}]",
])  # fmt: skip
def test_what_changes_a_step_is_another_training(setting: str) -> None:
    assert not same_training(JOB, changed(setting)), setting


@pytest.mark.parametrize("setting", ["description=new", "train.recompute=true", "check.evaluate_every=5", "check.checkpoint_every=5",
                                     "check.keep=9", "check.select=rollouts", "check.split=test", "check.episodes=3"])  # fmt: skip
def test_what_is_measured_and_kept_on_the_way_does_not(setting: str) -> None:
    assert same_training(JOB, changed(setting)), setting


def test_other_weights_are_another_training_and_another_name_is_not() -> None:
    assert same_training(JOB, msgspec.structs.replace(JOB, name="yours", cache="/elsewhere"))
    assert not same_training(JOB, msgspec.structs.replace(JOB, base=Base("tiny", "/x.gguf", "1" * 64)))


def test_a_job_reads_back_and_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.job() is None
    run.write_job(changed("train.lr=1e-3", "memory.diversity=0.25"))
    assert run.job() == changed("train.lr=1e-3", "memory.diversity=0.25")
    whole = json.loads(run.job_file.read_bytes())
    for broken in (b"", b"[]", json.dumps({**whole, "more": 1}).encode(), json.dumps({**whole, "recipe": {"lora": {"r": 0}}}).encode()):
        run.job_file.write_bytes(broken)
        with pytest.raises(EdgexpError, match=r"job\.json cannot be read: .*; choose another folder with --out"):
            run.job()


# Which checkpoint


def run_with(folder: Path, losses: dict[int, float | None]) -> Run:
    """A run with checkpoints of these steps, each with its validation loss where it has one."""
    run = Run(folder)
    for step, loss in losses.items():
        made = run.checkpoints / checkpoint.name(step)
        made.mkdir(parents=True)
        scores = {} if loss is None else {"matched": Scores(loss, 0, 0), "none": Scores(-loss, 0, 0)}
        (made / checkpoint.RECORD).write_bytes(msgspec.json.encode(checkpoint.Record(step, {}, {}, scores)))
    return run


@given(st.dictionaries(st.integers(1, 500), st.none() | st.sampled_from([0.25, 0.5, 4.0]), min_size=1, max_size=6))
def test_the_lowest_loss_of_the_first_set_is_chosen_and_of_equals_the_latest(tmp_path_factory: pytest.TempPathFactory,
                                                                            losses: dict[int, float | None]) -> None:
    run = run_with(tmp_path_factory.mktemp("run"), losses)
    known = {step: loss for step, loss in losses.items() if loss is not None}
    best = max((step for step in known if known[step] == min(known.values())), default=max(losses))
    assert trains.choose(run, recipe.parse("", "test", ["check.select=loss", "check.evaluate_every=1"]), None) == (best, {})
    assert trains.choose(run, Recipe(), None) == (max(losses), {})


def test_episodes_are_played_once_for_each_checkpoint(tmp_path: Path) -> None:
    """An interruption in between plays none of them again, and a damaged memory of them plays all."""
    run, asked, played = run_with(tmp_path, {2: None, 4: None, 6: None}), recipe.parse("", "test", ["check.select=rollouts"]), list[str]()

    def rollouts(folder: Path) -> float:
        played.append(folder.name)
        if len(played) == 2:
            raise KeyboardInterrupt
        return 0.75 if folder.name == "step-000004" else 0.5

    with pytest.raises(KeyboardInterrupt):
        trains.choose(run, asked, rollouts)
    assert trains.choose(run, asked, rollouts) == (4, {2: 0.5, 4: 0.75, 6: 0.5})
    assert played == ["step-000002", "step-000004", "step-000004", "step-000006"]
    (tmp_path / "rollouts.json").write_text("{")
    assert trains.choose(run, asked, rollouts)[0] == 4 and len(played) == 7


def test_the_curve_joins_evaluations_and_what_was_won(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for step in (2, 4):
        events.append(run.metrics, events.Evaluated(step, {"none": Scores(1 / step, 0, 0)}, 0.1))
    curve = trains._curve(run, {4: 0.5, 6: 0.25})
    assert [point["step"] for point in curve] == [2, 4, 6] and [point.get("won") for point in curve] == [None, 0.5, 0.25]
    assert curve[1]["scores"]["none"]["loss"] == 0.25 and "scores" not in curve[2]


# Why it failed

RUN = Path("/runs/mine")


@given(st.text(max_size=80), st.sampled_from([RuntimeError, ValueError, OSError, ImportError, KeyError, AssertionError]))
def test_a_reason_is_always_one_line_that_says_something(text: str, kind: type[Exception]) -> None:
    said = child.reason(kind(text), RUN)
    assert said.strip() and "\n" not in said


@pytest.mark.parametrize(("error", "said"), [
    (RuntimeError("CUDA error: Out Of Memory\nmore"), f"memory ran out: {LESS_MEMORY}"),
    (MemoryError("x"), f"memory ran out: {LESS_MEMORY}"),
    (OSError(errno.EACCES, "Permission denied", "/x"), "PermissionError: [Errno 13] Permission denied: '/x'"),
    (OSError("I/O error (os error 112)"), f"no space left on the disk (of {RUN}): make room"),
    (RuntimeError("write failed (os error 28)"), f"no space left on the disk (of {RUN}, or of expanded weights in edgexp's home): make"),
    (KeyError("q_proj"), "KeyError: 'q_proj'"),
    (ModuleNotFoundError("No module named 'torch'"), "No module named 'torch'; install what training needs: uv sync --extra train"),
])  # fmt: skip
def test_the_reason_says_what_to_change(error: Exception, said: str) -> None:
    assert child.reason(error, RUN).startswith(said)


def test_what_frees_memory_is_said_by_keys_that_there_are() -> None:
    """A key that is renamed must be renamed in the advice."""
    for key, value in (("train.recompute", "true"), ("train.tokens_at_once", "1"), ("train.sequence", "64"), ("base.four_bit", "true")):
        assert key in LESS_MEMORY
        recipe.parse("", "advice", [f"{key}={value}"])


def said_by(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[events.Event]]:
    """What the training process says, run in this one."""
    out = io.BytesIO()
    monkeypatch.setattr(child, "take_standard_output", lambda: out)
    code = child.main(arguments)
    return code, [events.decode(line) for line in out.getvalue().splitlines()]


def test_a_folder_that_is_no_run_is_said_to_be_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said_by(["train", str(tmp_path)], monkeypatch) == (1, [events.Failed(f"{tmp_path} is not a run")])


def test_events_go_to_whoever_started_it_and_into_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a training begins, the log is cut back to the steps that it has done."""
    run, told = Run(tmp_path), [events.Started(9, 1, 1, 1, "peft", "cpu", "f32", 1, 0.0), events.Stepped(2, 0, 1, 0, 0, 0, 1, 0)]
    run.write_job(JOB)
    for step in (1, 2, 3):
        events.append(run.metrics, events.Stepped(step, 0, 9, 0, 0, 0, 1, 0))

    def training(_: Run, job: Job, emit: Any) -> None:
        assert job == JOB
        for event in told:
            emit(event)

    monkeypatch.setattr(child, "_train", training)
    assert said_by(["train", str(tmp_path)], monkeypatch) == (0, told)
    assert [(line["step"], line["loss"]) for line in events.read(run.metrics, "step")] == [(1, 9), (2, 1)]


def test_an_error_in_the_middle_is_the_last_thing_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Run(tmp_path).write_job(JOB)

    def finishing(_: Run, __: Job, step: int, emit: Any) -> None:
        emit(events.Notice(f"step {step}"))
        raise MemoryError

    monkeypatch.setattr(child, "_finish", finishing)
    code, said = said_by(["finish", str(tmp_path), "7"], monkeypatch)
    assert (code, said) == (1, [events.Notice("step 7"), events.Failed(f"memory ran out: {LESS_MEMORY}")])
