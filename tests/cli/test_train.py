"""`edgexp train` as a user types it: settings, dry runs, and errors in one line."""

import json
import sys
from pathlib import Path

import pytest
from conftest import Edgexp

from edgexp.training import recipe


@pytest.fixture(scope="module")
def bank(edgexp: Edgexp, policy_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("banks") / "bank"
    done = edgexp("collect", "household", "-n", 10, "--group", "easy", "--bank", path)
    assert done.returncode == 0, done.stderr
    return path


def test_every_setting_is_shown_and_reads_back(edgexp: Edgexp) -> None:
    done = edgexp("train", "exprag-lora-robust", "--show", "--set", "train.lr=0.002")
    assert done.returncode == 0
    shown = recipe.parse(done.stdout, "shown")
    assert shown.train.lr == 0.002 and shown.memory.mix.mismatched > 0
    assert "\n[lora]\nr = 16\n" in done.stdout and "\n[[data]]\n" in done.stdout


def test_a_dry_run_prints_figures_and_two_samples_without_torch(edgexp: Edgexp, bank: Path, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    done = edgexp("train", "exprag-lora", "--dry-run", "--bank", bank, "--set", "check.held_out=2", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout and "valid-matched" in done.stdout and "optimiser steps" in done.stdout
    assert "sample 1" in done.stdout and "sample 2" in done.stdout and "sample 3" not in done.stdout
    assert "Past episodes that succeeded:" in done.stdout
    actions = done.stdout.count("<|im_start|>assistant\n⟦")
    assert actions == done.stdout.count("<|im_end|>⟧") >= 4
    assert done.stdout.count("⟦") == actions + 2  # each sample's heading shows the mark


def test_a_dry_run_in_json(edgexp: Edgexp, bank: Path) -> None:
    done = edgexp("train", "lora", "--dry-run", "--json", "--bank", bank, "--set", "check.held_out=2")
    figures = json.loads(done.stdout)
    assert figures["sets"]["train"]["samples"] == 8 and figures["sets"]["valid-none"]["samples"] == 2


@pytest.mark.parametrize(("arguments", "code", "said"), [
    (["nope"], 2, "no recipe is called 'nope'"),
    (["lora", "--set", "lora.rank=3"], 1, "lora.rank: there is no such setting"),
    (["lora", "--set", "lora.r"], 2, "section.key=value"),
    (["lora", "--bank", "/nowhere/at/all"], 1, "/nowhere/at/all"),
    (["lora", "--set", "base.model=nope"], 2, "no model is called 'nope'"),
])
def test_errors_are_one_line(edgexp: Edgexp, arguments: list[str], code: int, said: str, tmp_path: Path) -> None:
    done = edgexp("train", *arguments, "--out", tmp_path / "run")
    assert done.returncode == code
    assert said in done.stderr and done.stderr.startswith("edgexp: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "run" / "adapter").exists()


def test_without_the_extra_training_says_how_to_get_it(edgexp: Edgexp, bank: Path, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError(\"No module named 'torch'\")")
    done = edgexp("train", "lora", "--bank", bank, "--out", tmp_path / "run", "--set", "check.held_out=2", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "uv sync --extra train" in done.stderr and "Traceback" not in done.stderr


def test_the_command_imports_nothing_heavy() -> None:
    import subprocess

    heavy = "('numpy', 'torch', 'llama_cpp', 'onnxruntime', 'usearch')"
    code = f"import sys, edgexp.cli.train_command; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
