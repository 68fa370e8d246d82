"""Files on their way to workers: whole and checked, or not there; and nothing is brought that is there."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.cluster import parcels, wire
from edgexp.cluster.wire import Parcel
from edgexp.errors import EdgexpError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEXP_HOME", str(tmp_path / "home"))


def packed(folder: Path, files: dict[str, bytes]) -> Parcel:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return parcels.pack("model", folder, list(files))


def brought_from(parcel: Parcel) -> Parcel:
    """The parcel as another machine sees it, which has not the driver's folder."""
    return wire.decode(wire.encode({**wire.msgspec.to_builtins(parcel), "folder": "/nowhere"}), Parcel)


@given(st.dictionaries(st.sampled_from(["a", "b.gguf", "c.json", "d"]), st.binary(max_size=40), min_size=1), st.integers(1, 9))
def test_what_is_brought_is_the_same(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parcels, "PIECE", size)
        patch.setenv("EDGEXP_HOME", str(tmp_path_factory.mktemp("home")))
        parcel = packed(tmp_path_factory.mktemp("here"), files)
        there = brought_from(parcel)
        assert parcels.find(parcel) == Path(parcel.folder) and parcels.find(there) is None
        with parcels.Incoming(there) as incoming:
            for piece in parcels.pieces(parcel):
                assert not incoming.whole
                incoming.add(piece)
            assert incoming.whole
        found = parcels.find(there)
        assert found is not None and {path.name: path.read_bytes() for path in found.iterdir()} == files


@pytest.mark.parametrize("damage", [lambda data: data[:-1] + b"!", lambda data: data + b"!"])
def test_what_comes_damaged_is_not_taken(tmp_path: Path, damage: wire.Callable[[bytes], bytes]) -> None:
    parcel = packed(tmp_path / "here", {"a": b"one", "b": b"two"})
    there, incoming = brought_from(parcel), parcels.Incoming(brought_from(parcel))
    with pytest.raises(EdgexpError, match="a came with another content"):
        incoming.add(damage(b"one"))
    incoming.close()
    assert parcels.find(there) is None and not list(parcels.brought().glob("*"))


def test_what_came_in_part_is_gone(tmp_path: Path) -> None:
    there = brought_from(packed(tmp_path / "here", {"a": b"one", "b": b"two"}))
    with parcels.Incoming(there) as incoming:
        incoming.add(b"one")
    assert parcels.find(there) is None and not list(parcels.brought().glob("*"))


def test_a_file_that_changed_is_not_the_one_that_is_wanted(tmp_path: Path) -> None:
    parcel = packed(tmp_path / "here", {"a": b"one"})
    (tmp_path / "here" / "a").write_bytes(b"two")
    assert parcels.find(parcel) is None


@pytest.mark.parametrize("name", ["../a", "/a", "..", ".", "", "a/b", "a\\b"])
def test_a_parcel_stays_in_its_folder(name: str) -> None:
    data = {"kind": "model", "digest": "0" * 64, "folder": "/x", "files": [{"name": name, "sha256": "0" * 64, "size": 0}]}
    with pytest.raises(EdgexpError, match="name"):
        wire.decode(wire.encode(data), Parcel)


def test_copies_of_banks_are_forgotten(tmp_path: Path) -> None:
    parcel = packed(tmp_path / "here", {"a": b"one"})
    bank, model = wire.msgspec.structs.replace(parcel, kind="bank", folder="/nowhere"), brought_from(parcel)
    for one in (bank, model):
        with parcels.Incoming(one) as incoming:
            incoming.add(b"one")
    parcels.forget_banks()
    assert parcels.find(bank) and parcels.find(model)
    parcels.forget_banks((bank,))
    assert parcels.find(bank) is None and parcels.find(model)
