"""`edgexp train`: a recipe and a bank become an adapter."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgexp.cli.options import Place, reserve, say
from edgexp.terminal import console, echo, echo_json, style

if TYPE_CHECKING:
    from edgexp.training.dataset import Built
    from edgexp.training.recipe import Recipe
    from edgexp.training.train import Rollouts, Watchers


@click.command()
@click.argument("recipe")
@click.option("--out", type=Place(path_type=Path), help="The run's folder.  [default: runs/RECIPE in edgexp's home]")
@click.option("--bank", type=Place(path_type=Path), help="The bank's folder, in place of those that the recipe names.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE",
              help="Change a setting, as in train.lr=1e-4. May be given more than once.")
@click.option("--show", is_flag=True, help="Print every setting of the recipe as TOML and stop.")
@click.option("--dry-run", is_flag=True, help="Build the dataset, print its figures and two samples, and stop.")
@click.option("--fresh", is_flag=True, help="Delete what an earlier run of this recipe left in the folder.")
@click.option("--gpu-layers", type=click.IntRange(-1, 10_000), default=0, show_default=True,
              help="Layers to put on a GPU while checkpoints play, if llama-cpp-python was built for one.")
@click.option("--json", "as_json", is_flag=True, callback=reserve, help="Print JSON lines to standard output, for scripts.")
def train(recipe: str, out: Path | None, bank: Path | None, changes: tuple[str, ...], show: bool, dry_run: bool, fresh: bool,
          gpu_layers: int, as_json: bool) -> None:
    """Fine-tune a model as RECIPE says, on successful episodes from a bank.

    RECIPE is a TOML file, or one of the names below. After Ctrl-C the command finishes its step and writes a checkpoint; the same command
    goes on from there.

    \b
    Recipes:
      smoke                            some minutes, to see that it works
      lora                             no memory in the prompts: the baseline
      exprag-lora                      past episodes in the prompts
      exprag-lora-robust               the same, some of them wrong or missing
      exprag-lora-meta                 and homes that only memory explains
      exprag-lora-protocol             the same, longer; lora-protocol beside it
      default                          all types of household tasks
      qwen-8gb, qwen-16gb, qwen-24gb   by the memory of a GPU

    \b
    Examples:
      edgexp train smoke
      edgexp train exprag-lora-robust --dry-run
      edgexp train lora --set train.epochs=2 --out runs/two
    """
    from edgexp.home import home
    from edgexp.training import recipe as recipes

    if bank is not None:
        changes = (*changes, f"data.bank={_quoted(str(bank.expanduser().absolute()))}")
    name, settings = recipes.load(recipe, changes)
    if show:
        echo(recipes.show(settings).rstrip("\n"), longest=None)
    elif dry_run:
        _dry_run(settings, as_json)
    else:
        _train((out or home() / "runs" / name).expanduser().absolute(), name, settings, fresh, gpu_layers, as_json)


def _train(folder: Path, name: str, recipe: "Recipe", fresh: bool, gpu_layers: int, as_json: bool) -> None:
    from edgexp.cli.displays import watch_training
    from edgexp.training.train import train

    with watch_training(as_json) as watch:
        adapter = train(folder, name, recipe, watch, fresh=fresh, rollouts=_rollouts(recipe, watch, gpu_layers))
    say(f"adapter: {adapter}\nnext: edgexp export {adapter} --name {name}")


def _rollouts(recipe: "Recipe", watch: "Watchers", gpu_layers: int) -> "Rollouts | None":
    """Plays dev episodes with a checkpoint, where the recipe chooses by them."""
    if recipe.check.select != "rollouts":
        return None
    from edgexp.evaluation.selection import DevEpisodes
    from edgexp.training.train import find_base

    return DevEpisodes(recipe, find_base(recipe), watch.say, watch.played, gpu_layers)


def _dry_run(recipe: "Recipe", as_json: bool) -> None:
    import json

    from edgexp.cli.displays import watch_training
    from edgexp.training.train import build_for, find_base

    with watch_training(as_json) as watch:
        built, _, _ = build_for(recipe, find_base(recipe), watch)
    if as_json:
        echo_json(json.dumps(built.statistics()))
    else:
        _figures(recipe, built)
        _samples(built)


def _figures(recipe: "Recipe", built: "Built") -> None:
    """The dataset's tables, and how many steps it comes to."""
    from edgexp.training.prepared import plan_steps

    console().print(built.figures)
    train = recipe.train
    todo = plan_steps(built.sets["train"].lengths, trajectories=train.trajectories, at_once=1, epochs=train.epochs, steps=train.steps,
                      seed=recipe.seed)
    echo(f"{len(todo.steps)} optimiser steps of {train.trajectories} samples")


def _samples(built: "Built") -> None:
    """Two samples; labels in colour, and between marks where there is no colour."""
    for number, pieces in enumerate(built.shown, 1):
        echo(style(f"\nsample {number}", "bold"), ", what the model is to say marked ⟦so⟧\n")
        echo(*(style(f"⟦{text}⟧", "green", "bold") if label else text for text, label in pieces))


def _quoted(text: str) -> str:
    """As a TOML text."""
    import json

    return json.dumps(text, ensure_ascii=False)
