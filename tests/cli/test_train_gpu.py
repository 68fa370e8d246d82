"""`tools/train_gpu.py`: the commands that it gives are commands of edgexp. Nothing here needs a GPU, and nothing was run on one."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

from edgexp.cli import cli
from edgexp.training import recipe

TOOL = Path(__file__).parents[2] / "tools" / "train_gpu.py"
RECIPES = sorted(name for name, path in recipe.files().items() if "edgexp collect" in path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_gpu", TOOL)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def understood(arguments: list[str]) -> str:
    """The name of the command that takes these arguments, parsed and not run. Raises click's error for an option that is not there."""
    command: click.Command = cli
    names: list[str] = []
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), arguments[len(names)])
        assert found, arguments
        names.append(arguments[len(names)])
        command = found
    command.make_context(names[-1], arguments[len(names) :])
    return " ".join(names)


@pytest.mark.parametrize("name", RECIPES)
def test_every_command_is_one_of_edgexp(tool: ModuleType, tmp_path: Path, name: str) -> None:
    made = list(tool.commands(name, "mine", tmp_path, ["household", "treatments", "worlds"], 99))
    kinds = [understood(arguments) for arguments in made]
    assert kinds == ["models pull", *["collect"] * (len(made) - 6), "train", "export", *["eval"] * 3]
    assert len(tool.collects(name)) == len(made) - 6 >= 1
    banks = {arguments[arguments.index("--bank") + 1] for arguments in made if "--bank" in arguments}
    assert banks == {str(tmp_path / "bank")}
    assert all("--only" in arguments and "smollm2-135m-exprag=mine" in arguments for arguments in made[-3:])


def test_gpu_recipes_are_among_them() -> None:
    assert {"qwen-8gb", "qwen-16gb", "qwen-24gb"} <= set(RECIPES)


def test_an_option_that_is_not_there_is_noticed() -> None:
    with pytest.raises(click.NoSuchOption):
        understood(["collect", "household", "--slip", "0.15"])


def test_it_shows_what_it_would_run(tmp_path: Path) -> None:
    asked = ("qwen-8gb", "--name", "mine", "--folder", str(tmp_path), "--suite", "treatments", "--show")
    done = subprocess.run([sys.executable, str(TOOL), *asked], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("edgexp models pull qwen2.5-1.5b-instruct") and lines[-1].startswith("edgexp eval treatments")
    assert f"edgexp collect treatments -n 1800 --mistakes 0.15 --bank {tmp_path}/bank" in lines
    assert not list(tmp_path.iterdir())
    failed = subprocess.run([sys.executable, str(TOOL), "smoke", "--name", "mine"], capture_output=True, text=True, check=False)
    assert failed.returncode == 1 and "to say what its bank wants" in failed.stderr
