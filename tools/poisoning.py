"""What misleading memories cost, and what provenance and usefulness do about it: the same tasks with a sound bank, and with banks in which
a share of the episodes misleads.

    python tools/poisoning.py --out runs/poisoning --model smollm2-135m-exprag

An expert fills a bank with household episodes of all types. A misleading episode has the goal of one type of task, and the room and the
actions of an episode of another type, and says that it succeeded. A bank is poisoned in two ways: as if a file had been imported and
accepted (`import`), or as if it had all happened here (`own`), so that only what comes of it can tell.

With `likeness` nothing is done about it (`vectors` leaves the frame of goals out, too); `provenance` looks at where episodes are from,
without any experience; `usefulness` has first played warm-up episodes of training tasks that are in no bank, and keeps what it learned
while tasks of another split are played.

What was played is kept in OUT. Actions are chosen greedily, so a task with the very same past episodes in its prompt goes the same way:
where two ways show a task the same, it is played once and counted for both.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from edgexp.bank import Bank, Episode, Recall, Scored
from edgexp.cli.options import say
from edgexp.embedding import open_encoder
from edgexp.evaluation.statistics import mcnemar, paired_interval, wilson
from edgexp.models import DEFAULT_EMBEDDER
from edgexp.play.collecting import expert_episodes, spread
from edgexp.play.fleet import Environments
from edgexp.play.record import Recorder
from edgexp.play.session import Settings, open_session
from edgexp.retrieval import Filters, VectorRetriever
from edgexp.trajectory import Provenance, Task, Trajectory

ENVIRONMENT = "household"
ROUND = 32
"""Episodes of a warm-up that are begun together."""


@dataclass(frozen=True)
class Way:
    """One way to play the tasks."""

    share: float
    """Of the bank's episodes, those that mislead."""
    source: str = "own"
    protect: str = "likeness"

    @property
    def name(self) -> str:
        """As it is called in the results."""
        if not self.share:
            return "sound bank" if self.protect == "likeness" else "sound bank: vectors"
        return f"{self.share:.0%} {self.source}: {self.protect}"

    @property
    def bank(self) -> str:
        """The folder of its bank. What is learned in the warm-up stays in a bank of its own."""
        kind = f"-{self.source}" if self.share else ""
        return f"bank-{round(100 * self.share)}{kind}" + ("-warm" if self.protect == "usefulness" else "")


class Result(msgspec.Struct, frozen=True):
    """One episode."""

    way: str
    task: str
    won: bool
    shown: int
    """Past episodes in its prompt."""
    misleading: int
    """Those of them that mislead."""
    memory: tuple[str, ...] = ()
    """Their ids, the best first."""
    model: str = ""
    played: bool = True
    """False where the same had been played before, for another way."""


def mislead(episodes: Sequence[Trajectory], share: float, source: str, seed: int) -> tuple[list[Trajectory], set[str]]:
    """The episodes, a share of them with the goal of an episode of another type; and the ids of these.

    A smaller share is part of a larger one.
    """
    order, found, wrong = random.Random(seed).sample(range(len(episodes)), len(episodes)), list(episodes), set()
    for number in order[: round(share * len(episodes))]:
        episode = episodes[number]
        other = random.Random(f"{seed}/{number}").choice([t for t in episodes if t.task.type != episode.task.type])
        task = msgspec.structs.replace(other.task, id=f"{other.task.id}-{number}")
        who = Provenance("import", claimed="expert") if source == "import" else episode.provenance
        found[number] = msgspec.structs.replace(episode, task=task, goal=other.goal, provenance=who)
        wrong.add(found[number].id)
    return found, wrong


def fill(out: Path, way: Way, episodes: Sequence[Trajectory], seed: int) -> set[str]:
    """Make a way's bank, if it is not there; the ids of what misleads in it."""
    held, wrong = mislead(episodes, way.share, way.source, seed)
    with Bank.open(out / way.bank, open_encoder(DEFAULT_EMBEDDER, say)) as bank:
        bank.add(held)
    return wrong


