"""`edgexp run`: play episodes live."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgexp.cli.options import bank_option, json_option, say, task_options, wanted
from edgexp.environments.registry import DEFAULT_ENVIRONMENT

if TYPE_CHECKING:
    from rich.console import Console

    from edgexp.play.session import Settings, Stack
    from edgexp.trajectory import Task

STARTER = 120
"""Expert episodes collected when a bank has none of the environment: twenty of each household task type, a few seconds."""


@click.command()
@click.argument("environment", default=DEFAULT_ENVIRONMENT)
@click.option("-n", "--number", default=3, show_default=True, help="Episodes to play.")
@click.option("--model", default=None, help="Name from `edgexp models ls`, or the path of a GGUF.  [default: edgexp's own]")
@bank_option
@click.option("-k", default=2, show_default=True, help="Trajectories to retrieve; 0 plays without memory.")
@click.option("--memory", type=click.Choice(["static", "dynamic", "off"]), default="static", show_default=True,
              help="Retrieve once, for the task; or again for the episode so far; or not at all.")
@click.option("--every", default=1, show_default=True, help="With dynamic memory: retrieve again after this many actions.")
@click.option("--diversity", type=click.FloatRange(0, 1), default=None, help="Prefer unlike memories (MMR; 1: relevance alone).")
@click.option("--actions", type=click.Choice(["admissible", "weighed", "free"]), default="admissible", show_default=True,
              help="Choose among the valid actions; the same with exact probabilities; or let the model write.")
@click.option("--repeats", type=click.IntRange(0), default=1, show_default=True,
              help="Times an action may be chosen when the same is to be seen, and twice that in all, against circles; 0: any number.")
@task_options("dev")
@click.option("--steps", type=click.IntRange(1), default=None, help="Actions an episode may take.  [default: the environment's]")
@click.option("--context", type=click.IntRange(256), default=None, help="Tokens of context.  [default: the model's, at most 8192]")
@click.option("--temperature", type=click.FloatRange(0), default=0.0, show_default=True, help="0 always takes the likeliest action.")
@click.option("--template", default=None, help="Chat template to use instead of the model's own: chatml, llama-3, or a file of Jinja.")
@click.option("--gpu-layers", default=0, show_default=True, help="Layers to put on a GPU, where llama-cpp-python was built for one.")
@click.option("--learn", is_flag=True, help="Put successful episodes into the bank.")
@click.option("--record", type=click.Path(path_type=Path, dir_okay=False), default=None,
              help="Also write the episodes to FILE: JSON lines, or a picture of the screen where FILE ends in .svg.")
@json_option
def run(environment: str, number: int, task_ids: tuple[str, ...], types: tuple[str, ...], group: str | None, split: str, learn: bool,
        record: Path | None, as_json: bool, steps: int | None, **options: Any) -> None:
    """Play episodes of ENVIRONMENT live: the goal, what was retrieved, each action and what it led to.

    \b
    Examples:
      edgexp run                                  three household tasks
      edgexp run --memory off --actions free      the same model without experience, in its own words
      edgexp run --group hard -n 10 --learn       keep what works in the bank
      edgexp run alfworld --split valid_seen      ALFWorld's own games, under ALFWORLD_DATA
      edgexp run --model ./my-model.gguf          any GGUF with a chat template
      edgexp run --record run.svg                 a picture of the run
    """
    from rich.console import Console

    from edgexp.play.session import open_stack

    picture = record is not None and record.suffix == ".svg"
    console = Console(record=picture, quiet=as_json, highlight=False, width=108 if picture else None)
    with open_stack(_settings(environment, options), say) as stack:
        tasks = _tasks(stack, number, task_ids, types, group, split)
        _starter_bank(stack)
        _play(stack, tasks, console, None if picture else record, learn, as_json, steps)
    if picture and record is not None:
        from edgexp.cli.screens import save_picture

        save_picture(console, record, "edgexp run")


def _settings(environment: str, options: dict[str, Any]) -> "Settings":
    from edgexp.models import DEFAULT_POLICY
    from edgexp.play.session import Settings

    template = options["template"]
    if template and Path(template).is_file():
        template = Path(template).read_text(encoding="utf-8")
    return Settings(
        environment=environment,
        model=options["model"] or DEFAULT_POLICY,
        bank=options["bank"],
        k=options["k"],
        memory=options["memory"],
        every=options["every"],
        diversity=options["diversity"],
        mode=options["actions"],
        context=options["context"] or 0,
        repeats=options["repeats"],
        temperature=options["temperature"],
        seed=options["seed"],
        template=template,
        gpu_layers=options["gpu_layers"],
    )


def _tasks(stack: "Stack", number: int, task_ids: tuple[str, ...], types: tuple[str, ...], group: str | None, split: str) -> "list[Task]":
    from edgexp.errors import UsageError
    from edgexp.play.collecting import spread

    if task_ids:
        return [stack.environment.task(task_id) for task_id in task_ids]
    tasks = spread(stack.environment.tasks(split), number, stack.settings.seed, wanted(types, group))
    if not tasks and number > 0:
        known = sorted({t.type for t in stack.environment.tasks(split)[:500]})
        raise UsageError(f"no task of split {split} is of that type or group; its types: {', '.join(known)}")
    return tasks


def _starter_bank(stack: "Stack") -> None:
    """With nothing to remember of this environment, collect some expert episodes of its training tasks first."""
    from edgexp.cli.collect_command import collect_with_progress
    from edgexp.environments.base import has_expert
    from edgexp.play.collecting import expert_play, left_to_play, spread
    from edgexp.retrieval import Filters

    bank, environment = stack.bank, stack.environment
    if bank is None or not has_expert(environment) or bank.count(Filters(environment=environment.name)):
        return
    say(f"no experience of {environment.name} yet: an expert plays {STARTER} training tasks for the bank (once)")
    tasks = left_to_play(bank, spread(environment.tasks("train"), STARTER), "expert")
    collect_with_progress(bank, tasks, expert_play(environment), batch=20)


def _play(
    stack: "Stack", tasks: "list[Task]", console: "Console", file: Path | None, learn: bool, as_json: bool, steps: int | None
) -> None:
    import json
    import secrets

    from edgexp.cli.screens import Live, show_summary, summary
    from edgexp.play.episode import Ended, Event, play
    from edgexp.play.record import Recorder
    from edgexp.play.rollout import run as run_episode

    with ExitStack() as opened:
        handle = opened.enter_context(file.open("ab")) if file else None
        recorder, live = Recorder(stack.bank, secrets.token_hex(4), learn=learn, file=handle), Live(console, len(tasks))
        console.print(_headline(stack), style="dim")

        def watch(event: Event) -> None:
            recorder(event)
            live(event)
            if as_json and isinstance(event, Ended):
                import msgspec

                click.echo(msgspec.json.encode(recorder.line(event)))

        interrupted = False
        try:
            for task in tasks:
                run_episode(play(stack.environment, task, stack.policy, max_steps=steps, watch=watch), stack.engine)
        except KeyboardInterrupt:
            interrupted = True
        figures = summary(live.finished)
        if as_json:
            click.echo(json.dumps({"summary": figures}))
        show_summary(console, figures)
        if recorder.last_id and not as_json:
            say(f"what was retrieved and why: edgexp bank why {recorder.last_id}")
        if interrupted:
            say("interrupted; the episodes that had ended are kept")
            raise click.exceptions.Exit(130)


def _headline(stack: "Stack") -> str:
    s = stack.settings
    memory = "no memory" if stack.bank is None else f"{s.memory} memory, k={s.k}, {stack.bank.count():,} trajectories"
    return f"{stack.environment.name} · {stack.ready.name} ({stack.model.description}) · {memory} · {s.mode} actions"
