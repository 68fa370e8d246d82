"""What every environment keeps to: all built-in ones that need no Java, and the one that is printed in the documentation."""

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from pages import printed_environment

from edgexp.environments.alfworld import Alfworld
from edgexp.environments.base import (
    Environment,
    Outcome,
    Start,
    aspects_of,
    expert_of,
    family_of,
    is_remote,
    lesson_of,
    restarts_of,
    valid_actions_of,
)
from edgexp.environments.household import pddl
from edgexp.environments.household.generator import generate
from edgexp.environments.household.pddl import Templates
from edgexp.environments.household.scene import GOAL_KINDS
from edgexp.environments.registry import make
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Task

Make = Callable[[], Environment]

NAMES = ("household", "treatments", "worlds", "alfworld", "doors")
ODD = ["", " ", "\n", "look around you", "go to", "open sesame", "take", "\x00", "☃", "x" * 50_000, "go to " * 500]
"""Texts that are no valid action anywhere."""


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Official games of our own making, two of each kind in each split."""
    root = tmp_path_factory.mktemp("alfworld")
    templates = Templates("(define (domain alfred))", '"Your task is to: x."')
    for number, split in enumerate(("train", "valid_seen", "valid_unseen")):
        for place, kind in enumerate(GOAL_KINDS):
            for trial in range(2):
                folder = root / "json_2.1.1" / split / f"{kind}-Mug-None-Shelf-{place}" / f"trial_{trial}"
                folder.mkdir(parents=True)
                scene = generate(kind, 100 * number + 10 * place + trial)
                (folder / "game.tw-pddl").write_bytes(pddl.encode(scene, templates))
    return root


@pytest.fixture(scope="module", params=NAMES)
def make_one(request: pytest.FixtureRequest, games: Path) -> Make:
    """Makes a fresh environment of one kind."""
    if request.param == "alfworld":
        return lambda: Alfworld(games)
    if request.param == "doors":
        room: dict[str, object] = {}
        exec(compile(printed_environment(), "docs/environments.md", "exec"), room)
        return room["Doors"]  # type: ignore[return-value]
    return lambda: make(request.param)


@pytest.fixture
def one(make_one: Make) -> Environment:
    return make_one()


def some(environment: Environment, count: int = 6) -> list[Task]:
    """Tasks from the beginning, the middle and the end of every split."""
    found = []
    for split in environment.splits():
        tasks = environment.tasks(split)
        spots = {round(n * (len(tasks) - 1) / max(1, count - 1)) for n in range(count)}
        found += [tasks[spot] for spot in sorted(spots)]
    return found


def walk(environment: Environment, task: Task, steps: int, seed: int) -> list[Start | Outcome]:
    """What a walk by chance through an episode leads to, valid actions and others."""
    chance = random.Random(seed)
    listed = valid_actions_of(environment)
    assert listed is not None
    seen: list[Start | Outcome] = [environment.reset(task)]
    for _ in range(steps):
        actions = listed()
        if not actions:
            break
        seen.append(environment.step(chance.choice([*actions, chance.choice(ODD)])))
    return seen


def teach(environment: Environment, task: Task) -> tuple[Start, list[str], list[Outcome]]:
    """The expert's episode, with no more actions than the environment allows."""
    player, start = expert_of(environment), environment.reset(task)
    assert player is not None
    player.begin(start.goal, start.observation)
    actions, outcomes, observation = list[str](), list[Outcome](), start.observation
    while len(actions) < environment.max_steps and (action := player.act(observation)) is not None:
        actions.append(action)
        outcomes.append(environment.step(action))
        observation = outcomes[-1].observation
        if outcomes[-1].done:
            break
    return start, actions, outcomes


# Splits and tasks


def test_it_is_an_environment_with_a_name_and_words(one: Environment) -> None:
    assert isinstance(one, Environment)
    assert one.name and one.name == one.name.strip().lower() and one.version and one.max_steps > 0
    assert one.instructions().strip() and one.instructions() == one.instructions()


def test_splits_are_names_without_repeats(one: Environment) -> None:
    splits = list(one.splits())
    assert splits and len(set(splits)) == len(splits) and all(isinstance(split, str) and split for split in splits)
    assert splits[0] == "train" and list(one.splits()) == splits


def test_tasks_stand_in_a_fixed_order_and_know_where_they_are_from(one: Environment, make_one: Make) -> None:
    other = make_one()
    for split in one.splits():
        tasks = one.tasks(split)
        assert len(tasks) > 0 and [tasks[n] for n in range(5)] == list(tasks[:5]) == list(other.tasks(split)[:5])
        assert tasks[-1] == tasks[len(tasks) - 1]
        assert all(task.environment == one.name and task.split == split and task.type for task in tasks[:200])
        with pytest.raises(IndexError):
            tasks[len(tasks)]


