"""How well the searching expert plays, and how alike the scenes of the environments are: one table of play, one of scenes.

    python tools/expert_report.py household/dev alfworld/train alfworld/valid_seen

`household` needs nothing; `alfworld` needs ALFWORLD_DATA. Success is within the environment's own limit of actions (50).
"""

import argparse
import time
from collections.abc import Iterable, Sequence
from itertools import groupby
from statistics import fmean

import msgspec
from rich.console import Console
from rich.table import Table

from edgexp.environments import registry
from edgexp.environments.household.household import SceneEnvironment
from edgexp.environments.household.scene import GOAL_KINDS, Scene
from edgexp.errors import UsageError
from edgexp.trajectory import Task


class Play(msgspec.Struct, frozen=True):
    """One episode of the expert, and the scene it was in."""

    type: str
    steps: int
    won: bool
    invalid: int
    """Actions answered with `Nothing happens.`"""
    first_words: int
    """Words of the first observation."""
    words: int
    """Words of all observations after it."""
    receptacles: int
    doors: int
    things: int
    """Things that lie in receptacles."""
    wanted: int
    """Of these, how many are of the type the goal is about."""


def play(environment: SceneEnvironment, task: Task) -> Play:
    """The expert plays one task."""
    start = environment.reset(task)
    expert = environment.expert()
    expert.begin(start.goal, start.observation)
    observation, won = start.observation, False
    seen: list[str] = []
    while not won and len(seen) < environment.max_steps and (action := expert.act(observation)):
        outcome = environment.step(action)
        observation, won = outcome.observation, outcome.success
        seen.append(observation)
    return Play(
        task.type,
        len(seen),
        won,
        sum(text.startswith("Nothing happens") for text in seen),
        len(start.observation.split()),
        sum(len(text.split()) for text in seen),
        *_counts(environment.scene(task)),
    )


def _counts(scene: Scene) -> tuple[int, int, int, int]:
    lying = [thing for thing in scene.things if thing.receptacles]
    wanted = sum(thing.kind.type == scene.goal.object for thing in lying)
    return len(scene.receptacles), sum(r.openable for r in scene.receptacles), len(lying), wanted


def play_split(name: str, limit: int) -> list[Play]:
    """The expert plays the tasks of `environment/split`, at most `limit` of them, evenly spread."""
    environment_name, _, split = name.partition("/")
    environment = registry.make(environment_name)
    if not isinstance(environment, SceneEnvironment):
        raise UsageError(f"{environment_name} has no scenes; name household or alfworld")
    tasks = environment.tasks(split)
    stride = max(1, len(tasks) // limit)
    # A stride prime to the number of types keeps the types in turn.
    stride -= stride > 1 and stride % 2 == 0
    stride -= 2 * (stride > 2 and stride % 3 == 0)
    return [play(environment, task) for task in tasks[::stride][:limit]]


def _play_rows(plays: Sequence[Play]) -> Iterable[list[str]]:
    by_type = [(kind, [p for p in plays if p.type == kind]) for kind in GOAL_KINDS]
    for kind, some in [*by_type, ("all", list(plays))]:
        if some:
            won = [p.steps for p in some if p.won]
            yield [
                kind,
                str(len(some)),
                f"{100 * len(won) / len(some):.2f}",
                f"{fmean(won):.1f}" if won else "",
                str(max(won, default=0)),
                f"{fmean(p.words / max(1, p.steps) for p in some):.1f}",
                f"{fmean(p.invalid for p in some):.3f}",
            ]


def _scene_rows(plays: Sequence[Play]) -> Iterable[list[str]]:
    order = sorted(plays, key=lambda p: p.type)
    for kind, group in groupby(order, key=lambda p: p.type):
        some = list(group)
        columns = ([p.receptacles for p in some], [p.doors for p in some], [p.things for p in some], [p.wanted for p in some],
                   [p.first_words for p in some])  # fmt: skip
        yield [kind, *(f"{fmean(column):.1f} ({_spread(column)})" for column in columns)]


def _spread(values: Sequence[int]) -> str:
    order = sorted(values)
    return f"{order[len(order) // 10]}–{order[-1 - len(order) // 10]}"


def _table(title: str, headings: Sequence[str], rows: Iterable[tuple[str, list[str]]]) -> Table:
    table = Table(*headings, title=title)
    for name, row in rows:
        table.add_row(name, *row)
    return table


def main() -> None:
    """Play, print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("splits", nargs="*", default=["household/dev"], metavar="ENVIRONMENT/SPLIT")
    parser.add_argument("--limit", type=int, default=4000, help="at most so many tasks of each split (default 4000)")
    options = parser.parse_args()
    console = Console()
    began = time.perf_counter()
    plays = {name: play_split(name, options.limit) for name in options.splits}
    play_headings = ["split", "type", "games", "won %", "steps", "longest", "words / observation", "invalid / game"]
    rows = [(name, row) for name, some in plays.items() for row in _play_rows(some)]
    console.print(_table("The expert: games won, and actions where won", play_headings, rows))
    scene_headings = ["split", "type", "receptacles", "with doors", "things", "of the wanted type", "words at first"]
    rows = sorted(((name, row) for name, some in plays.items() for row in _scene_rows(some)), key=lambda row: row[1][0])
    console.print(_table("The scenes: mean (10th–90th percentile)", scene_headings, rows))
    console.print(f"{sum(map(len, plays.values()))} games in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
