"""Trajectories and their vectors in SQLite: the truth of a bank. Knows nothing of index files, of models, or of the log of episodes."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from edgexp.bank.records import KINDS, Entry, Filters, Kind, Status
from edgexp.bank.schema import Database
from edgexp.bank.soundness import is_plain, pack, unpack
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Trajectory, root_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_COLUMNS = "id, status, environment, task_id, task_type, task_group, split, success, score, source, steps, created"
_LIST = "(SELECT value FROM json_each(?))"
"""A list as one argument: no limit on its length, and the same statement for every length."""
_READ_MANY = 1024


class EncoderRow(msgspec.Struct, frozen=True):
    """An encoder as the bank remembers it; `code` is its key in the vectors' table."""

    code: int
    id: str
    name: str
    dimensions: int


class Store:
    """The tables of one bank. Methods that write expect to be called inside `database.transaction()`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        found = database.one("SELECT value FROM meta WHERE key = 'bank'")
        self.bank: str = str(found[0]) if found else ""
        """Drawn at random when the bank was made: tells index files of other banks apart."""
        self.aside: dict[int, str] = {}
        """Row → why it cannot be read. What is here counts as quarantined; `quarantine_aside` writes that down."""

    # Encoders

    def encoder(self) -> EncoderRow | None:
        """The encoder all searches use; None until the first trajectory is added."""
        sql = "SELECT code, id, name, dimensions FROM encoder WHERE code = (SELECT value FROM meta WHERE key = 'encoder')"
        row = self.database.one(sql)
        return EncoderRow(*row) if row else None

    def know_encoder(self, identity: str, name: str, dimensions: int) -> EncoderRow:
        """The row of an encoder, made when there is none and called as it is called now; which one searches use does not change."""
        sql = "INSERT INTO encoder (id, name, dimensions) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name"
        self.database.execute(sql, (identity, name, dimensions))
        return EncoderRow(*self.database.rows("SELECT code, id, name, dimensions FROM encoder WHERE id = ?", (identity,))[0])

    def use_encoder(self, encoder: EncoderRow) -> None:
        """From now on searches use this encoder's vectors; those of all others go."""
        self.database.execute("INSERT OR REPLACE INTO meta VALUES ('encoder', ?)", (str(encoder.code),))
        self.database.execute("DELETE FROM vector WHERE encoder <> ?", (encoder.code,))
        self.database.execute("DELETE FROM encoder WHERE code <> ?", (encoder.code,))

    # Trajectories

    def statuses(self, ids: Sequence[str]) -> dict[str, Status]:
        """The status of those of `ids` the bank holds."""
        return dict(self.database.rows(f"SELECT id, status FROM trajectory WHERE id IN {_LIST}", (_list(ids),)))

    def brought(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that are held as an import brought them: nobody here has seen them happen, or they wait in quarantine."""
        sql = f"SELECT id FROM trajectory WHERE (source = 'import' OR status = 'quarantined') AND id IN {_LIST}"
        return {identity for (identity,) in self.database.rows(sql, (_list(ids),))}

    def insert(self, trajectory: Trajectory, identity: str, status: Status, encoder: int, vectors: Mapping[Kind, bytes]) -> None:
        """A new trajectory with all its vectors (little-endian f16)."""
        t, task = trajectory, trajectory.task
        values = (task.environment, task.id, task.type, task.group, task.split, t.success, t.score, t.provenance.source, len(t.steps))
        row = self.database.insert(
            f"INSERT INTO trajectory ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (identity, status, *values, t.provenance.created),
        )
        self.database.execute("INSERT INTO body VALUES (?, ?)", (row, pack(t)))
        self.set_vectors(row, encoder, vectors)

    def set_vectors(self, row: int, encoder: int, vectors: Mapping[Kind, bytes]) -> None:
        """The vectors of a trajectory under one encoder, replacing what was there."""
        for kind, data in vectors.items():
            self.database.execute("INSERT OR REPLACE INTO vector VALUES (?, ?, ?, ?)", (encoder, kind, row, data))

    def accept(self, ids: Sequence[str], vouched: Mapping[str, Trajectory] | None = None) -> int:
        """Release quarantined trajectories; where `vouched` has a first-hand recording, its provenance replaces the import's."""
        changed = self.database.execute(
            f"UPDATE trajectory SET status = 'accepted' WHERE status = 'quarantined' AND id IN {_LIST}", (_list(ids),)
        )
        for identity, trajectory in (vouched or {}).items():
            source, created = trajectory.provenance.source, trajectory.provenance.created
            self.database.execute("UPDATE trajectory SET source = ?, created = ? WHERE id = ?", (source, created, identity))
            where = "row = (SELECT row FROM trajectory WHERE id = ?)"
            self.database.execute(f"UPDATE body SET data = ? WHERE {where}", (pack(trajectory), identity))
        return changed

    def delete(self, ids: Sequence[str]) -> int:
        """Remove trajectories with their bodies and vectors; how many there were."""
        rows = f"(SELECT row FROM trajectory WHERE id IN {_LIST})"
        for kind in KINDS:
            where = f"encoder IN (SELECT code FROM encoder) AND kind = ? AND row IN {rows}"  # all of the primary key: no scan
            self.database.execute(f"DELETE FROM vector WHERE {where}", (kind, _list(ids)))
        return self.database.execute(f"DELETE FROM trajectory WHERE id IN {_LIST}", (_list(ids),))

    def get(self, ids: Sequence[str]) -> list[Trajectory]:
        """The trajectories of `ids`, in that order. Raises UsageError naming the first that is not there."""
        sql = f"SELECT id, data FROM trajectory JOIN body USING (row) WHERE id IN {_LIST}"
        bodies = dict(self.database.rows(sql, (_list(ids),)))
        for identity in ids:
            if identity not in bodies:
                raise UsageError(f"the bank {self.database.path.parent} holds no trajectory {identity}")
        return [unpack(bodies[identity], identity) for identity in ids]

    def find(self, prefix: str) -> list[str]:
        """Ids that begin with `prefix`, sorted; at most 20."""
        # A range and not LIKE: it uses the index and knows no wildcards.
        sql = "SELECT id FROM trajectory WHERE id >= ? AND id < ? ORDER BY id LIMIT 20"
        return [identity for (identity,) in self.database.rows(sql, (prefix, prefix + "\U0010ffff"))]

    def ids(self, status: Status) -> list[str]:
        """The ids of all of a status in the order they were added, those that cannot be read among them."""
        rows = self.database.rows("SELECT id FROM trajectory WHERE status = ? ORDER BY row", (status,))
        return [identity for (identity,) in rows if isinstance(identity, str)]

    def smallest(self, environment: str, count: int) -> tuple[str, ...]:
        """The `count` smallest ids of what is accepted and was won in an environment."""
        # The plus signs leave the index of ids as the way in, so that the walk ends with the last one wanted.
        where = "+status = 'accepted' AND +environment = ? AND +success = 1"
        rows = self.database.rows(f"SELECT id FROM trajectory WHERE {where} ORDER BY id LIMIT ?", (environment, count))
        return tuple(identity for (identity,) in rows if isinstance(identity, str))

    def sources(self, ids: Sequence[str]) -> dict[str, str]:
        """Id → source of those of `ids` that the bank holds."""
        return dict(self.database.rows(f"SELECT id, source FROM trajectory WHERE id IN {_LIST}", (_list(ids),)))

    def entries(self, filters: Filters, status: Status | None, limit: int, newest: bool = True) -> list[Entry]:
        """Entries in the order they were added, the newest first or last; a negative limit is none. What cannot be read is set aside."""
        pieces = self.look(filters, status, newest, min(limit, _READ_MANY) if limit > 0 else None)
        found = (entry for entry, trajectory, _ in pieces if entry and trajectory)
        return list(islice(found, limit if limit >= 0 else None))

    def each(self, filters: Filters, status: Status | None) -> Iterator[tuple[int, str, Trajectory]]:
        """Row, id and content of the trajectories that match, in the order they were added. What cannot be read is set aside."""
        for entry, trajectory, row in self.look(filters, status, newest=False):
            if entry and trajectory:
                yield row, entry.id, trajectory

    def look(self, filters: Filters, status: Status | None, newest: bool,
             at_once: int | None = None) -> Iterator[tuple[Entry | None, Trajectory | None, int]]:
        """Entry, content and row of what matches, in the order they were added; without its entry or its content where that cannot be
        read, which is set aside. So many are read at once."""
        where, arguments = self._where(filters, status)
        order, beyond, last = ("DESC", "<", 1 << 62) if newest else ("ASC", ">", 0)
        columns = ", ".join(f"t.{column}" for column in _COLUMNS.split(", "))
        sql = f"""SELECT t.row, b.data, {columns} FROM (SELECT * FROM trajectory WHERE {where} AND row {beyond} ?
            ORDER BY row {order} LIMIT {at_once or _READ_MANY}) t LEFT JOIN body b ON b.row = t.row ORDER BY t.row {order}"""
        while rows := self.database.rows(sql, (*arguments, last)):  # in pieces, so that no read stays open while the caller writes
            for row, data, *values in rows:
                yield self._entry(row, values), self._content(row, values[0], data), row
            last = rows[-1][0]

    def _entry(self, row: int, values: Sequence[object]) -> Entry | None:
        try:
            entry = msgspec.convert(_named(tuple(values)), Entry, strict=False)
        except (msgspec.ValidationError, ValueError) as error:
            self.set_aside(row, f"the entry of trajectory {_shown(values[0])} is impossible ({error})")
            return None
        if not is_plain(entry):
            self.set_aside(row, f"the entry of trajectory {_shown(entry.id)} holds a number or a text that is none")
            return None
        return entry

    def _content(self, row: int, identity: object, data: bytes | None) -> Trajectory | None:
        try:
            return unpack(data or b"", _shown(identity))
        except EdgexpError as error:
            self.set_aside(row, str(error))
            return None

    def set_aside(self, row: int, reason: str) -> None:
        """From now on nothing notices this row, but who asks for what is quarantined."""
        self.aside.setdefault(row, reason)

    def readable(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that are there and can be read; the others are set aside."""
        return {entry.id for entry, trajectory, _ in self.look(Filters(ids=tuple(ids)), None, newest=True) if entry and trajectory}

    def quarantine_aside(self) -> None:
        """Write down that what was set aside is quarantined."""
        where = f"status = 'accepted' AND row IN {_LIST}"
        self.database.execute(f"UPDATE trajectory SET status = 'quarantined' WHERE {where}", (_list(self.aside),))

    def _where(self, filters: Filters, status: Status | None) -> tuple[str, tuple[Any, ...]]:
        """The condition of the filters and of a status, and its arguments. What was set aside is not accepted, whatever its row says."""
        where, arguments = _where(filters, status)
        if status == "accepted" and self.aside:
            return f"{where} AND row NOT IN {_LIST}", (*arguments, _list(self.aside))
        return where, arguments

    def count(self, filters: Filters, status: Status | None = None) -> int:
        """How many trajectories match."""
        where, arguments = self._where(filters, status)
        return int(self.database.rows(f"SELECT count(*) FROM trajectory WHERE {where}", arguments)[0][0])

    def by(self, column: str) -> dict[str, int]:
        """How many trajectories there are of each value of a column, most first."""
        assert column in _COLUMNS
        return dict(self.database.rows(f"SELECT {column}, count(*) FROM trajectory GROUP BY 1 ORDER BY 2 DESC, 1"))

    def fingerprint(self) -> str:
        """`b` and 24 hexadecimal digits over the encoder and the accepted ids: two banks with the same one retrieve the same."""
        encoder = self.encoder()
        digest = hashlib.sha256(f"edgexp.bank.1\0{encoder.id if encoder else ''}".encode())
        for (identity,) in self.database.each("SELECT id FROM trajectory WHERE status = 'accepted' ORDER BY id"):
            digest.update(b"\0" + str(identity).encode("utf-8", "surrogateescape"))
        return "b" + digest.hexdigest()[:24]

    # For searches

    def among(self, rows: "NDArray[np.int64]", filters: Filters) -> dict[int, str]:
        """Row → id of those `rows` that are accepted and pass the filters."""
        where, arguments = self._where(filters, "accepted")
        # NOT INDEXED leaves the row number as the only way in; left to choose, SQLite would go through everything accepted.
        sql = f"SELECT row, id FROM trajectory NOT INDEXED WHERE {where} AND row IN {_LIST}"
        found = dict(self.database.rows(sql, (*arguments, _list(rows.tolist()))))
        return {row: identity for row, identity in found.items() if isinstance(identity, str) and identity.isascii()}

    def candidates(self, filters: Filters) -> "NDArray[np.int64]":
        """The rows of everything that is accepted and passes the filters, in no order."""
        import numpy as np

        where, arguments = self._where(filters, "accepted")
        return np.array(self.database.rows(f"SELECT row FROM trajectory WHERE {where}", arguments), np.int64).reshape(-1)

    def vectors(self, encoder: EncoderRow, kind: Kind, after: int = 0) -> Iterator[tuple["NDArray[np.int64]", "NDArray[np.float16]"]]:
        """Rows above `after` and their vectors [n, dimensions], ascending, in pieces."""
        import numpy as np

        while True:
            sql = f"SELECT row, data FROM vector WHERE encoder = ? AND kind = ? AND row > ? ORDER BY row LIMIT {_READ_MANY}"
            found = self.database.rows(sql, (encoder.code, kind, after))
            if not found:
                return
            after = int(found[-1][0])
            # One that is damaged is passed over: `verify` names it, `rebuild` computes it anew.
            found = [(row, data) for row, data in found if isinstance(data, bytes) and len(data) == 2 * encoder.dimensions]
            rows = np.array([row for row, _ in found], np.int64)
            vectors = np.frombuffer(b"".join(data for _, data in found), "<f2").reshape(len(rows), encoder.dimensions)
            sound = np.isfinite(vectors).all(axis=1)
            if sound.any():
                yield rows[sound], vectors[sound]

    def raw_vectors(self, encoder: EncoderRow, kind: Kind) -> Iterator[tuple[int, bytes]]:
        """Row and stored bytes of every vector, whatever they are."""
        yield from self.database.each("SELECT row, data FROM vector WHERE encoder = ? AND kind = ? ORDER BY row", (encoder.code, kind))

    def count_vectors(self, encoder: EncoderRow, kind: Kind, after: int = 0) -> int:
        """How many vectors there are above a row."""
        sql = "SELECT count(*) FROM vector WHERE encoder = ? AND kind = ? AND row > ?"
        return int(self.database.rows(sql, (encoder.code, kind, after))[0][0])

    def last_vector(self, encoder: EncoderRow, kind: Kind) -> int:
        """The last row that has a vector, or 0."""
        sql = "SELECT max(row) FROM vector WHERE encoder = ? AND kind = ?"
        return int(self.database.rows(sql, (encoder.code, kind))[0][0] or 0)

    def vectors_of(self, encoder: EncoderRow, kind: Kind, ids: Sequence[str]) -> dict[str, bytes]:
        """Id → vector of the given trajectories."""
        sql = f"SELECT id, data FROM trajectory JOIN vector USING (row) WHERE encoder = ? AND kind = ? AND id IN {_LIST}"
        return dict(self.database.rows(sql, (encoder.code, kind, _list(ids))))

    def without_vectors(self, encoder: EncoderRow) -> list[int]:
        """Rows of trajectories that lack a vector of some kind under this encoder."""
        has = "EXISTS (SELECT 1 FROM vector v WHERE encoder = ? AND kind = ? AND v.row = t.row)"
        sql = f"SELECT row FROM trajectory t WHERE NOT ({' AND '.join([has] * len(KINDS))}) ORDER BY row"
        return [row for (row,) in self.database.rows(sql, [value for kind in KINDS for value in (encoder.code, kind)])]

    def strays(self) -> int:
        """Vectors of trajectories that are not there."""
        sql = "SELECT count(*) FROM vector v WHERE NOT EXISTS (SELECT 1 FROM trajectory t WHERE t.row = v.row)"
        return int(self.database.rows(sql)[0][0])

    def by_row(self, rows: Sequence[int]) -> list[tuple[int, Trajectory]]:
        """Row and content of the given rows that are still there and can be read."""
        sql = f"SELECT row, id, data FROM trajectory JOIN body USING (row) WHERE row IN {_LIST} ORDER BY row"
        found = [(row, self._content(row, identity, data)) for row, identity, data in self.database.rows(sql, (_list(rows),))]
        return [(row, trajectory) for row, trajectory in found if trajectory]

    def id_of_row(self, row: int) -> str | None:
        """The id of the trajectory in a row; None when it is not there."""
        found = self.database.one("SELECT id FROM trajectory WHERE row = ?", (row,))
        return found[0] if found else None


def _list(values: Iterable[Any]) -> str:
    try:
        return msgspec.json.encode(list(values)).decode()
    except UnicodeEncodeError as error:
        raise UsageError(f"not Unicode ({error.reason}): no id and no task is called so") from error


def _shown(identity: object) -> str:
    """An id as it can be printed, whatever stands in its place."""
    return ascii(identity)[1:-1][:40] if isinstance(identity, str) else ascii(identity)[:40]


def _where(filters: Filters, status: Status | None) -> tuple[str, tuple[Any, ...]]:
    """The SQL condition of the filters and its arguments; always true where nothing is asked."""
    f = filters
    equal = {
        "status": status,
        "environment": f.environment,
        "success": f.success,
        "split": f.split,
        "source": f.source,
        "task_type": f.task_type,
        "task_group": f.group,
    }
    terms = [(f"{column} = ?", value) for column, value in equal.items() if value is not None]
    if f.exclude_task_ids:
        # What hindsight made of an episode of theirs is in the same place, and so excluded as well.
        root = "substr(task_id, 1, CASE instr(task_id, '/#') WHEN 0 THEN length(task_id) ELSE instr(task_id, '/#') - 1 END)"
        terms.append((f"{root} NOT IN {_LIST}", _list(map(root_of, f.exclude_task_ids))))
    if f.ids is not None:
        terms.append((f"id IN {_LIST}", _list(f.ids)))
    return " AND ".join(["1", *(term for term, _ in terms)]), tuple(value for _, value in terms)


def _named(row: tuple[Any, ...]) -> dict[str, Any]:
    names = _COLUMNS.replace("task_group", "group").split(", ")
    return dict(zip(names, row, strict=True))
