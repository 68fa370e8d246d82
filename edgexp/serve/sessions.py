"""Sessions, and which of them a request goes on with. Knows no clients, models or files; for one thread alone.

A session is recognised by its messages: a request that begins with all that was said in it, its last answer included, goes on with it.
One that shares only a beginning branches off: it is a session of its own, with the same memory. A name that the client gives decides
before any of this.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import time

from edgexp.serve.conversation import Said, digests, first_user
from edgexp.serve.protocol import Refusal
from edgexp.trajectory import Recall, Trajectory


@dataclass(eq=False)
class ChatSession:
    """A conversation, as it was up to its last finished answer."""

    id: str
    key: str = ""
    """What the client calls it."""
    chain: list[bytes] = field(default_factory=list)
    """A digest for every message …"""
    loose: list[bytes] = field(default_factory=list)
    """… and one without what the system said."""
    said: list[Said] = field(default_factory=list)
    """The messages, without secrets."""
    memory: tuple[Trajectory, ...] = ()
    wanted: tuple[str, ...] = ()
    """Ids of the memory, where it has not been read from the bank yet."""
    recall: Recall | None = None
    """How the memory came about; None where nothing was to be recalled."""
    created: float = field(default_factory=time)
    used: float = field(default_factory=time)
    model: str = ""
    success: bool | None = None
    """None where nobody said."""
    score: float | None = None
    banked: str = ""
    """The id of the trajectory that the bank has of it."""
    dirty: bool = False
    """Whether the bank does not have it as it is now."""
    busy: bool = False
    pending: list[Said] = field(default_factory=list)
    """Messages that are being answered, without secrets, and …"""
    progress: str = ""
    """… what is written of the answer."""
    turns: int = 0
    tokens: dict[str, int] = field(default_factory=lambda: {"prompt": 0, "cached": 0, "generated": 0})
    costs: dict[str, int] = field(default_factory=dict)
    """Tokens of each past episode in its prompt."""


@dataclass(frozen=True)
class Match:
    """Where a request belongs."""

    session: ChatSession | None
    """The one that it goes on with; None for a new one."""
    origin: ChatSession | None
    """Whose beginning it shares; None for nobody's."""
    known: int
    """How many of its messages `origin` has been through."""
    chain: list[bytes]
    loose: list[bytes]
    key: str = ""
    fresh: bool = True
    """Whether nobody asked its first question before, so that something is to be recalled for it."""
    rewrites: bool = False
    """Whether it shares a beginning with a session and is not that session going on."""


