"""Workers on the machines of a cluster: started, compared with this edgexp, given their files, kept busy, and replaced when they die.

Each worker has one call under way at a time, so the driver waits for as many answers as there are workers. What it is told it passes on
before it waits again. Knows no Ray: a `Link` makes the calls.
"""

from collections.abc import Generator, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from time import monotonic
from typing import Any, Protocol

from edgexp.cluster import parcels, wire
from edgexp.cluster.sharing import MOST_DEATHS, Desk
from edgexp.cluster.stage import greet
from edgexp.cluster.wire import Hello, Opened, Opening, Over, Parcel, Turn
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.fleet import Say

MOST_FAILURES = 3
"""Workers in a row that may die at one post without having finished anything there."""
PATIENCE = 300.0
"""Seconds in which a worker's process has to be there."""
LOOKING = 10.0
"""Seconds between two looks for machines that joined."""
CLOSING = 15.0
"""Seconds that all workers together have to close what they opened."""


class Died(Exception):
    """A worker's process is gone, or cannot be reached; the message says why, in a line."""


class Link(Protocol):
    """Processes on other machines."""

    def machines(self) -> list[str]:
        """The machines that are there now."""

    def start(self, machine: str, gpu: bool) -> Any:
        """Start a worker on a machine, by a handle."""

    def call(self, worker: Any, method: str, *arguments: Any) -> Hashable:
        """Begin a call: bytes, text, or what `put` returned. Errors come with the answer."""

    def wait(self, calls: Sequence[Hashable], seconds: float) -> list[Any]:
        """The calls that are over, at least one where one ends in that time."""

    def result(self, call: Any) -> bytes:
        """What a call that is over was answered. Raises Died; EdgexpError where no worker can ever be on that machine."""

    def put(self, piece: bytes) -> Any:
        """Bytes that any worker can be given, kept as long as the result is."""

    def stop(self, worker: Any) -> None:
        """End a worker's process at once."""


Life = Generator[Hashable | None, bytes, None]
"""A worker's calls: yields each, is sent its answer. Yields None where there is nothing to do for it until something else happens."""


@dataclass
class _Post:
    """A place for a worker on a machine."""

    number: int
    machine: str
    failures: int = 0
    """Workers in a row that died here and had finished nothing."""
    worker: Any = None
    life: Life | None = None
    call: Hashable | None = None
    since: float = 0.0
    """When it was started, until it answers for the first time."""
    host: str = ""


@dataclass
class _Served:
    """Parcels that are being brought: their pieces, and the machines that one worker serves just now."""

    pieces: dict[str, list[Any]] = field(default_factory=dict)
    sources: dict[str, Iterator[bytes]] = field(default_factory=dict)
    machines: set[str] = field(default_factory=set)


class Crew:
    """Plays turns by workers: one on each machine, or `workers` in all, over all machines in turn."""

    def __init__(self, link: Link, workers: int | None = None, say: Say = lambda _: None):
        self._link, self._wanted, self._say = link, workers, say
        self.brought = 0
        """Bytes that were put where workers can fetch them."""

    def play(self, opening: Opening, turns: Iterable[Turn]) -> Iterator[Over]:
        """Play the turns; tells of each episode once, when it is over. Whoever stops listening ends it.

        Raises EdgexpError or UsageError where no worker can play, with the words of the last that was refused.
        """
        running = _Play(self._link, self._wanted, self._say, opening, Desk(turns))
        try:
            yield from running.overs()
            running.close()
        finally:
            self.brought += running.brought
            running.stop()


