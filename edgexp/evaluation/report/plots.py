"""The plots of a report, as SVG. Each `draw_…` function draws one, or says what it would need.

The SVG takes its colours and its font from the page around it, so that one drawing serves light and dark: every colour given to Matplotlib
is a stand-in that no drawing would use, and becomes a CSS variable. Does not count (`figures`) or decide what makes a curve (`series`).
"""

import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from edgexp.errors import UsageError
from edgexp.evaluation.report.figures import Figures
from edgexp.evaluation.report.series import BASELINE, KINDS, Series
from edgexp.evaluation.report.training_curves import Curve
from edgexp.evaluation.report.wording import BANKS
from edgexp.evaluation.statistics import Share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

WIDE, NARROW = 11.8, 5.5
"""Inches; the page is as wide as one wide plot or two narrow ones."""
INTERVALS = "Lines are Wilson intervals of 95 %."
COLOURS = tuple(f"#fe{i:02x}01" for i in range(8))
"""Stand-ins of the page's colours `--c0` to `--c7`, which people who do not see all colours can tell apart."""
INK, MUTED, GRID, PANEL = "#fe1101", "#fe1201", "#fe1301", "#fe1401"
MARKERS = "osD^vPX*"
"""So that colour is never the only difference."""
_VARIABLES = {colour: f"var(--c{i})" for i, colour in enumerate(COLOURS)} | {
    INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)", PANEL: "var(--panel)",
}  # fmt: skip
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.family": "DejaVu Sans",  # measured with this one, which Matplotlib brings; shown in the page's
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.labelcolor": INK,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}


_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML may hold; a terminal's colours in a name, say."""


class Plot(msgspec.Struct, frozen=True):
    """A drawing for the page, or the reason why there is none."""

    key: str
    title: str
    text: str
    """What it shows and how to read it; or, without a drawing, what it would need."""
    svg: str = ""
    wide: bool = False


def draw_success(figures: Figures, key: str) -> Plot:
    """Every condition's success in every column, with its interval."""
    lines, columns = figures.lines, figures.columns

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
        for axes, column in zip(panels, columns, strict=True):
            axes.set_title(column.title)
            for place, line in enumerate(lines):
                if column.key in line.shares:
                    _interval(axes, line.shares[column.key], place, place, upright=False)
            axes.set_yticks(range(len(lines)), [_short(line.condition) for line in lines], color=INK)
            axes.set_ylim(len(lines) - 0.4, -0.6)
            _percent(axes, "x")
            _plain(axes, "x")

    return _draw(f"{key}-success", "Success by condition", INTERVALS, (WIDE, 0.75 + 0.3 * len(lines)), paint, wide=True)


def draw_by_k(curves: Sequence[Series], key: str) -> Plot:
    """Success against the number of retrieved trajectories."""
    title = "Success by K, the number of retrieved trajectories"
    if not curves:
        return Plot(f"{key}-k", title, "Left out: it needs two conditions that differ in K only. One of them may have no memory.")
    return _curves(f"{key}-k", title, f"{INTERVALS} K=0 is no memory, or an empty bank.", curves, "K")


def draw_by_size(curves: Sequence[Series], key: str) -> Plot:
    """Success against the size of the bank."""
    title = "Success by the size of the bank"
    if not curves:
        return Plot(f"{key}-size", title, "Left out: it needs results of one condition with banks of two sizes "
                    "(tasks.experience.number) in two folders.")
    return _curves(f"{key}-size", title, INTERVALS, curves, "expert episodes of each group in the bank")


def draw_by_bank(curves: Sequence[Series], key: str, baseline: str = "") -> Plot:
    """Success by what the bank holds for a task; `baseline` is what the suite compares with."""
    title = "Success by what the memory holds"
    if not curves:
        return Plot(f"{key}-bank", title, "Left out: it needs conditions that differ only in their bank (matched, mismatched, empty).")
    names = [kind for kind in KINDS if any(kind == x for curve in curves for x, _ in curve.points)]
    text = f"{INTERVALS} The baseline is {baseline}." if BASELINE in names else INTERVALS
    return _curves(f"{key}-bank", title, text, curves, "", names)


