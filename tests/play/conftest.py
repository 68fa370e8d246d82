"""What tests of whole episodes share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bank_samples import WordEncoder
from toys import Counting

from edgexp.bank import Bank
from edgexp.play.episode import play
from edgexp.play.rollout import run
from edgexp.play.scripted import Scripted
from edgexp.trajectory import Trajectory


def _count_by(actions: list[str], number: int = 0) -> Trajectory:
    """An episode of the counting environment, as a script plays it."""
    world = Counting()
    return run(play(world, world.tasks("train")[number], Scripted(actions))).trajectory


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    """One episode that was won by counting up, and one that was lost by waiting."""
    with Bank.open(tmp_path / "bank", WordEncoder()) as opened:
        opened.add([_count_by(["add one"] * 3, 1), _count_by(["wait", "wait", "wait"], 2)])
        yield opened
