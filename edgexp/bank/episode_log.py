"""The log of played episodes: what was retrieved before which step, by what, and what was left out and why. Knows no trajectories.

It is a record: it outlives the trajectories that it names, and nothing in it is ever changed. Whatever is counted of episodes is counted
from it (`edgexp.bank.usefulness`).
"""

import contextlib
import secrets
from collections.abc import Sequence

import msgspec

from edgexp.bank.records import Episode, Recall, Scored
from edgexp.bank.schema import Database
from edgexp.errors import EdgexpError, UsageError

_COLUMNS = ("run", "environment", "task_id", "trajectory", "success", "score", "model", "created", "task_type", "ending")
_HIT = ("trajectory", "score", "dropped", "tokens", "frame", "usefulness")
_LATER = {"task_type": "''", "ending": "''", "frame": "NULL", "usefulness": "NULL"}
"""Columns that version 1 of a bank lacks, and what stands for them where such a bank is only read."""


def columns(database: Database, names: Sequence[str]) -> str:
    """Names of columns as a query wants them, in a bank of any version."""
    return ", ".join(_LATER[name] if database.version < 2 and name in _LATER else name for name in names)


def write_episode(database: Database, episode: Episode) -> str:
    """Log an episode in one transaction; its id, `e` and 8 hexadecimal digits."""
    e, identity = episode, "e" + secrets.token_hex(4)
    values = (identity, e.run, e.environment, e.task_id, e.trajectory, e.success, e.score, e.model, e.created, e.task_type, e.ending)
    marks = ", ".join("?" * len(values))
    with database.transaction():
        number = database.insert(f"INSERT INTO episode (id, {', '.join(_COLUMNS)}) VALUES ({marks})", values)
        for recall in e.recalls:
            database.execute("INSERT INTO recall VALUES (?, ?, ?, ?)", (number, recall.step, recall.query, recall.seconds))
            for rank, hit in enumerate(recall.hits, 1):
                row = (number, recall.step, rank, hit.id, hit.score, hit.dropped, hit.tokens, hit.frame, hit.usefulness)
                sql = f"INSERT INTO recalled (episode, step, rank, {', '.join(_HIT)}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
                database.execute(sql, row)
    return identity


def read_episode(database: Database, prefix: str) -> Episode:
    """The episode whose id is `prefix` or alone begins with it, with its recalls. Raises UsageError when there is not exactly one."""
    sql = f"SELECT number, id, {columns(database, _COLUMNS)} FROM episode WHERE id >= ? AND id < ? ORDER BY id LIMIT 2"
    found = database.rows(sql, (prefix, prefix + "\U0010ffff"))
    if len(found) != 1 and not (found and found[0][1] == prefix):  # an id itself sorts before all that begin with it
        which = "more than one episode" if found else "no episode"
        raise UsageError(f"{which} of the log in {database.path.parent} has an id that begins with {prefix!r}")
    number, identity, *values = found[0]
    recalls = [
        Recall(step, query, seconds, _hits(database, number, step))
        for step, query, seconds in database.rows("SELECT step, query, seconds FROM recall WHERE episode = ? ORDER BY step", (number,))
    ]
    return _to_episode(identity, values, tuple(recalls))


def recent_episodes(database: Database, limit: int) -> list[Episode]:
    """The latest episodes, the newest first, without their recalls."""
    rows = database.rows(f"SELECT id, {columns(database, _COLUMNS)} FROM episode ORDER BY number DESC LIMIT ?", (limit,))
    found = []
    for identity, *values in rows:
        with contextlib.suppress(EdgexpError):  # one that cannot be read does not hide the others
            found.append(_to_episode(identity, values, ()))
    return found


def count_episodes(database: Database) -> int:
    """How many episodes the log holds."""
    return int(database.rows("SELECT count(*) FROM episode")[0][0])


def _hits(database: Database, number: int, step: int) -> tuple[Scored, ...]:
    sql = f"SELECT {columns(database, _HIT)} FROM recalled WHERE episode = ? AND step = ? ORDER BY rank"
    return tuple(Scored(*row) for row in database.rows(sql, (number, step)))


def _to_episode(identity: str, values: list[object], recalls: tuple[Recall, ...]) -> Episode:
    fields = dict(zip(_COLUMNS, values, strict=True))
    try:
        return msgspec.convert({**fields, "id": identity, "recalls": recalls}, Episode, strict=False)
    except msgspec.ValidationError as error:
        raise EdgexpError(f"the episode {ascii(identity)[1:-1][:40]} of the log cannot be read ({error})") from error
