"""The command line: a click group that imports a command's module only when that command is asked for.

The module of every command is `edgexp.cli.<name>_command`, with a click command called `<name>`. Errors that edgexp raises on purpose
become one line on standard error and the error's exit code; `--debug` shows the traceback, and before it what an error brings as its
`details`: what a child process said before it died.
"""

import importlib
import importlib.util
import os
import sys
from typing import Any

import click

from edgexp import __version__
from edgexp.errors import EdgexpError

COMMANDS = {
    "run": "Watch a small language model play, with past episodes in its prompt.",
    "collect": "Fill a bank with episodes that an expert or the model plays.",
    "bank": "Look into banks of past episodes and keep them in order.",
    "train": "Fine-tune a model on prompts that hold past episodes.",
    "export": "Turn an adapter into a GGUF file and check that it says what the trained model said.",
    "eval": "Measure whether experience helps: play the same tasks in several ways.",
    "report": "Make a page of what an evaluation found.",
    "models": "List, fetch and check model weights.",
    "envs": "List environments, and prepare those that run in Java.",
    "doctor": "Check this machine, its libraries, models and banks.",
}
"""Name → the line that `edgexp --help` shows; kept here so that showing it imports no command."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in COMMANDS if importlib.util.find_spec(f"edgexp.cli.{name}_command")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS or importlib.util.find_spec(f"edgexp.cli.{cmd_name}_command") is None:
            return None
        command = getattr(importlib.import_module(f"edgexp.cli.{cmd_name}_command"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, "-V", "--version")
@click.option("--debug", is_flag=True, help="Show Python's traceback when something fails.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Teach a small language model to act, and to learn from experience, on your own machine.

    \b
    Start here:
      edgexp run            watch a model play, with past episodes in its prompt
      edgexp bank ls        see what it can remember
      edgexp doctor         find out what is wrong, if anything is
    """
    ctx.obj = {"debug": debug}


def main(arguments: list[str] | None = None) -> Any:
    """Entry point of the console script. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    _quiet_libraries()
    try:
        code = cli.main(arguments, prog_name="edgexp", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except EdgexpError as error:
        if "--debug" in arguments:
            click.echo(error.details, err=True, nl=bool(error.details))
            raise
        click.echo(f"edgexp: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader (head, a pager) has gone; Python would complain once more when it flushes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if "--debug" in arguments:
            raise
        click.echo(f"edgexp: {error.filename or 'a file'}: {error.strerror or error}; see the whole error with: edgexp --debug …", err=True)
        sys.exit(1)


def _quiet_libraries() -> None:
    """No library may phone home or look for newer versions of itself."""
    for name in ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "ORT_DISABLE_TELEMETRY"):
        os.environ.setdefault(name, "1")
