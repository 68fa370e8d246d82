"""The two ways to near vectors: a matrix that scores every vector exactly, and a graph that proposes some. Each is a mapped file.

Knows rows and vectors; knows nothing of the database, of trajectories, or of which file is the newest.

The matrix. Its file is the vectors, f16 [count, dimensions], then, from the next multiple of 64 bytes on, their rows in the database,
int64 [count], ascending. There is nothing in it to parse: a damaged byte that slipped past the checksum is a wrong score, never a crash.

The graph is USearch's HNSW over the older part of a large bank: it takes well under a millisecond and nearly always finds the nearest.
Only banks above the exact limit have one. USearch reads a mapped file without any check and dies of a damaged one, so a graph is mapped
only after its seal was checked. It proposes rows only: their scores come from the matrix.

HNSW can fail without a sign. Where many vectors lie around one that is nearer to each of them than they are to each other, each keeps
that one as its only neighbour, it keeps a few of them, and the rest cannot be reached (recall 0.3 was seen). So a graph has to prove
itself against exact search before it is used. One that does not is sealed as a file of no vectors, and the search stays exact.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgexp.bank.sealed import Filled, Seal, mapped

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


Progress = Callable[[int, int], None]
"""Told how much is done, and of how much."""

_ALIGN = 64
_CONNECTIVITY = 16
_EXPANSION = 128
_ADD_AT_ONCE = 2048
_TRIED = 64
_PROOFS = 100
_GOOD = 0.95
"""Of the ten nearest to each of `_PROOFS` stored vectors, the share a graph must find."""
_log = logging.getLogger("edgexp.bank")


class Matrix:
    """Rows and vectors side by side: `rows` int64 [n] ascending, `vectors` f16 [n, dimensions]."""

    def __init__(self, rows: "NDArray[np.int64]", vectors: "NDArray[np.float16]") -> None:
        self.rows = rows
        self.vectors = vectors

    @classmethod
    def map(cls, path: Path, seal: Seal) -> "Matrix":
        """The matrix in a sealed file. Pages are read when they are first scored; nothing is copied."""
        data = mapped(path)
        size = 2 * seal.count * seal.dimensions
        return cls(data[_aligned(size) :].view("<i8"), data[:size].view("<f2").reshape(seal.count, seal.dimensions))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def last_row(self) -> int:
        """The last row, or 0."""
        return int(self.rows[-1]) if len(self.rows) else 0

    def after(self, row: int) -> "Matrix":
        """The part above a row."""
        import numpy as np

        start = int(np.searchsorted(self.rows, row, "right"))
        return Matrix(self.rows[start:], self.vectors[start:])

    def at(self, rows: "NDArray[np.int64]") -> "Matrix":
        """A copy of the given rows, ascending; rows that are not here are passed over."""
        import numpy as np

        wanted = np.sort(rows)
        positions = np.minimum(np.searchsorted(self.rows, wanted), len(self) - 1)
        positions = positions[self.rows[positions] == wanted]
        return Matrix(self.rows[positions], self.vectors[positions])

    def scores(self, query: "NDArray[np.float32]") -> "NDArray[np.float64]":
        """The dot products of every vector with `query` [dimensions]: float64 [n]. Each depends on nothing but its two vectors."""
        import numpy as np

        if not len(self):
            return np.empty(0, np.float64)
        # USearch's own kernels, called directly: f16 at the speed of memory on one thread (3 ms for 100,000 vectors of 384, where numpy
        # takes 5 to 12 ms over f32 and USearch's exact search 10), and every score, so that filters lose nothing.
        import numkong

        table: NDArray[np.float64] = np.asarray(numkong.cdist(query.astype(np.float16)[None, :], self.vectors, "dot"), np.float64)
        return table.reshape(-1)


class Delta:
    """A matrix in memory that grows: what is newer than the mapped one."""

    def __init__(self, dimensions: int) -> None:
        import numpy as np

        self._rows = np.empty(64, np.int64)
        self._vectors = np.empty((64, dimensions), np.float16)
        self._count = 0

    @property
    def matrix(self) -> Matrix:
        """What is in it now."""
        return Matrix(self._rows[: self._count], self._vectors[: self._count])

    def extend(self, rows: "NDArray[np.int64]", vectors: "NDArray[np.float16]") -> None:
        """Append rows, all above those that are there."""
        import numpy as np

        count = self._count + len(rows)
        if count > len(self._rows):
            old, capacity = self.matrix, max(count, 2 * len(self._rows))
            self._rows = np.empty(capacity, np.int64)
            self._vectors = np.empty((capacity, old.vectors.shape[1]), np.float16)
            self._rows[: len(old)], self._vectors[: len(old)] = old.rows, old.vectors
        self._rows[self._count : count], self._vectors[self._count : count] = rows, vectors
        self._count = count


def write_matrix(path: Path, parts: Iterable[tuple["NDArray[np.int64]", "NDArray[np.float16]"]]) -> Filled:
    """Fill a file with `parts` of rows and vectors, of which there must be at least one. Raises OSError."""
    import numpy as np

    rows = []
    with path.open("wb") as file:
        for part, vectors in parts:
            rows.append(part)
            file.write(vectors.tobytes())
        file.write(b"\0" * (_aligned(file.tell()) - file.tell()))
        if not rows:
            raise OSError("no sound vector is in the database")
        every = np.concatenate(rows)
        file.write(every.tobytes())
    return Filled(len(every), int(every[-1]))


def matrix_size(seal: Seal) -> int:
    """The bytes of a matrix's file, by what its seal says is in it."""
    return _aligned(2 * seal.count * seal.dimensions) + 8 * seal.count


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


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


def graph_library() -> str:
    """USearch and its version: a graph is read by the version that wrote it and no other."""
    from importlib.metadata import version

    return f"usearch {version('usearch')}"


def write_graph(path: Path, matrix: Matrix, old: tuple[Path, Seal] | None, progress: Progress | None = None) -> Filled:
    """Save a graph over the whole matrix, adding to the `old` one, just checked, where there is one: a quarter millisecond a vector.

    What is saved is a graph of no vectors when it does not find what is there to be found.
    """
    import numpy as np

    index = _empty(matrix.vectors.shape[1])
    if old and not _load(index, old[0]):
        index, old = _empty(matrix.vectors.shape[1]), None
    new = matrix.after(old[1].last_row if old else 0)
    for begin in range(0, len(new), _ADD_AT_ONCE):
        end = min(begin + _ADD_AT_ONCE, len(new))
        index.add(new.rows[begin:end].astype(np.uint64), new.vectors[begin:end], threads=1)
        if progress:
            progress(end, len(new))
    found = measure_recall(Graph(index, matrix.last_row), matrix)
    if found < _GOOD:
        _log.warning("a graph over %d vectors finds %.0f %% of the nearest only: they are searched exactly", len(matrix), 100 * found)
        index = _empty(matrix.vectors.shape[1])
    index.save(str(path))
    return Filled(len(index), matrix.last_row)


def _load(index: Any, path: Path) -> bool:
    """Whether an older graph could be read: another process may have deleted it."""
    try:
        index.load(str(path))
    except (OSError, RuntimeError, ValueError):
        return False
    return True


def measure_recall(graph: Graph, matrix: Matrix) -> float:
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
