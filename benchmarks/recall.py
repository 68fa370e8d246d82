"""What memory costs before the first action: past episodes read anew in every prompt (chained), against blocks that are attached (apart).

The rival is today's usual way, an engine that evaluates the whole prompt of an episode; what all prompts begin with, the instructions, is
given to it for free. All ways are measured in turn on the same episodes with the same memory, in one run, at one depth. With `--model`
any GGUF is measured, of random weights too: how long it takes does not depend on what the weights are.
"""

import statistics
import tempfile
from pathlib import Path
from time import perf_counter

import click
import msgspec
from rich.console import Console
from rich.table import Table

from edgexp.engine.engine import Engine, TokenSequence
from edgexp.engine.maker import BlockSource
from edgexp.engine.vault import Vault
from edgexp.environments.registry import make
from edgexp.models import DEFAULT_POLICY
from edgexp.play.collecting import expert_episode, spread
from edgexp.play.fleet import Fleet
from edgexp.play.rollout import run
from edgexp.play.session import Settings, open_session
from edgexp.prompt.render import Renderer
from edgexp.trajectory import Trajectory

WAYS = ("chained", "apart, evaluated", "apart, from disk", "apart, from memory")


class Episode(msgspec.Struct):
    """A task and what is remembered for it."""

    played: Trajectory
    memory: list[Trajectory]


class Cost(msgspec.Struct):
    """Of one way at one episode."""

    seconds: float
    evaluated: int
    """Tokens run through the model before the first action can be decided."""


def draw(name: str, k: int, count: int) -> list[Episode]:
    """Expert episodes of a split, each with `k` others as its memory."""
    world = make(name)
    played = [run(expert_episode(world, task)).trajectory for task in spread(world.tasks("train"), count * (k + 1))]
    return [Episode(played[n], [played[count + n * k + i] for i in range(k)]) for n in range(count)]


def chained(engine: Engine, renderer: Renderer, episode: Episode, beginning: TokenSequence) -> Cost:
    """The prompt behind instructions that are evaluated already."""
    sequence = engine.fork(beginning)
    sequence.replace(renderer.opening(episode.played.goal, episode.played.observation, episode.memory).ids)
    return _timed(engine, sequence)


def apart(engine: Engine, renderer: Renderer, episode: Episode) -> Cost:
    """The prompt with its memory as blocks, wherever they come from."""
    rendered = renderer.opening(episode.played.goal, episode.played.observation, episode.memory)
    prefix, blocks, own = rendered.shared
    sequence = engine.new()
    sequence.share(prefix, blocks, [part.name.removeprefix("memory ") for part in rendered.parts if part.name.startswith("memory ")])
    sequence.append(own)
    return _timed(engine, sequence)


def _timed(engine: Engine, sequence: TokenSequence) -> Cost:
    before, started = sequence.ran, perf_counter()
    engine.evaluate([sequence])
    cost = Cost(perf_counter() - started, sequence.ran - before)
    engine.free(sequence)
    return cost


def measure(fleet: Fleet, renderers: dict[str, Renderer], episodes: list[Episode], room: int, digest: str) -> dict[str, list[Cost]]:
    """The costs of every way, episode by episode."""
    costs: dict[str, list[Cost]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder, Engine(fleet.model, room, slots=4) as plain:
        vault, beginning = Vault(Path(folder)), plain.new()
        beginning.append(renderers["chained"].prefix())
        plain.evaluate([beginning])
        for episode in episodes:
            costs["chained"].append(chained(plain, renderers["chained"], episode, beginning))
            for way in ("apart, evaluated", "apart, from disk"):
                source = BlockSource(fleet.model, vault, digest)
                with Engine(fleet.model, room, slots=2, blocks=24, source=source) as engine:
                    costs[way].append(apart(engine, renderers["apart"], episode))
                    if way == WAYS[2]:
                        costs[WAYS[3]].append(apart(engine, renderers["apart"], episode))
                source.close()
    return costs


@click.command()
@click.option("--model", default=DEFAULT_POLICY, show_default=True)
@click.option("--environment", default="household", show_default=True)
@click.option("-k", "ks", type=int, multiple=True, default=(2, 4), show_default=True, help="Past episodes in the prompt.")
@click.option("--episodes", default=6, show_default=True)
@click.option("--context", default=8192, show_default=True, help="Cells of each engine.")
@click.option("--json", "as_json", is_flag=True)
def main(model: str, environment: str, ks: tuple[int, ...], episodes: int, context: int, as_json: bool) -> None:
    """Time to the first action with memory that is read, and with memory that is attached."""
    settings = Settings(environment=environment, model=model, k=0, memory="off", layout="apart", context=context)
    table = Table("K", "way", "tokens of memory", "evaluated", "seconds", "of chained", box=None)
    with open_session(settings) as session:
        assert session.fleet is not None and session.ready is not None
        renderers = {name: session.renderer(environment, name) for name in ("chained", "apart")}  # type: ignore[arg-type]
        for k in ks:
            drawn = draw(environment, k, episodes)
            costs = measure(session.fleet, renderers, drawn, context, session.ready.sha256)
            memory = statistics.mean(sum(renderers["apart"].cost(t) for t in episode.memory) for episode in drawn)
            for way in WAYS:
                ratio = statistics.median(a.seconds / b.seconds for a, b in zip(costs[way], costs["chained"], strict=True))
                seconds = statistics.median(cost.seconds for cost in costs[way])
                evaluated = statistics.mean(cost.evaluated for cost in costs[way])
                table.add_row(str(k), way, f"{memory:,.0f}", f"{evaluated:,.0f}", f"{seconds:.3f}", f"{ratio:.3f}")
                if as_json:
                    line = {"k": k, "way": way, "memory": memory, "evaluated": evaluated, "seconds": seconds, "ratio": ratio}
                    click.echo(msgspec.json.encode(line).decode())
    if not as_json:
        Console().print(table)


if __name__ == "__main__":
    main()
