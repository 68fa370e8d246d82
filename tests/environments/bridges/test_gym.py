"""Environments that speak as Gymnasium's and TextWorld's do: what becomes of what they return, and what they may return wrongly."""

import importlib.util
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gym_toys
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wrong_values import RAISES, Evil, Shouting, plenty

from edgexp.environments.base import Environment, Outcome, expert_of, valid_actions_of
from edgexp.environments.bridges import gym_texts
from edgexp.environments.registry import make
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.episode import play
from edgexp.play.rollout import run
from edgexp.play.scripted import ExpertPolicy, Scripted
from edgexp.trajectory import decode, encode


def toy(name: str) -> Any:
    return make(f"gym:gym_toys:{name}")


def check_line(words: str) -> None:
    assert words and "\n" not in words and len(words) < 2_000
    words.encode()


def first(world: Environment, split: str = "train", place: int = 0) -> Any:
    return world.reset(world.tasks(split)[place])


# Gymnasium's five values


def test_numbers_are_played_as_texts() -> None:
    world = toy("Line")
    assert isinstance(world, Environment) and world.name == "gym-gym_toys-Line" and world.max_steps == 100 and expert_of(world) is None
    start = first(world, "train", 1)
    assert (start.goal, start.observation) == ("win gym_toys-Line.", "2")
    assert valid_actions_of(world)() == ["0", "1"] and "0, 1" in world.instructions()
    assert world.step("right") == Outcome("Nothing happens.") and world.step(" 1\n") == Outcome("3")
    assert world.step("1") == Outcome("4", 1.0, True, True, 1.0) and world.admissible() == []
    with pytest.raises(EdgexpError, match="the episode is over"):
        world.step("1")


def test_an_end_without_reward_is_lost() -> None:
    world = toy("Line")
    first(world)
    assert world.step("0") == Outcome("0", 0.0, True, False, 0.0)


def test_names_drawings_and_words_of_its_own_are_taken() -> None:
    world = toy("Drawn")
    start = first(world)
    assert (start.goal, start.observation, world.instructions(), world.max_steps) == ("reach the G.", "  (Right)\nH[F]FFG", "Walk.", 7)
    assert world.admissible() == ["go left", "go right"] and world.step("go right").observation == "  (Right)\nHF[F]FG"


def test_a_mission_is_the_goal_and_a_mask_says_what_is_valid() -> None:
    world = toy("Grid")
    start = first(world)
    assert (start.goal, start.observation) == ("go to the red ball", "direction: 1\nmission: go to the red ball")
    assert world.admissible() == ["forward"]
    assert world.step("forward").observation.startswith("direction: 2") and world.admissible() == ["forward", "turn left"]


def test_truncated_is_lost_and_what_the_information_says_counts() -> None:
    world = toy("Late")
    first(world)
    assert world.step("1") == Outcome("1", 1.0, True, False, 0.0)
    world = toy("Says")
    first(world)
    assert world.step("1") == Outcome("1", -1.0, True, True, 1.0)
    first(world)
    assert world.step("0") == Outcome("1", 1.0, True, False, 0.0)


def test_seeds_are_tasks() -> None:
    world = toy("Line")
    assert [len(world.tasks(split)) for split in world.splits()] == [100_000, 10_000, 10_000]
    tasks = [task for split in world.splits() for task in (world.tasks(split)[0], world.tasks(split)[-1])]
    assert len({task.id.rsplit("/", 1)[1] for task in tasks}) == 6 and all(world.task(task.id) == task for task in tasks)
    observations = [first(world, "test", place).observation for place in range(6)]
    assert observations == [first(world, "test", place).observation for place in range(6)] and len({*observations}) == 3
    name = world.name
    for task_id in ("", "train/0", "/train/100000", "/train/-1", "/train/01", "/test/0", "/no/0", "/train/0x", "/train/0/0"):
        task_id = name + task_id
        with pytest.raises(UsageError, match="has no task"):
            world.task(task_id)
    with pytest.raises(UsageError, match="no split 'x'"):
        world.tasks("x")


