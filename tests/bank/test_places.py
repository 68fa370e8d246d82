"""Banks in bad places and bad company: many processes at once, a kill while the bank is made, folders that may not be written, drives
without locks, names that are not UTF-8.

`EDGEXP_FUZZ_ROUNDS=30` lets the processes live for minutes rather than for moments; see `fuzzing.py`.
"""

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from bank_samples import WordEncoder, trajectories, trajectory
from fuzzing import LONG, ROUNDS
from read_only import unwritable

from edgexp.bank import Bank, neighbours, task_text
from edgexp.bank.bank import FILE
from edgexp.bank.neighbours import Graph, Matrix
from edgexp.bank.schema import CannotWrite
from edgexp.errors import EdgexpError

fcntl = pytest.importorskip("fcntl")  # places are another matter on Windows

HERE = Path(__file__).parent


def child(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE.parent.parent)])}
    command = [sys.executable, str(HERE / "places_child.py"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True, **options)


@pytest.fixture(autouse=True)
def everybodys_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir(mode=0o777)
    (tmp_path / "tmp").chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


# Company


@pytest.mark.slow
def test_many_processes_live_on_one_bank(tmp_path: Path) -> None:
    number, seconds = 7 if LONG else 4, 4.0 * ROUNDS
    children = [child("live", tmp_path / "bank", seed, seconds, stderr=subprocess.PIPE) for seed in range(number)]
    for one in children:
        output, errors = one.communicate()
        assert one.returncode == 0 and output.startswith("done"), errors[-3000:]
        assert "Traceback" not in errors
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank:
        assert bank.verify() == []


@pytest.mark.parametrize("times", [1, 4, 1000])
def test_a_file_that_vanishes_between_choosing_and_mapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """As often as it happens: then there is a newer one, or the database is searched."""
    with Bank.open(tmp_path / "bank", WordEncoder(), exact_limit=50) as bank:
        bank.add(trajectories(200))
        bank._indexes.snapshot(1)
    maps, left = {Matrix: Matrix.map, Graph: Graph.map}, dict.fromkeys((Matrix, Graph), times)

    def vanishing(kind: Any) -> Any:
        def map_file(path: Path, seal: Any) -> Any:
            if left[kind]:
                left[kind] -= 1
                hidden = path.with_name(path.name + ".hidden")
                path.rename(hidden)
                try:
                    return maps[kind](path, seal)
                finally:
                    hidden.rename(path)
            return maps[kind](path, seal)

        return staticmethod(map_file)

    monkeypatch.setattr(Matrix, "map", vanishing(Matrix))
    monkeypatch.setattr(Graph, "map", vanishing(Graph))
    with Bank.open(tmp_path / "bank", WordEncoder(), readonly=True, exact_limit=50) as bank:
        text = task_text(trajectory(42).goal, trajectory(42).observation)
        assert bank.search("task", text, 3)[0].id == trajectory(42).id
        index = bank._indexes.all()[0]
        assert (index.mapped == 200) == (times < 5) and not index.problems
    assert left[Matrix] < times


def test_an_old_graph_that_vanishes_is_made_anew(tmp_path: Path) -> None:
    with Bank.open(tmp_path / "bank", WordEncoder(), exact_limit=50) as bank:
        bank.add(trajectories(100))
        bank._indexes.snapshot(1)
        index = bank._indexes.all()[0]
        seal = index._shelf.newest("graph", neighbours.graph_library())[0]
        assert seal
        gone = (tmp_path / "gone", seal[1])
        assert neighbours.write_graph(tmp_path / "new", index._matrix, gone).count == 100


@pytest.mark.parametrize("moment", ["before", "half-written", "after"])
def test_what_is_forgotten_while_another_writes_a_file_is_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    gone, write = trajectory(3).id, neighbours.write_matrix
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank, Bank.open(tmp_path / "bank", WordEncoder(), wait=0.1) as other:
        bank.add(trajectories(30))

        def interrupted(path: Path, found: Any) -> Any:
            monkeypatch.setattr(neighbours, "write_matrix", write)
            if moment == "before":  # what is written was read before
                other.forget([gone])
            filled = write(path, found)
            if moment == "half-written":
                other.forget([gone])
            return filled

        index = bank._indexes.all()[0]
        monkeypatch.setattr(neighbours, "write_matrix", interrupted)
        index.snapshot()
        if moment == "after":
            other.forget([gone])
        assert not list(bank.path.glob("*.vectors*"))
        index.remap()
        assert index.mapped == 0 and len(bank.search("task", "a mug", 100)) == 29 and bank.verify() == []


def test_half_written_files_go_when_something_is_forgotten(tmp_path: Path) -> None:
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank:
        bank.add(trajectories(5))
        for kind in ("task", "course"):
            (bank.path / f"{kind}-1.vectors.partial").write_bytes(b"may hold what is forgotten")
            (bank.path / f"{kind}-1.vectors.partial.0badcafe-1-00000000").write_bytes(b"may hold what is forgotten")
        (bank.path / ".gitignore").write_text("*")
        bank.forget([trajectory(1).id])
        assert sorted(path.name for path in bank.path.iterdir() if not path.name.startswith(FILE)) == [".gitignore"]


# Beginnings


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no kill -9 here")
def test_killed_while_it_is_made(tmp_path: Path) -> None:
    """A process that forks one child a try, so that kills fall into the making and not into imports."""
    code = f"""
import os, sys, signal, time, random
from pathlib import Path
from bank_samples import WordEncoder, trajectory
from edgexp.bank import Bank
rng = random.Random(0)
states = set()
for life in range({50 * ROUNDS}):
    path = Path({str(tmp_path)!r}) / f"bank{{life}}"
    pid = os.fork()
    if not pid:
        Bank.open(path, WordEncoder()).close()
        os._exit(0)
    time.sleep(0.012 * rng.random())
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    states.add(tuple(sorted((f.name, f.stat().st_size) for f in path.iterdir())) if path.exists() else None)
    if (path / "bank.sqlite3").exists() and life % 2:
        with Bank.open(path, WordEncoder(), readonly=True) as bank:
            assert bank.entries() == [] and bank.verify() == []
    with Bank.open(path, WordEncoder()) as bank:
        assert bank.add([trajectory(1)]).added and bank.verify() == []
print("states", len(states))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE.parent.parent)])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[1]) > 2, "the kills fell into different moments"


def blank(folder: Path, log: bool) -> Path:
    """What a kill right after the file, or right after its log, leaves."""
    folder.mkdir()
    connection = sqlite3.connect(folder / FILE)
    if log:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    (folder / FILE).touch()
    return folder


@pytest.mark.parametrize("log", [False, True])
def test_a_reader_finishes_what_was_begun(tmp_path: Path, log: bool) -> None:
    with Bank.open(blank(tmp_path / "bank", log), readonly=True) as bank:
        assert bank.entries() == [] and bank.count() == 0
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank:
        assert bank.add([trajectory(1)]).added


@pytest.mark.parametrize("log", [False, True])
def test_where_it_cannot_be_finished_there_is_no_bank(tmp_path: Path, log: bool) -> None:
    path = blank(tmp_path / "bank", log)
    with unwritable(path), pytest.raises(EdgexpError, match="no bank at"):
        Bank.open(path, readonly=True)


# Places


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A bank of 300, closed."""
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank:
        bank.add(trajectories(300))
    return tmp_path / "bank"


def check_read(path: Path, count: int = 300) -> None:
    with Bank.open(path, WordEncoder(), readonly=True) as bank:
        assert bank.count() == count and bank.verify() == []
        assert bank.search("task", task_text(trajectory(42).goal, trajectory(42).observation), 3)[0].id == trajectory(42).id
        assert len(list(bank.export())) == count and bank.stats().trajectories == count
        with pytest.raises(EdgexpError, match="for reading only"):
            bank.forget([trajectory(1).id])


def test_a_bank_that_may_not_be_written_is_read(closed: Path) -> None:
    with unwritable(closed):
        before = sorted(closed.iterdir())
        check_read(closed)
        assert sorted(closed.iterdir()) == before
        with pytest.raises(CannotWrite, match="may not be written"):
            Bank.open(closed, WordEncoder())
        bank = Bank.open_to_play(closed, WordEncoder())
        assert bank and bank.readonly and len(bank.search("task", "a mug", 3)) == 3
        bank.close()
        assert Bank.open_to_play(closed / "no" / "bank", WordEncoder()) is None


def test_a_file_that_may_not_be_written_in_a_folder_that_may(closed: Path) -> None:
    with unwritable(closed):
        closed_file = closed / FILE
        with pytest.raises(CannotWrite):
            Bank.open(closed, WordEncoder())
        assert closed_file.exists()


@pytest.mark.parametrize("shared", [True, False])
def test_what_a_killed_writer_left_in_its_log_is_read_too(tmp_path: Path, shared: bool) -> None:
    """A copy of a bank that is open, as a kill or a backup leaves it; with and without the memory that readers share."""
    with Bank.open(tmp_path / "open", WordEncoder()) as bank:
        bank.add(trajectories(300))
        bank._store.database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        bank.add([trajectory(300)])
        shutil.copytree(tmp_path / "open", tmp_path / "bank")
    assert (tmp_path / "bank" / f"{FILE}-wal").stat().st_size
    if not shared:
        (tmp_path / "bank" / f"{FILE}-shm").unlink()
    with unwritable(tmp_path / "bank"):
        check_read(tmp_path / "bank", 301)
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank:
        assert bank.count() == 301


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_drive_without_locks_is_told_as_such(closed: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """SQLite calls both "busy"."""
    with Bank.open(closed, WordEncoder()) as first, Bank.open(closed, WordEncoder(), wait=0.01) as second:
        with first._store.database.transaction():
            with pytest.raises(EdgexpError, match="being written by another process"):
                second.add([trajectory(999)])

            def refused(*_: object) -> None:
                raise OSError(number, os.strerror(number))

            monkeypatch.setattr(fcntl, "lockf", refused)
            with pytest.raises(EdgexpError, match="files cannot be locked here") as caught:
                second.add([trajectory(999)])
        assert "another process" not in str(caught.value)
    assert not list(closed.glob(".lock*"))


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="file systems there know Unicode names only")
def test_a_name_that_is_not_utf_8_works_and_can_be_shown(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9")
    with Bank.open(path, WordEncoder()) as bank:
        bank.add(trajectories(300))
    check_read(path)
    with Bank.open(path) as bank:
        assert "caf\\xe9" in bank.stats().path
        bank.stats().path.encode()
    for call in (lambda: Bank.open(path / "no", readonly=True), lambda: Bank.open(path / FILE)):
        with pytest.raises(EdgexpError) as caught:
            call()
        str(caught.value).encode()
