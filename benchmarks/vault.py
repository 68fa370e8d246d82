"""What keeping a block on disk costs: store, load, and what is in them; checksums, and reading against mapping.

A block of the default model has about 12 MB (500 tokens in 16 bits). The rival of a load is the plain reading of as many bytes.
"""

import hashlib
import mmap
import os
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from edgexp.engine.vault import HEADER, Vault, fingerprint


def best(work: Callable[[], object], rounds: int) -> float:
    """Milliseconds of the fastest round."""
    seconds = []
    for _ in range(rounds):
        started = perf_counter()
        work()
        seconds.append(perf_counter() - started)
    return min(seconds) * 1000


def read(path: Path) -> None:
    """All bytes into new memory."""
    with path.open("rb", buffering=0) as file:
        file.readinto(np.empty(path.stat().st_size, np.uint8).data)


def mapped(path: Path) -> None:
    """Map the bytes, and take their checksum where they are."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        checked = hashlib.sha256(view)
    checked.digest()


def put(path: Path, data: bytes) -> None:
    """Plain writing, synced."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@click.command()
@click.option("--megabytes", default=12.0, show_default=True)
@click.option("--blocks", default=300, show_default=True, help="Blocks that lie there already (small ones: only their number matters).")
@click.option("--rounds", default=15, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Where to write.  [default: a temporary folder]")
def main(megabytes: float, blocks: int, rounds: int, folder: Path | None) -> None:
    """Print milliseconds for each, and the ratio to plain reading or writing."""
    payload = np.frombuffer(os.urandom(int(megabytes * 1e6)), np.uint8)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        vault = Vault(Path(work), 1 << 40, spare=0)
        for number in range(blocks):
            vault.store(fingerprint({"model": "a" * 64}, [], 0, [number]), f"t{number}", b"small")
        key = fingerprint({"model": "b" * 64}, [], 0, [])
        vault.store(key, "t", payload)
        (path,) = Path(work).glob("b*.t.*.block")
        assert path.stat().st_size == payload.size + HEADER
        reading, writing = best(lambda: read(path), rounds), best(lambda: put(Path(work) / "plain", payload.tobytes()), rounds)
        rows = [
            ("read", reading, reading), ("load", best(lambda: vault.load(key, "t"), rounds), reading),
            ("map, and SHA-256", best(lambda: mapped(path), rounds), reading),
            ("SHA-256", best(lambda: hashlib.sha256(payload.data), rounds), reading),
            ("BLAKE2b", best(lambda: hashlib.blake2b(payload.data), rounds), reading),
            ("CRC-32", best(lambda: zlib.crc32(payload.data), rounds), reading),
            ("write and sync", writing, writing), ("store", best(lambda: vault.store(key, "t", payload), rounds), writing),
            ("forget", best(lambda: vault.forget(["none"]), rounds), writing),
        ]  # fmt: skip
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("", "ms", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, milliseconds, rival in rows:
        table.add_row(name, f"{milliseconds:.1f}", f"{milliseconds / rival:.2f}x")
    Console().print(f"{megabytes:g} MB, {blocks} other blocks", table)


if __name__ == "__main__":
    main()
