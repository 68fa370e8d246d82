"""TextArena's games: the real ones where the package is installed, and a small one that speaks as they do, rightly and wrongly."""

import importlib.util
import random
import socket
import sys
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from edgexp.environments.base import Environment
from edgexp.environments.registry import make
from edgexp.errors import EdgexpError, UsageError

real = pytest.mark.skipif(importlib.util.find_spec("textarena") is None, reason="textarena is not installed")
SOLO = [
    "2048-v0",
    "Bandit-v0",
    "Blackjack-v0",
    "Countdown-v0",
    "Cryptarithm-v0",
    "FifteenPuzzle-v0",
    "FrozenLake-v0",
    "GuessTheNumber-v0",
    "LightsOut-v0",
    "LogicPuzzle-v0",
    "Mastermind-v0",
    "Minesweeper-v0",
    "PegJump-v0",
    "RushHour-v0",
    "Secretary-v0",
    "Set-v0",
    "Slitherlink-v0",
    "Sokoban-v0",
    "Sudoku-v0",
    "ThreeCardMonte-v0",
    "TowerOfHanoi-v0",
]
HANOI = ["A C", "A B", "C B", "A C", "B A", "B C", "A C"]


class Kind(Enum):
    """As TextArena's `ObservationType`."""

    PROMPT = 1
    PLAYER_ACTION = 2
    GAME_BOARD = 3


class Game:
    """Guess a number from 0 to 9. `wrong` says which member returns which wrong value."""

    def __init__(self, wrong: dict[str, Any], rules: str = "Guess a number. Answer [n].") -> None:
        self.wrong, self.rules, self.state = wrong, rules, SimpleNamespace(max_turns=3)

    def reset(self, num_players: int, seed: int) -> None:
        assert num_players == 1
        self.number, self.turns = random.randint(0, 9), 0
        self.told: list[Any] = [
            (-1, self.rules.replace("NUMBER", str(self.number)), Kind.PROMPT),
            (-1, f"{random.random()}", Kind.GAME_BOARD),
        ]
        self.rewards: Any = None
        self.raise_or("reset", None)

    def step(self, action: str) -> Any:
        self.told.append((0, action, Kind.PLAYER_ACTION))
        self.turns += 1
        won = action == f"[{self.number}]"
        self.rewards = {0: 1 if won else 0.25}
        self.told.append((-1, f"{action} is {'right' if won else 'wrong'}, {random.random()}", Kind.GAME_BOARD))
        return self.raise_or("step", (won or self.turns == 3, {}))

    def get_observation(self) -> Any:
        told, self.told = self.told, []
        return self.raise_or("get_observation", (0, told))

    def close(self) -> Any:
        return self.raise_or("close", (self.rewards, {0: {"reason": "it is over"}}))

    def raise_or(self, member: str, usual: Any) -> Any:
        value = self.wrong.get(member, usual)
        if isinstance(value, BaseException):
            raise value
        return value


class Wrapper:
    """What TextArena puts around games; it shows everything anew."""

    def __init__(self, env: Any) -> None:
        self.env = env


