"""TextWorldExpress as an environment: eight games from seeds, over our own calls to the package's Java server.

The games have the package's default settings, and the seeds its splits: 1,000 of each game in each split. All of them need no more than
`limit` actions; what Java is, how it starts and how it is replaced is known elsewhere.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from edgexp.environments.base import Outcome, Start
from edgexp.environments.java.gateway import Server
from edgexp.environments.java.gold import start_of
from edgexp.environments.java.served import ServedEnvironment
from edgexp.environments.splits import Made, check_split
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Task

GAMES = {
    "arithmetic": 20,
    "coin": 100,
    "cookingworld": 150,
    "mapreader": 50,
    "peckingorder": 30,
    "simonsays": 20,
    "sorting": 30,
    "twc": 100,
}
"""Game → actions an episode may take."""

SPLITS = {"train": 0, "dev": 10_000, "test": 20_000}
"""Split → the seed of its first task."""

SEEDS = 1_000
"""Seeds of each game in each split."""

INSTRUCTIONS = """\
You play a short text game, one action a turn. Answer with the action only, in one of these forms:
look around
examine [object]
inventory
task
move [north, east, south or west]
open door to [direction]
close door to [direction]
open [container]
close [container]
take [object]
put [object] in [container]
read [object]
slice [object]
dice [object]
chop [object]
cook [object] in [appliance]
prepare meal
eat [object]
Where the game tells you to do something in other words, use those words."""
"""What the system prompt says about acting here."""

_ID = re.compile(r"textworld-express/([a-z]+)/([a-z]+)/(0|[1-9][0-9]{0,4})")


class TextWorldExpress(ServedEnvironment):
    """The package's eight games. Success is a won game; a lost one ends with the score it has."""

    name = "textworld-express"
    version = "1.1.0+1"
    max_steps = max(GAMES.values())
    entry = "textworldexpress.runtime.PythonInterface"
    _state: dict[str, Any]

    def splits(self) -> Sequence[str]:
        """`train`, `dev`, `test`."""
        return tuple(SPLITS)

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split, lazily. Raises UsageError for an unknown split."""
        check_split(self.name, split, SPLITS)
        return tasks(split)

    def task(self, task_id: str) -> Task:
        """The task `textworld-express/<split>/<game>/<seed>`. Raises UsageError where there is none."""
        found = _ID.fullmatch(task_id)
        if found and found[1] in SPLITS and found[2] in GAMES and 0 <= int(found[3]) - SPLITS[found[1]] < SEEDS:
            return _task(found[1], found[2], int(found[3]))
        seeds = ", ".join(f"{split} {first} to {first + SEEDS - 1}" for split, first in SPLITS.items())
        raise UsageError(f"textworld-express has no task {task_id!r}; ids look like textworld-express/dev/coin/10000, "
                         f"with a game of {', '.join(GAMES)} and a seed of {seeds}")

    def instructions(self) -> str:
        """How to act: the forms of actions of all games."""
        return INSTRUCTIONS

    def limit(self, task: Task) -> int:
        """20 to 150 actions, by game; see `GAMES`."""
        return GAMES[task.type]

    def _begin(self, server: Server, task: Task) -> Start:
        first = self._load(server, task, gold=False)
        return start_of(first["observation"], server.call("getTaskDescription"))

    def _act(self, server: Server, action: str) -> Outcome:
        before, self._state = self._state["score"], json.loads(server.call("stepJSON", action))
        score, state = self._state["score"], self._state
        won, lost = state["tasksuccess"] or score >= 1, state["taskfailure"]
        return Outcome(state["observation"].strip(), round(score - before, 4), won or lost, won, round(max(score, 0.0), 4))

    def _valid(self, server: Server) -> list[str]:
        return [str(action) for action in self._state["validActions"]]

    def _solve(self, server: Server, task: Task) -> list[str]:
        self._load(server, task, gold=True)
        return self._gold(server, task)

    def _load(self, server: Server, task: Task, *, gold: bool) -> Any:
        if said := server.call("load", task.type, ""):
            raise EdgexpError(f"{task.id}: {said}")
        seed = int(task.id.rsplit("/", 1)[1])
        self._state = json.loads(server.call("generateNewGameJSON", seed, task.split, gold))
        return self._state


def tasks(split: str) -> Made:
    """The tasks of a split. The games take turns, so any stretch of them is balanced."""
    def make(position: int) -> Task:
        seed, game = divmod(position, len(GAMES))
        return _task(split, list(GAMES)[game], SPLITS[split] + seed)

    return Made(SEEDS * len(GAMES), make)


def _task(split: str, game: str, seed: int) -> Task:
    return Task(f"textworld-express/{split}/{game}/{seed}", "textworld-express", split, game)
