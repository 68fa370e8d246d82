"""Filling a bank: every episode is kept, what cannot begin is told and the others go on, and no task is played twice."""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from bank_samples import WordEncoder
from hypothesis import given
from hypothesis import strategies as st
from toys import Counting, make_trajectory

from edgexp.bank import Bank, check_sound
from edgexp.environments.base import Start
from edgexp.environments.registry import make
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.collecting import Again, collect, collect_telling, draw, expert_episodes, in_turn, left_to_play, split_to_play, spread
from edgexp.play.fleet import Environments
from edgexp.play.rollout import Finished
from edgexp.play.session import OpenSession, Settings
from edgexp.trajectory import Played, Provenance, Task, Trajectory, as_import

TASKS = Counting().tasks("train")


class Counter3:
    """Counts up, whatever it sees."""

    def begin(self, goal: str, observation: str) -> None:
        self.seen = observation

    def act(self, observation: str) -> str | None:
        return None if "3" in observation else "add one"


class Taught(Counting):
    """Counting with an expert; one of its tasks cannot begin."""

    remote = True

    def reset(self, task: Task) -> Start:
        if task.id == TASKS[1].id:
            raise EdgexpError(f"{task.id}: the file is damaged")
        return super().reset(task)

    def expert(self) -> Counter3:
        return Counter3()


TAUGHT = f"{__name__}:Taught"


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    with Bank.open(tmp_path / "bank", WordEncoder()) as opened:
        yield opened


Result = bool | None | float


def finished(*won: Result) -> list[Finished]:
    """Episodes that were won, lost, could not begin (None), or cannot be stored because of their score."""
    def one(number: int, success: Result) -> Finished:
        if success is None:
            return Finished(number, None, EdgexpError(f"number {number} cannot begin"))
        made = make_trajectory(goal=f"goal {number}.", success=success is not False)
        return Finished(number, Played(made if isinstance(success, bool) else msgspec.structs.replace(made, score=success)))

    return [one(number, success) for number, success in enumerate(won)]


@pytest.mark.parametrize("parallel", [1, 2, 5])
@pytest.mark.parametrize("batch", [1, 2, 50])
def test_what_cannot_begin_is_told_and_the_others_are_kept(bank: Bank, parallel: int, batch: int) -> None:
    failed, done = [], []
    with Environments() as environments:
        episodes = expert_episodes(environments, TAUGHT, TASKS, parallel=parallel)
        assert collect(bank, episodes, done.append, failed.append, batch) == 3
    assert [str(error) for error in failed] == [f"{TASKS[1].id}: the file is damaged"]
    assert {entry.task_id for entry in bank.entries()} == {TASKS[n].id for n in (0, 2, 3)} == {p.trajectory.task.id for p in done}


@given(st.lists(st.sampled_from([True, False, None, math.nan]), max_size=9), st.integers(1, 5))
def test_every_episode_is_kept_won_or_lost_in_batches(results: list[Result], batch: int) -> None:
    class Shelf:
        def __init__(self) -> None:
            self.batches = list[list[str]]()

        def add(self, held: list[Trajectory]) -> None:
            self.batches.append([check_sound(t).goal for t in held])

    shelf, failed = Shelf(), list[EdgexpError]()
    won = collect(shelf, finished(*results), failed=failed.append, batch=batch)  # type: ignore[arg-type]
    assert won == results.count(True) and len(failed) == len(results) - won - results.count(False)
    goals = [f"goal {number}." for number, result in enumerate(results) if isinstance(result, bool)]
    assert [goal for held in shelf.batches for goal in held] == goals
    assert all(len(held) == batch for held in shelf.batches[:-1]) and all(shelf.batches)


def test_without_somebody_to_tell_what_cannot_begin_is_raised_and_what_was_played_is_kept(bank: Bank) -> None:
    with pytest.raises(EdgexpError, match="number 2 cannot begin"):
        collect(bank, finished(True, False, None, True), batch=20)
    assert bank.count() == 2


@pytest.mark.parametrize("batch", [1, 2, 20])
def test_an_interruption_loses_no_finished_episode(bank: Bank, batch: int) -> None:
    def interrupted() -> Iterator[Finished]:
        yield from finished(True, math.nan, True, False)
        raise KeyboardInterrupt

    refused = list[EdgexpError]()
    with pytest.raises(KeyboardInterrupt):
        collect(bank, interrupted(), failed=refused.append, batch=batch)
    assert bank.count() == 3 and "cannot be stored" in str(refused[0]) and len(refused) == 1


