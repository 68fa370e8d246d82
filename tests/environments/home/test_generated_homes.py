"""The environment `home`: its tasks, its expert, what it says, and that requests about habits cannot be answered without their past."""

import itertools
from collections import Counter
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgexp.environments import registry
from edgexp.environments.base import Environment, HasExpert, HasTools, aspects_of, family_of, lesson_of
from edgexp.environments.calls import parse_call, read_calls, write_calls
from edgexp.environments.home import Home
from edgexp.environments.home.generated_homes import OWN, SLOTS, SPLITS, asked, slots
from edgexp.environments.home.habits import habits
from edgexp.environments.home.hard_requests import HARD
from edgexp.environments.home.homes import NAMES, dwelling
from edgexp.environments.home.knowing import led_to
from edgexp.environments.home.requests import EASY
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.collecting import expert_episode
from edgexp.play.rollout import run
from edgexp.trajectory import Task, Trajectory

any_task = st.sampled_from(list(SPLITS)).flatmap(
    lambda split: st.integers(0, len(Home().tasks(split)) - 1).map(lambda number: Home().tasks(split)[number])
)
OTHER_TEXTS = [
    "", " ", "\n", "look", "\x00", "☃", "(", "HassTurnOn", "HassTurnOn(", 'HassTurnOn(name="', "HassTurnOn(name=X)", 'HassFly(name="X")',
    'HassTurnOn(name="nobody")', "HassTurnOn(name=NaN)", "Done", "Done(", "done()", "x" * 50_000, "(" * 5_000, 'A(b="' + "\\" * 999,
    "HassTurnOn(name=" + "[" * 5_000, "HassTurnOff(); " * 50, '{"name": "HassTurnOn"}', "Sorry, I cannot do that.",
]


def taught(task: Task) -> Trajectory:
    """The expert's episode of a task."""
    return run(expert_episode(Home(), task, 20)).trajectory


def test_is_registered_and_keeps_the_contract() -> None:
    home = registry.make("home")
    assert isinstance(home, Environment) and isinstance(home, HasExpert)
    assert isinstance(Home(), HasTools) and not Home().tools()


@settings(max_examples=30)
@given(any_task)
def test_the_expert_wins_with_valid_calls_that_stay_as_they_are(task: Task) -> None:
    home, episode = Home(), taught(task)
    assert episode.success and episode.score == 1 and 1 <= len(episode.steps) <= 5 and episode.steps[-1].action == "Done()"
    home.reset(task)
    for step in episode.steps:
        calls = read_calls(step.action, home.tools(), 1)
        assert write_calls(calls, home.tools()) == step.action
        assert home.step(step.action).observation == step.observation and not step.observation.startswith("Error")
    assert not home.tools()


@pytest.mark.slow
def test_the_expert_wins_every_type_in_every_split() -> None:
    home, types = Home(), Counter[str]()
    for split in home.splits():
        tasks = home.tasks(split)
        for number in range(0, len(tasks), 11):
            assert taught(tasks[number]).success, tasks[number].id
            types[tasks[number].type] += 1
    assert {*EASY, *HARD, "own_name", "own_scene", "own_person", "own_place", "own_list"} == {*types}


@settings(max_examples=40)
@given(any_task, st.lists(st.sampled_from(OTHER_TEXTS) | st.text(max_size=30), max_size=6), st.integers(0, 3))
def test_any_text_is_answered_and_only_calls_change_the_home(task: Task, texts: list[str], after: int) -> None:
    home = Home()
    home.reset(task)
    for text in texts:
        before = home._running().house.values
        outcome = home.step(text)
        assert isinstance(outcome.observation, str) and outcome.score in (0, 1) and len(outcome.observation) < 2_000
        if outcome.done:
            with pytest.raises(EdgexpError, match="over"):
                home.step("Done()")
            return
        assert outcome.observation.startswith("Error: ") and home._running().house.values == before
    for step in taught(task).steps[:after]:
        home.step(step.action)


def test_a_text_that_is_no_call_is_an_answer_and_ends_the_turn() -> None:
    home, task = registry.make("home"), Home().tasks("test")[0]  # the boundary lets it read calls by its own rules
    for text, ends in {"I have done it.": True, "Done": True, "HassTurnOn(": False, 'HassTurnOn(name="nobody")': False,
                       "Done()": True}.items():
        home.reset(task)
        assert home.step(text).done is ends, text


