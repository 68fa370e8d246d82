"""A worker: what is on another machine, opens what the driver says, and plays what it is given. Knows no Ray: Ray calls it.

Calls come one at a time. The episodes are played on a thread of their own, which goes on while the driver looks at what is over; what it
needs is opened there too.
"""

import contextlib
import os
import socket
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec

import msgspec

from edgexp.cluster import parcels, wire
from edgexp.cluster.wire import Failed, Hello, Item, Opened, Opening, Over, Parcel, Turn
from edgexp.errors import EdgexpError, UsageError
from edgexp.evaluation.field import Field, FieldPlayers
from edgexp.evaluation.playing import Job, code
from edgexp.models import Ready, bring
from edgexp.play.collecting import expert_episode
from edgexp.play.episode import Episode
from edgexp.play.fleet import Environments, Say
from edgexp.play.rollout import Episodes, Evaluator, Start, run_many
from edgexp.play.session import open_session

CLOSING = 20.0
"""Seconds that the end of what is open may take."""
Arguments = ParamSpec("Arguments")


@dataclass(frozen=True)
class Player:
    """What plays the episodes of an opening."""

    places: int
    engines: Sequence[Evaluator]
    environments: Environments
    episode: Callable[[int, Item], Episode]
    """The episode of an item, at a place."""


def greet() -> Hello:
    """Who this is."""
    return Hello(wire.PROTOCOL, code(), version("llama-cpp-python"), socket.gethostname(), os.getpid())


def _answering(work: Callable[Arguments, Any]) -> Callable[Arguments, bytes]:
    """Errors are answers too: what Ray would make of them would be pickled, and told with its own traceback."""

    @wraps(work)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> bytes:
        try:
            return wire.answer(work(*args, **kwargs))
        except Exception as error:
            return wire.encode(_failed(error))

    return call


class Worker:
    """The calls, in their order: `hello`, `look`, `take` for each piece of what is lacking, `begin`, `exchange` many times, `close`."""

    def __init__(self) -> None:
        self._opening: Opening | None = None
        self._incoming: parcels.Incoming | None = None
        self._stage: _Stage | None = None

    @_answering
    def hello(self) -> Hello:
        """Who this is."""
        return greet()

    @_answering
    def look(self, opening: bytes) -> list[str]:
        """Digests of the opening's parcels that are not on this machine."""
        self._opening = wire.decode(opening, Opening)
        parcels.forget_banks()
        return [parcel.digest for parcel in self._opening.parcels if parcels.find(parcel) is None]

    @_answering
    def take(self, digest: str, piece: bytes) -> bool:
        """The next piece of a parcel; whether it is whole."""
        if self._incoming is None:
            self._incoming = parcels.Incoming(self._parcel(digest))
        try:
            self._incoming.add(piece)
        except BaseException:
            self._incoming.close()
            self._incoming = None
            raise
        whole = self._incoming.whole
        if whole:
            self._incoming = None
        return whole

    @_answering
    def begin(self) -> Opened:
        """Open what the opening names; nothing of it is lacking any more."""
        assert self._opening is not None
        if self._opening.folder and Path(self._opening.folder).is_dir():
            os.chdir(self._opening.folder)
        for weights in self._opening.weights:
            folder = self._folder(weights.parcel)
            path = folder / weights.first if weights.first else folder
            bring(weights.called, Ready(weights.name, weights.role, path, weights.sha256, weights.context, weights.licence))
        self._stage = _Stage(self._opening, {bank.digest: self._folder(bank) for bank in self._opening.banks})
        self._stage.start()
        return self._stage.opened()

    @_answering
    def exchange(self, turns: bytes) -> list[Over]:
        """Take turns, and tell what is over as soon as anything is."""
        assert self._stage is not None
        return self._stage.exchange(wire.decode(turns, list[Turn]))

    @_answering
    def close(self) -> None:
        """Close what is open, when nothing is being played any more, and remove copies of banks."""
        if self._stage is not None:
            self._stage.end()
        parcels.forget_banks(self._opening.banks if self._opening else ())

    def _parcel(self, digest: str) -> Parcel:
        assert self._opening is not None
        return next(parcel for parcel in self._opening.parcels if parcel.digest == digest)

    def _folder(self, parcel: Parcel) -> Path:
        found = parcels.find(parcel)
        if found is None:
            raise EdgexpError(f"the {parcel.kind} of {parcel.folder} was here a moment ago and is gone")
        return found


class _Turns:
    """The turns that are there to begin. An iterator that has none now may have some later: a free place asks it again and again."""

    def __init__(self, first: Turn, waiting: "SimpleQueue[Turn | None]", start: Callable[[Turn], Start]):
        self._first: Turn | None = first
        self._waiting, self._start = waiting, start
        self.ended = False

    def __iter__(self) -> "_Turns":
        return self

    def __next__(self) -> Start:
        turn, self._first = self._first, None
        if turn is None:
            try:
                turn = self._waiting.get_nowait()
            except Empty:
                raise StopIteration from None
        if turn is None:
            self.ended = True
            raise StopIteration
        return self._start(turn)


