"""One llama.cpp context: run a batch, forget, copy and keep what its sequences have seen. Looks at every answer of llama.cpp.

Sequences are numbers here (`slot`), and tokens have the positions that they are given; what they mean is `engine.py`'s to know.
"""

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgexp.engine import native
from edgexp.engine.model import Model
from edgexp.engine.sequence import Logits
from edgexp.errors import EdgexpError


class ContextFull(EdgexpError):
    """The tokens do not fit the context; the sequence is as it was before."""


class NotNumbers(EdgexpError):
    """A model's scores are NaN or infinite: its weights are damaged, or are evaluated wrongly here."""


@dataclass
class Counters:
    """What was run since it was made."""

    evaluated: int = 0
    """Tokens run through the model."""
    calls: int = 0
    """Batches run."""
    seconds: float = 0.0


class Context:
    """`cells` for tokens of all of `slots` sequences, in one pool, or with `own_cells` in equal parts."""

    OUTPUTS = 128
    """Rows of logits a batch may ask for; bounds the size of the output buffer."""

    def __init__(self, model: Model, cells: int, slots: int, batch: int = 512, threads: int | None = None, own_cells: bool = False,
                 counters: Counters | None = None):
        self.model, self.counters, self._lib = model, counters or Counters(), native.load(model.tuning)
        self.slots = min(slots, self._lib.llama_max_parallel_sequences())
        with native.deferred_interrupts():
            self.handle = self._lib.llama_init_from_model(model.handle, self._parameters(cells, batch, threads, own_cells))
        if not self.handle:
            reason = native.last_error() or "llama.cpp gave no reason"
            raise EdgexpError(f"no context of {cells} tokens for {model.path.name}: {reason}; try a smaller --context")
        self._memory = self._lib.llama_get_memory(self.handle)
        # llama.cpp rounds the context up and caps the batch by it, and aborts the process on a larger batch: ask what it chose.
        self.cells = int(self._lib.llama_n_ctx(self.handle))
        self._batch = Batch(self._lib, int(self._lib.llama_n_batch(self.handle)), self.slots)
        self._width = len(model.vocabulary)

    def _parameters(self, cells: int, batch: int, threads: int | None, own_cells: bool) -> Any:
        tuning = self.model.tuning
        params = self._lib.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = cells, batch, batch, self.slots
        params.n_outputs_max = min(self.OUTPUTS, batch)
        params.n_threads, params.n_threads_batch = threads or tuning.threads, threads or tuning.threads_batch
        params.kv_unified, params.no_perf = not own_cells, True
        if self.model.gpu_layers == 0:
            # On processors llama.cpp's flash attention is two to three times slower for batches of some tens of tokens, which is what
            # an observation is (docs/benchmarks.md); llama.cpp itself would turn it on.
            params.flash_attn_type = self._lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        return params

    @property
    def most_outputs(self) -> int:
        """Rows of logits that one batch may ask for."""
        return min(self.OUTPUTS, self._batch.size)

    def run(self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[tuple[int, ...]],
            outputs: Iterable[int]) -> list[Logits]:
        """Evaluate tokens in batches of the context's size; copies of the logits after the tokens at `outputs` (ascending indices)."""
        wanted, rows, size = list(outputs), [], self._batch.size
        started = perf_counter()
        for first in range(0, len(tokens), size):
            part = slice(first, first + size)
            here = [i - first for i in wanted if first <= i < first + size]
            batch = self._batch.fill(tokens[part], positions[part], slots[part], here)
            with native.deferred_interrupts():
                code = self._lib.llama_decode(self.handle, batch)
            if code == 1:
                raise ContextFull(f"the context of {self.cells} tokens is full")
            if code != 0:
                raise EdgexpError(f"llama.cpp could not evaluate a batch (code {code}): {native.last_error() or 'no reason given'}")
            rows += [self._row(i) for i in here]
            self.counters.calls += 1
        self.counters.evaluated += len(tokens)
        self.counters.seconds += perf_counter() - started
        return rows

    def copy(self, source: int, target: int) -> None:
        """Let a sequence see all that another sees; in one pool nothing is copied."""
        self._lib.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def forget(self, slot: int, first: int, last: int = -1) -> bool:
        """Take the positions from `first` on (before `last`) out of a sequence; False where the model cannot forget in part."""
        return bool(self._lib.llama_memory_seq_rm(self._memory, slot, first, last))

    def forget_all(self, slot: int) -> None:
        """Make a sequence empty."""
        if not self.forget(slot, -1):
            raise EdgexpError(f"llama.cpp does not forget a sequence of {self.model.path.name}; please report this model")

    def clear(self) -> None:
        """Make all sequences empty."""
        self._lib.llama_memory_clear(self._memory, False)

    def state(self, slot: int) -> bytearray:
        """All that a sequence has seen, in llama.cpp's own form. Raises EdgexpError where that fails."""
        size = int(self._lib.llama_state_seq_get_size(self.handle, slot))
        kept = bytearray(size)
        written = self._lib.llama_state_seq_get_data(self.handle, (ctypes.c_uint8 * size).from_buffer(kept), size, slot)
        if not size or written != size:
            raise EdgexpError(f"llama.cpp does not give the state of a sequence of {self.model.path.name}")
        return kept

    def restore(self, slot: int, state: "NDArray[np.uint8]") -> bool:
        """Make a sequence one that has seen what `state` says; False where there is no room. The state must be whole: llama.cpp aborts the
        process on a short one."""
        pointer = state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        with native.deferred_interrupts():
            return bool(self._lib.llama_state_seq_set_data(self.handle, pointer, state.size, slot) == state.size)

    def adapt(self, adapters: Sequence[Any]) -> None:
        """Use low-rank adapters, by their native handles, from the next token on. Raises EdgexpError with llama.cpp's complaint."""
        listed = (self._lib.llama_adapter_lora_p_ctypes * len(adapters))(*adapters)
        scales = (ctypes.c_float * len(adapters))(*[1.0] * len(adapters))
        if self._lib.llama_set_adapters_lora(self.handle, listed, len(adapters), scales) != 0:
            raise EdgexpError(f"llama.cpp does not use an adapter: {native.last_error() or 'it gave no reason'}")

    def close(self) -> None:
        """Free it; closing twice is fine."""
        if self.handle is not None:
            self._lib.llama_free(self.handle)
            self.handle = None

    def _row(self, token: int) -> Logits:
        """The logits after a token of the last batch. Raises NotNumbers: a choice among such scores would be the first one, always."""
        pointer = self._lib.llama_get_logits_ith(self.handle, token)
        if not pointer:
            raise EdgexpError(f"{self.model.path.name} gives no scores for the next token; edgexp plays models that write text")
        # The pointer is into a buffer that the next decode overwrites: copy before anything else runs.
        row = np.ctypeslib.as_array(pointer, (self._width,)).copy()
        if not np.isfinite(row).all():
            raise NotNumbers(f"{self.model.path}: its scores are not numbers (NaN or infinity), so nothing can be chosen by them; the "
                             "file is damaged or made wrongly: fetch it again, or take another one")
        return row


