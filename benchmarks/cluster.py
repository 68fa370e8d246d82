"""Episodes on a Ray cluster of this machine: what one costs more than here, and how many rows a second the driver takes.

Overhead: the same tasks by the same model, here with `--parallel` and by one Ray worker with as many places, in turn; wall time, and the
processor time of both processes, which says more on a machine that has other work. Scale: 1 to 256 workers that only wait and then tell of
one and the same episode; the driver writes its rows to disk as an evaluation does. They are threads of a few actors, as each process of
Ray takes 130 MB. Beside the rows a second stands the processor time a row costs the driver, of which the highest rate follows.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from edgexp.cli.options import say
from edgexp.cluster import wire
from edgexp.cluster.crew import Crew
from edgexp.cluster.far import Cluster
from edgexp.cluster.ray_link import RayLink, connected
from edgexp.cluster.stage import greet
from edgexp.cluster.wire import ExpertPlay, Item, Opened, Opening, Over, Turn
from edgexp.environments.registry import make
from edgexp.errors import EdgexpError
from edgexp.evaluation.results import Header, Setup, Writer, row_of
from edgexp.play.collecting import expert_episode, spread
from edgexp.play.rollout import run
from edgexp.play.session import Settings, open_session
from edgexp.trajectory import Played

HALLS = 4
"""Actors that hold the workers which only wait."""
PLACES = 4
"""Of each such worker."""
WORLD = make("household")


@dataclass
class Idle:
    """A worker that waits `seconds` an episode at each of its places."""

    seconds: float
    sample: bytes
    version: str
    """Of the environment."""
    free: list[float] = field(default_factory=lambda: [0.0] * PLACES)
    due: list[tuple[float, Turn]] = field(default_factory=list)

    def hello(self) -> bytes:
        return wire.answer(greet())

    def look(self, _: bytes) -> bytes:
        return wire.answer([])

    def begin(self) -> bytes:
        return wire.answer(Opened(PLACES, {"household": self.version}, ()))

    def exchange(self, data: bytes) -> bytes:
        for turn in wire.decode(data, list[Turn]):
            place = self.free.index(min(self.free))
            self.free[place] = max(time.monotonic(), self.free[place]) + self.seconds
            self.due.append((self.free[place], turn))
        self.due.sort(key=lambda pair: pair[0])
        time.sleep(max(0.0, self.due[0][0] - time.monotonic()))
        now = time.monotonic()
        over = [turn for due, turn in self.due if due <= now] or [self.due[0][1]]
        self.due = self.due[len(over):]
        played = msgspec.msgpack.decode(self.sample, type=Played)
        return wire.answer([Over(turn.number, 0, played) for turn in over])

    def close(self) -> bytes:
        return wire.answer(None)


class Hall:
    """Many workers that wait, on threads of one process."""

    def __init__(self, count: int, seconds: float, sample: bytes, version: str):
        self.workers = [Idle(seconds, sample, version) for _ in range(count)]

    def call(self, number: int, method: str, *arguments: bytes) -> bytes:
        answer: bytes = getattr(self.workers[number], method)(*arguments)
        return answer


class Halls:
    """A link to workers that wait; see `edgexp.cluster.crew.Link`."""

    def __init__(self, link: RayLink, ray: Any, count: int, seconds: float, sample: bytes):
        self._link, self._ray, self._next, self._count = link, ray, 0, count
        each = -(-count // HALLS)
        hall = ray.remote(Hall)
        hall = hall.options(num_cpus=0, max_concurrency=each + 1)
        self._halls = [hall.remote(each, seconds, sample, WORLD.version) for _ in range(min(HALLS, count))]

    def machines(self) -> list[str]:
        return [f"machine {number}" for number in range(self._count)]

    def start(self, machine: str, gpu: bool) -> tuple[int, int]:
        self._next += 1
        return (self._next - 1) % len(self._halls), (self._next - 1) // len(self._halls)

    def call(self, worker: tuple[int, int], method: str, *arguments: Any) -> Any:
        return self._halls[worker[0]].call.remote(worker[1], method, *arguments)

    def stop(self, worker: tuple[int, int]) -> None:
        """The hall is ended as a whole."""

    def end(self) -> None:
        for hall in self._halls:
            self._ray.kill(hall)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)


class Watched:
    """A link that knows the processes of its workers."""

    def __init__(self, link: RayLink):
        self._link, self.processes = link, set[int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def result(self, call: Any) -> bytes:
        data: bytes = self._link.result(call)
        with suppress(EdgexpError):  # another answer
            self.processes.add(wire.read_answer(data, wire.Hello).process)
        return data


def cpu_of(process: int) -> float:
    """Seconds of processor time of another process."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Cost:
    """What episodes took after the first ones, which also open the model."""

    wall: float = 0.0
    cpu: float = 0.0
    episodes: int = 0
    data: int = 0
    """Bytes that came from workers."""


@contextmanager
def sessions(settings: Settings, link: Any) -> Iterator[Any]:
    with open_session(settings) if link is None else Cluster(link, 1).open_session(settings) as session:
        yield session