# TextWorld's four


@pytest.mark.parametrize("plan", [False, True])
def test_a_score_that_grows_becomes_rewards(plan: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gym_toys, "Planned", lambda: gym_toys.Adventure(plan), raising=False)
    world = toy("Planned")
    start = first(world, "dev", 3)
    assert (start.goal, start.observation) == (f"Take the key of box {1_000_003 % 7}.", "A box.")
    assert world.admissible() == ["look", "open box", "take key"]
    assert world.step("open box") == Outcome("Score 1.", 1.0, False, False, 0.5)
    assert world.step("dance ☃") == Outcome("Score 1.", 0.0, False, False, 0.5)
    assert world.step("take key") == Outcome("Score 2.", 1.0, True, True, 1.0)
    trajectory = run(play(world, world.tasks("train")[0], ExpertPolicy(world))).trajectory
    assert trajectory.success and [step.reward for step in trajectory.steps] == [1.0, 1.0]


def test_old_gyms_four_values_are_rewards_and_one_task() -> None:
    world = toy("Old")
    assert list(world.splits()) == ["train"] and len(world.tasks("train")) == 1
    assert valid_actions_of(world) is None and expert_of(world) is None
    assert first(world).observation == "Say it."
    assert world.step("hi") == Outcome("hi?", 0.5) and world.step("ho") == Outcome("ho?", 0.5, True, True, 1.0)


# What is wrong


@pytest.mark.parametrize(("name", "words"), [
    ("gym:", "name an environment"),
    ("gym:gym_toys:nothing", "what was made is no environment: it has no reset and no step"),
    ("gym:gym_toys:raising", "making it raised RuntimeError: no display"),
    ("gym:gym_toys:HERE", "has no 'HERE'"),
    ("gym:gym_toys:Muscles", "single numbers (Discrete) or texts are wanted"),
    ("gym:gym_toys:Pictures", "is an array of 100800 numbers, but texts are wanted"),
    ("gym:no_such_module:Env", "No module named 'no_such_module'"),
    ("gym:./no_such_file.py:Env", "there is no file no_such_file.py"),
])  # fmt: skip
def test_what_cannot_be_made_is_one_line(name: str, words: str) -> None:
    with pytest.raises(EdgexpError) as raised:
        make(name)
    check_line(str(raised.value))
    assert words in str(raised.value)


@pytest.mark.skipif(importlib.util.find_spec("gymnasium") is not None, reason="gymnasium is here")
def test_where_gymnasium_is_not_installed_it_says_how_to_get_it() -> None:
    with pytest.raises(UsageError, match="the package gymnasium is not installed; get it with: pip install gymnasium"):
        make("gym:FrozenLake-v1")


@pytest.fixture
def strange() -> Any:
    gym_toys.Strange.at_reset = gym_toys.Strange.at_step = None
    world = toy("Strange")
    yield world
    gym_toys.Strange.at_reset = gym_toys.Strange.at_step = None
    world.close()


WRONG_STEPS = [*plenty(), (1, 2, 3), ("o", 0.0, False), ("o", 0.0, False, False, None), ("o", None, False, False, {}),
               ("o", "x", False, {}),
               ("o", float("nan"), False, False, {}), ("o", 0.0, "no", False, {}), ("o", 0.0, False, None, {}),
               ("\ud800", 0.0, False, False, {}),
               (object(), 0.0, False, False, {}), (None, 0.0, False, False, {}), ("o", 0.0, True, False, {"won": "yes"}),
               ("o", 0.0, True, False, {"max_score": "x"}), (np.zeros((9, 9)), 0.0, False, False, {}), ({}, 0.0, False, False, {}),
               ({"image": np.zeros((9, 9))}, 0.0, False, False, {}), ("o" * 300_000, 0.0, False, False, {}),
               (Evil(), 0.0, False, False, {}),
               (Shouting("x"), 0.0, False, False, Evil()), Evil()]  # fmt: skip


