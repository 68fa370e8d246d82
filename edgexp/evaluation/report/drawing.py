"""How plots look: Matplotlib figures as SVG that takes its colours and its font from the page around it, so that light and dark need one
drawing only. Knows nothing of what is drawn.

Every colour given to Matplotlib is a stand-in that no drawing would use; in the SVG each becomes a CSS variable.
"""

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from edgexp.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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


class Plot(msgspec.Struct, frozen=True):
    """A drawing for the page, or the reason why there is none."""

    key: str
    title: str
    text: str
    """What it shows and how to read it; or, without a drawing, what it would need."""
    svg: str = ""
    wide: bool = False


def draw(key: str, title: str, text: str, size: tuple[float, float], paint: Callable[["Figure"], None], *, wide: bool = False) -> Plot:
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


def short(name: str, longest: int = 34) -> str:
    """A name as it fits beside a plot."""
    return name if len(name) <= longest else name[: longest - 1] + "…"


def plain(axes: "Axes", along: Literal["x", "y"] = "y") -> None:
    """Nothing but faint lines across `along`."""
    axes.grid(axis=along)
    axes.spines[:].set_visible(False)


def percent(axes: "Axes", along: Literal["x", "y"]) -> None:
    """An axis from 0 to 100 %."""
    from matplotlib.ticker import PercentFormatter

    axis = axes.xaxis if along == "x" else axes.yaxis
    (axes.set_xlim if along == "x" else axes.set_ylim)(-0.03, 1.03)
    axis.set_ticks([0, 0.25, 0.5, 0.75, 1])
    axis.set_major_formatter(PercentFormatter(1, decimals=0))


def _themed(svg: str, key: str, title: str) -> str:
    """Only the element itself, with ids of its own, the page's colours and font, and a name for screen readers."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{key}-\1"', body)
    body = re.sub(r'(href="#|url\(#)([^")]+)', rf"\1{key}-\2", body)
    body = re.sub(r"#fe[01][0-9a-f]01", lambda found: _VARIABLES.get(found[0], found[0]), body)
    body = body.replace("'DejaVu Sans'", "inherit").replace("DejaVu Sans", "inherit")
    head = body[: body.index(">")]
    width, height = (re.search(rf'{side}="([\d.]+)pt"', head) for side in ("width", "height"))
    box = re.search(r'viewBox="[^"]+"', head)
    assert width and height and box
    name = title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    opened = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {box[0]} role="img" aria-label="{name}"'
    return f'{opened} style="max-width:{float(width[1]) * 4 / 3:.0f}px"{body[body.index(">") :]}'
