"""Where the keys and values of shared stretches come from: memory, disk, or the model. Each is evaluated alone, in a context of its own.

What a stretch's bytes are then hangs on its tokens alone, and not on what else an engine was doing: bytes from disk are the very ones that
an evaluation would give. Several engines may ask at once.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgexp.engine import native
from edgexp.engine.context import Context, Counters
from edgexp.engine.model import Model
from edgexp.engine.vault import fingerprint
from edgexp.errors import EdgexpError

State = NDArray[np.uint8]
"""What a sequence has seen, in llama.cpp's own form."""

REMEMBERED = 256 << 20
"""Bytes of states that a source keeps in memory."""
UNNAMED = "instructions"
"""What a keeper calls a stretch without a name."""
_STEP = 512
"""A maker's context has a multiple of so many cells."""


@dataclass(frozen=True)
class Stretch:
    """Tokens that are evaluated after a prefix, and after nothing else."""

    prefix: tuple[int, ...]
    ids: tuple[int, ...]
    name: str = field(default="", compare=False)
    """What it is, for whoever keeps it."""

    @property
    def cells(self) -> int:
        """Its own tokens."""
        return len(self.ids)


@dataclass(frozen=True)
class Came:
    """Where the tokens of a stretch came from."""

    evaluated: int = 0
    """Tokens run through the model: of the prefix too, where it was not there."""
    loaded: int = 0
    remembered: int = 0


def about(model: Model, sha256: str, batch: int) -> dict[str, str | int]:
    """Everything beside the ids that decides what a state's bytes are: a model's content, the library, and how it computes here."""
    lib, tuning = native.load(), model.tuning
    return {
        "model": sha256, "library": f"{lib.__version__} {lib.llama_print_system_info().decode('utf-8', 'replace')}",
        "cache": "f16 f16", "flash attention": int(model.gpu_layers != 0), "layers on a GPU": model.gpu_layers,
        "batch": batch, "repacked": int(tuning.extra_buffers),
    }  # fmt: skip


class Keeper(Protocol):
    """Keeps states from one process to the next. Whatever goes wrong, it has nothing or keeps nothing; it never raises."""

    def load(self, key: str, label: str) -> State | None:
        """A state, whole and checked; None where there is none that is."""

    def store(self, key: str, label: str, payload: State) -> bool:
        """Keep a state; whether that was possible."""


class BlockSource:
    """States of stretches. What was asked for lately stays in memory, `remembered` bytes of it; `keeper` keeps all on disk, where the
    model's content has the digest `sha256`."""

    def __init__(self, model: Model, keeper: Keeper | None = None, sha256: str = "", *, batch: int = 512, threads: int | None = None,
                 remembered: int = REMEMBERED):
        self._about = about(model, sha256, batch) if keeper is not None else {}
        self._model, self._keeper, self._batch, self._threads, self._limit = model, keeper, batch, threads, remembered
        self._lock, self._adapters = Lock(), list[Any]()
        self._maker: Context | None = None
        self._states: OrderedDict[Stretch, State] = OrderedDict()
        self._size = 0
        self.counters = Counters()

    def get(self, stretch: Stretch) -> tuple[State, Came]:
        """The state of a stretch, and where it came from."""
        with self._lock:
            return self._get(stretch)

    def adapt(self, adapters: Sequence[Any]) -> None:
        """Use low-rank adapters; a keeper knows only the model without them, and is not asked any more."""
        self._adapters, self._keeper = list(adapters), None
        self._states.clear()
        self._size = 0
        self.close()

    def close(self) -> None:
        """Free what evaluates; closing twice is fine."""
        if self._maker is not None:
            self._maker.close()
            self._maker = None

    def _get(self, stretch: Stretch) -> tuple[State, Came]:
        if (state := self._states.get(stretch)) is not None:
            self._states.move_to_end(stretch)
            return state, Came(remembered=stretch.cells)
        label, key = stretch.name or UNNAMED, ""
        if self._keeper is not None:
            key = fingerprint(self._about, stretch.prefix, len(stretch.prefix), stretch.ids)
            state = self._keeper.load(key, label)
        if state is not None:
            came = Came(loaded=stretch.cells)
        else:
            state, evaluated = self._evaluate(stretch)
            came = Came(evaluated=evaluated)
            if self._keeper is not None:
                self._keeper.store(key, label, state)
        self._remember(stretch, state)
        return state, came

    def _evaluate(self, stretch: Stretch) -> tuple[State, int]:
        """The state of a stretch from the model, and how many tokens that took."""
        before, evaluated = None, 0
        if stretch.prefix:
            before, came = self._get(Stretch((), stretch.prefix))
            evaluated = came.evaluated
        context = self._context_for(len(stretch.prefix) + stretch.cells)
        context.clear()
        if before is not None and not context.restore(0, before):
            raise EdgexpError(f"llama.cpp does not take back the state of {self._model.path.name}")
        first = len(stretch.prefix)
        context.run(stretch.ids, range(first, first + stretch.cells), [(0,)] * stretch.cells, [])
        if first:
            context.forget(0, 0, first)
        return np.frombuffer(context.state(0), np.uint8), evaluated + stretch.cells

    def _context_for(self, cells: int) -> Context:
        """A context with room for so many tokens."""
        if self._maker is None or self._maker.cells < cells:
            self.close()
            rounded = -(-cells // _STEP) * _STEP
            self._maker = Context(self._model, rounded, 1, self._batch, self._threads, counters=self.counters)
            if self._adapters:
                self._maker.adapt(self._adapters)
        return self._maker

    def _remember(self, stretch: Stretch, state: State) -> None:
        self._states[stretch] = state
        self._size += state.size
        while self._size > self._limit and len(self._states) > 1:
            _, dropped = self._states.popitem(last=False)
            self._size -= dropped.size
