"""A bank of experience: one folder, one encoder, trajectories in, the most similar ones out.

The façade over store, indexes and log. Knows nothing of prompts, models or how an episode is played.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from edgexp.bank import upkeep
from edgexp.bank.episode_log import count_episodes, read_episode, recent_episodes, write_episode
from edgexp.bank.frames import Frame, Frames
from edgexp.bank.neighbours import Progress
from edgexp.bank.records import AddResult, Entry, Episode, Filters, Hit, Kind, Stats, Status
from edgexp.bank.schema import FILE, CannotWrite, connect
from edgexp.bank.soundness import check_sound
from edgexp.bank.store import EncoderRow, Store
from edgexp.bank.upkeep import Embedder
from edgexp.bank.usefulness import Counters, Usefulness
from edgexp.bank.vector_index import EXACT_LIMIT, Indexes, search
from edgexp.errors import EdgexpError, UsageError
from edgexp.files import shown
from edgexp.home import home
from edgexp.trajectory import Trajectory, encode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_log = logging.getLogger("edgexp.bank")
_WORTH_A_FILE = 256
"""Fewer new vectors than this are read from the database as fast as from a file: no snapshot on closing."""


class Bank:
    """An open bank. `Bank.open` is the way to get one; close it, or use it as a context manager. One thread at a time."""

    def __init__(self, path: Path, store: Store, readonly: bool, exact_limit: int) -> None:
        self.path = path
        self.keeps_log = True
        """False where episodes are played beside a bank that cannot be written to: they are not logged."""
        self.readonly = readonly
        self._store = store
        self._embedder: Embedder | None = None
        self._indexes = Indexes(store, readonly, exact_limit)
        self._counters = Counters(store.database)
        self._frames = Frames(store)

    @classmethod
    def open(
        cls,
        path: Path,
        encoder: Embedder | None = None,
        *,
        readonly: bool = False,
        create: bool = True,
        wait: float = 30.0,
        exact_limit: int = EXACT_LIMIT,
    ) -> "Bank":
        """Open the bank in the folder `path`; one that is not there is made, unless `readonly` or not to `create`.

        Adding and searching by text need the `encoder` the bank was made with; everything else does without. A write waits up to
        `wait` seconds for other writers. Raises EdgexpError when there is no bank, when it is damaged or of a newer version, or when
        another encoder made it.
        """
        path = path.absolute()
        database = connect(path / FILE, readonly=readonly, create=create and not readonly, wait=wait)
        try:
            bank = cls(path, Store(database), readonly, exact_limit)
            if encoder:
                bank.use(encoder)
        except BaseException:
            database.close()
            raise
        return bank

    @classmethod
    def open_to_play(cls, path: Path, encoder: Embedder) -> "Bank | None":
        """The bank to play with where nothing has to be kept: in a place that cannot be written to it is only read, and the log is done
        without. None where there is none and none can be made. Raises EdgexpError as `open`."""
        try:
            return cls.open(path, encoder)
        except CannotWrite:
            if not (path / FILE).is_file():
                return None
        bank = cls.open(path, encoder, readonly=True)
        bank.keeps_log = False
        return bank

    def __enter__(self) -> "Bank":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close(snapshot=error is None)

    def close(self, snapshot: bool = True) -> None:
        """Close, after writing index files where enough is new. Closing twice is fine."""
        if self._store.database.closed:
            return
        try:
            self._tell_aside()
            if snapshot and not self.readonly:
                self._indexes.snapshot(_WORTH_A_FILE)
        finally:
            self._store.database.close()

    @property
    def set_aside(self) -> tuple[str, ...]:
        """Why each of the trajectories that were met and cannot be read cannot be read. They count as quarantined."""
        return tuple(self._store.aside.values())

    def _tell_aside(self) -> None:
        """Quarantine what could not be read, where this process may write, and say how much that was."""
        if not self._store.aside:
            return
        if not self.readonly:
            with suppress(EdgexpError), self._store.database.transaction():  # the next one that meets it will do it
                self._store.quarantine_aside()
        count = len(self._store.aside)
        _log.warning("%d trajector%s in the bank %s cannot be read and %s set aside: edgexp bank verify names %s", count,
                     "y" if count == 1 else "ies", shown(self.path), "was" if count == 1 else "were", "it" if count == 1 else "them")

    def use(self, encoder: Embedder) -> None:
        """Add and search with this encoder. Raises EdgexpError when another one made the bank."""
        self._check_encoder(self._store.encoder(), encoder)
        self._embedder = encoder

    @property
    def embedder(self) -> Embedder:
        """The encoder the bank was opened with. Raises EdgexpError when there is none."""
        if not self._embedder:
            raise EdgexpError(f"the bank {self.path} was opened without an encoder: texts can be neither added nor searched")
        return self._embedder

    @property
    def encoder_name(self) -> str:
        """What the encoder of the stored vectors is called; empty until something was added."""
        encoder = self._store.encoder()
        return encoder.name if encoder else ""

    # In

    def add(self, trajectories: Iterable[Trajectory], status: Status = "accepted", progress: Progress | None = None) -> AddResult:
        """Add trajectories; each becomes visible with its vectors at once, and stays, whatever happens after.

        What the bank holds already is passed over; but accepting something that was quarantined accepts it, with the newcomer's
        provenance, and so is what was imported vouched for by whoever plays it here. `progress` is told how many were looked at; the total
        is 0 when `trajectories` has no length. Raises EdgexpError for one that could not be read back if it was stored: nothing of its
        batch is stored.
        """
        total = len(trajectories) if isinstance(trajectories, Sequence) else 0
        added: dict[str, None] = {}
        known: dict[str, None] = {}
        seen, source = 0, iter(trajectories)
        while batch := list(islice(source, upkeep.BATCH)):
            result = self._add({sound.id: sound for sound in map(check_sound, batch)}, status)
            added.update(dict.fromkeys(result.added))
            known.update(dict.fromkeys(identity for identity in result.known if identity not in added))
            self._indexes.added(len(result.added))
            seen += len(batch)
            if progress:
                progress(seen, total)
        return AddResult(tuple(added), tuple(known), seen - len(added) - len(known))

    def accept(self, ids: Sequence[str]) -> int:
        """Release trajectories from quarantine; how many were. What cannot be read stays there. Raises UsageError for an id that is not
        there."""
        with self._writing():
            held = self._store.statuses(ids)
            for identity in ids:
                if identity not in held:
                    raise UsageError(f"the bank {self.path} holds no trajectory {identity}: nothing was accepted")
            return self._store.accept(list(self._store.readable(ids)))

    def forget(self, ids: Sequence[str]) -> int:
        """Remove trajectories from the database and from every index file; how many there were."""
        self._may_write()
        self._indexes.discard()  # first: a crash after this leaves a bank without index files, never one that remembers
        with self._writing():
            gone = self._store.delete(ids)
        self._indexes.discard()  # again: another writer may have made files meanwhile
        self._store.database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        self._indexes.snapshot(_WORTH_A_FILE)
        return gone

    # Out

    def get(self, identity: str) -> Trajectory:
        """A trajectory by its full id. Raises UsageError when there is none."""
        return self._store.get([identity])[0]

    def read(self, ids: Sequence[str]) -> list[Trajectory]:
        """Trajectories by their full ids, in that order. Raises UsageError naming the first that is not there."""
        return self._store.get(ids)

    def find(self, prefix: str) -> str:
        """The one id that begins with `prefix`. Raises UsageError when there is none, or more than one."""
        found = self._store.find(prefix)
        if len(found) == 1 or prefix in found:
            return prefix if prefix in found else found[0]
        which = f"more than one trajectory ({', '.join(found[:3])}, …)" if found else "no trajectory"
        raise UsageError(f"{which} in the bank {self.path} has an id that begins with {prefix!r}")

    def entries(self, filters: Filters | None = None, status: Status | None = None, limit: int = -1) -> list[Entry]:
        """What matches, the newest first; a negative limit is none."""
        return self._store.entries(filters or Filters(), status, limit)

    def ids(self, status: Status) -> list[str]:
        """The ids of all of a status, in the order they were added; those of trajectories that cannot be read are among them."""
        return self._store.ids(status)

    def each(self, filters: Filters | None = None, status: Status | None = "accepted") -> Iterator[Trajectory]:
        """The trajectories that match, in the order they were added."""
        for _, _, trajectory in self._store.each(filters or Filters(), status):
            yield trajectory

    def export(self, filters: Filters | None = None, status: Status | None = "accepted") -> Iterator[bytes]:
        """The trajectories that match as JSON lines; `trajectory.read_lines` and `add` are the way back."""
        for trajectory in self.each(filters, status):
            yield encode(trajectory) + b"\n"

    def search(self, kind: Kind, query: "str | NDArray[np.float32]", k: int = 2, filters: Filters | None = None) -> list[Hit]:
        """The at most `k` accepted trajectories nearest to `query`, a text or a unit vector [dimensions], the best first.

        Exact up to the exact limit, among all that pass the filters. Equal scores come in the order of their ids.
        """
        if k < 1:
            raise UsageError(f"a search for {k} trajectories: ask for one at least")
        index = self._indexes.fresh(kind)
        if not index:
            return []
        vector = self.embed(query, kind) if isinstance(query, str) else query
        if vector.shape != (index.dimensions,) or not upkeep.is_unit(vector[None, :])[0]:
            raise UsageError(f"a query of shape {vector.shape} that is not a unit vector of {index.dimensions} dimensions")
        while True:  # what is set aside is not found again
            hits, aside = search(self._store, index, vector, k, filters or Filters()), len(self._store.aside)
            readable = self._store.readable([hit.id for hit in hits])
            if len(readable) == len(hits) or len(self._store.aside) == aside:  # the same: another process has just forgotten some
                return [hit for hit in hits if hit.id in readable]

    def pool(self, kind: Kind, vector: "NDArray[np.float32]", k: int, filters: Filters) -> dict[str, tuple[float, str]]:
        """As `search`, with a vector: id → score and goal, to choose among."""
        index = self._indexes.fresh(kind)
        hits = search(self._store, index, vector, k, filters) if index else []
        goals = self._frames.goals([hit.id for hit in hits])
        return {hit.id: (hit.score, goals[hit.id]) for hit in hits if hit.id in goals}

    def frame(self, environment: str) -> Frame:
        """What recurs among the goals of an environment, and whether that tells how things are done there."""
        return self._frames.of(environment)

    def embed(self, query: str, kind: Kind = "task") -> "NDArray[np.float32]":
        """The unit vector [dimensions] of a query of one kind. Raises EdgexpError when the bank was opened without its encoder."""
        embedder = self.embedder
        self._check_encoder(self._store.encoder(), embedder)
        vector: NDArray[np.float32] = upkeep.key_vectors(embedder, kind, [query], query=True)[0]
        return vector

    def vectors(self, kind: Kind, ids: Sequence[str]) -> "NDArray[np.float32]":
        """The stored vectors of trajectories, float32 [len(ids), dimensions], in that order."""
        import numpy as np

        encoder = self._store.encoder()
        found = self._store.vectors_of(encoder, kind, ids) if encoder else {}
        for identity in ids:
            if encoder is None or len(found.get(identity, b"")) != 2 * encoder.dimensions:
                raise UsageError(f"the bank {shown(self.path)} holds no sound vector of {identity}: `edgexp bank rebuild` computes it")
        data = b"".join(found[identity] for identity in ids)
        return np.frombuffer(data, "<f2").astype(np.float32).reshape(len(ids), encoder.dimensions if encoder else 0)

    def count(self, filters: Filters | None = None, status: Status | None = "accepted") -> int:
        """How many trajectories match."""
        return self._store.count(filters or Filters(), status)

    def fingerprint(self) -> str:
        """`b` and 24 hexadecimal digits over the accepted ids and the encoder: banks with the same one retrieve the same."""
        return self._store.fingerprint()

    def stats(self) -> Stats:
        """Figures for people."""
        indexed: dict[str, int] = {index.kind: index.mapped for index in self._indexes.all()}
        return upkeep.count_up(self._store, shown(self.path), _sizes(self.path), indexed)

    # Episodes

    def log_episode(self, episode: Episode) -> str:
        """Record a played episode and what was retrieved for it; its short id, for `why`. Empty where no log is kept."""
        if not self.keeps_log:
            return ""
        self._may_write()
        return write_episode(self._store.database, episode)

    def why(self, prefix: str) -> Episode:
        """A logged episode with all its retrievals. Raises UsageError when not exactly one id begins with `prefix`."""
        return read_episode(self._store.database, prefix)

    def episodes(self, limit: int = 20) -> list[Episode]:
        """The latest logged episodes, the newest first, without their retrievals."""
        return recent_episodes(self._store.database, limit)

    def usefulness(self, ids: Sequence[str]) -> dict[str, Usefulness]:
        """What the log says by now of those of `ids` that the bank holds: how often each was in a prompt, and what came of it."""
        return self._counters.of(self._store.sources(ids))

    @property
    def logged(self) -> int:
        """How many episodes the log holds."""
        return count_episodes(self._store.database)

    # Upkeep

    def copy_to(self, folder: Path) -> list[str]:
        """Copy the bank as it is now, log included, into an empty folder, to be read there; the names of the files. Raises EdgexpError."""
        return upkeep.copy(self._store, self.path, folder)

    def verify(self, progress: Progress | None = None) -> list[str]:
        """Everything that is wrong, one line each; nothing is changed. `progress` is told trajectories checked and total."""
        problems = list(upkeep.find_problems(self._store, progress))
        try:
            return problems + [line for index in self._indexes.all() for line in index.check()]
        except EdgexpError as error:
            return [*problems, str(error)]

    def rebuild(self, encoder: Embedder | None = None, progress: Progress | None = None) -> int:
        """Make all index files anew; with an `encoder`, first embed what lacks a sound vector under it, and use it from now on.

        How many trajectories were embedded. Interrupted, it goes on where it was when called again; until it is through, the old
        vectors stay in use.
        """
        self._may_write()
        self._embedder = encoder or self._embedder
        embedded = upkeep.reembed(self._store, self._embedder, progress) if self._embedder else 0
        self._indexes.reset()
        self._indexes.rebuild(progress)
        return embedded

    def _add(self, batch: dict[str, Trajectory], status: Status) -> AddResult:
        """Embed what is new of a batch, outside the transaction, and commit it."""
        embedder, ids = self.embedder, list(batch)
        held = self._store.statuses(ids)
        new = {identity: trajectory for identity, trajectory in batch.items() if identity not in held}
        vectors = dict(zip(new, upkeep.vectors_of(embedder, list(new.values())), strict=True)) if new else {}
        with self._writing():
            held = self._store.statuses(ids)  # again: another writer may have been faster
            encoder = self._store.encoder()
            self._check_encoder(encoder, embedder)
            if not encoder:
                encoder = self._store.know_encoder(upkeep.identity(embedder), embedder.name, embedder.dimensions)
                self._store.use_encoder(encoder)
            added = [identity for identity in new if identity not in held]
            for identity in added:
                self._store.insert(new[identity], identity, status, encoder.code, vectors[identity])
            if status == "accepted":
                self._vouch({identity: batch[identity] for identity in self._store.brought(list(held))}, held)
        return AddResult(tuple(added), tuple(held))

    def _vouch(self, seen: dict[str, Trajectory], held: dict[str, Status]) -> None:
        """Accept what waited in quarantine, and let what happened here replace what an import said of it."""
        own = {identity: t for identity, t in seen.items() if held[identity] == "quarantined" or t.provenance.source != "import"}
        self._store.accept(list(own), own)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._may_write()
        with self._store.database.transaction():
            yield

    def _may_write(self) -> None:
        if self.readonly:
            raise EdgexpError(f"the bank {self.path} is open for reading only")

    def _check_encoder(self, made_with: EncoderRow | None, embedder: Embedder) -> None:
        wanted = upkeep.identity(embedder)
        if made_with and made_with.id != wanted:
            raise EdgexpError(
                f"the bank {self.path} was embedded with {made_with.name} ({made_with.id}), not with {embedder.name} ({wanted}): "
                f"`edgexp bank rebuild --encoder {embedder.name}` embeds it anew"
            )


def _sizes(folder: Path) -> dict[str, int]:
    """Name → bytes of the files in a folder; one that vanishes meanwhile is not there."""
    sizes = {}
    for path in folder.iterdir():
        with suppress(OSError):
            if path.is_file():
                sizes[path.name] = path.stat().st_size
    return sizes


def default_path() -> Path:
    """The bank that is meant when none is named; it need not exist yet."""
    return home() / "banks" / "default"
