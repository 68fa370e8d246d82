"""Shares and means with intervals, and paired comparisons. Knows numbers and rows, and not how they came about or who reads them."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from edgexp.evaluation.results import Row

LEVEL = 0.95
"""Of every interval here."""
ROUNDS = 10_000
"""Resamplings of a bootstrap."""


@dataclass(frozen=True)
class Share:
    """`won` of `count`, with Wilson's interval; shares between 0 and 1."""

    won: int
    count: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """0 where nothing was counted."""
        return self.won / self.count if self.count else 0.0


@dataclass(frozen=True)
class Mean:
    """A mean with its interval, and of how many."""

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Change:
    """The same tasks under a condition and under the baseline."""

    pairs: int
    gained: int
    """Tasks won here and not by the baseline."""
    lost: int
    """Tasks won by the baseline and not here."""
    difference: float
    """Of the shares won, between -1 and 1."""
    low: float
    high: float
    """Newcombe's interval."""
    p: float
    """McNemar's exact test, two-sided."""


def wilson(won: int, count: int, level: float = LEVEL) -> Share:
    """A share with Wilson's score interval (1927). Without anything counted the interval is all there is: 0 to 1."""
    if not 0 <= won <= count:
        raise ValueError(f"{won} of {count}")
    if not count:
        return Share(0, 0, 0.0, 1.0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, square = won / count, z * z / count
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    # The ends meet 0 and 1 exactly in theory, and not always in floating point.
    return Share(won, count, 0.0 if won == 0 else max(0.0, middle - half), 1.0 if won == count else min(1.0, middle + half))


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided exact p of McNemar's test (1947): how likely a split of the discordant pairs at least as uneven is by chance."""
    count, fewer = gained + lost, min(gained, lost)
    if not count:
        return 1.0
    tail = sum(math.comb(count, i) for i in range(fewer + 1))
    return float(min(1.0, 2 * tail / 2**count))


def paired_interval(both: int, gained: int, lost: int, pairs: int) -> tuple[float, float]:
    """The interval of the difference of two shares won on the same tasks: Newcombe's method 10 (1998).

    Unlike a bootstrap it does not shrink to nothing where few tasks were played and none, or all of them, changed.
    """
    ours, theirs = wilson(both + gained, pairs), wilson(both + lost, pairs)
    neither = pairs - both - gained - lost
    product = (both + gained) * (lost + neither) * (both + lost) * (gained + neither)
    cross = float(both * neither - gained * lost)
    cross = max(0.0, cross - pairs / 2) if cross > 0 else cross
    likeness = cross / math.sqrt(product) if product else 0.0

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a - 2 * likeness * a * b + b * b))

    difference = (gained - lost) / pairs
    low = difference - reach(ours.share - ours.low, theirs.high - theirs.share)
    high = difference + reach(ours.high - ours.share, theirs.share - theirs.low)
    return max(-1.0, low), min(1.0, high)


def bootstrap(values: Sequence[float], level: float = LEVEL, rounds: int = ROUNDS, seed: int = 0) -> Mean:
    """The mean of values with the percentile bootstrap's interval (Efron, 1979); the same values and seed give the same."""
    import numpy as np

    if not values:
        raise ValueError("the mean of nothing")
    data = np.asarray(values, np.float64)
    random = np.random.default_rng(seed)
    means = np.concatenate([data[random.integers(0, len(data), (part, len(data)))].mean(1) for part in _parts(rounds, len(data))])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Mean(float(data.mean()), float(low), float(high), len(data))


def compare_pairs(rows: Iterable[Row], baseline: Iterable[Row]) -> Change | None:
    """A condition against the baseline on the tasks that both have played; None where there is none."""
    return compare_outcomes({row.task_id: row.success for row in rows}, {row.task_id: row.success for row in baseline})


def compare_outcomes(ours: Mapping[str, bool], theirs: Mapping[str, bool]) -> Change | None:
    """Whether each task was won, here and by the baseline, compared on the tasks that both have; None where there is none."""
    pairs = [(success, theirs[task]) for task, success in sorted(ours.items()) if task in theirs]
    if not pairs:
        return None
    gained, lost = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    low, high = paired_interval(sum(a and b for a, b in pairs), gained, lost, len(pairs))
    return Change(len(pairs), gained, lost, (gained - lost) / len(pairs), low, high, mcnemar(gained, lost))


def share_won(rows: Iterable[Row]) -> Share:
    """How many of the rows were won."""
    outcomes = [row.success for row in rows]
    return wilson(sum(outcomes), len(outcomes))


COSTS: dict[str, Callable[[Row], float]] = {
    "score": lambda row: row.score,
    "steps": lambda row: row.steps,
    "prompt tokens": lambda row: row.tokens.prompt,
    "evaluated tokens": lambda row: row.tokens.evaluated,
    "seconds": lambda row: row.seconds.wall,
}
"""What an episode brings and costs, by name; scores are between 0 and 1."""
TO_SUCCESS = "steps to success"
"""Beside them: steps of the episodes that were won."""


def mean_costs(rows: Sequence[Row]) -> dict[str, Mean]:
    """The mean score and cost of an episode, by name, and the steps of those that were won; what there is no episode for is not in it."""
    means = {name: bootstrap([of(row) for row in rows]) for name, of in COSTS.items()} if rows else {}
    won = [row.steps for row in rows if row.success]
    return means | ({TO_SUCCESS: bootstrap(won)} if won else {})


def group_rows(rows: Iterable[Row], *fields: str) -> dict[tuple[str, ...], list[Row]]:
    """Rows by the values of some of their fields (`condition`, `split`, `group`, `task_type`, `environment`), sorted by those."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(getattr(row, field) for field in fields), []).append(row)
    return dict(sorted(found.items()))


def _parts(rounds: int, width: int) -> list[int]:
    """Rounds in pieces that need some megabytes each."""
    size = max(1, 1_000_000 // width)
    return [min(size, rounds - done) for done in range(0, rounds, size)]
