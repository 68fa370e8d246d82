"""The kernels against torch's own functions, over shapes and raggedness drawn at random; gradients also against finite differences.

Needs torch and nothing else: no weights, no transformers.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
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


# Attention where some stretches of a row stand apart

layouts = st.lists(st.tuples(st.integers(1, 6), st.lists(st.integers(1, 9), max_size=4), st.integers(1, 9)), min_size=1, max_size=3)
"""Of each row: how much stands before its blocks, how long these are, and how much comes after them."""
Apart = tuple[int, list[int], int]


def laid_out(rows: Sequence[Apart]) -> tuple[list[int], list[list[tuple[int, int]]]]:
    """The lengths of rows and the spans of their blocks."""
    ends = [[before + sum(inner[:n]) for n in range(len(inner) + 1)] for before, inner, _ in rows]
    return [before + sum(inner) + after for before, inner, after in rows], [list(pairwise(edges)) for edges in ends]


def turned_by(rows: Sequence[Apart], dim: int) -> tuple[Any, Any]:
    """Cosines and sines [N, D / 2]: blocks begin at one position, what follows after the longest."""
    positions = [
        position for before, inner, after in rows
        for position in [*range(before), *(before + n for length in inner for n in range(length)),
                         *(before + max(inner, default=0) + n for n in range(after))]
    ]  # fmt: skip
    angles = torch.tensor(positions)[:, None] / 100.0 ** (torch.arange(dim // 2) / (dim // 2))
    return angles.cos(), angles.sin()


def looks(rows: Sequence[Apart]) -> Any:
    """Who may look at whom [N, N], said token by token."""
    place = [(row, part) for row, (before, inner, after) in enumerate(rows)
             for part, length in enumerate([before, *inner, after]) for _ in range(length)]
    last = {row: len(inner) + 1 for row, (_, inner, _) in enumerate(rows)}
    return torch.tensor([[b <= a and row == other and (mine in (part, last[row]) or part == 0)
                          for b, (other, part) in enumerate(place)] for a, (row, mine) in enumerate(place)])


def masked_attention(qkv: Any, cos: Any, sin: Any, mask: Any, heads: int, groups: int, dim: int) -> Any:
    """Written out: turn, score all pairs, mask, weigh."""
    cos, sin = cos.to(qkv.dtype)[:, None], sin.to(qkv.dtype)[:, None]
    q, k, v = qkv.view(-1, heads + 2 * groups, dim).split([heads, groups, groups], 1)

    def turned(x: Any) -> Any:
        left, right = x.chunk(2, -1)
        return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)

    k, v = (x.repeat_interleave(heads // groups, 1) for x in (turned(k), v))
    scores = torch.einsum("qhd,khd->hqk", turned(q), k) / dim**0.5
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~mask, -torch.inf).softmax(-1), v).flatten(1)


@settings(max_examples=60, deadline=None)
@given(layouts, st.sampled_from([(1, 1), (4, 2), (6, 2)]), st.sampled_from([2, 6]), st.sampled_from([3, 128]), seeds)
def test_attention_with_blocks_is_attention_under_their_mask(rows: list[Apart], shape: tuple[int, int], dim: int, tile: int,
                                                            seed: int) -> None:
    """In both types, however many queries go at once."""
    (heads, groups), (lengths, blocks), (cos, sin), mask = shape, laid_out(rows), turned_by(rows, dim), looks(rows)
    x = drawn(seed, sum(lengths), (heads + 2 * groups) * dim)

    def ours(x: Any) -> Any:
        return Attention.apply(x, cos.to(x.dtype), sin.to(x.dtype), lengths, heads, groups, dim, blocks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "_QUERIES", tile)
        compared(ours, lambda x: masked_attention(x, cos, sin, mask, heads, groups, dim), [x])
        mine, exact = (x.double().requires_grad_() for _ in range(2))
        value, other = ours(mine), masked_attention(exact, cos, sin, mask, heads, groups, dim)
        outer = drawn(seed + 1, *value.shape).double()
        value.backward(outer)
        other.backward(outer)
    assert torch.allclose(value, other, rtol=1e-11, atol=1e-12) and torch.allclose(mine.grad, exact.grad, rtol=1e-10, atol=1e-11)


@few
@given(layouts, seeds)
def test_a_block_neither_sees_another_nor_is_taught_by_it(rows: list[Apart], seed: int) -> None:
    """Bit for bit: its states whatever stands in the others, and the gradient that its own states send back."""
    lengths, blocks = laid_out([(before, [*inner, 2, 3], after) for before, inner, after in rows])
    rows = [(before, [*inner, 2, 3], after) for before, inner, after in rows]
    cos, sin = turned_by(rows, 4)
    first, last = blocks[0][seed % len(blocks[0])]
    others = torch.zeros(sum(lengths), 1)
    for start, end in blocks[0]:
        others[start:end] = float((start, end) != (first, last))
    values, grads = [], []
    for change in (0, 1):
        x = (drawn(seed, sum(lengths), 16) + change * others).requires_grad_()
        value = Attention.apply(x, cos, sin, lengths, 2, 1, 4, blocks)
        value[first:last].sum().backward()
        values.append(value[first:last].detach())
        grads.append(x.grad)
    assert torch.equal(*values) and torch.equal(*grads) and not grads[0][others[:, 0] > 0].any()


@few
@given(st.integers(1, 5), st.lists(st.integers(1, 9), min_size=2, max_size=4), st.integers(1, 9), seeds)
def test_the_order_of_blocks_is_no_difference(before: int, inner: list[int], after: int, seed: int) -> None:
    order = torch.randperm(len(inner), generator=torch.Generator().manual_seed(seed)).tolist()
    (length,), (spans,) = laid_out([(before, inner, after)])
    index = [*range(before), *(n for place in order for n in range(*spans[place])), *range(length - after, length)]
    x = drawn(seed, length, 16)

    def under(x: Any, inner: list[int]) -> Any:
        rows = [(before, inner, after)]
        return Attention.apply(x, *turned_by(rows, 4), [length], 2, 1, 4, laid_out(rows)[1])

    def back(value: Any) -> Any:
        """In the first order again."""
        return torch.empty_like(value).index_copy_(0, torch.tensor(index), value)

    compared(lambda x: back(under(x[index], [inner[place] for place in order])), lambda x: masked_attention(
        x, *turned_by([(before, inner, after)], 4), looks([(before, inner, after)]), 2, 1, 4), [x])


def test_nothing_is_scored_that_a_block_does_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, weights = [], kernels._weights

    def counted(q: Any, keys: Any, start: int, end: int) -> Any:
        pairs.append((end - start) * keys.shape[1])
        return weights(q, keys, start, end)

    monkeypatch.setattr(kernels, "_weights", counted)
    rows: list[Apart] = [(10, [100, 120, 90], 20)]
    (lengths, blocks), (cos, sin) = laid_out(rows), turned_by(rows, 4)
    Attention.apply(drawn(0, 340, 16), cos, sin, lengths, 2, 1, 4, blocks)
    assert sum(pairs) == 10 * 10 + 100 * 110 + 120 * 130 + 90 * 100 + 20 * 340


@pytest.mark.parametrize("name", ["norm", "gated", "projections", "attention", "blocks", "loss"])
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
        "blocks": lambda x: Attention.apply(x, cos, sin, [1, 5], 2, 1, 4, [[], [(1, 2), (2, 4)]]),
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
