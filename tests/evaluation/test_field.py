"""What an evaluation is played with: limits that hold for every task, and servers that had to be started anew."""

import pytest
from bank_samples import WordEncoder
from toys import Counting

from edgexp.bank import Bank
from edgexp.evaluation import experience
from edgexp.evaluation.field import Field
from edgexp.evaluation.suite import Condition, Experience, Suite, Tasks


class Varying(Counting):
    """Tasks have limits of their own, known once they are begun; the server behind it has died twice."""

    restarts = 2

    def reset(self, task):
        self.max_steps = 2
        return super().reset(task)


def test_the_limit_is_not_that_of_the_task_that_was_played_last():
    tasks = Tasks("test_field:Varying")
    with Field("toy", Suite((Condition(name="c"),), tasks=(tasks,)), {}, print) as field:
        environment = field.environments.at(tasks.environment)
        environment.reset(environment.tasks("train")[0])
        assert environment.max_steps == 2 and field.steps(tasks) == 10
        assert field.steps(Tasks("test_field:Varying", steps=5)) == 5


def test_servers_that_were_started_anew_are_counted_over_all_places():
    with Field("toy", Suite((Condition(name="c"),)), {}, print) as field:
        field.environments.at("household")
        assert field.environments.restarts() == {}
        for place in range(2):
            field.environments.at("test_field:Varying", place)
        assert field.environments.restarts() == {"test_field:Varying": 4}


class Player:
    """Counts up; raises where the task is the third."""

    def begin(self, goal, observation):
        if Unlucky.number == 2 and not Unlucky.mended:
            raise RuntimeError("no idea")

    def act(self, observation):
        return "add one"


class Unlucky(Counting):
    """One task cannot begin, and the expert knows nothing of another."""

    number, mended = 0, False

    def reset(self, task):
        Unlucky.number = int(task.id[-1])
        return None if self.number == 1 and not self.mended else super().reset(task)

    def expert(self):
        return Player()


def test_an_expert_that_fails_leaves_the_others_to_fill_the_bank(tmp_path, monkeypatch):
    tasks = Tasks("test_field:Unlucky", experience=Experience(number=4))
    with Field("toy", Suite((Condition(name="c"),)), {}, print) as field, Bank.open(tmp_path / "bank", WordEncoder()) as bank:
        told = []
        drawn = experience.draw(field.environments.at(tasks.environment), tasks)
        for lacking, known in ((2, 2), (2, 2), (0, 4)):
            monkeypatch.setattr(Unlucky, "mended", not lacking)
            lines = experience.fill(bank, field.environments, tasks, drawn, lambda done, total: told.append((done, total)))
            assert len(lines) == lacking and all("\n" not in line for line in lines)
            assert len({entry.task_id for entry in bank.entries() if entry.success}) == known
        assert told[0] == (0, 4) and told[4] == (4, 4) and told[-1] == (2, 2)
    assert experience.draw(Counting(), tasks)


def test_what_the_bank_of_an_evaluation_lacks_is_told_and_the_exit_code_says_so(tmp_path, monkeypatch, capsys):
    from edgexp.cli import displays, main
    from edgexp.evaluation import evaluate

    lines = tuple(f"not played: number {number} cannot begin" for number in range(9))
    monkeypatch.setattr(evaluate, "evaluate", lambda *_: evaluate.Done(3, (), (), lines))
    monkeypatch.setattr(displays, "show_results", lambda *_: None)
    with pytest.raises(SystemExit) as left:
        main(["eval", "smoke", "--out", str(tmp_path)])
    assert left.value.code == 1 and "lacks 9 expert episodes" in capsys.readouterr().err