def test_ids_are_unique_and_give_their_tasks(one: Environment) -> None:
    ids = [task.id for split in one.splits() for task in one.tasks(split)[:1000]]
    assert len(set(ids)) == len(ids) and all(task_id.startswith(f"{one.name}/") for task_id in ids)
    for task in some(one):
        assert one.task(task.id) == task


@pytest.mark.parametrize("split", ["", "Train", "train ", "nowhere", "train/0", "-bank", "*", "train\n"])
def test_an_unknown_split_is_named_with_the_known(one: Environment, split: str) -> None:
    with pytest.raises(UsageError, match="no split") as error:
        one.tasks(split)
    assert repr(split) in str(error.value) and "train" in str(error.value) and "\n" not in str(error.value)


def test_ids_that_are_a_little_wrong_are_no_tasks(one: Environment) -> None:
    for task in (one.tasks("train")[0], one.tasks("train")[-1]):
        head, _, last = task.id.rpartition("/")
        wrong = [f"{task.id} ", f" {task.id}", f"{task.id}/", f"{task.id}/0", f"{task.id}\n", head, f"{head}/", f"{head}/0{last}",
                 f"{head}/-1", f"{head}/99999999999999999999", f"{head}/{last}x", f"{head}/../{last}", task.id.upper(),
                 task.id.replace(f"{one.name}/", "elsewhere/", 1), task.id.replace("/train/", "/nowhere/", 1),
                 task.id.removeprefix(f"{one.name}/"), last, "/", ""]  # fmt: skip
        for task_id in wrong:
            with pytest.raises(UsageError) as error:
                one.task(task_id)
            assert one.name in str(error.value), task_id


def test_a_task_of_another_environment_is_not_played(one: Environment) -> None:
    with pytest.raises(EdgexpError):
        one.reset(Task("elsewhere/train/0", "elsewhere", "train", "anything"))


# Episodes


def test_nothing_can_be_done_before_a_reset_nor_after_a_failed_one(one: Environment) -> None:
    with pytest.raises(EdgexpError, match="reset"):
        one.step("look")
    with pytest.raises(EdgexpError):
        one.reset(Task("elsewhere/train/0", "elsewhere", "train", "anything"))
    with pytest.raises(EdgexpError, match="reset"):
        one.step("look")


def test_an_episode_begins_with_a_goal_and_something_to_see(one: Environment) -> None:
    for task in some(one):
        start = one.reset(task)
        assert start.goal.strip() and start.observation.strip()
        assert start.goal not in start.observation


def test_the_same_task_and_actions_give_the_same_texts(one: Environment, make_one: Make) -> None:
    other = make_one()
    for number, task in enumerate(some(one, 3)):
        assert walk(one, task, 12, number) == walk(other, task, 12, number) == walk(one, task, 12, number)


def test_two_objects_play_without_knowing_of_each_other(one: Environment, make_one: Make) -> None:
    tasks = some(one, 2)
    for first, second in pairwise(tasks):
        alone = [teach(make_one(), task)[2] for task in (first, second)]
        other = make_one()
        players = [teach(one, first)[1], teach(other, second)[1]]
        one.reset(first)
        other.reset(second)
        together: list[list[Outcome]] = [[], []]
        for turn in range(max(map(len, players))):
            for side, environment in enumerate((one, other)):
                if turn < len(players[side]):
                    together[side].append(environment.step(players[side][turn]))
        assert together == alone


def test_a_dropped_episode_leaves_nothing_behind(one: Environment, make_one: Make) -> None:
    tasks = some(one, 3)
    for dropped, task in zip(tasks, reversed(tasks), strict=True):
        walk(one, dropped, 9, 5)
        assert walk(one, task, 9, 7) == walk(make_one(), task, 9, 7)


def test_valid_actions_are_sorted_and_each_there_once(one: Environment) -> None:
    listed = valid_actions_of(one)
    assert listed is not None
    chance = random.Random(3)
    for task in some(one, 3):
        one.reset(task)
        for _ in range(10):
            valid = listed()
            assert valid == sorted(set(valid)) == listed()
            assert all(action == " ".join(action.split()) and action for action in valid)
            if not valid or one.step(chance.choice(valid)).done:
                break


def test_what_is_listed_does_something_and_what_is_not_changes_nothing(one: Environment) -> None:
    listed = valid_actions_of(one)
    assert listed is not None
    chance = random.Random(4)
    for task in some(one, 2):
        one.reset(task)
        heard: set[str] = set()
        for _ in range(10):
            valid = listed()
            heard.update(valid)
            for action in [*ODD[:6], *chance.sample(sorted(heard - set(valid)), min(3, len(heard - set(valid))))]:
                assert one.step(action) == Outcome("Nothing happens."), action
                assert listed() == valid
            outcome = one.step(chance.choice(valid))
            assert outcome.observation.strip() and outcome.observation != "Nothing happens."
            if outcome.done:
                break


