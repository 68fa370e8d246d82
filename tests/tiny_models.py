"""GGUF files of small models with random weights that llama.cpp really runs, with the vocabulary of another file.

They say nothing that means anything; they are for what differs between kinds of models: what is kept of what was seen, which tensors and
metadata there are, and weights that are no numbers.
"""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgexp.gguf import formats
from edgexp.gguf.reader import ARRAY, STRING, GgufFile, Tensor, open_gguf
from edgexp.gguf.writer import entry, write_gguf

WIDTH, INNER, LAYERS = 32, 256, 2

FOREIGN = {
    34: ("TQ1_0", 256, bytes(range(52)) + b"\x00\x20"),
    35: ("TQ2_0", 256, b"\x24" * 64 + b"\x00\x20"),
    39: ("MXFP4", 32, b"\x7a" + bytes(range(16))),
    40: ("NVFP4", 64, b"\x20" * 4 + bytes(range(32))),
}
"""Number formats that are not read by edgexp: name, numbers in a block, and a block of sound values."""
Value = str | int | float | bool | list[int] | list[str] | bytes


def metadata_entry(key: str, value: Value) -> bytes:
    """A metadata entry's bytes; lists are of 32-bit numbers or of texts. Bytes are a type and a value as they stand in the file."""
    def text(words: str) -> bytes:
        return struct.pack("<Q", len(words.encode())) + words.encode()

    if isinstance(value, bytes):
        return text(key) + value
    if isinstance(value, bool):
        return text(key) + struct.pack("<I?", 7, value)
    if isinstance(value, list):
        words = bool(value) and isinstance(value[0], str)
        items = b"".join(text(str(v)) if words else struct.pack("<i", v) for v in value)
        return text(key) + struct.pack("<IIQ", ARRAY, STRING if words else 5, len(value)) + items
    return entry(key, value)


def vocabulary_of(file: GgufFile) -> dict[str, bytes]:
    """The tokenizer of a file, its chat template included."""
    return {key: raw for key, raw in file.entries.items() if key.startswith("tokenizer.")}


