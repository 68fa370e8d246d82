"""Caches that are damaged, cut short, of another type, gone, or may not be written: every one is made anew or done without."""

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgexp.engine import tuning
from edgexp.engine.native import Tuning
from edgexp.errors import EdgexpError
from edgexp.models import derive, model_files
from edgexp.models.manifest import Manifest
from edgexp.models.model_files import sha256

BROKEN = [b"", b"{", b"null", b"[]", b"5", b'"text"', b"\xff\xfe", b"\0" * 64, b'{"a": null}', b'{"a": [1, 2, 3, 4]}', b"[" * 200_000,
          b'{"a":' * 100_000, '{"a": 1}'.encode("utf-16"), b'{"\xff": 1}', b'{"\\ud800": 1}', b'{"a": 1e999}']  # fmt: skip
MEASURED = Tuning(1, 1, {"OMP_WAIT_POLICY": "PASSIVE"}, True, 10.0, 100.0)


def flips(data: bytes, count: int) -> Iterator[bytes]:
    """The data with one bit flipped, at so many places."""
    rng = random.Random(0)
    for place in range(len(data)) if count >= len(data) else sorted(rng.sample(range(len(data)), count)):
        yield data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


@pytest.mark.parametrize("data", BROKEN)
def test_hashes_are_computed_again(home: Path, tiny_gguf: Path, data: bytes) -> None:
    true = sha256(tiny_gguf)
    (home / "models" / ".hashed.json").write_bytes(data)
    assert sha256(tiny_gguf) == true
    assert str(tiny_gguf) in (home / "models" / ".hashed.json").read_text("utf-8"), "and noted again"


def test_no_flipped_bit_changes_what_a_file_is(home: Path, tiny_gguf: Path) -> None:
    true, file = sha256(tiny_gguf), home / "models" / ".hashed.json"
    good = file.read_bytes()
    for data in flips(good, 60):
        file.write_bytes(data)
        assert sha256(tiny_gguf) == true


