"""Files that are replaced in one step, folders that are built under a working name and held by one, lines that are whole or lost."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.errors import EdgexpError
from edgexp.files import STALE, append_lines, build_folder, hold_folder, remove_stale, working_folder, write_atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# A file in one step


def test_what_is_written_replaces_what_was_there_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "made" / "file.json"
    for data in (b"one", b"two"):
        write_atomic(path, data)
        assert path.read_bytes() == data and names(path.parent) == ["file.json"]


def full(_: int) -> None:
    """Stands in for `os.fsync` on a disk that is full."""
    raise OSError(28, "No space left on device")


def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and names(tmp_path) == ["file"]


@pytest.mark.skipif(os.name == "nt", reason="permissions are another matter there")
def test_others_may_read_it_as_any_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


# Lines


def test_lines_are_added_and_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "made" / "log.jsonl", []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    append_lines(path, b"1")
    append_lines(path, b"2", b"3")
    append_lines(path)
    assert path.read_bytes() == b"1\n2\n3\n" and synced[:2] == [2, 6]


ROWS = st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=9), max_size=2), min_size=1, max_size=5)


@given(ROWS, st.integers(0), st.integers())
def test_a_torn_end_costs_its_own_line_and_no_other(tmp_path_factory: pytest.TempPathFactory, rows: list, cut: int, after: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "log.jsonl"
    append_lines(path, *(json.dumps(row).encode() for row in rows))
    whole = path.read_bytes()
    kept = whole[: cut % (len(whole) + 1)]
    path.write_bytes(kept)
    append_lines(path, json.dumps(after).encode())
    lines = path.read_bytes().split(b"\n")
    assert lines[-1] == b"" and json.loads(lines[-2]) == after, "what is added is a line of its own"
    assert [json.loads(line) for line in lines[: kept.count(b"\n")]] == rows[: kept.count(b"\n")]


def test_several_processes_add_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    code = f"import sys; from pathlib import Path; from edgexp.files import append_lines\n" \
           f"for n in range(50): append_lines(Path({str(path)!r}), (sys.argv[1] * 3000).encode())"
    children = [subprocess.Popen([sys.executable, "-c", code, letter]) for letter in "abc"]
    assert [child.wait() for child in children] == [0, 0, 0]
    lines = path.read_bytes().splitlines()
    assert sorted(lines) == sorted(letter.encode() * 3000 for letter in "abc" for _ in range(50))


# Folders


def fill(work: Path, text: str) -> None:
    for name in ("a", "b"):
        (work / name).write_text(text)


def test_a_folder_gets_its_name_when_it_is_complete(tmp_path: Path) -> None:
    final = tmp_path / "parent" / "final"
    for text in ("first", "second"):
        with build_folder(final) as work:
            fill(work, text)
            assert not final.exists() if text == "first" else (final / "a").read_text() == "first"
            assert work.parent == final.parent and work.name.startswith(".work-")
        assert names(final) == ["a", "b"] and (final / "b").read_text() == text
        assert names(final.parent) == ["final"]


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("error", [OSError(28, "full"), KeyboardInterrupt()])
def test_a_failure_leaves_the_folder_that_was_there(tmp_path: Path, there: bool, error: BaseException) -> None:
    final = tmp_path / "final"
    if there:
        with build_folder(final) as work:
            fill(work, "old")
    with pytest.raises(type(error)), build_folder(final) as work:
        fill(work, "new")
        raise error
    assert names(tmp_path) == (["final"] if there else [])
    assert not there or (final / "a").read_text() == "old"


def test_a_folder_that_cannot_take_its_name_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final, rename = tmp_path / "final", Path.rename
    with build_folder(final) as work:
        fill(work, "old")

    def refused(self: Path, target: Path) -> Path:
        if self == work:
            raise OSError(13, "Permission denied")
        return rename(self, target)

    with pytest.raises(OSError, match="denied"), build_folder(final) as work:
        fill(work, "new")
        monkeypatch.setattr(Path, "rename", refused)
    assert (final / "a").read_text() == "old" and names(tmp_path) == ["final"]


KILLED = """
import sys
from pathlib import Path
from edgexp.files import build_folder
with build_folder(Path(sys.argv[1])) as work:
    (work / "a").write_text("new")
    print("half", flush=True)
    sys.stdin.read()
    (work / "b").write_text("new")
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are another matter there")
@pytest.mark.parametrize("there", [False, True])
def test_a_kill_in_the_middle_leaves_nothing_under_the_final_name(tmp_path: Path, there: bool) -> None:
    final = tmp_path / "final"
    if there:
        with build_folder(final) as work:
            fill(work, "old")
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(final)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout and child.stdout.readline() == b"half\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert final.exists() == there and (not there or (final / "b").read_text() == "old")
    (left,) = tmp_path.glob(".work-*")
    os.utime(left, (time.time() - STALE - 60,) * 2)
    with build_folder(final) as work:
        fill(work, "new")
    assert names(tmp_path) == ["final"] and (final / "b").read_text() == "new"


def test_a_working_folder_is_gone_afterwards(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="oops"), working_folder(tmp_path / "made", "export") as work:
        fill(work, "x")
        assert names(tmp_path / "made") == [work.name] and work.name.startswith(".export-")
        raise ValueError("oops")
    assert not (tmp_path / "made").exists(), "what was made for it alone"
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError), working_folder(tmp_path / "file", "export"):
        pass


def test_only_what_has_lain_for_a_day_is_removed(tmp_path: Path) -> None:
    for name, age in ((".work-old", STALE + 60), (".work-new", 60), ("kept", STALE + 60)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    remove_stale(tmp_path, ".work-*")
    assert names(tmp_path) == [".work-new", "kept"]
    remove_stale(tmp_path / "nowhere", ".work-*")


def test_a_folder_is_held_by_one_until_it_lets_go(tmp_path: Path) -> None:
    with hold_folder(tmp_path / "new", "taken"), pytest.raises(EdgexpError, match=r"^taken$"), hold_folder(tmp_path / "new", "taken"):
        pass
    with hold_folder(tmp_path / "new", "taken"):
        pass
