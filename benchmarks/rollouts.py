"""Many episodes at once against one at a time: the same suite, model and tasks in one run.

Both ways play the same first tasks of a suite into folders of their own. What is compared is the time from the first episode to the last,
without opening the model; beside it stand the processor time, the tokens, how they divide into prompt and the rest, and the memory.
"""

import resource
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import click
from rich.console import Console
from rich.table import Table

from edgexp.cli.options import say
from edgexp.evaluation.evaluate import Watch, Wishes, evaluate
from edgexp.evaluation.results import Row, read
from edgexp.evaluation.suite import Suite, load


@dataclass
class Run:
    """One way to play, measured between its first moment of playing and its last kept row."""

    rows: list[Row]
    wall: float
    cpu: float
    megabytes: float
    """Largest memory of the process so far: ways are measured from the least places to the most."""

    @property
    def rate(self) -> float:
        """Episodes an hour."""
        return 3600 * len(self.rows) / self.wall


def measure(name: str, suite: Suite, parallel: int, folder: Path, only: tuple[str, ...]) -> Run:
    """Play everything anew."""
    times = [(0.0, 0.0), (0.0, 0.0)]

    def opened() -> None:
        times[0] = perf_counter(), process_time()

    def kept(_: Row) -> None:
        times[1] = perf_counter(), process_time()

    evaluate(name, suite, folder, Wishes(parallel, only=only), Watch(say, opened=opened, kept=kept))
    scale = 1e6 if sys.platform == "darwin" else 1e3
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    return Run(read(folder).rows, times[1][0] - times[0][0], times[1][1] - times[0][1], most)


def same(one: Run, other: Run) -> int:
    """How many episodes have the same actions both ways."""
    actions = {row.key: [a.action for a in row.actions] for row in one.rows}
    return sum(actions[row.key] == [a.action for a in row.actions] for row in other.rows)


@click.command()
@click.option("--suite", default="smoke", show_default=True)
@click.option("--parallel", "ways", multiple=True, type=int, default=(1, 4, 8), show_default=True,
              help="Episodes at once; the first is the rival.")
@click.option("-n", "--number", default=4, show_default=True, help="Tasks of each split and group.")
@click.option("--only", multiple=True, help="Only this condition.")
@click.option("--set", "changes", multiple=True, help="Change a setting of the suite.")
def main(suite: str, ways: tuple[int, ...], number: int, only: tuple[str, ...], changes: tuple[str, ...]) -> None:
    """Print episodes an hour for each number of episodes at once, and the ratio to the first."""
    name, settings = load(suite, [*changes, f"tasks.number={number}"])
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("at once", "episodes/hour", "ratio", "CPU s/episode", "tokens/episode", "prompt", "generated", "same actions",
                    "memory MB"):
        table.add_column(heading, justify="right")
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as scratch:
        for parallel in ways:
            run = measure(name, settings, parallel, Path(scratch) / str(parallel), only)
            runs.append(run)
            tokens, count = sum(row.tokens.evaluated for row in run.rows), len(run.rows)
            generated = sum(row.tokens.generated for row in run.rows)
            prompt = sum(min(row.tokens.prompt, row.tokens.evaluated) for row in run.rows)
            table.add_row(str(parallel), f"{run.rate:,.0f}", f"{run.rate / runs[0].rate:.2f}x", f"{run.cpu / count:.1f}",
                          f"{tokens / count:,.0f}", f"{prompt / tokens:.0%}", f"{generated / tokens:.0%}",
                          f"{same(runs[0], run)}/{count}", f"{run.megabytes:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
