"""What `--help` says of every command: it fits a narrow terminal, it has examples, and its first sentence is whole in the list above it."""

import click
import pytest
from click.testing import CliRunner

from edgexp.cli import COMMANDS, cli


def _names() -> list[tuple[str, ...]]:
    names: list[tuple[str, ...]] = []
    for name in sorted(COMMANDS):
        command = cli.get_command(click.Context(cli), name)
        names.append((name,))
        if isinstance(command, click.Group):
            names += [(name, sub) for sub in sorted(command.commands)]
    return names


NAMES = _names()


def _help(*names: str) -> list[str]:
    shown = CliRunner().invoke(cli, [*names, "--help"], prog_name="edgexp", terminal_width=80)
    assert shown.exit_code == 0
    return shown.output.splitlines()


@pytest.mark.parametrize("names", [(), *NAMES], ids=" ".join)
def test_help_fits_eighty_columns(names):
    assert [line for line in _help(*names) if len(line) > 80] == []


@pytest.mark.parametrize("names", NAMES, ids=" ".join)
def test_every_command_has_examples_of_itself(names):
    lines = _help(*names)
    examples = lines[lines.index("  Examples:") + 1 :]
    assert examples[0].startswith(f"    edgexp {' '.join(names)}")


@pytest.mark.parametrize("names", [(), *((name,) for name in COMMANDS)], ids=" ".join)
def test_lists_of_commands_cut_no_sentence(names):
    lines = _help(*names)
    listed = lines[lines.index("Commands:") + 1 :] if "Commands:" in lines else []
    assert [line for line in listed if line.endswith("...")] == []