@pytest.mark.parametrize("action", ODD)
def test_any_text_is_answered(one: Environment, action: str) -> None:
    one.reset(one.tasks("train")[1])
    assert one.step(action) == Outcome("Nothing happens.")


def test_the_expert_wins_and_the_last_action_tells(one: Environment) -> None:
    tasks = some(one, 8)
    episodes = [teach(one, task) for task in tasks]
    won = [episode for episode in episodes if episode[2][-1].success]
    assert len(won) >= 0.95 * len(tasks)
    for _, actions, outcomes in won:
        assert 0 < len(actions) <= one.max_steps
        assert all(not o.done and not o.success and 0 <= o.score < 1 for o in outcomes[:-1])
        last = outcomes[-1]
        assert last.done and last.success and last.score == 1.0 and sum(o.reward for o in outcomes) == 1.0


def test_after_the_end_nothing_is_valid_until_the_next_reset(one: Environment) -> None:
    listed = valid_actions_of(one)
    assert listed is not None
    task = next(task for task in some(one) if teach(one, task)[2][-1].success)
    assert listed() == []
    for _ in range(2):
        with pytest.raises(EdgexpError, match="reset"):
            one.step("look")
    start = one.reset(task)
    assert listed() and one.reset(task) == start


def test_an_expert_plays_one_episode_after_the_other_and_forgets_the_last(one: Environment) -> None:
    tasks = some(one, 3)
    fresh = [teach(one, task)[1] for task in tasks]
    player = expert_of(one)
    assert player is not None
    for task, expected in zip(tasks, fresh, strict=True):
        start = one.reset(task)
        player.begin(start.goal, start.observation)
        played, observation = list[str](), start.observation
        while len(played) < len(expected):
            action = player.act(observation)
            assert action is not None
            played.append(action)
            observation = one.step(action).observation
        assert played == expected


def test_closing_ends_the_episode_and_may_be_done_twice(one: Environment) -> None:
    one.close()
    one.reset(one.tasks("train")[0])
    one.close()
    one.close()
    with pytest.raises(EdgexpError, match="reset"):
        one.step("look")


# What it says of itself


def test_it_works_here_and_never_starts_anything_anew(one: Environment) -> None:
    assert is_remote(one) is False and restarts_of(one) == 0


def test_what_tasks_are_about_is_known_before_a_reset_and_after_the_end(one: Environment, make_one: Make) -> None:
    tasks = some(one)
    goals = {task.id: make_one().reset(task).goal for task in tasks}

    def said() -> list[tuple[str, str, dict[str, str]]]:
        return [(family_of(one, t), lesson_of(one, t), dict(aspects_of(one, t, goals[t.id]))) for t in tasks]

    before = said()
    one.reset(tasks[0])
    during = said()
    one.close()
    assert before == during == said()


def test_aspects_are_words_of_the_goal(one: Environment) -> None:
    for task in some(one):
        goal = one.reset(task).goal
        aspects = dict(aspects_of(one, task, goal))
        assert aspects["type"] == task.type and all(isinstance(value, str) and value for value in aspects.values())
        for name in ("object", "receptacle", "lamp", "home"):
            assert name not in aspects or aspects[name] in goal, (name, goal)


@pytest.mark.parametrize("goal", ["", "win.", "put", "in , put a  in .", "☃" * 1000, "put a clean {object} in shelf."])
def test_goals_in_other_words_tell_the_type_alone(one: Environment, goal: str) -> None:
    task = one.tasks("train")[0]
    assert dict(aspects_of(one, task, goal)) == {"type": task.type}


def test_tasks_of_other_versions_are_told_of_without_an_error(one: Environment) -> None:
    """Banks outlive the splits that their tasks were of."""
    for task_id in (f"{one.name}/train/987654321/3", f"{one.name}/old-split/1", one.name, "", "a/b/c/d/e"):
        task = Task(task_id, one.name, "old-split", "old-type")
        assert family_of(one, task) is not None and lesson_of(one, task) is not None
        assert dict(aspects_of(one, task, "do as we used to.")) == {"type": "old-type"}


def test_tasks_of_a_family_are_of_one_split_or_its_bank(one: Environment) -> None:
    where: dict[str, set[str]] = {}
    for split in one.splits():
        for task in one.tasks(split)[:600]:
            where.setdefault(family_of(one, task), set()).add(split.removesuffix("-bank"))
    assert all(len(splits) == 1 for splits in where.values())