class Sessions:
    """Up to `most` sessions. The one that was used least recently is given up first; `leave` is told of it."""

    def __init__(self, most: int = 1000, secret: bytes = b"edgexp", leave: Callable[[ChatSession], None] = lambda _: None):
        self._most, self._secret, self._leave = most, secret, leave
        self._all: OrderedDict[str, ChatSession] = OrderedDict()
        self._keys: dict[str, str] = {}
        self._heads: dict[bytes, list[str]] = {}
        """The digest of a whole conversation → its sessions."""
        self._loose: dict[bytes, list[str]] = {}
        self._within: dict[bytes, str] = {}
        """The digest of any beginning → the session that had it last."""

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[ChatSession]:
        return iter(list(self._all.values()))

    def get(self, identity: str) -> ChatSession | None:
        """A session by its id, or by what its client calls it."""
        return self._all.get(identity) or self._all.get(self._keys.get(identity, ""))

    def match(self, messages: Sequence[Said], key: str = "") -> Match:
        """Where a request belongs; nothing is changed."""
        chain, loose = digests(messages, self._secret), digests(messages, self._secret, loose=True)
        found = self._match(messages, chain, loose, key)
        asked = found.origin is not None and _shared(found.origin.loose, loose) > first_user(messages)
        rewrites = found.origin is not None and (found.session is None or found.known < len(found.origin.chain))
        return replace(found, fresh=not asked, rewrites=rewrites)

    def _match(self, messages: Sequence[Said], chain: list[bytes], loose: list[bytes], key: str) -> Match:
        if key and (named := self.get(key)) is not None:
            known = _shared(named.chain, chain)
            return Match(None if named.busy else named, named, known, chain, loose, "" if named.busy else key)
        going_on = None if key else self._going_on(messages, chain, loose)
        if going_on is not None:
            return Match(going_on, going_on, _shared(going_on.chain, chain), chain, loose)
        for known in range(len(chain), first_user(messages), -1):
            origin = self._all.get(self._within.get(chain[known - 1], ""))
            if origin is not None:
                return Match(None, origin, known, chain, loose, key)
        return Match(None, None, 0, chain, loose, key)

    def _going_on(self, messages: Sequence[Said], chain: list[bytes], loose: list[bytes]) -> ChatSession | None:
        """The session of which the messages hold all, the longest first; one whose system text differs, where there is only one."""
        for number in range(len(messages) - 1, 0, -1):
            if messages[number - 1].role != "assistant":
                continue
            there = [self._all[one] for one in self._heads.get(chain[number - 1], ()) if not self._all[one].busy]
            if there:
                return there[-1]
            alike = [self._all[one] for one in self._loose.get(loose[number - 1], ())]
            if len(alike) == 1 and not alike[0].busy:
                return alike[0]
        return None

    def begin(self, match: Match) -> ChatSession:
        """The session that a request goes on with, made where it is new, and busy from now on. Raises Refusal where all are busy."""
        session = match.session
        if session is None:
            self._make_room()
            session = ChatSession("s" + secrets.token_hex(6), match.key)
            if match.origin is not None and not match.fresh:
                session.memory, session.recall, session.costs = match.origin.memory, match.origin.recall, dict(match.origin.costs)
            self._all[session.id] = session
            if session.key:
                self._keys[session.key] = session.id
        session.busy = True
        return session

    def finish(self, session: ChatSession, match: Match, answer: Said, said: Sequence[Said]) -> None:
        """An answer is finished. `said` is what is to be kept of the messages after `stays`, the answer included and without secrets."""
        full, keep = answer_digests(match, answer, self._secret), stays(session, match)
        self._unlist(session)
        session.chain, session.loose = full
        session.said = [*session.said[:keep], *said]
        session.turns, session.dirty, session.used = session.turns + 1, True, time()
        self._list(session)

    def release(self, session: ChatSession) -> None:
        """Nobody waits for the session any more. One in which nothing was ever answered is gone."""
        session.busy, session.pending, session.progress = False, [], ""
        if session.turns:
            self._all.move_to_end(session.id)
        else:
            self.drop(session)

    def restore(self, session: ChatSession) -> None:
        """Take in a session that was kept."""
        self._all[session.id] = session
        if session.key:
            self._keys[session.key] = session.id
        self._list(session)

    def drop(self, session: ChatSession) -> None:
        """Know nothing of a session any more."""
        self._unlist(session)
        self._all.pop(session.id, None)
        if self._keys.get(session.key) == session.id:
            del self._keys[session.key]

    def _make_room(self) -> None:
        while len(self._all) >= self._most:
            oldest = next((session for session in self._all.values() if not session.busy), None)
            if oldest is None:
                raise Refusal(f"all {self._most} sessions are busy; ask again later", 429, "rate_limit_error", code="too_many_sessions")
            self._leave(oldest)
            self.drop(oldest)

    def _list(self, session: ChatSession) -> None:
        if session.chain:
            self._heads.setdefault(session.chain[-1], []).append(session.id)
            self._loose.setdefault(session.loose[-1], []).append(session.id)
        for digest in session.chain:
            self._within[digest] = session.id

    def _unlist(self, session: ChatSession) -> None:
        for table, digests_of in ((self._heads, session.chain), (self._loose, session.loose)):
            listed = table.get(digests_of[-1], []) if digests_of else []
            if session.id in listed:
                listed.remove(session.id)
                if not listed:
                    del table[digests_of[-1]]
        for digest in session.chain:
            if self._within.get(digest) == session.id:
                del self._within[digest]


def stays(session: ChatSession, match: Match) -> int:
    """How many of a request's messages the session has as they are."""
    return min(_shared(session.chain, match.chain), len(session.said))


def answer_digests(match: Match, answer: Said, secret: bytes) -> tuple[list[bytes], list[bytes]]:
    """The digests of a request's messages with its answer."""
    return ([*match.chain, digests([answer], secret, before=match.chain[-1])[0]],
            [*match.loose, digests([answer], secret, before=match.loose[-1])[0]])  # fmt: skip


def _shared(one: Sequence[bytes], other: Sequence[bytes]) -> int:
    most = min(len(one), len(other))
    return next((n for n in range(most) if one[n] != other[n]), most)
