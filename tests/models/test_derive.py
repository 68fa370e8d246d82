"""Making the derived files: once, whole or not at all, again when what they come from has changed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from read_only import NOBODY, unwritable
from safetensors.numpy import save_file
from test_bert import CONFIG, checkpoint

from edgexp import process
from edgexp.errors import EdgexpError
from edgexp.models import BASE_POLICY, derive, model_files, resolve
from edgexp.models.manifest import require
from edgexp.models.model_files import folder, locate
from edgexp.models.ready import state

pytestmark = pytest.mark.slow

ENCODER = """
[[source]]
kind = "local"
path = {path!r}
[[source.file]]
path = "config.json"
[[source.file]]
path = "model.safetensors"
[[source.file]]
path = "tokenizer.json"
[derive]
kind = "bert"
pooling = "{pooling}"
max_tokens = 8
"""


@pytest.fixture
def weights(tmp_path):
    """A small checkpoint, rewritten from a seed at will."""

    def write(seed):
        save_file(checkpoint(np.random.default_rng(seed)), tmp_path / "model.safetensors")
        (tmp_path / "model.safetensors").chmod(0o644)

    write(1)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "tokenizer.json").write_text("{}")
    return write


@pytest.fixture
def toy(declare, weights, tmp_path):
    return declare(ENCODER.format(path=str(tmp_path), pooling="mean"), role="embedder")


@pytest.fixture
def said():
    return []


@pytest.fixture
def in_process(monkeypatch):
    """No child: a second saved for tests that are not about it."""
    monkeypatch.setattr(derive, "_run", lambda job: derive.make_files(job, lambda *_: None))


def litter(name="toy"):
    return [path.name for path in folder(name).iterdir() if path.name != "ready"] if folder(name).exists() else []


def test_it_is_made_once(toy, said):
    assert state(toy)[0] == "source here"
    first = resolve("toy", say=said.append)
    made = (first.path / "made.json").stat().st_mtime_ns
    assert resolve("toy", say=said.append) == first and said == ["toy: converting to ONNX, once"]
    assert (first.path / "made.json").stat().st_mtime_ns == made
    assert state(toy) == ("ready", str(first.path)) and litter() == []
    record = json.loads((first.path / "made.json").read_text())
    assert record["sources"] == {name: model_files.sha256(path) for name, path in locate(toy).paths.items()}
    assert record["files"] == {n: model_files.sha256(first.path / n) for n in ("model.onnx", "tokenizer.json", "encoder.json")}
    assert set(record["tools"]) == {"onnx", "numpy", "safetensors", "onnxruntime"}


def test_it_needs_the_source_no_more(toy, tmp_path, in_process):
    first = resolve("toy")
    shutil.move(tmp_path / "model.safetensors", tmp_path / "elsewhere")
    assert resolve("toy") == first


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "record", "all"])
def test_damage_is_mended(toy, damage, said, in_process):
    first = resolve("toy")
    graph = first.path / "model.onnx"
    if damage == "changed":
        graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    elif damage == "cut":
        graph.write_bytes(graph.read_bytes()[:100])
    elif damage == "gone":
        graph.unlink()
    elif damage == "record":
        (first.path / "made.json").write_bytes(b"{")
    else:
        shutil.rmtree(first.path)
    before = resolve("toy", say=said.append)
    assert before == first and said[-1] == "toy: converting to ONNX, once"
    assert model_files.sha256(graph, fresh=True) == json.loads((first.path / "made.json").read_text())["files"]["model.onnx"]


def test_another_source_or_recipe_is_another_result(toy, weights, declare, tmp_path, in_process):
    first = resolve("toy")
    weights(2)
    second = resolve("toy")
    declare(ENCODER.format(path=str(tmp_path), pooling="cls"), role="embedder")
    third = resolve("toy")
    assert len({first.sha256, second.sha256, third.sha256}) == 3


def test_a_newer_converter_makes_it_again(toy, monkeypatch, in_process):
    first = resolve("toy")
    monkeypatch.setitem(derive.RECIPES, type(toy.derive), 2)
    assert state(toy)[0] == "source here"
    assert resolve("toy").sha256 != first.sha256


def test_a_source_that_cannot_be_converted_is_one_line(toy, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"hidden_act": "relu"}))
    with pytest.raises(EdgexpError, match=r"^toy: converting to ONNX failed: .*hidden_act is 'relu'") as error:
        resolve("toy")
    assert "\n" not in str(error.value) and litter() == [] and not (folder("toy") / "ready").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals are another matter there")
@pytest.mark.parametrize(("program", "says"), [
    ("import os, sys; print('ggml says no\\n', file=sys.stderr, flush=True); os.kill(os.getpid(), 11)",
     r"the process was killed by SIGSEGV; it last said: ggml says no \(log: .*make_files.*\.log\)"),
    ("raise MemoryError('all gone')", r"the process ended with status 1; it last said: MemoryError: all gone \(log: .*\)"),
    ("raise SystemExit(3)", "the process ended with status 3"),
])  # fmt: skip
def test_a_child_that_dies_is_one_line(toy, monkeypatch, program, says):
    start = subprocess.Popen
    monkeypatch.setattr(process.subprocess, "Popen", lambda _, **settings: start([sys.executable, "-c", program], **settings))
    with pytest.raises(EdgexpError, match=f"^toy: converting to ONNX failed: {says}$"):
        resolve("toy")
    assert litter() == []


def test_leftovers_of_killed_processes_go(toy, in_process):
    old, young = folder("toy") / ".work-old", folder("toy") / ".work-young"
    for left in (old, young):
        (left / "deep").mkdir(parents=True)
    os.utime(old, (0, 0))
    resolve("toy")
    assert litter() == [".work-young"], "a young one may belong to a process that runs"


def test_a_home_that_cannot_be_written_to_is_one_line(toy, monkeypatch, home):
    manifest, here = toy, locate(toy)
    (home / "models" / "toy").write_text("in the way")
    with pytest.raises(EdgexpError, match="EDGEXP_HOME names another place"):
        derive._make(manifest, here, dict.fromkeys(here.paths, "0" * 64), lambda _: None)


# The default policy, with llama.cpp


@pytest.fixture
def policy(home):
    manifest = require(BASE_POLICY)
    if locate(manifest) is None:
        pytest.skip(f"needs the weights of {BASE_POLICY}")
    return manifest


def test_the_default_policy_is_requantised(policy_path):
    from edgexp.gguf.reader import open_gguf

    file = open_gguf(policy_path)
    assert policy_path.name == "SmolLM2-135M-Instruct.Q8_0.gguf" and file.architecture == "llama"
    assert file.get("general.file_type") == 7 and {t.kind for t in file.tensors.values()} == {0, 8}


def test_a_truncated_gguf_is_not_requantised(declare, home, tmp_path, policy):
    (whole,) = locate(policy).paths.values()
    with whole.open("rb") as file:
        (tmp_path / "w.Q4_1.gguf").write_bytes(file.read(5_000_000))
    declare(f'[[source]]\nkind = "local"\npath = {str(tmp_path)!r}\n[[source.file]]\npath = "w.Q4_1.gguf"\n'
            '[derive]\nkind = "requantise"\ntype = "q8_0"')
    with pytest.raises(EdgexpError, match=r"w\.Q4_1\.gguf is cut short") as error:
        resolve("toy")
    assert "\n" not in str(error.value)


@pytest.mark.skipif(os.name == "nt", reason="signals are another matter there")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_conversion_leaves_nothing_half_made(policy, how):
    place = folder(BASE_POLICY)
    code = f"from edgexp.models import resolve; resolve({BASE_POLICY!r})"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(place.glob(".work-*/*.gguf")) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    assert child.poll() is None, "it was over before it could be interrupted"
    os.killpg(child.pid, how)
    child.communicate(timeout=30)
    assert child.returncode != 0 and not (place / "ready").exists()
    if how == signal.SIGINT:
        assert list(place.glob(".work-*")) == []
    assert resolve(BASE_POLICY).path.is_file()


def imported():
    """Make it once: who may not write here may not read Python's own files either, where the tests run as root."""
    resolve("toy")
    shutil.rmtree(folder("toy"))


