"""Does a model read its memory? Action by action along an expert's episodes, without playing: how probable the expert's actions are, and
how often they are what the model would say, with past episodes of the same kind in its prompt, with ones of other tasks, and with none.

    python tools/memory_report.py household -n 6 --model smollm2-135m-instruct --model smollm2-135m-exprag

Tasks, bank and what is matched or of other tasks are those of an evaluation's suite; its bank is filled first where it lacks something.
"""

from collections.abc import Iterator, Sequence

import click
import msgspec
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from edgexp.cli.options import say
from edgexp.engine import tuning
from edgexp.engine.engine import Engine, log_probability
from edgexp.engine.model import Model
from edgexp.evaluation import experience
from edgexp.evaluation.field import Field
from edgexp.evaluation.statistics import bootstrap, wilson
from edgexp.evaluation.suite import Condition, Suite, Tasks, load
from edgexp.models import resolve
from edgexp.play.episode import play
from edgexp.play.rollout import run
from edgexp.play.scripted import ExpertPolicy
from edgexp.play.session import open_bank
from edgexp.prompt.render import Renderer, make_renderer
from edgexp.retrieval import Retrieval, VectorRetriever
from edgexp.trajectory import Trajectory

KINDS = ("matched", "mismatched", "none")


class Read(msgspec.Struct, frozen=True):
    """What a model makes of an expert's action."""

    logp: float
    """Log-probability of the whole action, in nats."""
    greedy: bool
    """Whether it is the model's own greedy choice, token for token."""


def actions(engine: Engine, renderer: Renderer, trajectory: Trajectory, memory: Sequence[Trajectory] = ()) -> list[Read]:
    """Every action of a trajectory as a model sees it that has the trajectories of `memory` (the most relevant first) in its prompt."""
    rendered, opening = renderer.trajectory(trajectory, memory), renderer.opening(trajectory.goal, trajectory.observation, memory).ids
    rest = rendered.ids[len(opening) :]
    sequence = engine.new()
    try:
        sequence.append(opening)
        after = engine.evaluate_tree(sequence, range(-1, len(rest) - 1), rest)
        assert sequence.logits is not None
        rows = [sequence.logits, *after]
    finally:
        engine.free(sequence)
    reads = []
    for first, last in rendered.labels:
        said = [(rows[at - len(opening)], rendered.ids[at]) for at in range(first, last)]
        reads.append(Read(sum(log_probability(row, token) for row, token in said), all(int(row.argmax()) == token for row, token in said)))
    return reads


def episodes(field: Field, entry: Tasks, k: int) -> Iterator[tuple[Trajectory, dict[str, list[Trajectory]]]]:
    """An expert's episode of each task, and what would be remembered for it from each kind of bank."""
    environment = field.environments.at(entry.environment)
    kinds = {kind: Condition(name=kind, k=k, bank=kind) for kind in KINDS if kind != "none"}
    field.fill(list(kinds.values()))
    with open_bank(experience.folder(field.name, entry), say=say) as bank:
        for task in field.drawn()[entry]:
            episode = run(play(environment, task, ExpertPolicy(environment))).trajectory
            found: dict[str, list[Trajectory]] = {"none": []}
            for kind, condition in kinds.items():
                recall = VectorRetriever(bank, Retrieval(k=k), filters=experience.filters(condition, entry, task)).recall
                memory = recall(task, episode.goal, episode.observation)
                found[kind] = [recalled.trajectory for recalled in memory.recalled]
            yield episode, found


def report(name: str, suite: Suite, models: Sequence[str], k: int) -> Table:
    """A row for each model, group and kind of memory. Intervals: Wilson's over actions; a bootstrap over episodes for the means."""
    table = Table("model", "group", "memory", "actions", "the greedy choice", "log p of an action, nats", box=None, padding=(0, 2, 0, 0))
    [entry] = suite.tasks
    with Field(name, suite, {}, say) as field:
        played = list(episodes(field, entry, k))
        for which in models:
            ready = resolve(which, role="policy", say=say)
            tuned = tuning.for_model(ready.path, say, ready.sha256)
            with Model(ready.path, tuned) as model, Engine(model, suite.context, slots=4) as engine:
                renderer = make_renderer(model.vocabulary, model.template, field.environments.at(entry.environment).instructions())
                read = {
                    (number, kind): actions(engine, renderer, episode, found[kind])
                    for number, (episode, found) in enumerate(track(played, which)) for kind in KINDS
                }
            for group in dict.fromkeys(episode.task.group for episode, _ in played):
                mine = [number for number, (episode, _) in enumerate(played) if episode.task.group == group]
                for kind in KINDS:
                    some = [read[number, kind] for number in mine]
                    share = wilson(sum(r.greedy for one in some for r in one), sum(map(len, some)))
                    mean = bootstrap([float(np.mean([r.logp for r in one])) for one in some])
                    table.add_row(which, group, kind, str(share.count),
                                  f"{share.won} = {share.share:.0%} ({share.low:.0%}–{share.high:.0%})",
                                  f"{mean.mean:.2f} ({mean.low:.2f} to {mean.high:.2f})")
    return table


@click.command()
@click.argument("suite", default="household")
@click.option("--model", "models", multiple=True, default=("smollm2-135m-instruct", "smollm2-135m-lora", "smollm2-135m-exprag"),
              show_default=True)
@click.option("-n", "--number", default=6, show_default=True, help="Tasks of each group.")
@click.option("-k", default=2, show_default=True, help="Trajectories to remember.")
def main(suite: str, models: tuple[str, ...], number: int, k: int) -> None:
    """Print how well each model predicts an expert's actions with matched, mismatched and no memory."""
    name, settings = load(suite, [f"tasks.number={number}"])
    Console(width=140).print(report(name, settings, models, k))


if __name__ == "__main__":
    main()