def write_model(path: Path, vocabulary: Mapping[str, bytes], size: int, architecture: str = "llama", *,
                about: Mapping[str, Value] | None = None, values: Mapping[str, float] | None = None,
                leave_out: tuple[str, ...] = (), kinds: Mapping[str, int] | None = None, seed: int = 0) -> Path:
    """A model of an architecture of this file. `about` adds to or replaces metadata, `values` fills tensors with one number, `kinds` gives
    some of the tensors a number format of `FOREIGN`."""
    meta, shapes = {"llama": _llama, "mamba": _mamba, "lfm2": _lfm2, "bert": _bert}[architecture]()
    named: dict[str, Value] = {"general.architecture": architecture, "general.name": "tiny",
                               **{f"{architecture}.{key}": value for key, value in meta.items()}, **(about or {})}
    entries = {key: metadata_entry(key, value) for key, value in named.items() if key not in leave_out} | dict(vocabulary)
    if architecture == "bert":
        entries["tokenizer.ggml.token_type_count"] = metadata_entry("tokenizer.ggml.token_type_count", 2)
    shapes = {"token_embd.weight": (size, WIDTH), **shapes}
    odd = kinds or {}
    tensors = [Tensor(name, shape, odd.get(name, formats.F32)) for name, shape in shapes.items() if name not in leave_out]
    rng, fixed = np.random.default_rng(seed), values or {}

    def data(tensor: Tensor):
        if tensor.kind in FOREIGN:
            _, elements, block = FOREIGN[tensor.kind]
            yield np.frombuffer(block * (tensor.rows * tensor.columns // elements), np.uint8)
            return
        numbers = rng.standard_normal((tensor.rows, tensor.columns)).astype(np.float32) / np.float32(tensor.columns**0.5)
        if tensor.name == "token_embd.weight":
            numbers *= np.float32(WIDTH**0.5)
        if "norm.weight" in tensor.name:
            numbers[:] = 1
        if tensor.name.endswith("ssm_a"):
            numbers = -np.abs(numbers) - np.float32(0.1)  # a state that fades
        if tensor.name in fixed:
            numbers[:] = fixed[tensor.name]
        yield formats.from_float(tensor.kind, numbers)

    added = {kind: formats.Kind(name, elements, len(block)) for kind, (name, elements, block) in FOREIGN.items()}
    formats.KINDS.update(added)
    try:
        write_gguf(path, entries, tensors, data)
    finally:
        for kind in added:
            del formats.KINDS[kind]
    return path


Shapes = dict[str, tuple[int, ...]]


def _attention(n: int) -> Shapes:
    return {f"blk.{n}.attn_{part}.weight": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")}


def _feed_forward(n: int) -> Shapes:
    return {f"blk.{n}.ffn_norm.weight": (WIDTH,), f"blk.{n}.ffn_gate.weight": (INNER, WIDTH),
            f"blk.{n}.ffn_up.weight": (INNER, WIDTH), f"blk.{n}.ffn_down.weight": (WIDTH, INNER)}


COMMON: dict[str, Value] = {"context_length": 4096, "embedding_length": WIDTH, "block_count": LAYERS}


def _llama() -> tuple[dict[str, Value], Shapes]:
    meta = {**COMMON, "feed_forward_length": INNER, "attention.head_count": 4, "attention.head_count_kv": 4, "rope.dimension_count": 8,
            "attention.layer_norm_rms_epsilon": 1e-5}
    shapes: Shapes = {"output_norm.weight": (WIDTH,)}
    for n in range(LAYERS):
        shapes |= {f"blk.{n}.attn_norm.weight": (WIDTH,)} | _attention(n) | _feed_forward(n)
    return meta, shapes


def _mamba() -> tuple[dict[str, Value], Shapes]:
    state, rank, kernel, inner = 8, 4, 4, 2 * WIDTH
    meta = {**COMMON, "feed_forward_length": 0, "attention.head_count": 0, "attention.layer_norm_rms_epsilon": 1e-5,
            "ssm.conv_kernel": kernel, "ssm.inner_size": inner, "ssm.state_size": state, "ssm.time_step_rank": rank}
    shapes: Shapes = {"output_norm.weight": (WIDTH,)}
    for n in range(LAYERS):
        shapes |= {f"blk.{n}.attn_norm.weight": (WIDTH,), f"blk.{n}.ssm_in.weight": (2 * inner, WIDTH),
                   f"blk.{n}.ssm_conv1d.weight": (inner, kernel), f"blk.{n}.ssm_conv1d.bias": (inner,),
                   f"blk.{n}.ssm_x.weight": (rank + 2 * state, inner), f"blk.{n}.ssm_dt.weight": (inner, rank),
                   f"blk.{n}.ssm_dt.bias": (inner,), f"blk.{n}.ssm_a": (inner, state), f"blk.{n}.ssm_d": (inner,),
                   f"blk.{n}.ssm_out.weight": (WIDTH, inner)}
    return meta, shapes


def _lfm2() -> tuple[dict[str, Value], Shapes]:
    kernel = 3
    meta = {**COMMON, "feed_forward_length": INNER, "attention.head_count": 4, "attention.head_count_kv": [0, 4],
            "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000.0, "shortconv.l_cache": kernel, "vocab_size": 0}
    shapes: Shapes = {"token_embd_norm.weight": (WIDTH,)}
    shapes |= {"blk.0.shortconv.conv.weight": (WIDTH, kernel), "blk.0.shortconv.in_proj.weight": (3 * WIDTH, WIDTH),
               "blk.0.shortconv.out_proj.weight": (WIDTH, WIDTH)}
    shapes |= _attention(1) | {"blk.1.attn_q_norm.weight": (8,), "blk.1.attn_k_norm.weight": (8,)}
    for n in range(LAYERS):
        shapes |= {f"blk.{n}.attn_norm.weight": (WIDTH,)} | _feed_forward(n)
    return meta, shapes


def _bert() -> tuple[dict[str, Value], Shapes]:
    meta = {**COMMON, "feed_forward_length": INNER, "attention.head_count": 4, "attention.layer_norm_epsilon": 1e-5,
            "attention.causal": False, "pooling_type": 1}
    shapes: Shapes = {"position_embd.weight": (4096, WIDTH), "token_types.weight": (2, WIDTH), "token_embd_norm.weight": (WIDTH,),
                      "token_embd_norm.bias": (WIDTH,)}
    for n in range(LAYERS):
        shapes |= _attention(n) | {f"blk.{n}.attn_{part}.bias": (WIDTH,) for part in ("q", "k", "v", "output")}
        shapes |= {f"blk.{n}.{norm}.{what}": (WIDTH,) for norm in ("attn_output_norm", "layer_output_norm") for what in ("weight", "bias")}
        shapes |= {f"blk.{n}.ffn_up.weight": (INNER, WIDTH), f"blk.{n}.ffn_up.bias": (INNER,),
                   f"blk.{n}.ffn_down.weight": (WIDTH, INNER), f"blk.{n}.ffn_down.bias": (WIDTH,)}
    return meta, shapes


def borrowed(path: Path) -> tuple[dict[str, bytes], int]:
    """The vocabulary of a file and how many tokens it has."""
    file = open_gguf(path)
    return vocabulary_of(file), len(file.get("tokenizer.ggml.tokens"))
