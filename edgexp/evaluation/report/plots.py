"""The plots of a report. Each function draws one, or says what it would need; the figures behind them are `figures`' and `series`'."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgexp.evaluation.report.drawing import COLOURS, INK, MARKERS, MUTED, PANEL, Plot, draw, percent, plain, short
from edgexp.evaluation.report.figures import Figures
from edgexp.evaluation.report.series import BASELINE, KINDS, Series
from edgexp.evaluation.report.training import Curve
from edgexp.evaluation.statistics import Share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, NARROW = 11.8, 5.5
"""Inches; the page is as wide as one wide plot or two narrow ones."""
INTERVALS = "Lines are Wilson intervals of 95 %."


def success(figures: Figures, key: str) -> Plot:
    """Every condition's success in every column, with its interval."""
    lines, columns = figures.lines, figures.columns

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
        for axes, column in zip(panels, columns, strict=True):
            axes.set_title(column.title)
            for place, line in enumerate(lines):
                if column.key in line.shares:
                    _interval(axes, line.shares[column.key], place, place, upright=False)
            axes.set_yticks(range(len(lines)), [short(line.condition) for line in lines], color=INK)
            axes.set_ylim(len(lines) - 0.4, -0.6)
            percent(axes, "x")
            plain(axes, "x")

    return draw(f"{key}-success", "Success by condition", INTERVALS, (WIDE, 0.75 + 0.3 * len(lines)), paint, wide=True)


def by_k(curves: Sequence[Series], key: str) -> Plot:
    """Success against the number of retrieved trajectories."""
    title = "Success by K, the number of retrieved trajectories"
    if not curves:
        return Plot(f"{key}-k", title, "Left out: it needs two conditions that differ in K only (one of them may be without memory).")
    return _curves(f"{key}-k", title, f"{INTERVALS} K=0 is no memory, or an empty bank.", curves, "K")


def by_size(curves: Sequence[Series], key: str) -> Plot:
    """Success against the size of the bank."""
    title = "Success by the size of the bank"
    if not curves:
        return Plot(f"{key}-size", title, "Left out: it needs results of one condition with banks of two sizes "
                    "(tasks.experience.number) in two folders.")
    return _curves(f"{key}-size", title, INTERVALS, curves, "expert episodes of each group in the bank")


def by_bank(curves: Sequence[Series], key: str, baseline: str = "") -> Plot:
    """Success with matched, mismatched and empty banks; `baseline` is what the suite compares with."""
    title = "Bad memory: success by what the bank holds"
    if not curves:
        return Plot(f"{key}-bank", title, "Left out: it needs conditions that differ only in their bank (matched, mismatched, empty).")
    names = [kind for kind in (*KINDS, "another bank") if any(kind == x for curve in curves for x, _ in curve.points)]
    text = f"{INTERVALS} The baseline is {baseline}." if BASELINE in names else INTERVALS
    return _curves(f"{key}-bank", title, text, curves, "", names)


def times(figures: Figures, key: str) -> Plot:
    """Where the time of a step goes."""
    title = "Where the time of a step goes"
    lines = [line for line in figures.lines if line.times]
    if not lines:
        return Plot(f"{key}-time", title, "Left out: every episode was played beside others (--parallel), so no step's time is its own.")
    parts = [("deciding", COLOURS[0]), ("retrieval", COLOURS[1]), ("environment", COLOURS[2])]

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        left = [0.0] * len(lines)
        for name, colour in parts:
            spent = [1000 * (getattr(line.times, name)) for line in lines]
            axes.barh(range(len(lines)), spent, 0.6, left, color=colour, label=name, edgecolor=PANEL, linewidth=0.8)
            left = [before + own for before, own in zip(left, spent, strict=True)]
        axes.set_yticks(range(len(lines)), [short(line.condition) for line in lines], color=INK)
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.set_xlabel("milliseconds a step")
        plain(axes, "x")
        figure.legend(loc="outside upper left", ncols=3)

    text = "Mean over the episodes that were played one at a time; retrieval is spread over the steps of its episode."
    return draw(f"{key}-time", title, text, (NARROW, 1.0 + 0.3 * len(lines)), paint)


