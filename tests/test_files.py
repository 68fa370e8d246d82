"""Files that are replaced in one step, folders that are built under a working name and held by one, lines that are whole or lost."""

import io
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

from edgexp import files
from edgexp.errors import EdgexpError
from edgexp.files import (
    STALE,
    append_lines,
    build_folder,
    decode_text,
    hold_folder,
    owned_name,
    read_cache,
    remove_stale,
    shown,
    text_lines,
    whole_file,
    working_folder,
    write_atomic,
    write_cache,
)


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
    assert len(list(tmp_path.glob(".work-*"))) == 1
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


# What killed processes leave


def test_what_a_process_left_goes_as_soon_as_it_is_gone(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    mine, gone = owned_name(".work-"), owned_name(".work-").replace(f"-{os.getpid()}-", f"-{child.pid}-")
    elsewhere = gone.replace(files._machine(), "0badcafe")
    for name in (mine, gone, elsewhere):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_bytes(b"may hold what was forgotten")
    (tmp_path / gone.replace("work", "work-file")).write_bytes(b"")
    (tmp_path / ".work-link").symlink_to(tmp_path / mine, target_is_directory=True)
    remove_stale(tmp_path, ".work-*")
    assert names(tmp_path) == sorted([mine, elsewhere, ".work-link"]), "of other machines and containers nobody here knows"
    assert names(tmp_path / mine) == ["part"]


@pytest.mark.skipif(os.name == "nt", reason="signals are another matter there")
def test_a_file_half_written_goes_with_the_next(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from edgexp.files import whole_file\n" \
           "with whole_file(Path(sys.argv[1])) as file: file.write(b'half'); file.flush(); print('half', flush=True); sys.stdin.read()"
    path = tmp_path / "file[1].json"
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout and child.stdout.readline() == b"half\n"
    write_atomic(path, b"other")
    assert len(names(tmp_path)) == 2, "one that is being written stays"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    write_atomic(path, b"new")
    assert names(tmp_path) == [path.name] and path.read_bytes() == b"new"


def test_folders_made_in_vain_go_again(tmp_path: Path) -> None:
    with pytest.raises(ValueError), working_folder(tmp_path / "a" / "b" / "c", "export"):
        raise ValueError
    assert names(tmp_path) == []
    (tmp_path / "a").mkdir()
    with working_folder(tmp_path / "a" / "b", "export"):
        (tmp_path / "a" / "b" / "made").write_text("")
    assert names(tmp_path / "a" / "b") == ["made"]
    with pytest.raises(ValueError), build_folder(tmp_path / "x" / "final"):
        raise ValueError
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("name", ["flock", "lockf"])
@pytest.mark.parametrize("number", sorted(files.NO_LOCKS))
def test_where_there_are_no_locks_it_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, name, refused)
    if name == "flock":
        with pytest.raises(EdgexpError, match="files cannot be locked here"), hold_folder(tmp_path / "new", "another process"):
            pass
    else:
        assert "files cannot be locked here" in files.find_lock_trouble(tmp_path)
        monkeypatch.undo()
        assert files.find_lock_trouble(tmp_path) == "" and names(tmp_path) == []


def test_a_folder_that_cannot_be_held_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgexpError, match="cannot be written to"), hold_folder(tmp_path / "file", "taken"):
        pass


# Caches


TROUBLE = [OSError(5, "I/O error"), ValueError("x"), RecursionError(), MemoryError(), UnicodeDecodeError("a", b"", 0, 0, "")]


@pytest.mark.parametrize("error", TROUBLE)
def test_a_cache_is_what_can_be_read_of_it(tmp_path: Path, error: Exception) -> None:
    def decode(data: bytes) -> int:
        if data == b"bad":
            raise error
        return int(data)

    path = tmp_path / "cache"
    assert read_cache(path, decode) is None
    assert write_cache(path, b"5") and read_cache(path, decode) == 5
    assert write_cache(path, b"bad") and read_cache(path, decode) is None
    assert read_cache(tmp_path, decode) is None and read_cache(path / "in a file", decode) is None
    assert not write_cache(path / "in a file", b"5") and not write_cache(tmp_path, b"5") and not write_cache(tmp_path / "a\0b", b"5")
    assert names(tmp_path) == ["cache"]


def test_a_full_disk_costs_a_cache_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cache(tmp_path / "cache", b"old")
    monkeypatch.setattr(os, "fsync", full)
    assert not write_cache(tmp_path / "cache", b"new")
    assert (tmp_path / "cache").read_bytes() == b"old" and names(tmp_path) == ["cache"]


# Text that people bring

UNICODE = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


@pytest.mark.parametrize("encoding", UNICODE)
@pytest.mark.parametrize("text", ["a = 'Straße ✓ 😀'\n", "", "x", '{"a": "ß"}\r\n{"b": 1}\n\n'])
def test_text_is_read_in_whatever_unicode(encoding: str, text: str) -> None:
    data = text.encode(encoding)
    assert decode_text(data, "file") == text
    lines = b"".join(line if line.endswith(b"\n") else line + b"\n" for line in text_lines(io.BytesIO(data), "file"))
    assert lines.decode().split() == text.split()


@given(st.text(st.characters(exclude_categories=("Cs",))), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
def test_text_with_a_mark_or_in_utf_8_is_read_as_it_was_written(text: str, encoding: str) -> None:
    if encoding == "utf-8":
        text = "a" + text  # a file of zero bytes and the like is anybody's guess
        if text[1:2] == "\0":
            text = "aa" + text
    assert decode_text(text.encode(encoding), "file") == text


@given(st.binary())
def test_any_bytes_are_text_or_one_line(data: bytes) -> None:
    try:
        assert decode_text(data, "file") is not None
        list(text_lines(io.BytesIO(data), "file"))
    except EdgexpError as error:
        assert str(error).startswith("file: is not text") and "\n" not in str(error)


@pytest.mark.skipif(os.name == "nt", reason="names are another matter there")
@given(st.binary(min_size=1))
def test_any_path_can_be_shown(name: bytes) -> None:
    assert shown(os.fsdecode(name)).encode()
    assert shown(Path("/home/ü/x")) == "/home/ü/x"


def test_a_file_to_fill_is_there_when_it_is_full(tmp_path: Path) -> None:
    with whole_file(tmp_path / "file") as file:
        file.write(b"whole")
        assert not (tmp_path / "file").exists()
    assert (tmp_path / "file").read_bytes() == b"whole" and names(tmp_path) == ["file"]
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "no" / "file"):
        pass