@pytest.mark.parametrize("batch", [1, 3, 20])
def test_what_is_wrong_is_told_once_an_episode_in_its_turn(bank: Bank, batch: int) -> None:
    long = make_trajectory(goal="long.", success=True, task_id="counting/train/9")
    long = msgspec.structs.replace(long, observation="я" * 1_100_000)
    broken = msgspec.structs.replace(make_trajectory(goal="broken."), end="error: the server has died", score=math.inf)
    episodes = [*finished(True, None), Finished(2, Played(long)), Finished(3, Played(broken)), *finished(False)]
    told = list[str]()
    won, problems = collect_telling(bank, episodes, told.append, batch)
    assert won == 1 and bank.count() == 2 and [line for line in told if line] == problems and [told[0], told[4]] == ["", ""]
    assert problems[0] == "not played: number 1 cannot begin"
    assert problems[1].startswith("not kept: an episode of counting/train/9 cannot be stored: ") and len(problems[1]) < 200
    assert problems[2].startswith("broken off after ") and len(problems) == 3


def test_an_end_without_an_end_is_an_error(bank: Bank) -> None:
    with pytest.raises(EdgexpError, match="over without an end"):
        collect(bank, [Finished(0, None)])


@pytest.mark.parametrize("parallel", [1, 3])
def test_no_player_plays_a_task_twice_and_each_player_plays_it(bank: Bank, parallel: int) -> None:
    from test_session import maker

    with Environments() as environments:
        session = OpenSession(environments, parallel, policy=maker)
        session.settings, session.retriever = Settings(environment=TAUGHT, seed=1), None  # it waits first, unlike the expert
        rest = [task for task in TASKS if task is not TASKS[1]]
        assert collect(bank, session.play(rest[:2])) == 2
        assert left_to_play(bank, rest, "agent") == rest[2:] and left_to_play(bank, rest, "expert") == rest
        assert collect(bank, session.play(left_to_play(bank, rest, "agent"))) == 1
        assert left_to_play(bank, rest, "agent") == []
        collect(bank, expert_episodes(environments, TAUGHT, rest, parallel=parallel))
    assert left_to_play(bank, rest, "expert") == []
    assert Counter(entry.source for entry in bank.entries()) == {"agent": 3, "expert": 3}


def played(task: Task, end: str, success: bool = False) -> Trajectory:
    """An agent's episode of a task."""
    like = make_trajectory(task_id=task.id, success=success, goal=f"{task.id} {end}.")
    return msgspec.structs.replace(like, end=end, provenance=Provenance("agent"))


@pytest.mark.parametrize(("again", "left"), [("none", "ad"), ("lost", "adce"), ("all", "abcdef")])
def test_what_is_played_again_is_what_was_asked_for(bank: Bank, again: Again, left: str) -> None:
    tasks = {name: Task(name, "toy", "train", "t") for name in "abcdef"}
    bank.add([
        played(tasks["b"], "done", success=True), played(tasks["c"], "max_steps"), played(tasks["d"], "error: the server has died"),
        played(tasks["e"], "gave_up"), played(tasks["e"], "error: it has died"),
        played(tasks["f"], "max_steps"), played(tasks["f"], "done", success=True),
    ])  # fmt: skip
    assert "".join(task.id for task in left_to_play(bank, tasks.values(), "agent", again)) == left
    assert len(left_to_play(bank, tasks.values(), "expert", again)) == 6


def test_the_split_is_the_one_that_fits() -> None:
    world: Any = SimpleNamespace(name="toy", splits=lambda: ("first", "train"))
    empty: Any = SimpleNamespace(name="toy", splits=lambda: ())
    assert split_to_play(world, None, "train") == "train" and split_to_play(world, None, "dev") == "first"
    assert split_to_play(world, "named", "dev") == "named"
    with pytest.raises(EdgexpError, match="the environment toy has no splits"):
        split_to_play(empty, None, "dev")


def test_tasks_come_again_where_there_are_fewer_than_asked_for() -> None:
    assert [task.id for task in in_turn(TASKS[:2], 5)] == [TASKS[n].id for n in (0, 1, 0, 1, 0)]
    assert list(in_turn(TASKS, 2)) == TASKS[:2] and list(in_turn([], 5)) == []
    assert next(in_turn(TASKS, 10**9)) == TASKS[0]


def test_a_billion_tasks_are_drawn_at_once() -> None:
    tasks = typed(*"ab" * 50)
    assert sorted(task.id for task in spread(tasks, 10**9)) == sorted(task.id for task in tasks)


