"""Learning rates, the choice of an optimiser, and scores: arithmetic that needs torch but no model."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="training needs its extra: uv sync --extra train")

from edgexp.training import backend  # noqa: E402
from edgexp.training.loop import Answers, learning_rate, make_optimizer, scores  # noqa: E402
from edgexp.training.prepared import Samples  # noqa: E402
from edgexp.training.recipe import Train  # noqa: E402

trains = st.builds(Train, lr=st.floats(1e-6, 1), warmup=st.integers(0, 20), schedule=st.sampled_from(["constant", "cosine", "linear"]),
                   final_lr=st.floats(0, 1))
lengths = st.integers(21, 200)


def rates(train: Train, steps: int) -> list[float]:
    return [learning_rate(train, done, steps) for done in range(steps)]


# Learning rates


@given(trains, lengths)
def test_a_rate_is_never_above_the_recipes_nor_below_its_end(train: Train, steps: int) -> None:
    found = rates(train, steps)
    assert max(found) == pytest.approx(train.lr)
    assert all(rate > 0 or train.final_lr == 0 for rate in found)
    assert all(rate >= train.lr * train.final_lr * (1 - 1e-9) for rate in found[train.warmup :])


@given(trains, lengths)
def test_it_rises_evenly_and_then_only_falls(train: Train, steps: int) -> None:
    found = rates(train, steps)
    rising = [0.0, *found[: train.warmup]]
    assert [b - a for a, b in pairwise(rising)] == pytest.approx([train.lr / max(1, train.warmup)] * train.warmup)
    falling = found[max(0, train.warmup - 1) :]
    assert all(a >= b * (1 - 1e-12) for a, b in pairwise(falling))
    assert found[train.warmup] == pytest.approx(train.lr)  # the whole rate at the first step after warm-up


@given(trains, lengths)
def test_the_schedules_end_where_they_should(train: Train, steps: int) -> None:
    beyond = learning_rate(train, steps, steps)
    assert beyond == pytest.approx(train.lr * (1 if train.schedule == "constant" else train.final_lr), abs=1e-12)


@given(st.floats(0, 1), lengths)
def test_half_way_cosine_and_linear_meet(final: float, half: int) -> None:
    cosine, linear = (learning_rate(Train(lr=1, schedule=kind, final_lr=final), half, 2 * half) for kind in ("cosine", "linear"))
    assert cosine == pytest.approx(linear) == pytest.approx((1 + final) / 2)
    quarter = [learning_rate(Train(lr=1, schedule=kind, final_lr=final), half, 4 * half) for kind in ("cosine", "linear")]
    assert quarter[0] >= quarter[1] - 1e-12  # cosine lingers at the top


def test_warm_up_may_take_all_steps_but_the_last() -> None:
    assert rates(Train(lr=1, warmup=3, schedule="cosine"), 4) == pytest.approx([1 / 3, 2 / 3, 1, 1])


# Optimisers


def learner(device: str = "cpu") -> Any:
    return SimpleNamespace(parameters=[torch.zeros(2, requires_grad=True)], device=torch.device(device))


def test_on_a_processor_plain_adamw_takes_the_place_of_the_paged_one_and_that_is_said() -> None:
    plain, quiet = make_optimizer(Train(optimizer="adamw", lr=1e-3, weight_decay=0.2), learner())
    other, said = make_optimizer(Train(optimizer="paged_adamw_8bit", lr=1e-3, weight_decay=0.2), learner())
    assert quiet == [] and said == ["paged 8-bit AdamW needs a GPU; plain AdamW takes its place"]
    for made in (plain, other):
        assert isinstance(made, torch.optim.AdamW) and made.param_groups[0]["weight_decay"] == 0.2 and made.param_groups[0]["lr"] == 1e-3


# Scores


@st.composite
def answered(draw: st.DrawFn) -> tuple[Samples, Answers]:
    """Samples with labels, and answers of which any may be right."""
    samples, logprobs, greedy = Samples(), [], []
    for _ in range(draw(st.integers(1, 4))):
        ids = draw(st.lists(st.integers(0, 3), min_size=4, max_size=12))
        edges = sorted(draw(st.sets(st.integers(1, len(ids)), min_size=2, max_size=6)))
        samples.add(ids, list(zip(edges[::2], edges[1::2], strict=False)))
        count = len(samples.labels(len(samples) - 1))
        greedy.append(np.array(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)), np.int32))
        logprobs.append(np.array(draw(st.lists(st.floats(-9, 0, width=32), min_size=count, max_size=count)), np.float32))
    return samples, Answers([samples.labels(n) for n in range(len(samples))], logprobs, greedy)


@given(answered())
def test_scores_are_what_counting_gives(pair: tuple[Samples, Answers]) -> None:
    samples, said = pair
    hits, whole, losses = [], [], []
    for number, (ids, spans) in enumerate(zip(samples.ids, samples.spans, strict=True)):
        told = dict(zip(samples.labels(number).tolist(), said.greedy[number].tolist(), strict=True))
        for first, last in spans.tolist():
            right = [told[position] == ids[position] for position in range(first, last)]
            hits += right
            whole.append(all(right))
        losses += (-said.logprobs[number].astype(float)).tolist()
    found = scores(samples, said)
    assert found.tokens == pytest.approx(np.mean(hits), abs=1e-5) and found.actions == pytest.approx(np.mean(whole), abs=1e-5)
    assert found.loss == pytest.approx(np.mean(losses), abs=1e-4)
    assert found.actions <= 1 and (found.actions < 1 or found.tokens == 1)


# What the device decides


def test_the_type_asked_for_is_the_type_computed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (backend.precision("bf16"), backend.precision("f32")) == ("bf16", "f32")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for has in (True, False):
        monkeypatch.setattr(backend, "_cpu_has_bf16", lambda has=has: has)
        assert backend.precision("auto") == ("bf16" if has else "f32")


def test_32_bits_are_for_where_they_take_less_than_half_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "machine_memory", lambda: 8000)
    assert backend.roomy(999, torch.device("cpu")) and not backend.roomy(1000, torch.device("cpu"))


def test_a_folder_that_is_no_checkpoint_is_refused_before_anything_is_loaded(tmp_path: Any) -> None:
    with pytest.raises(backend.EdgexpError, match=r"is not a checkpoint: it has no config\.json; set base\.checkpoint"):
        backend.folder_of(tmp_path / "x.gguf", "0" * 64, str(tmp_path), tmp_path / "cache", lambda _: None)
    (tmp_path / "config.json").write_text("{}")
    assert backend.folder_of(tmp_path / "x.gguf", "0" * 64, str(tmp_path), tmp_path / "cache", lambda _: None) == tmp_path
    assert not (tmp_path / "cache").exists()