def test_several_calls_may_be_one_action() -> None:
    home = Home()
    task = next(task for task in home.tasks("test") if task.type == "three")
    episode = taught(task)
    home.reset(task)
    assert home.step("; ".join(step.action for step in episode.steps)).success
    home.reset(task)
    assert not home.step("; ".join(step.action for step in episode.steps[1:])).success


def test_long_items_on_lists_are_shown_short() -> None:
    home = registry.make("home")
    task = next(task for task in home.tasks("test") if task.type == "note")
    home.reset(task)
    names = [entity.name for entity in dwelling(Home().place(task)[0]).inventory.entities if entity.domain == "todo"]
    for _ in range(20):
        outcome = home.step("; ".join(f'HassListAddItem(item="{"x y" * 2_000}\\n", name="{names[0]}")' for _ in range(10)))
        assert outcome.observation.startswith(names[0]) and "\n" not in outcome.observation and len(outcome.observation) < 200_000


@settings(max_examples=30)
@given(any_task)
def test_there_is_something_to_do_unless_nobody_can_tell_what(task: Task) -> None:
    home = Home()
    home.reset(task)
    assert home.step("Done()").success is (task.type == "unclear")


@settings(max_examples=30)
@given(any_task, st.integers(0, 30))
def test_the_expert_mends_what_others_did(task: Task, seed: int) -> None:
    """After a call that was not its own, it brings the home back."""
    home = Home()
    start = home.reset(task)
    entities = home._running().house.inventory.entities
    home.step(f'HassTurnOff(name="{entities[seed % len(entities)].name}")')
    player = home.expert()
    player.begin(start.goal, start.observation)
    outcome = None
    for _ in range(8):
        action = player.act("")
        if action is None:
            break
        assert player.advise("") == action  # type: ignore[attr-defined]
        outcome = home.step(action)
        if outcome.done:
            break
    assert outcome is not None and outcome.success


def test_the_same_task_and_actions_give_the_same_texts() -> None:
    """Ids hash all that was seen and done: they change with any draw, word or rule, and then `version` has to change."""
    assert [taught(Home().tasks(split)[n]).id for split, n in (("train", 0), ("dev", 17), ("test-bank", 1799), ("test", 8))] == PINNED


PINNED = [
    "t6766e342505194845505a4c4",
    "t30961346f38991ee4b65fbdc",
    "t1da7e080fc3d89b1c185359d",
    "tbbae20aa395bc6374bbd85c7",
]


def test_names_of_homes_are_all_different() -> None:
    assert len({dwelling(number).name for number in range(NAMES)}) == NAMES >= max(part.first + part.houses for part in SPLITS.values())
    for number in range(0, NAMES, 9):
        entities = dwelling(number).inventory.entities
        assert len({entity.id for entity in entities}) == len(entities) <= 24
        assert sum(entity.domain == "light" for entity in entities) >= 6


def test_banks_are_of_the_same_homes_earlier_and_splits_share_none() -> None:
    home = Home()
    for split in ("dev", "test"):
        played, past = ({home.place(task) for task in home.tasks(name)} for name in (split, f"{split}-bank"))
        assert not played & past and {house for house, _ in played} == {house for house, _ in past}
    apart = [{home.place(task)[0] for task in home.tasks(split)} for split in ("train", "dev", "test")]
    assert len(set().union(*apart)) == sum(map(len, apart))


def test_every_type_and_habit_that_is_asked_about_stands_in_the_past() -> None:
    home = Home()
    past = Counter(lesson_of(home, task) for task in home.tasks("test-bank"))
    for task in home.tasks("test"):
        assert past[lesson_of(home, task)] >= 2
        assert task.group == (OWN if task.type.startswith("own_") else "hard" if task.type in HARD else "easy")


@given(any_task, any_task)
def test_a_home_is_a_family_and_a_habit_a_lesson(one: Task, other: Task) -> None:
    home = Home()
    same = home.place(one)[0] == home.place(other)[0]
    assert (family_of(home, one) == family_of(home, other)) is same
    if one.group == OWN:
        alike = same and home.place(one)[1] % SLOTS == home.place(other)[1] % SLOTS
        assert (lesson_of(home, one) == lesson_of(home, other)) is alike
    assert aspects_of(home, one, "")["home"] == dwelling(home.place(one)[0]).name


