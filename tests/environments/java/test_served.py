"""What environments behind a Java server share, with a server of the test's own that dies, hangs and raises when told to."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgexp.environments.base import Environment, HasAdmissible, HasExpert, Outcome, Start
from edgexp.environments.java.gateway import JavaError
from edgexp.environments.java.gold import GoldPath
from edgexp.environments.java.served import ServedEnvironment, freeze_all, missing
from edgexp.errors import EdgexpError
from edgexp.play.episode import play
from edgexp.play.rollout import run
from edgexp.play.scripted import ExpertPolicy, Scripted
from edgexp.trajectory import Task


class Double:
    """Stands in for a JVM with a game: count up to the task's number. Dies in the calls it is told to die in."""

    def __init__(self, deaths: list[str]) -> None:
        self._deaths, self._lives, self.count, self.target = deaths, True, 0, 0

    def call(self, method: str) -> None:
        if method in self._deaths:
            self._deaths.remove(method)
            self.close()
        if not self._lives:
            raise JavaError(f"Java died in {method}")

    def alive(self) -> bool:
        return self._lives

    def close(self) -> None:
        self._lives = False


class Toy(ServedEnvironment):
    """Counting, served by doubles."""

    name, version, max_steps, entry = "toy", "1+1", 9, "toy.Entry"

    def __init__(self, gold: Path, deaths: Sequence[str] = (), unsolvable: str = "") -> None:
        super().__init__(gold)
        self.deaths, self.unsolvable, self.started, self.solved = list(deaths), unsolvable, 0, list[str]()

    def _find_jar(self) -> Path:
        return Path("toy.jar")

    def _start(self) -> Double:
        if self.deaths[:1] == ["start"]:
            raise JavaError("Java could not start toy.jar")
        self.started += 1
        return Double(self.deaths)

    def _begin(self, server: Double, task: Task) -> Start:
        server.call("load")
        server.count, server.target = 0, int(task.id.rsplit("/", 1)[1])
        return Start(f"count to {server.target}.", "0")

    def _act(self, server: Double, action: str) -> Outcome:
        server.call("step")
        server.count += action == "add one"
        won = server.count == server.target
        return Outcome(str(server.count), float(won), won or action == "lose", won, server.count / server.target)

    def _valid(self, server: Double) -> list[str]:
        server.call("valid")
        return ["lose", "add one", "lose"]

    def _solve(self, server: Double, task: Task) -> list[str]:
        server.call("solve")
        self.solved.append(task.id)
        if task.id == self.unsolvable:
            raise EdgexpError(f"{task.id}: the solver found no path")
        return ["add one"] * int(task.id.rsplit("/", 1)[1])

    def splits(self) -> Sequence[str]:
        return ("train",)

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(f"toy/train/{n}", "toy", "train", "count") for n in range(1, 6)]

    def task(self, task_id: str) -> Task:
        return next(task for task in self.tasks("train") if task.id == task_id)

    def instructions(self) -> str:
        return "count"

    def limit(self, task: Task) -> int:
        return 3 + int(task.id.rsplit("/", 1)[1])


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    return tmp_path / "gold.jsonl"


def test_it_keeps_the_contract_and_starts_nothing_before_the_first_reset(gold: Path) -> None:
    toy = Toy(gold)
    assert isinstance(toy, Environment) and isinstance(toy, HasAdmissible) and isinstance(toy, HasExpert)
    with pytest.raises(EdgexpError, match="no episode is under way"):
        toy.step("add one")
    with pytest.raises(EdgexpError, match="no episode is under way"):
        toy.admissible()
    toy.close()
    assert toy.started == 0


def test_episode_after_episode_on_one_server(gold: Path) -> None:
    toy = Toy(gold)
    for number in (2, 3):
        toy.reset(toy.task(f"toy/train/{number}"))
        assert toy.max_steps == 3 + number
        assert toy.admissible() == ["add one", "lose"]
        outcomes = [toy.step("  add \n one ") for _ in range(number)]
        assert outcomes[-1].success and toy.admissible() == []
        with pytest.raises(EdgexpError, match="the episode is over"):
            toy.step("add one")
    assert toy.started == 1 and toy.restarts == 0


def test_text_of_any_kind_is_an_action(gold: Path) -> None:
    toy = Toy(gold)
    toy.reset(toy.task("toy/train/2"))
    assert toy.step("\udc80 \x00").observation == "0"


def test_a_death_fails_its_episode_and_the_next_one_plays(gold: Path) -> None:
    toy = Toy(gold, deaths=["step"])
    task = toy.task("toy/train/2")
    ends = [run(play(toy, task, Scripted(["add one"] * 2))).trajectory for _ in range(2)]
    assert ends[0].end == "error: Java died in step" and not ends[0].success
    assert ends[1].end == "done" and ends[1].success
    assert toy.started == 2 and toy.restarts == 1


