"""A child process for the test of many on one bank: `live FOLDER SEED SECONDS` adds, forgets, searches and reopens."""

import os
import random
import sys
import time
from pathlib import Path

from bank_samples import WordEncoder, trajectory

from edgexp.bank import KINDS, Bank
from edgexp.bank.bank import FILE
from edgexp.bank.vector_index import Index


def live(folder: Path, seed: int, seconds: float) -> None:
    """Writers and readers in turn, with files published at almost every step. Nothing may fail, and every hit can be read."""
    rng, until, done = random.Random(seed), time.monotonic() + seconds, 0
    while time.monotonic() < until or done < 20:
        readonly = rng.random() < 0.5 and (folder / FILE).exists()  # perhaps while another process is making it
        with Bank.open(folder, WordEncoder(), readonly=readonly, wait=120, exact_limit=rng.choice([16, 100_000])) as bank:
            for _ in range(rng.randint(1, 6)):
                if not readonly:
                    change(bank, rng, seed)
                for hit in bank.search(rng.choice(KINDS), f"put a mug on the shelf.\nroom {rng.randrange(9)}", 5):
                    assert bank.count() >= 0 and hit.score <= 1.01
                done += 1
    print("done", done, flush=True)


def change(bank: Bank, rng: random.Random, seed: int) -> None:
    """Something that makes or deletes index files."""
    what = rng.random()
    number = seed * 100_000 + rng.randrange(400)
    if what < 0.7:
        bank.add([trajectory(number + offset) for offset in range(4)])
    elif what < 0.85:
        bank.forget([trajectory(number).id])
    else:
        bank._indexes.snapshot(1)


if __name__ == "__main__":
    Index.SMALLEST_DELTA = int(os.environ.get("EDGEXP_SMALLEST_DELTA", "2"))
    live(Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
