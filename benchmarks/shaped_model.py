"""A GGUF with the shape of a model that people run, and random weights: speed does not depend on what the weights are.

    uv run python benchmarks/shaped_model.py qwen2.5-1.5b.Q8_0.gguf

The same seed gives the same file. The vocabulary and the chat template are those of a model that is here, so the matrices at both ends are
as large as that vocabulary, not as the original's. Tensors are made and written row by row: a file of any size takes the memory of some
rows. What such a model writes means nothing.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from edgexp.gguf import formats
from edgexp.gguf.quantise import QUANTS, plan
from edgexp.gguf.reader import GgufFile, Tensor, open_gguf
from edgexp.gguf.writer import entry, write_gguf
from edgexp.models import BASE_POLICY, resolve

CHUNK = 1 << 20
"""Numbers made at a time."""


@dataclass(frozen=True)
class Shape:
    """What decides how much work a token is."""

    architecture: str
    layers: int
    width: int
    inner: int
    """Width of the feed-forward part."""
    heads: int
    key_heads: int
    """Heads of keys and values."""
    theta: float
    """Base of the rotary positions."""
    biases: bool = False
    """Whether queries, keys and values have biases."""


SHAPES = {
    "smollm2-135m": Shape("llama", 30, 576, 1536, 9, 3, 100_000.0),
    "smollm2-360m": Shape("llama", 32, 960, 2560, 15, 5, 100_000.0),
    "qwen2.5-0.5b": Shape("qwen2", 24, 896, 4864, 14, 2, 1e6, biases=True),
    "qwen2.5-1.5b": Shape("qwen2", 28, 1536, 8960, 12, 2, 1e6, biases=True),
    "qwen2.5-7b": Shape("qwen2", 28, 3584, 18944, 28, 4, 1e6, biases=True),
}
CONTEXT = 32_768


def write_shaped(path: Path, shape: Shape, quant: str, vocabulary: GgufFile, seed: int = 0) -> str:
    """Write a model with the vocabulary of another; the file's SHA-256. `quant` is one of `QUANTS`. Raises EdgexpError."""
    model = GgufFile(path, 0, _entries(shape, quant, vocabulary), {t.name: t for t in _tensors(shape, vocabulary)}, 32)

    def data(tensor: Tensor) -> Iterator[formats.Bytes]:
        chance, rows = np.random.default_rng([seed, zlib.crc32(tensor.name.encode())]), max(1, CHUNK // tensor.columns)
        for first in range(0, tensor.rows, rows):
            yield formats.from_float(tensor.kind, _values(tensor, (min(rows, tensor.rows - first), tensor.columns), chance))

    return write_gguf(path, model.entries, plan(model, quant), data)


def _values(tensor: Tensor, size: tuple[int, int], chance: np.random.Generator) -> formats.Floats:
    """Weights small enough that the scores stay numbers through all layers; norms that change nothing."""
    if tensor.name.endswith("_norm.weight"):
        return np.ones(size, np.float32)
    if tensor.name.endswith("bias"):
        return np.zeros(size, np.float32)
    return chance.standard_normal(size, np.float32) * np.float32(0.02)


def _entries(shape: Shape, quant: str, vocabulary: GgufFile) -> dict[str, bytes]:
    about: dict[str, str | int | float] = {
        "block_count": shape.layers, "context_length": CONTEXT, "embedding_length": shape.width, "feed_forward_length": shape.inner,
        "attention.head_count": shape.heads, "attention.head_count_kv": shape.key_heads, "rope.freq_base": shape.theta,
        "attention.layer_norm_rms_epsilon": 1e-6, "rope.dimension_count": shape.width // shape.heads,
    }  # fmt: skip
    named = {f"{shape.architecture}.{key}": value for key, value in about.items()}
    named = {"general.architecture": shape.architecture, "general.name": "random weights", "general.file_type": QUANTS[quant][1],
             "general.quantization_version": 2, **named}
    return {key: entry(key, value) for key, value in named.items()} | {
        key: raw for key, raw in vocabulary.entries.items() if key.startswith("tokenizer.")
    }


def _tensors(shape: Shape, vocabulary: GgufFile) -> list[Tensor]:
    """All tensors, with the input's matrix as the output's too."""
    width, inner, keys = shape.width, shape.inner, shape.width // shape.heads * shape.key_heads
    layer = {
        "attn_norm.weight": (width,), "attn_q.weight": (width, width), "attn_k.weight": (keys, width), "attn_v.weight": (keys, width),
        "attn_output.weight": (width, width), "ffn_norm.weight": (width,), "ffn_gate.weight": (inner, width),
        "ffn_up.weight": (inner, width), "ffn_down.weight": (width, inner),
    }  # fmt: skip
    if shape.biases:
        layer |= {"attn_q.bias": (width,), "attn_k.bias": (keys,), "attn_v.bias": (keys,)}
    sizes: dict[str, tuple[int, ...]] = {"token_embd.weight": (len(vocabulary.require("tokenizer.ggml.tokens")), width)}
    sizes |= {f"blk.{number}.{name}": size for number in range(shape.layers) for name, size in layer.items()}
    sizes["output_norm.weight"] = (width,)
    return [Tensor(name, size, formats.F32) for name, size in sizes.items()]


@click.command()
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--shape", type=click.Choice(list(SHAPES)), default="qwen2.5-1.5b", show_default=True)
@click.option("--kind", type=click.Choice(list(QUANTS)), default="q8_0", show_default=True, help="The file's number format.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def main(out: Path, shape: str, kind: str, seed: int) -> None:
    """Write a model of a known shape with random weights to OUT."""
    digest = write_shaped(out, SHAPES[shape], kind, open_gguf(resolve(BASE_POLICY).path), seed)
    click.echo(f"{out}: {out.stat().st_size / 1e6:,.0f} MB, sha256 {digest}")


if __name__ == "__main__":
    main()
