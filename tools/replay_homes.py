"""Counts over data sets of homes: sentences, those that are won by doing nothing, and those that are won by who knows the answer.

With a file of recorded runs (`home_recorded_runs.jsonl.gz`: data set, task, text, calls, unexpected), also how many verdicts the simulation
gives as Home Assistant did.

    python tools/replay_homes.py datasets [--runs home_recorded_runs.jsonl.gz]
"""

import argparse
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

from edgexp.environments.home import sentences
from edgexp.environments.home.assist import carry_out
from edgexp.environments.home.inventory import House
from edgexp.environments.home.public_homes import PublicHomes
from edgexp.environments.home.sentences import Sentence
from edgexp.play.collecting import expert_episode
from edgexp.play.rollout import run


def main() -> None:
    """Read the arguments, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a data set, or a folder that holds several")
    parser.add_argument("--runs", type=Path, help="recorded runs")
    arguments = parser.parse_args()
    homes = PublicHomes(str(arguments.folder))
    for split in homes.splits():
        nothing, known, tasks = won_by_nothing(homes, split), won_by_expert(homes, split), homes.tasks(split)
        share = f"{nothing} won by doing nothing ({nothing / len(tasks):.1%})"
        print(f"{split}: {len(tasks)} sentences, {share}, {known} by who knows the answer")
    if arguments.runs:
        verdicts = list(replay(arguments.folder, arguments.runs))
        print(f"{sum(verdicts):,} of {len(verdicts):,} recorded runs have Home Assistant's verdict")


def won_by_nothing(homes: PublicHomes, split: str) -> int:
    """How many sentences are won without a call."""
    won = 0
    for task in homes.tasks(split):
        if task.type != "damaged":
            homes.reset(task)
            won += homes.step("Done()").success
    return won


def won_by_expert(homes: PublicHomes, split: str) -> int:
    """How many sentences can be won."""
    return sum(run(expert_episode(homes, task)).trajectory.success for task in homes.tasks(split) if task.type != "damaged")


def replay(folder: Path, runs: Path) -> Iterator[bool]:
    """For each run of a sentence that counts: whether the same entities are not as expected."""
    known: dict[str, list[Sentence]] = {}
    with gzip.open(runs, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            name = row["dataset"]
            if name not in known and (folder / name).is_dir():
                known[name] = sentences.read_folder(folder / name)[0]
            test = next((t for t in known.get(name, ()) if t.text == row["text"] and row["task"].startswith(beginning(t))), None)
            if test is not None and row["unexpected"] is not None:
                yield unexpected_after(test, row["calls"]) == sorted(row["unexpected"])


def beginning(test: Sentence) -> str:
    """With what the names of a sentence's runs begin."""
    return "_".join(re.sub(r"[^a-z0-9]+", "_", part.lower()) for part in test.id.split("/")[:2]) + "-"


def unexpected_after(test: Sentence, calls: list[tuple[str, dict[str, object]]]) -> list[str]:
    """The entities that are not as expected after some calls."""
    house = House(test.inventory)
    before = sentences.snapshot(house)
    for tool, arguments in calls:
        carry_out(house, tool, arguments)
    return sorted(sentences.unexpected(test, before, sentences.snapshot(house)))


if __name__ == "__main__":
    main()
