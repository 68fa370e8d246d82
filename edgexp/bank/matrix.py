"""Vectors as one mapped file of plain numbers, and the exact scores of a query against all of them.

The file is the vectors, f16 [count, dimensions], then, from the next multiple of 64 bytes on, their rows in the database, int64 [count],
ascending. There is nothing in it to parse: a damaged byte that slipped past the checksum is a wrong score and never a crash.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from edgexp.bank.sealed import Filled, Seal, mapped

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ALIGN = 64


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


def write_matrix(path: Path, pieces: Iterable[tuple["NDArray[np.int64]", "NDArray[np.float16]"]]) -> Filled:
    """Fill a file with `pieces` of rows and vectors, of which there must be at least one. Raises OSError."""
    import numpy as np

    rows = []
    with path.open("wb") as file:
        for piece, vectors in pieces:
            rows.append(piece)
            file.write(vectors.tobytes())
        file.write(b"\0" * (_aligned(file.tell()) - file.tell()))
        every = np.concatenate(rows)
        file.write(every.tobytes())
    return Filled(len(every), int(every[-1]))


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
