"""Environments that speak as Gymnasium's, old gym's, TextWorld's and others do, without any of their packages."""

import enum
from typing import Any, ClassVar

import numpy as np


class Discrete:
    """Numbers from `start` on."""

    def __init__(self, n: Any, start: Any = 0) -> None:
        self.n, self.start = n, start


class Text:
    """Any text."""


class Box:
    """Arrays."""


class Line:
    """Gymnasium's way: five values, numbers as actions and observations, won at the right end, lost at the left one. Draws itself."""

    metadata: ClassVar = {"render_modes": ["ansi"]}
    render_mode = None

    def __init__(self) -> None:
        self.action_space, self.observation_space, self.place, self.closed = Discrete(np.int64(2)), Discrete(5), 0, False

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        self.place = 1 + (seed or 0) % 3
        return np.int64(self.place), {"prob": 1.0}

    def step(self, action: int) -> tuple:
        assert action in (0, 1) and isinstance(action, int)
        self.place += 1 if action else -1
        return np.int64(self.place), np.float32(self.place == 4), np.bool_(self.place in (0, 4)), False, {}

    def render(self) -> str:
        return "  (Right)\n" + "".join(f"\x1b[41m{c}\x1b[0m" if n == self.place else c for n, c in enumerate("HFFFG")) + "\n"

    def close(self) -> None:
        self.closed = True


class Drawn(Line):
    """With names, drawn."""

    render_mode = "ansi"
    action_names = ("go left", "go right")
    max_steps = 7
    goal = "reach the G."
    instructions = "Walk."


class Moves(enum.IntEnum):
    """As MiniGrid names them."""

    turn_left = 0
    forward = 1


class Grid(Line):
    """MiniGrid's way: a picture and a mission; the information has a mask."""

    actions = Moves

    def reset(self, **given: Any) -> tuple:
        super().reset(seed=given["seed"])
        return self.seen(np.int64(1)), {"action_mask": np.array([0, 1], np.int8)}

    def step(self, action: int) -> tuple:
        _, reward, end, late, _ = super().step(action)
        return self.seen(2), reward, end, late, {"action_mask": np.array([1, 1])}

    def seen(self, direction: int) -> dict:
        return {"image": np.zeros((7, 7, 3)), "direction": direction, "mission": "go to the red ball"}


class Adventure:
    """TextWorld's way: four values, a score that grows, no seed in `reset`."""

    def __init__(self, plan: bool = False) -> None:
        self.plan, self.seeded, self.moves = plan, 0, 0

    def seed(self, seed: int) -> None:
        self.seeded = seed

    def info(self) -> dict:
        found: dict = {"admissible_commands": ["look", "open box", "take key"], "won": self.moves >= 2,
                       "lost": False, "max_score": 2, "score": self.moves,
                       "objective": f"Take the key of box {self.seeded % 7}.", "extra.walkthrough": ["open box", "take key"]}
        if self.plan:
            found["policy_commands"] = ["open box", "take key"][self.moves:]
        return found

    def reset(self) -> tuple:
        self.moves = 0
        return "A box.", self.info()

    def step(self, command: str) -> tuple:
        self.moves += command == ("open box", "take key")[min(self.moves, 1)]
        return f"Score {self.moves}.", self.moves, self.moves >= 2, self.info()


class Old:
    """Old gym's way: four values with a reward for each step, the observation alone at the reset, no seed at all."""

    action_space = Text()

    def reset(self) -> str:
        self.said = 0
        return "Say it."

    def step(self, action: str) -> tuple:
        self.said += 1
        return f"{action}?", 0.5, self.said == 2, {"TimeLimit.truncated": False}


class Late(Line):
    """Truncates with a reward, and says nothing of success."""

    def step(self, action: int) -> tuple:
        return 1, 1.0, False, True, {}


class Says(Line):
    """Says itself whether it was a success."""

    def step(self, action: int) -> tuple:
        return 1, -1.0 if action else 1.0, True, False, {"is_success": np.bool_(action)}


class Pictures(Line):
    """Nothing to be read."""

    def reset(self, *, seed: int = 0) -> tuple:
        return np.zeros((210, 160, 3)), {}


class Muscles(Line):
    """Actions that are no single numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = Box()


class Strange(Line):
    """Answers what a test tells it to."""

    at_reset: Any = None
    at_step: Any = None
    made = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).made += 1

    def reset(self, *, seed: int = 0) -> Any:
        found = super().reset(seed=seed)
        return type(self).at_reset() if type(self).at_reset else found

    def step(self, action: int) -> Any:
        return type(self).at_step() if type(self).at_step else super().step(action)


def nothing() -> None:
    """Makes nothing."""


def raising() -> None:
    """Cannot be made."""
    raise RuntimeError("no\ndisplay")
