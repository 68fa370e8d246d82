"""The indexes of a bank, one for each kind of key: opened when first asked for, kept in step with the store, renewed when worth it."""

import logging

from edgexp.bank.graph import Progress
from edgexp.bank.index import Index
from edgexp.bank.keys import KINDS, Kind
from edgexp.bank.store import EncoderRow, Store

_log = logging.getLogger("edgexp.bank")


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
