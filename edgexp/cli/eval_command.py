"""`edgexp eval`: does experience help? Plays a suite of conditions on the same tasks, resumably."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgexp.cli.options import (
    MOST_EPISODES,
    Place,
    cluster_of,
    gpu_layers_option,
    json_option,
    ray_options,
    say,
    server_options,
    vault_option,
)
from edgexp.terminal import echo

if TYPE_CHECKING:
    from edgexp.evaluation.evaluate import Wishes
    from edgexp.evaluation.suite import Suite


@click.command("eval")
@click.argument("suite")
@click.option("--out", type=Place(path_type=Path), help="Folder for the results.  [default: results/SUITE in edgexp's home]")
@click.option("--parallel", type=click.IntRange(1, 64), default=1, show_default=True,
              help="Episodes at once. About as many as the machine has cores is a good number.")
@click.option("-n", "--number", type=click.IntRange(1, MOST_EPISODES), default=None,
              help="Tasks of each split and group, in place of the suite's number.")
@click.option("--only", multiple=True, metavar="CONDITION", help="Play only this condition. May be given more than once.")
@click.option("--model", "models", multiple=True, metavar="NAME=FILE",
              help="For the model NAME of the suite, take this GGUF, this other name, or this server (http://localhost:8080/v1#name).")
@server_options
@click.option("--fresh", multiple=True, metavar="CONDITION",
              help="Delete a condition's earlier results and play it again. May be given more than once.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE",
              help="Change a setting, as in context=2048. May be given more than once.")
@gpu_layers_option
@vault_option
@ray_options
@click.option("--show", is_flag=True, help="Print every setting of the suite as TOML and stop.")
@json_option
def eval(suite: str, out: Path | None, parallel: int, number: int | None, only: tuple[str, ...], models: tuple[str, ...],
         fresh: tuple[str, ...], changes: tuple[str, ...], gpu_layers: int, vault: int, show: bool, as_json: bool,
         api_key_env: str | None, answer_seconds: float | None, ray: str | None, workers: int | None) -> None:
    """Measure whether experience helps: play the same tasks in several ways.

    SUITE is a TOML file, or one of the names below. It says which tasks are played, and under which conditions: with which model, and with
    how much memory from which bank. A table with intervals and comparisons comes at the end. You can interrupt the command and start it
    again: it keeps every finished episode and plays what is missing.

    \b
    Suites:
      smoke               a few episodes, to see that it works
      household           known and new types of task, with and without memory
      alfworld            the same on ALFWorld's own games
      scienceworld        the same on school experiments
      treatments, worlds  homes and houses that only memory explains

    \b
    Examples:
      edgexp eval smoke
      edgexp eval household --parallel 4
      edgexp eval household --parallel 4 --ray auto
      edgexp eval household --only LoRA --only ExpRAG-LoRA -n 6
      edgexp eval household --model smollm2-135m-exprag=mine --out results/mine
    """
    from edgexp.evaluation import suite as suites
    from edgexp.evaluation.evaluate import Wishes
    from edgexp.home import home
    from edgexp.play.chat_client import SECONDS, Terms

    if number is not None:
        changes = (*changes, f"tasks.number={number}")
    name, settings = suites.load(suite, changes)
    if show:
        echo(suites.show(settings).rstrip("\n"), longest=None)
        return
    folder = (out or home() / "results" / name).expanduser().absolute()
    terms = Terms(api_key_env or "", answer_seconds or SECONDS)
    with cluster_of(ray, workers) as cluster:
        far = cluster.players if cluster else None
        _eval(name, settings, folder, Wishes(parallel, _named(models), only, fresh, gpu_layers, vault, terms, far), as_json)


def _eval(name: str, suite: "Suite", folder: Path, wishes: "Wishes", as_json: bool) -> None:
    from edgexp.cli.displays import show_results, watch_evaluation
    from edgexp.evaluation.evaluate import MOST_TOLD, evaluate

    try:
        with watch_evaluation(as_json) as watch:
            done = evaluate(name, suite, folder, wishes, watch)
    except KeyboardInterrupt:
        say(f"interrupted; the episodes that had ended are kept in {folder}, and the same command goes on")
        raise click.exceptions.Exit(130) from None
    show_results(folder, as_json)
    for failure in done.failures[:MOST_TOLD]:
        say(f"{failure.job.condition.name}, {failure.job.task.id} could not be played: {failure.reason}")
    if done.failures:
        say(f"{len(done.failures)} episodes are missing; the same command tries them again")
    if done.lacking:
        say(f"the evaluation's bank lacks {len(done.lacking)} expert episodes that could not be played; the same command tries them again")
    if done.failures or done.lacking:
        raise click.exceptions.Exit(1)
    say(f"results: {folder}\nnext: edgexp report {folder}")


def _named(models: tuple[str, ...]) -> dict[str, str]:
    from edgexp.errors import UsageError

    found = {}
    for given in models:
        name, separator, file = given.partition("=")
        if not separator or not file:
            raise UsageError(f"--model {given}: write it as NAME=FILE, NAME being a model that the suite names")
        found[name] = file
    return found
