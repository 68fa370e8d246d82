"""`edgexp run`: play episodes live."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgexp.cli.options import acting_options, bank_option, json_option, memory_options, say, settings_of, task_options, wanted
from edgexp.environments.registry import DEFAULT_ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from edgexp.play.episode import Watcher
    from edgexp.play.session import OpenSession
    from edgexp.trajectory import Task

STARTER = 120
"""Expert episodes collected when a bank has none of the environment: twenty of each household task type, a few seconds."""


@click.command()
@click.argument("environment", default=DEFAULT_ENVIRONMENT)
@click.option("-n", "--number", default=3, show_default=True, help="Episodes to play.")
@click.option("--policy", default="", metavar="MODULE:ATTRIBUTE", help="A policy of your own that acts in place of a model.")
@acting_options
@bank_option
@memory_options
@task_options("dev")
@click.option("--steps", type=click.IntRange(1), default=None, help="Most actions in an episode.  [default: the environment's]")
@click.option("--learn", is_flag=True, help="Put episodes that succeed into the bank.")
@click.option("--record", type=click.Path(path_type=Path, dir_okay=False), default=None,
              help="Write the episodes to FILE too: as JSON lines, or as a picture of the screen if FILE ends in .svg.")
@json_option
def run(number: int, task_ids: tuple[str, ...], types: tuple[str, ...], group: str | None, split: str, learn: bool,
        record: Path | None, as_json: bool, steps: int | None, **options: Any) -> None:
    """Let a model play episodes of ENVIRONMENT, and watch it.

    You see the goal, the past episodes in the prompt, each action and what it led to. Without ENVIRONMENT the model plays household
    tasks. If the bank holds no episode of ENVIRONMENT, an expert plays some first.

    \b
    Examples:
      edgexp run                               three household tasks
      edgexp run --memory off                  the same model without memory
      edgexp run --actions free                the model writes its own actions
      edgexp run --group hard -n 10 --learn    keep what succeeds in the bank
      edgexp run -n 20 --parallel 2            two episodes at once
      edgexp run alfworld --split valid_seen   ALFWorld's games, in ALFWORLD_DATA
      edgexp run --model ./my-model.gguf       any GGUF with a chat template
      edgexp run --record run.svg              a picture of the run
    """
    from rich.console import Console

    from edgexp.play.session import open_session

    picture = record is not None and record.suffix == ".svg"
    console = Console(record=picture, quiet=as_json, highlight=False, width=108 if picture else None)
    with open_session(settings_of(options), say, keep=learn) as session:
        tasks = _tasks(session, number, task_ids, types, group, split)
        _starter_bank(session)
        failures = _play(session, tasks, console, None if picture else record, learn, as_json, steps)
    if picture and record is not None:
        from edgexp.cli.screens import save_picture

        save_picture(console, record, "edgexp run")
    if failures:
        raise click.exceptions.Exit(1)


def _tasks(session: "OpenSession", number: int, task_ids: tuple[str, ...], types: tuple[str, ...], group: str | None,
           split: str) -> "list[Task]":
    from edgexp.errors import UsageError
    from edgexp.play.collecting import spread

    environment = session.environment
    if task_ids:
        return [environment.task(task_id) for task_id in task_ids]
    tasks = spread(environment.tasks(split), number, session.settings.seed, wanted(types, group))
    if not tasks and number > 0:
        known = sorted({t.type for t in environment.tasks(split)[:500]})
        raise UsageError(f"no task of split {split} is of that type or group; its types: {', '.join(known)}")
    return tasks


def _starter_bank(session: "OpenSession") -> None:
    """With nothing to remember of this environment, collect some expert episodes of its training tasks first."""
    from edgexp.cli.collect_command import collect_with_progress
    from edgexp.environments.base import has_expert
    from edgexp.play.collecting import expert_episodes, left_to_play, spread
    from edgexp.retrieval import Filters

    bank, environment = session.bank, session.environment
    if bank is None or bank.readonly or not session.settings.remembers or not has_expert(environment):
        return
    if bank.count(Filters(environment=environment.name)):
        return
    say(f"no experience of {environment.name} yet: an expert plays {STARTER} training tasks for the bank (once)")
    tasks = left_to_play(bank, spread(environment.tasks("train"), STARTER), "expert")
    collect_with_progress(bank, expert_episodes(session.environments, session.settings.environment, tasks), len(tasks), batch=20)


def _play(session: "OpenSession", tasks: "list[Task]", console: "Console", file: Path | None, learn: bool, as_json: bool,
          steps: int | None) -> int:
    """Play and show the tasks; how many could not be played."""
    import json
    import secrets

    from edgexp.cli.screens import Live, show_summary, summary
    from edgexp.play.record import Recorder

    failures, interrupted = 0, False
    with ExitStack() as opened:
        handle = opened.enter_context(file.open("ab")) if file else None
        recorder, live = Recorder(session.bank, secrets.token_hex(4), learn=learn, file=handle), Live(console, len(tasks))
        console.print(_headline(session), style="dim")
        try:
            for finished in session.play(tasks, steps=steps, watch=_shown(live, session.places)):
                if finished.played is None:
                    failures += 1
                    say(f"not played: {finished.error}")
                    continue
                line = recorder.keep(finished.played)
                if as_json:
                    click.echo(line, nl=False)
        except KeyboardInterrupt:
            interrupted = True
        figures = summary(live.finished)
        if as_json:
            click.echo(json.dumps({"summary": figures}))
        show_summary(console, figures)
        if recorder.last_id and not as_json:
            say(f"what was recalled and why: edgexp bank why {recorder.last_id}")
        if interrupted:
            say("interrupted; the episodes that had ended are kept")
            raise click.exceptions.Exit(130)
    return failures


def _shown(live: "Watcher", places: int) -> "Callable[[Task], Watcher]":
    """Watchers that print: as things happen where one episode is played at a time, otherwise each episode whole when it is over."""
    from edgexp.play.episode import Ended, Event

    def whole(_: "Task") -> "Watcher":
        events: list[Event] = []

        def watch(event: Event) -> None:
            events.append(event)
            if isinstance(event, Ended):
                for held in events:
                    live(held)

        return watch

    return whole if places > 1 else lambda _: live


def _headline(session: "OpenSession") -> str:
    s = session.settings
    memory = "no memory" if session.retriever is None or session.bank is None else \
        f"{s.memory} memory, k={s.k}, {session.bank.count():,} trajectories"
    if session.fleet is None or session.ready is None:
        return f"{session.environment.name} · {s.policy} · {memory}"
    return f"{session.environment.name} · {session.ready.name} ({session.fleet.model.description}) · {memory} · {s.actions} actions"
