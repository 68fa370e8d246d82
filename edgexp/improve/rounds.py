"""The rounds: play, learn, check, and again, from wherever an earlier call stopped. Knows no models; what stages do is asked of `Work`."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgexp.errors import EdgexpError
from edgexp.files import hold_folder
from edgexp.improve import generations
from edgexp.improve.generations import Check, Generation, State


class Work(Protocol):
    """What a round consists of. Each stage can be interrupted anywhere; called again with the same arguments, it comes to the same."""

    def play(self, folder: Path, number: int, model: str) -> int:
        """Play training tasks with a model and keep what teaches; how many episodes that are."""

    def learn(self, folder: Path, number: int, parent: int) -> str:
        """Train on all that was kept; the name of the new model. `parent` is the best generation so far."""

    def check(self, folder: Path, number: int, candidate: str, best: str) -> Check:
        """The new model against the best, on tasks that nobody trains on."""


@dataclass(frozen=True)
class Budget:
    """When to stop. A stage that has begun is finished."""

    rounds: int
    """The number of the last one, counted from the first of the folder."""
    hours: float | None = None
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class Rounds:
    """A folder with rounds of one recipe."""

    folder: Path
    recipe: str
    asked: str
    first: str
    """The model that plays in the first round."""

    def improve(self, work: Work, budget: Budget, tell: Callable[[State], None] = lambda _: None) -> State:
        """Go on until the budget is used up; the state then. `tell` hears of it after every stage.

        Raises EdgexpError where the folder holds rounds with other settings, another process is at work there, or a stage fails: the
        same call then goes on with that stage.
        """
        taken = f"{self.folder}: another process is at work there; wait for it, or name another folder with --out"
        with hold_folder(self.folder, taken):
            state, until = self._begin(), None if budget.hours is None else budget.clock() + budget.hours * 3600
            tell(state)
            while state.round <= budget.rounds and (until is None or budget.clock() < until):
                self._step(work, state)
                generations.write(self.folder, state)
                tell(state)
        return state

    def _begin(self) -> State:
        state = generations.read(self.folder)
        if state is None:
            state = State(self.recipe, self.asked, [Generation(0, self.first, 0, promoted=True)])
            generations.write(self.folder, state)
        if state.asked != self.asked:
            raise EdgexpError(f"{self.folder} holds rounds with other settings; go on with those, or name another folder with --out")
        return state

    def _step(self, work: Work, state: State) -> None:
        """One stage."""
        number, best = state.round, state.generations[state.best].model
        place = self.folder / "generations" / f"{number:03d}"
        if state.stage == "play":
            state.kept = work.play(place, number, best)
            if state.kept:
                state.stage = "learn"
            else:
                _end(state, Generation(number, "", state.best))
        elif state.stage == "learn":
            state.candidate, state.stage = work.learn(place, number, state.best), "check"
        else:
            check = work.check(place, number, state.candidate, best)
            _end(state, Generation(number, state.candidate, state.best, state.kept, check, check.better))


def _end(state: State, generation: Generation) -> None:
    state.generations.append(generation)
    if generation.promoted:
        state.best = generation.number
    state.stage, state.candidate, state.kept = "play", "", 0
