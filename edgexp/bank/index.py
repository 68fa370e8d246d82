"""One kind of vectors, ready to be ranked: a mapped matrix, a delta of what is newer, and above the exact limit a graph.

An index is a cache of the store's vectors: whatever becomes of its files, it goes on with what the store holds. It ranks rows; which of
them are accepted, and what they are, only the store knows.
"""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgexp.bank import graph, matrix
from edgexp.bank.graph import Graph, Progress
from edgexp.bank.keys import Kind
from edgexp.bank.matrix import Delta, Matrix
from edgexp.bank.sealed import Shelf
from edgexp.bank.store import EncoderRow, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXACT_LIMIT = 100_000
"""Vectors that are always searched exactly; what is more gets a graph."""
_log = logging.getLogger("edgexp.bank")


class Index:
    """The vectors of one kind under one encoder. `refresh` before a search: other processes may have written."""

    SMALLEST_DELTA = 1024
    """Fewer new vectors than this are never a reason for a snapshot while the bank is open."""

    def __init__(self, store: Store, encoder: EncoderRow, kind: Kind, exact_limit: int = EXACT_LIMIT) -> None:
        self.kind = kind
        self.dimensions = encoder.dimensions
        self._store = store
        self._encoder = encoder
        self._exact_limit = exact_limit
        self._shelf = Shelf(store.database.path.parent, store.bank, encoder.id, kind, encoder.dimensions, store.id_of_row)
        self.remap()

    @property
    def mapped(self) -> int:
        """Vectors in the mapped matrix."""
        return len(self._matrix)

    def pending(self) -> int:
        """Vectors in the store that the mapped matrix lacks."""
        return self._store.count_vectors(self._encoder, self.kind, self._matrix.last_row)

    def delta_limit(self) -> int:
        """How many vectors the delta may hold before a snapshot is due: few beside what is mapped, so that snapshots are rare, and
        never so many that they weigh in memory."""
        return min(max(self.mapped // 16, self.SMALLEST_DELTA), 16_384)

    def remap(self) -> None:
        """Map the newest files that can be trusted and forget everything else."""
        self._delta = Delta(self._encoder.dimensions)
        self._graph: Graph | None = None
        self._tried = 0
        self._name = self._shelf.latest("vectors")
        found, self.problems = self._shelf.newest("vectors", "")
        self._matrix = Matrix.map(*found) if found else self._delta.matrix
        if len(self._matrix) > self._exact_limit:
            found, problems = self._shelf.newest("graph", graph.library())
            self._graph = Graph.map(*found) if found and found[1].count else None
            self._tried = found[1].last_row if found else 0
            self.problems += problems

    def refresh(self) -> None:
        """Take in what was added since. Raises EdgexpError when the store cannot be read."""
        delta = self._delta.matrix
        if len(delta) > self.delta_limit() and self._name != self._shelf.latest("vectors"):
            self.remap()
        last = self._delta.matrix.last_row or self._matrix.last_row
        for rows, vectors in self._store.vectors(self._encoder, self.kind, last):
            self._delta.extend(rows, vectors)

    def scores(self, query: "NDArray[np.float32]") -> tuple["NDArray[np.int64]", "NDArray[np.float64]"]:
        """All rows, and their cosines to `query` [dimensions]."""
        return _scored([self._matrix, self._delta.matrix], query)

    def near(self, query: "NDArray[np.float32]", count: int) -> tuple["NDArray[np.int64]", "NDArray[np.float64]"] | None:
        """Rows and cosines of about the `count` nearest in the graph and of all that it does not cover; None without a graph."""
        if not self._graph:
            return None
        nearest = self._matrix.at(self._graph.near(query, count))
        return _scored([nearest, self._matrix.after(self._graph.last_row), self._delta.matrix], query)

    def snapshot(self, progress: Progress | None = None) -> bool:
        """Write all the store's vectors to new files and map those; whether it could: a full disk costs nothing but speed."""
        try:
            with self._store.database.snapshot():
                if not self._store.count_vectors(self._encoder, self.kind):
                    self.discard()
                    return True
                self._shelf.publish("vectors", "", lambda path: matrix.write_matrix(path, self._store.vectors(self._encoder, self.kind)))
            self.remap()
            self._extend_graph(progress)
        except OSError as error:
            _log.warning("no new index file for %s (%s): searches use the database", self._store.database.path.parent, error)
            return False
        return True

    def discard(self) -> None:
        """Delete every file of this kind; the delta takes over until the next snapshot."""
        self._shelf.discard("graph")
        self._shelf.discard("vectors")
        self.remap()

    def check(self) -> Iterator[str]:
        """What is wrong with the mapped matrix, row by row against the store, and with files that could not be mapped."""
        yield from self.problems
        stored: dict[int, bytes] = {}
        for rows, vectors in self._store.vectors(self._encoder, self.kind):
            stored.update((int(row), vector.tobytes()) for row, vector in zip(rows, vectors, strict=True))
        for row, vector in zip(self._matrix.rows, self._matrix.vectors, strict=True):
            # A row that only the index knows was forgotten by another process a moment ago: searches ask the store, so it is not found.
            if stored.get(int(row), vector.tobytes()) != vector.tobytes():
                yield f"the index of kind {self.kind} and the database differ in row {row}: `edgexp bank rebuild` renews the index"
        for row in stored.keys() - set(self._matrix.rows.tolist()):
            if row <= self._matrix.last_row:
                yield f"the index of kind {self.kind} lacks row {row}: `edgexp bank rebuild` renews it"

    def _extend_graph(self, progress: Progress | None) -> None:
        """Let the graph cover the whole matrix once more than the exact limit lies outside it, or outside the last attempt at one."""
        whole = self._matrix
        if len(whole.after(self._tried)) <= self._exact_limit:
            return
        old = self._shelf.newest("graph", graph.library())[0] if self._graph else None
        self._shelf.publish("graph", graph.library(), lambda path: graph.write_graph(path, whole, old, progress))
        self.remap()


def _scored(parts: list[Matrix], query: "NDArray[np.float32]") -> tuple["NDArray[np.int64]", "NDArray[np.float64]"]:
    import numpy as np

    filled = [part for part in parts if len(part)] or parts[:1]
    if len(filled) == 1:  # the common case: nothing is copied
        return filled[0].rows, filled[0].scores(query)
    return np.concatenate([part.rows for part in filled]), np.concatenate([part.scores(query) for part in filled])