@pytest.mark.parametrize("number", range(len(WRONG_STEPS)))
def test_a_wrong_step_ends_its_episode_only(strange: Any, number: int) -> None:
    value = WRONG_STEPS[number]
    gym_toys.Strange.at_step = staticmethod(lambda: value)  # type: ignore[assignment]
    trajectory = run(play(strange, strange.tasks("train")[0], Scripted(["1"]))).trajectory
    plain = isinstance(value, tuple) and len(value) == 5 and type(value[0]) is str and type(value[4]) is dict
    if not (plain and value == ("o", 0.0, False, False, {})):
        assert trajectory.end.startswith("error: ")
        check_line(trajectory.end)
    assert decode(encode(trajectory)) == trajectory
    gym_toys.Strange.at_step = None
    made = gym_toys.Strange.made
    assert run(play(strange, strange.tasks("train")[2], Scripted(["1"]))).trajectory.success
    assert gym_toys.Strange.made == made + trajectory.end.startswith("error: "), "after an error the environment is made anew"


@pytest.mark.parametrize("error", RAISES, ids=lambda error: error.__name__)
@pytest.mark.parametrize("member", ["at_reset", "at_step"])
def test_what_it_raises_ends_its_episode_only(strange: Any, member: str, error: type[BaseException]) -> None:
    def fail() -> Any:
        raise error("a\nb\ud800")

    setattr(gym_toys.Strange, member, staticmethod(fail))
    try:
        words = run(play(strange, strange.tasks("train")[0], Scripted(["1"]))).trajectory.end
        assert words.startswith("error: ")
    except EdgexpError as raised:
        words = str(raised)
    check_line(words)
    gym_toys.Strange.at_reset = gym_toys.Strange.at_step = None
    assert run(play(strange, strange.tasks("train")[2], Scripted(["1"]))).trajectory.success


@pytest.mark.parametrize("value", [value for value in plenty() if not isinstance(value, Evil)], ids=lambda value: type(value).__name__)
def test_whatever_a_reset_returns_is_read_or_one_line(strange: Any, value: Any) -> None:
    gym_toys.Strange.at_reset = staticmethod(lambda: value)  # type: ignore[assignment]
    try:
        trajectory = run(play(strange, strange.tasks("train")[0], Scripted(["0"]), max_steps=1)).trajectory
        assert decode(encode(trajectory)) == trajectory
    except EdgexpError as error:
        check_line(str(error))


SEEN = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.binary(max_size=4),
                    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
                    )  # fmt: skip


@given(SEEN)
def test_whatever_is_seen_is_a_text_or_one_line(seen: Any) -> None:
    try:
        gym_texts.read_observation(seen, object(), "gym:x", "the observation").encode()
    except EdgexpError as error:
        check_line(str(error))


@pytest.mark.parametrize(("seen", "words"), [
    ("a\nb", "a\nb"), (b"ab", "ab"), (5, "5"), (np.int64(5), "5"), (0.1234567891, "0.123457"), (True, "True"),
    ((14, 10, False), "14, 10, False"),
    (np.array([1, 2]), "1, 2"), (("a", "b"), "a\nb"), ([(0, "hello", 1)], "0\nhello\n1"), (np.array("x"), "x"), (np.str_("y"), "y"),
    ({"text": {"long_term_context": "far", "short_term_context": "near"}}, "far"), ({"text": {"short_term_context": "near"}}, "near"),
    ({"a": 1, "b": "c"}, "a: 1\nb: c"),
])  # fmt: skip
def test_observations_in_words(seen: Any, words: str) -> None:
    assert gym_texts.read_observation(seen, object(), "gym:x", "it") == words