def play(settings: Settings, tasks: list[Any], steps: int, link: Any = None) -> Cost:
    """Play, and measure from the first episode that is over to the last."""
    cost, begin = Cost(), (0.0, 0.0)

    def clock() -> tuple[float, float]:
        own = process_time()
        return perf_counter(), own + (sum(map(cpu_of, link.processes)) if link is not None else 0.0)

    if link is not None:
        link.processes.clear()
    with sessions(settings, link) as session:
        for number, finished in enumerate(session.play(tasks, steps=steps)):
            now = clock()
            if number == 0:
                begin = now
            else:
                cost.episodes, cost.wall, cost.cpu = number, now[0] - begin[0], now[1] - begin[1]
                cost.data += len(wire.encode(Over(0, 0, finished.played)))
    return cost


def overhead(link: RayLink, episodes: int, steps: int, parallel: int, rounds: int, table: Table) -> None:
    """Rows of the first table: here and there in turn."""
    tasks = spread(WORLD.tasks("dev"), episodes + 1, 0)
    settings, here, there = Settings(model="smollm2-135m-instruct", actions="admissible", k=0, parallel=parallel), Cost(), Cost()
    for _ in range(rounds):
        for total, part in ((here, play(settings, tasks, steps)), (there, play(settings, tasks, steps, Watched(link)))):
            total.wall, total.cpu = total.wall + part.wall, total.cpu + part.cpu
            total.episodes, total.data = total.episodes + part.episodes, total.data + part.data
    table.add_row(f"the 135M model, {steps} steps",
                  f"{1000 * here.wall / here.episodes:,.0f}", f"{1000 * there.wall / there.episodes:,.0f}",
                  f"{there.wall / here.wall:.3f}", f"{1000 * here.cpu / here.episodes:,.0f}",
                  f"{1000 * there.cpu / there.episodes:,.0f}", f"{there.cpu / here.cpu:.3f}", f"{there.data / there.episodes:,.0f}")


def scale(link: RayLink, ray: Any, workers: int, seconds: float, episodes: int) -> tuple[float, float]:
    """Rows a second, and the driver's processor time a row in milliseconds."""
    played = run(expert_episode(WORLD, WORLD.tasks("train")[0]))
    halls = Halls(link, ray, workers, seconds, msgspec.msgpack.encode(played))
    opening = Opening(ExpertPlay("household", None, 0.0, 0, PLACES), {"household": WORLD.version})
    turns = (Turn(number, (Item(0, played.trajectory.task),)) for number in range(episodes))
    setup = Setup(condition="c", environment="household", environment_version="1", steps=1, model="", model_sha256="", actions="free",
                  context=1, bank="", bank_fingerprint="", encoder="", code="", engine="")  # fmt: skip
    begin, done = (0.0, 0.0), 0
    try:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder, Writer(Path(folder), Header("s", {}, {})) as writer:
            key = writer.know(setup)
            for number, over in enumerate(Crew(halls).play(opening, turns)):
                assert over.played is not None
                if number == episodes // 5:  # all have begun
                    begin, done = (perf_counter(), process_time()), number
                writer.add(row_of(over.played, "c", key), over.played.memories)
            wall, cpu = perf_counter() - begin[0], process_time() - begin[1]
    finally:
        halls.end()
    return (episodes - done) / wall, 1000 * cpu / (episodes - done)


@click.command()
@click.option("--episodes", default=6, show_default=True, help="With the model, each time.")
@click.option("--rounds", default=2, show_default=True, help="Times that both ways are measured in turn.")
@click.option("--steps", default=8, show_default=True)
@click.option("--parallel", default=2, show_default=True)
@click.option("--workers", default="1,4,16,64,256", show_default=True, help="Numbers of workers that wait.")
@click.option("--seconds", default=2.0, show_default=True, help="What an episode of theirs takes.")
@click.option("--address", default="local", show_default=True, help="A Ray that runs on this machine.")
@click.option("--rows", default=1500, show_default=True, help="Most episodes of theirs in all.")
def main(episodes: int, rounds: int, steps: int, parallel: int, workers: str, seconds: float, address: str, rows: int) -> None:
    """Measure both and print two tables."""
    import ray

    with connected(address) as link:
        if rounds:
            table = Table("episodes of", "ms here", "ms there", "ratio", "CPU ms here", "there", "ratio", "bytes an episode", box=None)
            overhead(link, episodes, steps, parallel, rounds, table)
            Console(width=140).print(table)
        table = Table("workers", "an episode takes", "rows/s if nothing but it cost time", "rows/s", "driver's CPU ms a row", box=None)
        for count in map(int, workers.split(",")):
            for each in (seconds, 0.0):
                wanted = min(rows, max(40, round(6 * count * PLACES / each))) if each else rows
                rate, cpu = scale(link, ray, count, each, wanted)
                say(f"{count} workers, {wanted} episodes of {each:g} s: {rate:.0f} rows/s, {cpu:.2f} ms of processor time a row")
                table.add_row(str(count), f"{each:g} s", f"{count * PLACES / each:.0f}" if each else "", f"{rate:.0f}", f"{cpu:.2f}")
        Console(width=140).print(table)


if __name__ == "__main__":
    main()
