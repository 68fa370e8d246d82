"""A decoder run by `kernels` instead of its own modules, for training on CPUs: the same weights, the same adapter, the same result. Knows
nothing of samples, losses and optimisers.

Takes over models of the Llama and Qwen2 architectures, with or without 4-bit weights; any other model is left to its own code. Nothing
in the model is replaced: this is another way to compute its last hidden states.

Samples go side by side. One core for a sample beats all cores for one sample: nobody waits for anybody, where threads that share an
operation wait for each other at its end, thousands of times a second."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from edgexp.prompt.render import block_positions
from edgexp.training.cpu.kernels import Attention, Gated, Norm, Projections, Spans

T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """A thread for every core, each with the cores that are left over for it."""

    def __init__(self, cores: int):
        self._cores, self._pool = cores, ThreadPoolExecutor(cores)

    def each(self, task: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """The task's results, in the order of the items."""
        threads = max(1, self._cores // max(1, len(items)))

        def alone(item: T) -> R:
            torch.set_num_threads(threads)  # of this worker's own operations
            return task(item)

        return self._pool.map(alone, items)


ARCHITECTURES = ("llama", "qwen2")
LAYERS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def suits(config: Any) -> bool:
    """Whether a model with this transformers configuration can be run here."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return config.model_type in ARCHITECTURES and config.hidden_act == "silu" and kinds == {"full_attention"}


class Quick:
    """Last hidden states of a decoder. Make it after the adapter is in place; it holds the same tensors."""

    def __init__(self, decoder: Any, recompute: bool = False):
        """`decoder` is the inner model (embeddings, layers, norm). `recompute` trades time for memory: a layer's inner values are
        computed again for the gradients instead of kept."""
        self._decoder, self._recompute = decoder, recompute
        self._layers = [_Layer(layer) for layer in decoder.layers]

    def __call__(self, ids: Tensor, lengths: Sequence[int], blocks: Sequence[Spans], keep: Tensor, seed: int | None) -> Tensor:
        """The normalised last hidden states [K, C] at the positions `keep` [K] of ids [N], which hold rows of `lengths` end to end.

        `blocks` are the stretches of each row that stand apart. With a `seed` there is dropout, and it comes from the seed alone. Several
        threads may call at once.
        """
        rows = (lengths, blocks)
        positions = torch.tensor([position for n, apart in zip(*rows, strict=True) for position in block_positions(n, apart)])
        hidden = self._decoder.embed_tokens(ids)
        cos, sin = self._decoder.rotary_emb(hidden[None], positions[None])
        half = cos.shape[-1] // 2
        cos, sin = cos[0, :, :half].contiguous(), sin[0, :, :half].contiguous()
        for number, layer in enumerate(self._layers):
            own = None if seed is None else seed * 1_000_003 + 4 * number
            if self._recompute and torch.is_grad_enabled():
                hidden = checkpoint(layer, hidden, cos, sin, rows, own, use_reentrant=False)
            else:
                hidden = layer(hidden, cos, sin, rows, own)
        norm = self._decoder.norm
        return Norm.apply(hidden[keep], norm.weight, norm.variance_epsilon)


class _Layer:
    """One decoder layer."""

    def __init__(self, layer: Any):
        attention, mlp = layer.self_attn, layer.mlp
        self._norms = [(n.weight, n.variance_epsilon) for n in (layer.input_layernorm, layer.post_attention_layernorm)]
        self._qkv = _Group([attention.q_proj, attention.k_proj, attention.v_proj])
        self._out = _Group([attention.o_proj])
        self._both = _Group([mlp.gate_proj, mlp.up_proj])
        self._down = _Group([mlp.down_proj])
        dim, config = attention.head_dim, attention.config
        self._shape = (config.num_attention_heads, config.num_key_value_heads, dim)

    def __call__(self, hidden: Tensor, cos: Tensor, sin: Tensor, rows: tuple[Sequence[int], Sequence[Spans]], seed: int | None) -> Tensor:
        lengths, blocks = rows
        seeds = [None if seed is None else seed + number for number in range(4)]
        seen = Attention.apply(self._qkv(Norm.apply(hidden, *self._norms[0]), seeds[0]), cos, sin, lengths, *self._shape, blocks)
        hidden = hidden + self._out(seen, seeds[1])
        both = self._both(Norm.apply(hidden, *self._norms[1]), seeds[2])
        return hidden + self._down(Gated.apply(both), seeds[3])


class _Group:
    """Linear layers that share their input, as one matrix, with the LoRA factors of those that are adapted."""

    def __init__(self, modules: Sequence[Any]):
        bases = [getattr(m, "base_layer", m) for m in modules]
        self._weight = _stacked(bases) if all(type(b.weight).__name__ == "Parameter" for b in bases) else _expanding(bases)
        self._bias = None if bases[0].bias is None else torch.cat([b.bias.detach() for b in bases])
        self._scales = [float(m.scaling["default"]) if hasattr(m, "lora_A") else 0.0 for m in modules]
        self._factors = [_factor(m, b, side) for side in ("lora_A", "lora_B") for m, b in zip(modules, bases, strict=True)]
        self._drop = max(float(getattr(m.lora_dropout["default"], "p", 0.0)) if hasattr(m, "lora_A") else 0.0 for m in modules)

    def __call__(self, x: Tensor, seed: int | None) -> Tensor:
        drop = 0.0 if seed is None else self._drop
        return Projections.apply(x, self._weight, self._bias, self._scales, drop, seed or 0, *self._factors)


def _factor(module: Any, base: Any, side: str) -> Tensor:
    """A or B of an adapted layer; of rank 0 where it is not adapted."""
    if hasattr(module, "lora_A"):
        return getattr(module, side)["default"].weight
    return torch.empty((0, base.in_features) if side == "lora_A" else (base.out_features, 0))


def _stacked(bases: Sequence[Any]) -> Callable[[], Tensor]:
    """All rows in one tensor; the layers' own weights become views of it, so nothing is held twice."""
    whole = torch.cat([b.weight.detach() for b in bases])
    row = 0
    for base in bases:
        base.weight.data = whole[row : row + base.out_features]
        row += base.out_features
    return lambda: whole


def _expanding(bases: Sequence[Any]) -> Callable[[], Tensor]:
    """Rows expanded from bitsandbytes' 4-bit form each time."""
    from bitsandbytes.functional import dequantize_4bit

    def weight() -> Tensor:
        return torch.cat([dequantize_4bit(b.weight.data, b.weight.quant_state).to(b.compute_dtype) for b in bases])

    return weight
