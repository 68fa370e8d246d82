"""Vectors for what a bank holds, and whether all that it holds is still sound. Knows nothing of index files or of how a search works.

Makes the stored vectors of new trajectories, and those of a whole bank under another encoder. Re-derives whatever can be re-derived
(ids, the columns trajectories are filtered by, lengths of vectors) and says where the bank says something else.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING, Protocol

from edgexp.bank.episode_log import count_episodes
from edgexp.bank.records import KINDS, VERSION, Entry, Filters, Kind, Stats, key_text, split_key
from edgexp.bank.schema import FILE
from edgexp.bank.store import EncoderRow, Store
from edgexp.errors import EdgexpError
from edgexp.trajectory import Trajectory, content_id

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


BATCH = 64
"""Trajectories embedded together and committed together."""
UNIT_TOLERANCE = 2e-3
"""How far from 1 the length of a stored vector may be: f16 rounds each component by up to one part in 2,048."""


class Embedder(Protocol):
    """What a bank needs of an encoder; `edgexp.embedding.Encoder` is one."""

    id: str
    name: str
    dimensions: int
    max_tokens: int
    """Longer texts lose their end."""

    def encode(self, texts: Sequence[str], *, query: bool = False) -> "NDArray[np.float32]":
        """Unit vectors [len(texts), dimensions]; a `query` gets the model's query prefix."""

    def count(self, text: str, *, query: bool = False) -> int:
        """Tokens of a text, with what lies over `max_tokens`."""


def identity(embedder: Embedder) -> str:
    """What stored vectors depend on: the encoder, and how keys are made of its vectors."""
    return f"{embedder.id}.{VERSION}"


def vectors_of(embedder: Embedder, trajectories: Sequence[Trajectory]) -> list[dict[Kind, bytes]]:
    """The vectors of each trajectory as they are stored, little-endian f16. Raises EdgexpError when one is not a unit vector."""
    by_kind: dict[Kind, list[bytes]] = {}
    for kind in KINDS:
        texts = [key_text(trajectory, kind) for trajectory in trajectories]
        vectors = key_vectors(embedder, kind, texts)
        for sound, text in zip(is_unit(vectors), texts, strict=True):
            if not sound:
                raise EdgexpError(f"the encoder {embedder.name} gave no unit vector for {text[:60]!r}: nothing was stored")
        by_kind[kind] = [vector.tobytes() for vector in vectors.astype("<f2")]
    return [{kind: data[index] for kind, data in by_kind.items()} for index in range(len(trajectories))]


def key_vectors(embedder: Embedder, kind: Kind, texts: Sequence[str], *, query: bool = False) -> "NDArray[np.float32]":
    """Unit vectors [len(texts), dimensions] of keys or queries of one kind, made of their parts."""
    import numpy as np

    parts = [split_key(kind, text) for text in texts]
    encoded = iter(embedder.encode([text for part in parts for text in part], query=query))
    sums = np.array([sum(next(encoded) for _ in part) for part in parts], np.float32)
    sums = sums.reshape(len(texts), embedder.dimensions)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    unit: NDArray[np.float32] = sums / np.maximum(lengths, 1e-12)
    return unit


def reembed(store: Store, embedder: Embedder, progress: Callable[[int, int], None] | None = None) -> int:
    """Give every trajectory sound vectors under `embedder`, then make it the bank's encoder; how many were embedded.

    The work is committed in small pieces and the switch is one transaction at the end, so it can be interrupted anywhere and resumed.
    """
    database, done = store.database, 0
    with database.transaction():
        encoder = store.know_encoder(identity(embedder), embedder.name, embedder.dimensions)
    repair = set(find_bad_vectors(store, encoder))
    while True:
        with database.transaction():
            todo = sorted((repair | set(store.without_vectors(encoder))) - store.aside.keys())
            if not todo:
                store.use_encoder(encoder)
                return done
        done += _embed_rows(store, encoder, embedder, todo, progress)
        repair = set()


