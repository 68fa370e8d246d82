"""Exports from beginning to end, on the default model: what is left after success, after a failed gate, after a crash."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import msgspec
import pytest
from toys import make_trajectory

from edgexp import process
from edgexp.engine.engine import Engine
from edgexp.engine.model import Model
from edgexp.engine.native import Tuning
from edgexp.errors import EdgexpError
from edgexp.export import steps
from edgexp.export.adapter import Training
from edgexp.export.job import Request, export
from edgexp.export.provenance import Digested, entry_path
from edgexp.export.reference import Sample, read_reference, write_reference
from edgexp.gguf.lora import patches, read_adapter
from edgexp.gguf.merge import merge
from edgexp.gguf.reader import open_gguf
from edgexp.models import BASE_POLICY, resolve
from edgexp.models.model_files import Base, open_base
from edgexp.prompt.render import Renderer
from edgexp.prompt.template import learn

from .kit import reference_of, write_adapter

INSTRUCTIONS = "You act in a house. Answer with one action."
# Saying the same again is what even an untrained model is certain of, so that its greedy choices are no near ties.
SAMPLES = (Sample(INSTRUCTIONS, make_trajectory(("wash the mug",) * 5, goal="wash the mug.", observations=("It is dirty.",) * 5)),)


@pytest.fixture(scope="module")
def base():
    try:
        return open_base(BASE_POLICY)
    except EdgexpError as error:
        pytest.skip(f"needs the default model's weights: {error}")


@pytest.fixture(scope="module")
def trained(base, smollm_modules, tmp_path_factory):
    """An adapter's folder with a reference that was made by another way: the f16 merge, run here."""
    folder = write_adapter(tmp_path_factory.mktemp("job") / "mugs", smollm_modules, scale=0.02, base_model_name_or_path=BASE_POLICY)
    file = folder.parent / "f16.gguf"
    merge(open_gguf(base.path), patches(read_adapter(folder), open_gguf(base.path)), "f16", file)
    with Model(file, Tuning(1, 2, {"OMP_WAIT_POLICY": "PASSIVE"}, extra_buffers=False)) as model, Engine(model, 512, 4) as engine:
        renderer = Renderer(model.vocabulary, learn(model.template, model.vocabulary), INSTRUCTIONS)
        write_reference(folder, belonging_to(folder, reference_of(engine, renderer, SAMPLES)))
    (folder / "manifest.json").write_text('{"name": "mugs", "recipe": {"lora": {"rank": 4}}, "banks": ["b1"], "curve": []}')
    return folder


def belonging_to(folder, reference):
    """The reference as one of the adapter in a folder."""
    sha256 = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    return replace(reference, origin=msgspec.structs.replace(reference.origin, adapter_sha256=sha256))


def request(trained, base, folder, **settings):
    return Request(trained, base, settings.pop("name", "mugs"), folder, **settings)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_finished_export_is_complete_and_found_by_its_name(trained, base, tmp_path):
    seen = []
    exported = export(request(trained, base, tmp_path / "out"), lambda *step: seen.append(step))
    record, file = exported.record, tmp_path / "out" / "mugs.q8_0.gguf"
    assert names(tmp_path / "out") == [f"{file.name}{suffix}" for suffix in ("", ".export.json", ".parity.json", ".parity.txt")]
    assert record.file.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert record.base == Digested(str(base.path), base.sha256, base.path.stat().st_size)
    assert record.adapter.sha256 == hashlib.sha256((trained / "adapter_model.safetensors").read_bytes()).hexdigest()
    trained_record = Training(name="mugs", recipe={"lora": {"rank": 4}}, banks=("b1",))
    assert (record.gate, record.kind, record.quant, record.training) == ("passed", "merged", "q8_0", trained_record)
    assert record.parity.ids_checked == 1 and not record.parity.failures
    assert json.loads((tmp_path / "out" / f"{file.name}.export.json").read_bytes())["parity"]["greedy"] == record.parity.greedy
    assert {stage for stage, _, _ in seen} == {"merging", "comparing"}
    ready = resolve("mugs", role="policy")
    assert (ready.path, ready.sha256, ready.context, ready.licence) == (file, record.file.sha256, 8192, "Apache-2.0")


def test_the_adapter_alone_passes_the_gate_beside_its_base(trained, base, tmp_path):
    exported = export(request(trained, base, tmp_path, name="alone", adapter_only=True))
    assert exported.entry is None
    assert (exported.record.kind, exported.record.gate) == ("adapter", "passed")
    assert (tmp_path / "alone.lora.gguf").stat().st_size < 8e6
    assert not entry_path("alone").exists()


def test_a_failed_gate_is_a_failed_export_and_the_earlier_one_stays(trained, base, tmp_path):
    export(request(trained, base, tmp_path, name="gated", gate=False))
    before = {p.name: p.read_bytes() for p in (tmp_path / "gated.q8_0.gguf.export.json", entry_path("gated"))}
    assert json.loads(before["gated.q8_0.gguf.export.json"])["gate"] == "skipped"
    other = tmp_path / "other"
    write_adapter(other, {"model.layers.3.mlp.up_proj": (1536, 576)}, scale=3.0, rank=4)
    write_reference(other, belonging_to(other, read_reference(trained / "reference.safetensors")))
    with pytest.raises(EdgexpError, match=r"does not say what the trained model said: log-probabilities differ by .* kept as .*rejected"):
        export(request(other, base, tmp_path, name="gated"))
    after = {p.name: p.read_bytes() for p in (tmp_path / "gated.q8_0.gguf.export.json", entry_path("gated"))}
    assert after == before
    assert json.loads((tmp_path / "gated.q8_0.gguf.rejected.parity.json").read_bytes())["failures"]
    assert "FAILED" in (tmp_path / "gated.q8_0.gguf.rejected.parity.txt").read_text()
    assert names(tmp_path) == ["gated.q8_0.gguf", "gated.q8_0.gguf.export.json", "gated.q8_0.gguf.rejected",
                               "gated.q8_0.gguf.rejected.parity.json", "gated.q8_0.gguf.rejected.parity.txt", "other"]


