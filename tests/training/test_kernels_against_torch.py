"""The kernels against torch's own functions, over shapes and raggedness drawn at random; gradients also against finite differences.

Needs torch and nothing else: no weights, no transformers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="training needs its extra: uv sync --extra train")

from edgexp.training.cpu import kernels  # noqa: E402
from edgexp.training.cpu.kernels import Attention, Gated, LabelLoss, Norm, Projections, answers  # noqa: E402
from edgexp.training.cpu.quick import Workers  # noqa: E402

few = settings(max_examples=25, deadline=None)
rows = st.lists(st.integers(1, 12), min_size=1, max_size=4)
"""Lengths of the rows of a batch; rows of one token are among them."""
seeds = st.integers(0, 10_000)


def drawn(seed: int, *shape: int) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def compared(ours: Callable[..., Any], theirs: Callable[..., Any], inputs: Sequence[Any], *, weights: int = 3) -> None:
    """Same values, and the same gradients of every input under a drawn weighting of the outputs; theirs in 64 bits."""
    mine = [x.clone().requires_grad_() for x in inputs]
    exact = [x.double().requires_grad_() for x in inputs]
    value, other = ours(*mine), theirs(*exact)
    assert value.shape == other.shape and torch.allclose(value.double(), other, rtol=1e-4, atol=1e-5)
    outer = drawn(weights, *value.shape)
    value.backward(outer)
    other.backward(outer.double())
    for x, y in zip(mine, exact, strict=True):
        assert torch.allclose(x.grad.double(), y.grad, rtol=1e-3, atol=1e-4)


def slope(function: Callable[[Any], Any], x: Any, seed: int, size: float = 1e-2) -> tuple[float, float]:
    """The slope of the summed output along a drawn direction: by the gradient, and by finite differences."""
    x = x.clone().requires_grad_()
    outer = drawn(seed, *function(x).shape)
    (function(x) * outer).sum().backward()
    direction = drawn(seed + 1, *x.shape)
    with torch.no_grad():
        up, down = ((function(x + sign * size * direction).double() * outer).sum() for sign in (1, -1))
    return float((x.grad * direction).sum()), float((up - down) / (2 * size))


# RMSNorm and SwiGLU


@few
@given(st.integers(1, 9), st.integers(1, 33), st.sampled_from([1e-6, 1e-5, 0.1]), seeds)
def test_norm_is_torchs_rms_norm(tokens: int, channels: int, epsilon: float, seed: int) -> None:
    weight = drawn(seed + 1, channels)
    compared(lambda x: Norm.apply(x, weight, epsilon), lambda x: torch.nn.functional.rms_norm(x, (channels,), weight.double(), epsilon),
             [drawn(seed, tokens, channels)])


@few
@given(st.integers(1, 9), st.integers(1, 17), seeds)
def test_gated_is_silu_times_up(tokens: int, inner: int, seed: int) -> None:
    def theirs(both: Any) -> Any:
        gate, up = both.chunk(2, -1)
        return torch.nn.functional.silu(gate) * up

    compared(Gated.apply, theirs, [drawn(seed, tokens, 2 * inner)])


# Projections with LoRA


@few
@given(st.integers(1, 8), st.integers(1, 12), st.lists(st.tuples(st.integers(1, 9), st.integers(0, 4)), min_size=1, max_size=3),
       st.booleans(), seeds)
def test_projections_are_linear_layers_with_their_lora(tokens: int, channels: int, layers: list[tuple[int, int]], biased: bool,
                                                       seed: int) -> None:
    """Each of `layers` is (outputs, rank); a rank of 0 is a layer without an adapter."""
    outputs, scales = sum(out for out, _ in layers), [0.5 * (number + 1) for number in range(len(layers))]
    weight, bias = drawn(seed, outputs, channels), drawn(seed + 1, outputs) if biased else None
    factors = [drawn(seed + 2 + n, rank, channels) for n, (_, rank) in enumerate(layers)]
    factors += [drawn(seed + 9 + n, out, rank) for n, (out, rank) in enumerate(layers)]

    def ours(x: Any, *own: Any) -> Any:
        return Projections.apply(x, lambda: weight, bias, scales, 0.0, 0, *own)

    def theirs(x: Any, *own: Any) -> Any:
        a, b = own[: len(layers)], own[len(layers) :]
        added = torch.cat([x @ a[n].t() @ b[n].t() * scales[n] for n in range(len(layers))], -1)
        return torch.nn.functional.linear(x, weight.double(), None if bias is None else bias.double()) + added

    compared(ours, theirs, [drawn(seed + 20, tokens, channels), *factors])


@few
@given(st.floats(0.1, 0.8), seeds)
def test_dropout_keeps_what_it_says_and_comes_from_its_seed(drop: float, seed: int) -> None:
    x = torch.ones(64, 64)
    one, again, other = (kernels._mask(x, 1 - drop, s) for s in (seed, seed, seed + 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
    kept = one[one != 0]
    assert torch.allclose(kept, torch.tensor(1 / (1 - drop))) and abs(len(kept) / 4096 - (1 - drop)) < 0.06


def test_dropout_has_the_gradient_of_the_mask_it_drew() -> None:
    weight, a, b = drawn(0, 6, 8), drawn(1, 2, 8), drawn(2, 6, 2)
    x = drawn(3, 5, 8)
    mask = kernels._mask(x, 0.6, 7)
    compared(lambda x, a, b: Projections.apply(x, lambda: weight, None, [2.0], 0.4, 7, a, b),
             lambda x, a, b: x @ weight.double().t() + 2.0 * (x * mask.double()) @ a.t() @ b.t(), [x, a, b])


# Attention


def turns(lengths: Sequence[int], dim: int) -> tuple[Any, Any]:
    """Cosines and sines [N, D / 2] of positions that begin anew in every row."""
    positions = torch.cat([torch.arange(n) for n in lengths])[:, None]
    angles = positions / 100.0 ** (torch.arange(dim // 2) / (dim // 2))
    return angles.cos(), angles.sin()


def stock_attention(qkv: Any, cos: Any, sin: Any, lengths: Sequence[int], heads: int, groups: int, dim: int) -> Any:
    """Row by row, with torch's own attention."""
    def turned(x: Any, first: int, last: int) -> Any:
        left, right = x[..., : dim // 2], x[..., dim // 2 :]
        c, s = cos[first:last, None].to(x.dtype), sin[first:last, None].to(x.dtype)
        return torch.cat([left * c - right * s, right * c + left * s], -1).transpose(0, 1)

    out, first = [], 0
    for length in lengths:
        last = first + length
        q, k, v = qkv[first:last].view(length, heads + 2 * groups, dim).split([heads, groups, groups], 1)
        k, v = turned(k, first, last), v.transpose(0, 1)
        share = heads // groups
        seen = torch.nn.functional.scaled_dot_product_attention(
            turned(q, first, last), k.repeat_interleave(share, 0), v.repeat_interleave(share, 0), is_causal=True)
        out.append(seen.transpose(0, 1).reshape(length, heads * dim))
        first = last
    return torch.cat(out)


@few
@given(rows, st.sampled_from([(1, 1), (2, 1), (4, 2), (3, 3), (6, 2)]), st.sampled_from([2, 4, 10]), seeds)
def test_attention_is_torchs_own_row_by_row(lengths: list[int], shape: tuple[int, int], dim: int, seed: int) -> None:
    heads, groups = shape
    cos, sin = turns(lengths, dim)
    compared(lambda x: Attention.apply(x, cos, sin, lengths, heads, groups, dim),
             lambda x: stock_attention(x, cos, sin, lengths, heads, groups, dim), [drawn(seed, sum(lengths), (heads + 2 * groups) * dim)])


@pytest.mark.parametrize("lengths", [[127], [128], [129], [1, 257, 3]])
def test_attention_over_the_edges_of_its_blocks(lengths: list[int]) -> None:
    cos, sin = turns(lengths, 4)
    compared(lambda x: Attention.apply(x, cos, sin, lengths, 2, 1, 4), lambda x: stock_attention(x, cos, sin, lengths, 2, 1, 4),
             [drawn(1, sum(lengths), 16)])


@few
@given(rows, seeds)
def test_no_token_sees_a_later_one_or_another_row(lengths: list[int], seed: int) -> None:
    cos, sin = turns(lengths, 4)
    plain = drawn(seed, sum(lengths), 16)
    at = seed % sum(lengths)
    changed = plain.clone()
    changed[at] += 1
    before, after = (Attention.apply(x, cos, sin, lengths, 2, 1, 4) for x in (plain, changed))
    ends = torch.tensor(lengths).cumsum(0)
    end = int(ends[ends > at][0])
    same = (before == after).all(1)
    assert same[:at].all() and same[end:].all() and not same[at]


@pytest.mark.parametrize("name", ["norm", "gated", "projections", "attention", "loss"])
@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_the_slopes_of_finite_differences(name: str, seed: int) -> None:
    cos, sin = turns([1, 5], 4)
    weight, factors = drawn(50, 16, 16), [drawn(51, 2, 16), drawn(52, 16, 2)]
    targets = torch.randint(0, 30, (6,), generator=torch.Generator().manual_seed(seed))
    function: Callable[[Any], Any] = {
        "norm": lambda x: Norm.apply(x, weight[0], 1e-5),
        "gated": Gated.apply,
        "projections": lambda x: Projections.apply(x, lambda: weight, None, [0.5], 0.3, 4, *factors),
        "attention": lambda x: Attention.apply(x, cos, sin, [1, 5], 2, 1, 4),
        "loss": lambda x: LabelLoss.apply(x, drawn(53, 30, 16), targets, 0.2)[0][None],
    }[name]
    by_gradient, by_difference = slope(function, drawn(seed, 6, 16), seed)
    assert by_gradient == pytest.approx(by_difference, rel=0.02, abs=0.02)


# The loss


@few
@given(st.integers(1, 40), st.integers(2, 60), st.integers(1, 9), st.integers(1, 300), seeds)
def test_the_loss_is_cross_entropy_however_many_rows_go_at_once(labels: int, vocabulary: int, channels: int, elements: int,
                                                                seed: int) -> None:
    weight = drawn(seed + 1, vocabulary, channels)
    targets = torch.randint(0, vocabulary, (labels,), generator=torch.Generator().manual_seed(seed))
    hidden = drawn(seed, labels, channels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "_LOSS_ELEMENTS", elements)
        compared(lambda x: LabelLoss.apply(x, weight, targets, 1 / labels)[0][None],
                 lambda x: torch.nn.functional.cross_entropy(x @ weight.double().t(), targets)[None], [hidden])
        hits = LabelLoss.apply(hidden, weight, targets, 1.0)[1]
        logprobs, greedy = answers(hidden, weight, targets)
    logits = hidden @ weight.t()
    assert torch.equal(greedy, logits.argmax(1)) and int(hits) == int((greedy == targets).sum())
    assert torch.allclose(logprobs, torch.log_softmax(logits, 1).gather(1, targets[:, None])[:, 0], atol=1e-4)


def test_the_loss_of_enormous_logits_is_still_a_number() -> None:
    hidden, weight = torch.full((2, 1), 1e4, requires_grad=True), torch.tensor([[1e4], [-1e4], [0.0]])
    loss, _ = LabelLoss.apply(hidden, weight, torch.tensor([0, 1]), 1.0)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(2e8, rel=1e-6) and torch.isfinite(hidden.grad).all()


# Workers


@given(st.lists(st.integers(), max_size=12), st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_workers_give_results_in_the_order_of_the_items(items: list[int], cores: int) -> None:
    assert list(Workers(cores).each(lambda n: n * 2, items)) == [n * 2 for n in items]


def test_an_error_in_a_worker_is_the_callers() -> None:
    with pytest.raises(ZeroDivisionError):
        list(Workers(2).each(lambda n: 1 // n, [1, 0, 2]))