@pytest.fixture
def arena(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A package `textarena` with one game; what it returns wrongly, and its rules."""
    given: dict[str, Any] = {"wrong": {}, "rules": "Guess a number. Answer [n]."}
    package, envs, registration = ModuleType("textarena"), ModuleType("textarena.envs"), ModuleType("textarena.envs.registration")
    package.make = lambda name: Wrapper(Game(given["wrong"], given["rules"]))  # type: ignore[attr-defined]
    package.Wrapper = Wrapper  # type: ignore[attr-defined]
    registration.ENV_REGISTRY = {"Guess-v0": SimpleNamespace(entry_point="nowhere.at:Guess")}  # type: ignore[attr-defined]
    for module in (package, envs, registration):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return given


def begin(environment: Environment, position: int = 0) -> Any:
    return environment.reset(environment.tasks("train")[position])


def play(environment: Environment, position: int, actions: list[str]) -> list[Any]:
    """The start and every outcome up to the end."""
    seen = [begin(environment, position)]
    for action in actions:
        seen.append(environment.step(action))
        if seen[-1].done:
            break
    return seen


def test_a_game_is_an_environment(arena):
    environment = make("textarena:Guess-v0")
    assert (environment.name, environment.max_steps) == ("textarena-Guess-v0", 6) and environment.splits() == ("train", "dev", "test")
    assert environment.instructions() == "Guess a number. Answer [n]."
    start = begin(environment)
    assert start.goal == "win Guess-v0." and float(start.observation) < 1
    outcomes = [environment.step(str(number)) for number in (98, 99)]
    assert outcomes[0].observation.startswith("[98] is wrong") and not outcomes[1].done and outcomes[1].score == 0
    last = environment.step("[97]")
    assert last.observation.endswith("\nit is over") and (last.done, last.success, last.score, last.reward) == (True, False, 0.25, 0.25)
    with pytest.raises(EdgexpError, match="the episode is over"):
        environment.step("1")
    assert environment.task("textarena-Guess-v0/dev/1000000").split == "dev"
    with pytest.raises(UsageError, match="has no task"):
        environment.task("textarena-Guess-v0/dev/1")


def test_the_right_number_wins(arena):
    environment = make("textarena:Guess-v0")
    won = [play(environment, 5, [str(number)])[1] for number in range(10)]
    assert [(outcome.success, outcome.score) for outcome in won].count((True, 1.0)) == 1


def test_rules_that_differ_are_the_goal(arena):
    arena["rules"] = "It is not NUMBER."
    environment = make("textarena:Guess-v0")
    assert begin(environment).goal.startswith("It is not ") and "not" not in environment.instructions()


@pytest.mark.parametrize(
    ("reward", "why", "score"), [("Bad move.", "Invalid Move: 0.5", 0.5), ("Bad move.", "x", 0.0), ("Bad move.", None, 0.0)]
)
def test_reward_and_reason_may_have_changed_places(arena, reward, why, score):
    environment = make("textarena:Guess-v0")
    arena["wrong"]["close"] = ({0: reward}, {0: {"reason": why}})
    last = play(environment, 0, ["x", "y", "z"])[-1]
    assert (last.score, last.success) == (score, False) and last.observation.endswith("Bad move.")


def test_what_a_game_prints_is_not_seen(arena, capsys):
    environment = make("textarena:Guess-v0")
    arena["wrong"]["step"] = type("Prints", (tuple,), {"__len__": lambda self: print("noise") or 2})((False, {}))
    begin(environment)
    environment.step("x")
    assert capsys.readouterr().out == ""


def test_episodes_have_random_numbers_of_their_own(arena):
    first, second = make("textarena:Guess-v0"), make("textarena:Guess-v0")
    alone = play(first, 1, ["x", "y"])
    random.seed(7)
    before = random.getstate()
    mixed = [begin(first, 1)]
    begin(second, 2)
    for action in ("x", "y"):
        second.step("z")
        random.random()
        mixed.append(first.step(action))
    assert mixed == alone
    random.setstate(before)
    begin(first, 1)
    assert random.getstate() == before


WRONG: list[tuple[str, Any]] = [
    *(("step", value) for value in (None, True, (True,), (1, 2, 3), ("yes", {}), (2, {}), ([], {}), OSError("no"), SystemExit(3))),
    *(("get_observation", value) for value in (None, 5, (0, "text"), (0, [5]), (0, [(1, 2)]), (0, None), KeyError("x"))),
    *(("close", value) for value in (None, 5, (None, {}), ({}, {}), ({0: float("nan")}, {0: {}}), ({0: 1}, None), ValueError("x"))),
]


@pytest.mark.parametrize(("member", "value"), WRONG, ids=lambda value: repr(value)[:40])
def test_a_game_that_returns_nonsense_ends_its_episode_only(arena, member, value):
    environment = make("textarena:Guess-v0")
    begin(environment)
    arena["wrong"][member] = value
    with pytest.raises(EdgexpError) as error:
        for _ in range(3):
            environment.step("99")
    assert "\n" not in str(error.value) and "textarena:Guess-v0" in str(error.value)
    with pytest.raises(EdgexpError, match="no episode is under way"):
        environment.step("99")
    arena["wrong"].clear()
    assert begin(environment).goal == "win Guess-v0."


@pytest.mark.parametrize("wrong", [{"reset": AssertionError("2 players")}, {"reset": ValueError("a\nb")}, {"get_observation": (0, [])}])
def test_a_game_that_cannot_be_played_is_one_line(arena, wrong):
    arena["wrong"].update(wrong)
    with pytest.raises(EdgexpError) as error:
        make("textarena:Guess-v0")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["", "Gues-v0", "x" * 1000, "Guess-v0\n", "../x"])
def test_an_unknown_game_is_one_line(arena, name):
    with pytest.raises(UsageError, match="no game of that id") as error:
        make(f"textarena:{name}")
    assert "\n" not in str(error.value)


def test_without_the_package_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "textarena", None)
    with pytest.raises(UsageError, match="pip install textarena"):
        make("textarena:Guess-v0")


@real
@pytest.mark.parametrize("name", SOLO)
def test_a_real_game_plays_the_same_twice(name):
    environment, other = make(f"textarena:{name}"), make(f"textarena:{name}")
    actions = ["[0 0]", "[up]", "[1]", "[A C]", "[hit]", "nonsense", "[2 2 2]", "[accept]"]
    first = play(environment, 3, actions)
    random.seed(5)
    assert play(other, 3, actions) == first
    assert len(first) > 1 and all(outcome.observation for outcome in first[1:])
    assert len({begin(environment, n).observation + begin(environment, n).goal for n in range(6)}) > 1 or name in (
        "TowerOfHanoi-v0",
        *STATIC,
    )


STATIC = (
    *("Bandit-v0", "Countdown-v0", "Cryptarithm-v0", "GuessTheNumber-v0", "Mastermind-v0", "Minesweeper-v0", "PegJump-v0", "RushHour-v0"),
    *("Secretary-v0", "ThreeCardMonte-v0", "TowerOfHanoi-v0"),
)
"""Games that look the same at the beginning whatever the seed."""


@real
def test_a_real_game_is_won():
    environment = make("textarena:TowerOfHanoi-v0")
    assert "Tower of Hanoi" in environment.instructions()
    seen = play(environment, 0, HANOI)
    assert "A: [3, 2, 1]" in seen[0].observation and "Tower of Hanoi" not in seen[0].observation
    assert [outcome.done for outcome in seen[1:]] == [False] * 6 + [True]
    assert seen[-1].success and seen[-1].score == 1.0 and "Congratulations" in seen[-1].observation
    assert "You moved disk 1 from A to C." in seen[1].observation and "[A C]" not in seen[1].observation


@real
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("TwentyQuestions-v0", "asks a model behind a server"),
        ("GuessWho-v0", "asks a model behind a server"),
        ("Wordle-v0", "words of NLTK"),
        ("Hangman-v0", "words of NLTK"),
        ("TicTacToe-v0", "raised"),
        ("TowerOfHanoi", "TowerOfHanoi-v0"),
    ],
)
def test_a_real_game_that_cannot_be_played_here_says_why(name, says, monkeypatch):
    asked: list[object] = []

    def refuse(*given: object, **_: object) -> None:
        asked.append(given)
        raise OSError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name_of_module in [one for one in sys.modules if one.startswith("textarena.envs.")]:
        if name_of_module.count(".") > 2 or name_of_module.rsplit(".", 1)[1][0].isupper():
            monkeypatch.delitem(sys.modules, name_of_module)  # what happens at an import happens again
    with pytest.raises(EdgexpError, match=says) as error:
        make(f"textarena:{name}")
    assert "\n" not in str(error.value) and asked == []