class _Play:
    """One opening, played."""

    def __init__(self, link: Link, wanted: int | None, say: Say, opening: Opening, desk: Desk):
        self._link, self._wanted, self._say, self._opening, self._desk = link, wanted, say, opening, desk
        self._ours = greet()
        self._data = wire.encode(opening)
        self._parcels = {parcel.digest: parcel for parcel in opening.parcels}
        self._posts: dict[int, _Post] = {}
        self._numbers = count()
        self._served = _Served()
        self._told = list[Over]()
        self._refusal: EdgexpError | None = None
        self._notes = set[str]()
        self._known = set[str]()
        self._next_look = 0.0
        self._finished = False
        """Whether any worker has finished anything."""
        self.brought = 0

    def overs(self) -> Iterator[Over]:
        """Every episode once."""
        while not self._desk.done:
            self._look_for_machines()
            if not self._posts:
                raise self._refusal or EdgexpError("no machine of the cluster is left to play on")
            self._wake()
            self._wait()
            told, self._told = self._told, []
            yield from told

    def close(self) -> None:
        """Let workers close what they opened: what a model has read is kept on their disks."""
        calls = [self._link.call(post.worker, "close") for post in self._posts.values() if post.call is None]
        until = monotonic() + CLOSING
        while calls and (left := until - monotonic()) > 0:
            over = self._link.wait(calls, left)
            calls = [call for call in calls if call not in over]

    def stop(self) -> None:
        """End all workers."""
        for post in self._posts.values():
            self._link.stop(post.worker)
        self._posts = {}

    def _look_for_machines(self) -> None:
        """Give a post to each machine that is new; where the number of workers is given, to as many in all, once."""
        if monotonic() < self._next_look:
            return
        self._next_look = monotonic() + LOOKING
        machines = [machine for machine in self._link.machines() if machine not in self._known]
        if self._wanted is None:
            posts = machines
        else:
            posts = [machines[n % len(machines)] for n in range(self._wanted)] if machines and not self._known else []
        self._known.update(machines)
        for machine in posts:
            post = _Post(next(self._numbers), machine)
            self._posts[post.number] = post
            self._start(post)

    def _start(self, post: _Post) -> None:
        post.worker = self._link.start(post.machine, self._needs_gpu())
        post.host, post.since = "", monotonic()
        post.life = self._live(post)
        post.call = next(post.life)

    def _needs_gpu(self) -> bool:
        play = self._opening.play
        return bool(play.settings.gpu_layers if isinstance(play, wire.SessionPlay) else getattr(play, "gpu_layers", 0))

    def _wake(self) -> None:
        """Let workers go on for which there was nothing to do."""
        for post in list(self._posts.values()):
            if post.call is None:
                self._go_on(post, b"")

    def _wait(self) -> None:
        """Wait for answers, and let those go on that got one."""
        by_call = {post.call: post for post in self._posts.values() if post.call is not None}
        for call in self._link.wait(list(by_call), 1.0) if by_call else []:
            post = by_call[call]
            try:
                answer = self._link.result(call)
            except Died as died:
                self._lose(post, str(died))
            except EdgexpError as error:
                self._dismiss(post, error)
            else:
                self._go_on(post, answer)
        for post in [post for post in self._posts.values() if not post.host and monotonic() > post.since + PATIENCE]:
            self._dismiss(post, EdgexpError(f"no worker could be started in {PATIENCE:.0f} seconds"))

    def _go_on(self, post: _Post, answer: bytes) -> None:
        assert post.life is not None
        try:
            post.call = post.life.send(answer)
        except wire.Broken as error:
            self._lose(post, str(error))
        except EdgexpError as error:
            self._dismiss(post, error)

    def _live(self, post: _Post) -> Life:
        """A worker's life, from its first answer on; it ends by an exception, or with the play."""
        hello = wire.read_answer((yield self._link.call(post.worker, "hello")), Hello)
        post.host = hello.host
        self._check(hello)
        opened = yield from self._open(post)
        self._check_environments(opened)
        self._tell(post, opened.notes)
        self._desk.join(post.number, opened.places)
        while True:
            given = self._desk.hand_out(post.number)
            if not self._desk.busy(post.number):
                yield None
                continue
            overs = wire.read_answer((yield self._link.call(post.worker, "exchange", wire.encode(given))), list[Over])
            for over in overs:
                if self._desk.note(post.number, over):
                    post.failures, self._finished = 0, True
                    self._told.append(over)

    def _open(self, post: _Post) -> Generator[Hashable | None, bytes, Opened]:
        """Bring what is lacking, and let the worker open it: one after the other on a machine, as one takes files for all, and measures how
        fast the machine is."""
        while post.machine in self._served.machines:
            yield None
        self._served.machines.add(post.machine)
        try:
            lacking = wire.read_answer((yield self._link.call(post.worker, "look", self._data)), list[str])
            for digest in lacking:
                yield from self._bring_parcel(post, self._parcels[digest])
            return wire.read_answer((yield self._link.call(post.worker, "begin")), Opened)
        finally:
            self._served.machines.discard(post.machine)
            if not self._served.machines:
                self._served = _Served()  # what was brought need not be kept

    def _bring_parcel(self, post: _Post, parcel: Parcel) -> Life:
        whole, number = False, 0
        while not whole:
            piece = self._piece(parcel, number)
            whole = wire.read_answer((yield self._link.call(post.worker, "take", parcel.digest, piece)), bool)
            number += 1

    def _piece(self, parcel: Parcel, number: int) -> Any:
        """A piece of a parcel; each is put once, whoever asks for it."""
        served = self._served
        source = served.sources.setdefault(parcel.digest, parcels.pieces(parcel))
        put = served.pieces.setdefault(parcel.digest, [])
        for piece in islice(source, max(0, number + 1 - len(put))):
            put.append(self._link.put(piece))
            self.brought += len(piece)
        if number >= len(put):
            raise EdgexpError(f"the {parcel.kind} in {parcel.folder} became shorter while it was being brought")
        return put[number]

    def _check(self, hello: Hello) -> None:
        """Raise EdgexpError where a worker would play otherwise than this edgexp."""
        ours = self._ours
        for what, here, there in (("edgexp's way of speaking to workers", ours.protocol, hello.protocol), ("edgexp", ours.code, hello.code),
                                  ("llama-cpp-python", ours.engine, hello.engine)):  # fmt: skip
            if here != there:
                raise EdgexpError(f"it has {what} {there}, and this machine has {here}: install the same on both")

    def _check_environments(self, opened: Opened) -> None:
        for name, here in self._opening.environments.items():
            if (there := opened.environments.get(name)) != here:
                raise EdgexpError(f"it has version {there} of the environment {name}, and this machine has {here}: install the same")

    def _tell(self, post: _Post, notes: Sequence[str]) -> None:
        for note in notes:
            if note not in self._notes:
                self._notes.add(note)
                self._say(f"{post.host}: {note}")

    def _lose(self, post: _Post, reason: str) -> None:
        """A worker died: what it had waits for others, and another one is started in its place, unless that is in vain."""
        given_up = self._end(post)
        post.failures = 1 if given_up and self._finished else post.failures + 1  # that one was to blame
        gone = post.machine not in self._link.machines()
        self._say(f"a worker on {post.host or post.machine} died ({reason}); its episodes are played elsewhere"
                  + (": its machine is gone" if gone else ""))
        if gone:
            self._known.discard(post.machine)  # it may come back
            self._refusal = self._refusal or EdgexpError("every machine of the cluster is gone")
        elif post.failures > MOST_FAILURES:
            self._refusal = self._refusal or EdgexpError(f"workers on {post.host or post.machine} died again and again; the last: {reason}")
        else:
            self._posts[post.number] = post
            self._start(post)

    def _dismiss(self, post: _Post, error: EdgexpError) -> None:
        """A worker cannot play: nobody is put in its place."""
        self._end(post)
        self._say(f"the worker on {post.host or post.machine} is refused: {error}")
        kind = UsageError if isinstance(error, UsageError) else EdgexpError
        self._refusal = kind(f"no worker can play; the one on {post.host or post.machine}: {error}", details=error.details)

    def _end(self, post: _Post) -> bool:
        """Take a worker out, and what it had back; whether an episode was given up."""
        if post.life is not None:
            post.life.close()
        self._posts.pop(post.number, None)
        self._link.stop(post.worker)
        given_up = self._desk.leave(post.number)
        for turn, item in given_up:
            line = f"{item.task.id}: {MOST_DEATHS} workers died while they played it"
            self._told.append(Over(turn, item.position, None, line))
        return bool(given_up)
