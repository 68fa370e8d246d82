"""`--parallel` on the command line, with the default model: the same tasks, and a bank that goes on where it stopped."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgexp.bank import Bank
from edgexp.environments.registry import make
from edgexp.trajectory import encode

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("policy_path")]

SHORT = ("--memory", "off", "--steps", "3", "--json")


def test_two_at_once_play_the_tasks_of_one_at_a_time(edgexp) -> None:  # type: ignore[no-untyped-def]
    """Equal tasks and valid actions. Actions themselves may differ where two are nearly as likely: batches change last bits."""
    done = [edgexp("run", *SHORT, "-n", "4", *more) for more in ((), ("--parallel", "2"))]
    assert [one.returncode for one in done] == [0, 0], done[1].stderr
    alone, together = ({line["trajectory"]["task"]["id"]: line for line in map(json.loads, one.stdout.splitlines()[:-1])} for one in done)
    assert len(alone) == 4 and set(alone) == set(together)
    assert all(line["stats"]["prompt"] == together[task]["stats"]["prompt"] for task, line in alone.items())
    for line in together.values():
        replay(line["trajectory"])


def replay(trajectory: dict[str, Any]) -> None:
    """The same actions give the same observations, and each was valid."""
    world = make("household")
    start = world.reset(world.task(trajectory["task"]["id"]))
    assert (start.goal, start.observation) == (trajectory["goal"], trajectory["observation"]) and trajectory["steps"]
    for step in trajectory["steps"]:
        assert step["action"] in world.admissible()  # type: ignore[attr-defined]
        assert world.step(step["action"]).observation == step["observation"]


def test_the_expert_takes_over_and_hands_back(edgexp, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The untrained model wins nothing by itself. It goes on after the expert's actions as if they were its own."""
    collect = ("collect", "--policy", "takeover", "--hand-back", "2", "--parallel", "2", "--memory", "off", "--steps", "20", "--json",
               "--model", "smollm2-135m-instruct")  # fmt: skip
    done = json.loads(edgexp(*collect, "--bank", tmp_path / "bank", "-n", "3").stdout)
    assert (done["played"], done["failed"]) == (3, 0) and done["won"] >= 2
    with Bank.open(tmp_path / "bank", readonly=True) as opened:
        for trajectory in opened.each():
            assert trajectory.provenance.source == "takeover" and trajectory.provenance.model == "smollm2-135m-instruct"
            replay(json.loads(encode(trajectory)))
            assert any(step.mistake for step in trajectory.steps) and not all(step.mistake for step in trajectory.steps)
    again = json.loads(edgexp(*collect, "--bank", tmp_path / "bank", "-n", "3").stdout)
    assert again["played"] == 3 - done["won"]


def test_the_model_collects_and_goes_on_where_it_stopped(edgexp, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    bank = tmp_path / "bank"
    collect = ("collect", "--policy", "agent", "--again", "none", "--parallel", "2", *SHORT, "--bank", bank)
    first, again = (json.loads(edgexp(*collect, "-n", number).stdout) for number in (2, 3))
    assert (first["played"], first["known"], first["failed"]) == (2, 0, 0)
    assert (again["played"], again["known"], again["bank"]) == (1, 2, 3)
    with Bank.open(bank, readonly=True) as opened:
        assert {entry.source for entry in opened.entries()} == {"agent"} and len({entry.task_id for entry in opened.entries()}) == 3