def _embed_rows(
    store: Store, encoder: EncoderRow, embedder: Embedder, rows: Sequence[int], progress: Callable[[int, int], None] | None
) -> int:
    done = 0
    for begin in range(0, len(rows), BATCH):
        batch = store.by_row(rows[begin : begin + BATCH])
        vectors = vectors_of(embedder, [trajectory for _, trajectory in batch])
        with store.database.transaction():
            for (row, _), data in zip(batch, vectors, strict=True):
                if store.id_of_row(row):  # it may have been forgotten meanwhile
                    store.set_vectors(row, encoder.code, data)
        done += len(batch)
        if progress:
            progress(min(begin + BATCH, len(rows)), len(rows))
    return done


def count_up(store: Store, path: str, sizes: Mapping[str, int], indexed: dict[str, int]) -> Stats:
    """Figures of a bank for people. `sizes` are the bytes of its files by name, `indexed` the vectors in index files by kind."""
    encoder = store.encoder()
    database = sum(size for name, size in sizes.items() if name.startswith(FILE))
    return Stats(
        path=path,
        trajectories=store.count(Filters()),
        accepted=store.count(Filters(), "accepted"),
        quarantined=store.count(Filters(), "quarantined"),
        successful=store.count(Filters(success=True)),
        by_environment=store.by("environment"),
        by_source=store.by("source"),
        episodes=count_episodes(store.database),
        encoder=encoder.name if encoder else "",
        encoder_id=encoder.id if encoder else "",
        dimensions=encoder.dimensions if encoder else 0,
        indexed=indexed,
        database_bytes=database,
        index_bytes=sum(sizes.values()) - database,
        fingerprint=store.fingerprint(),
    )


def find_problems(store: Store, progress: Callable[[int, int], None] | None = None) -> Iterator[str]:
    """What is wrong with the database, one line each; `progress` is told trajectories done and total."""
    try:
        for (message,) in store.database.rows("PRAGMA integrity_check(20)"):
            if message != "ok":
                yield f"{store.database.path}: {message}"
        yield from _check_trajectories(store, progress)
        encoder = store.encoder()
        if encoder:
            yield from _check_vectors(store, encoder)
    except EdgexpError as error:  # so damaged that there is no going on
        yield str(error)


def _check_vectors(store: Store, encoder: EncoderRow) -> Iterator[str]:
    if strays := store.strays():
        yield f"{store.database.path}: {strays} vectors belong to no trajectory"
    for row in store.without_vectors(encoder):
        yield f"trajectory {store.id_of_row(row)} lacks a vector: `edgexp bank rebuild` computes it"
    for row in find_bad_vectors(store, encoder):
        yield f"trajectory {store.id_of_row(row)} has a vector that is not a unit vector: `edgexp bank rebuild` computes it anew"


def find_bad_vectors(store: Store, encoder: EncoderRow) -> list[int]:
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


def _check_trajectories(store: Store, progress: Callable[[int, int], None] | None) -> Iterator[str]:
    """Every body against its id and its columns."""
    total = store.count(Filters())
    for number, (entry, trajectory, row) in enumerate(store.look(Filters(), None, newest=False), 1):
        if entry is None or trajectory is None:
            yield store.aside[row]
        else:
            yield from _differences(entry, trajectory)
        if progress:
            progress(number, total)


def _differences(entry: Entry, t: Trajectory) -> Iterator[str]:
    if content_id(t) != entry.id:
        yield f"trajectory {entry.id} was changed: its content has the id {content_id(t)}; `edgexp bank forget {entry.id}`"
    task, e = t.task, entry
    body = (task.environment, task.id, task.type, task.group, task.split, t.success, t.score, t.provenance.source, len(t.steps))
    if body != (e.environment, e.task_id, e.task_type, e.group, e.split, e.success, e.score, e.source, e.steps):
        yield f"trajectory {entry.id}: the columns it is filtered by differ from its content"


def copy(store: Store, bank: Path, folder: Path) -> list[str]:
    """Copy what is in the folder `bank` as it is at this moment into another folder; the names of the files. Raises EdgexpError."""
    store.database.execute("VACUUM INTO ?", (str(folder / FILE),))
    names = [FILE]
    for sidecar in bank.glob("*.json"):  # an index file that is newer than the copy of the database is not used beside it
        with suppress(OSError):  # a writer has just replaced it
            for path in (sidecar.with_suffix(""), sidecar):
                copyfile(path, folder / path.name)
            names += [sidecar.stem, sidecar.name]
    return names
