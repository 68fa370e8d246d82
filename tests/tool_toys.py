"""A tiny environment of two tools, for tests of calls: a lamp is to be switched, or something to be put on a list."""

from collections.abc import Sequence

from edgexp.environments.base import Outcome, Start
from edgexp.environments.calls import Call, Tool, describe_tools, read_calls, write_call
from edgexp.errors import EdgexpError
from edgexp.trajectory import Task

LAMPS = ("big lamp", "big lamp 2", "desk lamp", "porch")
THINGS = ("oat milk", "bread", 'the "good" butter', "eggs\\ham")


def switching(lamps: Sequence[str] = LAMPS) -> list[Tool]:
    """The tools, with the lamps that are there."""
    name, level = {"type": "string", "enum": list(lamps)}, {"type": "integer", "minimum": 0, "maximum": 100}
    return [
        Tool("switch", "Switch a lamp.", {
            "type": "object", "properties": {"lamp": name, "on": {"type": "boolean"}, "level": level},
            "required": ["lamp", "on"], "additionalProperties": False}),
        Tool("list_add", "Put something on the list.", {
            "type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"], "additionalProperties": False}),
    ]  # fmt: skip


class Home:
    """Eight tasks a split. The goal names what is wanted in quotes; any other call does nothing."""

    name, version, max_steps = "home_toy", "1", 4

    def __init__(self) -> None:
        self.wanted: Call | None = None
        self.stepped: list[str] = []

    def splits(self) -> tuple[str, ...]:
        return ("train", "test")

    def tasks(self, split: str) -> list[Task]:
        return [Task(f"home_toy/{split}/{n}", "home_toy", split, "switch" if n < len(LAMPS) else "list") for n in range(8)]

    def task(self, task_id: str) -> Task:
        return next(t for s in self.splits() for t in self.tasks(s) if t.id == task_id)

    def instructions(self) -> str:
        return "You switch lamps and keep a list. Answer with one call:\n" + describe_tools(switching())

    def reset(self, task: Task) -> Start:
        number = int(task.id.rsplit("/", 1)[1])
        switches = number < len(LAMPS)
        arguments = {"lamp": LAMPS[number], "on": True} if switches else {"item": THINGS[number - len(LAMPS)]}
        self.wanted = Call("switch" if switches else "list_add", arguments)
        goal = f"switch on the {LAMPS[number]}." if switches else f"put {THINGS[number - len(LAMPS)]} on the list."
        return Start(goal, f"There are {', '.join(LAMPS)}.")

    def step(self, action: str) -> Outcome:
        if self.wanted is None:
            raise EdgexpError("the episode is over")
        [call] = read_calls(action, self.tools())
        self.stepped.append(action)
        won = call == self.wanted
        self.wanted = None if won else self.wanted
        return Outcome("Done." if won else "Nothing happens.", float(won), won, won, float(won))

    def tools(self) -> list[Tool]:
        return switching() if self.wanted else []

    def expert(self) -> "Knowing":
        return Knowing()

    def close(self) -> None:
        self.wanted = None


class Knowing:
    """Calls what the goal says."""

    def begin(self, goal: str, observation: str) -> None:
        lamp = goal.removeprefix("switch on the ").removesuffix(".")
        item = goal.removeprefix("put ").removesuffix(" on the list.")
        self.call = Call("switch", {"lamp": lamp, "on": True}) if goal.startswith("switch") else Call("list_add", {"item": item})

    def act(self, observation: str) -> str:
        return write_call(self.call)

    def saw(self, observation: str, action: str) -> None:
        pass
