"""Which samples make up which optimiser step: decided before the first one, from lengths and a seed alone, so that a resumed run is the
same run. Samples that go through a model together are of nearly the same length, so that little of it is padding. Knows no torch.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

Batch = tuple[int, ...]
"""Samples that go through the model together, padded to the longest."""
Step = tuple[Batch, ...]

_WINDOW = 32
"""Steps among whose samples neighbours in length are looked for: more pads less and shuffles less."""


@dataclass(frozen=True)
class Plan:
    """The steps of a whole training, and where each epoch begins."""

    steps: tuple[Step, ...]
    per_epoch: tuple[int, ...]
    """Steps of each epoch that was planned in full."""

    def epoch(self, step: int) -> float:
        """How many times the data have been seen before `step`."""
        seen = 0.0
        for count in self.per_epoch:
            if step < count:
                return seen + step / count
            seen, step = seen + 1, step - count
        return seen


def plan(lengths: Sequence[int], *, trajectories: int, at_once: int, epochs: float, steps: int, seed: int) -> Plan:
    """Steps of about `trajectories` samples in batches of at most `at_once` tokens, padding included (a longer sample goes alone).

    `steps` above 0 decides how many there are; otherwise `epochs` does, and every sample is seen once in each.
    """
    made: list[Step] = []
    per_epoch: list[int] = []
    while not done(len(made), len(per_epoch), epochs, steps):
        epoch = _epoch(lengths, trajectories, at_once, random.Random(f"{seed}/{len(per_epoch)}"))
        per_epoch.append(len(epoch))
        made += epoch
    if steps:
        wanted = steps
    else:
        whole = int(epochs)
        wanted = sum(per_epoch[:whole]) + round((epochs - whole) * per_epoch[-1])
    return Plan(tuple(made[: max(1, wanted)]), tuple(per_epoch))


def done(steps: int, epochs_made: int, epochs: float, wanted: int) -> bool:
    """Whether enough epochs are planned."""
    return steps >= wanted if wanted else epochs_made >= epochs


def padding(chosen: Sequence[Step], lengths: Sequence[int]) -> float:
    """The share of tokens in the batches of these steps that is padding."""
    real = sum(lengths[i] for step in chosen for batch in step for i in batch)
    padded = sum(max(lengths[i] for i in batch) * len(batch) for step in chosen for batch in step)
    return 1 - real / padded


def _epoch(lengths: Sequence[int], trajectories: int, at_once: int, chance: random.Random) -> list[Step]:
    """Every sample once. Within a window of samples, neighbours in length form batches; batches in random order form steps."""
    order = list(range(len(lengths)))
    chance.shuffle(order)
    size = trajectories * _WINDOW
    steps: list[Step] = []
    for start in range(0, len(order), size):
        batches = _batches(sorted(order[start : start + size], key=lambda i: (lengths[i], i)), lengths, trajectories, at_once)
        chance.shuffle(batches)
        steps += _steps(batches, trajectories)
    return steps


def _batches(ordered: Sequence[int], lengths: Sequence[int], trajectories: int, at_once: int) -> list[Batch]:
    """Runs of samples in ascending length, none larger than a step or `at_once` tokens."""
    out: list[list[int]] = []
    for index in ordered:
        if out and len(out[-1]) < trajectories and (len(out[-1]) + 1) * lengths[index] <= at_once:
            out[-1].append(index)
        else:
            out.append([index])
    return [tuple(batch) for batch in out]


def _steps(batches: Sequence[Batch], trajectories: int) -> list[Step]:
    """Batches in their order until a step has its samples. What is left over at the end is a smaller step."""
    out: list[list[Batch]] = [[]]
    held = 0
    for batch in batches:
        if held and held + len(batch) > trajectories:
            out.append([])
            held = 0
        out[-1].append(batch)
        held += len(batch)
    return [tuple(step) for step in out if step]
