"""What the worlds are worth: how well those play who know, guess, and copy; what episodes cost; how well a bank finds the right ones.

    python tools/worlds_report.py                        a minute or two
    python tools/worlds_report.py --worlds 3000 --played 300    all of `train` in the bank: long

Two tables. The first is about play on `dev`: the expert, blind chance over the valid actions, a guesser who knows all but the recipe, and
an imitator who has read the two episodes that the bank found. The second is about what the bank found. The bank is a throw-away one: the
expert's episodes of the first worlds of `train`, and those of `dev-bank` for the worlds that are played.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

import msgspec
from rich.console import Console
from rich.table import Table

from edgexp.bank import Bank
from edgexp.embedding import Encoder
from edgexp.engine.tokenizer import GGUFTokenizer
from edgexp.environments.base import Expert
from edgexp.environments.household.generator import Draw
from edgexp.environments.registry import family_of_task
from edgexp.environments.worlds.invented import SHAPES
from edgexp.environments.worlds.worlds import Worlds
from edgexp.models import BASE_POLICY, DEFAULT_EMBEDDER, resolve
from edgexp.play.collecting import expert_episode
from edgexp.play.rollout import run
from edgexp.prompt.messages import memory_text
from edgexp.retrieval import Filters, VectorRetriever
from edgexp.trajectory import Task, Trajectory

sys.path.insert(0, str(Path(__file__).parent))  # run or imported from anywhere, the players lie beside it

from worlds_players import guesser, imitator


class Chance:
    """Takes any valid action."""

    def __init__(self, environment: Worlds) -> None:
        self._environment, self._draw = environment, random.Random(7)

    def begin(self, goal: str, observation: str) -> None:
        """Nothing to know."""

    def act(self, observation: str) -> str | None:
        """Any of the valid actions."""
        return self._draw.choice(self._environment.admissible())


class Row(msgspec.Struct, frozen=True):
    """One task of dev: who won it, what the expert's episode is like, and what was found for it."""

    type: str
    episode: Trajectory
    chance: bool
    guesser: bool
    imitator: bool
    admissible: float
    """Valid actions at a step of the expert, on average."""
    same_world: tuple[bool, bool]
    """Of the two episodes found, the nearest first."""
    same_recipe: tuple[bool, bool]


def play(environment: Worlds, task: Task, player: Expert) -> bool:
    """Whether the player wins the task in time."""
    start = environment.reset(task)
    player.begin(start.goal, start.observation)
    observation = start.observation
    for _ in range(environment.max_steps):
        if (action := player.act(observation)) is None:
            return False
        outcome = environment.step(action)
        if outcome.done:
            return True
        observation = outcome.observation
    return False


def lesson(task: Task) -> tuple[str, str]:
    """The world and the recipe of a task; the shapes of a world's recipes are different."""
    return family_of_task(task), task.type


def fill(bank: Bank, environment: Worlds, tasks: Sequence[Task], console: Console) -> None:
    """The expert's episodes of the tasks into the bank."""
    began = time.perf_counter()
    bank.add([run(expert_episode(environment, task)).trajectory for task in tasks])
    console.print(f"{len(tasks):,} episodes into the bank in {time.perf_counter() - began:.0f} s")


def examine(environment: Worlds, task: Task, retriever: VectorRetriever, draw: Draw) -> Row:
    """Let everybody play one task."""
    episode = run(expert_episode(environment, task)).trajectory
    found = [recalled.trajectory for recalled in retriever.recall(task, episode.goal, episode.observation).recalled]
    lessons = [lesson(past.task) for past in found]
    return Row(
        task.type,
        episode,
        play(environment, task, Chance(environment)),
        play(environment, task, guesser(lambda: environment.scene(task), draw)),
        play(environment, task, imitator(found)),
        fmean(choices(environment, episode)),
        (lessons[0][0] == lesson(task)[0], lessons[1][0] == lesson(task)[0]),
        (lessons[0] == lesson(task), lessons[1] == lesson(task)),
    )


def choices(environment: Worlds, episode: Trajectory) -> list[int]:
    """How many valid actions there were at each step of an episode."""
    environment.reset(episode.task)
    counts = []
    for step in episode.steps:
        counts.append(len(environment.admissible()))
        environment.step(step.action)
    return counts


def percent(values: Sequence[bool]) -> str:
    """`97.3`."""
    return f"{100 * fmean(values):.1f}"


def table(title: str, rows: Sequence[Row], columns: dict[str, Callable[[Sequence[Row]], str]]) -> Table:
    """One line for each type of task and one for all."""
    out = Table("type", "tasks", *columns, title=title)
    for name in (*SHAPES, "all"):
        some = [row for row in rows if name in (row.type, "all")]
        if some:
            out.add_row(name, str(len(some)), *(column(some) for column in columns.values()))
    return out


def main() -> None:
    """Fill a bank, play, print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=100, help="worlds of train in the bank (default 100; there are 3000)")
    parser.add_argument("--played", type=int, default=60, help="worlds of dev that are in the bank and played (default 60; there are 300)")
    options = parser.parse_args()
    console, environment, draw = Console(width=120), Worlds(), Draw(7)
    tokenizer = GGUFTokenizer(resolve(BASE_POLICY, role="policy").path)
    encoder = Encoder.open(resolve(DEFAULT_EMBEDDER, role="embedder").path)
    shown = [*environment.tasks("train")[: options.worlds * 9], *environment.tasks("dev-bank")[: options.played * 9]]
    with tempfile.TemporaryDirectory() as folder, Bank.open(Path(folder), encoder) as bank:
        fill(bank, environment, shown, console)
        retriever = VectorRetriever(bank, filters=Filters(environment='worlds'))
        rows = [examine(environment, task, retriever, draw) for task in environment.tasks("dev")[: options.played * 3]]

    def tokens(row: Row) -> int:
        return len(tokenizer.encode(memory_text(row.episode)))

    console.print(
        table(
            "Play on dev, within 20 actions: % won, and the expert's episodes (means)",
            rows,
            {
                "expert": lambda some: percent([row.episode.success for row in some]),
                "chance": lambda some: percent([row.chance for row in some]),
                "guesser": lambda some: percent([row.guesser for row in some]),
                "imitator": lambda some: percent([row.imitator for row in some]),
                "actions": lambda some: f"{fmean(len(row.episode.steps) for row in some):.1f}",
                "most": lambda some: str(max(len(row.episode.steps) for row in some)),
                "valid": lambda some: f"{fmean(row.admissible for row in some):.1f}",
                "words": lambda some: f"{fmean(len(memory_text(row.episode).split()) for row in some):.0f}",
                "tokens": lambda some: f"{fmean(map(tokens, some)):.0f}",
                "at most": lambda some: str(max(map(tokens, some))),
            },
        )
    )
    console.print(
        table(
            f"What a bank of {len(shown):,} episodes finds: %",
            rows,
            {
                "1st: same world": lambda some: percent([row.same_world[0] for row in some]),
                "2nd": lambda some: percent([row.same_world[1] for row in some]),
                "1st: same recipe": lambda some: percent([row.same_recipe[0] for row in some]),
                "2nd ": lambda some: percent([row.same_recipe[1] for row in some]),
                "either": lambda some: percent([any(row.same_recipe) for row in some]),
            },
        )
    )
    console.print(f"instructions: {len(tokenizer.encode(environment.instructions()))} tokens")
    tokenizer.close()


if __name__ == "__main__":
    main()
