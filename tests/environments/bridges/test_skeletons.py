"""What `edgexp envs new` writes plays at once, and overwrites nothing."""

import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgexp.cli import cli
from edgexp.environments.bridges.skeletons import write_skeleton
from edgexp.environments.registry import make
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.episode import play
from edgexp.play.rollout import run
from edgexp.play.scripted import ExpertPolicy


@pytest.mark.parametrize("kind", ["class", "process", "tasks"])
@pytest.mark.parametrize("name", ["a", "green_garden", "x9"])
def test_what_is_written_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str) -> None:
    if kind == "process" and shutil.which("python3") is None:
        pytest.skip("no python3 here")
    monkeypatch.chdir(tmp_path)
    path, target = write_skeleton(name, kind, Path())  # type: ignore[arg-type]
    world = make(target.strip('"'))
    assert world.name == name and path.exists()
    for split in world.splits():
        for task in world.tasks(split)[:4]:
            assert world.task(task.id) == task and run(play(world, task, ExpertPolicy(world))).trajectory.success
        with pytest.raises(UsageError):
            world.task(f"{name}/{split}/no-such-task")
    world.close()
    before = {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()}
    with pytest.raises(EdgexpError, match="is there already, and nothing is written over it"):
        write_skeleton(name, kind, Path())  # type: ignore[arg-type]
    assert {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()} == before


@pytest.mark.parametrize("name", ["", "A", "a b", "../x", "a/b", "9a", "class", "a" * 51, "ä", "a\n", "-x", "."])
def test_names_that_cannot_be_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name") as raised:
        write_skeleton(name, "class", tmp_path)
    assert "\n" not in str(raised.value) and not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="folders are always writable there")
def test_where_nothing_can_be_written_it_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgexpError, match="cannot be written"):
        write_skeleton("a", "class", tmp_path / "file")


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(cli, ["envs", "new", "garden", "--kind", "tasks"])
    assert shown.exit_code == 0 and "play it with: edgexp run ./garden" in shown.output
    assert make("./garden", sandbox=False).tasks("train")
