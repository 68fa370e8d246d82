"""The log of played episodes: what was retrieved before which step, with which score, and what was left out and why.

A record and nothing more: it outlives the trajectories it names.
"""

import secrets

import msgspec

from edgexp.bank.records import Episode, Recall, Weighed
from edgexp.bank.schema import Database
from edgexp.errors import UsageError

_LOG_COLUMNS = "run, environment, task_id, trajectory, success, score, model, created"


def write(database: Database, episode: Episode) -> str:
    """Log an episode in one transaction; its id, `e` and 8 hexadecimal digits."""
    e, identity = episode, "e" + secrets.token_hex(4)
    values = (identity, e.run, e.environment, e.task_id, e.trajectory, e.success, e.score, e.model, e.created)
    with database.transaction():
        number = database.insert(f"INSERT INTO episode (id, {_LOG_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        for recall in e.recalls:
            database.execute("INSERT INTO recall VALUES (?, ?, ?, ?)", (number, recall.step, recall.query, recall.seconds))
            for rank, hit in enumerate(recall.hits, 1):
                row = (number, recall.step, rank, hit.id, hit.score, hit.dropped, hit.tokens)
                database.execute("INSERT INTO recalled VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    return identity


def read(database: Database, prefix: str) -> Episode:
    """The episode whose id begins with `prefix`, with its recalls. Raises UsageError when there is not exactly one."""
    sql = f"SELECT number, id, {_LOG_COLUMNS} FROM episode WHERE id >= ? AND id < ? ORDER BY id LIMIT 2"
    found = database.rows(sql, (prefix, prefix + "\U0010ffff"))
    if len(found) != 1:
        which = "more than one episode" if found else "no episode"
        raise UsageError(f"{which} of the log in {database.path.parent} has an id that begins with {prefix!r}")
    number, identity, *values = found[0]
    recalls = [
        Recall(step, query, seconds, _hits(database, number, step))
        for step, query, seconds in database.rows("SELECT step, query, seconds FROM recall WHERE episode = ? ORDER BY step", (number,))
    ]
    return _episode(identity, values, tuple(recalls))


def recent(database: Database, limit: int) -> list[Episode]:
    """The latest episodes, the newest first, without their recalls."""
    rows = database.rows(f"SELECT id, {_LOG_COLUMNS} FROM episode ORDER BY number DESC LIMIT ?", (limit,))
    return [_episode(identity, values, ()) for identity, *values in rows]


def count(database: Database) -> int:
    return int(database.rows("SELECT count(*) FROM episode")[0][0])


def _hits(database: Database, number: int, step: int) -> tuple[Weighed, ...]:
    sql = "SELECT trajectory, score, dropped, tokens FROM recalled WHERE episode = ? AND step = ? ORDER BY rank"
    return tuple(Weighed(*row) for row in database.rows(sql, (number, step)))


def _episode(identity: str, values: list[object], recalls: tuple[Recall, ...]) -> Episode:
    fields = dict(zip(_LOG_COLUMNS.split(", "), values, strict=True))
    return msgspec.convert({**fields, "id": identity, "recalls": recalls}, Episode, strict=False)
