"""`edgexp improve` with the real model: killed in every stage and begun again, it comes to the same generation, byte for byte."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Edgexp

from edgexp.models.model_files import sha256

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="training needs its extra: uv sync --extra train"),
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is another matter there"),
]
ROUND = ("improve", "smoke", "--rounds", "1", "--tasks", "2", "--dev", "2", "--steps", "20", "--json", "--model", "smollm2-135m-exprag",
         "--set", "base.four_bit=false",
         "--set", "train.steps=2", "--set", "train.trajectories=2", "--set", "check.held_out=1", "--set", "check.checkpoint_every=1")


@pytest.fixture(scope="module")
def bank(edgexp: Edgexp, policy_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("improving") / "bank"
    assert edgexp("collect", "-n", 8, "--group", "easy", "--bank", path).returncode == 0
    return path


def improved(folder: Path, bank: Path, home: Path, kills: tuple[tuple[str, float], ...] = ()) -> list[dict]:
    """The states that were told, in a folder of rounds. Of each stage in `kills` the process is killed, so many seconds into it."""
    command = [sys.executable, "-m", "edgexp", *ROUND, "--out", str(folder), "--set", f'data.bank="{bank}"']
    environment = {**os.environ, "EDGEXP_HOME": str(home)}
    for stage, seconds in kills:
        for _ in range(60):  # the training of a command that was killed takes its step to the end, and nobody else may begin before
            if killed(command, environment, stage, seconds):
                break
            time.sleep(1)
        else:
            pytest.fail(f"it was over before it could be killed in {stage}")
    while True:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1200, check=False)
        if "a training whose command was killed stops after its step" not in done.stderr:
            break
        time.sleep(1)
    assert done.returncode == 0, done.stderr
    return [state for state in map(json.loads, done.stdout.splitlines()) if "generations" in state]


def killed(command: list[str], environment: dict[str, str], stage: str, seconds: float) -> bool:
    """Begin, and kill so many seconds into a stage; whether it was killed."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True) as process:
        assert process.stdout
        for line in process.stdout:
            if json.loads(line).get("stage") == stage:
                time.sleep(seconds)
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
    return process.returncode == -signal.SIGKILL


def test_killed_in_every_stage_it_comes_to_the_same(bank: Path, own_home: Path, tmp_path: Path) -> None:
    unbroken = improved(tmp_path / "a" / "rounds", bank, own_home)[-1]
    kills = (("play", 2.0), ("learn", 1.0), ("learn", 12.0), ("check", 1.0))
    broken = improved(tmp_path / "b" / "rounds", bank, own_home, kills)[-1]
    assert broken == unbroken and [g["model"] for g in broken["generations"]][1:] == ["rounds-g1"]
    for file in ("run/adapter/adapter_model.safetensors", "episodes.jsonl"):
        found = [tmp_path / which / "rounds" / "generations" / "001" / file for which in "ab"]
        assert sha256(found[0]) == sha256(found[1]) if file.endswith("safetensors") else actions(found[0]) == actions(found[1])
    models = [sorted((tmp_path / which / "rounds" / "generations" / "001" / "model").rglob("*.gguf")) for which in "ab"]
    assert [sha256(path) for path in models[0]] == [sha256(path) for path in models[1]] != []


def actions(episodes: Path) -> list[tuple[str, list[str]]]:
    """Each played task with its actions."""
    lines = map(json.loads, episodes.read_text("utf-8").splitlines())
    return [(line["task"], [step["action"] for t in line["episodes"] for step in t["steps"]]) for line in lines]
