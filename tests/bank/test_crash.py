"""Processes that die, disks that fill, files that rot: nothing finished is lost, nothing half done is seen, nothing crashes."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from bank_samples import WordEncoder, trajectories, trajectory

from edgexp.bank import Bank, neighbours
from edgexp.errors import EdgexpError
from edgexp.trajectory import Trajectory

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


def child(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """A process running crash_child.py."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE.parent.parent)])}
    command = [sys.executable, str(HERE / "crash_child.py"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True, **options)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no kill -9 here")
def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    """20 lives: what was reported as added is there whole, what was being added is there whole or not at all."""
    rng, path = random.Random(int(os.environ.get("EDGEXP_KILL_SEED", "0"))), tmp_path / "bank"
    added, maybe_gone = set[str](), set[str]()
    for life in range(20):
        writer = child("write", path, life)
        assert writer.stdout
        time.sleep(0.2 * rng.random())
        for _ in range(rng.randint(1, 40)):
            note(writer.stdout.readline(), added, maybe_gone)
        time.sleep(0.02 * rng.random())
        writer.send_signal(signal.SIGKILL)
        for line in writer.stdout.read().splitlines():
            note(line, added, maybe_gone)
        assert writer.wait() == -signal.SIGKILL
        with Bank.open(path, WordEncoder(), readonly=bool(life % 2)) as bank:
            held = {entry.id for entry in bank.entries()}
            assert added - maybe_gone <= held
            assert len(held - added) <= 5, "at most the batch that was being added"
            assert bank.verify() == []
            assert {hit.id for hit in bank.search("task", "a mug", 100_000)} == held
            assert {hit.id for hit in bank.search("course", "a mug", 100_000)} == held
        added = held
    assert len(added) > 100 and maybe_gone


def note(line: str, added: set[str], maybe_gone: set[str]) -> None:
    """Take in a line of the writer; the last one may be cut."""
    what, _, identity = line.strip().partition(" ")
    if len(identity) == 25:
        (added if what == "added" else maybe_gone).add(identity)


def test_two_readers_during_writes(tmp_path: Path, words: WordEncoder) -> None:
    with Bank.open(tmp_path / "bank", words) as bank:
        bank.add(trajectories(20))
        readers = [child("read", tmp_path / "bank", stdin=subprocess.PIPE) for _ in range(2)]
        time.sleep(0.5)
        for start in range(20, 420, 4):
            bank.add(trajectories(4, start))
            if start % 40 == 0:
                bank._indexes.snapshot(1)  # replaces the files the readers have mapped
    for reader in readers:
        output, _ = reader.communicate("")
        assert reader.returncode == 0
        searches, held = map(int, output.split())
        assert searches > 3 and held >= 20


def test_whoever_looks_sees_whole_states(tmp_path: Path, words: WordEncoder) -> None:
    """Two processes look while this one adds and forgets five at a time and writes files: never a half of anything."""

    def batch(number: int) -> list[Trajectory]:
        return [trajectory(number * 5 + n, task=f"batch {number}") for n in range(5)]

    with Bank.open(tmp_path / "bank", words) as bank:
        bank.add(batch(0))
        watchers = [child("watch", tmp_path / "bank", stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
        seen: list[list[str]] = [[], []]
        for lines, watcher in zip(seen, watchers, strict=True):
            threading.Thread(target=lambda lines=lines, watcher=watcher: lines.extend(watcher.stdout), daemon=True).start()
        for number in range(1, 2000):
            if min(map(len, seen)) > 8 or any(watcher.poll() is not None for watcher in watchers):
                break
            bank.add(batch(number))
            if number % 7 == 0:
                bank.forget([t.id for t in batch(number - 3)])
            if number % 20 == 0:
                bank._indexes.snapshot(1)
    for watcher in watchers:
        assert watcher.stdin and watcher.stderr
        watcher.stdin.close()
        errors = watcher.stderr.read()
        assert watcher.wait() == 0, errors[-2000:]
    assert min(map(len, seen)) > 8, "they saw several states"


def test_damaged_index_files_are_noticed_and_renewed(tmp_path: Path, words: WordEncoder) -> None:
    """In a process of its own, because USearch would take it down."""
    with Bank.open(tmp_path / "bank", words, exact_limit=100) as bank:
        bank.add(trajectories(250))
        bank._indexes.snapshot(1)
    process = child("harm", tmp_path / "bank", stderr=subprocess.PIPE)
    output, errors = process.communicate()
    last = output.splitlines()[-1]
    assert process.returncode == 0 and last == "done 8", f"{last}: {errors[-2000:]}"
    assert "instead of" in errors and "checksum" in errors, "each damage is told in one line"


def test_a_second_writer_waits_or_says_so(tmp_path: Path, words: WordEncoder) -> None:
    path = tmp_path / "bank"
    with Bank.open(path, words, wait=10) as first, Bank.open(path, words, wait=0.05) as hasty:
        first.add(trajectories(5))
        busy, done = threading.Event(), threading.Event()

        def hold() -> None:
            with Bank.open(path) as other, other._store.database.transaction():
                busy.set()
                done.wait(5)

        holder = threading.Thread(target=hold)
        holder.start()
        busy.wait(5)
        with pytest.raises(EdgexpError, match="being written by another process"):
            hasty.add(trajectories(6))
        assert len(hasty.search("task", "a mug", 9)) == 5, "reading goes on"
        threading.Timer(0.2, done.set).start()
        assert len(first.add(trajectories(7)).added) == 2, "a patient writer gets its turn"
        holder.join()
        assert first.verify() == []


def test_an_index_that_cannot_be_written_costs_nothing_but_speed(
    tmp_path: Path, words: WordEncoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with Bank.open(tmp_path / "bank", words) as bank:
        bank.add(trajectories(50))
        before = bank.search("task", "a mug", 5)
        with monkeypatch.context() as patched:
            patched.setattr(neighbours, "write_matrix", full)
            bank._indexes.snapshot(1)
        assert "No space left" in caplog.text and len(caplog.records) == 2
        assert bank.search("task", "a mug", 5) == before and bank.verify() == []
        assert not [path for path in bank.path.iterdir() if path.name.startswith(("task", "course"))]


FULL = """
import sys
from pathlib import Path
from bank_samples import WordEncoder, trajectory
from edgexp.bank import Bank
from edgexp.errors import EdgexpError
from edgexp.trajectory import Trajectory
try:
    import resource
    if sys.argv[2] == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
    bank = Bank.open(Path(sys.argv[1]), WordEncoder())
    for number in range(100_000):
        bank.add([trajectory(number)])
        print(trajectory(number).id, flush=True)
except EdgexpError as error:
    print("error", error, flush=True)
    try:
        bank.close()
    except EdgexpError:
        pass
"""


def test_a_full_disk(tmp_path: Path, words: WordEncoder) -> None:
    """The files may not grow over a limit: the episode that does not fit is one clear line, all before it are there."""
    pytest.importorskip("resource")
    path = tmp_path / "bank"
    check_full(path, words, subprocess.run([sys.executable, "-c", FULL, path, "limit"], **captured()))


def test_a_full_disk_for_real(tmp_path: Path, words: WordEncoder) -> None:
    """The same on a file system of three megabytes, where this machine lets us mount one; it goes with its process."""
    small, saved = tmp_path / "small", tmp_path / "saved"
    small.mkdir()
    script = f"mount -t tmpfs -o size=3m none {small} && {sys.executable} -c '{FULL}' {small}/bank mount; cp -r {small}/bank {saved}"
    try:
        process = subprocess.run(["unshare", "-rm", "sh", "-c", script], **captured())
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if "error" not in process.stdout:
        pytest.skip(f"mounting is not allowed here: {process.stderr[-200:]}")
    check_full(saved, words, process)


def captured() -> dict[str, Any]:
    """For subprocess.run: outputs as text, and the tests' modules on the path."""
    return {"capture_output": True, "text": True, "env": {**os.environ, "PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE.parent.parent}"}}


def check_full(path: Path, words: WordEncoder, process: "subprocess.CompletedProcess[str]") -> None:
    """What was reported as added is there and nothing else, and with room again the bank goes on."""
    *ids, error = process.stdout.splitlines()
    assert process.returncode == 0 and error.startswith("error no space left for the bank"), (error, process.stderr[-2000:])
    with Bank.open(path, words) as bank:
        assert len(ids) > 20 and {entry.id for entry in bank.entries()} == set(ids)
        assert bank.verify() == []
        assert bank.add([trajectory(10**6)]).added
