"""Workers on threads of this process in place of a cluster, which die when a test says so."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any

from edgexp.cluster.crew import Died
from edgexp.cluster.stage import Worker
from edgexp.errors import EdgexpError


@dataclass(eq=False)
class Handle:
    """A worker, dead or alive."""

    machine: str
    worker: Any
    dead: bool = False
    calls: list["Future[bytes]"] = field(default_factory=list)
    taken: int = 0


@dataclass
class ThreadLink:
    """A `Link` to workers on threads. `fate` is asked before each answer is passed on, with the worker, the method and its arguments; where
    it says so, the worker dies with the answer untold."""

    names: list[str] = field(default_factory=lambda: ["a"])
    fate: Callable[[Handle, str, tuple[Any, ...]], bool] = lambda *_: False
    make: Callable[[], Any] = Worker
    handles: list[Handle] = field(default_factory=list)
    put_bytes: int = 0

    def machines(self) -> list[str]:
        return list(self.names)

    def start(self, machine: str, gpu: bool) -> Handle:
        self.handles.append(Handle(machine, self.make()))
        return self.handles[-1]

    def call(self, worker: Handle, method: str, *arguments: Any) -> "Future[bytes]":
        future: Future[bytes] = Future()
        assert all(call.done() for call in worker.calls), "one call at a time"
        worker.calls.append(future)
        if worker.dead:
            future.set_exception(Died("it is dead"))
            return future
        threading.Thread(target=self._run, args=(worker, method, arguments, future), daemon=True).start()
        return future

    def _run(self, worker: Handle, method: str, arguments: tuple[Any, ...], future: "Future[bytes]") -> None:
        try:
            answer = getattr(worker.worker, method)(*arguments)
        except BaseException as error:
            future.set_exception(error)
            return
        if not worker.dead and self.fate(worker, method, arguments):
            self.kill(worker)
        if not future.done():
            future.set_result(answer)

    def kill(self, worker: Handle) -> None:
        """The worker is gone, and whoever waits for it is told."""
        worker.dead = True
        for call in worker.calls:
            if not call.done():
                call.set_exception(Died("killed by the test"))

    def wait(self, calls: Sequence[Any], seconds: float) -> list[Any]:
        return list(wait(calls, seconds, FIRST_COMPLETED).done)

    def result(self, call: "Future[bytes]") -> bytes:
        error = call.exception()
        if error is not None:
            assert isinstance(error, Died | EdgexpError), error
            raise error
        return call.result()

    def put(self, piece: bytes) -> bytes:
        self.put_bytes += len(piece)
        return piece

    def stop(self, worker: Handle) -> None:
        self.kill(worker)
