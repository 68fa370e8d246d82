"""What keeping an episode costs: the bank against appending JSON lines to a file and syncing it after each.

Both promise the same: when the call returns, the episode survives a power cut. The bank also makes it searchable at once. Embedding is
measured apart, because it is the encoder's cost and not the store's: the store is given vectors that were computed before.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from edgexp.bank import Bank
from edgexp.embedding import Encoder, open_encoder
from edgexp.environments.registry import make
from edgexp.play.collecting import expert_episode, spread
from edgexp.play.rollout import run
from edgexp.trajectory import Trajectory, encode


class Remembering:
    """An encoder that computes every vector once."""

    def __init__(self, encoder: Encoder) -> None:
        self.id, self.name, self.dimensions, self.max_tokens = encoder.id, encoder.name, encoder.dimensions, encoder.max_tokens
        self.count = encoder.count
        self._encoder = encoder
        self._known: dict[str, NDArray[np.float32]] = {}

    def encode(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        """Unit vectors [len(texts), dimensions]."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self._encoder.encode(new), strict=True))
        return np.array([self._known[text] for text in texts])


@click.command()
@click.option("-n", "--number", default=400, show_default=True, help="Episodes to keep; household tasks played by the expert.")
@click.option("--folder", type=click.Path(path_type=Path, exists=True), help="Where to write.  [default: the system's temporary folder]")
def main(number: int, folder: Path | None) -> None:
    """Measure episodes a second and bytes an episode."""
    encoder, world = Remembering(open_encoder()), make("household")
    played = [run(expert_episode(world, task)).trajectory for task in spread(world.tasks("train"), number)]
    with tempfile.TemporaryDirectory(dir=folder) as place:
        started = perf_counter()
        fill(Path(place) / "warm", encoder, played, 64)
        embedding = perf_counter() - started
        lines = seconds(lambda: append(Path(place) / "lines.jsonl", played))
        singly = seconds(lambda: fill(Path(place) / "singly", encoder, played, 1))
        together = seconds(lambda: fill(Path(place) / "together", encoder, played, 64))
        embedding -= together
        table = Table("", "episodes/s", "against JSON lines", box=None, padding=(0, 2, 0, 0))
        table.add_row("JSON lines, synced after each", f"{number / lines:,.0f}", "")
        table.add_row("bank, one transaction each", f"{number / singly:,.0f}", f"{lines / singly:.2f}x")
        table.add_row("bank, 64 in a transaction", f"{number / together:,.0f}", f"{lines / together:.2f}x")
        table.add_row("embedding on one thread, before it", f"{number / embedding:,.0f}", "")
        Console().print(table)
        show_sizes(Path(place), number)


def append(path: Path, played: list[Trajectory]) -> None:
    """The rival: a line each, on the disk before the next."""
    with path.open("ab") as file:
        for trajectory in played:
            file.write(encode(trajectory) + b"\n")
            file.flush()
            os.fsync(file.fileno())


def fill(path: Path, encoder: Remembering, played: list[Trajectory], batch: int) -> None:
    """A new bank, filled in batches."""
    with Bank.open(path, encoder) as bank:
        for begin in range(0, len(played), batch):
            bank.add(played[begin : begin + batch])


def show_sizes(place: Path, number: int) -> None:
    """Bytes of an episode, in both."""
    lines = (place / "lines.jsonl").stat().st_size / number
    with Bank.open(place / "together", readonly=True) as bank:
        stats, width = bank.stats(), bank.stats().dimensions
    database, index = stats.database_bytes / number, stats.index_bytes / number
    vectors = 2 * 2 * width
    Console().print(
        f"bytes an episode: JSON lines {lines:,.0f}; bank {database + index:,.0f} ({(database + index) / lines:.2f}x): "
        f"database {database:,.0f}, of which two vectors of {width} numbers {vectors:,}; index files {index:,.0f}"
    )


def seconds(call: Callable[[], None]) -> float:
    """How long a call takes."""
    started = perf_counter()
    call()
    return perf_counter() - started


if __name__ == "__main__":
    main()
