"""`edgexp envs`: the environments that can be named, and what they need."""

from typing import TYPE_CHECKING, cast

import click
import msgspec

from edgexp.cli.options import MOST_EPISODES, json_option, say, task_options
from edgexp.terminal import clean, console, echo, echo_json

if TYPE_CHECKING:
    from edgexp.environments.base import Environment
    from edgexp.environments.java.gold import GoldPath
    from edgexp.environments.java.served import ServedEnvironment
    from edgexp.trajectory import Task


@click.group()
def envs() -> None:
    """List environments, begin your own, and prepare those that run in Java.

    Your own environment is a class. It has the members of Environment in edgexp/environments/base.py. Every command that takes an
    environment takes its name as module:Class or file.py:Class. A package can also register it, as an entry point of the group
    edgexp.environments. It may also be a program in any language (process:COMMAND), an environment of Gymnasium's (gym:ID), or a folder
    of tasks.

    \b
    Examples:
      edgexp envs ls
      edgexp run mypackage.garden:Garden
      edgexp run ./doors.py:Doors
      edgexp envs new garden
    """


@envs.command()
@json_option
def ls(as_json: bool) -> None:
    """Show every environment and its tasks.

    If an environment cannot be used here, the list says why.

    \b
    Examples:
      edgexp envs ls
      edgexp envs ls --json
    """
    from rich.table import Table
    from rich.text import Text

    from edgexp.environments.registry import describe_all

    described = describe_all()
    if as_json:
        for one in described:
            echo_json(msgspec.json.encode(one))
        return
    table = Table("name", "valid actions", "expert", "tasks", box=None, padding=(0, 2, 0, 0))
    for one in described:
        splits = ", ".join(f"{split} {count:,}" for split, count in one.splits.items())
        abilities = ("", "") if one.problem else ("yes" if one.admissible else "no", "yes" if one.expert else "no")
        table.add_row(one.name, *abilities, Text(clean(one.problem), "yellow") if one.problem else splits)
    console().print(table)


@envs.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(["class", "process", "tasks"]), default="class", show_default=True,
              help="class: a file with a class. process: a program that is asked in JSON. tasks: a folder of tasks.")
def new(name: str, kind: str) -> None:
    """Begin an environment of your own.

    Writes a small environment with that NAME into the current folder. It plays at once: change it bit by bit. Nothing is written over.

    \b
    Examples:
      edgexp envs new garden                  garden.py, with a class Garden
      edgexp envs new garden --kind process   a program in a process of its own
      edgexp envs new chores --kind tasks     the folder chores, with a task
    """
    from pathlib import Path

    from edgexp.environments.bridges.skeletons import Kind, write_skeleton

    path, played = write_skeleton(name, cast("Kind", kind), Path())
    echo(f"{path} is written; play it with: edgexp run {played}")


@envs.command()
@click.argument("environment")
@click.option("-n", "--number", type=click.IntRange(1, MOST_EPISODES), default=None,
              help="Tasks to solve, of each type in turn.  [default: all]")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True,
              help="Java servers side by side. Each takes half a gigabyte.")
@task_options("train")
@json_option
def gold(environment: str, number: int | None, workers: int, split: str | None, task_ids: tuple[str, ...], types: tuple[str, ...],
         group: str | None, seed: int, as_json: bool) -> None:
    """Solve tasks in advance for an expert to play.

    This is for ENVIRONMENTs that run in Java: their own solvers take seconds for a task. The command plays each solution (a "gold path")
    once to prove it, and keeps it in the folder gold of edgexp's home. You can interrupt it and start it again. A task that was not
    solved in advance is solved when the expert first plays it.

    \b
    Examples:
      edgexp envs gold scienceworld -n 300         some tasks of every type
      edgexp envs gold scienceworld --group easy   all of the paper's easy types
      edgexp envs gold textworld-express --workers 4
    """
    from contextlib import ExitStack

    from edgexp.environments.java.served import missing

    with ExitStack() as opened:
        first = _served(environment)
        opened.callback(first.close)
        drawn = _draw(first, split, number, task_ids, types, group, seed)
        left = missing(first, drawn)
        servers = [first, *(_served(environment) for _ in range(min(workers, len(left)) - 1))]
        for server in servers:
            opened.callback(server.close)
        found = _freeze(servers, left, as_json)
        figures = {"drawn": len(drawn), "known": len(drawn) - len(left), "found": sum(p.success for p in found),
                   "failed": sum(not p.success for p in found), "restarts": sum(s.restarts for s in servers), "file": str(first.gold.file)}
    if as_json:
        echo_json(msgspec.json.encode({"summary": figures}))
    else:
        echo(f"{figures['found']} gold paths found, {figures['failed']} tasks without one, {figures['known']} known before; "
                   f"{figures['restarts']} restarts of Java; kept in {figures['file']}")


def _served(name: str) -> "ServedEnvironment":
    from edgexp.environments.java.served import ServedEnvironment
    from edgexp.environments.registry import make
    from edgexp.errors import UsageError

    made = make(name)
    if not isinstance(made, ServedEnvironment):
        made.close()
        raise UsageError(f"the environment {name} has no gold paths to find: its expert needs none; collect with: edgexp collect {name}")
    return made


def _draw(environment: "ServedEnvironment", split: str | None, number: int | None, task_ids: tuple[str, ...], types: tuple[str, ...],
          group: str | None, seed: int) -> "list[Task]":
    from edgexp.play.collecting import draw, split_to_play

    if task_ids:
        return [environment.task(task_id) for task_id in task_ids]
    world = cast("Environment", environment)
    return draw(world, split_to_play(world, split, "train"), number, seed, types, group)


def _freeze(servers: "list[ServedEnvironment]", left: "list[Task]", as_json: bool) -> "list[GoldPath]":
    """Find the paths under a progress bar; failures are told as they come."""
    from edgexp.environments.java.served import freeze_all
    from edgexp.progress import Bars

    found: list[GoldPath] = []
    with Bars() as bars:

        def done(path: "GoldPath") -> None:
            found.append(path)
            bars.tell("solving", len(found), len(left))
            if as_json:
                echo_json(msgspec.json.encode(path))
            elif not path.success:
                say(f"{path.task}: {path.problem or f'the path ends with a score of {path.score}'}")

        freeze_all(servers, left, done)
    return found
