"""`edgexp envs`: the environments that can be named, and what they need."""

import click
import msgspec

from edgexp.cli.options import json_option


@click.group()
def envs() -> None:
    """List environments: built in, from installed packages, or your own.

    \b
    Your own environment is a class with the members of edgexp.environments.base.Environment. Name it as
    module:attribute wherever a command takes an environment, or register it under the entry point group
    edgexp.environments:
      edgexp run mypackage.garden:Garden
    """


@envs.command()
@json_option
def ls(as_json: bool) -> None:
    """Every environment by name, with its splits, or the reason why it cannot be used.

    \b
    Example:
      edgexp envs ls
    """
    from rich.console import Console
    from rich.table import Table

    from edgexp.environments import describe_all

    described = describe_all()
    if as_json:
        for one in described:
            click.echo(msgspec.json.encode(one))
        return
    table = Table("name", "valid actions", "expert", "tasks", box=None, padding=(0, 2, 0, 0))
    for one in described:
        splits = ", ".join(f"{split} {count:,}" for split, count in one.splits.items())
        abilities = ("", "") if one.problem else ("yes" if one.admissible else "no", "yes" if one.expert else "no")
        table.add_row(one.name, *abilities, f"[yellow]{one.problem}" if one.problem else splits)
    Console().print(table)
