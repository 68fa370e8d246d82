"""Figures in words: numbers, conditions and banks as people read them, the same on the page, in Markdown and in a terminal.

The Markdown for a README is made here too: a table with intervals, the differences, and how to make it again. Knows figures. Does not
count, draw, or know any HTML.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from edgexp.evaluation.report.figures import Figures, Line, remembers
from edgexp.evaluation.results import Setup

if TYPE_CHECKING:
    from edgexp.evaluation.retrieval_quality import Quality  # measuring plays episodes; reporting does not

BANKS = {
    "matched": "own past",
    "mismatched": "memory from other tasks",
    "all": "memory from all tasks",
    "empty": "empty bank",
    "none": "no memory",
}
"""Words for what a memory holds, by the keys of suites and of training logs."""


class Interval(Protocol):
    """Whatever has two ends."""

    @property
    def low(self) -> float:
        """The lower end."""

    @property
    def high(self) -> float:
        """The upper end."""


def write_markdown(sections: Sequence[Figures], commands: str, retrieval: Sequence["Quality"] = ()) -> str:
    """One table a results folder, one a measured bank, and the `commands` that make them again."""
    parts = [_section(figures, len(sections) > 1) for figures in sections] + [_retrieval(quality) for quality in retrieval]
    return "\n".join([*parts, "```console", *(f"$ {line}" for line in commands.splitlines()), "```", ""])


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
    """A number with the digits that matter: `0.12`, `3.4`, `56.0`, `1,204`."""
    size = abs(number)
    return f"{number:,.0f}" if size >= 100 else f"{number:.1f}" if size >= 1 else f"{number:.2g}"


def counted(count: int, noun: str) -> str:
    """`1 task`, `1,204 tasks`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def name_bank(bank: str) -> str:
    """What a bank holds for a task: `own past`, `memory from other tasks`; a folder by its own name."""
    return BANKS.get(bank) or f"bank {bank}"


def name_acting(setup: Setup) -> str:
    """How a condition acts, where not in its own words: `, valid actions, no circles`."""
    own = {"free": "", "admissible": ", valid actions", "scored": ", valid actions scored", "weighed": ", valid actions scored"}
    chosen = own.get(setup.actions, f", {setup.actions} actions")
    return chosen + (", no circles" if setup.repeats else "")


def name_memory(setup: Setup) -> str:
    """When and how a condition remembers: `static`, `dynamic every 5`, `static, diversity 0.5`."""
    every = f" every {setup.every}" if setup.memory == "dynamic" else ""
    apart = ", apart" if setup.layout == "apart" else ""
    return f"{setup.memory}{every}" + ("" if setup.diversity is None else f", diversity {setup.diversity:g}") + apart


def describe(line: Line) -> str:
    """A condition in a few words: its model, and what it remembers."""
    setup = line.setups[0]
    if not remembers(setup):
        return f"{setup.model}, no memory{name_acting(setup)}"
    banks = dict.fromkeys(name_bank(setup.bank) for setup in line.setups)
    return f"{setup.model}, K={setup.k} {name_memory(setup)}, {' and '.join(banks)}{name_acting(setup)}"


def describe_endings(broken: int, full: int) -> list[str]:
    """What has to be known of episodes that were cut off; nothing where there are none."""
    ends = {"An error of the environment": broken, "A full context": full}
    return [f"{cause} ended {counted(count, 'episode')}; {'it counts' if count == 1 else 'they count'} as lost."
            for cause, count in ends.items() if count]  # fmt: skip


def _section(figures: Figures, named: bool) -> str:
    titles = [_safe(column.title) for column in figures.columns]
    lines = [f"**{_safe(figures.folder)}**\n"] if named else []
    lines += [_row(["condition", *titles]), _row(["---"] * (1 + len(titles)))]
    lines += [_row([f"**{_safe(line.condition)}**<br>{_safe(describe(line))}", *_cells(figures, line)]) for line in figures.lines]
    return "\n".join([*lines, "", _explain(figures), ""])


def _cells(figures: Figures, line: Line) -> list[str]:
    cells = []
    for column in figures.columns:
        share, change = line.shares.get(column.key), line.changes.get(column.key)
        text = f"{share.won}/{share.count} = {percent(share.share)} ({interval(share)})" if share else "not played"
        if change:
            text += f"<br>{points(change.difference)} ({points(change.low)} to {points(change.high)}), {p_value(change.p)}"
        cells.append(text)
    return cells


def _explain(figures: Figures) -> str:
    """What stands below a table."""
    said = [f"{counted(figures.episodes, 'episode')} of {counted(figures.tasks, 'task')}.",
            "A cell says how many episodes were won, of those played, with Wilson's interval."]  # fmt: skip
    if figures.baseline and len(figures.lines) > 1:
        said += [f"Its second line is the difference to *{_safe(figures.baseline)}* in percentage points, on the tasks that both played.",
                 "It has Newcombe's interval and p of McNemar's exact test.",
                 "Nothing is corrected for the number of comparisons."]  # fmt: skip
    said.append("Intervals are of 95 %.")
    if not figures.complete:
        said.append("Not every condition has played every task yet.")
    return " ".join([*said, *describe_endings(figures.broken, figures.full)])


def _retrieval(quality: "Quality") -> str:
    lines = [_row(["retrieval", *(f"same {_safe(aspect)}" for aspect in quality.aspects)]), _row(["---"] * (1 + len(quality.aspects)))]
    for way in quality.ways:
        means = (way.shares[aspect] for aspect in quality.aspects)
        lines.append(_row([way.name, *(f"{percent(mean.mean)} ({interval(mean)})" for mean in means)]))
    return "\n".join([*lines, "", _safe(quality.about), ""])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _safe(text: str) -> str:
    """Text that cannot end its cell or its line, or begin a tag."""
    text = " ".join(text.replace("\\", "\\\\").splitlines())
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*")
