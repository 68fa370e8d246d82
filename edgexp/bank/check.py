"""Does everything in a bank still say what was put in? Re-derives all that can be re-derived."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from edgexp.bank.keys import KINDS
from edgexp.bank.records import Filters
from edgexp.bank.store import EncoderRow, Store
from edgexp.errors import EdgexpError
from edgexp.trajectory import content_id

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNIT_TOLERANCE = 2e-3
"""How far from 1 the length of a stored vector may be: f16 rounds each component by up to one part in 2,048."""


def problems(store: Store, progress: Callable[[int, int], None] | None = None) -> Iterator[str]:
    """What is wrong with the database, one line each; `progress` is told trajectories done and total."""
    try:
        for (message,) in store.database.rows("PRAGMA integrity_check(20)"):
            if message != "ok":
                yield f"{store.database.path}: {message}"
        yield from _trajectories(store, progress)
        encoder = store.encoder()
        if encoder:
            yield from _vectors(store, encoder)
    except EdgexpError as error:  # so damaged that there is no going on
        yield str(error)


def _vectors(store: Store, encoder: EncoderRow) -> Iterator[str]:
    if strays := store.strays():
        yield f"{store.database.path}: {strays} vectors belong to no trajectory"
    for row in store.without_vectors(encoder):
        yield f"trajectory {store.id_of_row(row)} lacks a vector: `edgexp bank rebuild` computes it"
    for row in bad_vectors(store, encoder):
        yield f"trajectory {store.id_of_row(row)} has a vector that is not a unit vector: `edgexp bank rebuild` computes it anew"


def bad_vectors(store: Store, encoder: EncoderRow) -> list[int]:
    """Rows with a vector of a wrong length, with NaN in it, or not of length 1."""
    import numpy as np

    bad = set()
    for kind in KINDS:
        for row, data in store.raw_vectors(encoder, kind):
            if not isinstance(data, bytes) or len(data) != 2 * encoder.dimensions or not is_unit(np.frombuffer(data, "<f2")[None, :])[0]:
                bad.add(row)
    return sorted(bad)


def is_unit(vectors: "NDArray[np.floating]") -> "NDArray[np.bool_]":
    """Which of `vectors` [n, dimensions] are finite and of length 1: bool [n]."""
    import numpy as np

    lengths = np.linalg.norm(vectors.astype(np.float32), axis=1)
    unit: NDArray[np.bool_] = np.abs(lengths - 1) <= UNIT_TOLERANCE  # NaN compares false
    return unit


def _trajectories(store: Store, progress: Callable[[int, int], None] | None) -> Iterator[str]:
    """Every body against its id and its columns."""
    total = store.count(Filters())
    for number, entry in enumerate(store.entries(Filters(), None, -1, newest=False), 1):
        try:
            (trajectory,) = store.get([entry.id])
        except EdgexpError as error:
            yield str(error)
            continue
        if content_id(trajectory) != entry.id:
            yield f"trajectory {entry.id} was changed: its content has the id {content_id(trajectory)}; `edgexp bank forget {entry.id}`"
        t, task = trajectory, trajectory.task
        body = (task.environment, task.id, task.type, task.group, task.split, t.success, t.score, t.provenance.source, len(t.steps))
        e = entry
        if body != (e.environment, e.task_id, e.task_type, e.group, e.split, e.success, e.score, e.source, e.steps):
            yield f"trajectory {entry.id}: the columns it is filtered by differ from its content"
        if progress:
            progress(number, total)
