"""Ranks the rows of a bank's vectors, and finds the k best that pass the filters. Knows nothing of texts, encoders or prompts.

`Index` is the vectors of one kind of key: a mapped matrix, a delta of what is newer, and above the exact limit a graph. It is a cache of
the store's vectors: whatever becomes of its files, it goes on with what the store holds. It ranks rows. Which of them are accepted, and
what they are, only the store knows.

`Indexes` are all of a bank: opened when first asked for, kept in step with the store, written anew when that is worth it.

`search` joins the two. The store is asked about the best-ranked rows first, and about all that could count only when these do not
suffice: filters cost nothing in the common case and never lose a result. What was forgotten or quarantined drops out here, however old
the index is.
"""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgexp.bank import neighbours
from edgexp.bank.neighbours import Delta, Graph, Matrix, Progress
from edgexp.bank.records import KINDS, Filters, Hit, Kind
from edgexp.bank.sealed import Shelf
from edgexp.bank.store import EncoderRow, Store
from edgexp.files import shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


EXACT_LIMIT = 100_000
"""Vectors that are always searched exactly; what is more gets a graph."""
_TRIES = 5
"""Times that files are looked for again when they vanish between being chosen and being mapped."""
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
        self._matrix, self.problems = self._map_matrix()
        if len(self._matrix) > self._exact_limit:
            self._map_graph()

    def _map_matrix(self) -> tuple[Matrix, list[str]]:
        """The newest matrix, and what was wrong with newer ones. Another process may delete a file at any moment: then there is a newer
        one, and if that happens again and again, the database is read."""
        for _ in range(_TRIES):
            found, problems = self._shelf.newest("vectors", "", neighbours.matrix_size)
            if not found:
                return self._delta.matrix, problems
            try:
                return Matrix.map(*found), problems
            except (OSError, ValueError):  # ValueError: cut short since
                continue
        return self._delta.matrix, []

    def _map_graph(self) -> None:
        for _ in range(_TRIES):
            found, problems = self._shelf.newest("graph", neighbours.graph_library())
            try:
                self._graph = Graph.map(*found) if found and found[1].count else None
            except (OSError, RuntimeError, ValueError):  # RuntimeError: what USearch says of a file that is gone
                continue
            self._tried = found[1].last_row if found else 0
            self.problems += problems
            return

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
                count = self._store.count_vectors(self._encoder, self.kind)
                if not count:
                    self.discard()
                    return True
                last = self._store.last_vector(self._encoder, self.kind)
                found = self._store.vectors(self._encoder, self.kind)
                self._shelf.publish("vectors", "", lambda path: neighbours.write_matrix(path, found))
            self.remap()
            self._extend_graph(progress)
            if self._store.count_vectors(self._encoder, self.kind) - self._store.count_vectors(self._encoder, self.kind, last) != count:
                self.discard()  # something was forgotten meanwhile, and must not be in a file
        except FileNotFoundError:  # another process has deleted it before it was whole, because something was forgotten
            self.remap()
            return False
        except OSError as error:
            _log.warning("no new index file for %s (%s): searches use the database", shown(self._store.database.path.parent), error)
            return False
        return True

    def discard(self) -> None:
        """Delete every file of this kind, half-written ones too; the delta takes over until the next snapshot."""
        self._shelf.discard_unfinished()
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
        old = self._shelf.newest("graph", neighbours.graph_library())[0] if self._graph else None
        self._shelf.publish("graph", neighbours.graph_library(), lambda path: neighbours.write_graph(path, whole, old, progress))
        self.remap()


def _scored(parts: list[Matrix], query: "NDArray[np.float32]") -> tuple["NDArray[np.int64]", "NDArray[np.float64]"]:
    import numpy as np

    filled = [part for part in parts if len(part)] or parts[:1]
    if len(filled) == 1:  # the common case: nothing is copied
        return filled[0].rows, filled[0].scores(query)
    return np.concatenate([part.rows for part in filled]), np.concatenate([part.scores(query) for part in filled])


