"""Figures as people read them, the same on the page and in Markdown."""

from typing import Protocol

from edgexp.evaluation.report.figures import Figures, Line
from edgexp.evaluation.results import Setup


class Interval(Protocol):
    """Whatever has two ends."""

    @property
    def low(self) -> float:
        """The lower end."""

    @property
    def high(self) -> float:
        """The upper end."""


def percent(share: float) -> str:
    """`42 %`."""
    return f"{100 * share:.0f} %"


def interval(of: Interval) -> str:
    """`27–58 %`."""
    return f"{100 * of.low:.0f}–{100 * of.high:.0f} %"


def points(difference: float) -> str:
    """Percentage points with their sign: `+31`, `−4`, `0`."""
    rounded = round(100 * difference)
    return f"{rounded:+d}".replace("-", "−") if rounded else "0"


def p_value(p: float) -> str:
    """`p = 0.03`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2f}" if p >= 0.1 else f"p = {p:.3f}".rstrip("0")


def figure(number: float) -> str:
    """A number with three digits that matter: `0.12`, `3.4`, `56.0`, `1,204`."""
    size = abs(number)
    return f"{number:,.0f}" if size >= 100 else f"{number:.1f}" if size >= 1 else f"{number:.2g}"


def about(line: Line) -> str:
    """A condition in a few words: its model, and what it remembers."""
    setup = line.setups[0]
    banks = list(dict.fromkeys(setup.bank for setup in line.setups))
    if setup.k == 0 or setup.memory == "off":
        return f"{setup.model}, no memory{acting(setup)}"
    every = f" every {setup.every}" if setup.memory == "dynamic" else ""
    return f"{setup.model}, K={setup.k} {setup.memory}{every}, bank {' and '.join(banks)}{acting(setup)}"


def acting(setup: Setup) -> str:
    """How a condition acts, where not in its own words: `, valid actions, no circles`."""
    chosen = {"free": "", "admissible": ", valid actions", "weighed": ", valid actions weighed"}[setup.actions]
    return chosen + (", no circles" if chosen and setup.repeats else "")


def types(figures: Figures) -> list[str]:
    """The keys of all task types that were met."""
    return sorted({key for line in figures.lines for key in line.types})


def endings(broken: int, full: int) -> list[str]:
    """What has to be known of episodes that nobody finished; nothing where there are none."""
    by = {"an error of the environment": broken, "a full context": full}
    return [f"Ended by {cause} and counted as lost: {counted(count, 'episode')}." for cause, count in by.items() if count]


def counted(count: int, noun: str) -> str:
    """`1 task`, `1,204 tasks`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
