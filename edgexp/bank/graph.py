"""USearch's HNSW graph over the older part of a large bank: near vectors in well under a millisecond, nearly always the nearest.

Only banks above the exact limit have one. USearch reads a mapped file without any check and dies of a damaged one, so a graph is mapped
only after its seal was checked; and it proposes rows only: their scores come from the matrix.

HNSW can fail without a sign: where many vectors lie around one that is nearer to each of them than they are to each other, each keeps
that one as its only neighbour, it keeps a few of them, and the rest cannot be reached (recall 0.3 was seen). So a graph has to prove
itself against exact search before it is used; one that does not is sealed as a file of no vectors, and the search stays exact.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgexp.bank.matrix import Matrix
from edgexp.bank.sealed import Filled, Seal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Progress = Callable[[int, int], None]
"""Told how much is done, and of how much."""

_CONNECTIVITY = 16
_EXPANSION = 128
_ADD_AT_ONCE = 2048
_TRIED = 64
_PROOFS = 100
_GOOD = 0.95
"""Of the ten nearest to each of `_PROOFS` stored vectors, the share a graph must find."""
_log = logging.getLogger("edgexp.bank")


class Graph:
    """A mapped graph over all vectors up to `last_row`."""

    def __init__(self, index: Any, last_row: int) -> None:
        self._index = index
        self.last_row = last_row

    @classmethod
    def map(cls, path: Path, seal: Seal) -> "Graph":
        """The graph in a sealed file that was just checked."""
        index = _empty(seal.dimensions)
        index.view(str(path))
        return cls(index, seal.last_row)

    def near(self, query: "NDArray[np.float32]", count: int) -> "NDArray[np.int64]":
        """Rows of about the `count` nearest vectors, in no promised order."""
        import numpy as np

        self._index.expansion_search = max(_EXPANSION, 2 * count)
        return np.asarray(self._index.search(query.astype(np.float16), count, threads=1).keys).astype(np.int64)


def library() -> str:
    """USearch and its version: a graph is read by the version that wrote it and no other."""
    from importlib.metadata import version

    return f"usearch {version('usearch')}"


def write_graph(path: Path, matrix: Matrix, old: tuple[Path, Seal] | None, progress: Progress | None = None) -> Filled:
    """Save a graph over the whole matrix, adding to the `old` one, just checked, where there is one: a quarter millisecond a vector.

    What is saved is a graph of no vectors when it does not find what is there to be found.
    """
    import numpy as np

    index = _empty(matrix.vectors.shape[1])
    if old:
        index.load(str(old[0]))
    new = matrix.after(old[1].last_row if old else 0)
    for begin in range(0, len(new), _ADD_AT_ONCE):
        end = min(begin + _ADD_AT_ONCE, len(new))
        index.add(new.rows[begin:end].astype(np.uint64), new.vectors[begin:end], threads=1)
        if progress:
            progress(end, len(new))
    found = recall(Graph(index, matrix.last_row), matrix)
    if found < _GOOD:
        _log.warning("a graph over %d vectors finds %.0f %% of the nearest only: they are searched exactly", len(matrix), 100 * found)
        index = _empty(matrix.vectors.shape[1])
    index.save(str(path))
    return Filled(len(index), matrix.last_row)


def recall(graph: Graph, matrix: Matrix) -> float:
    """The share of the ten nearest that the graph finds, over queries spread evenly over the matrix."""
    import numpy as np

    found = 0
    queries = matrix.vectors[:: max(1, len(matrix) // _PROOFS)].astype(np.float32)
    ten = min(10, len(matrix))
    for query in queries:
        tenth = np.partition(matrix.scores(query), -ten)[-ten]  # equal scores are equally good
        found += min(ten, int((matrix.at(graph.near(query, _TRIED)).scores(query) >= tenth).sum()))
    return found / (ten * len(queries))


def _empty(dimensions: int) -> Any:
    # USearch 2.26 carries its own copy of the C++ runtime with public symbols; loaded first, it makes a later onnxruntime crash.
    import onnxruntime  # noqa: F401
    from usearch.index import Index

    return Index(
        ndim=dimensions, metric="ip", dtype="f16", connectivity=_CONNECTIVITY, expansion_add=_EXPANSION, expansion_search=_EXPANSION
    )
