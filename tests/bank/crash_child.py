"""Child processes for the tests that kill: `write FOLDER SEED` lives in a bank until it is killed, `read FOLDER` reads it until told
to stop, `watch FOLDER` looks at whole states of it until told to stop, `harm FOLDER` damages index files in every way and reads on. They
print what they did, one line each."""

import hashlib
import random
import shutil
import sys
import threading
from pathlib import Path

from bank_samples import WordEncoder, trajectory

from edgexp.bank import KINDS, Bank, Filters
from edgexp.bank.vector_index import Index
from edgexp.trajectory import content_id


def write(folder: Path, seed: int) -> None:
    """Add, forget, snapshot and reopen, for ever. A line is printed when the call has returned, `forgetting` before."""
    rng, number = random.Random(seed), seed * 100_000
    while True:
        with Bank.open(folder, WordEncoder()) as bank:
            for _ in range(rng.randint(1, 30)):
                if rng.random() < 0.05 and number > seed * 100_000 + 20:
                    gone = trajectory(number - rng.randint(1, 20)).id
                    print("forgetting", gone, flush=True)
                    bank.forget([gone])
                else:
                    batch = [trajectory(number + offset) for offset in range(rng.choice([1, 1, 1, 5]))]
                    number += len(batch)
                    for identity in bank.add(batch).added:
                        print("added", identity, flush=True)


def read(folder: Path) -> None:
    """Search and count until standard input ends; the count never falls and every hit can be read."""
    stop, searches, held = told_to_stop(), 0, 0
    with Bank.open(folder, WordEncoder(), readonly=True, wait=5) as bank:
        while not stop.is_set():
            now = bank.count()
            hits = bank.search("task", f"put a mug on the shelf.\nroom {searches}", 5)
            assert now >= held and len(hits) == min(5, max(now, len(hits))), (now, held, hits)
            assert [bank.get(hit.id).id for hit in hits] == [hit.id for hit in hits]
            held, searches = now, searches + 1
    print(searches, held, flush=True)


def watch(folder: Path) -> None:
    """Look at one state after the other: batches of five, which share a task, are there whole or not at all, with all that is theirs."""
    stop, states = told_to_stop(), set()
    with Bank.open(folder, readonly=True, wait=5) as bank:
        store = bank._store
        while not stop.is_set():
            with store.database.snapshot():
                fingerprint = store.fingerprint()
                tasks = store.by("task_id")
                count, bodies = store.count(Filters()), store.database.rows("SELECT count(*) FROM body")[0][0]
                vectors = [store.count_vectors(encoder, kind) for encoder in [store.encoder()] for kind in KINDS if encoder]
                derived = [(identity, content_id(t)) for _, identity, t in store.each(Filters(), None)]
            assert set(tasks.values()) <= {5}, tasks
            assert count == bodies == len(derived) == 5 * len(tasks) and set(vectors) <= {count}, (count, bodies, vectors, len(derived))
            assert all(one == other for one, other in derived)
            assert fingerprint == fingerprint_of(bank, [identity for identity, _ in derived])
            if fingerprint not in states:
                states.add(fingerprint)
                print("saw", fingerprint, flush=True)


def fingerprint_of(bank: Bank, ids: list[str]) -> str:
    """The fingerprint as its docstring says it is."""
    encoder = bank._store.encoder()
    text = "\0".join([f"edgexp.bank.1\0{encoder.id if encoder else ''}", *sorted(ids)])
    return "b" + hashlib.sha256(text.encode()).hexdigest()[:24]


def told_to_stop() -> threading.Event:
    """Set when standard input ends."""
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    return stop


def harm(folder: Path) -> None:
    """Every index file cut and flipped at many places: each time the same answers as ever, and for a writer the files renewed."""
    rng = random.Random(0)
    good = folder.with_name("good")
    shutil.copytree(folder, good)
    names = sorted(path.name for path in good.iterdir() if not path.name.startswith("bank.sqlite3"))
    expected = answers(folder, readonly=True)
    for name in names:
        for number, harmed in enumerate(damages((good / name).read_bytes(), rng)):
            for readonly in (True, False) if number % 3 == 0 else (True,):
                shutil.rmtree(folder)
                shutil.copytree(good, folder)
                if harmed is None:
                    (folder / name).unlink()
                else:
                    (folder / name).write_bytes(harmed)
                print("harmed", name, "readonly" if readonly else "writing", flush=True)
                assert answers(folder, readonly) == expected
                if not readonly:
                    with Bank.open(folder, WordEncoder(), readonly=True, exact_limit=100) as bank:
                        assert bank.verify() == [], bank.verify()
    print("done", len(names), flush=True)


def damages(data: bytes, rng: random.Random):  # type: ignore[no-untyped-def]
    """The file without its end, with more of an end, empty, gone, with zeroed pages, and with single bits flipped all over."""
    yield None
    for size in (0, 64, len(data) // 2, len(data) - 1, len(data) - 4096):
        yield data[: max(0, size)]
    yield data + b"\0" * 64
    yield bytes(len(data))
    places = [0, 8, 40, 64, len(data) - 1, *(rng.randrange(len(data)) for _ in range(5))]
    for place in places:
        place %= len(data)
        yield data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
    page = rng.randrange(max(1, len(data) // 4096)) * 4096
    yield data[:page] + bytes(len(data[page : page + 4096])) + data[page + 4096 :]


def answers(folder: Path, readonly: bool) -> list[object]:
    """What the bank says to some questions."""
    with Bank.open(folder, WordEncoder(), readonly=readonly, exact_limit=100) as bank:
        found = [bank.search(kind, f"put a {thing} on the bed.", 3) for kind in ("task", "course") for thing in ("mug", "egg", "book")]
        return [[(hit.id, round(hit.score, 6)) for hit in hits] for hits in found]


if __name__ == "__main__":
    Index.SMALLEST_DELTA = 4  # snapshots all the time: a kill is likely to fall into one
    what, where = sys.argv[1], Path(sys.argv[2])
    if what == "write":
        write(where, int(sys.argv[3]))
    else:
        {"read": read, "watch": watch, "harm": harm}[what](where)