def test_tasks_of_other_versions_are_told_of_and_not_played() -> None:
    home, old = Home(), Task("home/train/9999/0", "home", "train", "light", "easy")
    assert lesson_of(home, old) == "light" and aspects_of(home, old, "") == {"type": "light"}
    with pytest.raises(UsageError, match="no task"):
        home.reset(old)
    with pytest.raises(EdgexpError, match="reset"):
        home.step("Done()")


# Habits: nothing but their past tells


@lru_cache
def own_tasks() -> tuple[Task, ...]:
    return tuple(task for task in Home().tasks("test") if task.group == OWN)


def test_the_same_words_mean_other_things_elsewhere() -> None:
    meanings: dict[str, set[object]] = {}
    for number in range(NAMES):
        for habit in habits(number):
            meanings.setdefault(f"{habit.kind} {habit.word}", set()).add((habit.entity, habit.tools, habit.wish, habit.value))
    often = [found for found in meanings.values() if len(found) > 1]
    assert len(often) > 0.9 * len(meanings)


def test_a_request_about_a_habit_can_mean_several_things() -> None:
    """Whoever does not know guesses among so many that are in the same state: the chance of a right guess is told in the docs."""
    chances: dict[str, list[float]] = {}
    for task in own_tasks():
        found = asked(*Home().place(task))
        (call, *_), house = found.request.calls, found.house
        if task.type in ("own_name", "own_place"):
            states = {(e.id, house.values[e.id]["on"]) for e in house.inventory.entities if e.domain == "light"}
            assert len({on for _, on in states}) == 1
            lights = [e for e in house.inventory.entities if e.domain == "light"]
            rivals = len({e.area for e in lights}) if task.type == "own_place" else len(lights)
            if call.name == "HassLightSet":
                rivals = sum(house.values[e.id]["modes"] != ["onoff"] for e in lights)
        elif task.type == "own_list":
            rivals = sum(e.domain == "todo" for e in house.inventory.entities)
        else:
            rivals = 11
        assert rivals > 1
        chances.setdefault(task.type, []).append(1 / rivals)
    means = {type: sum(values) / len(values) for type, values in chances.items()}
    assert means["own_name"] < 0.2 and means["own_place"] < 0.35 and means["own_list"] < 0.5
    assert sum(itertools.chain(*chances.values())) / len(own_tasks()) < 0.2


def test_no_goal_and_no_observation_tells_what_a_habit_means() -> None:
    """The word stands in the goal, and what it means does not: neither the lamp, nor the number, nor the list."""
    for task in own_tasks()[:200]:
        house, scene = Home().place(task)
        habit, start = slots(house)[scene % SLOTS].habit, Home().reset(task)
        assert habit is not None
        words = start.goal.lower()
        assert all(part.strip(" .,").lower() in words for part in habit.word.split("{item}"))
        if habit.kind == "own_person":
            assert str(habit.value) not in start.goal
        elif habit.kind == "own_place":
            area = dwelling(house).inventory.area(habit.entity)
            assert area is not None and area.name.lower() not in words


@settings(max_examples=30)
@given(st.deferred(lambda: st.sampled_from(own_tasks())))
def test_the_past_tells_it_readably(task: Task) -> None:
    """An episode of the same habit in the bank holds, in a call, what the later request needs: name, area, list or number."""
    home = Home()
    house = task.id.split("/")[2]
    beside = [home.task(f"home/test-bank/{house}/{scene}") for scene in range(SPLITS["test-bank"].scenes)]
    past = [other for other in beside if lesson_of(home, other) == lesson_of(home, task)]
    assert len(past) == 2
    needed = {value for step in taught(task).steps[:-1] for value in _told(parse_call(step.action), task.type)}
    for other in past:
        shown = {value for step in taught(other).steps[:-1] for value in _told(parse_call(step.action), task.type)}
        assert needed <= shown


def _told(call: object, type: str) -> list[object]:
    arguments = call.arguments  # type: ignore[attr-defined]
    keys = {"own_name": ("name",), "own_scene": ("name", "brightness"), "own_person": ("brightness", "temperature", "volume_level"),
            "own_place": ("area",), "own_list": ("name",)}[type]  # fmt: skip
    return [arguments[key] for key in keys if key in arguments]


def test_what_is_asked_is_done_by_its_calls() -> None:
    found = asked(5, 3)
    wanted = led_to(found.house, found.request.calls)
    assert bool(wanted.amiss(found.house)) is bool(found.request.calls)
