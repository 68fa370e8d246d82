"""The whole way on a processor, with the real model: an expert's episodes, a training with 4-bit weights that is interrupted and goes on,
an export that passes its gate, an episode with the exported model. Minutes, not seconds.
"""

import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Edgexp

from edgexp.export.reference import read_reference
from edgexp.gguf.reader import open_gguf

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="training needs its extra: uv sync --extra train"),
    pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another matter there"),
]
UNSLOTH = importlib.util.find_spec("unsloth") is not None
RECIPE = ("train", "smoke", "--json", "--set", "train.steps=6", "--set", "train.trajectories=3", "--set", "check.checkpoint_every=100",
          "--set", "check.held_out=2")


def of_kind(lines: list[str], kind: str) -> list[dict]:
    return [event for event in map(json.loads, lines) if event["type"] == kind]


@pytest.fixture(scope="module")
def bank(edgexp: Edgexp, policy_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("learning") / "bank"
    assert edgexp("collect", "-n", 24, "--group", "easy", "--bank", path).returncode == 0
    return path


@pytest.fixture(scope="module")
def trained(bank: Path) -> tuple[Path, list[str], list[str]]:
    """A run that was interrupted after its second step, and what was told before and after."""
    return interrupted(bank.parent / "run", bank)


def interrupted(run: Path, bank: Path, *changes: str) -> tuple[Path, list[str], list[str]]:
    """The run's folder, what was told up to Ctrl-C after the second step, and what was told to the end."""
    command = [sys.executable, "-m", "edgexp", *RECIPE, *changes, "--bank", str(bank), "--out", str(run)]
    before = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        for line in process.stdout:
            before.append(line)
            if line.startswith('{"type":"step","step":2,'):
                process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130, said
    after = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert after.returncode == 0, after.stderr
    return run, before, after.stdout.splitlines()


def test_it_learns_and_goes_on_where_it_was_interrupted(trained: tuple[Path, list[str], list[str]]) -> None:
    run, before, after = trained
    (first,), (second,) = of_kind(before, "started"), of_kind(after, "started")
    steps = [*of_kind(before, "step"), *of_kind(after, "step")]
    assert first["backend"] == second["backend"] == ("unsloth" if UNSLOTH else "peft")
    assert first["done"] == 0 and second["done"] == len(of_kind(before, "step")) >= 2
    assert [step["step"] for step in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[-1]["loss"] < 0.7 * steps[0]["loss"]
    record = json.loads((run / "adapter" / "manifest.json").read_bytes())
    assert record["recipe"]["base"]["four_bit"] and record["tools"]["bitsandbytes"] and record["step"] == 6


def test_its_export_passes_the_gate_and_plays(trained: tuple[Path, list[str], list[str]], edgexp: Edgexp, tmp_path: Path) -> None:
    adapter = trained[0] / "adapter"
    for quant in ("f16", "q8_0"):
        done = edgexp("export", adapter, "--quant", quant, "--name", f"learned-{quant.replace('_', '-')}", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["gate"] == "passed"
    played = edgexp("run", "--model", "learned-q8-0", "-n", 1, "--steps", 3, "--memory", "off", "--json")
    assert played.returncode == 0, played.stderr
    episode = json.loads(played.stdout.splitlines()[0])
    assert episode["trajectory"]["provenance"]["model"] == "learned-q8-0" and len(episode["trajectory"]["steps"]) == 3


def test_with_memory_apart_it_learns_goes_on_passes_the_gate_and_says_so(bank: Path, edgexp: Edgexp, tmp_path: Path) -> None:
    changes = [argument for change in ('memory.layout="apart"', "memory.k=2", "base.four_bit=false") for argument in ("--set", change)]
    run, before, after = interrupted(tmp_path / "run", bank, *changes)
    steps = [*of_kind(before, "step"), *of_kind(after, "step")]
    assert [step["step"] for step in steps] == [1, 2, 3, 4, 5, 6] and steps[-1]["loss"] < 0.7 * steps[0]["loss"]
    assert json.loads((run / "adapter" / "manifest.json").read_bytes())["layout"] == "apart"
    reference = read_reference(run / "adapter" / "reference.safetensors")
    assert reference.origin.layout == "apart" and {len(blocks) for blocks in reference.blocks} == {2}
    done = edgexp("export", run / "adapter", "--name", "learned-apart", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["gate"] == "passed" and open_gguf(Path(record["file"]["path"])).get("edgexp.layout") == "apart"
