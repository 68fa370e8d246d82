"""`edgexp export` as a user meets it."""

import json
import os
import pkgutil
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from click.testing import CliRunner

from edgexp import export as edgexp_export
from edgexp.cli import cli
from edgexp.cli.export_command import _name
from edgexp.errors import EdgexpError, UsageError
from edgexp.home import home
from edgexp.models import BASE_POLICY, resolve

UP = "base_model.model.model.layers.0.mlp.up_proj"


@pytest.fixture
def adapter(tmp_path, policy_path):
    """A small random adapter of the default model, without a reference."""
    rng = np.random.default_rng(0)
    tensors = {f"{UP}.lora_A.weight": rng.standard_normal((2, 576)), f"{UP}.lora_B.weight": rng.standard_normal((1536, 2)) * 0.01}
    folder = tmp_path / "My Adapter!"
    folder.mkdir()
    safetensors.numpy.save_file({k: v.astype(np.float32) for k, v in tensors.items()}, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": BASE_POLICY}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def export(*arguments):
    """Run the command in this process; raises what it raises."""
    return CliRunner().invoke(cli, ["export", *map(str, arguments)], catch_exceptions=False, standalone_mode=False)


def test_defaults_name_and_place_the_export(adapter):
    done = export(adapter, "--no-gate")
    file = home() / "models" / "my-adapter" / "my-adapter.q8_0.gguf"
    assert f"wrote {file} (145 MB)" in done.stdout
    assert "not compared with the trained model (--no-gate)" in done.stdout
    assert "edgexp run --model my-adapter" in done.stdout
    assert resolve("my-adapter").path == file


def test_json_is_the_record_and_nothing_else(adapter, tmp_path):
    done = export(adapter, "--no-gate", "--adapter-only", "--name", "a1", "--out", tmp_path / "out", "--json")
    record = json.loads(done.stdout)
    assert (record["name"], record["kind"], record["gate"], record["parity"]) == ("a1", "adapter", "skipped", None)
    assert record["file"]["path"] == str(tmp_path / "out" / "a1.lora.gguf")
    assert json.loads((tmp_path / "out" / "a1.lora.gguf.export.json").read_bytes()) == record


def test_an_adapter_alone_says_how_it_is_loaded(adapter, tmp_path):
    done = export(adapter, "--no-gate", "--adapter-only", "--out", tmp_path / "out")
    assert "--lora my-adapter.lora.gguf" in done.stdout


def test_wrong_requests(adapter, tmp_path):
    for arguments, error, words in (
        ((adapter, "--quant", "q5_k_s"), UsageError, "choose one of f16, q8_0, q4_k_m, q4_0"),
        ((tmp_path,), UsageError, "is no adapter and no run"),
        ((adapter, "--base", "gpt-5"), UsageError, "no model is called .gpt-5."),
        ((adapter, "--name", "Über"), UsageError, "cannot be a model's name"),
        ((adapter,), EdgexpError, "--no-gate exports without"),
    ):
        with pytest.raises(error, match=words):
            export(*arguments)


def test_names_are_made_of_folders(tmp_path):
    for folder, name in (("exprag-lora", "exprag-lora"), ("Run 7 (best)", "run-7-best"), ("_x_", "x")):
        assert _name(tmp_path / folder, None) == name
    with pytest.raises(UsageError, match="give one of small letters"):
        _name(tmp_path / "???", None)


def test_neither_the_command_nor_its_processes_import_torch(adapter, tmp_path, edgexp):
    poisoned = tmp_path / "poisoned"
    poisoned.mkdir()
    for name in ("torch", "transformers", "peft", "unsloth"):
        (poisoned / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')")
    done = edgexp("export", adapter, "--no-gate", "--quant", "f16", "--name", "a2", "--out", tmp_path / "out", PYTHONPATH=str(poisoned))
    assert done.returncode == 0, done.stderr
    # What compares, which wants a reference to be run: every module of the package.
    modules = [f"edgexp.export.{m.name}" for m in pkgutil.iter_modules(edgexp_export.__path__)]
    code = f"import importlib; [importlib.import_module(name) for name in {modules!r}]"
    assert "edgexp.export.parity" in modules
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join((str(poisoned), *sys.path))},
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_errors_are_one_line_and_usage_is_two(adapter):
    command = [sys.executable, "-m", "edgexp", "export", str(adapter), "--quant", "q1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "edgexp: unknown quantisation 'q1'; choose one of f16, q8_0, q4_k_m, q4_0\n"
