"""The command line: a click group that imports a command's module only when that command is asked for.

The module of every command is `edgexp.cli.<name>_command`, with a click command called `<name>`. Errors that edgexp raises on purpose
become one line on standard error and the error's exit code; `--debug`, before or after the command, shows the traceback, and before it
what an error brings as its `details`: what a child process said before it died. Any other error is a bug, one line and a log.
"""

import importlib
import importlib.util
import os
import sys
import traceback
from typing import NoReturn

import click

from edgexp import __version__, signals, terminal
from edgexp.errors import EdgexpError

COMMANDS = {
    "run": "Watch a small language model play, with past episodes in its prompt.",
    "collect": "Fill a bank with episodes that an expert or the model plays.",
    "bank": "Look into banks of past episodes and keep them in order.",
    "train": "Fine-tune a model on prompts that hold past episodes.",
    "improve": "Let a model play, learn from it and be checked, round after round.",
    "export": "Turn an adapter into a GGUF file and check that it says what the trained model said.",
    "eval": "Measure whether experience helps: play the same tasks in several ways.",
    "report": "Make a page of what an evaluation found.",
    "serve": "Serve a model to other programs, with memory: an OpenAI-compatible server.",
    "models": "List, fetch and check model weights.",
    "envs": "List environments, begin your own, and prepare those that run in Java.",
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


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and end the process. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted (Ctrl-C), 143 terminated."""
    signals.install()
    terminal.install()
    _quiet_libraries()
    given, debug = _take_debug(sys.argv[1:] if arguments is None else arguments)
    code, told = 1, False
    try:
        signals.begin()
        code, told = _run(given, debug)
    except KeyboardInterrupt:  # between two lines of our own
        pass
    sys.exit(_end(code, told))


def _take_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """The arguments without `--debug`, which may stand before or after the command, and whether it was there."""
    own = arguments.index("--") if "--" in arguments else len(arguments)
    rest = [argument for argument in arguments[:own] if argument != "--debug"]
    return rest + arguments[own:], len(rest) < own


def _run(arguments: list[str], debug: bool) -> tuple[int, bool]:
    """Run a command and say how it failed; its exit code, and whether it said itself that it was interrupted."""
    try:
        return _invoke(arguments, debug), True
    except (KeyboardInterrupt, click.exceptions.Abort):
        return 130, False
    except terminal.OutputLost as lost:
        return (0 if lost.reader_has_gone else _fail(str(lost))), True
    except click.ClickException as error:
        return _tell_usage(error), True
    except BaseException as error:
        if not signals.received():
            return _tell(error, debug), True
        told = isinstance(error, EdgexpError) and str(error).startswith("interrupted")
        if told:  # else it is what a library made of Ctrl-C
            terminal.echo(str(error), err=True)
        return 130, told


def _invoke(arguments: list[str], debug: bool) -> int:
    """What `click.Group.main` does, without its own ways with signals and closed pipes."""
    if "_EDGEXP_COMPLETE" in os.environ:
        cli.main(arguments, prog_name="edgexp")
    try:
        with cli.make_context("edgexp", (["--debug"] if debug else []) + list(arguments)) as context:
            code = cli.invoke(context)
    except click.exceptions.Exit as leaving:
        code = leaving.exit_code
    return code if isinstance(code, int) else 0


def _tell(error: BaseException, debug: bool) -> int:
    """One line about an error, or with `--debug` all that is known of it; the exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else _fail(str(error.code)) if error.code else 0
    if debug:
        details = error.details if isinstance(error, EdgexpError) else ""
        terminal.echo(f"{details}\n{''.join(traceback.format_exception(error))}".strip(), err=True)
        return error.exit_code if isinstance(error, EdgexpError) else 1
    if isinstance(error, EdgexpError):
        return _fail(str(error), error.exit_code)
    if isinstance(error, MemoryError):
        return _fail("there is not enough memory")
    if isinstance(error, OSError):
        return _fail(f"{error.filename or 'a file'}: {error.strerror or error}; see the whole error with: edgexp --debug …")
    return _fail(describe_bug(error))


def _tell_usage(error: click.ClickException) -> int:
    """One line about what was asked wrongly, or a group's help where nothing was asked; the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show(sys.stderr)
        return error.exit_code
    context = getattr(error, "ctx", None)
    see = f"; see: {context.command_path} --help" if context else ""
    said = " ".join(error.format_message().split()).rstrip(".")
    return _fail((said if len(said) <= 500 else f"{said[:200]} … {said[-200:]}") + see, 2)  # a value may be of any length


def describe_bug(error: BaseException) -> str:
    """One line about an error that nobody foresaw, with the log that holds its traceback."""
    from edgexp.process import keep_log

    log = keep_log("bug", "".join(traceback.format_exception(error)))
    what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return f"this is a bug of edgexp: {what} ({f'log: {log}' if log else 'see it whole with: edgexp --debug …'})"


def _fail(line: str, code: int = 1) -> int:
    terminal.echo(f"edgexp: {line}", err=True)
    return code


def _end(code: int, told: bool) -> int:
    """Write what is still to be written; the exit code, which says so where a signal came."""
    try:
        for stream in (terminal.standard_output(), sys.stderr):
            if stream is not None:
                stream.flush()
    except terminal.OutputLost as lost:
        code = code or (0 if lost.reader_has_gone else _fail(str(lost)))
    number = signals.received()
    if code == 130 or number:
        if not (told and code == 130):
            terminal.end_line()
            terminal.echo(signals.WORDS.get(number, "interrupted"), err=True)
        code = 128 + number if number else 130
    signals.end()
    return code


def _quiet_libraries() -> None:
    """No library may phone home or look for newer versions of itself."""
    for name in ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "ORT_DISABLE_TELEMETRY"):
        os.environ.setdefault(name, "1")
