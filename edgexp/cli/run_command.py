"""`edgexp run`: play episodes live."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgexp.cli.options import (
    MOST_EPISODES,
    Place,
    acting_options,
    bank_option,
    json_option,
    memory_options,
    sandbox_option,
    say,
    settings_of,
    steps_option,
    task_options,
)
from edgexp.environments.registry import DEFAULT_ENVIRONMENT
from edgexp.terminal import console, echo_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import Console

    from edgexp.play.episode import Watcher
    from edgexp.play.session import OpenSession
    from edgexp.trajectory import Task

STARTER = 120
"""Expert episodes collected when a bank has none of the environment: twenty of each household task type, a few seconds."""

EPISODES = 3
"""Played where nobody asks for a number."""


@click.command()
@click.argument("environment", default=DEFAULT_ENVIRONMENT)
@click.option("-n", "--number", type=click.IntRange(1, MOST_EPISODES), default=None,
              help="Episodes to play. Where there are fewer tasks, each is played again.  [default: 3, or the tasks given by --task]")
@click.option("--policy", default="", metavar="MODULE:ATTRIBUTE", help="A policy of your own that acts in place of a model.")
@acting_options
@bank_option
@memory_options
@task_options("dev")
@steps_option
@click.option("--learn", is_flag=True, help="Put episodes that succeed into the bank.")
@click.option("--record", type=Place(path_type=Path, dir_okay=False), default=None,
              help="Write the episodes to FILE too: as JSON lines, or as a picture of the screen if FILE ends in .svg.")
@sandbox_option
@json_option
def run(number: int | None, task_ids: tuple[str, ...], types: tuple[str, ...], group: str | None, split: str | None, learn: bool,
        record: Path | None, as_json: bool, steps: int | None, **options: Any) -> None:
    """Let a model play episodes of ENVIRONMENT, and watch it.

    You see the goal, the past episodes in the prompt, each action and what it led to. Without ENVIRONMENT the model plays household
    tasks. If the bank holds no episode of ENVIRONMENT, an expert plays some first. An episode that cannot be played, or that breaks off
    because something failed, is told; the others go on, and the exit code is 1.

    \b
    Examples:
      edgexp run                               three household tasks
      edgexp run --memory off                  the same model without memory
      edgexp run --actions free                the model writes its own actions
      edgexp run --group hard -n 10 --learn    keep what succeeds in the bank
      edgexp run -n 20 --parallel 2            two episodes at once
      edgexp run alfworld --split valid_seen   ALFWorld's games, in ALFWORLD_DATA
      edgexp run --model ./my-model.gguf       any GGUF with a chat template
      edgexp run --model http://localhost:8080/v1#qwen   a model behind a server
      edgexp run --record run.svg              a picture of the run
    """
    from edgexp.play.session import open_session

    picture = record is not None and record.suffix == ".svg"
    screen = console(record=picture, quiet=as_json, width=108 if picture else None)
    with open_session(settings_of(options), say, keep=learn, in_use=True) as session:
        total = number or len(task_ids) or EPISODES
        tasks = _tasks(session, total, task_ids, types, group, split)
        failures = _starter_bank(session)
        failures += _play(session, tasks, total, screen, None if picture else record, learn, as_json, steps)
    if picture and record is not None:
        from edgexp.cli.screens import save_picture

        save_picture(screen, record, "edgexp run")
    if failures:
        raise click.exceptions.Exit(1)


def _tasks(session: "OpenSession", number: int, task_ids: tuple[str, ...], types: tuple[str, ...], group: str | None,
           split: str | None) -> "Iterable[Task]":
    """The tasks in the order in which they are played, made when they are asked for where they come again."""
    from edgexp.play.collecting import MOST_DRAWN, draw, in_turn, split_to_play

    environment = session.environment
    if task_ids:
        return in_turn([environment.task(task_id) for task_id in task_ids], number)
    tasks = draw(environment, split_to_play(environment, split, "dev"), min(number, MOST_DRAWN), session.settings.seed, types, group)
    return in_turn(tasks, number)


def _starter_bank(session: "OpenSession") -> int:
    """With nothing to remember of this environment, collect some expert episodes of its training tasks first; how many failed."""
    from edgexp.cli.collect_command import collect_with_progress
    from edgexp.environments.base import has_expert
    from edgexp.play.collecting import expert_episodes, left_to_play, split_to_play, spread
    from edgexp.retrieval import Filters

    bank, environment = session.bank, session.environment
    if bank is None or bank.readonly or not session.settings.remembers or not has_expert(environment):
        return 0
    if bank.count(Filters(environment=environment.name)):
        return 0
    drawn = spread(environment.tasks(split_to_play(environment, None, "train")), STARTER)
    say(f"no experience of {environment.name} yet: an expert plays {len(drawn)} training tasks for the bank (once)")
    tasks = left_to_play(bank, drawn, "expert")
    episodes = expert_episodes(session.environments, session.settings.environment, tasks)
    _, failures = collect_with_progress(bank, episodes, len(tasks), batch=20)
    return failures


def _play(session: "OpenSession", tasks: "Iterable[Task]", total: int, screen: "Console", file: Path | None, learn: bool, as_json: bool,
          steps: int | None) -> int:
    """Play and show the tasks; how many were not played to their end."""
    import json
    import secrets

    from edgexp.cli.screens import Live, show_summary, summary
    from edgexp.play.record import Recorder

    failures, interrupted = 0, False
    with ExitStack() as opened:
        handle = opened.enter_context(file.open("ab")) if file else None
        recorder, live = Recorder(session.bank, secrets.token_hex(4), learn=learn, file=handle), Live(screen, total)
        screen.print(_headline(session), style="dim")
        try:
            for finished in session.play(tasks, steps=steps, watch=_shown(live, session.places)):
                line = recorder.keep(finished.played) if finished.played else b""
                if problem := finished.problem or recorder.refused:
                    failures += 1
                    say(problem)
                if as_json and line:
                    echo_json(line)
        except KeyboardInterrupt:
            interrupted = True
        figures = summary(live.finished)
        if as_json:
            echo_json(json.dumps({"summary": figures}))
        show_summary(screen, figures)
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
    if session.server is not None:
        server = session.server
        return f"{session.environment.name} · {server.name} at {server.url} · {memory} · {server.describe(s)}"
    if session.fleet is None or session.ready is None:
        return f"{session.environment.name} · {s.policy} · {memory}"
    return f"{session.environment.name} · {session.ready.name} ({session.fleet.model.description}) · {memory} · {s.actions} actions"
