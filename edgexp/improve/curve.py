"""The rounds as a page: the share of dev tasks that each generation won, the best before it beside it, and a table.

One HTML file that asks for nothing. It is written anew after every stage, and an open one reads itself again while rounds go on. Knows
nothing of how models are made or measured.
"""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from edgexp.evaluation.statistics import wilson
from edgexp.files import write_atomic
from edgexp.improve.generations import Generation, State

PAGE = "index.html"

_WIDTH, _HEIGHT, _LEFT, _TOP, _STEP = 640, 260, 44, 16, 90
_SECONDS = 30
"""Between two looks of an open page while rounds go on."""


def write_page(folder: Path, state: State, going: bool) -> Path:
    """Write the page into the rounds' folder. `going`: rounds are under way."""
    file = folder / PAGE
    write_atomic(file, build_page(folder.name, state, going).encode())
    return file


def build_page(name: str, state: State, going: bool) -> str:
    """The page's text."""
    css = files("edgexp.evaluation.report").joinpath("page.css").read_text("utf-8")
    again = f'<meta http-equiv="refresh" content="{_SECONDS}">' if going else ""
    best = state.generations[state.best]
    now = f"Round {state.round}: {_DOING[state.stage]}. " if going else ""
    lead = f"{now}The best so far is generation {best.number}, {escape(best.model)}."
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">{again}
<title>{escape(name)}: rounds of edgexp improve</title><style>{css}{_STYLE}</style></head>
<body><main><h1>{escape(name)}</h1><p class="lead">{lead}</p>
{_chart(state)}
<p class="note">Each new model and the best before it play the same dev tasks. A bar is the 95 % interval of what the new one won. A filled
point became the best.</p>
{_table(state)}
</main></body></html>
"""


_DOING = {"play": "playing training tasks", "learn": "training", "check": "playing dev tasks with the new model and the best"}
_STYLE = """
svg { max-width: 100%; height: auto; display: block; margin: 1rem 0; font: 12px var(--sans); fill: var(--ink); }
.grid { stroke: var(--line); } .axis { fill: var(--muted); }
.own, .path, .before { stroke: var(--c0); stroke-width: 2; fill: none; }
.own { fill: var(--panel); } .own.best { fill: var(--c0); } .before { stroke: var(--c1); stroke-dasharray: 4 4; }
"""


def _chart(state: State) -> str:
    checked = [g for g in state.generations if g.check is not None]
    if not checked:
        return "<p>No model has been checked yet.</p>"
    right = max(_WIDTH, _LEFT + _STEP * (state.generations[-1].number + 1))
    lines = [_line(share, right) for share in (0, 0.25, 0.5, 0.75, 1)]
    marks = [f'<text class="axis" x="{_x(g.number)}" y="{_HEIGHT + 34}" text-anchor="middle">{g.number}</text>' for g in state.generations]
    first = checked[0]
    start = f'<circle class="own best" cx="{_x(0)}" cy="{_y(_shares(first)[1])}" r="5"><title>generation 0</title></circle>'
    best = [(0, _shares(first)[1])] + [(g.number, _shares(g)[0]) for g in checked if g.promoted]
    drawn = [_path("path", best), _path("before", [(g.number, _shares(g)[1]) for g in checked]), start, *map(_point, checked)]
    words = "; ".join(f"generation {g.number} won {_shares(g)[0]:.0%}, the best before it {_shares(g)[1]:.0%}" for g in checked)
    legend = f'<text class="axis" x="{_LEFT}" y="{_HEIGHT + 54}">generation; dashed: the best before it, on the same tasks</text>'
    size = f"0 0 {right + 10} {_HEIGHT + 60}"
    return f'<svg viewBox="{size}" role="img" aria-label="{words}">{"".join(lines + marks + drawn)}{legend}</svg>'


def _line(share: float, right: float) -> str:
    return (f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{_y(share)}" y2="{_y(share)}"/>'
            f'<text class="axis" x="{_LEFT - 6}" y="{_y(share) + 4}" text-anchor="end">{share:.0%}</text>')  # fmt: skip


def _point(generation: Generation) -> str:
    check, x = generation.check, _x(generation.number)
    assert check is not None
    share = wilson(check.won, check.tasks)
    kind, told = ("own best" if generation.promoted else "own"), f"{generation.model}: {check.won} of {check.tasks}"
    return (f'<line class="own" x1="{x}" x2="{x}" y1="{_y(share.low)}" y2="{_y(share.high)}"/>'
            f'<circle class="{kind}" cx="{x}" cy="{_y(check.won / check.tasks)}" r="5"><title>{escape(told)}</title></circle>')  # fmt: skip


def _shares(generation: Generation) -> tuple[float, float]:
    """Of the dev tasks: what it won, and what the best before it did."""
    check = generation.check
    assert check is not None
    return check.won / check.tasks, check.won_before / check.tasks


def _path(kind: str, points: Sequence[tuple[int, float]]) -> str:
    return f'<polyline class="{kind}" points="{" ".join(f"{_x(number)},{_y(share)}" for number, share in points)}"/>'


def _x(number: int) -> float:
    return _LEFT + _STEP * (number + 0.5)


def _y(share: float) -> float:
    return round(_TOP + _HEIGHT * (1 - share), 1)


def _table(state: State) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("generation", "model", "played by", "episodes kept", "dev tasks won", "difference", ""))
    rows = "".join(_row(state, generation) for generation in state.generations)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _row(state: State, g: Generation) -> str:
    check = g.check
    won, change = ("", "") if check is None else (
        f"{check.won} of {check.tasks}, {check.won_before} by the best before",
        f"{100 * check.difference:+.0f} points ({100 * check.low:+.0f} to {100 * check.high:+.0f})",
    )  # fmt: skip
    note = "the best now" if g.number == state.best else "became the best" if g.promoted else ""
    cells = (str(g.number), g.model or "nothing to learn from", str(g.parent) if g.number else "", str(g.kept), won, change, note)
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