class _Stage(threading.Thread):
    """Opens, and plays turns until it is told to end."""

    def __init__(self, opening: Opening, banks: dict[str, Path]):
        super().__init__(daemon=True)
        self._opening, self._banks = opening, banks
        self._waiting: SimpleQueue[Turn | None] = SimpleQueue()
        self._told: SimpleQueue[Opened | Over | BaseException] = SimpleQueue()

    def opened(self) -> Opened:
        """Wait until all is open. Raises what that raised."""
        told = self._told.get()
        if isinstance(told, BaseException):
            raise told
        assert isinstance(told, Opened)
        return told

    def exchange(self, turns: Sequence[Turn]) -> list[Over]:
        """Begin turns; what is over, one at least."""
        for turn in turns:
            self._waiting.put(turn)
        found = [self._told.get()]
        with contextlib.suppress(Empty):
            while True:
                found.append(self._told.get_nowait())
        for told in found:
            if isinstance(told, BaseException):
                raise wire.Broken(_in_a_line(told), details="".join(traceback.format_exception(told)))
        return [told for told in found if isinstance(told, Over)]

    def end(self) -> None:
        """Close what is open; waits for that for a while."""
        self._waiting.put(None)
        self.join(CLOSING)

    def run(self) -> None:
        """The thread."""
        notes = list[str]()
        try:
            with open_player(self._opening, self._banks, notes.append) as player:
                self._told.put(_opened(player, self._opening, notes))
                while (turn := self._waiting.get()) is not None:
                    turns = _Turns(turn, self._waiting, lambda turn: lambda place: self._play(player, turn, place))
                    for finished in run_many(turns, player.places, player.engines):
                        if finished.error is not None:  # each episode told of itself, so this is of none
                            raise finished.error
                    if turns.ended:
                        return
        except BaseException as error:
            self._told.put(error)

    def _play(self, player: Player, turn: Turn, place: int) -> Episodes:
        played = None
        for item in turn.items:
            try:
                played = yield from player.episode(place, item)
                self._told.put(Over(turn.number, item.position, played))
            except EdgexpError as error:
                self._told.put(Over(turn.number, item.position, None, wire.plain(str(error)), isinstance(error, UsageError)))
        return played


def _opened(player: Player, opening: Opening, notes: Sequence[str]) -> Opened:
    versions = {name: player.environments.at(name).version for name in opening.environments}
    return Opened(player.places, versions, tuple(map(wire.plain, notes)))


@contextmanager
def open_player(opening: Opening, banks: dict[str, Path], say: Say) -> Iterator[Player]:
    """What plays an opening; `banks` are the places of its copies of banks, by digest."""
    play = opening.play
    if isinstance(play, wire.ExpertPlay):
        with Environments() as environments:
            yield Player(play.parallel, (), environments, lambda place, item: expert_episode(
                environments.at(play.environment, place), item.task, play.steps, play.mistakes, play.seed))
    elif isinstance(play, wire.SessionPlay):
        with _session_player(play, banks, say) as player:
            yield player
    else:
        with _suite_player(play, banks, say) as player:
            yield player


@contextmanager
def _session_player(play: wire.SessionPlay, banks: dict[str, Path], say: Say) -> Iterator[Player]:
    settings = msgspec.structs.replace(play.settings, bank=banks[play.bank]) if play.bank else play.settings
    with open_session(settings, say, in_use=play.in_use, copied=bool(play.bank)) as session:
        yield Player(session.places, session.engines, session.environments, lambda place, item: session.episode(
            place, item.task, session.retriever, session.settings, steps=play.steps, environment=session.settings.environment))


@contextmanager
def _suite_player(play: wire.SuitePlay, banks: dict[str, Path], say: Say) -> Iterator[Player]:
    suite = wire.with_banks(play.suite, lambda bank: str(banks[bank.removeprefix(wire.PARCEL)]) if bank.startswith(wire.PARCEL) else bank)
    conditions = [suite.conditions[number] for number in play.conditions]
    with (Field(play.name, suite, play.models, say, play.terms) as field,
          FieldPlayers(field, conditions, play.parallel, gpu_layers=play.gpu_layers, vault=play.vault, say=say) as players):
        yield Player(players.places, players.engines, field.environments, lambda place, item: players.episode(
            place, Job(suite.conditions[item.condition], suite.tasks[item.entry], item.task)))


def _failed(error: Exception) -> Failed:
    trace = wire.plain("".join(traceback.format_exception(error)))
    if isinstance(error, EdgexpError):
        usage, broken = isinstance(error, UsageError), isinstance(error, wire.Broken)
        return Failed(wire.plain(str(error)), usage, broken, wire.plain(error.details) or trace)
    if isinstance(error, OSError):
        return Failed(wire.plain(f"{error.filename or 'a file'}: {error.strerror or error}"), details=trace)
    return Failed(wire.plain(_in_a_line(error)), broken=True, details=trace)


def _in_a_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
