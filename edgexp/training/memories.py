"""What a training sample finds in its memory: what retrieval would show it, or by a stated share something worse.

At run time a bank can be empty, foreign or full of half episodes. A model that met such memory in training does not fall over it.
"""

import random
from collections.abc import Sequence

import msgspec

from edgexp.bank import Bank, Entry, Filters
from edgexp.prompt import Renderer
from edgexp.retrieval import Memory, Recalled, Retriever, fit
from edgexp.training.recipe import Mix, Recipe
from edgexp.trajectory import Trajectory

CONDITIONS = ("matched", "mismatched", "shortened", "absent")


class Memories:
    """Finds memory for the samples of one environment in one bank. Nothing finds itself, and nothing finds a task of `kept_out`."""

    def __init__(self, recipe: Recipe, bank: Bank, environment: str, renderer: Renderer, kept_out: tuple[str, ...] = ()):
        self._recipe, self._bank, self._renderer = recipe, bank, renderer
        self._filters = Filters(environment=environment, exclude_task_ids=kept_out)
        memory = recipe.memory
        self._retriever = Retriever(bank, k=memory.k, filters=self._filters, diversity=memory.diversity) if memory.k else None
        self._entries: list[Entry] | None = None

    def draw(self, mix: Mix, trajectory: Trajectory, variant: int) -> str:
        """What the memory of a training sample is to be. Depends on seed and sample only, so that other samples change nothing."""
        if self._retriever is None:
            return "absent"
        shares = [mix.matched, mix.mismatched, mix.shortened, mix.absent]
        return self._chance("condition", trajectory, variant).choices(CONDITIONS, shares)[0]

    def recall(self, trajectory: Trajectory, condition: str, variant: int = 0) -> Memory | None:
        """Memory of that condition, without what does not fit; None where the sample is too long without any."""
        room = self._recipe.train.sequence - len(self._renderer.trajectory(trajectory).ids)
        if room < 0:
            return None
        room = max(0, room - self._renderer.headers_cost)
        found = self._find(trajectory, condition, self._chance(condition, trajectory, variant))
        return fit(found, self._renderer.cost, min(room, self._recipe.memory.budget or room))

    def _find(self, trajectory: Trajectory, condition: str, chance: random.Random) -> Memory:
        t = trajectory
        if self._retriever is None or condition == "absent":
            return Memory()
        if condition == "mismatched":
            return Memory(recalled=tuple(Recalled(stranger, 0.0) for stranger in self._strangers(t, chance)))
        found = self._retriever.recall(t.task, t.goal, t.observation)
        if condition == "shortened":
            cut = (msgspec.structs.replace(r, trajectory=shorten(r.trajectory, chance)) for r in found.recalled)
            return msgspec.structs.replace(found, recalled=tuple(cut))
        return found

    def _strangers(self, trajectory: Trajectory, chance: random.Random) -> Sequence[Trajectory]:
        """Trajectories of other task types."""
        if self._entries is None:
            self._entries = sorted(self._bank.entries(self._filters, "accepted"), key=lambda entry: entry.id)
        others = [entry.id for entry in self._entries if entry.task_type != trajectory.task.type]
        return self._bank.read(chance.sample(others, min(self._recipe.memory.k, len(others))))

    def _chance(self, purpose: str, trajectory: Trajectory, variant: int) -> random.Random:
        return random.Random(f"{self._recipe.seed}/{trajectory.id}/{variant}/{purpose}")


def shorten(trajectory: Trajectory, chance: random.Random) -> Trajectory:
    """The trajectory without a random number of its last steps; of two or more, at least one is missing and one is left."""
    return msgspec.structs.replace(trajectory, steps=trajectory.steps[: chance.randint(1, max(1, len(trajectory.steps) - 1))])
