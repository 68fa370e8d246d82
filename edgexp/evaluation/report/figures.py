"""From rows to figures: what every condition won where, against the baseline, and what it cost. Nothing here is formatted or drawn.

Which conditions differ in one thing only, so that they make a curve: in how many trajectories they remember, in what the bank holds,
or in how much. Draws nothing.

The figures of the paper that edgexp rebuilds, to stand beside one's own. They are the authors', for other models, and never ours.

"Retrieval-Augmented LLM Agents: Learning to Learn from Experience", arXiv 2603.18272. ALFWorld, valid_unseen: 73 games of easy task
types, 61 of hard ones; free actions, greedy, one seed, no intervals given; collected from the abstract and from notes on the paper.

Figures as people read them, the same on the page and in Markdown.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from edgexp.evaluation import statistics
from edgexp.evaluation.results import Header, Results, Row, Setup
from edgexp.evaluation.statistics import Change, Mean, Share


class Column(msgspec.Struct, frozen=True):
    """Where tasks come from: an environment's split, and one group of it or all (`group` empty)."""

    environment: str
    split: str
    group: str = ""

    @property
    def title(self) -> str:
        """For people: `household dev, hard`."""
        return f"{self.environment} {self.split}, {self.group or 'all'}"

    @property
    def key(self) -> str:
        """Environment, split and group between slashes."""
        return "/".join(filter(None, (self.environment, self.split, self.group)))

    def holds(self, row: Row) -> bool:
        """Whether a row's task is one of these."""
        return (row.environment, row.split) == (self.environment, self.split) and self.group in ("", row.group)


class Times(msgspec.Struct, frozen=True):
    """Seconds a step, where episodes were played one at a time."""

    episodes: int
    deciding: float
    retrieval: float
    environment: float


class Line(msgspec.Struct, frozen=True):
    """One condition."""

    condition: str
    setups: tuple[Setup, ...]
    """As many as environments, and as banks where the group decides which bank is asked."""
    shares: dict[str, Share]
    """By the key of a column; columns without an episode are not in it."""
    changes: dict[str, Change]
    """Against the baseline, on the tasks that both played."""
    types: dict[str, Share]
    """By `environment/split/task type`."""
    costs: dict[str, Mean]
    times: Times | None


class Figures(msgspec.Struct, frozen=True):
    """All figures of one results folder."""

    suite: str
    folder: str
    baseline: str
    """Empty where the baseline has no episode yet."""
    episodes: int
    tasks: int
    complete: bool
    """Whether every condition has played every task."""
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    broken: int
    """Episodes that an error of their environment ended; they count as lost, like those in `full`."""
    full: int
    """Episodes that a full context ended."""
    finished: str
    """When the last episode was; UTC."""


def count(results: Results) -> Figures:
    """The figures of a results folder."""
    rows, header = results.rows, results.header
    by_condition = {name: rows for (name,), rows in statistics.by(rows, "condition").items()}
    names = [name for name in header.conditions if name in by_condition]
    names += [name for name in by_condition if name not in names]
    baseline = header.baseline if header.baseline in by_condition else ""
    columns = columns_of(rows)
    return Figures(
        suite=header.suite,
        folder=results.folder.name,
        baseline=baseline,
        episodes=len(rows),
        tasks=len({row.task_id for row in rows}),
        complete=len(rows) == len(names) * len({row.task_id for row in rows}),
        columns=columns,
        lines=tuple(
            _line(name, by_condition[name], by_condition[baseline] if baseline not in ("", name) else [], header.setups, columns)
            for name in names
        ),
        broken=sum(row.end.startswith("error") for row in rows),
        full=sum(row.end == "context_full" for row in rows),
        finished=max(row.finished for row in rows),
    )


def columns_of(rows: Iterable[Row]) -> tuple[Column, ...]:
    """Every split: its groups, and all of them together where there are several or none."""
    columns: list[Column] = []
    places = statistics.by(rows, "environment", "split")
    for (environment, split), here in places.items():
        groups = sorted({row.group for row in here})
        columns += [Column(environment, split, group) for group in groups if group]
        if len(groups) != 1 or not groups[0]:
            columns.append(Column(environment, split))
    return tuple(columns)


