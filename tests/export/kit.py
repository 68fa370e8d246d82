"""Small GGUF files and adapters, made here, for tests that are about files and not about a real model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from edgexp.engine.engine import Engine, log_probability
from edgexp.export.reference import Origin, Reference, Sample
from edgexp.gguf import formats
from edgexp.gguf.reader import GgufFile, Tensor, open_gguf
from edgexp.gguf.writer import entry, write_gguf
from edgexp.prompt.render import Renderer

LINEAR = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
          "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
"""What a layer's modules are called by training frameworks, and by GGUF."""


def values(file: GgufFile, name: str) -> np.ndarray:
    """A tensor's numbers."""
    tensor = file.tensors[name]
    pieces = [formats.to_float(tensor.kind, piece, tensor.columns) for piece in file.read_rows(tensor, 1000)]
    return np.concatenate(pieces).reshape(tensor.shape)


def raw(file: GgufFile, name: str) -> bytes:
    """A tensor's bytes."""
    return b"".join(piece.tobytes() for piece in file.read_rows(file.tensors[name], 1000))


class Tiny:
    """A GGUF with the metadata and tensors of a small model of some family; llama.cpp's quantiser takes it, its engine does not."""

    def __init__(self, architecture: str = "llama", *, width: int = 64, inner: int = 96, layers: int = 2, heads: int = 4, heads_kv: int = 2,
                 vocabulary: int = 40, tied: bool = True, kind: int = formats.F32, seed: int = 0, **extra: str | int | float):
        self.kind, self.rng = kind, np.random.default_rng(seed)
        a = architecture
        numbers = {"context_length": 128, "embedding_length": width, "block_count": layers, "feed_forward_length": inner,
                   "attention.head_count": heads, "attention.head_count_kv": heads_kv, "rope.dimension_count": width // heads}
        meta: dict[str, str | int | float] = {"general.architecture": a, "general.file_type": 0, "general.name": "tiny ✓"}
        meta |= {f"{a}.{key}": value for key, value in numbers.items()} | {f"{a}.attention.layer_norm_rms_epsilon": 1e-5} | extra
        self.entries = {key: entry(key, value) for key, value in meta.items()}
        kv = width // heads * heads_kv
        shapes = {"attn_q": (width, width), "attn_k": (kv, width), "attn_v": (kv, width), "attn_output": (width, width),
                  "ffn_gate": (inner, width), "ffn_up": (inner, width), "ffn_down": (width, inner)}
        self.modules = {f"model.layers.{n}.{m}": shapes[r] for n in range(layers) for m, r in LINEAR.items()}
        tensors: dict[str, tuple[int, ...]] = {"token_embd.weight": (vocabulary, width), "output_norm.weight": (width,)}
        if not tied:
            tensors["output.weight"] = (vocabulary, width)
            self.modules["lm_head"] = (vocabulary, width)
        for n in range(layers):
            tensors[f"blk.{n}.attn_norm.weight"] = (width,)
            tensors |= {f"blk.{n}.{role}.weight": shape for role, shape in shapes.items()}
        self.tensors = [Tensor(name, shape, kind if len(shape) > 1 else formats.F32) for name, shape in tensors.items()]

    def write(self, path: Path) -> GgufFile:
        """Write it with random numbers and open it."""
        def data(tensor: Tensor):
            numbers = self.rng.standard_normal((tensor.rows, tensor.columns)).astype(np.float32)
            if tensor.kind == formats.BF16:  # nothing in edgexp writes it
                yield (numbers.view(np.uint32) >> 16).astype(np.uint16).reshape(-1).view(np.uint8)
            else:
                yield formats.from_float(tensor.kind, numbers)

        write_gguf(path, self.entries, self.tensors, data)
        return open_gguf(path)


def write_adapter(folder: Path, modules: dict[str, tuple[int, int]], *, rank: int = 4, scale: float = 0.1, seed: int = 1,
                  tensors: dict[str, np.ndarray] | None = None, **config: Any) -> Path:
    """An adapter as peft writes it, with random numbers. `config` adds to adapter_config.json or replaces what is there."""
    rng, made = np.random.default_rng(seed), {}
    for module, (outputs, inputs) in modules.items():
        made[f"base_model.model.{module}.lora_A.weight"] = (rng.standard_normal((rank, inputs)) / inputs**0.5).astype(np.float32)
        made[f"base_model.model.{module}.lora_B.weight"] = (rng.standard_normal((outputs, rank)) * scale).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(made | (tensors or {}), folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "bias": "none", "base_model_name_or_path": "tiny"}
    (folder / "adapter_config.json").write_text(json.dumps(settings | config))
    return folder


def reference_of(engine: Engine, renderer: Renderer, samples: tuple[Sample, ...]) -> Reference:
    """What a model says on some samples, token by token."""
    rendered = [renderer.trajectory(s.trajectory, s.memory) for s in samples]
    positions = [np.array([p for first, last in r.labels for p in range(first, last)]) for r in rendered]
    logprobs, greedy = [], []
    for r, places in zip(rendered, positions, strict=True):
        sequence, rows = engine.new(), []
        for place in places:
            sequence.append(r.ids[len(sequence.ids) : place])
            engine.evaluate([sequence])
            assert sequence.logits is not None
            rows.append((log_probability(sequence.logits, r.ids[place]), int(sequence.logits.argmax())))
        engine.free(sequence)
        logprobs.append(np.array([p for p, _ in rows], np.float32))
        greedy.append(np.array([t for _, t in rows], np.int32))
    return Reference(Origin("bf16", "0" * 64, samples=samples), [np.array(r.ids, np.int32) for r in rendered], positions, logprobs, greedy)
