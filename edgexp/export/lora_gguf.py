"""A LoRA adapter as a GGUF of its own, which llama.cpp loads beside the base. Knows nothing of merging.

The rank and the trained numbers stay; only names, row order and container change. A scale other than alpha/rank (rank-stabilised LoRA, or
another alpha for some modules) goes into the B matrices, because the file has one alpha for all.
"""

import ctypes
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from edgexp.engine import native
from edgexp.engine.engine import Engine
from edgexp.errors import EdgexpError
from edgexp.export import ggml
from edgexp.export.adapter import Adapter
from edgexp.export.gguf_read import GgufFile, Tensor
from edgexp.export.gguf_write import entry, write_gguf
from edgexp.export.merge import Patch


def write_lora(base: GgufFile, adapter: Adapter, changes: Mapping[str, Patch], out: Path) -> str:
    """Write the adapter-only file and return its SHA-256. Raises EdgexpError for a full disk; `out` is gone then."""
    values: dict[str, ggml.Floats] = {}
    for name, patch in changes.items():
        values[f"{name}.lora_a"] = patch.a
        values[f"{name}.lora_b"] = patch.b * np.float32(patch.scale * len(patch.a) / adapter.alpha)
    tensors = [Tensor(name, tuple(array.shape), ggml.F32) for name, array in values.items()]

    def data(tensor: Tensor) -> Iterator[ggml.Bytes]:
        yield ggml.from_float(ggml.F32, values[tensor.name])

    return write_gguf(out, _entries(base, adapter), tensors, data)


def _entries(base: GgufFile, adapter: Adapter) -> dict[str, bytes]:
    meta: dict[str, str | int | float] = {
        "general.type": "adapter",
        "general.architecture": base.architecture,
        "general.name": adapter.folder.resolve().name,
        "general.file_type": 0,
        "adapter.type": "lora",
        "adapter.lora.alpha": float(adapter.alpha),
    }
    return {key: entry(key, value) for key, value in meta.items()}


def attach(engine: Engine, path: Path) -> None:
    """Load an adapter-only file into an engine's context, before its first token. Raises EdgexpError with llama.cpp's own complaint."""
    lib = native.load()
    handle = lib.llama_adapter_lora_init(engine.model.handle, str(path).encode())
    if not handle:
        raise EdgexpError(f"llama.cpp does not load {path}: {native.last_error() or 'it gave no reason'}")
    adapters = (lib.llama_adapter_lora_p_ctypes * 1)(handle)
    if lib.llama_set_adapters_lora(engine.handle, adapters, 1, (ctypes.c_float * 1)(1.0)) != 0:
        raise EdgexpError(f"llama.cpp does not use {path}: {native.last_error() or 'it gave no reason'}")
