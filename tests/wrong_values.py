"""An environment that answers what a test tells it to, and values that no member should return."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from edgexp.environments.base import Achieved, Outcome, Start
from edgexp.trajectory import Task, Trajectory

MEMBERS = ("splits", "tasks", "task", "instructions", "reset", "step", "close", "admissible", "expert", "family", "lesson", "aspects",
           "misled", "achieved")
OF_THE_EXPERT = ("begin", "act", "saw", "advise")
VALUES = ("name", "version", "max_steps", "remote", "restarts")


class Evil:
    """Raises whatever one asks it for."""

    def _raise(self, *_: object) -> Any:
        raise RuntimeError("a\nb\ud800")

    __repr__ = __str__ = __len__ = __iter__ = __bool__ = __eq__ = __float__ = __int__ = __getitem__ = __call__ = _raise  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class Shouting(str):
    """A text that is not what it says."""

    def __str__(self) -> str:
        raise RuntimeError("loud")


def failing() -> Iterator[str]:
    """Gives one text, and fails."""
    yield "one"
    raise RuntimeError("no more")


def endless() -> Iterator[str]:
    """Never ends."""
    while True:
        yield "more"


def plenty() -> list[Any]:
    """Values that are none of what any member returns, made anew, for generators can be read once."""
    return [
        None, 5, -1, 0.5, float("nan"), float("inf"), 10**400, b"bytes", bytearray(b"x"), "\ud800", "x" * 300_000, "one text", "",
        [], [None], ["a", 5], ["a", "\udfff"], [b"x"], [[]], {}, {"a": 0.5}, set(), (), (1, 2), ("o", 0.0, False, False, {}), ("o", {}),
        failing(), endless(), object(), object, Evil(), Shouting("x"), np.float32("nan"), np.array([1.0, 2.0]), np.array("x"), ..., len,
        Start(None, "o"), Start("g", 5), Start("g", "\ud800"), Start("x" * 70_000, "o"), Start(b"g", "o"),  # type: ignore[arg-type]
        Outcome(None), Outcome("o", None), Outcome("o", "x"), Outcome("o", float("inf")), Outcome("o", 0, None),  # type: ignore[arg-type]
        Outcome("o", 0, False, 2), Outcome("o", 0, False, "x"), Outcome("o", 0, False, False, 7.0), Outcome(b"o"),  # type: ignore[arg-type]
        Outcome("\ud800"), Outcome("o" * 300_000), Task("a", "b", "c", 5), Task("", "b", "c", "d"),  # type: ignore[arg-type]
        [Task("fickle/train/0", "fickle", "train", None)], ["task"], {"type": 5}, {5: "x", "type": "t"}, {"no": "type"},  # type: ignore[list-item]
    ]  # fmt: skip


def leave() -> None:
    """What `sys.exit` does."""
    sys.exit("bye\nbye\ud800")


RAISES: tuple[type[BaseException], ...] = (RuntimeError, KeyError, StopIteration, SystemExit, GeneratorExit, BaseException, MemoryError)


class Fickle:
    """Ten tasks of two steps each. `answers` says what a member returns instead of what it should: a function that is called."""

    name, version, max_steps, remote, restarts = "fickle", "1", 4, False, 0

    def __init__(self, answers: dict[str, Callable[[], Any]] | None = None) -> None:
        self.steps = 0
        for member, answer in (answers or {}).items():
            if member in VALUES:
                setattr(self, member, answer())
            elif member not in OF_THE_EXPERT:
                setattr(self, member, lambda *_, answer=answer: answer())
        self.answers = answers or {}

    def splits(self) -> tuple[str, ...]:
        return ("train", "test")

    def tasks(self, split: str) -> list[Task]:
        return [self.task(f"fickle/{split}/{n}") for n in range(10)]

    def task(self, task_id: str) -> Task:
        return Task(task_id, "fickle", task_id.split("/")[1], "wait", "easy")

    def instructions(self) -> str:
        return "wait"

    def reset(self, task: Task) -> Start:
        self.steps = 0
        return Start("wait.", "You wait.")

    def step(self, action: str) -> Outcome:
        self.steps += 1
        won = self.steps == 2
        return Outcome("Still.", float(won), won, won, self.steps / 2)

    def close(self) -> None:
        pass

    def admissible(self) -> list[str]:
        return ["go", "wait"]

    def expert(self) -> "Patient":
        return Patient(self.answers)

    def family(self, task: Task) -> str:
        return "f"

    def lesson(self, task: Task) -> str:
        return "l"

    def aspects(self, task: Task, goal: str) -> dict[str, str]:
        return {"type": task.type}

    def achieved(self, trajectory: Trajectory) -> Achieved | None:
        return Achieved("rest.", "rest", "easy", 1)

    def misled(self, goal: str) -> "list[Patient]":
        return [Patient(self.answers)]


class Patient:
    """An expert that waits, but where a test says otherwise."""

    def __init__(self, answers: dict[str, Callable[[], Any]]) -> None:
        self.answers = answers

    def begin(self, goal: str, observation: str) -> None:
        self.answers.get("begin", lambda: None)()

    def act(self, observation: str) -> Any:
        return self.answers.get("act", lambda: "wait")()

    def saw(self, observation: str, action: str) -> None:
        self.answers.get("saw", lambda: None)()

    def advise(self, observation: str) -> Any:
        return self.answers.get("advise", lambda: "wait")()
