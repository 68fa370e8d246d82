"""`edgexp collect`: fill a bank with episodes."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgexp.cli.options import bank_option, json_option, say, task_options, wanted
from edgexp.environments.registry import DEFAULT_ENVIRONMENT
from edgexp.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgexp.bank import Bank
    from edgexp.engine.engine import Engine
    from edgexp.play.collecting import Play
    from edgexp.trajectory import Task


@click.command()
@click.argument("environment", default=DEFAULT_ENVIRONMENT)
@click.option("--policy", type=click.Choice(["expert", "agent"]), default="expert", show_default=True, help="Who plays.")
@click.option("-n", "--number", default=120, show_default=True, help="Tasks to play; those played before for this bank are passed over.")
@click.option("--model", default=None, help="With --policy agent: a model's name or the path of a GGUF.")
@click.option("--steps", type=click.IntRange(1), default=None, help="Actions an episode may take.  [default: the environment's]")
@click.option("--slips", type=click.FloatRange(0, 0.5), default=0.0, show_default=True, metavar="SHARE",
              help="With --policy expert: the share of turns at which it makes a mistake first, to show how to go on after one.")
@bank_option
@task_options("train")
@json_option
def collect(environment: str, policy: str, number: int, model: str | None, steps: int | None, slips: float, bank: Path | None, split: str,
            task_ids: tuple[str, ...], types: tuple[str, ...], group: str | None, seed: int, as_json: bool) -> None:
    """Let an expert or an agent play tasks of ENVIRONMENT and keep every episode, won or lost, in the bank.

    Interrupt it at any moment and start it again: tasks already played by that policy are not played twice.

    \b
    Examples:
      edgexp collect                              120 household tasks by the expert
      edgexp collect -n 2000 --group easy         what the easy half of the paper's split trains on
      edgexp collect -n 2000 --slips 0.15         the same with mistakes, which are never trained on, and recoveries
      edgexp collect alfworld -n 500              ALFWorld's own training games
      edgexp collect --policy agent -n 50         the agent's own attempts
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
