"""Options that several commands share, and the small helpers of printing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edgexp.trajectory import Task

F = TypeVar("F", bound=Callable[..., Any])

bank_option = click.option("--bank", type=click.Path(path_type=Path), help="Bank folder.  [default: the one in edgexp's home]")
json_option = click.option("--json", "as_json", is_flag=True, help="JSON lines on standard output, for scripts.")


def say(message: str) -> None:
    """A remark for people, on standard error, so that standard output stays clean."""
    click.echo(click.style(message, dim=True), err=True)


def task_options(split: str) -> Callable[[F], F]:
    """`--split`, `--task`, `--type`, `--group`, `-n` and `--seed`, for commands that play tasks."""

    def add(command: F) -> F:
        for option in reversed([
            click.option("--split", default=split, show_default=True, help="Split of the environment to draw tasks from."),
            click.option("--task", "task_ids", multiple=True, metavar="ID", help="Play this task (may be given again)."),
            click.option("--type", "types", multiple=True, metavar="TYPE", help="Only tasks of this type (may be given again)."),
            click.option("--group", type=click.Choice(["easy", "hard"]), help="Only task types of this side of the paper's split."),
            click.option("--seed", default=0, show_default=True, help="Which tasks are drawn, and how actions are sampled."),
        ]):
            command = option(command)
        return command

    return add


def wanted(types: tuple[str, ...], group: str | None) -> Callable[[Task], bool]:
    """Whether a task is of the types and the group asked for; nothing asked for means all."""
    return lambda task: (not types or task.type in types) and (group is None or task.group == group)
