"""The quick decoder computes what the model's own modules compute: values, gradients, and nothing across rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs its extra: uv sync --extra train")

import tiny  # noqa: E402

from edgexp.training import backend, prepared  # noqa: E402
from edgexp.training.cpu import kernels, quick  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> backend.Learner:
    folder = tiny.checkpoint(tmp_path_factory.mktemp(request.param), request.param)
    return backend.load(folder, tiny.settings(lora__dropout=0.1), lambda _: None)


@pytest.fixture
def learner(loaded: backend.Learner) -> backend.Learner:
    made = loaded
    torch.manual_seed(1)
    for name, parameter in made.model.named_parameters():
        if "lora_B" in name:  # zero at the beginning: half of the gradients would be zero, too
            torch.nn.init.normal_(parameter, std=0.05)
    return made


def stock(learner: backend.Learner) -> backend.Learner:
    """The same model, run by its own modules."""
    other = backend.Learner(learner.model, "peft", "f32", False, False)
    other._quick = None
    return other


def loss_and_gradients(learner: backend.Learner, data: Any, chosen: list[int], seed: int | None = None) -> tuple[float, list[Any]]:
    keep = [data.labels(i) - 1 for i in chosen]
    hidden = learner.hidden([data.ids[i] for i in chosen], keep, seed, [data.blocks[i] for i in chosen])
    targets = torch.from_numpy(np.concatenate([data.ids[i][data.labels(i)] for i in chosen]).astype(np.int64))
    learner.model.zero_grad()
    loss, _ = kernels.LabelLoss.apply(hidden, learner.head, targets, 1 / len(targets))
    loss.backward()
    return float(loss.detach()), [p.grad.clone() for p in learner.parameters]


def test_same_values_and_gradients_as_the_models_own_modules(learner: backend.Learner) -> None:
    data = tiny.samples(3)
    ours, theirs = (loss_and_gradients(one, data, [0, 1, 2]) for one in (learner, stock(learner)))
    assert ours[0] == pytest.approx(theirs[0], rel=1e-5)
    for mine, other in zip(ours[1], theirs[1], strict=True):
        assert torch.allclose(mine, other, rtol=1e-3, atol=1e-6)
        assert float(other.abs().max()) > 0


@pytest.mark.parametrize("view", [lambda learner: learner, stock], ids=["rows end to end", "rows padded"])
def test_rows_that_go_together_do_not_see_each_other(learner: backend.Learner, view: Callable[[Any], Any]) -> None:
    data, one = tiny.samples(3), view(learner)
    keep = [np.arange(len(ids)) for ids in data.ids]
    with torch.no_grad():
        together = one.hidden(data.ids, keep)
        alone = torch.cat([one.hidden([ids], [k]) for ids, k in zip(data.ids, keep, strict=True)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_rows_with_blocks_are_the_models_own_modules_under_a_mask(learner: backend.Learner) -> None:
    data = tiny.with_blocks(4)
    assert len({len(blocks) for blocks in data.blocks}) > 1
    ours, theirs = (loss_and_gradients(one, data, [0, 1, 2, 3]) for one in (learner, stock(learner)))
    assert ours[0] == pytest.approx(theirs[0], rel=1e-5)
    for mine, other in zip(ours[1], theirs[1], strict=True):
        assert torch.allclose(mine, other, rtol=1e-3, atol=1e-6)
    assert abs(loss_and_gradients(learner, chained(data), [0])[0] - loss_and_gradients(learner, data, [0])[0]) > 1e-4


def chained(data: prepared.Samples) -> prepared.Samples:
    """The same ids, with nothing that stands apart."""
    return prepared.Samples(data.ids, data.spans, [blocks[:0] for blocks in data.blocks])


@pytest.mark.parametrize("view", [lambda learner: learner, stock], ids=["quick", "masked"])
def test_a_block_is_read_as_if_it_were_alone(learner: backend.Learner, view: Callable[[Any], Any]) -> None:
    """Its states are those of a row that holds what is before all blocks and then this one, nothing else."""
    data, one = tiny.with_blocks(1), view(learner)
    ids, blocks = data.ids[0], data.blocks[0]
    before = int(blocks[0, 0])
    with torch.no_grad():
        for first, last in blocks.tolist():
            inside = one.hidden([ids], [np.arange(first, last)], blocks=[blocks])
            alone = one.hidden([np.concatenate([ids[:before], ids[first:last]])], [np.arange(before, before + last - first)])
            assert torch.allclose(inside, alone, atol=1e-5)


@pytest.mark.parametrize("view", [lambda learner: learner, stock], ids=["quick", "masked"])
def test_the_order_of_blocks_is_no_difference(learner: backend.Learner, view: Callable[[Any], Any]) -> None:
    data, one = tiny.with_blocks(1), view(learner)
    ids, ((first, middle), (_, last)) = data.ids[0], data.blocks[0].tolist()
    other = np.concatenate([ids[:first], ids[middle:last], ids[first:middle], ids[last:]])
    swapped = np.array([[first, first + last - middle], [first + last - middle, last]])
    keep = [np.arange(last, len(ids))]
    with torch.no_grad():
        assert torch.allclose(one.hidden([ids], keep, blocks=data.blocks), one.hidden([other], keep, blocks=[swapped]), atol=1e-5)


@pytest.mark.parametrize("view", [lambda learner: learner, stock], ids=["quick", "masked"])
def test_who_reads_blocks_as_they_are_served_is_known(learner: backend.Learner, view: Callable[[Any], Any]) -> None:
    made = fresh(view(learner))
    assert backend.reads_apart(made, tiny.with_blocks(4)) and backend.reads_apart(made, tiny.samples(2))


@pytest.mark.parametrize("forgets", ["attention_mask", "position_ids", "attention_mask in training", "everything"])
def test_who_does_not_is_known_too(learner: backend.Learner, forgets: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = fresh(stock(learner))
    standing = made._standing

    def forgetful(longest: int, blocks: Any) -> dict[str, Any]:
        if forgets.endswith("training") and not made.model.training:
            return standing(longest, blocks)
        return {key: value for key, value in standing(longest, blocks).items() if forgets.split()[0] not in (key, "everything")}

    monkeypatch.setattr(made, "_standing", forgetful)
    assert not backend.reads_apart(made, tiny.with_blocks(4))
    assert backend.reads_apart(made, tiny.with_blocks(4), training=False) == forgets.endswith("training")
    assert backend.reads_apart(made, tiny.samples(2))


def fresh(learner: backend.Learner) -> backend.Learner:
    """With an adapter that adds nothing yet."""
    with torch.no_grad():
        for name, parameter in learner.model.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
    return learner


def test_long_rows_cross_blocks_of_queries(learner: backend.Learner) -> None:
    ids = np.random.default_rng(0).integers(0, tiny.VOCABULARY, 300).astype(np.int32)
    with torch.no_grad():
        ours, theirs = (one.hidden([ids], [np.arange(300)]) for one in (learner, stock(learner)))
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_recomputing_changes_nothing(learner: backend.Learner) -> None:
    data = tiny.with_blocks(2)
    again = backend.Learner(learner.model, "peft", "f32", False, recompute=True)
    assert again._quick is not None
    plain, recomputed = (loss_and_gradients(one, data, [0, 1], seed=5) for one in (learner, again))
    assert plain[0] == recomputed[0]
    assert all(torch.equal(a, b) for a, b in zip(plain[1], recomputed[1], strict=True))


def test_projections_without_an_adapter_stay_as_they_are(tmp_path: Path) -> None:
    asked = tiny.settings(lora__targets='["q_proj", "v_proj"]')
    one = backend.load_exact(tiny.checkpoint(tmp_path), asked, "f32")
    data = tiny.samples(2)
    ours, theirs = (loss_and_gradients(view, data, [0, 1]) for view in (one, stock(one)))
    assert ours[0] == pytest.approx(theirs[0], rel=1e-5)
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-6) for a, b in zip(ours[1], theirs[1], strict=True))


def test_dropout_falls_on_the_adapter_alone(tmp_path: Path) -> None:
    one = backend.load(tiny.checkpoint(tmp_path), tiny.settings(lora__dropout=0.5), lambda _: None)
    ids, keep = tiny.samples(1).ids, [np.arange(10)]
    with torch.no_grad():
        plain, dropped = (one.hidden(ids, keep, seed) for seed in (None, 1))
        assert torch.allclose(plain, dropped)  # B is zero: whatever is dropped before it makes no difference
        for name, parameter in one.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)
        assert not torch.allclose(one.hidden(ids, keep, 1), one.hidden(ids, keep))
        assert not torch.allclose(one.hidden(ids, keep, 1), one.hidden(ids, keep, 2))
        assert torch.equal(one.hidden(ids, keep, 1), one.hidden(ids, keep, 1))


def test_label_loss_is_cross_entropy() -> None:
    torch.manual_seed(0)
    weight, targets = torch.randn(50, 8), torch.randint(0, 50, (30,))
    hidden = torch.randn(30, 8, requires_grad=True)
    loss, hits = kernels.LabelLoss.apply(hidden, weight, targets, 1 / 30)
    loss.backward()
    mine, hidden.grad = hidden.grad, None
    expected = torch.nn.functional.cross_entropy(hidden @ weight.t(), targets)
    expected.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert torch.allclose(mine, hidden.grad, atol=1e-6)
    assert int(hits) == int(((hidden @ weight.t()).argmax(1) == targets).sum())
    logprobs, greedy = kernels.answers(hidden.detach(), weight, targets)
    assert float(-logprobs.mean()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert torch.equal(greedy, (hidden @ weight.t()).argmax(1))


def test_models_of_other_kinds_are_left_to_their_own_code() -> None:
    from transformers import GemmaConfig, LlamaConfig, Qwen3Config

    assert quick.suits(LlamaConfig())
    assert not quick.suits(GemmaConfig()) and not quick.suits(Qwen3Config())
    assert not quick.suits(LlamaConfig(hidden_act="gelu"))