def test_after_a_death_the_episode_stays_dead(gold: Path) -> None:
    toy = Toy(gold, deaths=["valid"])
    toy.reset(toy.task("toy/train/2"))
    with pytest.raises(JavaError, match="died in valid"):
        toy.admissible()
    with pytest.raises(JavaError, match="Java has ended"):
        toy.step("add one")


def test_a_death_between_episodes_costs_nothing(gold: Path) -> None:
    toy = Toy(gold)
    toy.reset(toy.task("toy/train/2"))
    toy._server.close()
    assert toy.reset(toy.task("toy/train/3")).goal == "count to 3."
    assert toy.restarts == 1


def test_a_reset_is_tried_twice_and_no_more(gold: Path) -> None:
    toy = Toy(gold, deaths=["load", "load"])
    with pytest.raises(JavaError, match="died in load"):
        toy.reset(toy.task("toy/train/2"))
    with pytest.raises(EdgexpError, match="no episode is under way"):
        toy.step("add one")
    toy = Toy(gold, deaths=["load"])
    assert toy.reset(toy.task("toy/train/2")).observation == "0"


def test_a_task_of_another_environment_is_refused(gold: Path) -> None:
    toy = Toy(gold)
    with pytest.raises(EdgexpError, match="not toy's own task"):
        toy.reset(Task("toy/train/2", "toy", "train", "another type"))


def test_the_expert_solves_once_and_plays_what_was_kept(gold: Path) -> None:
    for toy in (Toy(gold), Toy(gold)):
        policy = ExpertPolicy(toy)
        for _ in range(2):
            assert run(play(toy, toy.task("toy/train/3"), policy)).trajectory.success
        assert len(toy.gold) == 1
    assert toy.solved == []  # the second one found the path in the file


def test_an_expert_whose_path_has_to_be_found_meets_a_fresh_episode(gold: Path) -> None:
    toy = Toy(gold)
    start = toy.reset(toy.task("toy/train/3"))
    toy.expert().begin(start.goal, start.observation)
    assert toy.step("look").observation == start.observation


def test_a_task_without_a_path_is_remembered_but_a_death_is_not(gold: Path) -> None:
    toy = Toy(gold, unsolvable="toy/train/4")
    assert toy.freeze(toy.task("toy/train/4")).problem == "toy/train/4: the solver found no path"
    toy.freeze(toy.task("toy/train/4"))
    assert toy.solved == ["toy/train/4"]
    assert run(play(toy, toy.task("toy/train/4"), ExpertPolicy(toy))).trajectory.end == "gave_up"
    toy.deaths.append("solve")
    path = toy.freeze(toy.task("toy/train/5"))
    assert path.problem == "Java died in solve" and toy.gold.get("toy/train/5") is None
    assert toy.freeze(toy.task("toy/train/5")).success


def test_a_path_is_proven_by_replay(gold: Path) -> None:
    class Liar(Toy):
        def _solve(self, server: Double, task: Task) -> list[str]:
            return super()._solve(server, task)[:-1]

    toy = Liar(gold)
    path = toy.freeze(toy.task("toy/train/4"))
    assert not path.success and path.score == 0.75 and len(path.actions) == 3


def test_a_path_ends_where_the_episode_does(gold: Path) -> None:
    class Talker(Toy):
        def _solve(self, server: Double, task: Task) -> list[str]:
            return [*super()._solve(server, task), "add one", "look"]

    path = Talker(gold).freeze(Toy(gold).task("toy/train/4"))
    assert path.success and path.actions == ("add one",) * 4


def test_many_paths_side_by_side_and_again(gold: Path) -> None:
    toys, found = [Toy(gold, unsolvable="toy/train/2") for _ in range(3)], list[GoldPath]()
    freeze_all(toys, missing(toys[0], toys[0].tasks("train")), found.append)
    assert sorted(path.task for path in found) == [f"toy/train/{n}" for n in range(1, 6)]
    assert {path.task for path in found if not path.success} == {"toy/train/2"}
    assert sorted(task for toy in toys for task in toy.solved) == sorted(path.task for path in found)  # none twice
    assert missing(Toy(gold), toys[0].tasks("train")) == []


def test_an_interruption_keeps_what_was_found_and_closes_the_servers(gold: Path) -> None:
    toy, found, before = Toy(gold), list[GoldPath](), threading.active_count()

    def interrupt(path: GoldPath) -> None:
        found.append(path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        freeze_all([toy], toy.tasks("train"), interrupt)
    assert toy._server is None and threading.active_count() == before
    assert len(Toy(gold).gold) >= 1 and found[0] == Toy(gold).gold.get(found[0].task)


def test_java_that_cannot_start_stops_the_work(gold: Path) -> None:
    toy = Toy(gold, deaths=["start"])
    with pytest.raises(JavaError, match="could not start"):
        freeze_all([toy], toy.tasks("train"), lambda _: None)
    with pytest.raises(JavaError, match="could not start"):
        toy.reset(toy.task("toy/train/1"))
    assert len(toy.gold) == 0
