"""Remembered digests: right after every change, and never in the way."""

import os

import pytest

from edgexp.models import store


@pytest.fixture
def reads(monkeypatch):
    """Counts how often a file is really hashed."""
    real, count = store.hashlib.file_digest, []
    monkeypatch.setattr(store.hashlib, "file_digest", lambda file, name: count.append(file.name) or real(file, name))
    return count


def test_an_unchanged_file_is_read_once(home, tmp_path, reads):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert [store.sha256(path), store.sha256(path)] == [known, known] and len(reads) == 1
    assert store.sha256(path, fresh=True) == known and len(reads) == 2


@pytest.mark.parametrize("change", ["bytes", "time", "replaced"])
def test_a_changed_file_is_read_again(home, tmp_path, change, reads):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    before, stat = store.sha256(path), path.stat()
    if change == "bytes":
        path.write_bytes(b"abcd")
    elif change == "time":
        path.write_bytes(b"abd")
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    else:  # same size, same time, another file
        other = tmp_path / "other"
        other.write_bytes(b"abd")
        os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        other.replace(path)
    assert store.sha256(path) != before and len(reads) == 2


def test_a_damaged_memory_costs_time_only(home, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    before = store.sha256(path)
    (home / "models" / ".hashed.json").write_bytes(b'{"x": [1,')
    assert store.sha256(path) == before


def test_a_home_that_cannot_be_written_to_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"abc")
    monkeypatch.setenv("EDGEXP_HOME", str(tmp_path / "file" / "below"))
    assert store.sha256(tmp_path / "file") == store.sha256(tmp_path / "file")


def test_the_memory_forgets_files_that_are_gone(home, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
        store.sha256(tmp_path / name)
    (tmp_path / "a").unlink()
    store.sha256(tmp_path / "b", fresh=True)
    assert str(tmp_path / "a") not in (home / "models" / ".hashed.json").read_text()


def test_the_digest_of_several_depends_on_names_and_not_on_order():
    either = store.sha256_of_mapping({"a": "1", "b": "2"})
    assert either == store.sha256_of_mapping({"b": "2", "a": "1"}) != store.sha256_of_mapping({"a": "2", "b": "1"})
