"""`edgexp improve` on the command line, where nothing is played: what it shows, rolling back, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from test_rounds import Scripted, rounds

from edgexp.cli import main
from edgexp.improve.rounds import Budget

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command line in this process, with a home of its own that holds the rounds of `lora`: of three, the second came to nothing."""
    monkeypatch.setenv("EDGEXP_HOME", str(tmp_path))
    rounds(tmp_path / "improve" / "lora").improve(Scripted([(3, 0.5, 0.1), (0, 0, 0), (2, -0.5, 0.1)]), Budget(3))

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["improve", *arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return int(left.value.code or 0), out, err

    return call


def test_it_shows_the_generations_and_which_is_the_best(command: Call) -> None:
    code, out, _ = command("lora", "--show", "--json")
    state = json.loads(out)
    assert code == 0 and state["best"] == 1 and "asked" not in state
    assert [(g["model"], g["promoted"]) for g in state["generations"]] == [("base", True), ("toy-g1", True), ("", False), ("toy-g3", False)]
    table = command("lora", "--show")[1]
    assert "1 (best)" in table and "nothing" in table
    assert command("lora", "--show", "--out", "nowhere")[1].strip() == "no rounds yet"


def test_it_rolls_back(command: Call) -> None:
    assert json.loads(command("lora", "--back-to", "0", "--json")[1])["best"] == 0
    assert json.loads(command("lora", "--show", "--json")[1])["best"] == 0
    code, _, said = command("lora", "--back-to", "2")
    assert code == 2 and "there is no model of generation 2; there are: 0, 1, 3" in said


@pytest.mark.parametrize(
    "arguments", [("no-such-recipe",), ("lora", "--rounds", "0"), ("lora", "--hours", "nan"), ("lora", "--set", "lora.x=1")]
)
def test_what_makes_no_sense_is_one_line(command: Call, arguments: tuple[str, ...]) -> None:
    code, _, said = command(*arguments)
    assert code != 0 and said.strip()
