"""`home:PATH`: the homes and sentences of a data set in the format of `home-assistant-datasets`, scored by its rule, simulated.

PATH is the folder of a data set (its homes are its folders), or one with several data sets in it; each is a split. A file that is damaged
is a task that cannot be played, so that it is told and the others are played. Tasks bear the environment's name `home`: experience of
generated homes is of use to them.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgexp.environments import plain
from edgexp.environments.base import Start, family_of_id
from edgexp.environments.calls import Call
from edgexp.environments.home import sentences, states, telling
from edgexp.environments.home.generated_homes import INSTRUCTIONS, SPLITS, Home
from edgexp.environments.home.inventory import House, Values
from edgexp.environments.home.knowing import AskedHome, Wanted
from edgexp.environments.home.offered import ANSWER, FINISH
from edgexp.environments.home.replies import Answering, phrases
from edgexp.environments.home.sentences import Sentence
from edgexp.environments.splits import check_split
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Task

ANSWERS = "\nAnswer(text): as Done, with the answer to what was asked"
_ITEM = re.compile(r"(?:add|put)\s+(.+?)\s+(?:to|on)\s+", re.IGNORECASE)


class PublicHomes(AskedHome):
    """The sentences of one or more data sets. Needs their files, holds nothing open."""

    name, version, max_steps, reads_calls = Home.name, Home.version, Home.max_steps, Home.reads_calls

    def __init__(self, path: str) -> None:
        """Read everything in a folder. Raises UsageError where it is not there, EdgexpError where no home is in it."""
        super().__init__()
        root = Path(path).expanduser()
        if not path or not root.is_dir():
            raise UsageError(f"home:{path}: there is no such folder; the folder of a data set is wanted, such as home:datasets/assist-mini")
        self._tests: dict[str, Sentence | str] = {}
        self._tasks: dict[str, Task] = {}
        for split, folder in _data_sets(root).items():
            self._add(split, folder)
        self._answers = any(isinstance(test, Sentence) and test.response for test in self._tests.values())

    def _add(self, split: str, folder: Path) -> None:
        tests, problems = sentences.read_folder(folder)
        for test in tests:
            home, record, number = test.id.split("/")
            self._keep(split, f"{_slug(home)}/{_slug(record)}-{number}", _slug(test.category), test)
        for place, reason in problems.items():
            home, _, file = place.rpartition("/")
            self._keep(split, f"{_slug(home or folder.name)}/{_slug(file.removesuffix('.yaml'))}-damaged", "damaged", f"{place}: {reason}")

    def _keep(self, split: str, place: str, type: str, what: Sentence | str) -> None:
        id = f"{self.name}/{split}/{place}"
        while id in self._tests:
            id += "x"
        self._tests[id], self._tasks[id] = what, Task(id, self.name, split, type)

    def splits(self) -> Sequence[str]:
        """The names of the data sets."""
        return tuple(dict.fromkeys(task.split for task in self._tasks.values()))

    def tasks(self, split: str) -> Sequence[Task]:
        """The sentences of a data set, home by home. Raises UsageError for an unknown split."""
        check_split(self.name, split, self.splits())
        return [task for task in self._tasks.values() if task.split == split]

    def task(self, task_id: str) -> Task:
        """The task of that id. Raises UsageError where there is none."""
        if task_id not in self._tasks:
            raise UsageError(f"{self.name} has no task {plain.shown(task_id)}; its ids look like {next(iter(self._tasks))}")
        return self._tasks[task_id]

    def family(self, task: Task) -> str:
        """The home."""
        return family_of_id(task.id)

    def aspects(self, task: Task, goal: str) -> Mapping[str, str]:
        """The type, and the home."""
        return {"type": task.type, "home": family_of_id(task.id).rpartition("/")[2]}

    def instructions(self) -> str:
        """As in generated homes; where there are questions, how they are answered."""
        return INSTRUCTIONS + ANSWERS * self._answers

    def reset(self, task: Task) -> Start:
        """Begin an episode; one under way is dropped. Raises EdgexpError where the task is none of these, or its file is damaged."""
        self._answering = None
        if task != self.task(task.id):
            raise UsageError(f"{task.id}: this is not {self.name}' own task of that id; get it from task({task.id!r})")
        test = self._tests[task.id]
        if isinstance(test, str):
            raise EdgexpError(f"{task.id} cannot be played: {test}")
        house = House(test.inventory)
        before = sentences.snapshot(house)

        def is_won(house: House, reply: str) -> bool:
            return sentences.passes(test, before, sentences.snapshot(house), reply)

        self._wanted = _wanted(test, before)
        self._answering = Answering(house, test.text, is_won, answers=self._answers)
        return Start(test.text, telling.describe(house, test.id.partition("/")[0], sensors=self._answers))



def _data_sets(root: Path) -> dict[str, Path]:
    """Split → folder. A folder with homes in it is one data set; else each of its folders that has homes is."""
    try:
        if any(root.glob("_fixtures.yaml")) or any(root.glob("*/_fixtures.yaml")):
            return {_split(root.absolute().name): root}
        folders = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and any(folder.glob("*/_fixtures.yaml"))]
        found = {_split(folder.name): folder for folder in folders}
    except OSError as error:
        raise EdgexpError(f"{root}: the folder cannot be read: {plain.explain(error)}") from error
    if not found:
        raise EdgexpError(f"home:{root}: no home is there: the folder of a data set has folders with a _fixtures.yaml in each")
    return found


def _split(name: str) -> str:
    """The name of a data set as a split: never one of the generated homes'."""
    return f"{_slug(name)}-set" if _slug(name) in SPLITS else _slug(name)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "unnamed"


def _wanted(test: Sentence, before: sentences.Snapshot) -> Wanted:
    """What the expert brings about, and says."""
    values = House(test.inventory).values
    for entity in test.inventory.entities:
        if entity.id in test.changes:
            values[entity.id] = _changed(entity.domain, values[entity.id], test.changes[entity.id], test.text)
    finish = Call(ANSWER, {"text": test.response[0]}) if test.response else Call(FINISH)
    return Wanted(lambda house: {*sentences.unexpected(test, before, sentences.snapshot(house))}, values, (), finish)


def _changed(domain: str, now: Values, changes: Mapping[str, Any], sentence: str) -> Values:
    if domain == "todo":
        found = _ITEM.search(sentence)
        items = [found[1] if found else phrases(sentence)[-1]]
        return {**now, "items": (now["items"] + items)[: int(changes.get("state", 0))]}
    if domain == "light":
        brightness = changes.get("brightness")
        return {**now, "on": changes.get("state") == "on", **({} if brightness is None else {"brightness": brightness})}
    seen = {**states.report(domain, now), **changes}
    if domain in ("cover", "valve") and "current_position" not in changes:
        del seen["current_position"]
    try:
        return states.values_of(domain, seen.pop("state", None), seen)
    except (TypeError, ValueError, AttributeError):  # a file may want anything; then the expert has no idea
        return now
