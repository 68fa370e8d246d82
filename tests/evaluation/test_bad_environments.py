"""An evaluation at several places in which an environment answers wrongly: each fault is its own episode's, and every row can be read."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from toy_eval import ToyPlayers, evaluate_toys
from wrong_values import RAISES, Fickle, plenty

from edgexp.environments.boundary import checked
from edgexp.evaluation.playing import Job
from edgexp.evaluation.results import read
from edgexp.play.collecting import expert_episode


def throw(error: BaseException) -> None:
    raise error


ANSWERS: list[Callable[[], Any]] = [
    *(lambda number=number: plenty()[number] for number in range(len(plenty()))),  # type: ignore[misc]
    *(partial(throw, kind("a\nb\ud800")) for kind in RAISES),
]


def play(self: ToyPlayers, place: int, job: Job, *, member: str, answer: Callable[[], Any], remote: bool) -> Any:
    """Every second task is played in an environment with a fault."""
    faulty = int(job.task.id.rsplit("/", 1)[1]) % 2
    world: Any = checked(Fickle({member: answer} if faulty else {}), "test")
    world.remote = remote
    return expert_episode(world, job.task, mistakes=0.5)


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("member", ["reset", "step", "admissible", "begin", "act", "expert"])
def test_an_evaluation_goes_on_whatever_an_environment_answers(
    member: str, remote: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, answer in enumerate(ANSWERS[remote::4]):
        monkeypatch.setattr(ToyPlayers, "episode", partialmethod(member, answer, remote))
        _, failures = evaluate_toys(tmp_path / str(number))
        rows = read(tmp_path / str(number)).rows
        assert len(rows) + len(failures) == 24, "every job is a row or a failure"
        sound = [row for row in rows if int(row.task_id.rsplit("/", 1)[1]) % 2 == 0]
        assert len(sound) == 12 and all(row.success for row in sound)
        assert all("\n" not in failure.reason and failure.reason.encode() for failure in failures)


def partialmethod(member: str, answer: Callable[[], Any], remote: bool) -> Callable[..., Any]:
    return lambda self, place, job: play(self, place, job, member=member, answer=answer, remote=remote)


