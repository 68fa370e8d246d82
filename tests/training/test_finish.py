"""From a checkpoint to an adapter: which weights its references are made from, and what they take of memory."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs its extra: uv sync --extra train")

import tiny

from edgexp.export.reference import FILE, Reference, read_reference
from edgexp.training import backend, checkpoint, loop
from edgexp.training.backend import folder_of
from edgexp.training.finish import AS_TRAINED, finish
from edgexp.training.launch import Run
from edgexp.training.loop import Loop

pytestmark = pytest.mark.slow


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return tiny.checkpoint(tmp_path / "weights")


def trained(folder: Path, weights: Path, of_gguf: Path) -> Run:
    """A run that took two steps from the weights of a checkpoint."""
    run = tiny.run(folder, weights, tiny.settings(train__steps=2), of_gguf)
    asked = tiny.settings(train__steps=2)
    Loop(backend.load(weights, asked, lambda _: None), asked, "tiny", tiny.samples(24), {}, run.checkpoints, lambda _: None).run()
    return run


def finished(run: Run, weights: Path) -> tuple[Reference, Reference, list[str]]:
    """The exact reference, the one as trained, and what was said."""
    job, said = run.job(), list[str]()
    assert job
    finish(run, job, weights, 2, said.append)
    return read_reference(run.adapter / FILE), read_reference(run.adapter / AS_TRAINED / FILE), said


def answers(run: Run, weights: Path) -> np.ndarray:
    """What the finished adapter says on top of some weights."""
    learner = backend.load_exact(weights, tiny.settings(), "f32")
    learner.load_adapter({key: value.float() for key, value in checkpoint.load_adapter(run.adapter).items()})
    return np.concatenate(loop.ask(learner, tiny.samples(3, seed=1)).logprobs)


def test_the_exact_reference_is_of_the_weights_that_an_export_merges_into(weights: Path, tmp_path: Path) -> None:
    of_gguf = tiny.checkpoint(tmp_path / "of-gguf", seed=8)
    run = trained(tmp_path / "run", weights, of_gguf)
    exact, as_trained, said = finished(run, weights)
    assert np.concatenate(exact.logprobs) == pytest.approx(answers(run, of_gguf), abs=1e-5)
    assert np.concatenate(as_trained.logprobs) == pytest.approx(answers(run, weights), abs=1e-5)
    assert abs(answers(run, of_gguf) - answers(run, weights)).max() > 0.1
    assert said == []


def test_where_the_gguf_cannot_be_expanded_it_is_of_the_checkpoint_and_said(weights: Path, tmp_path: Path,
                                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM

    run = trained(tmp_path / "run", weights, weights)
    shutil.rmtree(tmp_path / "run-bases")
    load = AutoModelForCausalLM.from_pretrained

    def refuse(*arguments: object, **settings: object) -> object:
        if "gguf_file" in settings:
            raise ValueError("GGUF model with architecture tiny is not supported yet.")
        return load(*arguments, **settings)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", refuse)
    exact, _, said = finished(run, weights)
    assert np.concatenate(exact.logprobs) == pytest.approx(answers(run, weights), abs=1e-5)
    assert any("made from base.checkpoint" in line and "not supported yet" in line for line in said)


def test_packed_weights_are_counted_one_by_one(weights: Path) -> None:
    pytest.importorskip("bitsandbytes")
    whole, packed = (backend.load(weights, tiny.settings(base__four_bit=bits), lambda _: None) for bits in ("false", "true"))
    assert any(type(p).__name__ == "Params4bit" for p in packed.model.parameters())
    assert packed.size == whole.size == sum(p.numel() for p in whole.model.parameters())


def test_what_killed_processes_left_of_expanded_weights_is_swept_away(weights: Path, tmp_path: Path) -> None:
    run = tiny.run(tmp_path / "run", weights, tiny.settings())
    job = run.job()
    assert job
    left = Path(job.cache) / ".000000-x1"
    left.mkdir()
    os.utime(left, (0, 0))
    folder_of(Path(), job.base.sha256, "", Path(job.cache), lambda _: None)
    assert not left.exists()
