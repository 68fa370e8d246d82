"""Sequences of tokens over one llama.cpp context: append, evaluate, fork, truncate, score. Knows nothing of text, tasks or prompts.

A `TokenSequence` is an append-only list of ids of which the first `evaluated` are in the model's memory. Appending costs nothing.
`evaluate` runs what is pending of several sequences in one batch and leaves each with the logits after its last token. Sequences share
one pool of `context` cells, and what they fork from each other is stored once.

Some models (Mamba, RWKV; in part LFM2, Granite 4.0-h, Qwen3.5) keep a state instead of cells, which has no end that could be taken back.
What llama.cpp cannot forget in part is forgotten whole and evaluated anew; trees of continuations are evaluated path by path there.
"""

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgexp.engine import native
from edgexp.engine.model import Model
from edgexp.errors import EdgexpError

Logits = NDArray[np.float32]


class ContextFull(EdgexpError):
    """The tokens do not fit the context; the sequence is as it was before."""


class NotNumbers(EdgexpError):
    """A model's scores are NaN or infinite: its weights are damaged, or are evaluated wrongly here."""


@dataclass(eq=False)
class TokenSequence:
    """One growing list of token ids. Make them with `Engine.new` or `Engine.fork`."""

    slot: int
    ids: list[int] = field(default_factory=list)
    evaluated: int = 0
    """How many ids, from the front, the model has seen."""
    stored: int = 0
    """Cells in the model's memory; more than `evaluated` after a cut, until the engine next touches the sequence."""
    ran: int = 0
    """Tokens that were run through the model for this sequence, all in all."""
    logits: Logits | None = None
    """Scores of the next token, [vocabulary]; None until evaluated up to the last id."""

    def append(self, tokens: Iterable[int]) -> None:
        """Add ids to be evaluated later."""
        before = len(self.ids)
        self.ids.extend(tokens)
        if len(self.ids) > before:
            self.logits = None

    def cut(self, length: int) -> None:
        """Forget all ids from `length` on."""
        if length < len(self.ids):
            del self.ids[length:]
            self.evaluated, self.logits = min(self.evaluated, length), None

    def replace(self, ids: Sequence[int], start: int = 0) -> int:
        """Make `ids` what the sequence holds from `start` on, keeping what is the same at its front. Returns `evaluated`."""
        limit = min(len(self.ids) - start, len(ids))
        same = next((i for i in range(limit) if self.ids[start + i] != ids[i]), limit)
        self.cut(start + same)
        self.append(ids[same:])
        return self.evaluated


@dataclass
class Counters:
    """What the engine did since it was made."""

    evaluated: int = 0
    """Tokens run through the model."""
    calls: int = 0
    """Batches run."""
    seconds: float = 0.0