def draw_times(figures: Figures, key: str) -> Plot:
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
        axes.set_yticks(range(len(lines)), [_short(line.condition) for line in lines], color=INK)
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.set_xlabel("milliseconds a step")
        _plain(axes, "x")
        figure.legend(loc="outside upper left", ncols=3)

    text = "Mean over the episodes that were played one at a time; retrieval is spread over the steps of its episode."
    return _draw(f"{key}-time", title, text, (NARROW, 1.0 + 0.3 * len(lines)), paint)


def draw_training(curve: Curve, key: str) -> Plot:
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
                _percent(axes, "y")
            else:
                axes.set_title("dev episodes won")
                _lines(axes, {"won": curve.won})
                _percent(axes, "y")
            if curve.chosen is not None:
                axes.axvline(curve.chosen, color=INK, linewidth=0.8, linestyle=":")
            axes.set_xlabel("step")
            _plain(axes)
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=4)

    text = "Held-out trajectories, by the memory in the prompt." if held_out else "Nothing was held out."
    text += " The dotted line is the checkpoint that was kept." if curve.chosen is not None else " No checkpoint has been chosen yet."
    return _draw(key, f"Training: {curve.name}", text, (WIDE if len(panels) > 1 else NARROW, 2.9), paint, wide=len(panels) > 1)


def draw_picture(figures: Figures) -> str:
    """Success by condition as a file of its own, for a README, with the page's colours, light and dark.

    Raises UsageError where Matplotlib is not installed.
    """
    svg = draw_success(figures, "success").svg
    sheet = (files(__package__ or "edgexp.evaluation.report") / "page.css").read_text(encoding="utf-8")
    colours = sheet[: sheet.index("}") + 1]
    style = f"<style>{colours}\nsvg {{ font-family: var(--sans); background: var(--panel); }}</style>"
    head, _, body = svg.partition(">")
    return f"{head}>{style}{body}\n"


def _lines(axes: "Axes", curves: Mapping[str, Iterable[tuple[int, float]]]) -> None:
    for place, (name, points) in enumerate(curves.items()):
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, ys, color=COLOURS[place % 8], marker=MARKERS[place % 8], markersize=4, linewidth=1.4, label=BANKS.get(name, name))