@pytest.mark.parametrize(("space", "names", "wanted"), [
    (gym_toys.Discrete(2), None, ("0", "1")), (gym_toys.Discrete(2, np.int64(3)), None, ("3", "4")),
    (gym_toys.Discrete(2), {"action_names": ["a", "a"]}, ("0", "1")), (gym_toys.Discrete(2), {"action_names": ["a"]}, ("0", "1")),
    (gym_toys.Discrete(2), {"action_names": ["a", ""]}, ("0", "1")), (gym_toys.Discrete(2), {"action_names": 5}, ("0", "1")),
    (gym_toys.Discrete(2), {"get_action_meanings": lambda: ["NO_OP", "FIRE"]}, ("NO OP", "FIRE")),
    (gym_toys.Discrete(2), {"language_action_space": ("far east", "far west")}, ("far east", "far west")),
    (gym_toys.Discrete(2), {"action_names": {0: "a", 1: "b"}}, ("a", "b")), (gym_toys.Text(), None, ()), (None, None, ()),
])  # fmt: skip
def test_names_of_actions(space: Any, names: dict[str, Any] | None, wanted: tuple[str, ...]) -> None:
    env = SimpleNamespace(action_space=space, **(names or {}))
    read = gym_texts.read_actions(env, "gym:x")
    assert read.names == wanted and (not wanted or read.value(wanted[1]) == 1 + int(getattr(space, "start", 0)))


@pytest.mark.parametrize("space", [*map(gym_toys.Discrete, (0, -1, "x", 10**6)), gym_toys.Box(), 5, "x"])
def test_other_spaces_are_refused(space: Any) -> None:
    with pytest.raises(EdgexpError, match="are wanted") as raised:
        gym_texts.read_actions(SimpleNamespace(action_space=space), "gym:x")
    check_line(str(raised.value))


@pytest.mark.parametrize("mask", [None, [], [1], ["x", 5, 7], 5, object(), [0, 0], np.zeros(2), np.zeros((2, 2))])
def test_a_mask_that_says_nothing_leaves_all(mask: Any) -> None:
    assert gym_texts.FromSpace(("a", "b")).allowed(mask) == ["a", "b"]


def test_gymnasium_is_not_imported_for_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    assert toy("Line").name == "gym-gym_toys-Line"


# Gymnasium itself, or what stands in for it


def made_by(monkeypatch: pytest.MonkeyPatch, maker: Callable[..., Any]) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", SimpleNamespace(make=maker, __version__="1.4.0"))


def test_an_id_is_made_by_gymnasium_and_drawn_in_text(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def maker(target: str, render_mode: str | None = None) -> Any:
        asked.append((target, render_mode))
        env = gym_toys.Line()
        env.render_mode = render_mode  # type: ignore[assignment]
        return env

    made_by(monkeypatch, maker)
    world = make("gym:toys/Line-v1")
    assert asked == [("toys/Line-v1", None), ("toys/Line-v1", "ansi")]
    assert (world.name, world.version) == ("gym-toys-Line-v1", "gymnasium-1.4.0") and first(world).observation == "  (Right)\nH[F]FFG"
    assert make("gym:some_module:Line-v1").name == "gym-some_module-Line-v1", "a module before an id is Gymnasium's own way to import"


@pytest.mark.parametrize("name", ["FrozenLake-v1", "Taxi-v4", "CliffWalking-v1", "Blackjack-v1"])
def test_the_real_one_plays(name: str) -> None:
    pytest.importorskip("gymnasium", reason="gymnasium is not installed")
    world = make(f"gym:{name}")
    for place in range(3):
        start = first(world, "train", place)
        assert start.observation and start == first(world, "train", place)
        trajectory = run(play(world, world.tasks("train")[place], Scripted(world.admissible() * 5))).trajectory
        assert trajectory.steps and not trajectory.broke_off and decode(encode(trajectory)) == trajectory
    world.close()