def _line(name: str, rows: list[Row], against: list[Row], setups: dict[str, Setup], columns: Sequence[Column]) -> Line:
    shares: dict[str, Share] = {}
    changes: dict[str, Change] = {}
    for column in columns:
        here = [row for row in rows if column.holds(row)]
        if here:
            shares[column.key] = statistics.success(here)
        if change := statistics.compare(here, [row for row in against if column.holds(row)]):
            changes[column.key] = change
    return Line(
        condition=name,
        setups=tuple(setups[key] for key in dict.fromkeys(row.setup for row in rows)),
        shares=shares,
        changes=changes,
        types={"/".join(key): statistics.success(found) for key, found in statistics.by(rows, "environment", "split", "task_type").items()},
        costs=statistics.costs(rows),
        times=_times([row for row in rows if row.parallel == 1 and row.steps]),
    )


def _times(rows: Sequence[Row]) -> Times | None:
    steps = sum(row.steps for row in rows)
    if not steps:
        return None
    spent = (sum(getattr(row.seconds, part) for row in rows) / steps for part in ("deciding", "retrieval", "environment"))
    return Times(len(rows), *spent)


BASELINE = "baseline"
KINDS = ("matched", "all", "mismatched", "empty", "no memory", BASELINE)
"""What a bank can hold for a task, from help to none; and what the suite compares with, where that is another model."""
BAD = ("mismatched", "empty")
"""Banks that `by_bank` is about; a curve by K of them says nothing more."""
X = TypeVar("X", int, str)


class Series(msgspec.Struct, frozen=True):
    """Points that belong together: `x` is a number or a name, in order."""

    label: str
    column: str
    """Title of the column they are of."""
    points: tuple[tuple[int | str, Share], ...]
    conditions: frozenset[str] = frozenset()
    """Whose success the points are."""


def remembers(setup: Setup) -> bool:
    """Whether episodes of a setup may retrieve at all."""
    return setup.k > 0 and setup.memory != "off"


def by_k(figures: Figures) -> list[Series]:
    """Success by the number of retrieved trajectories; the same model without memory, or with an empty bank, is the curve's beginning."""

    def family(setup: Setup) -> Hashable:
        return _player(setup), setup.memory, setup.every, setup.diversity, setup.bank

    def name(setup: Setup) -> str:
        return f"{setup.model}, {setup.memory}{acting(setup)}" + ("" if setup.bank == "matched" else f", bank {setup.bank}")

    def bare(setup: Setup) -> bool:
        return not remembers(setup) or setup.bank == "empty"  # the prompts are the same

    return _curves(figures, family, lambda setup: setup.k, name, 0, lambda setup: setup.bank not in BAD, bare)


def by_bank(figures: Figures) -> list[Series]:
    """Success by what the bank holds for a task, beside the baseline's."""

    def family(setup: Setup) -> Hashable:
        return _player(setup), setup.memory, setup.every, setup.diversity, setup.k

    def kind(setup: Setup) -> str:
        return setup.bank if setup.bank in KINDS else "another bank"

    def name(setup: Setup) -> str:
        return f"{setup.model}, K={setup.k} {setup.memory}{acting(setup)}"

    curves = _curves(figures, family, kind, name, "no memory")
    compared = [curve for curve in curves if len({x for x, _ in curve.points} - {"no memory"}) > 1]
    return [msgspec.structs.replace(curve, points=_ordered([*curve.points, *_baseline(figures, curve)])) for curve in compared]


def by_size(all_figures: Sequence[tuple[Header, Figures]]) -> list[Series]:
    """Success by the number of expert episodes of each group in the suite's own bank, over several results folders."""
    found: dict[tuple[str, str, str], dict[int, Share]] = {}
    for header, figures in all_figures:
        sizes = bank_sizes(header)
        for line in figures.lines:
            for column in figures.columns:
                setup = _setup(line, column)
                if setup and remembers(setup) and setup.bank != "empty" and column.environment in sizes and column.key in line.shares:
                    curve = found.setdefault((line.condition, setup.model_sha256, column.title), {})
                    curve[sizes[column.environment]] = line.shares[column.key]
    return [Series(name, title, tuple(sorted(points.items()))) for (name, _, title), points in found.items() if len(points) > 1]


def bank_sizes(header: Header) -> dict[str, int]:
    """Environment → expert episodes of each group in the suite's own bank; environments with another bank are not in it."""
    tasks: Sequence[dict[str, Any]] = header.resolved.get("tasks", ())
    experiences = [(entry.get("environment", ""), entry.get("experience", {})) for entry in tasks]
    return {name: own["number"] for name, own in experiences if not own.get("bank") and own.get("number")}


