"""Replays what models called in real Home Assistant: the simulation gives the verdict that Home Assistant's own states gave.

The recordings are no part of the repository. They are looked for in the folder that EDGEXP_SHARED_DATA names,
and in `../shared/data` beside
the repository.
"""

import gzip
import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from edgexp.environments.home import sentences
from edgexp.environments.home.assist import carry_out
from edgexp.environments.home.inventory import House
from edgexp.environments.home.public_homes import PublicHomes
from edgexp.environments.home.sentences import Sentence
from edgexp.play.collecting import expert_episode
from edgexp.play.rollout import run

pytestmark = pytest.mark.slow

SIZES = {"assist": 77, "assist-mini": 49, "questions": 37}
"""Sentences that count; of `assist` three homes of five are there."""


@pytest.fixture(scope="module")
def shared() -> Path:
    """The folder with the recordings."""
    places = [os.environ.get("EDGEXP_SHARED_DATA", ""), Path(__file__).parents[4] / "shared" / "data"]
    for place in map(Path, filter(None, places)):
        if (place / "home_recorded_runs.jsonl.gz").is_file() and (place / "home_assist.tar.xz").is_file():
            return place
    pytest.skip("no recorded runs here: set EDGEXP_SHARED_DATA to the folder with home_recorded_runs.jsonl.gz and home_assist.tar.xz")


@pytest.fixture(scope="module")
def datasets(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data sets, unpacked."""
    folder = tmp_path_factory.mktemp("homes")
    with tarfile.open(shared / "home_assist.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "datasets"


@pytest.fixture(scope="module")
def tests(datasets: Path) -> dict[str, list[tuple[str, Sentence]]]:
    """Data set → tests, each with the beginning of the names that recordings give to its runs."""
    found = {}
    for name in ("assist", "assist-mini"):
        read, problems = sentences.read_folder(datasets / name)
        assert not problems
        found[name] = [("_".join(map(_slug, test.id.split("/")[:2])) + "-", test) for test in read]
    return found


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower())


def verdict(test: Sentence, calls: list[list[Any]]) -> list[str]:
    """What is not as expected after these calls."""
    house = House(test.inventory)
    before = sentences.snapshot(house)
    for tool, arguments in calls:
        carry_out(house, tool, arguments)
    return sorted(sentences.unexpected(test, before, sentences.snapshot(house)))


def test_verdicts_are_home_assistants_own(shared: Path, tests: dict[str, list[tuple[str, Sentence]]]) -> None:
    equal, other = 0, list[str]()
    with gzip.open(shared / "home_recorded_runs.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["unexpected"] is None:
                continue  # a sentence that the data set does not count
            (test,) = [test for start, test in tests[row["dataset"]] if row["task"].startswith(start) and row["text"] == test.text]
            if verdict(test, row["calls"]) == sorted(row["unexpected"]):
                equal += 1
            else:
                other.append(f"{row['task']} {row['model']} {row['calls']}")
    assert equal + len(other) > 5_800
    assert equal >= 0.999 * (equal + len(other)), other[:20]


def test_every_sentence_is_a_task_and_doing_nothing_wins_few(datasets: Path) -> None:
    homes = PublicHomes(str(datasets))
    assert {split: len(homes.tasks(split)) for split in homes.splits()} == SIZES
    floor = {}
    for split in homes.splits():
        won = 0
        for task in homes.tasks(split):
            homes.reset(task)
            won += homes.step("Done()").success
        floor[split] = won
    assert floor["assist-mini"] == 0 and floor["assist"] == 8  # 8 of all 92


def test_the_expert_wins_whatever_can_be_won(datasets: Path) -> None:
    """Four sentences of `assist` no real run ever passed, of 140: they want lights to change and their colour mode to stay."""
    homes = PublicHomes(str(datasets))
    lost = [run(expert_episode(homes, task)).trajectory for split in homes.splits() for task in homes.tasks(split)]
    assert [t.goal for t in lost if not t.success] == [
        "Shut off the upstairs lights please", "Turn off the lights upstairs", "Turn on all the upstairs lights",
        "Turn on all the bedroom lights upstairs",
    ]  # fmt: skip
