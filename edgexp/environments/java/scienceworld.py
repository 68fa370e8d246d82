"""ScienceWorld as an environment: its thirty task types, and our calls to its server. Knows not how Java is started or replaced.

`TYPES` says how many variations each split has of a type, on which side of the paper's split it is, and its step limit. The variations of a
type are numbered; its train split comes first, then dev, then test. The counts are those of the package, version 1.2.3, which a test
confirms. The first `EVALUATED` variations of each type make the splits `dev-5` and `test-5`, as the paper's evaluation does.

The package's own `env.step()` lists every valid action after each step, which takes ten times as long as the step. We ask for the
observation, the score and whether it is over, and for valid actions only when somebody wants them.
"""

import json
import re
from collections.abc import Iterator, Sequence

import msgspec

from edgexp.environments.base import Outcome, Start
from edgexp.environments.java.gateway import Server
from edgexp.environments.java.gold import start_of
from edgexp.environments.java.served import ServedEnvironment
from edgexp.environments.splits import check_split
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Task

EVALUATED = 5
"""The paper evaluates on at most so many variations of each type."""


class TaskType(msgspec.Struct, frozen=True):
    """One kind of experiment."""

    train: int
    dev: int
    test: int
    """Variations in each split."""
    group: str
    limit: int
    """Actions an episode may take."""


TYPES = {
    "boil": TaskType(14, 7, 9, "easy", 130),
    "change-the-state-of-matter-of": TaskType(14, 7, 9, "hard", 50),
    "chemistry-mix": TaskType(16, 8, 8, "hard", 90),
    "chemistry-mix-paint-secondary-color": TaskType(18, 9, 9, "hard", 50),
    "chemistry-mix-paint-tertiary-color": TaskType(18, 9, 9, "hard", 60),
    "find-animal": TaskType(150, 75, 75, "easy", 50),
    "find-living-thing": TaskType(150, 75, 75, "easy", 50),
    "find-non-living-thing": TaskType(150, 75, 75, "easy", 50),
    "find-plant": TaskType(150, 75, 75, "easy", 50),
    "freeze": TaskType(14, 7, 9, "easy", 80),
    "grow-fruit": TaskType(62, 31, 33, "easy", 150),
    "grow-plant": TaskType(62, 31, 33, "hard", 120),
    "identify-life-stages-1": TaskType(6, 3, 5, "hard", 70),
    "identify-life-stages-2": TaskType(4, 2, 4, "easy", 50),
    "inclined-plane-determine-angle": TaskType(84, 42, 42, "easy", 150),
    "inclined-plane-friction-named-surfaces": TaskType(692, 346, 348, "easy", 150),
    "inclined-plane-friction-unnamed-surfaces": TaskType(80, 40, 42, "hard", 150),
    "lifespan-longest-lived": TaskType(62, 31, 32, "easy", 50),
    "lifespan-longest-lived-then-shortest-lived": TaskType(62, 31, 32, "hard", 50),
    "lifespan-shortest-lived": TaskType(62, 31, 32, "easy", 50),
    "measure-melting-point-known-substance": TaskType(218, 109, 109, "hard", 50),
    "measure-melting-point-unknown-substance": TaskType(150, 75, 75, "easy", 150),
    "melt": TaskType(14, 7, 9, "easy", 80),
    "mendelian-genetics-known-plant": TaskType(60, 30, 30, "hard", 150),
    "mendelian-genetics-unknown-plant": TaskType(240, 120, 120, "hard", 150),
    "power-component": TaskType(10, 5, 5, "easy", 50),
    "power-component-renewable-vs-nonrenewable-energy": TaskType(10, 5, 5, "hard", 50),
    "test-conductivity": TaskType(450, 225, 225, "hard", 60),
    "test-conductivity-of-unknown-substances": TaskType(300, 150, 150, "easy", 60),
    "use-thermometer": TaskType(270, 135, 135, "easy", 50),
}
"""Name → type, in alphabetical order. How sides and limits were chosen is told in docs/environments.md."""

SPLITS = ("train", "dev", "test", "dev-5", "test-5")
MAX_STEPS = max(kind.limit for kind in TYPES.values())


def variations(kind: TaskType, split: str) -> range:
    """The numbers of a type's variations in a split."""
    name, _, few = split.partition("-")
    first = {"train": 0, "dev": kind.train, "test": kind.train + kind.dev}[name]
    count = {"train": kind.train, "dev": kind.dev, "test": kind.test}[name]
    return range(first, first + (min(count, EVALUATED) if few else count))