def settings(out: Path, way: Way, model: str, k: int, parallel: int) -> Settings:
    """How a way plays."""
    return Settings(environment=ENVIRONMENT, model=model, bank=out / way.bank, k=k, parallel=parallel, context=4096,
                    frame=way.protect != "vectors", usefulness=way.protect not in ("likeness", "vectors"))  # fmt: skip


def play(how: Settings, way: str, tasks: Sequence[Task], wrong: set[str], steps: int, before: Path, log: bool) -> Iterator[Result]:
    """Play tasks, those that another way has shown the very same past episodes without playing them; with `log` the bank's log learns how
    they ended."""
    known = {(r.task, r.memory, r.model): r.won for r in read(before) if r.played}
    rest: list[Task] = []
    with Environments() as environments, Bank.open(how.bank or before, open_encoder(DEFAULT_EMBEDDER, say)) as bank:
        retriever, environment = VectorRetriever(bank, how, Filters(environment=ENVIRONMENT)), environments.at(ENVIRONMENT)
        for task in tasks:
            start = environment.reset(task)
            memory = retriever.recall(task, start.goal, start.observation)
            used = tuple(r.trajectory.id for r in memory.recalled)
            won = known.get((task.id, used, how.model))
            if won is None:
                rest.append(task)
                continue
            if log:
                hits = tuple(Scored(identity, 0.0) for identity in used)
                bank.log_episode(Episode("warm-up", ENVIRONMENT, task.id, "", won, float(won), how.model, "", (Recall(0, "", 0.0, hits),),
                                         task_type=task.type))  # fmt: skip
            yield Result(way, task.id, won, len(used), sum(identity in wrong for identity in used), used, how.model, played=False)
    yield from _really_play(how, way, rest, wrong, steps, log)


def _really_play(how: Settings, way: str, tasks: Sequence[Task], wrong: set[str], steps: int, log: bool) -> Iterator[Result]:
    if not tasks:
        return
    with open_session(how, say) as session:
        recorder = Recorder(session.bank if log else None, "warm-up")
        for number, finished in enumerate(session.play(tasks, steps=steps), 1):
            if finished.played is None:
                say(finished.problem or "an episode was lost")
                continue
            recorder.keep(finished.played)
            t, used = finished.played.trajectory, tuple(one.id for recall in finished.played.recalls[:1] for one in recall.used)
            if number % 20 == 0:
                say(f"{way}: {number} of {len(tasks)}")
            yield Result(way, t.task.id, t.success, len(used), sum(identity in wrong for identity in used), used, how.model)


def play_missing(how: Settings, way: str, tasks: Sequence[Task], wrong: set[str], steps: int, file: Path, log: bool = False) -> None:
    """Play what is left of some tasks, a few at a time: what is learned on the way counts for the next."""
    done = {result.task for result in read(file) if result.way == way}
    left = [task for task in tasks if task.id not in done]
    at_once = ROUND if log else max(1, len(left))
    for begin in range(0, len(left), at_once):
        for result in play(how, way, left[begin : begin + at_once], wrong, steps, file, log):
            append(file, result)


def append(file: Path, result: Result) -> None:
    """Keep a result."""
    with file.open("ab") as out:
        out.write(msgspec.json.encode(result) + b"\n")


def read(file: Path) -> list[Result]:
    """What is kept."""
    return [msgspec.json.decode(line, type=Result) for line in file.read_bytes().splitlines()] if file.is_file() else []


def report(results: Sequence[Result]) -> Table:
    """A row for each way, compared with the sound bank and with likeness alone on the same tasks."""
    table = Table("way", "won", "95 %", "misleading in prompts", "against the sound bank", "p", "against likeness", "p", box=None,
                  padding=(0, 2, 0, 0))  # fmt: skip
    by_way: dict[str, dict[str, Result]] = {}
    for result in results:
        by_way.setdefault(result.way, {})[result.task] = result
    for name, found in by_way.items():
        share = wilson(sum(r.won for r in found.values()), len(found))
        shown = sum(r.shown for r in found.values())
        cells = [name, f"{share.won}/{share.count}", f"{share.low:.0%} to {share.high:.0%}",
                 f"{sum(r.misleading for r in found.values()) / max(1, shown):.1%}"]
        for other in ("sound bank", f"{name.split(':')[0]}: likeness"):
            cells += against(found, by_way.get(other, {})) if other != name and ":" in name else ["", ""]
        table.add_row(*cells)
    return table


