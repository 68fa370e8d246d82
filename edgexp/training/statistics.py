"""Figures of a dataset, as data: what will be trained on, how long it is, and what stands in its memory."""

import msgspec

from edgexp.training.plan import padding, plan
from edgexp.training.prepared import Samples
from edgexp.training.recipe import Recipe

_AT_ONCE = 8192
"""Tokens that go through a GPU together where the recipe leaves it open."""


class Figures(msgspec.Struct, frozen=True):
    """Of one set. Lengths are in tokens."""

    samples: int
    actions: int
    tokens: int
    labels: int
    """Tokens that the model is to say."""
    shortest: int
    median: int
    ninety: int
    """Nine of ten samples are at most this long."""
    longest: int
    padding: float
    """Share of an epoch's tokens that is padding, where samples go through the model side by side."""


class Statistics(msgspec.Struct, frozen=True):
    """Of a whole dataset."""

    trajectories: int
    """Demonstrations to train on, before any is skipped."""
    sets: dict[str, Figures]
    kinds: dict[str, int]
    """Training samples by what their memory was to be …"""
    empty: int
    """… and those of them that found nothing, or nothing that fitted."""
    remembered: int
    """Trajectories in the memory of training samples."""
    alike: float
    """Share of matched memory that is of the sample's own task type (in worlds: of its own house)."""
    dropped: int
    """Trajectories found, but left out because they did not fit."""
    skipped: int
    """Trajectories too long even without memory."""
    kept_out: int
    """Trajectories neither trained on nor measured on, because they are kin of held-out ones."""


def summary(samples: Samples, recipe: Recipe) -> Figures:
    """The figures of one set."""
    lengths = sorted(samples.lengths) or [0]
    labels = sum(int((spans[:, 1] - spans[:, 0]).sum()) for spans in samples.spans)
    return Figures(
        samples=len(samples), actions=sum(map(len, samples.spans)), tokens=sum(lengths), labels=labels,
        shortest=lengths[0], median=lengths[len(lengths) // 2], ninety=lengths[int(0.9 * (len(lengths) - 1))], longest=lengths[-1],
        padding=round(_padding(samples.lengths, recipe), 4),
    )  # fmt: skip


def _padding(lengths: list[int], recipe: Recipe) -> float:
    if not lengths:
        return 0.0
    train = recipe.train
    epoch = plan(lengths, trajectories=train.trajectories, at_once=train.tokens_at_once or _AT_ONCE, epochs=1, steps=0, seed=recipe.seed)
    return padding(epoch.steps, lengths)
