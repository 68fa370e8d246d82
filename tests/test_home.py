"""Files that are replaced in one step, folders that one process has at a time."""

import os
import time
from pathlib import Path

import pytest

from edgexp.errors import EdgexpError
from edgexp.home import STALE, held, sweep, write_atomic


def test_what_is_written_replaces_what_was_there_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "made" / "file.json"
    for data in (b"one", b"two"):
        write_atomic(path, data)
        assert path.read_bytes() == data and [p.name for p in path.parent.iterdir()] == ["file.json"]


def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.name == "nt", reason="permissions are another matter there")
def test_others_may_read_it_as_any_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_only_what_has_lain_for_a_day_is_swept_away(tmp_path: Path) -> None:
    for name, age in ((".work-old", STALE + 60), (".work-new", 60), ("kept", STALE + 60)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    sweep(tmp_path, ".work-*")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".work-new", "kept"]
    sweep(tmp_path / "nowhere", ".work-*")


def test_a_folder_is_held_by_one_until_it_lets_go(tmp_path: Path) -> None:
    with held(tmp_path / "new", "taken"), pytest.raises(EdgexpError, match=r"^taken$"), held(tmp_path / "new", "taken"):
        pass
    with held(tmp_path / "new", "taken"):
        pass