def against(found: dict[str, Result], other: dict[str, Result]) -> list[str]:
    """The difference on the tasks of both, in points with its interval, and McNemar's p."""
    both = [task for task in found if task in other]
    if not both:
        return ["", ""]
    gained, lost = sum(found[t].won and not other[t].won for t in both), sum(other[t].won and not found[t].won for t in both)
    low, high = paired_interval(sum(found[t].won and other[t].won for t in both), gained, lost, len(both))
    points = f"{100 * (gained - lost) / len(both):+.1f} ({100 * low:+.1f} to {100 * high:+.1f}) on {len(both)}"
    return [points, f"{mcnemar(gained, lost):.2g}"]


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--model", default="smollm2-135m-exprag", show_default=True)
@click.option("--share", "shares", multiple=True, type=click.FloatRange(0, 1), default=(1 / 3, 0.2, 0.1, 0.05), show_default=True)
@click.option("--source", "sources", multiple=True, type=click.Choice(["own", "import"]), default=("own", "import"), show_default=True)
@click.option("-n", "--number", default=60, show_default=True, help="Tasks to play.")
@click.option("--bank", "size", default=120, show_default=True, help="Episodes in a bank.")
@click.option("--warm", default=120, show_default=True, help="Episodes of a warm-up.")
@click.option("--protect", "protects", multiple=True, type=click.Choice(["likeness", "provenance", "usefulness"]),
              default=("likeness", "provenance", "usefulness"), show_default=True)
@click.option("--vectors/--no-vectors", default=True, help="Play the sound bank without the frame of goals, too.")
@click.option("--group", default="hard", show_default=True)
@click.option("-k", default=2, show_default=True)
@click.option("--steps", default=30, show_default=True)
@click.option("--parallel", default=2, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(out: Path, model: str, shares: tuple[float, ...], sources: tuple[str, ...], number: int, size: int, warm: int,
         protects: tuple[str, ...], vectors: bool, group: str, k: int, steps: int, parallel: int, seed: int) -> None:
    """Play every way that is asked for, and print the table."""
    out.mkdir(parents=True, exist_ok=True)
    file, environments = out / "episodes.jsonl", Environments()
    environment = environments.at(ENVIRONMENT)
    drawn = spread(environment.tasks("train"), size, seed)
    episodes = [one.played.trajectory for one in expert_episodes(environments, ENVIRONMENT, drawn) if one.played]
    known = {task.id for task in drawn}
    practice = spread(environment.tasks("train"), warm, seed + 1, lambda t: t.group == group and t.id not in known)
    tasks = spread(environment.tasks("test"), number, seed, lambda t: t.group == group)
    poisoned = [Way(share, source, protect) for share in shares for source in sources for protect in protections(source)
                if protect in protects]  # fmt: skip
    for way in [Way(0.0), *([Way(0.0, protect="vectors")] if vectors else []), *poisoned]:
        wrong, how = fill(out, way, episodes, seed), settings(out, way, model, k, parallel)
        if way.protect == "usefulness":
            play_missing(how, f"{way.name} (warm-up)", practice, wrong, steps, file, log=True)
        play_missing(how, way.name, tasks, wrong, steps, file)
        Console(width=170).print(report(read(file)))


def protections(source: str) -> tuple[str, ...]:
    """What can be tried: where all is as if it had happened here, provenance tells nothing."""
    return ("likeness", "usefulness") if source == "own" else ("likeness", "provenance", "usefulness")


if __name__ == "__main__":
    main()
