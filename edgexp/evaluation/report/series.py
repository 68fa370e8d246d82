"""Which conditions make a curve: those that differ in one thing only. In how many trajectories they remember, in what the bank holds for a
task, or in how large the bank is.

Knows figures and setups. Does not draw, and does not count rows.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import msgspec

from edgexp.evaluation.report.figures import Column, Figures, Line, remembers
from edgexp.evaluation.report.wording import name_acting, name_bank, name_memory
from edgexp.evaluation.results import Header, Setup
from edgexp.evaluation.statistics import Share

NOTHING, OTHER, BASELINE = "none", "another bank", "baseline"
KINDS = ("matched", "all", "mismatched", "empty", NOTHING, OTHER, BASELINE)
"""Places of `curves_by_bank`: what a bank can hold for a task, from help to none; then the baseline, where that is another model."""
BAD = ("mismatched", "empty")
"""Banks that `curves_by_bank` is about; a curve by K of them says nothing more."""
X = TypeVar("X", int, str)


class Series(msgspec.Struct, frozen=True):
    """Points that belong together: `x` is a number or a name, in order."""

    label: str
    column: str
    """Title of the column they are of."""
    points: tuple[tuple[int | str, Share], ...]
    conditions: frozenset[str] = frozenset()
    """Whose success the points are."""


def curves_by_k(figures: Figures) -> list[Series]:
    """Success by the number of retrieved trajectories; the same model without memory, or with an empty bank, is the curve's beginning."""

    def family(setup: Setup) -> Hashable:
        return _player(setup), setup.memory, setup.every, setup.diversity, setup.bank

    def name(setup: Setup) -> str:
        bank = "" if setup.bank == "matched" else f", {name_bank(setup.bank)}"
        return f"{setup.model}, {name_memory(setup)}{name_acting(setup)}{bank}"

    def bare(setup: Setup) -> bool:
        return not remembers(setup) or setup.bank == "empty"  # the prompts are the same

    return _curves(figures, family, lambda setup: setup.k, name, 0, lambda setup: setup.bank not in BAD, bare)


def curves_by_bank(figures: Figures) -> list[Series]:
    """Success by what the bank holds for a task, beside the baseline's."""

    def family(setup: Setup) -> Hashable:
        return _player(setup), setup.memory, setup.every, setup.diversity, setup.k

    def kind(setup: Setup) -> str:
        return setup.bank if setup.bank in KINDS[:4] else OTHER

    def name(setup: Setup) -> str:
        return f"{setup.model}, K={setup.k} {name_memory(setup)}{name_acting(setup)}"

    curves = _curves(figures, family, kind, name, NOTHING)
    compared = [curve for curve in curves if len({x for x, _ in curve.points} - {NOTHING}) > 1]
    return [msgspec.structs.replace(curve, points=_ordered([*curve.points, *_baseline(figures, curve)])) for curve in compared]


def curves_by_size(all_figures: Sequence[tuple[Header, Figures]]) -> list[Series]:
    """Success by the number of expert episodes of each group in the suite's own bank, over several results folders."""
    found: dict[tuple[str, str, str], dict[int, Share]] = {}
    for header, figures in all_figures:
        sizes = _bank_sizes(header)
        for line in figures.lines:
            for column in figures.columns:
                setup = _setup(line, column)
                if setup and remembers(setup) and setup.bank != "empty" and column.environment in sizes and column.key in line.shares:
                    curve = found.setdefault((line.condition, setup.model_sha256, column.title), {})
                    curve[sizes[column.environment]] = line.shares[column.key]
    return [Series(name, title, tuple(sorted(points.items()))) for (name, _, title), points in found.items() if len(points) > 1]


def _bank_sizes(header: Header) -> dict[str, int]:
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
