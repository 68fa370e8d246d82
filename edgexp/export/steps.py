"""The native steps of an export, each in a child process: a crash there is one line here, and its memory is given back when it ends.

A step is a Struct with all that the child has to know. `write` and `compare` run one and wait for its answer; `_write` and `_compare` are
what runs in the child, and import there what is heavy. Knows nothing of names, records or what an export is for.
"""

import os
from pathlib import Path

import msgspec

from edgexp import process
from edgexp.export.parity import Parity
from edgexp.process import Progress


class Merge(msgspec.Struct, tag=True, frozen=True):
    """Write the merged model of some type to `out`."""

    base: str
    adapter: str
    quant: str
    out: str

    doing = "merging the adapter"


class Lora(msgspec.Struct, tag=True, frozen=True):
    """Write the adapter-only GGUF to `out`."""

    base: str
    adapter: str
    out: str

    doing = "writing the adapter"


class Compare(msgspec.Struct, frozen=True):
    """Compare a GGUF (with an adapter-only GGUF beside it, unless `lora` is empty) with a reference."""

    model: str
    lora: str
    reference: str
    quant: str

    doing = "comparing the exported model"


def write(step: Merge | Lora, progress: Progress | None = None) -> str:
    """Do a writing step in a child; the SHA-256 of what it wrote. Raises EdgexpError; what was half written may lie at `out` then."""
    return process.call(_write, step, step.doing, progress=progress, environment=_environment())


def compare(step: Compare, progress: Progress | None = None) -> Parity:
    """Do a comparison in a child. Raises EdgexpError when it could not be made; a gate that was not passed is in the answer."""
    return process.call(_compare, step, step.doing, progress=progress, environment=_environment())


def _environment() -> dict[str, str]:
    """One BLAS thread each: the products are small and already spread over threads. Sleeping waiters are kind to what else runs here."""
    return {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def _write(step: Merge | Lora, progress: Progress) -> str:
    from edgexp.gguf.lora import patches, read_adapter, write_lora
    from edgexp.gguf.merge import merge
    from edgexp.gguf.reader import open_gguf

    base, adapter = open_gguf(Path(step.base)), read_adapter(Path(step.adapter))
    changes = patches(adapter, base)
    if isinstance(step, Merge):
        return merge(base, changes, step.quant, Path(step.out), progress, about=adapter.about)
    return write_lora(base, adapter, changes, Path(step.out))


def _compare(step: Compare, progress: Progress) -> Parity:
    from edgexp.engine.model import Model
    from edgexp.engine.native import Tuning
    from edgexp.export.parity import attach, bounds_for, compare
    from edgexp.export.reference import read_reference
    from edgexp.machine import cores

    reference = read_reference(Path(step.reference))
    # Without repacked weights: a comparison must neither crash nor depend on what a processor offers.
    with Model(Path(step.model), Tuning(1, cores(), extra_buffers=False)) as model:
        prepare = (lambda engine: attach(engine, Path(step.lora))) if step.lora else None
        return compare(reference, model, bounds_for(step.quant, reference.origin.precision), progress, prepare)