class Batch:
    """A reusable `llama_batch` whose arrays are numpy's, so that filling it costs no ctypes call a token."""

    def __init__(self, lib: Any, size: int, slots: int):
        self.size = size
        self._token, self._position = np.zeros(size, np.int32), np.zeros(size, np.int32)
        self._count, self._output = np.zeros(size, np.int32), np.zeros(size, np.int8)
        self._slots = np.zeros((size, slots), np.int32)
        rows = [self._slots.ctypes.data + i * self._slots.strides[0] for i in range(size)]
        self._rows = np.array(rows, np.uintp)
        self.batch = lib.llama_batch()
        arrays: dict[str, NDArray[Any]] = {
            "token": self._token,
            "pos": self._position,
            "n_seq_id": self._count,
            "seq_id": self._rows,
            "logits": self._output,
        }
        kinds = dict(lib.llama_batch._fields_)
        for name, array in arrays.items():
            setattr(self.batch, name, ctypes.cast(array.ctypes.data, kinds[name]))

    def fill(self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[tuple[int, ...]], outputs: list[int]) -> Any:
        """The native batch of these tokens; it is good until the next call."""
        n = len(tokens)
        self._token[:n], self._position[:n] = tokens, positions
        self._output[:n] = 0
        self._output[outputs] = 1
        for i, members in enumerate(slots):
            self._count[i] = len(members)
            self._slots[i, : len(members)] = members
        self.batch.n_tokens = n
        return self.batch
