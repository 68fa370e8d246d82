"""The same weights in several number formats, on a processor: how fast each is, how large, and how far from the 16-bit file.

    uv run python benchmarks/number_formats.py
    uv run python benchmarks/number_formats.py --rounds 12 qwen.Q8_0.gguf qwen.Q4_0.gguf      files of your own; the first is the rival

Without files it makes them, from the shipped adapter and its base. All are open at once and take turns within a second, so that what else
the machine does meets them alike. A ratio is the median over these turns, with its quartiles. On one thread time is processor time of that
thread: who waits for a core is not charged for it. The second table does the same for the keys and values that Q8_0 keeps of what it saw.
"""

import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from edgexp.engine.context import Context
from edgexp.engine.model import Model
from edgexp.engine.native import Tuning
from edgexp.export import steps
from edgexp.export.parity import bounds_for, compare
from edgexp.export.reference import Reference, read_reference
from edgexp.gguf.quantise import requantise
from edgexp.models import BASE_POLICY
from edgexp.models.model_files import open_base

ADAPTER = Path(__file__).parent.parent / "adapters" / "smollm2-135m-exprag"
KINDS = ("q8_0", "q4_0", "q4_k_m", "bf16", "f16")
"""The first is the rival."""
PROMPT = 256


class Cells(Context):
    """A context that keeps keys and values in other formats than 16 bits, or attends by llama.cpp's flash attention."""

    def __init__(self, model: Model, cells: int, threads: int, keys: str = "f16", values: str = "f16", flash: bool = False):
        self._keys, self._values, self._flash = keys, values, flash
        super().__init__(model, cells, 2, threads=threads, own_cells=True)

    def _parameters(self, cells: int, batch: int, threads: int | None, own_cells: bool) -> Any:
        import llama_cpp

        params = super()._parameters(cells, batch, threads, own_cells)
        params.type_k = getattr(llama_cpp, f"GGML_TYPE_{self._keys.upper()}")
        params.type_v = getattr(llama_cpp, f"GGML_TYPE_{self._values.upper()}")
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED if self._flash else llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        return params


@dataclass
class Way:
    """One file in one kind of context, with `depth` tokens seen, and the seconds of every turn by what was evaluated."""

    name: str
    context: Cells
    megabytes: float
    depth: int
    seconds: dict[int, list[float]] = field(default_factory=dict)

    def begin(self) -> None:
        """Let the first sequence see so many tokens."""
        self.context.run([*self._tokens(self.depth)], range(self.depth), [(0,)] * self.depth, [])

    def turn(self, count: int, clock: Callable[[], float]) -> None:
        """Evaluate some tokens, after the depth, or as a prompt of their own, and forget them."""
        slot, first = (1, 0) if count == PROMPT else (0, self.depth)
        tokens = [*self._tokens(count)]
        started = clock()
        self.context.run(tokens, range(first, first + count), [(slot,)] * count, [count - 1])
        self.seconds.setdefault(count, []).append(clock() - started)
        self.context.forget(slot, first)

    def ratio(self, rival: "Way", count: int) -> tuple[float, float, float]:
        """How many times as fast as the rival: first quartile, median, third."""
        pairs = [other / own for own, other in zip(self.seconds[count], rival.seconds[count], strict=True)]
        low, middle, high = statistics.quantiles(pairs, n=4)
        return low, middle, high

    def token_bytes(self) -> float:
        """Bytes of keys and values that a token takes."""
        return len(self.context.state(0)) / self.depth

    def _tokens(self, count: int) -> Sequence[int]:
        """Any tokens do: the work is the same."""
        return [1000 + (7919 * i) % 30000 for i in range(count)]


def take_turns(ways: Sequence[Way], sizes: Sequence[int], rounds: int, threads: int) -> None:
    """Let every way evaluate every size so many times, side by side; a first round warms up and does not count."""
    clock = thread_time if threads == 1 else perf_counter
    for way in ways:
        way.begin()
    for number in range(rounds + 1):
        for size in sizes:
            for way in ways if number % 2 else reversed(ways):
                way.turn(size, clock)
        if number == 0:
            for way in ways:
                way.seconds.clear()