class Engine:
    """A llama.cpp context. `context`: cells for tokens of all sequences; `slots`: sequences alive at once, temporary forks included.

    With `own_cells`, each slot has `context` / `slots` cells of its own instead of a share in one pool. A batch of several sequences is
    then cheaper, since no token looks at the cells of other sequences. Forks copy, and trees of continuations cannot be evaluated.
    """

    OUTPUTS = 128
    """Rows of logits a batch may ask for; bounds the size of the output buffer."""

    def __init__(self, model: Model, context: int = 8192, slots: int = 8, batch: int = 512, threads: int | None = None,
                 own_cells: bool = False):
        lib = native.load(model.tuning)
        self.model, self.counters, self.own_cells = model, Counters(), own_cells
        slots = min(slots, lib.llama_max_parallel_sequences())
        self._branches = not model.recurrent
        """Whether one token can be part of several sequences, as trees need it."""
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = context, batch, batch, slots
        params.n_outputs_max = min(self.OUTPUTS, batch)
        params.n_threads, params.n_threads_batch = threads or model.tuning.threads, threads or model.tuning.threads_batch
        params.kv_unified, params.no_perf = not own_cells, True
        if model.gpu_layers == 0:
            # On processors llama.cpp's flash attention is two to three times slower for batches of some tens of tokens, which is what
            # an observation is (docs/benchmarks.md); llama.cpp itself would turn it on.
            params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._lib = lib
        with native.deferred_interrupts():
            self._handle = lib.llama_init_from_model(model.handle, params)
        if not self._handle:
            reason = native.last_error() or "llama.cpp gave no reason"
            raise EdgexpError(f"no context of {context} tokens for {model.path.name}: {reason}; try a smaller --context")
        self._memory = lib.llama_get_memory(self._handle)
        self._free = list(range(slots - 1, -1, -1))
        self._width = len(model.vocabulary)
        # llama.cpp rounds the context up and caps the batch by it, and aborts the process on a larger batch: ask what it chose.
        self.context = int(lib.llama_n_ctx(self._handle))
        self._batch = _Batch(lib, int(lib.llama_n_batch(self._handle)), slots)

    @property
    def handle(self) -> Any:
        """The llama.cpp context, for what it offers beside sequences."""
        return self._handle

    def new(self) -> TokenSequence:
        """An empty sequence. Raises EdgexpError when all slots are taken."""
        if not self._free:
            raise EdgexpError("all sequences of the engine are in use; free some or ask for more slots")
        return TokenSequence(self._free.pop())

    def fork(self, source: TokenSequence) -> TokenSequence:
        """A new sequence with the same ids; what is evaluated is shared, not copied (a recurrent state: until one of them grows)."""
        self._settle(source)
        copy = self.new()
        copy.ids, copy.evaluated, copy.stored, copy.logits = list(source.ids), source.evaluated, source.stored, source.logits
        self._lib.llama_memory_seq_cp(self._memory, source.slot, copy.slot, -1, -1)
        return copy

    def free(self, sequence: TokenSequence) -> None:
        """Give the sequence's slot and cells back; it cannot be used after. Freeing twice is fine."""
        if sequence.slot >= 0:
            self._forget_all(sequence)
            self._free.append(sequence.slot)
            sequence.slot, sequence.ids, sequence.evaluated, sequence.stored, sequence.logits = -1, [], 0, 0, None

    def evaluate(self, sequences: Sequence[TokenSequence]) -> None:
        """Run everything pending; afterwards each sequence's `logits` is set.

        Raises ContextFull when the pool of cells is too small: what is without logits then has its evaluated part as before.
        """
        pending = [sequence for sequence in sequences if sequence.logits is None]
        for sequence in pending:
            if not sequence.ids:
                raise ValueError("an empty sequence has nothing to evaluate")
            # Seen, but its logits are gone: the last token runs again.
            sequence.evaluated = min(sequence.evaluated, len(sequence.ids) - 1)
        for batch in _equal(pending) if self.own_cells else [pending]:
            self._evaluate_batch(batch)

    def _evaluate_batch(self, sequences: Sequence[TokenSequence]) -> None:
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        ends: dict[int, TokenSequence] = {}
        for sequence in sequences:
            self._settle(sequence)
            pending = sequence.ids[sequence.evaluated :]
            tokens += pending
            positions += range(sequence.evaluated, len(sequence.ids))
            slots += [sequence.slot] * len(pending)
            ends[len(tokens) - 1] = sequence
        try:
            rows = self._run(tokens, positions, [(s,) for s in slots], list(ends))
        except BaseException:
            for sequence in ends.values():
                self._forget(sequence)
            raise
        for row, sequence in zip(rows, ends.values(), strict=True):
            sequence.ran += len(sequence.ids) - sequence.evaluated
            sequence.logits, sequence.evaluated, sequence.stored = row, len(sequence.ids), len(sequence.ids)

    def evaluate_tree(self, sequence: TokenSequence, parents: Sequence[int], tokens: Sequence[int]) -> Logits:
        """Logits after each node of a tree of continuations, [nodes, vocabulary]; the sequence itself stays as it is.

        Node i is `tokens[i]` after node `parents[i]` (-1: after the sequence), parents first. Shared beginnings are run once.
        """
        if self.own_cells:
            raise ValueError("an engine whose sequences have cells of their own cannot evaluate trees")
        self.evaluate([sequence])
        paths = _leaf_paths(parents)
        result = np.empty((len(tokens), self._width), np.float32)
        if not self._branches:
            for path in paths:
                self._evaluate_path(sequence, path, tokens, result)
            return result
        for group in _chunks(paths, max(1, len(self._free))):
            self._evaluate_group(sequence, group, tokens, result)
        return result

    def score(self, sequence: TokenSequence, continuations: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
        """Log-probability of every token of every continuation after the sequence; the sequence stays as it is."""
        parents, tokens, places = _tree(continuations)
        self.evaluate([sequence])
        assert sequence.logits is not None
        after = self.evaluate_tree(sequence, parents, tokens) if tokens else np.empty((0, self._width), np.float32)
        scores = []
        for continuation, nodes in zip(continuations, places, strict=True):
            rows = [sequence.logits, *(after[n] for n in nodes)]
            scores.append(np.array([log_probability(row, token) for row, token in zip(rows, continuation, strict=False)]))
        return scores

    def close(self) -> None:
        """Free the context; closing twice is fine."""
        if self._handle is not None:
            self._lib.llama_free(self._handle)
            self._handle = None

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _settle(self, sequence: TokenSequence) -> None:
        """Make the model forget what was cut from the sequence."""
        if sequence.stored > sequence.evaluated:
            self._forget(sequence)

    def _forget(self, sequence: TokenSequence) -> None:
        """Take out of the model's memory what is beyond the evaluated part; where that cannot be done in part, all of it."""
        if sequence.evaluated == 0 or not self._lib.llama_memory_seq_rm(self._memory, sequence.slot, sequence.evaluated, -1):
            self._forget_all(sequence)
            sequence.evaluated = 0
        sequence.stored = sequence.evaluated

    def _forget_all(self, sequence: TokenSequence) -> None:
        if not self._lib.llama_memory_seq_rm(self._memory, sequence.slot, -1, -1):
            raise EdgexpError(f"llama.cpp does not forget a sequence of {self.model.path.name}; please report this model")

    def _evaluate_path(self, sequence: TokenSequence, path: list[int], tokens: Sequence[int], result: Logits) -> None:
        """Run the nodes from the root to a leaf on a copy of the sequence; nodes on several paths run once for each."""
        fork = self.fork(sequence)
        try:
            first = len(sequence.ids)
            for chunk in _chunks(path, self._batch.outputs(self.OUTPUTS)):
                places = range(first, first + len(chunk))
                result[chunk] = self._run([tokens[n] for n in chunk], places, [(fork.slot,)] * len(chunk), range(len(chunk)))
                first += len(chunk)
        finally:
            self.free(fork)

    def _evaluate_group(self, sequence: TokenSequence, paths: list[list[int]], tokens: Sequence[int], result: Logits) -> None:
        """Run the nodes on some root-to-leaf paths, one temporary slot a path; nodes on several paths belong to all their slots."""
        forks = [self.fork(sequence) for _ in paths]
        try:
            members: dict[int, list[int]] = {}
            depth: dict[int, int] = {}
            for path, fork in zip(paths, forks, strict=True):
                for level, node in enumerate(path):
                    members.setdefault(node, []).append(fork.slot)
                    depth[node] = level
            nodes = sorted(members)
            base = len(sequence.ids)
            for chunk in _chunks(nodes, self._batch.outputs(self.OUTPUTS)):
                rows = self._run([tokens[n] for n in chunk], [base + depth[n] for n in chunk], [tuple(members[n]) for n in chunk],
                                 range(len(chunk)))
                result[chunk] = rows
        finally:
            for fork in forks:
                self.free(fork)

    def _run(self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[tuple[int, ...]],
             outputs: Iterable[int]) -> list[Logits]:
        """Evaluate tokens in batches of the context's size; copies of the logits after the tokens at `outputs` (ascending indices)."""
        wanted, rows, size = list(outputs), [], self._batch.size
        started = perf_counter()
        for first in range(0, len(tokens), size):
            part = slice(first, first + size)
            here = [i - first for i in wanted if first <= i < first + size]
            batch = self._batch.fill(tokens[part], positions[part], slots[part], here)
            with native.deferred_interrupts():
                code = self._lib.llama_decode(self._handle, batch)
            if code == 1:
                raise ContextFull(f"the context of {self.context} tokens is full")
            if code != 0:
                raise EdgexpError(f"llama.cpp could not evaluate a batch (code {code}): {native.last_error() or 'no reason given'}")
            rows += [self._row(i) for i in here]
            self.counters.calls += 1
        self.counters.evaluated += len(tokens)
        self.counters.seconds += perf_counter() - started
        return rows

    def _row(self, token: int) -> Logits:
        """The logits after a token of the last batch. Raises NotNumbers: a choice among such scores would be the first one, always."""
        pointer = self._lib.llama_get_logits_ith(self._handle, token)
        if not pointer:
            raise EdgexpError(f"{self.model.path.name} gives no scores for the next token; edgexp plays models that write text")
        # The pointer is into a buffer that the next decode overwrites: copy before anything else runs.
        row = np.ctypeslib.as_array(pointer, (self._width,)).copy()
        if not np.isfinite(row).all():
            raise NotNumbers(f"{self.model.path}: its scores are not numbers (NaN or infinity), so nothing can be chosen by them; the "
                             "file is damaged or made wrongly: fetch it again, or take another one")
        return row


class _Batch:
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

    def outputs(self, limit: int) -> int:
        """How many tokens of a batch may ask for logits."""
        return min(limit, self.size)

    def fill(self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[tuple[int, ...]], outputs: list[int]) -> Any:
        n = len(tokens)
        self._token[:n], self._position[:n] = tokens, positions
        self._output[:n] = 0
        self._output[outputs] = 1
        for i, members in enumerate(slots):
            self._count[i] = len(members)
            self._slots[i, : len(members)] = members
        self.batch.n_tokens = n
        return self.batch


def log_probability(logits: Logits, token: int) -> float:
    """Natural logarithm of the softmax of `logits` at `token`, summed in double precision."""
    top = float(logits.max())
    return float(logits[token]) - top - float(np.log(np.exp(logits.astype(np.float64) - top).sum()))


def _equal(sequences: Sequence[TokenSequence]) -> list[list[TokenSequence]]:
    """Sequences by how many ids are pending, fewest first.

    llama.cpp cuts a batch of sequences with cells of their own into pieces of equal length, and each length among them adds a pass over
    the weights: sequences of the same length cost less together, those of different ones less one after the other.
    """
    groups: dict[int, list[TokenSequence]] = {}
    for sequence in sequences:
        groups.setdefault(len(sequence.ids) - sequence.evaluated, []).append(sequence)
    return [groups[length] for length in sorted(groups)]


def _leaf_paths(parents: Sequence[int]) -> list[list[int]]:
    """Root-to-leaf lists of node indices."""
    inner = set(parents)
    paths = []
    for leaf in range(len(parents)):
        if leaf not in inner:
            path, node = [], leaf
            while node >= 0:
                path.append(node)
                node = parents[node]
            paths.append(path[::-1])
    return paths


def _tree(continuations: Sequence[Sequence[int]]) -> tuple[list[int], list[int], list[list[int]]]:
    """Parents, tokens and, for each continuation, its nodes. A continuation's last token needs no run of its own and is left out."""
    parents: list[int] = []
    tokens: list[int] = []
    known: dict[tuple[int, int], int] = {}
    places = []
    for continuation in continuations:
        node, nodes = -1, []
        for token in continuation[:-1]:
            if (node, token) not in known:
                known[node, token] = len(tokens)
                parents.append(node)
                tokens.append(token)
            node = known[node, token]
            nodes.append(node)
        places.append(nodes)
    return parents, tokens, places


def _chunks(items: list[Any], size: int) -> list[list[Any]]:
    return [items[i : i + size] for i in range(0, len(items), size)]
