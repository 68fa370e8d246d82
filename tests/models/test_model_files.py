"""Which files are here, and whether their bytes are right: nothing counts that is half there, and the first digest seen is enforced."""

import hashlib
import json

import pytest

from edgexp.errors import EdgexpError
from edgexp.models import model_files

LOCAL = '[[source]]\nkind = "local"\npath = {path!r}\n[[source.file]]\npath = "a.bin"\n[[source.file]]\npath = "b.bin"'
HUB = '[[source]]\nkind = "hub"\nrepo = "maker/toy"\n[[source.file]]\npath = "a.bin"\n[[source.file]]\npath = "sub/b.bin"'


@pytest.fixture
def place(home):
    """The folder of what was pulled for `toy`."""
    made = model_files.folder("toy") / "source"
    made.mkdir(parents=True)
    return made


def sha(data):
    return hashlib.sha256(data).hexdigest()


def fill(folder):
    for name in ("a.bin", "b.bin"):
        (folder / name).write_bytes(name.encode())


def test_a_source_counts_when_all_its_files_are_there(declare, tmp_path):
    manifest = declare(LOCAL.format(path=str(tmp_path)))
    (tmp_path / "a.bin").write_bytes(b"a.bin")
    assert model_files.locate(manifest) is None
    fill(tmp_path)
    here = model_files.locate(manifest)
    both = {n: tmp_path / n for n in ("a.bin", "b.bin")}
    assert here == model_files.Here(f"folder {tmp_path}", both, dict.fromkeys(both), False)
    assert model_files.check(manifest, here) == {n: sha(n.encode()) for n in ("a.bin", "b.bin")}


def test_what_was_pulled_counts_when_it_was_recorded(declare, place):
    manifest = declare(HUB)
    fill(place)
    assert model_files.locate(manifest) is None, "a half-finished pull"
    model_files.write_pulled(manifest, "hub maker/toy at c0ffee", {n: sha(n.encode()) for n in ("a.bin", "b.bin")})
    here = model_files.locate(manifest)
    assert here is not None and here.ours and here.origin == "hub maker/toy at c0ffee"
    assert model_files.check(manifest, here).keys() == {"a.bin", "b.bin"}
    (place / "b.bin").unlink()
    assert model_files.locate(manifest) is None


def test_the_first_digest_seen_is_enforced_from_then_on(declare, place):
    manifest = declare(HUB)
    fill(place)
    model_files.write_pulled(manifest, "x", {n: sha(n.encode()) for n in ("a.bin", "b.bin")})
    (place / "b.bin").write_bytes(b"other")
    here = model_files.locate(manifest)
    assert here is not None
    with pytest.raises(EdgexpError, match=rf"b\.bin: wrong sha256: expected {sha(b'b.bin')}, got {sha(b'other')}; run: edgexp models pull"):
        model_files.check(manifest, here)


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"origin": "x"})])
def test_a_damaged_record_is_none(declare, place, text):
    fill(place)
    (place / "pulled.json").write_text(text)
    assert model_files.locate(declare(HUB)) is None


def test_a_gguf_nobody_vouches_for_must_be_whole(home, tiny_gguf, tmp_path):
    assert model_files.check_file(tiny_gguf, None, "do this") == sha(tiny_gguf.read_bytes())
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_gguf.read_bytes()[:-100])
    with pytest.raises(EdgexpError, match=r"cut\.gguf is cut short"):
        model_files.check_file(cut, None, "do this")
    assert model_files.check_file(cut, sha(cut.read_bytes()), "do this"), "a digest vouches for it"
    part = cut.rename(tmp_path / "m-00001-of-00002.gguf")
    assert model_files.check_file(part, None, "do this"), "of a part only the digest can be checked"
    with pytest.raises(EdgexpError, match=r"gone: cannot be read: No such file or directory; run: do this"):
        model_files.check_file(tmp_path / "gone", None, "do this")


def test_a_digest_noted_under_a_new_name_is_not_computed_again(home, tmp_path, monkeypatch):
    path = tmp_path / "moved"
    path.write_bytes(b"abc")
    model_files.remember_sha256(path, "f" * 64)
    monkeypatch.setattr(model_files.hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
    assert model_files.sha256(path) == "f" * 64


def test_a_package_that_is_not_installed_has_no_files(declare):
    body = '[[source]]\nkind = "package"\ndistribution = "edgexp-no-such-thing"\nversion = "1"\n[[source.file]]\npath = "a.bin"'
    (source,) = declare(body).sources
    assert model_files.installed(source) is None