def test_what_waits_in_quarantine_has_no_effect_on_what_is_played(bank: Bank) -> None:
    with Environments() as environments:
        [played] = [one.trajectory for one in expert_episodes(environments, TAUGHT, TASKS[:1])]
    assert played is not None
    bank.add([played], status="quarantined")
    assert left_to_play(bank, TASKS[:1], "expert") == TASKS[:1]
    bank.add([played])
    assert left_to_play(bank, TASKS[:1], "expert") == []


def test_what_a_file_claims_does_not_decide_what_is_played(bank: Bank) -> None:
    """An import that says that an expert played it, accepted or not; and what is played here then counts."""
    with Environments() as environments:
        [played] = [one.trajectory for one in expert_episodes(environments, TAUGHT, TASKS[:1])]
    assert played is not None
    claim = as_import(played)
    assert claim.id == played.id and claim.provenance.source == "import" and claim.provenance.claimed == "expert"
    bank.add([claim], status="quarantined")
    assert left_to_play(bank, TASKS[:1], "expert") == TASKS[:1]
    bank.accept([claim.id])
    assert left_to_play(bank, TASKS[:1], "expert") == TASKS[:1]
    assert bank.add([played]).known == (played.id,)
    assert left_to_play(bank, TASKS[:1], "expert") == [] and bank.get(played.id) == played
    bank.add([claim])
    assert bank.get(played.id) == played, "an import does not replace what was seen here"


def test_several_places_have_experts_of_their_own() -> None:
    with Environments() as environments:
        alone = {one.number: one.trajectory for one in expert_episodes(environments, "household", household(6), mistakes=0.3, seed=5)}
        together = {one.number: one.trajectory
                    for one in expert_episodes(environments, "household", household(6), mistakes=0.3, seed=5, parallel=4)}
    assert [alone[n] and alone[n].id for n in range(6)] == [together[n] and together[n].id for n in range(6)]  # type: ignore[union-attr]
    assert any(step.mistake for one in alone.values() if one for step in one.steps)


def household(count: int) -> list[Task]:
    from edgexp.environments.registry import make

    return list(make("household").tasks("train")[:count])


def typed(*kinds: str) -> list[Task]:
    return [Task(f"toy/train/{number}", "toy", "train", kind) for number, kind in enumerate(kinds)]


@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(0, 30), st.integers(0, 3))
def test_tasks_are_spread_over_their_types(kinds: list[str], count: int, seed: int) -> None:
    tasks = typed(*kinds)
    drawn = spread(tasks, count, seed)
    assert len(drawn) == min(count, len(tasks)) == len({task.id for task in drawn}) and drawn == spread(tasks, count, seed)
    share, there = Counter(task.type for task in drawn), Counter(kinds)
    for one in share:
        for other in there:
            assert share[one] <= share[other] + 1 or share[other] == there[other], "who has fewer has no more to give"
    assert all(task.type == "a" for task in spread(tasks, count, seed, lambda task: task.type == "a"))


def test_a_split_too_long_to_list_is_drawn_from() -> None:
    class Endless:
        asked = 0

        def __len__(self) -> int:
            return 10**12

        def __getitem__(self, position: int) -> Task:
            self.asked += 1
            return Task(f"toy/train/{position}", "toy", "train", "abc"[position % 3])

    endless = Endless()
    drawn = spread(endless, 30, 1)  # type: ignore[arg-type]
    assert len({task.id for task in drawn}) == 30 and Counter(task.type for task in drawn) == {"a": 10, "b": 10, "c": 10}
    assert endless.asked < 10_000 and spread(endless, 30, 2) != drawn  # type: ignore[arg-type]


@pytest.mark.parametrize(("types", "group", "count"), [
    ((), None, 6), (("pick_heat_then_place_in_recep",), None, 6), ((), "hard", 6), ((), "easy", None),
])
def test_tasks_are_drawn_of_what_was_asked_for(types, group, count):
    world = make("household")
    tasks = draw(world, "dev", count, 0, types, group) if count else draw(Few(), "train", None, 0, (), group)
    assert len(tasks) == (count or 2) and all(not types or task.type in types for task in tasks)
    assert all(group is None or task.group == group for task in tasks)


class Few(Counting):
    """Four tasks, two of them easy."""

    def tasks(self, split):
        return [Task(f"counting/train/{n}", "counting", "train", "count", group="easy" if n < 2 else "hard") for n in range(4)]


@pytest.mark.parametrize(("types", "group"), [(("nonsense",), None), ((), "eazy"), (("count",), "own-past")])
def test_what_no_task_is_of_is_told_with_what_there_is(types, group):
    with pytest.raises(UsageError, match=r"no task of split train of counting .*; its types: count; its groups: easy, hard"):
        draw(Few(), "train", 3, 0, types, group)
