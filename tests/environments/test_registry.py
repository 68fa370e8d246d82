"""Environments by name: what is found where, what is wrong with the rest, and what is said of tasks that come out of a bank."""

import hashlib
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from edgexp.environments import registry
from edgexp.environments.base import Environment, HasAdmissible, HasExpert, family_of, lesson_of
from edgexp.environments.registry import (
    BUILT_IN,
    DEFAULT_ENVIRONMENT,
    available,
    describe_all,
    family_of_task,
    lesson_of_task,
    make,
)
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Task

HERE = ("household", "treatments", "worlds")
"""Built-in environments that need no files and no Java."""

MODULE = '''
from edgexp.environments import Outcome, Start
from edgexp.errors import EdgexpError
from edgexp.trajectory import Task


class Rooms:
    name, version, max_steps, made, closed = "rooms", "1", 3, 0, 0

    def __init__(self, size=4):
        self.size = size
        Rooms.made += 1

    def splits(self):
        return ("train",)

    def tasks(self, split):
        return [self.task(f"rooms/train/{n}") for n in range(self.size)]

    def task(self, task_id):
        return Task(task_id, "rooms", "train", "tidy")

    def instructions(self):
        return "tidy up"

    def reset(self, task):
        return Start("tidy up.", "A mess.")

    def step(self, action):
        return Outcome("Still a mess.")

    def family(self, task):
        return "all rooms"

    def lesson(self, task):
        return "tidying"

    def close(self):
        Rooms.closed += 1


class Broken(Rooms):
    def __init__(self):
        raise RuntimeError("no rooms left")


class Locked(Rooms):
    def __init__(self):
        raise EdgexpError("the rooms are locked; get a key")


class Stuck(Rooms):
    def close(self):
        raise RuntimeError("the door is stuck")


class Half:
    name = "half"

    def reset(self, task):
        return Start("", "")


number = 7
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module on Python's path with environments of somebody else."""
    (tmp_path / "rooms_plugin.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "rooms_plugin", raising=False)
    registry._telling.cache_clear()
    yield "rooms_plugin"
    registry._telling.cache_clear()
    sys.modules.pop("rooms_plugin", None)


def offer(folder: Path, **points: str) -> None:
    """An installed package that offers environments by entry points."""
    info = folder / "rooms_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rooms-package\nVersion: 1.0\n", encoding="utf-8")
    lines = "".join(f"{name} = {target}\n" for name, target in points.items())
    (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{lines}", encoding="utf-8")


def test_every_built_in_name_leads_to_a_class_of_that_name() -> None:
    for name, target in BUILT_IN.items():
        module, _, attribute = target.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        assert found.name == name and found.__doc__


def test_the_default_is_built_in_and_needs_nothing() -> None:
    assert DEFAULT_ENVIRONMENT in BUILT_IN
    made = make(DEFAULT_ENVIRONMENT)
    assert isinstance(made, HasAdmissible) and isinstance(made, HasExpert) and "train" in made.splits()
    made.close()


def test_everybody_plays_the_default_where_nobody_names_one() -> None:
    from edgexp.evaluation.suite import Tasks
    from edgexp.play.session import Settings
    from edgexp.training.recipe import Data

    assert Tasks().environment == Settings().environment == Data().environment == DEFAULT_ENVIRONMENT


def test_names_are_sorted_and_all_there() -> None:
    assert list(available()) == sorted(available()) and set(BUILT_IN) <= set(available())


def test_an_unknown_name_is_told_the_known() -> None:
    with pytest.raises(UsageError, match=r"no environment is called 'houshold'; known: alfworld, errands, .*, or module:attribute"):
        make("houshold")


@pytest.mark.parametrize(("target", "wrong"), [
    ("no_such_module:Rooms", "No module named 'no_such_module'; is the module installed, or in the current folder"),
    ("rooms_plugin:Attic", "module rooms_plugin has no 'Attic'"),
    ("rooms_plugin:Broken", r"cannot be made: RuntimeError: no rooms left"),
    ("rooms_plugin:Locked", "^the rooms are locked; get a key$"),
    ("rooms_plugin:Half", "is not an environment: it lacks version, max_steps, splits, tasks, task, instructions, step, close"),
    ("rooms_plugin:number", "cannot be made: TypeError"),
    ("rooms_plugin:", "write it as module:attribute, for example doors:Doors"),
])  # fmt: skip
def test_what_cannot_be_made_says_why(plugin: str, target: str, wrong: str) -> None:
    with pytest.raises(EdgexpError, match=wrong):
        make(target)


def test_options_go_to_the_constructor(plugin: str) -> None:
    assert len(make(f"{plugin}:Rooms", size=2).tasks("train")) == 2
    with pytest.raises(EdgexpError, match="cannot be made: TypeError"):
        make(f"{plugin}:Rooms", colour="red")


def test_an_entry_point_gives_a_name(plugin: str, tmp_path: Path) -> None:
    offer(tmp_path, rooms=f"{plugin}:Rooms", household=f"{plugin}:Broken")
    assert available()["rooms"] == "rooms_plugin:Rooms"
    assert available()["household"] == BUILT_IN["household"]  # nobody takes the name of a built-in one
    assert isinstance(make("rooms"), Environment)


def test_environments_are_described_with_what_is_wrong_with_them(plugin: str, tmp_path: Path) -> None:
    offer(tmp_path, rooms=f"{plugin}:Rooms", broken=f"{plugin}:Broken")
    found = {one.name: one for one in describe_all()}
    assert list(found) == list(available())
    household, rooms, broken = found["household"], found["rooms"], found["broken"]
    assert household.splits == {"train": 100_000, "dev": 10_000, "test": 10_000} and household.admissible and household.expert
    assert rooms.splits == {"train": 4} and not rooms.admissible and not rooms.expert and rooms.problem == ""
    assert broken.splits == {} and "no rooms left" in broken.problem
    assert sys.modules[plugin].Rooms.closed == sys.modules[plugin].Rooms.made


# What is said of a task that comes out of a bank


def test_a_task_of_a_bank_is_told_of_by_its_environment_made_once(plugin: str, tmp_path: Path) -> None:
    offer(tmp_path, rooms=f"{plugin}:Rooms")
    tasks = [Task(f"rooms/train/{n}", "rooms", "train", "tidy") for n in range(50)]
    assert {family_of_task(task) for task in tasks} == {"all rooms"} and {lesson_of_task(task) for task in tasks} == {"tidying"}
    rooms = sys.modules[plugin].Rooms
    assert rooms.made == rooms.closed == 1


@pytest.mark.parametrize("environment", ["gone", "", *(f"rooms_plugin:{name}" for name in ("Broken", "Locked", "Half", "Stuck"))])
def test_where_the_environment_cannot_be_made_the_default_holds(plugin: str, environment: str) -> None:
    task = Task("rooms/dev-bank/3/1", environment, "dev-bank", "tidy")
    assert family_of_task(task) == "rooms/dev/3" and lesson_of_task(task) == "tidy"


def told(name: str) -> str:
    """Of some tasks of every split: id, family and lesson, in one line each."""
    environment = make(name)
    lines = []
    for split in environment.splits():
        tasks = environment.tasks(split)
        for number in range(0, len(tasks), max(1, len(tasks) // 97)):
            task = tasks[number]
            assert family_of_task(task) == family_of(environment, task) and lesson_of_task(task) == lesson_of(environment, task)
            lines.append(f"{task.id} {family_of_task(task)} {lesson_of_task(task)}")
    return "\n".join(lines)


@pytest.mark.parametrize(("name", "digest"), [
    ("household", "3f9dcc0c4bdb42e9"),
    ("treatments", "48cdd92049c36b55"),
    ("worlds", "b8070cee2ff1db31"),
])  # fmt: skip
def test_families_and_lessons_stay_what_they_are(name: str, digest: str) -> None:
    """Training samples are chosen by them: another word here gives other samples from the same recipe and bank.

    The digests are of what was parsed out of the ids before environments spoke for themselves.
    """
    assert hashlib.sha256(told(name).encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("name", HERE)
def test_families_do_not_cross_splits_but_into_banks(name: str) -> None:
    environment = make(name)
    families = {split: {family_of(environment, task) for task in environment.tasks(split)[:2_000]} for split in environment.splits()}
    for one, own in families.items():
        for other, theirs in families.items():
            related = one.removesuffix("-bank") == other.removesuffix("-bank")
            assert bool(own & theirs) == related, (one, other)


def test_families_of_java_games_are_told_without_java() -> None:
    from edgexp.environments.java import scienceworld, textworld_express

    for module, split in ((scienceworld, "dev-5"), (textworld_express, "test")):
        for task in list(module.tasks(split))[:400]:
            assert family_of_task(task) == f"{task.environment}/{split}/{task.type}"
            assert lesson_of_task(task) == task.type


def test_asking_for_the_default_loads_no_game() -> None:
    """The command line does so whenever it prints its help."""
    code = "import sys; from edgexp.environments.registry import DEFAULT_ENVIRONMENT; print(*[m for m in sys.modules if 'household' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
