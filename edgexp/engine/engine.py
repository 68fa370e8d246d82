"""Sequences of tokens over one llama.cpp context: append, evaluate, fork, truncate, score. Knows nothing of text, tasks or prompts.

A `TokenSequence` is an append-only list of ids of which the first `evaluated` are in the model's memory. Appending costs nothing.
`evaluate` runs what is pending of several sequences in one batch and leaves each with the logits after its last token. Sequences share
one pool of `context` cells, and what they fork from each other is stored once. What a sequence shares (`TokenSequence.share`: a prefix, and
blocks that do not see each other) is stored once too, and need not be evaluated by the one that asks for it: see `blocks.py`.

Some models (Mamba, RWKV; in part LFM2, Granite 4.0-h, Qwen3.5) keep a state instead of cells, which has no end that could be taken back.
What llama.cpp cannot forget in part is forgotten whole and evaluated anew; trees of continuations are evaluated path by path there.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgexp.engine.blocks import BlockPool
from edgexp.engine.branches import chunks, join, leaf_paths
from edgexp.engine.context import Context, ContextFull, Counters, NotNumbers
from edgexp.engine.maker import BlockSource
from edgexp.engine.model import Model
from edgexp.engine.sequence import NOTHING, Logits, TokenSequence
from edgexp.errors import EdgexpError

__all__ = ["ContextFull", "Counters", "Engine", "Logits", "NotNumbers", "TokenSequence", "log_probability"]


class Engine:
    """A llama.cpp context. `context`: cells for tokens of all sequences; `slots`: sequences alive at once, temporary forks included.

    With `own_cells`, each slot has `context` / `slots` cells of its own instead of a share in one pool. A batch of several sequences is
    then cheaper, since no token looks at the cells of other sequences. Forks copy, and trees of continuations cannot be evaluated, nor
    anything shared. `blocks`: how many shared stretches there may be at once; `source` is where they come from.
    """

    def __init__(self, model: Model, context: int = 8192, slots: int = 8, batch: int = 512, threads: int | None = None,
                 own_cells: bool = False, blocks: int = 0, source: BlockSource | None = None):
        self.model, self.own_cells, self.counters = model, own_cells, Counters()
        self._branches = not model.recurrent
        """Whether one token can be part of several sequences, as trees need it."""
        self._context = Context(model, context, slots + blocks, batch, threads, own_cells, self.counters)
        self.context = self._context.cells
        self._width = len(model.vocabulary)
        own = self._context.slots - min(blocks, self._context.slots - 1)
        self._free = list(range(own - 1, -1, -1))
        self._own_source = source is None
        self._source = source or BlockSource(model, batch=batch, threads=threads)
        self._pool = BlockPool(self._context, range(own, self._context.slots), self._source)

    def adapt(self, adapters: Sequence[Any]) -> None:
        """Use low-rank adapters, by their native handles, before the first token. Raises EdgexpError with llama.cpp's complaint."""
        self._context.adapt(adapters)
        self._source.adapt(adapters)

    def new(self) -> TokenSequence:
        """An empty sequence. Raises EdgexpError when all slots are taken."""
        if not self._free:
            raise EdgexpError("all sequences of the engine are in use; free some or ask for more slots")
        return TokenSequence(self._free.pop(), takes_back=not self.model.recurrent)

    def fork(self, source: TokenSequence) -> TokenSequence:
        """A new sequence with the same ids; what is evaluated is shared, not copied (a recurrent state: until one of them grows)."""
        self._settle(source)
        copy = self.new()
        copy.ids, copy.evaluated, copy.stored, copy.logits = list(source.ids), source.evaluated, source.stored, source.logits
        copy.shared = source.shared
        self._pool.join(copy, source)
        self._context.copy(source.slot, copy.slot)
        return copy

    def free(self, sequence: TokenSequence) -> None:
        """Give the sequence's slot and cells back; it cannot be used after. Freeing twice is fine."""
        if sequence.slot >= 0:
            self._context.forget_all(sequence.slot)
            self._pool.leave(sequence)
            self._free.append(sequence.slot)
            sequence.slot, sequence.ids, sequence.evaluated, sequence.stored, sequence.logits = -1, [], 0, 0, None
            sequence.shared = NOTHING

    def evaluate(self, sequences: Sequence[TokenSequence]) -> None:
        """Run everything pending; afterwards each sequence's `logits` is set.

        Raises ContextFull when the pool of cells is too small: what is without logits then has its evaluated part as before.
        """
        pending = [sequence for sequence in sequences if sequence.logits is None]
        for sequence in pending:
            if not sequence.ids:
                raise ValueError("an empty sequence has nothing to evaluate")
            # Seen, but its logits are gone: the last token runs again.
            sequence.wanted = max(1, min(sequence.wanted, len(sequence.ids)))
            sequence.evaluated = min(sequence.evaluated, len(sequence.ids) - sequence.wanted)
        for batch in _equal(pending) if self.own_cells else [pending]:
            for few in _few(batch, self._context.most_outputs):
                self._evaluate_batch(few)

    def _evaluate_batch(self, sequences: Sequence[TokenSequence]) -> None:
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        ends: dict[int, TokenSequence] = {}
        outputs: list[int] = []
        for sequence in sequences:
            self._settle(sequence)
            pending = sequence.ids[sequence.evaluated :]
            tokens += pending
            positions += range(sequence.base + sequence.evaluated, sequence.base + len(sequence.ids))
            slots += [sequence.slot] * len(pending)
            ends[len(tokens) - 1] = sequence
            outputs += range(len(tokens) - sequence.wanted, len(tokens))
        try:
            rows = iter(self._context.run(tokens, positions, [(s,) for s in slots], outputs))
        except BaseException:
            for sequence in ends.values():
                self._forget(sequence)
            raise
        for sequence in ends.values():
            sequence.ran += len(sequence.ids) - sequence.evaluated
            sequence.show(np.stack([next(rows) for _ in range(sequence.wanted)]))
            sequence.evaluated = sequence.stored = len(sequence.ids)

    def evaluate_tree(self, sequence: TokenSequence, parents: Sequence[int], tokens: Sequence[int]) -> Logits:
        """Logits after each node of a tree of continuations, [nodes, vocabulary]; the sequence itself stays as it is.

        Node i is `tokens[i]` after node `parents[i]` (-1: after the sequence), parents first. Shared beginnings are run once.
        """
        if self.own_cells:
            raise ValueError("an engine whose sequences have cells of their own cannot evaluate trees")
        self.evaluate([sequence])
        paths = leaf_paths(parents)
        result = np.empty((len(tokens), self._width), np.float32)
        if not self._branches:
            for path in paths:
                self._evaluate_path(sequence, path, tokens, result)
            return result
        for group in chunks(paths, max(1, len(self._free))):
            self._evaluate_group(sequence, group, tokens, result)
        return result

    def score(self, sequence: TokenSequence, continuations: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
        """Log-probability of every token of every continuation after the sequence; the sequence stays as it is."""
        parents, tokens, places = join(continuations)
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
        self._context.close()
        if self._own_source:
            self._source.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _settle(self, sequence: TokenSequence) -> None:
        """Make the model forget what was cut from the sequence, and see what it shares."""
        if sequence.shared != sequence.held:
            self._share(sequence)
        elif sequence.stored > sequence.evaluated:
            self._forget(sequence)

    def _forget(self, sequence: TokenSequence) -> None:
        """Take out of the model's memory what is beyond the evaluated part; where that cannot be done in part, all of it."""
        keep = sequence.base + sequence.evaluated
        if keep == 0 or not self._context.forget(sequence.slot, keep):
            self._context.forget_all(sequence.slot)
            sequence.evaluated = 0
        sequence.stored = sequence.evaluated

    def _share(self, sequence: TokenSequence) -> None:
        """Let the sequence see what it wants to share, and nothing else. Raises ContextFull where there is no room; it is empty then."""
        if self.own_cells or not self._branches:
            raise EdgexpError(f"{self.model.path.name} cannot share what it has seen here; play it with: --layout chained")
        sequence.evaluated = sequence.stored = 0
        self._pool.attach(sequence)

    def _evaluate_path(self, sequence: TokenSequence, path: list[int], tokens: Sequence[int], result: Logits) -> None:
        """Run the nodes from the root to a leaf on a copy of the sequence; nodes on several paths run once for each."""
        fork = self.fork(sequence)
        try:
            first = len(sequence.ids)  # what is run path by path shares nothing
            for chunk in chunks(path, self._context.most_outputs):
                places = range(first, first + len(chunk))
                result[chunk] = self._context.run([tokens[n] for n in chunk], places, [(fork.slot,)] * len(chunk), range(len(chunk)))
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
            base = sequence.base + len(sequence.ids)
            for chunk in chunks(nodes, self._context.most_outputs):
                rows = self._context.run([tokens[n] for n in chunk], [base + depth[n] for n in chunk], [tuple(members[n]) for n in chunk],
                                 range(len(chunk)))
                result[chunk] = rows
        finally:
            for fork in forks:
                self.free(fork)


def log_probability(logits: Logits, token: int) -> float:
    """Natural logarithm of the softmax of `logits` at `token`, summed in double precision."""
    top = float(logits.max())
    return float(logits[token]) - top - float(np.log(np.exp(logits.astype(np.float64) - top).sum()))


def _few(sequences: Sequence[TokenSequence], most: int) -> Iterator[list[TokenSequence]]:
    """Sequences in groups that want at most so many rows of logits together."""
    group, rows = list[TokenSequence](), 0
    for sequence in sequences:
        if group and rows + sequence.wanted > most:
            yield group
            group, rows = [], 0
        group.append(sequence)
        rows += sequence.wanted
    yield group


def _equal(sequences: Sequence[TokenSequence]) -> list[list[TokenSequence]]:
    """Sequences by how many ids are pending, fewest first.

    llama.cpp cuts a batch of sequences with cells of their own into pieces of equal length, and each length among them adds a pass over
    the weights: sequences of the same length cost less together, those of different ones less one after the other.
    """
    groups: dict[int, list[TokenSequence]] = {}
    for sequence in sequences:
        groups.setdefault(len(sequence.ids) - sequence.evaluated, []).append(sequence)
    return [groups[length] for length in sorted(groups)]
