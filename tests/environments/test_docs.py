"""The environment printed in the documentation works as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from edgexp.environments.base import Environment
from edgexp.environments.registry import make
from edgexp.play.episode import play
from edgexp.play.rollout import run
from edgexp.play.scripted import Scripted

PAGE = Path(__file__).parents[2] / "docs" / "environments.md"


def test_the_documented_environment_plays(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code
    (tmp_path / "doors.py").write_text(code[1], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    world = make("doors:Doors")
    assert isinstance(world, Environment)
    task = world.task("doors/test/4")
    trajectory = run(play(world, task, Scripted(["open door 1", "read sign", "open door 2"]))).trajectory
    assert trajectory.success and trajectory.steps[1].observation.endswith("door 2.")


def test_the_documented_environment_plays_from_the_command_line(tmp_path, policy_path, own_home):
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code
    (tmp_path / "doors.py").write_text(code[1], encoding="utf-8")
    command = [sys.executable, "-m", "edgexp", "run", "doors:Doors", "--split", "test", "-n", "1", "--memory", "off"]
    variables = {**os.environ, "EDGEXP_HOME": str(own_home), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
    assert done.returncode == 0, done.stderr
    assert "leave the room." in done.stdout
