"""A run's folder: who may work in it, and what killed processes left there."""

from pathlib import Path

import msgspec
import pytest

from edgexp.errors import EdgexpError
from edgexp.training import launch
from edgexp.training import train as trains
from edgexp.training.launch import Base, Job, Run
from edgexp.training.recipe import Check, Recipe

pytestmark = pytest.mark.slow

RECIPE = Recipe(check=Check(select="rollouts"))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with one checkpoint."""
    made = Run(tmp_path / "run")
    (made.checkpoints / "step-000002").mkdir(parents=True)
    made.write_job(Job("test", RECIPE, Base("tiny", "", "0" * 64), str(tmp_path)))
    return made


def test_two_processes_do_not_train_in_one_folder(run: Run) -> None:
    """Without torch: who may not begin loads nothing."""
    with run.held(), pytest.raises(EdgexpError, match=r"another process is at work in .*run .*--out"):
        launch.follow(run, ["train"], lambda _: None)
    with run.held():
        pass  # it was let go


def test_a_run_under_way_is_not_thrown_away(run: Run, policy_path: Path) -> None:
    with run.held(), pytest.raises(EdgexpError, match="another process is at work"):
        trains.train(run.folder, "test", msgspec.structs.replace(RECIPE, check=Check()), trains.Watchers(), fresh=True)
    assert run.job() is not None


def test_while_checkpoints_play_the_folder_is_held(run: Run) -> None:
    def rollouts(_: Path) -> float:
        with pytest.raises(EdgexpError, match="another process is at work"), run.held():
            pass
        return 0.5

    assert trains.choose(run, RECIPE, rollouts) == (2, {2: 0.5})


def test_what_killed_processes_left_is_removed(run: Run) -> None:
    for name in (".step-000004-x1", ".rollouts-x2"):
        (run.checkpoints / name).mkdir()
        (run.checkpoints / name / "model.gguf").write_bytes(b"half")
    with run.held():
        assert [path.name for path in run.checkpoints.iterdir()] == ["step-000002"]