class Indexes:
    """All indexes over one store. Readers only map; a writer renews what is damaged or has fallen behind."""

    def __init__(self, store: Store, readonly: bool, exact_limit: int) -> None:
        self._store = store
        self._readonly = readonly
        self._exact_limit = exact_limit
        self._open: dict[Kind, Index] = {}
        self._encoder: EncoderRow | None = None
        self._version = -1
        self._added = 0

    def fresh(self, kind: Kind) -> Index | None:
        """The index of a kind, with everything that is in the store now; None while the bank has no encoder."""
        index = self._get(kind)
        if index:
            index.refresh()
        return index

    def all(self) -> list[Index]:
        """One index for each kind, perhaps behind the store; none while the bank has no encoder."""
        return [index for index in map(self._get, KINDS) if index]

    def added(self, count: int) -> None:
        """Told after this process has added trajectories: now and then a snapshot is due."""
        self._added += count
        if self._added >= Index.SMALLEST_DELTA:
            self._added = 0
            for index in self.all():
                self._renew_if(index, index.delta_limit())

    def snapshot(self, least: int) -> None:
        """Write index files for the kinds that have `least` vectors or more in the store only."""
        for index in self.all():
            self._renew_if(index, least)

    def discard(self) -> None:
        """Delete every index file."""
        for index in self.all():
            index.discard()

    def reset(self) -> None:
        """Look at the store anew: this process has given the bank another encoder."""
        self._encoder = None

    def rebuild(self, progress: Progress | None = None) -> None:
        """Make every index file anew from the store."""
        for index in self.all():
            index.discard()
            index.snapshot(progress)

    def _get(self, kind: Kind) -> Index | None:
        # data_version changes with every commit of another process; one of them may have made another encoder the bank's.
        version = self._store.database.rows("PRAGMA data_version")[0][0]
        if version != self._version or not self._encoder:
            self._version = version
            encoder = self._store.encoder()
            if encoder != self._encoder:
                self._encoder = encoder
                self._open.clear()
        if self._encoder and kind not in self._open:
            self._open[kind] = self._first(kind, self._encoder)
        return self._open.get(kind)

    def _first(self, kind: Kind, encoder: EncoderRow) -> Index:
        index = Index(self._store, encoder, kind, self._exact_limit)
        for problem in index.problems:
            _log.warning("%s", problem)
        if not self._readonly:
            self._renew_if(index, 0 if index.problems else index.delta_limit())
        return index

    def _renew_if(self, index: Index, least: int) -> None:
        if index.pending() >= least:
            index.snapshot()


_FIRST, _SECOND = 64, 2048
"""Rows asked about in the first and the second try, besides k."""


def search(store: Store, index: Index, query: "NDArray[np.float32]", k: int, filters: Filters) -> list[Hit]:
    """At most `k` hits, the best first; equal scores in the order of their ids."""
    import numpy as np

    near = index.near(query, k + _FIRST)
    if near:
        hits = _passing(store, *near, filters)
        if len(hits) >= k:
            return hits[:k]
    rows, scores = index.scores(query)
    for width in (k + _FIRST, k + _SECOND):
        best = _best(scores, width)
        hits = _passing(store, rows[best], scores[best], filters)
        if len(hits) >= k or len(best) == len(rows):
            return hits[:k]
    possible = np.isin(rows, store.candidates(filters))
    rows, scores = rows[possible], scores[possible]
    best = _best(scores, k)
    return _passing(store, rows[best], scores[best], filters)[:k]


def _best(scores: "NDArray[np.float64]", width: int) -> "NDArray[np.int64]":
    """Positions of the `width` highest scores and of all that equal the lowest of them, in no order."""
    import numpy as np

    if width >= len(scores):
        return np.arange(len(scores))
    threshold = np.partition(scores, len(scores) - width)[len(scores) - width]
    return np.flatnonzero(scores >= threshold)


def _passing(store: Store, rows: "NDArray[np.int64]", scores: "NDArray[np.float64]", filters: Filters) -> list[Hit]:
    ids = store.among(rows, filters)
    hits = [Hit(ids[row], score) for row, score in zip(rows.tolist(), scores.tolist(), strict=True) if row in ids]
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))
