"""The environment printed in the documentation works as it stands there, and the page tells of every optional member."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mock_engine import MockEngine, make_policy
from pages import PAGE, printed_environment

from edgexp.environments import base
from edgexp.environments.base import Environment, expert_of
from edgexp.environments.registry import BUILT_IN, make
from edgexp.play.episode import play
from edgexp.play.rollout import run
from edgexp.play.scripted import ExpertPolicy, Scripted


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds the printed module, as a reader would save it."""
    (tmp_path / "doors.py").write_text(printed_environment(), encoding="utf-8")
    return tmp_path


def test_the_documented_environment_plays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    world = make("doors:Doors")
    assert isinstance(world, Environment)
    task = world.task("doors/test/4")
    trajectory = run(play(world, task, Scripted(["open door 1", "read sign", "open door 2"]))).trajectory
    assert trajectory.success and trajectory.steps[1].observation.endswith("door 2.")


def test_the_documented_expert_wins_every_task(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    world = make("doors:Doors")
    assert expert_of(world) is not None
    for split in world.splits():
        for task in world.tasks(split):
            trajectory = run(play(world, task, ExpertPolicy(world))).trajectory
            assert trajectory.success and len(trajectory.steps) == 2


def test_the_documented_environment_with_tools_plays(tmp_path: Path) -> None:
    (tmp_path / "lamps.py").write_text(printed_environment("## Tools"), encoding="utf-8")
    world = make(f"{tmp_path / 'lamps.py'}:Lamps")
    calls = ['switch(lamp="attic", on=true)', 'switch(lamp="porch light", on=true)']
    played = run(play(world, world.task("lamps/test/1"), Scripted(calls)))
    first, second = played.trajectory.steps
    assert first.observation == 'switch: lamp is "attic", but "desk lamp"|"porch light"|"reading lamp" is wanted'
    assert first.observation in PAGE.read_text(encoding="utf-8")
    assert played.trajectory.success and second.observation == "There is light."
    by_chance = run(play(world, world.task("lamps/test/2"), make_policy(world, action_tokens=120)), MockEngine()).trajectory
    assert by_chance.steps and all(step.observation in ("Done.", "There is light.") for step in by_chance.steps)


def test_the_documented_environment_is_short() -> None:
    """As a page that is read, not searched."""
    lines = [line for line in printed_environment().splitlines() if line.strip()]
    assert len(lines) <= 60 and all(len(line) <= 100 for line in lines)


def test_the_documented_environment_plays_from_the_command_line(folder: Path, policy_path: Path, own_home: Path) -> None:
    command = [sys.executable, "-m", "edgexp", "run", "doors:Doors", "--split", "test", "-n", "1", "--memory", "off"]
    variables = {**os.environ, "EDGEXP_HOME": str(own_home), "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
    assert done.returncode == 0, done.stderr
    assert "leave the room." in done.stdout


def rows(heading: str) -> list[str]:
    """The first cell of each row of the first table behind a heading."""
    behind = PAGE.read_text(encoding="utf-8").partition(heading)[2]
    table = behind[behind.index("|---") :].split("\n\n", 1)[0]
    return re.findall(r"^\| `([\w-]+)", table, re.MULTILINE)


def test_every_environment_is_in_the_table() -> None:
    assert sorted(rows("# Environments")) == sorted(BUILT_IN)


def test_every_optional_member_is_in_the_table() -> None:
    assert sorted(rows("### What an environment may have besides")) == sorted(re.findall(r"^\| `(\w+)", base.__doc__ or "", re.MULTILINE))
