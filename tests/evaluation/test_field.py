"""What an evaluation is played with: limits that hold for every task, and servers that had to be started anew."""

from toys import Counting

from edgexp.evaluation.field import Field
from edgexp.evaluation.suite import Condition, Suite, Tasks


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