def training(curve: Curve, key: str) -> Plot:
    """Loss, actions predicted and episodes won over a training."""
    from matplotlib.ticker import NullLocator

    held_out = bool(curve.held_out)
    panels = ["loss"] + ["actions"] * bool(curve.actions) + ["won"] * bool(curve.won)

    def paint(figure: "Figure") -> None:
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            if panel == "loss":
                axes.set_title("loss, nats a label token")
                axes.plot(*zip(*curve.loss, strict=True), color=MUTED, linewidth=0.9, label="training")
                _lines(axes, curve.held_out)
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter("{x:g}")
                axes.yaxis.set_minor_locator(NullLocator())
            elif panel == "actions":
                axes.set_title("expert actions predicted whole")
                _lines(axes, curve.actions)
                percent(axes, "y")
            else:
                axes.set_title("dev episodes won")
                _lines(axes, {"won": curve.won})
                percent(axes, "y")
            if curve.chosen is not None:
                axes.axvline(curve.chosen, color=INK, linewidth=0.8, linestyle=":")
            axes.set_xlabel("step")
            plain(axes)
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=4)

    text = "Held-out trajectories with matched, mismatched or no memory in the prompt." if held_out else "Nothing was held out."
    text += " The dotted line is the checkpoint that was kept." if curve.chosen is not None else " No checkpoint has been chosen yet."
    return draw(key, f"Training: {curve.name}", text, (WIDE if len(panels) > 1 else NARROW, 2.9), paint, wide=len(panels) > 1)


def _lines(axes: "Axes", curves: Mapping[str, Iterable[tuple[int, float]]]) -> None:
    for place, (name, points) in enumerate(curves.items()):
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, ys, color=COLOURS[place % 8], marker=MARKERS[place % 8], markersize=4, linewidth=1.4, label=name)


def _curves(key: str, title: str, text: str, curves: Sequence[Series], axis: str, names: Sequence[str] = ()) -> Plot:
    """A panel a column, a curve a series; `names` are the places on the x axis where they are not numbers."""
    columns = list(dict.fromkeys(curve.column for curve in curves))
    labels = list(dict.fromkeys(curve.label for curve in curves))
    ticks: list[str | int] = [*names] or sorted({x for curve in curves for x, _ in curve.points})

    def paint(figure: "Figure") -> None:
        for axes, column in zip(figure.subplots(1, len(columns), sharey=True, squeeze=False)[0], columns, strict=True):
            axes.set_title(column)
            for curve in curves:
                if curve.column == column:
                    _curve(axes, curve, labels.index(curve.label), len(labels), names)
            axes.set_xticks(range(len(names)) if names else ticks, [str(tick).replace(" ", "\n") for tick in ticks])
            axes.set_xlabel(axis)
            axes.margins(x=0.12)
            percent(axes, "y")
            plain(axes)
        handles = {name: handle for axes in figure.axes for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=2)

    size = (WIDE if len(columns) > 1 else NARROW, 2.7 + 0.2 * ((len(labels) + 1) // 2))
    return draw(key, title, text, size, paint, wide=len(columns) > 1)


def _curve(axes: "Axes", curve: Series, place: int, of: int, names: Sequence[str]) -> None:
    """A series; several are set apart a little, so that their intervals do not hide one another."""
    xs = [names.index(str(x)) if names else float(x) for x, _ in curve.points]
    reach = (max(xs) - min(xs)) or 1
    shifted = [x + (place - (of - 1) / 2) * 0.025 * reach for x in xs]
    style: dict[str, Any] = {"color": COLOURS[place % 8], "linewidth": 1.2, "linestyle": "none" if names else "-"}
    ys = [share.share for _, share in curve.points]
    axes.plot(shifted, ys, label=short(curve.label, 60), marker=MARKERS[place % 8], markersize=5, **style)
    for x, (_, share) in zip(shifted, curve.points, strict=True):
        _interval(axes, share, x, place, upright=True)


def _interval(axes: "Axes", share: Share, at: float, place: int, *, upright: bool) -> None:
    """A point with its interval, in the colour and shape of a place."""
    colour = COLOURS[place % 8]
    ends, twice, middle = (share.low, share.high), (at, at), ([at], [share.share])
    axes.plot(*((twice, ends) if upright else (ends, twice)), color=colour, linewidth=2, alpha=0.55, solid_capstyle="round")
    axes.plot(*(middle if upright else middle[::-1]), color=colour, marker=MARKERS[place % 8], markersize=5.5, linestyle="none")