def test_one_damaged_entry_costs_no_other(home: Path, tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, file = tmp_path / "other", home / "models" / ".hashed.json"
    other.write_bytes(b"x")
    sha256(tiny_gguf), sha256(other)
    table = json.loads(file.read_bytes())
    table[str(other)] = "rubbish"
    table["a\0b"] = table[str(tiny_gguf)]
    file.write_text(json.dumps(table))
    monkeypatch.setattr(model_files, "_note", lambda *_: pytest.fail("was hashed again"))
    assert sha256(tiny_gguf)


@pytest.mark.skipif(os.name == "nt", reason="names are another matter there")
def test_a_name_that_is_not_utf_8_is_remembered(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.gguf")
    path.write_bytes(b"x")
    digest = sha256(path)
    monkeypatch.setattr(model_files, "_note", lambda *_: pytest.fail("was hashed again"))
    assert sha256(path) == digest


@pytest.fixture
def measured(home: Path, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Tuning]:
    """What is remembered of a model, or measured, which is told apart by a note."""
    monkeypatch.setattr(tuning, "measure", lambda _: msgspec.structs.replace(MEASURED, notes=("measured",)))
    return lambda: tuning.for_model(tiny_gguf)


@pytest.mark.parametrize("data", BROKEN)
def test_it_is_measured_again(home: Path, measured: Callable[[], Tuning], data: bytes) -> None:
    (home / "machine.json").write_bytes(data)
    assert measured().notes == ("measured",)
    assert msgspec.json.decode((home / "machine.json").read_bytes(), type=dict[str, Tuning]), "and remembered"


def test_no_flipped_bit_makes_an_impossible_tuning(home: Path, measured: Callable[[], Tuning]) -> None:
    measured()
    good = (home / "machine.json").read_bytes()
    for data in flips(good, 60):
        (home / "machine.json").write_bytes(data)
        found = measured()
        assert 1 <= found.threads <= 16 and 1 <= found.threads_batch <= 16
        assert found.environment.keys() <= {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}


IMPOSSIBLE: list[dict[str, object]] = [{"threads": 10**9}, {"threads": 0}, {"threads": -1}, {"threads": None}, {"threads_batch": 2**70},
                                       {"environment": {"PATH": "x"}}, {"environment": {"OMP_WAIT_POLICY": "a\0b"}}]  # fmt: skip


@pytest.mark.parametrize("change", IMPOSSIBLE)
def test_what_no_measurement_gives_is_measured_again(home: Path, measured: Callable[[], Tuning], change: dict[str, object]) -> None:
    measured()
    file = home / "machine.json"
    table = json.loads(file.read_bytes())
    file.write_text(json.dumps({key: {**entry, "notes": [], **change} for key, entry in table.items()}))
    assert measured().notes == ("measured",)


def test_a_home_that_cannot_be_written_is_slower_and_no_more(home: Path, measured: Callable[[], Tuning], tiny_gguf: Path) -> None:
    (home / "machine.json").mkdir()
    (home / "models" / ".hashed.json").mkdir()
    assert measured().notes == ("measured",) and len(sha256(tiny_gguf)) == 64
    tuning.forget(tiny_gguf)


MADE = {"fingerprint": "f", "sources": {"tiny.gguf": "0" * 64}, "files": {"toy.Q8_0.gguf": "1" * 64}, "tools": {}}


@pytest.fixture
def manifest(declare: Callable[..., Manifest], tiny_gguf: Path) -> Manifest:
    """A model that is made from a file on this machine."""
    return declare(f'[derive]\nkind = "requantise"\ntype = "q8_0"\n[[source]]\nkind = "local"\npath = "{tiny_gguf.parent}"\n'
                   '[[source.file]]\npath = "tiny.gguf"')


NO_FILES: list[object] = [{}, [], {"../x": "1"}, {"a\0b": "1"}]


@pytest.mark.parametrize("data", [*BROKEN, *(json.dumps({**MADE, "files": names}).encode() for names in NO_FILES)])
def test_what_was_made_is_made_again(manifest: Manifest, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    ready = model_files.folder("toy") / "ready"
    ready.mkdir(parents=True)
    (ready / "made.json").write_bytes(data)
    monkeypatch.setattr(derive, "_run", lambda job: make(Path(job.out), job.fingerprint, job.sources))
    assert derive.peek(manifest) is None
    path, digest = derive.ensure(manifest, lambda _: None)
    assert path.read_bytes() == b"made" and digest == sha256(path, fresh=True)
    good = (ready / "made.json").read_bytes()
    for harmed in flips(good, 30):
        (ready / "made.json").write_bytes(harmed)
        path, digest = derive.ensure(manifest, lambda _: None)
        assert path.read_bytes() == b"made" and digest == sha256(path, fresh=True)


def make(out: Path, fingerprint: str, sources: dict[str, str]) -> None:
    (out / "toy.Q8_0.gguf").write_bytes(b"made")
    digest = sha256(out / "toy.Q8_0.gguf", fresh=True)
    (out / "made.json").write_bytes(msgspec.json.encode(derive.Made(fingerprint, sources, {"toy.Q8_0.gguf": digest}, {})))


@pytest.mark.parametrize("data", BROKEN)
@pytest.mark.parametrize("pinned", [True, False])
def test_a_damaged_record_of_a_pull(declare: Callable[..., Manifest], home: Path, tiny_gguf: Path, data: bytes, pinned: bool) -> None:
    """What the manifest itself vouches for does without; of other files nobody knows what they are, and that is a clear line."""
    pin = f'\nsha256 = "{sha256(tiny_gguf)}"' if pinned else ""
    manifest = declare(f'[[source]]\nkind = "hub"\nrepo = "a/b"\n[[source.file]]\npath = "tiny.gguf"{pin}')
    source = home / "models" / "toy" / "source"
    source.mkdir(parents=True)
    (source / "tiny.gguf").write_bytes(tiny_gguf.read_bytes())
    (source / "pulled.json").write_bytes(data)
    here = model_files.locate(manifest)
    if pinned:
        assert here and model_files.check(manifest, here)
        (source / "tiny.gguf").write_bytes(b"another")
        with pytest.raises(EdgexpError, match="wrong sha256"):
            model_files.check(manifest, here)
    else:
        assert here is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(["machine.json", "models/.hashed.json", "models/toy/ready/made.json"]))
def test_any_bytes_in_any_cache(home: Path, tiny_gguf: Path, manifest: Manifest, data: bytes, name: str) -> None:
    file = home / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    assert tuning._read() == {} and derive.peek(manifest) is None and len(sha256(tiny_gguf)) == 64
