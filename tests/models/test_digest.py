"""Remembered digests: right after every change, and never in the way."""

import os

import pytest

from edgexp.models import model_files


@pytest.fixture
def reads(monkeypatch):
    """Counts how often a file is really hashed."""
    real, count = model_files.hashlib.file_digest, []
    monkeypatch.setattr(model_files.hashlib, "file_digest", lambda file, name: count.append(file.name) or real(file, name))
    return count


def test_an_unchanged_file_is_read_once(home, tmp_path, reads):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert [model_files.sha256(path), model_files.sha256(path)] == [known, known] and len(reads) == 1
    assert model_files.sha256(path, fresh=True) == known and len(reads) == 2


@pytest.mark.parametrize("change", ["bytes", "time", "replaced"])
def test_a_changed_file_is_read_again(home, tmp_path, change, reads):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    before, stat = model_files.sha256(path), path.stat()
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
    assert model_files.sha256(path) != before and len(reads) == 2


def test_a_damaged_memory_costs_time_only(home, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    before = model_files.sha256(path)
    (home / "models" / ".hashed.json").write_bytes(b'{"x": [1,')
    assert model_files.sha256(path) == before


def test_a_home_that_cannot_be_written_to_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"abc")
    monkeypatch.setenv("EDGEXP_HOME", str(tmp_path / "file" / "below"))
    assert model_files.sha256(tmp_path / "file") == model_files.sha256(tmp_path / "file")


def test_the_memory_forgets_files_that_are_gone(home, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
        model_files.sha256(tmp_path / name)
    (tmp_path / "a").unlink()
    model_files.sha256(tmp_path / "b", fresh=True)
    assert str(tmp_path / "a") not in (home / "models" / ".hashed.json").read_text()


def test_the_digest_of_several_depends_on_names_and_not_on_order():
    either = model_files.sha256_of_mapping({"a": "1", "b": "2"})
    assert either == model_files.sha256_of_mapping({"b": "2", "a": "1"}) != model_files.sha256_of_mapping({"a": "2", "b": "1"})