def show(console: Console, title: str, ways: Sequence[Way], sizes: Sequence[int], more: dict[str, list[str]]) -> None:
    """A table: milliseconds at best and the ratio to the first way, for each size."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), title=title, title_justify="left")
    for heading in ("", "MB", *(f"prompt of {size}" if size == PROMPT else f"{size}" for size in sizes), *more):
        table.add_column(heading, justify="right" if heading else "left")
    for number, way in enumerate(ways):
        cells = []
        for size in sizes:
            low, middle, high = way.ratio(ways[0], size)
            best = min(way.seconds[size])
            pace = f"{size / best:,.0f} tokens/s" if size == PROMPT else f"{best * 1000:.1f} ms"
            cells.append(pace + (f" {middle:.2f}x ({low:.2f}–{high:.2f})" if number else ""))
        table.add_row(way.name, f"{way.megabytes:,.0f}", *cells, *(column[number] for column in more.values()))
    console.print(table)


def make_files(folder: Path) -> list[Path]:
    """The shipped adapter on its base, in every format."""
    base = open_base(BASE_POLICY).path
    found = {kind: folder / f"exprag.{kind.upper()}.gguf" for kind in KINDS}
    for kind, path in found.items():
        if not path.is_file() and kind != "bf16":
            steps.write(steps.Merge(str(base), str(ADAPTER), kind, str(path)))
    if not found["bf16"].is_file():
        requantise(found["f16"], folder, "bf16")
    return list(found.values())


def distance(model: Model, samples: int) -> tuple[str, str, str]:
    """How far a file is from what was trained, on held-out episodes: mean |Δ log p| of the expert's tokens, their mean Δ, and the share of
    whole actions that are the greedy choice of both."""
    whole = read_reference(ADAPTER / "reference.safetensors")
    origin = msgspec.structs.replace(whole.origin, samples=whole.origin.samples[:samples])
    part = Reference(origin, *(getattr(whole, name)[:samples] for name in ("ids", "positions", "logprobs", "greedy")))
    found = compare(part, model, bounds_for("q4_0", origin.precision))
    return f"{found.mean:.3f}", f"{found.shift:+.3f}", f"{found.actions:.1%}"


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Keep the files that are made here.")
@click.option("--depth", default=1500, show_default=True, help="Tokens seen before.")
@click.option("--size", "sizes", multiple=True, type=int, default=(1, 2, 8, 32, PROMPT), show_default=True,
              help=f"Tokens of a batch; {PROMPT} stand alone, as a prompt.")
@click.option("--rounds", default=30, show_default=True, type=click.IntRange(2))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1))
@click.option("--kept/--no-kept", default=True, show_default=True, help="Measure formats of keys and values too.")
@click.option("--samples", default=12, show_default=True, type=click.IntRange(0),
              help="Where no files are named: episodes on which they are compared with the trained model.")
def main(files: tuple[Path, ...], folder: Path | None, depth: int, sizes: tuple[int, ...], rounds: int, threads: int,
         kept: bool, samples: int) -> None:
    """Print speed and size of number formats, of weights and of keys and values."""
    console = Console(width=180)
    with ExitStack() as stack:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        paths = list(files) or make_files(folder or Path(stack.enter_context(tempfile.TemporaryDirectory())))
        models = [stack.enter_context(Model(path, Tuning(threads=threads, threads_batch=threads))) for path in paths]

        def way(name: str, number: int, **about: Any) -> Way:
            context = Cells(models[number], 2 * (depth + PROMPT), threads, **about)
            stack.callback(context.close)
            return Way(name, context, paths[number].stat().st_size / 1e6, depth)

        console.print(f"{threads} thread(s), {rounds} rounds, {depth} tokens before; load at the start {os.getloadavg()[0]:.1f}")
        weights = [way(path.stem.rpartition(".")[2], number) for number, path in enumerate(paths)]
        take_turns(weights, sizes, rounds, threads)
        more: dict[str, list[str]] = {}
        if samples and not files:
            found = [distance(model, samples) for model in models]
            more = dict(zip(("|Δ log p|", "Δ log p", "same actions"), map(list, zip(*found, strict=True)), strict=True))
        show(console, "weights", weights, sizes, more)
        if kept:
            formats = [
                way("16 bits", 0),
                way("keys in 8 bits", 0, keys="q8_0"),
                way("16 bits, flash attention", 0, flash=True),
                way("both in 8 bits, flash attention", 0, keys="q8_0", values="q8_0", flash=True),
            ]
            take_turns(formats, sizes, rounds, threads)
            sizes_of = {"bytes a token": [f"{one.token_bytes():,.0f}" for one in formats]}
            show(console, f"keys and values, weights in {weights[0].name}", formats, sizes, sizes_of)
        console.print(f"load at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
