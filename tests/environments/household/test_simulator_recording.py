"""The simulator says what the real `alfworld` package said: a recording made by `tools/record_alfworld.py`, replayed word for word.

Where the package is at hand (`EDGEXP_ALFWORLD_VENV`, an environment that holds it), new games are played against it as well, ours and, with
`ALFWORLD_DATA`, official ones.
"""

import lzma
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from edgexp.environments.household.scene import GOAL_KINDS, Scene
from edgexp.environments.household.simulator import Game
from edgexp.environments.household.texts import NOTHING

ROOT = Path(__file__).parents[3]
TEXTS = (
    "a normal", "a hot ", "a cold ", "a clean ", "a sliced ", "hot and clean ", "cool and clean ", "hot sliced", "cool sliced",
    "clean sliced", "is on.", "nothing special", "is closed.", "is open.", "next to it, you see a ", "middle of a room",
)  # fmt: skip
"""A piece of every text that a look or an examination can give."""


class State(msgspec.Struct):
    """What the package said after a command."""

    text: str
    admissible: list[str]
    won: bool


class Record(msgspec.Struct):
    """One game: our scene, the commands, and what was seen, first of all before any command."""

    scene: Scene
    commands: list[str]
    seen: list[State]


class Recording(msgspec.Struct):
    """The whole file."""

    package: str
    games: list[Record]


@pytest.fixture(scope="module")
def recording() -> Recording:
    data = (ROOT / "tests" / "data" / "alfworld_recording.json.xz").read_bytes()
    return msgspec.json.decode(lzma.decompress(data), type=Recording)


def test_every_text_every_valid_command_and_every_win_is_the_packages(recording: Recording) -> None:
    for number, record in enumerate(recording.games):
        game = Game(record.scene)
        assert State(game.intro(), game.admissible(), game.won) == record.seen[0], number
        for step, (command, seen) in enumerate(zip(record.commands, record.seen[1:], strict=True)):
            assert State(game.step(command), game.admissible(), game.won) == seen, (number, record.commands[: step + 1])


def test_the_recording_covers_the_rules(recording: Recording) -> None:
    """Every kind of goal is won, every verb works, every form of a close look is seen, and enough is not valid."""
    assert recording.package == "alfworld==0.4.2"
    assert {record.scene.goal.kind for record in recording.games if any(s.won for s in record.seen)} == set(GOAL_KINDS)
    done = [(c, s.text) for record in recording.games for c, s in zip(record.commands, record.seen[1:], strict=True)]
    verbs = {command.split()[0] for command, text in done if text != NOTHING}
    assert verbs == {"go", "open", "close", "take", "move", "use", "heat", "cool", "clean", "slice", "examine", "look", "inventory", "help"}
    looks = " ".join(text.lower() for command, text in done if command.startswith(("examine", "look")))
    for words in TEXTS:
        assert words in looks, words
    assert sum(text == NOTHING for _, text in done) > 100
    assert len(done) > 2000


def compare(*options: str) -> None:
    venv = os.environ.get("EDGEXP_ALFWORLD_VENV")
    if not venv:
        pytest.skip("EDGEXP_ALFWORLD_VENV names no environment with the alfworld package")
    tool = [sys.executable, str(ROOT / "tools" / "record_alfworld.py"), "--venv", venv, "--seed", "17", *options]
    done = subprocess.run(tool, capture_output=True, encoding="utf-8", cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_new_games_of_the_generator_against_the_package(tmp_path: Path) -> None:
    compare("--games", "3", "--steps", "15", "--out", str(tmp_path / "recording"))


def test_official_games_against_the_package() -> None:
    if not os.environ.get("ALFWORLD_DATA"):
        pytest.skip("ALFWORLD_DATA is not set")
    compare("--official", "3", "--steps", "15")
