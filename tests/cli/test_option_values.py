"""Every option of every command: a value that makes no sense is one line that names the option, and an exit code of 1 or 2."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from bank_samples import WordEncoder

from edgexp.cli import cli, main
from edgexp.play import session

PLACE = """
from toys import Counting
from edgexp.play.scripted import Scripted

class Silent(Counting):
    pass

def wins(environment, retriever, acting): return Scripted(["add one"] * 3, "agent")
"""

GIVEN = {
    "run": ["place:Silent", "--policy", "place:wins", "-n", "1"], "collect": ["place:Silent"], "train": ["smoke"], "export": ["none"],
    "eval": ["smoke"], "report": ["none"],
    "bank add": ["none"], "bank search": ["words"], "bank show": ["t1"], "envs gold": ["place:Silent"], "envs new": ["garden"],
}  # fmt: skip
"""What a command wants besides."""
HOSTILE = "no\x1b[2J such/\nthing"
ANY_TEXT = {"--env", "--split", "--type"}
"""Filters of a bank: what is not there is an empty list."""


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its words."""

    def below(words: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        if not isinstance(command, click.Group):
            yield words, command
            return
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from below(f"{words} {name}".strip(), inner)

    yield from below("", cli)


def senseless(option: click.Option) -> list[str]:
    """Values that an option cannot take, by its type."""
    match option.type:
        case click.IntRange() | click.types.IntParamType():
            return ["x", "", "1.5", "1e3", "nan", "-9" * 20, "9" * 30, "9" * 5000, HOSTILE]
        case click.FloatRange() | click.types.FloatParamType():
            return ["x", "", "nan", "inf", "-inf", "-1e9", "1e400", HOSTILE]
        case click.Choice():
            return ["x", "", HOSTILE]
        case _:
            return []


OPTIONS = [(words, option) for words, command in commands() for option in command.params if isinstance(option, click.Option)]
TYPED = [(words, option.opts[0], value) for words, option in OPTIONS if not option.is_flag for value in senseless(option)]
FLAGS = [(words, option.opts[-1]) for words, option in OPTIONS if option.is_flag]
NAMES = [(words, option.opts[-1]) for words, option in OPTIONS if not option.is_flag]


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[object]:
    """Calls the command line, which has to refuse, and gives the one line and the exit code."""
    (tmp_path / "place.py").write_text(PLACE, encoding="utf-8")
    (tmp_path / "file").write_text("a file, and no folder")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("EDGEXP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(session, "open_encoder", lambda name, say: WordEncoder())
    sys.modules.pop("place", None)

    def call(words: str, *arguments: str) -> tuple[str, int]:
        with pytest.raises(SystemExit) as left:
            main([*words.split(), *GIVEN.get(words, ()), *arguments])
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and err.startswith("edgexp: "), (words, arguments, out, err[-2000:])
        assert "bug of edgexp" not in err
        assert "\x1b" not in err and len(err) < 1_000
        return err, int(left.value.code or 0)

    yield call


def test_there_are_options_of_every_kind() -> None:
    assert len(TYPED) > 300 and len(FLAGS) > 30 and len({words for words, _ in NAMES}) > 15


def test_a_value_of_no_sense_is_one_line(line) -> None:
    for words, option, value in TYPED:
        said, code = line(words, option, value)
        assert code == 2 and option in said and said.endswith(f"; see: edgexp {words} --help\n"), said


def test_an_option_without_a_value_a_flag_with_one_and_an_unknown_one_are_one_line(line) -> None:
    for words, option in NAMES:
        assert line(words, option)[1] == 2
    for words, option in FLAGS:
        if option.startswith("--"):
            assert line(words, f"{option}=5")[1] == 2
    for words, _ in commands():
        assert line(words, "--no-such-option")[1] == 2 and line(words, *["more"] * 9 * (words not in NARGS), "--no\x1b[2J")[1] == 2


NARGS = {"report", "bank accept", "bank forget", "models pull", "models verify"}
"""They take any number of arguments."""


PLACES = [(words, option.opts[-1]) for words, option in OPTIONS if isinstance(option.type, click.Path) and words not in ("doctor", "train")]
"""What names a file or a folder; `doctor` says on its own lines what is wrong, and `train` makes an encoder before it looks."""


@pytest.mark.parametrize(("words", "option"), PLACES)
@pytest.mark.parametrize("value", ["file/below", "/dev/null/x", ""])
def test_a_place_where_nothing_can_be_is_one_line(line, words: str, option: str, value: str) -> None:
    said, code = line(words, option, value)
    assert code in (1, 2), said
