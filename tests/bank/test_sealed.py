"""Sealed index files: how they appear and go away, and that no damage to one is overlooked."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.bank import sealed
from edgexp.bank.neighbours import Matrix, matrix_size, write_matrix
from edgexp.bank.sealed import Filled, Seal, Shelf, checksum, mapped

COUNT, DIMENSIONS = 300, 16


def id_of(row: int) -> str | None:
    """The trajectory of a row, in a database that has rows 1 to 300."""
    return f"t{row}" if 1 <= row <= COUNT else None


def make_shelf(folder: Path, **other: object) -> Shelf:
    """A shelf of task vectors; any of what it belongs to can be another."""
    belongs = {"bank": "b1", "encoder": "e1", "kind": "task", "dimensions": DIMENSIONS, "id_of_row": id_of, **other}
    return Shelf(folder, **belongs)  # type: ignore[arg-type]


def fill(path: Path) -> Filled:
    """Three hundred unit vectors."""
    vectors = np.random.default_rng(0).normal(size=(COUNT, DIMENSIONS))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    return write_matrix(path, [(np.arange(1, COUNT + 1), unit)])


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A shelf with one sealed file."""
    made = make_shelf(tmp_path)
    made.publish("vectors", "", fill)
    return made


def data_file(folder: Path) -> Path:
    """The one data file of a folder."""
    (path,) = folder.glob("*.vectors")
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_published_is_the_newest_and_whole(shelf: Shelf, tmp_path: Path) -> None:
    found, problems = shelf.newest("vectors", "")
    assert found and problems == []
    path, seal = found
    assert (seal.count, seal.last_row, seal.last_id, seal.size) == (COUNT, COUNT, "t300", path.stat().st_size)
    assert names(tmp_path) == [path.name, f"{path.name}.json"] and shelf.latest("vectors") == path.name
    assert len(Matrix.map(path, seal)) == COUNT


def test_a_newer_file_takes_the_place_of_the_older(shelf: Shelf, tmp_path: Path) -> None:
    before = data_file(tmp_path)
    shelf.publish("vectors", "", fill)
    after = data_file(tmp_path)
    assert after.name > before.name and not before.exists() and len(names(tmp_path)) == 2


def test_a_file_that_is_mapped_outlives_its_name(shelf: Shelf, tmp_path: Path) -> None:
    """A reader that has the old file mapped goes on reading it: files are removed, never overwritten."""
    if os.name == "nt":
        pytest.skip("a mapped file cannot be removed there, and is another time")
    path = data_file(tmp_path)
    data = mapped(path)
    before = checksum(data)
    shelf.publish("vectors", "", fill)
    assert not path.exists() and checksum(data) == before


@pytest.mark.parametrize("content", ["vectors", "graph"])
def test_each_content_is_kept_apart(tmp_path: Path, content: str) -> None:
    shelf = make_shelf(tmp_path)
    shelf.publish("vectors", "", fill)
    shelf.publish("graph", "library 1", fill)
    assert len(names(tmp_path)) == 4
    shelf.discard(content)  # type: ignore[arg-type]
    other = "graph" if content == "vectors" else "vectors"
    assert {name.split(".")[1] for name in names(tmp_path)} == {other}
    assert shelf.newest(content, "") == (None, []) and shelf.latest(content) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"bank": "b2"}, "another bank"),
        ({"encoder": "e2"}, "another bank, encoder"),
        ({"dimensions": 17}, "another bank, encoder"),
        ({"id_of_row": lambda row: f"u{row}"}, "this state of the database"),
        ({"id_of_row": lambda row: None}, "this state of the database"),
    ],
)
def test_a_file_that_belongs_elsewhere_is_not_trusted(shelf: Shelf, tmp_path: Path, other: dict[str, object], said: str) -> None:
    found, problems = make_shelf(tmp_path, **other).newest("vectors", "")
    assert found is None and len(problems) == 1 and said in problems[0] and str(data_file(tmp_path)) in problems[0]


def test_a_file_of_another_library_is_not_trusted(tmp_path: Path) -> None:
    shelf = make_shelf(tmp_path)
    shelf.publish("graph", "library 1", fill)
    assert shelf.newest("graph", "library 2")[0] is None and shelf.newest("graph", "library 1")[0]


def test_kinds_of_keys_do_not_see_each_other(shelf: Shelf, tmp_path: Path) -> None:
    course = make_shelf(tmp_path, kind="course")
    assert course.newest("vectors", "") == (None, [])
    course.publish("vectors", "", fill)
    course.discard("vectors")
    assert shelf.newest("vectors", "")[0]


def test_one_changed_byte_anywhere_is_noticed(tmp_path: Path) -> None:
    """Every byte of the file, in memory: each page, the padding, and the rows behind the vectors."""
    fill(tmp_path / "file")
    data = np.array(mapped(tmp_path / "file"))
    good = checksum(data)
    for place in range(len(data)):
        data[place] ^= 1 << place % 8
        assert checksum(data) != good, place
        data[place] ^= 1 << place % 8
    assert checksum(data) == good


