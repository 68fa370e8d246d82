"""The k best of what passes the filters. Joins an index, which ranks rows, with the store, which knows what they are.

The store is asked about the best-ranked rows first and about all that could count only when these do not suffice: filters cost nothing
in the common case and never lose a result. What was forgotten or quarantined drops out here, however old the index is.
"""

from typing import TYPE_CHECKING

from edgexp.bank.index import Index
from edgexp.bank.records import Filters, Hit
from edgexp.bank.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
