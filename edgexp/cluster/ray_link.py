"""The processes of a Ray cluster, as a `Link`. The only module that knows Ray; it is imported when a command is told to use one."""

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from edgexp.cluster.crew import Died
from edgexp.cluster.stage import Worker
from edgexp.errors import EdgexpError, UsageError

LOCAL = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 << 20}
"""How a Ray is started that is only for this command (`local`): its parts are not used, so they are kept small."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_NUM_REDIS_GET_RETRIES": "3"}
"""No library may phone home; what goes wrong is told by us, and soon: Ray would try for minutes."""
KNOCKING = 10.0
"""Seconds in which a cluster's address has to take a connection."""
_GONE = "No module named 'edgexp"


class RayLink:
    """A cluster that this process is connected to; see `Link`."""

    def __init__(self, ray: Any):
        self._ray = ray
        self._made = ray.remote(Worker)

    def machines(self) -> list[str]:
        """Ids of the nodes that are alive."""
        return [node["NodeID"] for node in self._ray.nodes() if node["Alive"]]

    def start(self, machine: str, gpu: bool) -> Any:
        """An actor on that node. It reserves no cores: engines and environments take what is there."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node_id=machine, soft=False)
        return self._made.options(num_cpus=0, num_gpus=int(gpu), max_restarts=0, scheduling_strategy=there).remote()

    def call(self, worker: Any, method: str, *arguments: Any) -> Hashable:
        """An actor's method; its answer is an object of Ray's."""
        call: Hashable = getattr(worker, method).remote(*arguments)
        return call

    def wait(self, calls: Sequence[Hashable], seconds: float) -> list[Any]:
        """See `Link`."""
        over, left = self._ray.wait(list(calls), num_returns=1, timeout=seconds)
        if over and left:
            over = over + self._ray.wait(left, num_returns=len(left), timeout=0)[0]
        return list(over)

    def result(self, call: Any) -> bytes:
        """See `Link`."""
        try:
            data: bytes = self._ray.get(call)
        except self._ray.exceptions.RayError as error:
            raise explain(error) from error
        return data

    def put(self, piece: bytes) -> Any:
        """Bytes in Ray's object store."""
        return self._ray.put(piece)

    def stop(self, worker: Any) -> None:
        """See `Link`."""
        with contextlib.suppress(Exception):
            self._ray.kill(worker)


def explain(error: Exception) -> EdgexpError | Died:
    """What an error of Ray's means: that no worker can ever be there, or that one is gone."""
    said = str(error)
    if _GONE in said or "Worker' object has no attribute" in said:
        return EdgexpError("it has no edgexp that can be a worker: install the same edgexp there, in the Python that runs Ray")
    if getattr(error, "cause", None) is not None:
        return EdgexpError(f"its worker fails: {_short(str(error.cause))}")  # type: ignore[attr-defined]
    return Died(_short(next((line for line in reversed(said.splitlines()) if line.strip()), type(error).__name__)))


@contextmanager
def connected(address: str) -> Iterator[RayLink]:
    """Be connected to a cluster for as long as the block runs: `auto` is the one that runs on this machine, `local` a new one of its own.

    Raises UsageError where Ray is not installed, EdgexpError where no cluster answers.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise UsageError("--ray needs Ray, which comes with the extra cluster: pip install 'edgexp[cluster]'") from error
    if address.startswith("ray://"):
        raise UsageError(f"--ray {address}: Ray's client is not used here; start the command on a machine of the cluster, with --ray auto")
    _knock(address if address != "auto" else os.environ.get("RAY_ADDRESS") or "auto")
    with _own_signals():
        _connect(ray, address)
    try:
        yield RayLink(ray)
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise EdgexpError where nothing listens at an address: Ray itself finds that out after minutes."""
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageError(f"--ray {address}: write auto, local, or the HOST:PORT that `ray start --head` printed")
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCKING).close()
    except (OSError, UnicodeError) as error:
        raise EdgexpError(f"--ray {address}: no Ray cluster answers: {getattr(error, 'strerror', '') or error}") from error


def _connect(ray: Any, address: str, tries: int = 3) -> None:
    """Connect, or start a Ray: which gives itself half a minute for that, and may need another where much else is going on."""
    own = LOCAL if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.FATAL, **own)
    except Exception as error:  # Ray raises them of many kinds, `Exception` itself among them
        with contextlib.suppress(Exception):
            ray.shutdown()
        if own and tries > 1:
            return _connect(ray, address, tries - 1)
        start = " (start one with: ray start --head)" if address == "auto" else ""
        raise EdgexpError(f"--ray {address}: no Ray cluster answers{start}: {_short(str(error))}") from error
    with contextlib.suppress(AttributeError):  # a worker that died is told of in one line of ours, not in ten of Ray's
        ray._private.worker.print_to_stdstream = lambda *_, **__: None


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself, and edgexp wants it back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def _short(text: str) -> str:
    return " ".join(text.split())[:300]
