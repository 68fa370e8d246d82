"""`edgexp run` and `collect` with an environment and a policy of one's own: defaults that fit, one bad thing, bad values of options."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bank_samples import WordEncoder

from edgexp.bank import Bank
from edgexp.cli import main
from edgexp.play import session

PLACE = '''
import sys
from toys import Counting
from edgexp.environments.base import Outcome, Start
from edgexp.play.scripted import Scripted

class One(Counting):
    def splits(self): return ("only",)
    def tasks(self, split): return {"only": super().tasks("only")[:1]}[split]
    def expert(self): return Expert()

class Expert:
    def begin(self, goal, observation): pass
    def act(self, observation): return "add one"

class Many(Counting):
    def expert(self): return Expert()
    def reset(self, task):
        self.number = int(task.id[-1])
        return None if self.number == 1 else super().reset(task)
    def step(self, action):
        if self.number == 2: sys.exit("bye")
        return super().step(action)

class Failing(Counting):
    def expert(self):
        raise RuntimeError("no players")

class Stuck(Many):
    def reset(self, task): return Counting.reset(self, task) if setattr(self, "number", 0) is None else None
    def close(self): raise RuntimeError("the door is stuck")

class Bare(One):
    admissible = None

class Silent(Counting):
    pass

def wins(environment, retriever, acting): return Scripted(["add one"] * 3, "agent")
def loses(environment, retriever, acting): return Scripted(["wait"], "agent")
def says(environment, retriever, acting): print(acting.actions, file=sys.stderr); return wins(0, 0, 0)
class Remembering(Scripted):
    def begin(self, episode):
        start = episode.start
        found = self.retriever.recall(episode.task, start.goal, start.observation).recalled
        print("recalled", [one.trajectory.task.id for one in found], file=sys.stderr)
def remembers(environment, retriever, acting):
    made = Remembering(["add one"] * 3, "agent")
    made.retriever = retriever
    return made
def wrong(environment, retriever, acting): return Scripted([None, 5], "agent")
'''

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command line in this process, in a folder that holds `place.py`, with a home of its own and an encoder of words."""
    (tmp_path / "place.py").write_text(PLACE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("EDGEXP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(session, "open_encoder", lambda name, say: WordEncoder())
    sys.modules.pop("place", None)

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([*map(str, arguments)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return int(left.value.code or 0), out, err

    return call


AGENT = ("--policy", "place:wins", "--memory", "off")


def episodes(out: str) -> list[dict[str, Any]]:
    return [line["trajectory"] for line in map(json.loads, out.splitlines()) if "trajectory" in line]


# Defaults


@pytest.mark.parametrize("name", ["place:One", "place.py:One", "./place.py:One"])
def test_one_task_is_played_as_often_as_asked_and_the_split_is_the_one_there_is(command: Call, name: str) -> None:
    code, out, _ = command("run", name, *AGENT, "-n", 10, "--json")
    assert code == 0 and [t["task"]["id"] for t in episodes(out)] == ["counting/only/0"] * 10


def test_a_named_task_is_played_once_or_as_often_as_asked(command: Call) -> None:
    named = ("run", "place:Silent", *AGENT, "--json", "--task", "counting/test/1", "--task", "counting/test/2")
    assert [t["task"]["id"][-1] for t in episodes(command(*named)[1])] == ["1", "2"]
    assert [t["task"]["id"][-1] for t in episodes(command(*named, "-n", 5)[1])] == ["1", "2", "1", "2", "1"]


def test_without_valid_actions_it_is_played_freely(command: Call) -> None:
    free = ("run", "place:Bare", "--policy", "place:says", "--memory", "off", "-n", 1)
    assert command(*free)[0] == 0 and "free" in command(*free)[2]
    code, out, err = command(*free, "--actions", "admissible")
    assert (code, out) == (2, "") and "does not list valid actions" in err


def test_an_agent_remembers_what_it_did_at_the_same_task(command: Call, tmp_path: Path) -> None:
    again = ("place:One", "--policy", "place:remembers", "--bank", tmp_path / "bank", "-n", 1)
    code, _, err = command("collect", *again)
    assert code == 0 and "recalled []" in err
    code, _, err = command("run", *again)
    assert code == 0 and "recalled ['counting/only/0']" in err
    code, _, err = command("collect", *again, "--again", "all")
    assert code == 0 and "recalled ['counting/only/0']" in err


def test_without_a_split_to_train_on_an_expert_plays_what_there_is(command: Call, tmp_path: Path) -> None:
    code, _, err = command("run", "place:One", "--policy", "place:remembers", "--bank", tmp_path / "bank", "-n", 2)
    assert code == 0 and "an expert plays 1 training tasks" in err and err.count("recalled ['counting/only/0']") == 2


def test_lost_tasks_are_tried_again_and_won_ones_are_not(command: Call, tmp_path: Path) -> None:
    collect = ("collect", "place:Silent", "--memory", "off", "--bank", tmp_path / "bank", "--json", "--policy")
    runs = [("loses", 2), ("loses", 3), ("wins", 3), ("wins", 4), ("wins", 4, "--again", "none"), ("wins", 4, "--again", "all")]
    found = [json.loads(command(*collect, f"place:{who}", "-n", number, *more)[1]) for who, number, *more in runs]
    assert [(one["played"], one["known"], one["won"]) for one in found] == [
        (2, 0, 0), (3, 0, 0), (3, 0, 3), (1, 3, 1), (0, 4, 0), (4, 0, 4)]  # fmt: skip


# One bad thing


@pytest.mark.parametrize("parallel", [1, 3])
def test_run_tells_what_failed_and_plays_the_others(command: Call, parallel: int) -> None:
    code, out, err = command("run", "place:Many", *AGENT, "--split", "train", "-n", 4, "--json", "--parallel", parallel)
    played = {t["task"]["id"][-1]: t for t in episodes(out)}
    assert code == 1 and {number: t["success"] for number, t in played.items()} == {"0": True, "2": False, "3": True}
    assert "not played: counting: what reset('counting/train/1') returned is None, but a Start(goal, observation) is wanted" in err
    assert "broken off after 0 actions: counting/train/2: error: counting: step() raised SystemExit: bye" in err


@pytest.mark.parametrize("who", [("--policy", "expert"), AGENT])
def test_collect_tells_what_failed_each_time_and_goes_on(command: Call, tmp_path: Path, who: tuple[str, ...]) -> None:
    collect = ("collect", "place:Many", *who, "--bank", tmp_path / "bank", "--json")
    for number, played, known in ((4, 2, 0), (4, 0, 2)):
        code, out, _ = command(*collect, "-n", number)
        found = json.loads(out)
        assert (code, found["played"], found["known"], found["failed"]) == (1, played, known, 2)
    with Bank.open(tmp_path / "bank", readonly=True) as bank:
        assert bank.verify() == [] and {t.task.id[-1]: t.success for t in bank.each()} == {"0": True, "2": False, "3": True}


def test_experts_that_fail_are_told_and_nothing_is_kept(command: Call, tmp_path: Path) -> None:
    code, out, _ = command("collect", "place:Failing", "--bank", tmp_path / "bank", "--json")
    assert code == 1 and json.loads(out)["failed"] == 4 and json.loads(out)["bank"] == 0
    code, _, err = command("collect", "place:Silent", "--bank", tmp_path / "bank")
    assert code == 2 and err.count("has no scripted expert") == 1


def test_what_cannot_be_closed_is_told_after_all_is_done(command: Call, tmp_path: Path) -> None:
    code, out, err = command("collect", "place:Stuck", "--bank", tmp_path / "bank", "--json")
    assert code == 1 and json.loads(out)["won"] == 4 and "counting: close() raised RuntimeError: the door is stuck" in err


def test_a_policy_of_ones_own_is_checked_too(command: Call) -> None:
    code, out, err = command("run", "place:Silent", "--policy", "place:wrong", "--memory", "off", "-n", 1, "--json")
    [kept] = episodes(out)
    assert code == 1 and kept["steps"] == [] and "the text of its decision is None, but a text is wanted" in err


# Options


@pytest.mark.parametrize("wrong", [
    ("-n", 0), ("-n", -1), ("-n", "1e3"), ("-n", 10**30), ("--seed", -1), ("--seed", 2**63), ("--temperature", "nan"),
    ("--temperature", "inf"),
    ("--temperature", -1), ("-k", -1), ("-k", 65), ("--every", 0), ("--context", "1e9"), ("--context", 10**9), ("--context", 5),
    ("--steps", -5),
    ("--steps", 0), ("--diversity", "nan"), ("--parallel", 0), ("--repeats", -1), ("--gpu-layers", -2), ("--actions", "dance"),
])  # fmt: skip
def test_a_bad_value_is_one_line(command: Call, wrong: tuple[str, object]) -> None:
    for name in ("run", "collect"):
        code, out, err = command(name, "place:Silent", *AGENT, *wrong)
        assert code == 2 and out == "" and err.startswith("edgexp: Invalid value for ") and wrong[0] in err
        assert err.endswith(f"; see: edgexp {name} --help\n") and err.count("\n") == 1


def test_a_share_of_mistakes_is_a_number(command: Call) -> None:
    assert command("collect", "place:Silent", "--mistakes", "nan")[0] == 2


@pytest.mark.parametrize("name", [":", "a:", "a.b:c.d", "nowhere", "place:Nobody", "place:sys", "./no.py:One"])
def test_a_wrong_name_is_one_line(command: Call, name: str) -> None:
    code, out, err = command("run", name, *AGENT)
    assert code in (1, 2) and out == "" and err.startswith("edgexp: ") and err.count("\n") == 1


def test_a_billion_episodes_begin_at_once(command: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgexp.play.session import OpenSession

    seen = []
    monkeypatch.setattr(OpenSession, "play", lambda self, tasks, **_: seen.append(next(iter(tasks))) or [])
    assert command("run", "place:One", *AGENT, "-n", 10**9)[0] == 0 and len(seen) == 1


# Other people's environments


def test_a_program_of_ones_own_fills_a_bank(command: Call) -> None:
    command("envs", "new", "garden", "--kind", "process")
    name = f"process:{sys.executable} garden.py"
    code, out, err = command("collect", name, "-n", 3, "--bank", "bank", "--json")
    assert code == 0, err
    assert json.loads(out) == {"drawn": 3, "known": 0, "played": 3, "won": 3, "failed": 0, "bank": 3}
    code, _, err = command("collect", "process:false", "-n", 3, "--bank", "bank", "--json")
    assert code == 1 and "process:false: asked for hello, it ended with status 1" in err


def test_a_folder_of_tasks_is_played_and_its_commands_are_refused_without_a_sandbox(command: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    command("envs", "new", "chores", "--kind", "tasks")
    played = ("collect", "./chores", "-n", 1, "--bank", "bank", "--json")
    assert command(*played)[0] == 0
    task = Path("chores/touch/task.toml")
    task.parent.mkdir()
    task.write_text('instruction = "make x"\nkind = "shell"\nsplit = "train"\nsolution = ["touch x"]\n[check]\ncommand = "test -e x"\n')
    code, _, err = command(*played, "--again", "all")
    assert code == 2 and "shell tasks run under bubblewrap, which is not here" in err and "--no-sandbox" in err
    named = ("--task", "chores/train/touch", "--no-sandbox")
    assert command(*played, *named)[0] == 0 and not os.environ.get("EDGEXP_NO_SANDBOX")
