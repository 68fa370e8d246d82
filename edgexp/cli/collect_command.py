"""`edgexp collect`: fill a bank with episodes."""

from typing import TYPE_CHECKING, Any, cast

import click

from edgexp.cli.options import (
    MOST_EPISODES,
    Finite,
    acting_options,
    bank_option,
    cluster_of,
    json_option,
    memory_options,
    ray_options,
    sandbox_option,
    say,
    settings_of,
    steps_option,
    task_options,
)
from edgexp.environments.registry import DEFAULT_ENVIRONMENT
from edgexp.errors import UsageError
from edgexp.terminal import echo, echo_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edgexp.bank import Bank
    from edgexp.cluster.far import FarSession
    from edgexp.play.collecting import Again
    from edgexp.play.rollout import Finished
    from edgexp.play.session import OpenSession
    from edgexp.trajectory import Source, Trajectory


@click.command()
@click.argument("environment", default=DEFAULT_ENVIRONMENT)
@click.option("--policy", default="expert", show_default=True, metavar="WHO",
              help="Who plays: expert, agent (the model), takeover (the model, until the expert takes over), or module:attribute of "
                   "a policy of your own.")
@click.option("-n", "--number", type=click.IntRange(1, MOST_EPISODES), default=120, show_default=True,
              help="Tasks to play. Of those that this kind of player has played for the bank, --again says which are played again.")
@click.option("--again", type=click.Choice(["none", "lost", "all"]), default=None,
              help="Which tasks are played again: none that was played, those that were never won, or all. "
                   "[default: none with --policy expert, which would do the same again; otherwise lost]")
@steps_option
@click.option("--mistakes", "--slips", "mistakes", type=Finite(0, 0.5), default=0.0, show_default=True, metavar="SHARE",
              help="With --policy expert: the share of turns at which it first makes a mistake. Episodes then show how to go on "
                   "after one; nothing is trained on the mistake itself.")
@click.option("--hand-back", type=click.IntRange(0, MOST_EPISODES), default=0, show_default=True,
              help="With --policy takeover: the model goes on after so many actions of the expert's. 0: the expert finishes.")
@click.option("--hindsight", is_flag=True,
              help="Keep a lost episode a second time, as one of the goal that it did reach, where the environment can tell which.")
@bank_option
@task_options("train")
@acting_options
@memory_options
@ray_options
@sandbox_option
@json_option
def collect(policy: str, number: int, steps: int | None, mistakes: float, hand_back: int, hindsight: bool, split: str | None,
            task_ids: tuple[str, ...], types: tuple[str, ...], group: str | None, again: str | None, ray: str | None,
            workers: int | None, as_json: bool, **options: Any) -> None:
    """Fill a bank with episodes of ENVIRONMENT that an expert or the model plays.

    The bank keeps every episode, won or lost. You can interrupt the command and start it again: no player plays a task that it has won
    twice. Episodes that could not be played, or that broke off because something failed, are told; the others go on, and the exit code
    is 1. Started again, the command tries them again.

    \b
    Examples:
      edgexp collect                           an expert, 120 household tasks
      edgexp collect -n 2000 --group easy      the paper's easy types of task
      edgexp collect -n 2000 --mistakes 0.15   with mistakes that it puts right
      edgexp collect alfworld -n 500           ALFWorld's own training games
      edgexp collect --policy agent -n 50      the model plays
      edgexp collect --policy takeover -n 50   where it errs, the expert helps
      edgexp collect --policy agent --ray auto on all machines of a Ray cluster
    """
    import json
    from contextlib import ExitStack, closing
    from functools import partial

    from msgspec.structs import replace

    from edgexp.environments.registry import make
    from edgexp.play.collecting import draw, expert_episodes, left_to_play, split_to_play
    from edgexp.play.fleet import Environments
    from edgexp.play.hindsight import in_hindsight
    from edgexp.play.session import open_bank, open_session
    from edgexp.play.takeover import Patience

    if mistakes and policy != "expert":
        raise UsageError("--mistakes are those of the expert; an agent makes its own")
    if hand_back and policy != "takeover":
        raise UsageError("--hand-back is for --policy takeover")
    settings = settings_of(options | {"policy": "" if policy in ("expert", "agent", "takeover") else policy})
    if policy == "takeover":
        settings = replace(settings, takeover=Patience(hand_back=hand_back))
    with ExitStack() as opened:
        cluster = opened.enter_context(cluster_of(ray, workers))
        if policy == "expert":
            environments = opened.enter_context(Environments())
            world, bank = environments.at(settings.environment), opened.enter_context(open_bank(settings.bank, say=say))
        else:
            session: OpenSession | FarSession
            if cluster:
                session = opened.enter_context(cluster.open_session(settings, say, keep=True, in_use=True))
            else:
                session = opened.enter_context(open_session(settings, say, keep=True, in_use=True))
            assert session.bank is not None
            world, bank = session.environment, session.bank
        if task_ids:
            drawn = [world.task(t) for t in task_ids]
        else:
            drawn = draw(world, split_to_play(world, split, "train"), number, settings.seed, types, group)
        who: tuple[Source, ...] = ("agent", "takeover") if policy == "takeover" else ("expert",) if policy == "expert" else ("agent",)
        tasks = left_to_play(bank, drawn, who, cast("Again", again or ("none" if policy == "expert" else "lost")))
        if policy == "expert":
            play = partial(cluster.expert_episodes, world) if cluster else partial(expert_episodes, environments)
            episodes = play(settings.environment, tasks, steps=steps, mistakes=mistakes, seed=settings.seed, parallel=settings.parallel)
        else:
            episodes = session.play(tasks, steps=steps)
        besides = partial(in_hindsight, opened.enter_context(closing(make(settings.environment)))) if hindsight else lambda _: None
        won, failed = collect_with_progress(bank, episodes, len(tasks), besides=besides)
        result = {"drawn": len(drawn), "known": len(drawn) - len(tasks), "played": len(tasks) - failed, "won": won, "failed": failed,
                  "bank": bank.count()}
        if as_json:
            echo_json(json.dumps(result))
        else:
            echo(f"{won} of {result['played']} episodes won, {result['known']} known before; "
                 f"the bank holds {result['bank']:,} trajectories")
    if failed:
        raise click.exceptions.Exit(1)


def collect_with_progress(bank: "Bank", episodes: "Iterable[Finished]", total: int, batch: int = 1,
                          besides: "Callable[[Trajectory], Trajectory | None]" = lambda _: None) -> tuple[int, int]:
    """Collect with a progress bar; how many episodes were won, and how many were not played to their end or not kept. Ctrl-C keeps what
    was stored."""
    from edgexp.play.collecting import collect_telling
    from edgexp.progress import Bars

    with Bars() as bars:
        done = 0

        def over(problem: str) -> None:
            nonlocal done
            done += 1
            bars.tell("collecting", done, total)
            if problem:
                bars.say(problem)

        won, problems = collect_telling(bank, episodes, over, batch, besides)
    return won, len(problems)
