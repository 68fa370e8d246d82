"""`edgexp collect`: fill a bank with episodes."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgexp.cli.options import bank_option, json_option, say, task_options, wanted
from edgexp.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgexp.bank import Bank
    from edgexp.engine.engine import Engine
    from edgexp.play.collecting import Play
    from edgexp.trajectory import Task


@click.command()
@click.argument("environment", default="household")
@click.option("--policy", type=click.Choice(["expert", "agent"]), default="expert", show_default=True,
              help="Who plays: the environment's expert, or the model.")
@click.option("-n", "--number", default=120, show_default=True, help="Tasks to play. Those that the bank has already are skipped.")
@click.option("--model", default=None, help="With --policy agent: a name from `edgexp models ls`, or the path of a GGUF.")
@click.option("--steps", type=click.IntRange(1), default=None, help="Most actions in an episode.  [default: the environment's]")
@click.option("--slips", type=click.FloatRange(0, 0.5), default=0.0, show_default=True, metavar="SHARE",
              help="With --policy expert: the share of turns at which it first makes a mistake. Episodes then show how to go on "
                   "after one; nothing is trained on the mistake itself.")
@bank_option
@task_options("train")
@json_option
def collect(environment: str, policy: str, number: int, model: str | None, steps: int | None, slips: float, bank: Path | None, split: str,
            task_ids: tuple[str, ...], types: tuple[str, ...], group: str | None, seed: int, as_json: bool) -> None:
    """Fill a bank with episodes of ENVIRONMENT that an expert or the model plays.

    The bank keeps every episode, won or lost. You can interrupt the command and start it again: no player plays a task twice.

    \b
    Examples:
      edgexp collect                        the expert plays 120 household tasks
      edgexp collect -n 2000 --group easy   the paper's easy types of task
      edgexp collect -n 2000 --slips 0.15   with mistakes that it puts right
      edgexp collect alfworld -n 500        ALFWorld's own training games
      edgexp collect --policy agent -n 50   the model plays
    """
    import json
    from contextlib import ExitStack

    from edgexp.environments.registry import make
    from edgexp.models import DEFAULT_POLICY
    from edgexp.play import collecting
    from edgexp.play.session import Settings, open_bank, open_stack

    if slips and policy != "expert":
        raise UsageError("--slips are mistakes of the expert; an agent makes its own")
    with ExitStack() as opened:
        engine = None
        if policy == "agent":
            stack = opened.enter_context(open_stack(Settings(environment, model or DEFAULT_POLICY, bank=bank, seed=seed), say))
            world, engine, play = stack.environment, stack.engine, collecting.agent_play(stack.environment, stack.policy, steps)
            assert stack.bank is not None
            store = stack.bank
        else:
            world = make(environment)
            opened.callback(world.close)
            store, play = opened.enter_context(open_bank(bank, say=say)), collecting.expert_play(world, steps, slips, seed)
        if task_ids:
            drawn = [world.task(t) for t in task_ids]
        else:
            drawn = collecting.spread(world.tasks(split), number, seed, wanted(types, group))
        tasks = collecting.left_to_play(store, drawn, "expert" if policy == "expert" else "agent")
        won = collect_with_progress(store, tasks, play, engine)
        result = {"drawn": len(drawn), "known": len(drawn) - len(tasks), "played": len(tasks), "won": won, "bank": store.count()}
    if as_json:
        click.echo(json.dumps(result))
    else:
        click.echo(f"{won} of {len(tasks)} episodes won, {result['known']} known before; the bank holds {result['bank']:,} trajectories")


def collect_with_progress(bank: "Bank", tasks: "Sequence[Task]", play: "Play", engine: "Engine | None" = None, batch: int = 1) -> int:
    """Collect with a progress bar; returns how many episodes were won. Ctrl-C keeps what was stored and raises Abort."""
    from edgexp.play.collecting import collect
    from edgexp.progress import bar

    with bar("collecting") as progress:
        shown = progress.add_task("", total=len(tasks))
        return collect(bank, tasks, play, lambda _: progress.advance(shown), engine, batch)
