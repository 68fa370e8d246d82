"""From rows to figures: what every condition won where, against the baseline, and what it cost.

Knows rows and statistics. Does not know how a figure is worded or drawn, nor which conditions make a curve (`series`).
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from edgexp.evaluation import statistics
from edgexp.evaluation.results import Results, Row, Setup
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

    @property
    def task_types(self) -> list[str]:
        """The keys of all task types that were met."""
        return sorted({key for line in self.lines for key in line.types})


def remembers(setup: Setup) -> bool:
    """Whether episodes of a setup may retrieve at all."""
    return setup.k > 0 and setup.memory != "off"


def count_figures(results: Results) -> Figures:
    """The figures of a results folder. It holds at least one row, as `results.read` makes sure."""
    rows, header = results.rows, results.header
    by_condition = {name: rows for (name,), rows in statistics.group_rows(rows, "condition").items()}
    names = [name for name in header.conditions if name in by_condition]
    names += [name for name in by_condition if name not in names]
    baseline = header.baseline if header.baseline in by_condition else ""
    columns = list_columns(rows)
    return Figures(
        suite=header.suite,
        folder=name_folder(results.folder),
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


def name_folder(folder: Path) -> str:
    """A folder's own name, also where it was given as `.`; bytes that are not UTF-8 become question marks."""
    return folder.absolute().name.encode("utf-8", "replace").decode()


def list_columns(rows: Iterable[Row]) -> tuple[Column, ...]:
    """Every split: its groups, and all of them together where there are several or none."""
    columns: list[Column] = []
    places = statistics.group_rows(rows, "environment", "split")
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
            shares[column.key] = statistics.share_won(here)
        if change := statistics.compare_pairs(here, [row for row in against if column.holds(row)]):
            changes[column.key] = change
    by_type = statistics.group_rows(rows, "environment", "split", "task_type")
    return Line(
        condition=name,
        setups=tuple(setups[key] for key in dict.fromkeys(row.setup for row in rows)),
        shares=shares,
        changes=changes,
        types={"/".join(key): statistics.share_won(found) for key, found in by_type.items()},
        costs=statistics.mean_costs(rows),
        times=_times([row for row in rows if row.parallel == 1 and row.steps]),
    )


def _times(rows: Sequence[Row]) -> Times | None:
    steps = sum(row.steps for row in rows)
    if not steps:
        return None
    spent = (sum(getattr(row.seconds, part) for row in rows) / steps for part in ("deciding", "retrieval", "environment"))
    return Times(len(rows), *spent)
