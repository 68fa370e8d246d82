"""How fast the household engine loads and plays, against the real `alfworld` package on the same files and commands, in one run.

    python benchmarks/environment.py                                        our side only
    python benchmarks/environment.py --alfworld-python FOLDER/bin/python    both; that Python has the alfworld package installed

Loading is from a game file to the first text. A step is a command carried out, its text, the valid commands and whether the game is won;
the package always computes all of these, so the engine's rate without the valid commands is shown apart. Games are generated ones or, with
`--data` or ALFWORLD_DATA, official ones. Time is processor time, so that a busy machine matters less; both sides are one thread. The first
game of the package, which also starts it, does not count.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from edgexp.environments.household import pddl
from edgexp.environments.household.generator import generate
from edgexp.environments.household.pddl import Templates
from edgexp.environments.household.scene import GOAL_KINDS
from edgexp.environments.household.simulator import Game

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

from record_alfworld import Job, RealGame, generated_jobs, official_jobs, walk

PLACEHOLDER = Templates("(define (domain alfred))", '"Your task is to: x."')
"""For files that only we load: ALFWorld's own rules and texts come from its package, where that is there."""


class Rates(NamedTuple):
    """Milliseconds a load, steps a second, both of processor time."""

    load_ms: float
    steps: float


def main() -> None:
    """Measure what is there and print the table."""
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        jobs = list(official_jobs(options.games + 1, options.data, options.seed) if options.data else made_jobs(options, Path(folder)))
        walks = [walk(Job(job.scene, job.file, []), options.commands, random.Random(i)) for i, job in enumerate(jobs)]
        theirs = package(options.alfworld_python, jobs, walks) if options.alfworld_python else None
        Console().print(table(jobs, walks, theirs, "official" if options.data else "generated"))


def made_jobs(options: argparse.Namespace, folder: Path) -> list[Job]:
    """Generated games, as files the package can load where it is there, else as files only we can."""
    if options.alfworld_python:
        return list(generated_jobs(options.games + 1, folder, options.alfworld_python, options.seed))
    jobs = []
    for number in range(options.games + 1):
        scene, file = generate(GOAL_KINDS[number % len(GOAL_KINDS)], options.seed + number), folder / f"{number}.tw-pddl"
        file.write_bytes(pddl.encode(scene, PLACEHOLDER))
        jobs.append(Job(scene, file, []))
    return jobs


def package(python: Path, jobs: Sequence[Job], walks: Sequence[Sequence[str]]) -> Rates:
    """The package's rates; its first game, which also starts it, is not counted."""
    with RealGame(python) as real:
        answers = [real.play(job.file, commands) for job, commands in zip(jobs, walks, strict=True)][1:]
    seconds = [sum(answer[part] for answer in answers) for part in ("load_seconds", "play_seconds")]
    return Rates(1000 * seconds[0] / len(answers), sum(map(len, walks[1:])) / seconds[1])


def per_second(work: Callable[[], int], seconds: float = 1.0) -> float:
    """How often a second the work's unit is done; `work` says how many units it did. Warms up once."""
    work()
    done, start = 0, time.process_time()
    while (passed := time.process_time() - start) < seconds:
        done += work()
    return done / passed


def engine_rates(jobs: Sequence[Job], walks: Sequence[Sequence[str]]) -> tuple[Rates, float]:
    """The engine's rates with the valid commands, and its steps a second without them."""
    games = [Game(job.scene) for job in jobs]

    def load() -> int:
        return sum(bool(Game(pddl.read(job.file)).intro()) for job in jobs)

    def play(admissible: bool) -> int:
        for game, commands in zip(games, walks, strict=True):
            game.reset()
            for command in commands:
                game.step(command)
                _ = game.won
                if admissible:
                    game.admissible()
        return sum(map(len, walks))

    return Rates(1000 / per_second(load), per_second(lambda: play(True))), per_second(lambda: play(False))


def generating() -> float:
    """Milliseconds to make a scene from its seed and be ready to play it."""
    return 1000 / per_second(lambda: sum(bool(Game(generate(kind, seed)).intro()) for seed in range(20) for kind in GOAL_KINDS))


def table(jobs: Sequence[Job], walks: Sequence[Sequence[str]], theirs: Rates | None, what: str) -> Table:
    """The figures side by side."""
    ours, bare = engine_rates(jobs, walks)
    made = Table(title=f"{len(jobs) - 1} {what} games, {sum(map(len, walks[1:]))} commands")
    for heading in ("", "edgexp", "alfworld", "ratio"):
        made.add_column(heading, justify="right" if heading else "left")
    loads = (f"{theirs.load_ms:,.0f}", f"{theirs.load_ms / ours.load_ms:,.0f}x") if theirs else ("not measured", "")
    steps = (f"{theirs.steps:,.1f}", f"{ours.steps / theirs.steps:,.0f}x") if theirs else ("not measured", "")
    made.add_row("load a game file, ms", f"{ours.load_ms:.2f}", *loads)
    made.add_row("steps a second, with valid commands", f"{ours.steps:,.0f}", *steps)
    made.add_row("steps a second, without", f"{bare:,.0f}", "", "")
    made.add_row("generate a scene, ms", f"{generating():.2f}", "", "")
    return made


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alfworld-python", type=Path, help="a Python that has the alfworld package")
    parser.add_argument("--data", type=Path, default=os.environ.get("ALFWORLD_DATA"), help="official games (default: ALFWORLD_DATA)")
    parser.add_argument("--games", type=int, default=8)
    parser.add_argument("--commands", type=int, default=40, help="random commands a game")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
