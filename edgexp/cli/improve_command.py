"""`edgexp improve`: rounds of playing, learning and checking."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgexp.cli.options import MOST_EPISODES, Finite, cluster_of, json_option, ray_options, say, steps_option
from edgexp.terminal import console, echo, echo_json

if TYPE_CHECKING:
    from edgexp.improve.generations import State


@click.command()
@click.argument("recipe")
@click.option("--rounds", type=click.IntRange(1, MOST_EPISODES), default=3, show_default=True,
              help="Rounds in all; those that were finished count.")
@click.option("--hours", type=Finite(0, 100_000), default=None, help="Begin nothing new after so many hours.  [default: no limit]")
@click.option("--model", default=None, metavar="MODEL", help="The model of the first round.  [default: the recipe's base]")
@click.option("--no-expert", is_flag=True, help="No demonstrations and no takeovers: the model learns from what it won by itself.")
@click.option("--go-on", is_flag=True,
              help="Train on from the best model's adapter, not from where the recipe begins: less to train, if --set train.steps says so.")
@click.option("--tasks", type=click.IntRange(1, MOST_EPISODES), default=120, show_default=True,
              help="Training tasks to play in a round.")
@click.option("--dev", type=click.IntRange(1, MOST_EPISODES), default=60, show_default=True, help="Tasks to check a new model by.")
@steps_option
@click.option("--actions", type=click.Choice(["admissible", "scored", "free"]), default="free", show_default=True,
              help="How the model acts: in its own words (free), or by a choice among the valid actions.")
@click.option("--parallel", type=click.IntRange(1, 64), default=1, show_default=True, help="Episodes at once.")
@ray_options
@click.option("--out", type=click.Path(path_type=Path), help="The rounds' folder.  [default: improve/RECIPE in edgexp's home]")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting of the recipe. May be given more than once.")
@click.option("--back-to", type=click.IntRange(0, MOST_EPISODES), default=None, metavar="GENERATION",
              help="Let that generation play from now on, and stop.")
@click.option("--show", is_flag=True, help="Show the generations and stop.")
@json_option
def improve(recipe: str, rounds: int, hours: float | None, model: str | None, no_expert: bool, go_on: bool, tasks: int, dev: int,
            steps: int | None, actions: str, parallel: int, out: Path | None, changes: tuple[str, ...], back_to: int | None, show: bool,
            as_json: bool, ray: str | None, workers: int | None) -> None:
    """Let a model get better by itself: it plays, learns from what teaches, and is checked, round after round.

    In each round the best model so far plays training tasks of RECIPE. What it won is kept; where the environment has an expert that can,
    it takes over from a model that errs; a lost episode counts as one of the goal that it did reach, where the environment can tell. The
    recipe then trains a new model on all of it, and both play the same dev tasks. Only a model that is better with an interval above zero
    becomes the best; every model is kept, and `edgexp run --model RECIPE-g2` plays that of round 2 (with --out, FOLDER-g2). You can
    interrupt the command at any moment and start it again. index.html in the rounds' folder shows the curve.

    \b
    Examples:
      edgexp improve exprag-lora-robust --rounds 2
      edgexp improve exprag-lora-robust --hours 8 --parallel 2
      edgexp improve exprag-lora-robust --ray auto --parallel 4
      edgexp improve mine.toml --no-expert
      edgexp improve mine.toml --go-on --set train.steps=40
      edgexp improve exprag-lora-robust --back-to 1
    """
    from edgexp.cli.displays import watch_improving
    from edgexp.home import home
    from edgexp.improve import curve, generations
    from edgexp.improve.rounds import Budget, Rounds
    from edgexp.improve.work import RecipeWork, Ways, settings_text
    from edgexp.play.acting import Actions
    from edgexp.training import recipe as recipes

    name, settings = recipes.load(recipe, changes)
    folder = (out or home() / "improve" / name).expanduser().absolute()
    if back_to is not None or show:
        known = generations.read(folder) if back_to is None else generations.roll_back(folder, back_to)
        if known is not None:
            curve.write_page(folder, known, going=False)
        _show(folder, known, as_json)
        return
    chosen: Actions = actions  # type: ignore[assignment]
    ways = Ways(tasks=tasks, dev=dev, steps=steps or 0, actions=chosen, expert=not no_expert, go_on=go_on)
    first = model or settings.base.model
    with cluster_of(ray, workers) as cluster, watch_improving(as_json) as (watch, advance):
        sessions = cluster.open_session if cluster else None
        work = RecipeWork(_model_name(folder), settings, ways, folder / "bank", parallel, watch, advance, sessions)
        work.begin()
        told = Rounds(folder, name, settings_text(settings, ways, first), first)
        try:
            state = told.improve(work, Budget(rounds, hours), lambda state: _tell(folder, state, as_json))
        except KeyboardInterrupt:
            say(f"interrupted; the same command goes on ({folder})")
            raise click.exceptions.Exit(130) from None
    curve.write_page(folder, state, going=False)
    _show(folder, state, as_json)


def _model_name(folder: Path) -> str:
    """What the models of a folder are called, but for the number; each folder has its own."""
    return re.sub(r"[^a-z0-9._-]+", "-", folder.name.lower()).strip("-._") or "improved"


def _json(state: "State") -> bytes:
    """A state as one line, without the settings."""
    import msgspec

    return msgspec.json.encode({name: value for name, value in msgspec.to_builtins(state).items() if name != "asked"})


def _tell(folder: Path, state: "State", as_json: bool) -> None:
    from edgexp.improve import curve

    curve.write_page(folder, state, going=True)
    if as_json:
        echo_json(_json(state))
    else:
        say(f"round {state.round}: {state.stage}; the best is generation {state.best}")


def _show(folder: Path, state: "State | None", as_json: bool) -> None:
    from rich.table import Table

    from edgexp.improve import curve

    if state is None:
        echo("no rounds yet")
        return
    if as_json:
        echo_json(_json(state))
        return
    table = Table("generation", "model", "of", "episodes kept", "dev tasks won", "before", "difference", box=None)
    for g in state.generations:
        check = g.check
        row = ("", "", "") if check is None else (
            f"{check.won} of {check.tasks}", str(check.won_before),
            f"{100 * check.difference:+.0f} ({100 * check.low:+.0f} to {100 * check.high:+.0f})",
        )  # fmt: skip
        best = " (best)" if g.number == state.best else ""
        table.add_row(f"{g.number}{best}", g.model or "nothing to learn from", str(g.parent) if g.number else "", str(g.kept), *row)
    console().print(table)
    echo(f"the curve: {folder / curve.PAGE}")
