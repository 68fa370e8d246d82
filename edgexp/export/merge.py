"""Merging a LoRA adapter into a base GGUF, in one pass over its tensors: read some rows, add scale·B·A, convert, write.

Only rows in flight are in memory. All metadata (tokenizer, chat template, special tokens) is the base's own bytes except the two numbers
that say how the tensors are stored. Tensors that need no change are copied. Knows nothing of recipes, engines or what the model is for.

A LoRA adapter as a GGUF of its own, which llama.cpp loads beside the base. Knows nothing of merging.

The rank and the trained numbers stay; only names, row order and container change. A scale other than alpha/rank (rank-stabilised LoRA, or
another alpha for some modules) goes into the B matrices, because the file has one alpha for all.
"""

import ctypes
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgexp.engine import native
from edgexp.engine.engine import Engine
from edgexp.errors import EdgexpError
from edgexp.export.adapter import Adapter, Delta
from edgexp.gguf import formats, tensor_names
from edgexp.gguf.quantise import QUANTS, plan
from edgexp.gguf.reader import GgufFile, Tensor
from edgexp.gguf.writer import entry, write_gguf

CHUNK = 1 << 18
"""Numbers converted at a time: 1 MB as float32, a few such pieces per thread."""

Progress = Callable[[int, int], None]
"""Called with (bytes of the export written, bytes in all)."""


@dataclass(frozen=True)
class Patch:
    """A delta in the row order of its GGUF tensor."""

    a: formats.Floats
    """[rank, inputs]"""
    b: formats.Floats
    """[outputs, rank]"""
    scale: float

    def rows(self, first: int, count: int) -> formats.Floats:
        """What is added to rows `first` and following, [count, inputs]."""
        return np.asarray((self.b[first : first + count] * np.float32(self.scale)) @ self.a)


def patches(adapter: Adapter, base: GgufFile) -> dict[str, Patch]:
    """The adapter's deltas by GGUF tensor name. Raises EdgexpError where adapter and base do not belong together."""
    if base.architecture not in tensor_names.ARCHITECTURES or base.get(f"{base.architecture}.expert_count"):
        kind = base.architecture + (" with experts" if base.architecture in tensor_names.ARCHITECTURES else "")
        raise EdgexpError(f"{base.path} has the architecture {kind}; edgexp exports adapters for {', '.join(tensor_names.ARCHITECTURES)}")
    return {_target(adapter, base, delta).name: _patch(base, _target(adapter, base, delta), delta) for delta in adapter.deltas}


def _target(adapter: Adapter, base: GgufFile, delta: Delta) -> Tensor:
    name = tensor_names.gguf_name(delta.module)
    if name is None:
        raise EdgexpError(f"{adapter.folder}: edgexp does not know the module {delta.module}; it exports the linear layers of "
                          f"attention and feed-forward ({', '.join(m.split('.')[-1] for m in tensor_names.ROLES)}) and lm_head")
    tensor = base.tensors.get(name)
    if tensor is None:
        why = "the base uses its token embedding there" if name == "output.weight" else f"{base.path} has no such tensor"
        raise EdgexpError(f"{adapter.folder} trains {delta.module} ({name}), but {why}; is this the base it was trained on?")
    if tensor.shape != delta.shape:
        raise EdgexpError(f"{adapter.folder} does not fit {base.path.name}: {name} has shape {_shape(tensor.shape)} in the base and "
                          f"{_shape(delta.shape)} in the adapter; it was trained on {adapter.base or 'another base'}")
    return tensor


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _patch(base: GgufFile, tensor: Tensor, delta: Delta) -> Patch:
    order = tensor_names.row_order(base.architecture, tensor.name, tensor.rows, base.get)
    return Patch(delta.a, delta.b if order is None else delta.b[order], delta.scale)


def merge(base: GgufFile, changes: Mapping[str, Patch], quant: str, out: Path, progress: Progress | None = None, threads: int = 0) -> str:
    """Write the merged model to `out` in the type `quant` and return the file's SHA-256. `threads` 0: one for each core, at most 8.

    Raises EdgexpError for a full disk, a base that cannot be read, or values that a 16-bit number cannot hold; `out` is gone then.
    """
    tensors = plan(base, quant)
    total, done = sum(t.nbytes for t in tensors), 0

    def data(tensor: Tensor) -> Iterator[formats.Bytes]:
        nonlocal done
        for piece in _convert(base, base.tensors[tensor.name], tensor.kind, changes.get(tensor.name), pool, workers):
            done += piece.nbytes
            if progress:
                progress(done, total)
            yield piece

    workers = threads or min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        return write_gguf(out, _entries(base, quant, tensors), tensors, data, base.alignment)


def _entries(base: GgufFile, quant: str, tensors: list[Tensor]) -> dict[str, bytes]:
    entries = {**base.entries, "general.file_type": entry("general.file_type", QUANTS[quant][1])}
    if any(formats.KINDS[t.kind].elements > 1 for t in tensors):
        entries.setdefault("general.quantization_version", entry("general.quantization_version", 2))
    return entries


def _convert(base: GgufFile, source: Tensor, kind: int, patch: Patch | None, pool: ThreadPoolExecutor,
             workers: int) -> Iterator[formats.Bytes]:
    """The tensor's rows in another format, in order, several chunks at once in the pool."""
    step = max(1, CHUNK // source.columns)
    if patch is None and kind == source.kind:
        yield from base.read_rows(source, step)
        return
    waiting: deque[Future[formats.Bytes]] = deque()
    for index, raw in enumerate(base.read_rows(source, step)):
        waiting.append(pool.submit(_convert_rows, source, kind, patch, raw, index * step))
        if len(waiting) > workers:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _convert_rows(source: Tensor, kind: int, patch: Patch | None, raw: formats.Bytes, first: int) -> formats.Bytes:
    """One chunk. Values pass through 16 bits on their way to a quantised format, so that every type is the quantised f16 export."""
    values = formats.to_float(source.kind, raw, source.columns)
    if patch is not None:
        values = values + patch.rows(first, len(values))
    if kind == formats.F32:
        half = formats.from_float(kind, values)
    else:
        half = formats.from_float(formats.F16, values)
        values = formats.to_float(formats.F16, half, source.columns)
    if not np.isfinite(values).all():
        raise EdgexpError(f"{source.name}: the merged weights hold NaN, infinity or numbers beyond 65504; adapter or base are damaged")
    return half if kind in (formats.F16, formats.F32) else formats.from_float(kind, values)


def write_lora(base: GgufFile, adapter: Adapter, changes: Mapping[str, Patch], out: Path) -> str:
    """Write the adapter-only file and return its SHA-256. Raises EdgexpError for a full disk; `out` is gone then."""
    values: dict[str, formats.Floats] = {}
    for name, patch in changes.items():
        values[f"{name}.lora_a"] = patch.a
        values[f"{name}.lora_b"] = patch.b * np.float32(patch.scale * len(patch.a) / adapter.alpha)
    tensors = [Tensor(name, tuple(array.shape), formats.F32) for name, array in values.items()]

    def data(tensor: Tensor) -> Iterator[formats.Bytes]:
        yield formats.from_float(formats.F32, values[tensor.name])

    return write_gguf(out, _lora_entries(base, adapter), tensors, data)


def _lora_entries(base: GgufFile, adapter: Adapter) -> dict[str, bytes]:
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