def test_where_the_home_cannot_be_written_it_is_made_elsewhere_once(toy, said, tmp_path, monkeypatch, in_process):
    imported()
    monkeypatch.setattr(derive.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir(mode=0o777)
    (tmp_path / "temporary").chmod(0o777)
    home = folder("toy").parents[1]
    with unwritable(home):
        first = resolve("toy", say=said.append)
        spare = tmp_path / "temporary" / f"edgexp-{os.geteuid()}"
        assert first.path == spare / "toy" / "ready" and state(toy)[0] == "ready"
        assert said == ["toy: converting to ONNX, once", f"{folder('toy')} cannot be written, so toy is made in {spare / 'toy'}"]
        assert resolve("toy", say=said.append) == first and len(said) == 2
        (first.path / "model.onnx").write_bytes(b"damaged")
        assert resolve("toy", say=said.append) == first and "damaged" in said[2]
        spare.chmod(0o777)
        with pytest.raises(EdgexpError, match=r"cannot be written: .*EDGEXP_HOME names another place") as refused:
            resolve("toy")
        assert "\n" not in str(refused.value), "anybody may have written there"
    assert resolve("toy").path == folder("toy") / "ready"


def test_a_link_in_place_of_ones_own_temporary_folder_is_not_followed(toy, tmp_path, monkeypatch, in_process):
    imported()
    monkeypatch.setattr(derive.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"edgexp-{NOBODY if os.geteuid() == 0 else os.geteuid()}").symlink_to(tmp_path / "elsewhere")
    with unwritable(folder("toy").parents[1]), pytest.raises(EdgexpError, match="cannot be written"):
        resolve("toy")
    assert not list((tmp_path / "elsewhere").iterdir())
