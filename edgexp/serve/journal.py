"""The log of what was said: one line of JSON for everything that happened, on the disk before the client is told that an answer is whole.

It is the truth of sessions until a bank has them: a process that is killed loses the answer under way and nothing else. Lines are only
added; when the server starts, what it no longer needs is left out of a new file. Nothing in it was written without `redaction`. Knows no
banks and no clients.
"""

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from edgexp.files import append_lines, write_atomic
from edgexp.serve.conversation import Said
from edgexp.serve.sessions import ChatSession
from edgexp.trajectory import Recall

FILE, KEY = "sessions.jsonl", "key"
"""In the folder of a journal: the lines, and what digests of messages are made with."""


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened in a session."""

    session: str
    kind: Literal["turn", "outcome", "banked", "left", "forgotten"]
    at: float = 0.0
    """Seconds since 1970."""
    keep: int = 0
    """Of a turn: how many of the messages before stay; `said` follows them, the answer last."""
    said: tuple[Said, ...] = ()
    chain: tuple[str, ...] = ()
    """Of a turn: all digests, in hexadecimal digits."""
    loose: tuple[str, ...] = ()
    key: str = ""
    model: str = ""
    memory: tuple[str, ...] = ()
    """Ids of the trajectories in its prompt, and what each costs."""
    costs: dict[str, int] = {}
    recall: Recall | None = None
    tokens: dict[str, int] = {}
    success: bool | None = None
    score: float | None = None
    trajectory: str = ""
    """Of `banked`: what the bank has of it."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Line)


class Journal:
    """The log in a folder, which one server holds. Adding blocks until the line is on the disk."""

    def __init__(self, folder: Path):
        self.folder, self._path = folder, folder / FILE
        self.secret = _secret(folder / KEY)

    def add(self, *lines: Line) -> None:
        """Add lines. Raises OSError."""
        append_lines(self._path, *map(_encoder.encode, lines))

    def read(self) -> list[ChatSession]:
        """The sessions as the lines leave them, in the order of their last line; what is damaged is passed over."""
        sessions: dict[str, ChatSession] = {}
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            for data in file:
                try:
                    line = _decoder.decode(data)
                except (ValueError, RecursionError):
                    continue
                _apply(sessions, line)
        return sorted(sessions.values(), key=lambda session: session.used)

    def rewrite(self, sessions: Iterable[ChatSession]) -> None:
        """Keep these sessions and nothing else."""
        lines = [_encoder.encode(line) + b"\n" for session in sessions for line in lines_of(session)]
        write_atomic(self._path, b"".join(lines))


def turn_line(session: ChatSession, keep: int = 0) -> Line:
    """The line of a session's latest turn; with `keep` 0 it holds the whole session."""
    chain, loose = (tuple(digest.hex() for digest in digests) for digests in (session.chain, session.loose))
    memory = session.wanted or tuple(trajectory.id for trajectory in session.memory)
    return Line(session.id, "turn", session.used, keep, tuple(session.said[keep:]), chain, loose, session.key, session.model, memory,
                session.costs, session.recall, session.tokens)  # fmt: skip


def lines_of(session: ChatSession) -> list[Line]:
    """Everything that is to be known of a session."""
    lines = [turn_line(session)]
    if session.success is not None:
        lines.append(Line(session.id, "outcome", session.used, success=session.success, score=session.score))
    if session.banked:
        lines.append(Line(session.id, "banked" if not session.dirty else "left", session.used, trajectory=session.banked))
    return lines


def _apply(sessions: dict[str, ChatSession], line: Line) -> None:
    if line.kind == "forgotten":
        sessions.pop(line.session, None)
        return
    session = sessions.get(line.session)
    if line.kind == "turn":
        if session is None:
            session = sessions[line.session] = ChatSession(line.session, created=line.at)
        session.said = [*session.said[: line.keep], *line.said]
        session.chain, session.loose = ([bytes.fromhex(digest) for digest in chain] for chain in (line.chain, line.loose))
        session.key, session.model, session.costs, session.recall = line.key, line.model, dict(line.costs), line.recall
        session.tokens = {**session.tokens, **line.tokens}
        session.turns, session.dirty = session.turns + 1, True
        session.wanted = line.memory
    elif session is None:
        return
    elif line.kind == "outcome":
        session.success, session.score, session.dirty = line.success, line.score, True
    elif line.kind in ("banked", "left"):
        session.banked, session.dirty = line.trajectory, line.kind == "left"
    session.used = line.at


def _secret(path: Path) -> bytes:
    """What digests are made with: without it nobody can try out what a message may have said."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b""
    if len(data) != 32:
        data = secrets.token_bytes(32)
        write_atomic(path, data)
        path.chmod(0o600)
    return data
