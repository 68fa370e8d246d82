"""Which memory a training sample gets: what retrieval finds, that of other tasks, a shortened one, or none. Knows no tokens and no banks.

Everything here is a pure function of the recipe's seed and of what it is about, so that the same recipe and bank give the same samples.
"""

import random
from bisect import bisect_right
from typing import Literal, get_args

import msgspec

from edgexp.training.recipe import Mix
from edgexp.trajectory import Trajectory

Kind = Literal["matched", "mismatched", "shortened", "absent"]
"""What is in the memory of a sample; the fields of `Mix`."""
KINDS: tuple[Kind, ...] = get_args(Kind)

_WAYS_OF_THEIR_OWN = frozenset({"worlds", "treatments"})
"""Environments in which the house tells what works and the task type does not."""

_GOLDEN = 0.6180339887498949
"""Steps of this size fill the ring evenly, however many there are."""


def draw(seed: int, *what: object) -> random.Random:
    """A source of chance of its own for everything that has a name."""
    return random.Random("/".join(map(str, (seed, *what))))


def kin(task_id: str) -> str:
    """What must not stand on both sides of held out and trained on: the task, or where ids have a fourth part, all that share the rest
    (`worlds/train/17/3` is scene 3 of house 17, `alfworld/train/<room and goal>/<trial>` one of some drawn for a room and a goal).
    Split `dev-bank` holds other scenes of the houses of `dev`.
    """
    environment, _, rest = task_id.partition("/")
    split, _, rest = rest.partition("/")
    return "/".join([environment, split.removesuffix("-bank"), rest.partition("/")[0]])


def likeness(environment: str, task_id: str, task_type: str) -> str:
    """What a task has in common with those whose trajectories show how it is done: its type, or the house it is in."""
    return kin(task_id) if environment in _WAYS_OF_THEIR_OWN else task_type


def kinds(mix: Mix, count: int, seed: int, variant: int) -> list[Kind]:
    """The kinds of memory of `count` samples, in shares as exact as whole numbers allow.

    The samples stand in a drawn order on a ring that the kinds divide by their shares; each variant turns the ring by the golden ratio.
    So every variant has the shares, and so has every sample over its variants.
    """
    places = list(range(count))
    draw(seed, "kinds").shuffle(places)
    turn = variant * _GOLDEN
    ends = [mix.matched, mix.matched + mix.mismatched, mix.matched + mix.mismatched + mix.shortened]
    # A share of 0 has no stretch of the ring: bisect_right passes over it. The last kind takes rounding only when its share is above 0.
    last = max(number for number, kind in enumerate(KINDS) if getattr(mix, kind) > 0)
    return [KINDS[min(bisect_right(ends, ((place + 0.5) / count + turn) % 1), last)] for place in places]


def shorten(trajectory: Trajectory, chance: random.Random) -> Trajectory:
    """The trajectory without a random number of its last steps: of two or more, at least one is gone and at least one is left."""
    return msgspec.structs.replace(trajectory, steps=trajectory.steps[: chance.randint(1, max(1, len(trajectory.steps) - 1))])
