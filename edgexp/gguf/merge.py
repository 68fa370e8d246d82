"""Merging a LoRA adapter into a base GGUF, in one pass over its tensors: read some rows, add scale·B·A, convert, write.

Only rows in flight are in memory. All metadata (tokenizer, chat template, special tokens) is the base's own bytes except the two numbers
that say how the tensors are stored. Tensors that need no change are copied. Knows nothing of where adapter and base come from, or of what
the model is for.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from edgexp.errors import EdgexpError
from edgexp.gguf import formats
from edgexp.gguf.lora import Patch
from edgexp.gguf.quantise import QUANTS, plan
from edgexp.gguf.reader import GgufFile, Tensor
from edgexp.gguf.writer import entry, write_gguf

CHUNK = 1 << 18
"""Numbers converted at a time: 1 MB as float32, a few such pieces per thread."""

Progress = Callable[[int, int], None]
"""Called with (bytes of the export written, bytes in all)."""


def merge(base: GgufFile, changes: Mapping[str, Patch], quant: str, out: Path, progress: Progress | None = None, threads: int = 0,
          about: Mapping[str, int | str] | None = None) -> str:
    """Write the merged model to `out` in the type `quant` and return the file's SHA-256. `threads` 0: one for each core, at most 8.
    `about` are metadata beside the base's own.

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
        return write_gguf(out, _entries(base, quant, tensors, about or {}), tensors, data, base.alignment)


def _entries(base: GgufFile, quant: str, tensors: list[Tensor], about: Mapping[str, int | str]) -> dict[str, bytes]:
    entries = {**base.entries, "general.file_type": entry("general.file_type", QUANTS[quant][1])}
    if any(formats.KINDS[t.kind].elements > 1 for t in tensors):
        entries.setdefault("general.quantization_version", entry("general.quantization_version", 2))
    return {**entries, **{key: entry(key, value) for key, value in about.items()}}


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
