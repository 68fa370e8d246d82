"""What came of the rounds so far, as one file: the models, which of them is the best, and where the round under way stands.

The file is replaced whole, so whoever is killed at any moment finds the state before a step or after it. Knows nothing of how a model is
made or measured.
"""

from pathlib import Path
from typing import Literal

import msgspec

from edgexp.errors import EdgexpError, UsageError
from edgexp.files import write_atomic

FILE = "state.json"

Stage = Literal["play", "learn", "check"]


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model against the best before it, on the same tasks; shares between -1 and 1."""

    tasks: int
    won: int
    won_before: int
    """By the best before it, with the same memory."""
    difference: float
    low: float
    high: float
    """The interval of the difference, of 95 %."""
    p: float

    @property
    def better(self) -> bool:
        """Whether the model is better as far as the tasks can tell: the whole interval lies above zero."""
        return self.low > 0


class Generation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a round made."""

    number: int
    """That of the round; 0 is the model that it all began with."""
    model: str
    """A name for `run --model`; empty where there was nothing to learn from."""
    parent: int
    """The generation that played for it."""
    kept: int = 0
    """Episodes that teach, which the round added to the bank."""
    check: Check | None = None
    promoted: bool = False


class State(msgspec.Struct, forbid_unknown_fields=True):
    """Where the rounds of a folder stand."""

    recipe: str
    asked: str
    """All settings that decide what comes of the rounds, as text. Others in the same folder would be others' rounds."""
    generations: list[Generation]
    best: int = 0
    """The number of the generation that plays."""
    stage: Stage = "play"
    kept: int = 0
    """Of the round under way, once it has played."""
    candidate: str = ""
    """Its model, once it has learned."""
    format: int = 1

    @property
    def round(self) -> int:
        """The number of the round under way."""
        return len(self.generations)

    def generation(self, number: int) -> Generation:
        """One by its number. Raises UsageError where there is none, or it has no model."""
        if not 0 <= number < len(self.generations) or not self.generations[number].model:
            known = ", ".join(str(g.number) for g in self.generations if g.model)
            raise UsageError(f"there is no model of generation {number}; there are: {known}")
        return self.generations[number]


def read(folder: Path) -> State | None:
    """The state of a folder; None where nothing has begun. Raises EdgexpError for a file that is not one of ours."""
    file = folder / FILE
    try:
        return msgspec.json.decode(file.read_bytes(), type=State)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise EdgexpError(f"{file} cannot be read: {error}; name another folder with --out") from error


def write(folder: Path, state: State) -> None:
    """Replace the state of a folder."""
    write_atomic(folder / FILE, msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")


def roll_back(folder: Path, number: int) -> State:
    """Let that generation play from now on. A round that has begun to learn goes back to playing: it belonged to another."""
    state = read(folder)
    if state is None:
        raise UsageError(f"{folder} holds no rounds")
    state.generation(number)
    if number != state.best and state.stage != "play":
        state.generations.append(Generation(state.round, "", state.best, state.kept))
        state.stage, state.candidate, state.kept = "play", "", 0
    state.best = number
    write(folder, state)
    return state