@pytest.mark.parametrize("region", range(0, COUNT * (2 * DIMENSIONS + 8), 512))
@pytest.mark.parametrize("harm", ["zeroed", "inverted", "cut out", "doubled"])
def test_every_damaged_region_is_noticed_by_the_shelf(shelf: Shelf, tmp_path: Path, region: int, harm: str) -> None:
    path = data_file(tmp_path)
    data = path.read_bytes()
    part = data[region : region + 512]
    other = {"zeroed": bytes(len(part)), "inverted": bytes(255 - byte for byte in part), "cut out": b"", "doubled": part * 2}[harm]
    path.write_bytes(data[:region] + other + data[region + 512 :])
    found, problems = shelf.newest("vectors", "", matrix_size)
    assert found is None and len(problems) == 1 and ("checksum" in problems[0] or "bytes instead of" in problems[0])


def test_no_damage_to_a_sidecar_gets_through(shelf: Shelf, tmp_path: Path) -> None:
    """Each byte of it changed in two ways: the file is passed over, unless the seal still says exactly the same."""
    sidecar = data_file(tmp_path).with_name(data_file(tmp_path).name + ".json")
    good, (found, _) = sidecar.read_bytes(), shelf.newest("vectors", "", matrix_size)
    assert found
    through = 0
    for place in range(len(good)):
        for flip in (1, 8):
            sidecar.write_bytes(good[:place] + bytes([good[place] ^ flip]) + good[place + 1 :])
            again, problems = shelf.newest("vectors", "", matrix_size)
            assert (again is None and len(problems) == 1) or again == found, good[max(0, place - 20) : place + 5]
            through += again is not None
    assert through < 0.1 * len(good)


@pytest.mark.parametrize("length", [0, 1, 40])
def test_a_sidecar_that_was_cut_is_one_line(shelf: Shelf, tmp_path: Path, length: int) -> None:
    sidecar = data_file(tmp_path).with_name(data_file(tmp_path).name + ".json")
    sidecar.write_bytes(sidecar.read_bytes()[:length])
    found, problems = shelf.newest("vectors", "")
    assert found is None and len(problems) == 1 and "\n" not in problems[0]


def test_a_sidecar_of_a_file_that_is_gone_is_passed_over(shelf: Shelf, tmp_path: Path) -> None:
    data_file(tmp_path).unlink()
    assert shelf.newest("vectors", "") == (None, [])


def test_behind_a_damaged_file_an_older_one_is_found(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = data_file(tmp_path)
    monkeypatch.setattr(Shelf, "discard", lambda *_, **__: None)  # as where the old one could not be deleted
    shelf.publish("vectors", "", fill)
    new = max(tmp_path.glob("*.vectors"))
    assert new != old
    new.write_bytes(b"rubbish")
    found, problems = shelf.newest("vectors", "")
    assert found and found[0] == old and len(problems) == 1 and new.name in problems[0]


@pytest.mark.parametrize("moment", ["writing", "sealing", "naming"])
def test_a_write_that_fails_leaves_everything_as_it_was(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    before = names(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def half(path: Path) -> Filled:
        path.write_bytes(b"half of it")
        return full()  # type: ignore[return-value]

    if moment == "sealing":
        monkeypatch.setattr(sealed, "checksum", full)
    if moment == "naming":
        monkeypatch.setattr(sealed, "write_atomic", full)
    with pytest.raises(OSError, match="No space"):
        shelf.publish("vectors", "", half if moment == "writing" else fill)
    monkeypatch.undo()
    assert names(tmp_path) == before and shelf.newest("vectors", "")[0]


def test_what_dead_processes_left_half_written_goes_after_an_hour(shelf: Shelf, tmp_path: Path) -> None:
    for name, age in (("task-1.vectors.partial", 2 * 3600), (".task-1.vectors.json.x", 2 * 3600), ("task-2.vectors.partial", 60)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    (tmp_path / "course-1.vectors.partial").write_bytes(b"another kind's")
    shelf.publish("vectors", "", fill)
    left = [name for name in names(tmp_path) if not name.startswith("task-0")]
    assert [name for name in left if "partial" in name or name.startswith(".")] == ["course-1.vectors.partial", "task-2.vectors.partial"]


def test_the_seal_on_disk_is_plain_json(shelf: Shelf, tmp_path: Path) -> None:
    text = data_file(tmp_path).with_name(data_file(tmp_path).name + ".json").read_text("utf-8")
    assert msgspec.json.decode(text, type=Seal).kind == "task" and '"count": 300' in text


@given(st.binary(max_size=20_000), st.data())
def test_a_checksum_is_of_every_byte_and_of_the_length(content: bytes, data: st.DataObject) -> None:
    array = np.frombuffer(content, np.uint8)
    good = checksum(array)
    assert checksum(np.frombuffer(content, np.uint8)) == good
    assert checksum(np.frombuffer(content + b"\0", np.uint8)) != good
    if content:
        place, flip = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(1, 255))
        changed = array.copy()
        changed[place] ^= flip
        assert checksum(changed) != good


@pytest.mark.parametrize("make", [lambda path: path.write_bytes(b""), lambda path: None], ids=["empty", "gone"])
def test_what_cannot_be_mapped_is_an_oserror(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "file")
    with pytest.raises(OSError):
        mapped(tmp_path / "file")
