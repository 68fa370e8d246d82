"""The four pieces of a decoder layer as autograd functions that are quick on CPUs, and the loss. Plain torch, any float type.

What they save over the stock modules: LoRA runs in the compute type and as one product for all projections that share an input;
attention never touches the half above the diagonal and keeps no scores; nothing is kept for gradients that nobody wants; the loss
never holds more than a few rows of the vocabulary. Knows nothing of models: tensors in, tensors out.

Shapes: N tokens, T tokens of one row, C channels, H heads that share G key/value heads, D channels a head, R ranks in all, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

_QUERIES = 128
"""Query positions a block of attention looks at: larger blocks waste work above the diagonal, smaller ones waste calls."""
_LOSS_ELEMENTS = 4 << 20
"""Logits held at once."""

Spans = Sequence[tuple[int, int]]
"""Half-open stretches of one row, one behind the other."""


class Norm(Function):  # type: ignore[misc]
    """RMSNorm: x [N, C] · weight / rms(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, inverse, weight)
        return (x * inverse.to(x.dtype)).mul_(weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, inverse, weight = ctx.saved_tensors
        scaled = grad * weight
        along = (scaled * x).sum(-1, keepdim=True, dtype=torch.float32).mul_(inverse.pow(3)).div_(x.shape[-1])
        return scaled.mul_(inverse.to(x.dtype)).addcmul_(x, along.to(x.dtype), value=-1), None, None


class Projections(Function):  # type: ignore[misc]
    """Linear layers that share their input, with their LoRA: x [N, C] → [N, outputs of all, side by side].

    `weight()` is the frozen weight [outputs, C], all layers' rows on top of each other; a function, so that a quantised one can be
    expanded when it is needed. Half of `factors` are the A [rank, C], the other half the B [outputs, rank] of each layer. Dropout in front
    of A comes from `seed` alone, one mask for all layers: so it is the same when computed again, in whatever thread.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Callable[[], Tensor], bias: Tensor | None, scales: Sequence[float], drop: float,
                seed: int, *factors: Tensor) -> Tensor:
        a, b = _joined(factors, scales, x.dtype)
        mask = None if drop == 0 else _mask(x, 1 - drop, seed)
        shown = x if mask is None else x * mask
        low = shown @ a.t()
        y = torch.mm(x, weight().t()) if bias is None else torch.addmm(bias, x, weight().t())
        y.addmm_(low, b.t())
        ctx.save_for_backward(x, low, a, b, mask)
        ctx.weight, ctx.scales, ctx.shapes = weight, scales, [tuple(f.shape) for f in factors]
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, low, a, b, mask = ctx.saved_tensors
        grad_low = grad @ b
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.mm(grad, ctx.weight())
            grad_x.addmm_(grad_low, a) if mask is None else grad_x.addcmul_(grad_low @ a, mask)
        grad_a = (grad_low.t() @ (x if mask is None else x * mask)).float()
        grad_b = (low.t() @ grad).float().t()  # this way round the large factor is read in its own order
        return grad_x, None, None, None, None, None, *_parted(grad_a, grad_b, ctx.shapes, ctx.scales)


def _mask(x: Tensor, kept: float, seed: int) -> Tensor:
    """1 / kept where an element is kept, 0 elsewhere."""
    return torch.empty_like(x).bernoulli_(kept, generator=torch.Generator(x.device).manual_seed(seed)).div_(kept)


def _joined(factors: Sequence[Tensor], scales: Sequence[float], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A of all layers [R, C], and their scaled B on the diagonal of one matrix [outputs, R]."""
    half = len(factors) // 2
    a = torch.cat([f.detach() for f in factors[:half]]).to(dtype)
    b = torch.block_diag(*(f.detach() * s for f, s in zip(factors[half:], scales, strict=True))).to(dtype)
    return a, b


def _parted(grad_a: Tensor, grad_b: Tensor, shapes: Sequence[tuple[int, int]], scales: Sequence[float]) -> list[Tensor]:
    """The reverse of `_joined`, for gradients."""
    half = len(shapes) // 2
    parts_a, parts_b, row, rank = [], [], 0, 0
    for (r, _), (outputs, _), scale in zip(shapes[:half], shapes[half:], scales, strict=True):
        parts_a.append(grad_a[rank : rank + r])
        parts_b.append(grad_b[row : row + outputs, rank : rank + r] * scale)
        row, rank = row + outputs, rank + r
    return [*parts_a, *parts_b]


class Gated(Function):  # type: ignore[misc]
    """SwiGLU: [N, 2·I], gate and up side by side → silu(gate) · up [N, I]."""

    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        ctx.save_for_backward(both)
        gate, up = both.chunk(2, -1)
        return torch.nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (both,) = ctx.saved_tensors
        gate, up = both.chunk(2, -1)
        out = torch.empty_like(both)
        grad_gate, grad_up = out.chunk(2, -1)
        torch.mul(torch.nn.functional.silu(gate), grad, out=grad_up)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=grad_gate)
        return out


