"""What a retrieval costs as the bank grows: the bank against numpy's brute force in float32, both on one thread.

Vectors: the `task` keys of some hundred household episodes played by the expert, embedded for real; what fills the bank are copies of
those with noise added, because embedding 100,000 would take hours. Trajectories are the real ones under other task ids. Each size is
measured in a process of its own. Embedding the query is shown apart: it costs the same at every size and is needed once a task.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import click
import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from edgexp.bank import Bank, Filters, task_text
from edgexp.bank.upkeep import identity, key_vectors
from edgexp.bank.vector_index import EXACT_LIMIT
from edgexp.embedding import Encoder, open_encoder
from edgexp.environments.registry import make
from edgexp.play.collecting import expert_episode, spread
from edgexp.play.rollout import run
from edgexp.retrieval import VectorRetriever
from edgexp.trajectory import Trajectory

T = TypeVar("T")
K = 10


class Measured(msgspec.Struct):
    """One size. Times in milliseconds, memory in megabytes of anonymous (not file-backed) pages."""

    opening: float
    first: float
    search: float
    best: float
    filtered: float
    recall: float
    grown: float
    numpy: float
    numpy_best: float
    numpy_grown: float


@click.command()
@click.option("--sizes", default="1000,10000,100000", show_default=True, help="Trajectories in the bank.")
@click.option("--real", default=300, show_default=True, help="Episodes that are played and embedded for real.")
@click.option("--queries", default=100, show_default=True, help="Searches at each size.")
@click.option("--measure", type=click.Path(path_type=Path), hidden=True, help="Measure the bank in this folder and print JSON.")
def main(sizes: str, real: int, queries: int, measure: Path | None) -> None:
    """Measure opening, searching and memory at several bank sizes, and embedding."""
    if measure:
        sys.stdout.buffer.write(msgspec.json.encode(measured(measure, queries)))
        return
    encoder, console = open_encoder(), Console()
    world = make("household")
    played = [run(expert_episode(world, task)).trajectory for task in spread(world.tasks("train"), real)]
    vectors = key_vectors(encoder, "task", [task_text(t.goal, t.observation) for t in played])
    heads = ("bank", "open", "first", "search", "filtered", "best", "numpy", "best", "best to best", f"recall@{K}", "memory", "numpy")
    table = Table(*heads, box=None, padding=(0, 2, 0, 0), title="median and best times in ms; memory in MB of anonymous pages")
    with tempfile.TemporaryDirectory() as folder:
        for size in map(int, sizes.split(",")):
            m = in_its_own_process(filled(Path(folder) / str(size), size, played, vectors, encoder), queries)
            times = (f"{value:.2f}" for value in (m.opening, m.first, m.search, m.filtered, m.best, m.numpy, m.numpy_best))
            ratio = f"{m.numpy_best / m.best:.2f}x"
            table.add_row(f"{size:,}", *times, ratio, f"{m.recall:.3f}", f"+{m.grown:.1f}", f"+{m.numpy_grown:.0f}")
        console.print(table)
        embedding(console, encoder, played, Path(folder) / sizes.split(",")[-1])


def filled(path: Path, size: int, played: list[Trajectory], vectors: NDArray[np.float32], encoder: Encoder) -> Path:
    """A bank of `size` trajectories with noisy copies of the vectors `vectors` [len(played), d]."""
    rng = np.random.default_rng(0)
    with Bank.open(path) as bank:
        store = bank._store
        for begin in range(0, size, 5000):
            with store.database.transaction():
                row = store.know_encoder(identity(encoder), encoder.name, encoder.dimensions)
                store.use_encoder(row)
                for number in range(begin, min(begin + 5000, size)):
                    source = number % len(played)
                    t = renamed(played[source], number)
                    data = noisy(vectors[source], rng, 0.5).astype("<f2").tobytes()
                    store.insert(t, t.id, "accepted", row.code, {"task": data, "course": data})
    return path


def renamed(t: Trajectory, number: int) -> Trajectory:
    """The same episode as that of another task."""
    return msgspec.structs.replace(t, task=msgspec.structs.replace(t.task, id=f"household/copy/{number}"))


def noisy(vector: NDArray[np.float32], rng: np.random.Generator, amount: float) -> NDArray[np.float32]:
    """A unit vector near another one: `amount` is the length of the noise that is added."""
    noise = rng.normal(size=len(vector))
    moved = vector + amount * noise / np.linalg.norm(noise)
    unit: NDArray[np.float32] = (moved / np.linalg.norm(moved)).astype(np.float32)
    return unit


def in_its_own_process(path: Path, queries: int) -> Measured:
    """Measure a bank in a fresh process on one thread."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--measure", str(path), "--queries", str(queries)]
    return msgspec.json.decode(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout, type=Measured)