def tasks(split: str) -> Iterator[Task]:
    """All tasks of a split, type by type. The split has to be one of SPLITS."""
    for name, kind in TYPES.items():
        for number in variations(kind, split):
            yield make_task(split, name, number)


def make_task(split: str, name: str, number: int) -> Task:
    """The task of a variation."""
    return Task(f"scienceworld/{split}/{name}/{number}", "scienceworld", split, name, TYPES[name].group)


INSTRUCTIONS = """\
You do science experiments in a house, one action a turn. Answer with the action only, in one of these forms:
look around
look at [object]
look in [container]
examine [object]
read [object]
inventory
task
go to [place]
teleport to [room]
open [object]
close [object]
activate [device]
deactivate [device]
pick up [object]
put down [object]
drop [object]
move [object] to [container]
pour [object] into [container]
dunk [object] into [object]
mix [container]
use [tool] on [object]
connect [object] to [object]
disconnect [object]
focus on [object]
eat [object]
flush [object]
wait
wait1
wait lets ten turns pass, wait1 one. Focus on nothing but what the task is about: a wrong focus fails it.
If the answer lists numbered readings of your action, answer with the number."""
"""What the system prompt says about acting here: the server's action templates."""

SIMPLIFICATIONS = "easy"
"""The package's name for all: open doors, teleporting between rooms, plants that water themselves, wiring only where a task needs it."""

SOLVE_SECONDS = 300.0

_ID = re.compile(r"scienceworld/([a-z0-9-]+)/([a-z0-9-]+)/(0|[1-9][0-9]{0,4})")


class ScienceWorld(ServedEnvironment):
    """The package's task variations, with its simplifications. A score of 1 is success; a wrong focus ends the episode with 0."""

    name = "scienceworld"
    version = "1.2.3+1"
    max_steps = MAX_STEPS
    entry = "scienceworld.runtime.pythonapi.PythonInterface"

    def splits(self) -> Sequence[str]:
        """`train`, `dev`, `test`, and the paper's few variations a type: `dev-5`, `test-5`."""
        return SPLITS

    def tasks(self, split: str) -> Sequence[Task]:
        """The variations of a split, type by type. Raises UsageError for an unknown split."""
        check_split(self.name, split, SPLITS)
        return tuple(tasks(split))

    def task(self, task_id: str) -> Task:
        """The task `scienceworld/<split>/<type>/<variation>`. Raises UsageError where there is none."""
        found = _ID.fullmatch(task_id)
        if found and found[1] in SPLITS and found[2] in TYPES and int(found[3]) in variations(TYPES[found[2]], found[1]):
            return make_task(found[1], found[2], int(found[3]))
        raise UsageError(f"scienceworld has no task {task_id!r}; ids look like scienceworld/dev/boil/14, {_numbers(found)}")

    def instructions(self) -> str:
        """How to act: the action templates."""
        return INSTRUCTIONS

    def limit(self, task: Task) -> int:
        """50 to 150 actions, by task type."""
        return TYPES[task.type].limit

    def _begin(self, server: Server, task: Task) -> Start:
        self._load(server, task, gold=False)
        self._score = 0.0
        return start_of(server.call("freeActionLook"), server.call("getTaskDescription"))

    def _act(self, server: Server, action: str) -> Outcome:
        observation = server.call("step", action).strip()
        score, over = float(server.call("getScore")), bool(server.call("getCompleted"))
        reward, self._score = max(score, 0.0) - self._score, max(score, 0.0)
        return Outcome(observation, round(reward, 4), over or score < 0, score >= 1.0, round(self._score, 4))

    def _valid(self, server: Server) -> list[str]:
        listed = json.loads(server.call("getValidActionObjectCombinationsJSON"))["validActions"]
        return [entry["action"] for entry in listed]

    def _solve(self, server: Server, task: Task) -> list[str]:
        self._load(server, task, gold=True)
        return self._gold(server, task)

    def _load(self, server: Server, task: Task, *, gold: bool) -> None:
        number = int(task.id.rsplit("/", 1)[1])
        said = server.call("load", task.type, number, SIMPLIFICATIONS, gold, seconds=SOLVE_SECONDS)
        if str(said or "").startswith("ERROR"):
            raise EdgexpError(f"{task.id}: {said}")
        server.call("reset")


def _numbers(found: re.Match[str] | None) -> str:
    """What numbers there are, where type and split are known."""
    if found and found[1] in SPLITS and found[2] in TYPES:
        numbers = variations(TYPES[found[2]], found[1])
        return f"and {found[2]} has {numbers[0]} to {numbers[-1]} in {found[1]}"
    return f"with a split of {', '.join(SPLITS)} and a type of: {', '.join(TYPES)}"
