"""From a name or a path to checked files, without a network."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hub_double import hub_source, sha

from edgexp.errors import EdgexpError, UsageError
from edgexp.models import BASE_POLICY, DEFAULT_EMBEDDER, encoder, resolve
from edgexp.models.model_files import locate
from edgexp.models.ready import state


@pytest.fixture(autouse=True)
def no_sockets(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def local(path: Path, digest: str | None = None) -> str:
    pin = f'sha256 = "{digest}"\n' if digest else ""
    return f'[[source]]\nkind = "local"\npath = {str(path.parent)!r}\n[[source.file]]\npath = "{path.name}"\n{pin}'


def test_a_local_file_is_used_where_it_is(declare, tiny_gguf):
    ready = resolve(declare(local(tiny_gguf, sha(tiny_gguf.read_bytes()))).name)
    assert ready.path == tiny_gguf and ready.sha256 == sha(tiny_gguf.read_bytes())
    assert (ready.role, ready.context, ready.licence) == ("policy", 64, "MIT")


def test_a_wrong_digest_names_both(declare, tiny_gguf):
    manifest = declare(local(tiny_gguf, "f" * 64))
    with pytest.raises(EdgexpError, match=f"tiny.gguf: wrong sha256: expected {'f' * 64}, got {sha(tiny_gguf.read_bytes())}; run: "):
        resolve(manifest.name)


def test_a_change_after_the_first_use_is_noticed(declare, tiny_gguf):
    manifest = declare(local(tiny_gguf, sha(tiny_gguf.read_bytes())))
    resolve(manifest.name)
    data = bytearray(tiny_gguf.read_bytes())
    data[-1] ^= 1
    tiny_gguf.write_bytes(data)
    with pytest.raises(EdgexpError, match="wrong sha256"):
        resolve(manifest.name)


@pytest.mark.parametrize("keep", [0, 3, 20, 60, 150, -1])
def test_a_gguf_cut_short_is_one_line(declare, tiny_gguf, keep):
    tiny_gguf.write_bytes(tiny_gguf.read_bytes()[:keep])
    for model in (declare(local(tiny_gguf)).name, str(tiny_gguf)):
        with pytest.raises(EdgexpError, match=r"tiny\.gguf") as error:
            resolve(model)
        assert "\n" not in str(error.value)


def test_what_is_not_here_says_how_to_get_it(declare):
    manifest = declare(hub_source({"a.gguf": b"x"}))
    with pytest.raises(EdgexpError, match=r"toy is not here; run: edgexp models pull toy$"):
        resolve("toy")
    assert state(manifest) == ("not here", "hub maker/toy")


def test_a_missing_folder_is_not_here(declare, tmp_path):
    declare(local(tmp_path / "gone" / "a.gguf"))
    with pytest.raises(EdgexpError, match="toy is not here"):
        resolve("toy")


def test_a_path_needs_no_manifest(home, tiny_gguf):
    ready = resolve(tiny_gguf)
    assert (ready.name, ready.role, ready.context, ready.licence) == ("tiny", "policy", 77, "mit")
    assert ready.sha256 == sha(tiny_gguf.read_bytes()) and ready.manifest is None


def test_a_path_that_is_not_there_and_a_name_nobody_knows(home):
    with pytest.raises(UsageError, match=r"models/none\.gguf: there is no such file"):
        resolve("models/none.gguf")
    with pytest.raises(UsageError, match="no model is called 'none'"):
        resolve("none")


def test_a_folder_that_is_no_encoder(home, tmp_path):
    with pytest.raises(EdgexpError, match=r"is no encoder folder: encoder\.json"):
        resolve(tmp_path)


def test_the_role_is_checked(declare, tiny_gguf):
    declare(local(tiny_gguf))
    assert resolve("toy", role="policy").role == "policy"
    with pytest.raises(UsageError, match="toy: a model of role embedder is needed here, this one's is policy"):
        resolve("toy", role="embedder")


def test_a_split_model_is_known_by_all_its_parts(declare, tmp_path, tiny_gguf):
    names = [f"big-{part:05}-of-00002.gguf" for part in (1, 2)]
    for name in names:
        (tmp_path / name).write_bytes(tiny_gguf.read_bytes())
    body = f'[[source]]\nkind = "local"\npath = {str(tmp_path)!r}\n' + "".join(f'[[source.file]]\npath = "{n}"\n' for n in names)
    declare(body)
    before = resolve("toy")
    assert before.path.name == names[0]
    (tmp_path / names[1]).write_bytes(b"GGUF other")
    assert resolve("toy").sha256 != before.sha256


def test_an_installed_package_is_a_source(declare, tmp_path, monkeypatch, tiny_gguf):
    weights = tiny_gguf.read_bytes()
    files = {"carrier/w.gguf": weights, "carrier-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n"}
    for name, data in files.items():
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_bytes(data)
    monkeypatch.syspath_prepend(tmp_path / "site")
    body = '[[source]]\nkind = "package"\ndistribution = "carrier"\nversion = "{}"\n[[source.file]]\npath = "carrier/w.gguf"\n{}'
    pin = f'sha256 = "{sha(weights)}"'
    manifest = declare(body.format("1.0", pin))
    assert resolve("toy").path == tmp_path / "site" / "carrier" / "w.gguf"
    assert state(manifest) == ("ready", "package carrier 1.0, installed")
    assert locate(declare(body.format("2.0", pin))) is not None, "the digest proves the bytes, whatever the version"
    assert locate(declare(body.format("2.0", ""))) is None, "another version without a digest could be anything"


@pytest.mark.slow
@pytest.mark.parametrize("name", [BASE_POLICY, DEFAULT_EMBEDDER])
def test_a_second_start_reads_no_weights(name, own_home, monkeypatch):
    """The defaults of the test session, made once; then no byte is hashed and nothing heavy is imported."""
    first = _default(name)
    monkeypatch.setattr("edgexp.models.model_files.hashlib.file_digest", lambda *_: pytest.fail("hashed again"))
    assert resolve(name) == first
    code = f"import sys; from edgexp.models import resolve; resolve({name!r}); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "onnx", "onnxruntime", "llama_cpp", "urllib.request", "rich", "importlib.metadata"} & set(loaded)


def test_an_encoder_folder_by_its_path(own_home, tmp_path):
    made = _default(DEFAULT_EMBEDDER)
    ready = resolve(made.path)
    assert (ready.role, ready.context) == ("embedder", 256)
    assert ready.sha256 == made.sha256 == encoder.fingerprint_of(made.path)


def test_an_encoder_of_unknown_origin_is_known_by_its_files(home, tmp_path):
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).write_text(name)
    encoder.write(tmp_path, encoder.EncoderConfig(384, 256))
    before = resolve(tmp_path).sha256
    assert resolve(tmp_path).sha256 == before
    (tmp_path / "model.onnx").write_text("another")
    assert resolve(tmp_path).sha256 != before


def _default(name):
    try:
        return resolve(name)
    except EdgexpError as error:
        pytest.skip(f"needs the weights of {name}: {error}")