def _curves(key: str, title: str, text: str, curves: Sequence[Series], axis: str, names: Sequence[str] = ()) -> Plot:
    """A panel a column, a curve a series; `names` are the keys of places on the x axis where they are not numbers."""
    columns = list(dict.fromkeys(curve.column for curve in curves))
    labels = list(dict.fromkeys(curve.label for curve in curves))
    ticks: list[str | int] = [*names] or sorted({x for curve in curves for x, _ in curve.points})

    def paint(figure: "Figure") -> None:
        handles = {}
        for axes, column in zip(figure.subplots(1, len(columns), sharey=True, squeeze=False)[0], columns, strict=True):
            axes.set_title(column)
            for curve in curves:
                if curve.column == column:
                    handles[curve.label] = _curve(axes, curve, labels.index(curve.label), len(labels), names)
            words = [textwrap.fill(BANKS.get(str(tick), str(tick)), 7, break_long_words=False) for tick in ticks]
            axes.set_xticks(range(len(names)) if names else ticks, words, fontsize=8 if names else 9)
            axes.set_xlabel(axis)
            axes.margins(x=0.12)
            _percent(axes, "y")
            _plain(axes)
        figure.legend(handles.values(), [_short(label, 60) for label in handles], loc="outside upper left", ncols=2)

    size = (WIDE if len(columns) > 1 else NARROW, (3.0 if names else 2.7) + 0.2 * ((len(labels) + 1) // 2))
    return _draw(key, title, text, size, paint, wide=len(columns) > 1)


def _curve(axes: "Axes", curve: Series, place: int, of: int, names: Sequence[str]) -> "Line2D":
    """Draw a series; several are set apart a little, so that their intervals do not hide one another. Returns what a legend shows of it."""
    xs = [names.index(str(x)) if names else float(x) for x, _ in curve.points]
    reach = (max(xs) - min(xs)) or 1
    shifted = [x + (place - (of - 1) / 2) * 0.025 * reach for x in xs]
    style: dict[str, Any] = {"color": COLOURS[place % 8], "linewidth": 1.2, "linestyle": "none" if names else "-"}
    ys = [share.share for _, share in curve.points]
    (drawn,) = axes.plot(shifted, ys, marker=MARKERS[place % 8], markersize=5, **style)
    for x, (_, share) in zip(shifted, curve.points, strict=True):
        _interval(axes, share, x, place, upright=True)
    return drawn


def _interval(axes: "Axes", share: Share, at: float, place: int, *, upright: bool) -> None:
    """A point with its interval, in the colour and shape of a place."""
    colour = COLOURS[place % 8]
    ends, twice, middle = (share.low, share.high), (at, at), ([at], [share.share])
    axes.plot(*((twice, ends) if upright else (ends, twice)), color=colour, linewidth=2, alpha=0.55, solid_capstyle="round")
    axes.plot(*(middle if upright else middle[::-1]), color=colour, marker=MARKERS[place % 8], markersize=5.5, linestyle="none")


def _draw(key: str, title: str, text: str, size: tuple[float, float], paint: Callable[["Figure"], None], *, wide: bool = False) -> Plot:
    """A plot of `size` in inches, painted by a function. Raises UsageError where Matplotlib is not installed."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("the plots need Matplotlib: pip install 'edgexp[report]'; or leave them out with: --no-plots") from error
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": key}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the page's fonts show the text, not the one it is measured with
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Plot(key, title, text, _themed(file.getvalue(), key, title), wide)


def _themed(svg: str, key: str, title: str) -> str:
    """Only the element itself, with ids of its own, the page's colours and font, and a name for screen readers."""
    body = re.sub(r"<metadata>.*?</metadata>", "", _NO_XML.sub("\ufffd", svg[svg.index("<svg") :]), flags=re.DOTALL)
    body = re.sub(r"<[^>]*>", lambda tag: _theme_tag(tag[0], key), body)  # names between tags stay what they are
    head = body[: body.index(">")]
    width, height = (re.search(rf'{side}="([\d.]+)pt"', head) for side in ("width", "height"))
    box = re.search(r'viewBox="[^"]+"', head)
    assert width and height and box
    name = _NO_XML.sub("\ufffd", title).replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    opened = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {box[0]} role="img" aria-label="{name}"'
    return f'{opened} style="max-width:{float(width[1]) * 4 / 3:.0f}px"{body[body.index(">") :]}'


def _theme_tag(tag: str, key: str) -> str:
    tag = re.sub(r'\bid="([^"]+)"', rf'id="{key}-\1"', tag)
    tag = re.sub(r'(href="#|url\(#)([^")]+)', rf"\1{key}-\2", tag)
    tag = re.sub(r"#fe[01][0-9a-f]01", lambda found: _VARIABLES.get(found[0], found[0]), tag)
    return tag.replace("'DejaVu Sans'", "inherit").replace("DejaVu Sans", "inherit")


def _short(name: str, longest: int = 34) -> str:
    """A name as it fits beside a plot. Matplotlib leaves names out of a legend that begin with `_`: these get a space of no width."""
    name = f"\u200b{name}" if name.startswith("_") else name
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _plain(axes: "Axes", along: Literal["x", "y"] = "y") -> None:
    """Nothing but faint lines across `along`."""
    axes.grid(axis=along)
    axes.spines[:].set_visible(False)


def _percent(axes: "Axes", along: Literal["x", "y"]) -> None:
    """An axis from 0 to 100 %."""
    from matplotlib.ticker import PercentFormatter

    axis = axes.xaxis if along == "x" else axes.yaxis
    (axes.set_xlim if along == "x" else axes.set_ylim)(-0.03, 1.03)
    axis.set_ticks([0, 0.25, 0.5, 0.75, 1])
    axis.set_major_formatter(PercentFormatter(1, decimals=0))