def measured(path: Path, queries: int) -> Measured:
    """Open, search, then the same by brute force over float32 in memory."""
    warm_up()
    before = anonymous_memory()
    started = perf_counter()
    bank = Bank.open(path, readonly=True)
    bank._indexes.fresh("task")
    opening = perf_counter() - started
    asked = list(query_vectors(bank, queries))
    first, _ = timed(lambda: bank.search("task", asked[0], K))
    ours = [timed(lambda query=query: bank.search("task", query, K)) for query in asked]  # type: ignore[misc]
    own = Filters(environment="household", success=True, exclude_task_ids=("household/copy/1",))
    filtered = [timed(lambda query=query: bank.search("task", query, K, own))[0] for query in asked]  # type: ignore[misc]
    grown = anonymous_memory() - before

    before = anonymous_memory()
    encoder = bank._store.encoder()
    assert encoder
    pieces = list(bank._store.vectors(encoder, "task"))
    matrix = np.concatenate([part.astype(np.float32) for _, part in pieces])
    del pieces
    theirs = [timed(lambda query=query: brute_force(matrix, query)) for query in asked]  # type: ignore[misc]
    numpy_grown = anonymous_memory() - before
    # Tasks with the same words have the same vector, so the K best are not one set: a hit counts when its score reaches the K-th best,
    # to the three digits that a query of 16-bit numbers has.
    found = [
        [hit.score > float(matrix[best[-1]] @ query) - 1e-3 for hit in hits]
        for query, (_, hits), (_, best) in zip(asked, ours, theirs, strict=True)
    ]
    times = sorted(seconds for seconds, _ in ours)
    return Measured(
        opening=1e3 * opening,
        first=1e3 * first,
        search=1e3 * statistics.median(times),
        best=1e3 * times[0],
        filtered=1e3 * statistics.median(filtered),
        recall=sum(map(sum, found)) / (K * len(found)),
        grown=grown,
        numpy=1e3 * statistics.median(seconds for seconds, _ in theirs),
        numpy_best=1e3 * min(seconds for seconds, _ in theirs),
        numpy_grown=numpy_grown,
    )


def warm_up() -> None:
    """Load the libraries, so that opening is opening and memory is the bank's."""
    with tempfile.TemporaryDirectory() as folder:
        vector = np.zeros(8, "<f2")
        vector[0] = 1
        with Bank.open(Path(folder)) as bank:
            with bank._store.database.transaction():
                row = bank._store.know_encoder("e", "none", 8)
                bank._store.use_encoder(row)
            bank.search("task", vector.astype(np.float32))
    import numkong

    numkong.cdist(vector[None, :], vector[None, :], "dot")


def query_vectors(bank: Bank, count: int) -> Iterator[NDArray[np.float32]]:
    """Vectors near stored ones, as those of new tasks are."""
    rng = np.random.default_rng(1)
    entries = bank.entries(limit=count)
    for vector in bank.vectors("task", [entry.id for entry in entries]):
        yield noisy(vector / np.linalg.norm(vector), rng, 0.3)


def brute_force(matrix: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.int64]:
    """The positions of the K best, by numpy."""
    scores = matrix @ query
    best = np.argpartition(-scores, K)[:K]
    return best[np.argsort(-scores[best])]


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Seconds, and what the call gave."""
    started = perf_counter()
    result = call()
    return perf_counter() - started, result


def anonymous_memory() -> float:
    """Megabytes of this process that no file backs; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next(float(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def embedding(console: Console, encoder: Encoder, played: list[Trajectory], path: Path) -> None:
    """What comes before the search: the query's vector; and the whole of a recall, bodies read."""
    few = played[:20]
    for name, texts in (("goal", [t.goal for t in few]), ("goal and first observation", [task_text(t.goal, t.observation) for t in few])):
        times = [timed(lambda text=text: key_vectors(encoder, "task", [text], query=True))[0] for text in texts]  # type: ignore[misc]
        tokens = statistics.mean(map(encoder.count, texts))
        console.print(f"embedding {name}, {tokens:.0f} tokens on average, one thread: {1e3 * statistics.median(times):.1f} ms")
    with Bank.open(path, encoder, readonly=True) as bank:
        retriever = VectorRetriever(bank)
        for name in ("a new query", "a query asked before"):
            times = [timed(lambda t=t: retriever.recall(t.task, t.goal, t.observation))[0] for t in few]  # type: ignore[misc]
            console.print(f"whole recall of {name} at {bank.count():,}: {1e3 * statistics.median(times):.1f} ms")
    console.print(f"exact search up to {EXACT_LIMIT:,} vectors; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
