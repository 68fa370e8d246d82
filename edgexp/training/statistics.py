"""Figures of a dataset, as data: what will be trained on, how long it is, and what stands in its memory."""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import TYPE_CHECKING

import msgspec

from edgexp.training.plan import padding, plan
from edgexp.training.prepared import Samples
from edgexp.training.recipe import Train

if TYPE_CHECKING:
    from rich.console import Group

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


class Statistics(msgspec.Struct, frozen=True):
    """Of a whole dataset. Rich prints it as tables."""

    trajectories: int = 0
    """Demonstrations to train on, before any is skipped."""
    sets: dict[str, Figures] = {}
    conditions: dict[str, int] = {}
    """Training samples by what their memory was to be …"""
    empty: int = 0
    """… and those of them that found nothing, or nothing that fitted."""
    remembered: int = 0
    """Trajectories in the memory of training samples."""
    alike: float = 0.0
    """Share of matched memory that is of the sample's own task type (in worlds: of its own house)."""
    dropped: int = 0
    """Trajectories found, but left out because they did not fit."""
    skipped: int = 0
    """Trajectories too long even without memory."""
    kept_out: int = 0
    """Trajectories neither trained on nor measured on, because they are kin of held-out ones."""
    padding: float = 0.0
    """Share of an epoch's tokens that is padding, where training samples go through the model side by side."""

    def __rich__(self) -> "Group":
        """Two tables: the sets, and the memory of the training samples."""
        from rich.console import Group
        from rich.table import Table

        sets = Table("set", box=None)
        columns = ("samples", "actions", "tokens", "labels", "median", "ninety", "longest")
        for column in columns:
            sets.add_column({"ninety": "90 %"}.get(column, column), justify="right", no_wrap=True)
        for name, row in self.sets.items():
            sets.add_row(name, *(f"{getattr(row, column):,}" for column in columns))
        rest = Table.grid(padding=(0, 2))
        for label, value in self._lines():
            rest.add_row(label, value)
        return Group(sets, "", rest)

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield "demonstrations", f"{self.trajectories:,}" + (f", {self.skipped:,} of them too long" if self.skipped else "")
        if self.kept_out:
            yield "neither trained on nor held out", f"{self.kept_out:,}, kin of held-out ones"
        yield "memory of training samples", ", ".join(f"{count:,} {kind}" for kind, count in self.conditions.items() if count)
        if self.empty:
            yield "found nothing that fits", f"{self.empty:,}"
        if self.remembered:
            left_out = f", {self.dropped:,} left out for want of room" if self.dropped else ""
            yield "trajectories remembered", f"{self.remembered:,}{left_out}"
            yield "matched memory of the same task type", f"{self.alike:.0%}"
        yield "padding on a GPU", f"{self.padding:.1%}"


def figures(samples: Samples) -> Figures:
    """The figures of one set."""
    lengths = sorted(samples.lengths) or [0]
    labels = sum(int((spans[:, 1] - spans[:, 0]).sum()) for spans in samples.spans)
    return Figures(
        samples=len(samples), actions=sum(map(len, samples.spans)), tokens=sum(lengths), labels=labels,
        shortest=lengths[0], median=lengths[len(lengths) // 2], ninety=lengths[ceil(0.9 * len(lengths)) - 1], longest=lengths[-1],
    )  # fmt: skip


def padding_of(lengths: Sequence[int], train: Train, seed: int) -> float:
    """The share of padding in the first epoch."""
    if not lengths:
        return 0.0
    epoch = plan(lengths, trajectories=train.trajectories, at_once=train.tokens_at_once or _AT_ONCE, epochs=1, steps=0, seed=seed)
    return padding(epoch.steps, lengths)