def _curves(
    figures: Figures, family: Callable[[Setup], Hashable], x: Callable[[Setup], X], name: Callable[[Setup], str], without: X,
    keep: Callable[[Setup], bool] = lambda _: True, bare: Callable[[Setup], bool] = lambda setup: not remembers(setup),
) -> list[Series]:
    """A curve for every column and every family with two points or more; it begins, at `without`, with who is `bare`."""
    curves = []
    for column in figures.columns:
        met = [(setup, line) for line in figures.lines if column.key in line.shares and (setup := _setup(line, column))]
        plain = {_player(setup): line for setup, line in sorted(met, key=lambda one: not remembers(one[0])) if bare(setup)}
        families: dict[Hashable, tuple[Setup, dict[X, Line]]] = {}
        for setup, line in met:
            if remembers(setup) and keep(setup):
                start = {without: plain[_player(setup)]} if _player(setup) in plain else {}
                families.setdefault(family(setup), (setup, start))[1][x(setup)] = line
        for setup, found in families.values():
            if len(found) > 1:
                points = tuple(sorted((at, line.shares[column.key]) for at, line in found.items()))
                curves.append(Series(name(setup), column.title, points, frozenset(line.condition for line in found.values())))
    return curves


def _player(setup: Setup) -> Hashable:
    return setup.model, setup.model_sha256, setup.actions, setup.repeats


def _baseline(figures: Figures, curve: Series) -> list[tuple[str, Share]]:
    """The baseline's success in a curve's column; nothing where the baseline is on the curve."""
    shares = [line.shares for line in figures.lines if line.condition == figures.baseline and line.condition not in curve.conditions]
    keys = [column.key for column in figures.columns if column.title == curve.column]
    return [(BASELINE, own[key]) for own in shares for key in keys if key in own]


def _setup(line: Line, column: Column) -> Setup | None:
    """The setup a line has in a column; None where there are several that differ in more than which bank they ask."""
    here = [setup for setup in line.setups if setup.environment == column.environment]
    return here[0] if here and len({(_player(s), s.k, s.memory, s.bank) for s in here}) == 1 else None


def _ordered(points: Sequence[tuple[int | str, Share]]) -> tuple[tuple[int | str, Share], ...]:
    order = {name: place for place, name in enumerate(KINDS)}
    return tuple(sorted(points, key=lambda point: order.get(str(point[0]), len(order))))


SOURCE = "arXiv 2603.18272"
MODELS = ("Ministral-3-8B", "Gemma-3-4B", "Qwen2.5-7B", "Qwen2.5-7B-1M")


class Reported(msgspec.Struct, frozen=True):
    """A line of the paper: success in per cent, easy and hard, by model; None where no figure is known."""

    condition: str
    easy: tuple[float | None, ...]
    hard: tuple[float | None, ...]


ALFWORLD = (
    Reported("frozen, with retrieved experience (ExpRAG)", (54.8, 20.6, 82, 67.1), (47.5, 4.9, 82, 54.1)),
    Reported("fine-tuned (LoRA)", (98.6, 61.6, 86.3, 98.6), (34.4, 1.6, 21.3, 23.0)),
    Reported("fine-tuned, experience only at test", (97.3, 57.5, 89.0, 82.2), (67.2, 3.3, 70.5, 68.9)),
    Reported("fine-tuned with experience (ExpRAG-LoRA)", (97.3, 86.3, 84.9, 97.3), (88.5, 73.8, 90.2, 91.8)),
)
"""Success on ALFWorld. The frozen models without memory: only Ministral-3-8B over both groups is known, about 4.5."""

FROZEN_BY_K = ((0, 4.5), (1, 40.0), (2, 51.0), (4, 64.0))
"""Frozen Ministral-3-8B, ALFWorld, both groups: success in per cent by the number of retrieved trajectories."""

BAD_MEMORY = (
    ("Ministral-3-8B", {"matched": 88.5, "mismatched": 39.3, "empty": 29.5, "LoRA without memory": 34.4}),
    ("Qwen2.5-7B-1M", {"matched": 91.8, "mismatched": 60.7, "empty": 36.1, "LoRA without memory": 23.0}),
)
"""ExpRAG-LoRA on hard ALFWorld tasks, by what the bank holds."""


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
    chosen = {"free": "", "admissible": ", valid actions"}.get(setup.actions, ", valid actions scored")
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