def test_what_is_wrong_is_said_before_anything_is_written(trained, base, tmp_path):
    def refused(words, adapter=trained, **settings):
        with pytest.raises(EdgexpError, match=words):
            export(request(adapter, base, tmp_path / "out", **settings))
        assert not (tmp_path / "out").exists() or names(tmp_path / "out") == []

    bare = write_adapter(tmp_path / "bare", {"model.layers.0.mlp.up_proj": (1536, 576)})
    refused("unknown quantisation", quant="q2")
    refused(r"has no reference\.safetensors.*--no-gate exports without", bare)
    refused("is the name of another model", name=BASE_POLICY)
    refused(r"is not an adapter: it has no adapter_config\.json", tmp_path)
    (bare / "adapter_model.safetensors").unlink()
    refused(r"is not an adapter: it has no adapter_model\.safetensors", bare, gate=False)
    (write_adapter(bare, {"model.layers.0.mlp.up_proj": (1536, 576)}) / "manifest.json").write_text("{")
    refused(r"manifest\.json cannot be read", bare, gate=False)
    refused("is not the file that its manifest.json means", changed_after(trained, tmp_path / "changed"), gate=False)
    write_reference(wrong := tmp_path / "wrong", read_reference(trained / "reference.safetensors"))
    write_adapter(wrong, {"model.layers.0.mlp.up_proj": (1536, 577)})
    refused("was made with another adapter than", wrong)
    refused("1536×576 in the base and 1536×577 in the adapter", wrong, gate=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgexpError, match="cannot be written to"):
        export(request(trained, base, tmp_path / "file"))


def changed_after(trained, folder):
    """A copy of the adapter whose record means other weights."""
    shutil.copytree(trained, folder)
    (folder / "manifest.json").write_text(json.dumps({"files": {"adapter_model.safetensors": "0" * 64}}))
    return folder


def test_a_base_that_is_cut_short(trained, base, tmp_path):
    cut = tmp_path / "cut.gguf"
    with base.path.open("rb") as file:
        cut.write_bytes(file.read(3_000_000))
    with pytest.raises(EdgexpError, match=r"cut\.gguf is cut short: tensor .* ends at byte"):
        export(request(trained, Base(cut, "0" * 64), tmp_path / "out"))


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000_000, 50_000_000))
from edgexp.cli import main
main(sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_no_space_left_half_way(trained, tmp_path):
    command = [sys.executable, "-c", LIMITED, "export", str(trained), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") <= 2 and "no space left while writing" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def crashing(program):
    """Start a child that runs a program of ours instead of the worker."""
    start = subprocess.Popen

    def popen(command, **settings):
        return start([sys.executable, "-c", program], **settings)

    return popen


@pytest.mark.parametrize(("program", "words"), [
    ("import os, sys; print('GGML_ASSERT(x) failed', file=sys.stderr, flush=True); os.abort()",
     r"merging the adapter failed: the process was killed by SIGABRT; it last said: GGML_ASSERT\(x\) failed"),
    ("import os; os.kill(os.getpid(), 11)", "was killed by SIGSEGV"),
    ("import os; os.kill(os.getpid(), 9)", r"was killed by SIGKILL \(is there enough memory\?\)"),
    ("raise SystemExit(7)", "ended with status 7"),
    ("1/0", "ended with status 1; it last said: ZeroDivisionError"),
])  # fmt: skip
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_a_child_that_dies_is_one_clear_line(monkeypatch, trained, base, tmp_path, program, words):
    monkeypatch.setattr(process.subprocess, "Popen", crashing(program))
    with pytest.raises(EdgexpError, match=words) as error:
        export(request(trained, base, tmp_path / "out"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("step", ["write", "compare"])
def test_an_export_that_fails_late_leaves_no_folder(monkeypatch, trained, base, tmp_path, step):
    def fail(*_):
        raise EdgexpError("the process died")

    monkeypatch.setattr(steps, step, fail)
    with pytest.raises(EdgexpError, match="the process died"):
        export(request(trained, base, tmp_path / "models" / "mugs"))
    assert names(tmp_path) == []
    with pytest.raises(EdgexpError, match=r"cannot be written to: .*; name another place with --out"):
        export(request(trained, base, trained / "manifest.json" / "below"))


def test_an_interrupted_export_leaves_nothing(trained, base, tmp_path):
    def interrupt(stage, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(request(trained, base, tmp_path / "out"), interrupt)
    assert not (tmp_path / "out").exists()


def test_what_a_killed_export_left_goes_after_a_day(trained, base, tmp_path):
    old, young = tmp_path / ".export-old", tmp_path / ".export-young"
    for folder in (old, young):
        folder.mkdir()
        (folder / "half.gguf").write_bytes(b"x")
    os.utime(old, (0, 0))
    export(request(trained, base, tmp_path, name="cleaned", gate=False, adapter_only=True))
    assert not old.exists() and young.exists()