class Attention(Function):  # type: ignore[misc]
    """Rotary positions and causal attention within each of `rows`: [N, (H + 2·G)·D], queries, keys, values side by side → [N, H·D].

    `cos` and `sin` [N, D / 2] are of each token's position. `rows` are the lengths of the sequences that lie one after the other in
    the N tokens; no token sees another row. `blocks` are stretches of each row that do not see one another, only what stands before the
    first of them and themselves; what follows sees them all. Left out, no row has any.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cos: Tensor, sin: Tensor, rows: Sequence[int], heads: int, groups: int, dim: int,
                blocks: Sequence[Spans] = ()) -> Tensor:
        ctx.args = (rows, heads, groups, dim, blocks)
        turned = _turn(qkv, cos, sin, heads + groups, dim)
        out = torch.empty(qkv.shape[0], heads * dim, dtype=qkv.dtype)
        for first, last, tiles in _divided(rows, blocks):
            q, k, v = _heads(turned[first:last], qkv[first:last], heads, groups, dim)
            _attend(q, k, v, tiles, out[first:last])
        ctx.save_for_backward(turned, qkv, cos, sin)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        turned, qkv, cos, sin = ctx.saved_tensors
        rows, heads, groups, dim, blocks = ctx.args
        out = torch.empty_like(qkv)
        for first, last, tiles in _divided(rows, blocks):
            q, k, v = _heads(turned[first:last], qkv[first:last], heads, groups, dim)
            _attend_back(q, k, v, tiles, grad[first:last], out[first:last])
        straight = (heads + groups) * dim
        out[:, :straight] = _turn(out, cos, -sin, heads + groups, dim).view(-1, straight)
        return out, None, None, None, None, None, None, None


class _Tile(NamedTuple):
    """Queries of a row that are looked at together, start:end. They see the first `shared` keys and those from `first` to their own."""

    start: int
    end: int
    shared: int
    first: int

    def seen(self, x: Tensor) -> Tensor:
        """What they see of keys or values x [G, T, D]."""
        near = x[:, self.first : self.end]
        return torch.cat([x[:, : self.shared], near], 1) if self.shared else near

    def add(self, total: Tensor, part: Tensor) -> None:
        """Add `part` [G, D, …], which is of what they see, to `total` [G, D, T]."""
        total[:, :, : self.shared] += part[:, :, : self.shared]
        total[:, :, self.first : self.end] += part[:, :, self.shared :]


def _divided(rows: Sequence[int], blocks: Sequence[Spans]) -> Iterator[tuple[int, int, list[_Tile]]]:
    """Where each row lies, and its queries in tiles."""
    start = 0
    for number, length in enumerate(rows):
        yield start, start + length, list(_tiles(length, blocks[number] if blocks else ()))
        start += length


def _tiles(length: int, blocks: Spans) -> Iterator[_Tile]:
    """All queries of a row, in order. Nothing is computed that a block does not see."""
    before, after = (blocks[0][0], blocks[-1][1]) if blocks else (0, 0)
    # The first block stands where its keys would stand in any case.
    inner = [(first, last, *((before, first) if first > before else (0, 0))) for first, last in blocks]
    for first, last, shared, near in [(0, before, 0, 0), *inner, (after, length, 0, 0)]:
        for start in range(first, last, _QUERIES):
            yield _Tile(start, min(start + _QUERIES, last), shared, near)


def _turn(x: Tensor, cos: Tensor, sin: Tensor, heads: int, dim: int) -> Tensor:
    """The first `heads` heads of x [N, …], each rotated by its token's position: [N, heads, D]."""
    first, second = x[:, : heads * dim].view(-1, heads, 2, dim // 2).unbind(2)
    cos, sin = cos[:, None], sin[:, None]
    out = torch.empty(x.shape[0], heads, 2, dim // 2, dtype=x.dtype)
    torch.mul(first, cos, out=out[:, :, 0]).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=out[:, :, 1]).addcmul_(first, sin)
    return out.view(x.shape[0], heads, dim)


def _heads(turned: Tensor, qkv: Tensor, heads: int, groups: int, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scaled queries [G, H/G, T, D], keys and values [G, T, D] of one row."""
    length = turned.shape[0]
    q = turned[:, :heads].mul(dim**-0.5).view(length, groups, heads // groups, dim).permute(1, 2, 0, 3).contiguous()
    k = turned[:, heads:].transpose(0, 1).contiguous()
    v = qkv[:, -groups * dim :].view(length, groups, dim).transpose(0, 1).contiguous()
    return q, k, v


def _weights(q: Tensor, keys: Tensor, start: int, end: int) -> Tensor:
    """Attention weights [G, H/G·n, K] of the n queries in start:end; `keys` [G, K, D] are what they see, their own at the end."""
    groups, share, _, dim = q.shape
    n = end - start
    scores = torch.bmm(q[:, :, start:end].reshape(groups, share * n, dim), keys.transpose(1, 2))
    scores.view(groups, share, n, -1)[..., -n:].add_(_future(n, q.dtype))
    return torch.softmax(scores, -1)


def _future(n: int, dtype: torch.dtype) -> Tensor:
    """0 where a query may look, -inf above the diagonal [n, n]."""
    return torch.full((n, n), -torch.inf, dtype=dtype).triu_(1)


def _attend(q: Tensor, k: Tensor, v: Tensor, tiles: Sequence[_Tile], out: Tensor) -> None:
    """Causal attention into out [T, H·D], tile by tile."""
    groups, share, length, dim = q.shape
    seen = out.view(length, groups, share, dim)
    for tile in tiles:
        start, end = tile[:2]
        part = torch.bmm(_weights(q, tile.seen(k), start, end), tile.seen(v))
        seen[start:end] = part.view(groups, share, end - start, dim).permute(2, 0, 1, 3)


def _attend_back(q: Tensor, k: Tensor, v: Tensor, tiles: Sequence[_Tile], grad: Tensor, out: Tensor) -> None:
    """Gradients of queries, keys and values, still rotated, into out [T, (H + 2·G)·D]. Weights are computed again, not remembered."""
    groups, share, length, dim = q.shape
    # Keys and values gather from every tile: in 32 bits or more, and transposed, which is how the products come out fastest.
    grad_k, grad_v = torch.zeros(2, groups, dim, length, dtype=torch.promote_types(q.dtype, torch.float32))
    grad_q = out[:, : groups * share * dim].view(length, groups, share, dim)
    seen = grad.view(length, groups, share, dim).permute(1, 2, 0, 3)
    for tile in tiles:
        start, end = tile[:2]
        keys, values = tile.seen(k), tile.seen(v)
        shape = (groups, share * (end - start), dim)
        weights = _weights(q, keys, start, end)
        part = seen[:, :, start:end].reshape(shape)
        tile.add(grad_v, torch.bmm(part.transpose(1, 2), weights))
        scores = torch.ops.aten._softmax_backward_data(torch.bmm(part, values.transpose(1, 2)), weights, -1, weights.dtype)
        grad_q[start:end] = torch.bmm(scores, keys).mul_(dim**-0.5).view(groups, share, -1, dim).permute(2, 0, 1, 3)
        tile.add(grad_k, torch.bmm(q[:, :, start:end].reshape(shape).transpose(1, 2), scores))
    sides = out[:, groups * share * dim :].view(length, 2, groups, dim)
    sides[:, 0], sides[:, 1] = grad_k.permute(2, 0, 1), grad_v.permute(2, 0, 1)


class LabelLoss(Function):  # type: ignore[misc]
    """Σ −log p(target) of hidden [L, C] under the output weight [V, C], times `scale`. Gradients are made on the way, a few rows at a time.

    Returns the loss and how many of the L targets were the most probable token (no gradient).
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        wanted = ctx.needs_input_grad[0]
        grad = torch.empty_like(hidden) if wanted else None
        total = hidden.new_zeros((), dtype=torch.float32)
        hits = torch.zeros((), dtype=torch.int64, device=hidden.device)
        rows = max(1, _LOSS_ELEMENTS // weight.shape[0])
        for start in range(0, hidden.shape[0], rows):
            block, target = hidden[start : start + rows], targets[start : start + rows, None]
            logits = (block @ weight.t()).float()
            said = logits.gather(1, target)
            top = logits.amax(1, keepdim=True)
            hits += (said == top).sum()
            mass = logits.sub_(top).exp_().sum(1, keepdim=True)
            total += (mass.log() + top - said).sum()
            if grad is not None:
                logits.mul_(scale / mass).scatter_add_(1, target, torch.full_like(said, -scale))
                grad[start : start + rows] = logits.to(block.dtype) @ weight
        ctx.save_for_backward(grad)
        ctx.mark_non_differentiable(hits)
        return total * scale, hits

    @staticmethod
    def backward(ctx: Any, outer: Tensor, _: Any) -> tuple[Tensor, None, None, None]:
        (grad,) = ctx.saved_tensors
        return grad * outer.to(grad.dtype), None, None, None


def answers(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities (float32) of targets [L] given hidden [L, C], and the most probable tokens [L]. No gradients."""
    logprobs, greedy = [], []
    rows = max(1, _LOSS_ELEMENTS // weight.shape[0])
    for start in range(0, hidden.shape[0], rows):
        logits = (hidden[start : start + rows] @ weight.t()).float()
        target = targets[start : start + rows, None]
        top, choice = logits.max(1, keepdim=True)
        said = logits.gather(1, target)
        logprobs.append((said - top - logits.sub_(top).exp_().sum(1, keepdim=True).log())[:, 0])
        greedy.append(choice[:, 0])
    return torch.cat(logprobs), torch.cat(greedy)
