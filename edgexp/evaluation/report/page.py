"""The page: one HTML file with everything in it, which opens from disk and asks for nothing. Counts and draws nothing itself.

Its policy (`Content-Security-Policy`) forbids every request, and every script but the one whose hash it names, so that text out of an
episode could not run or call home even if it got out of its place.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import edgexp
from edgexp.evaluation import statistics
from edgexp.evaluation.report import paper, plots, series, viewer, words
from edgexp.evaluation.report.drawing import Plot
from edgexp.evaluation.report.figures import Figures, count
from edgexp.evaluation.report.training import Curve
from edgexp.evaluation.results import Results
from edgexp.evaluation.retrieval_quality import Quality

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class Material:
    """All that a report is made of."""

    results: Sequence[Results]
    trainings: Sequence[Curve] = ()
    retrieval: Sequence[Quality] = ()
    commands: str = ""
    """How to make it again."""


def build(material: Material, *, draw: bool = True) -> str:
    """The page as text. Raises UsageError when it shall `draw` and Matplotlib is not installed."""
    sections = [count(results) for results in material.results]
    templates = _templates()
    script = _read("page.js")
    return templates.get_template("page.html").render(
        title=", ".join(dict.fromkeys(figures.suite for figures in sections)),
        descriptions=list(dict.fromkeys(text for one in material.results if (text := str(one.header.resolved.get("description", ""))))),
        lead=_lead(sections),
        style=_read("page.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        sections=sections,
        costs=(*statistics.COSTS, statistics.TO_SUCCESS),
        plots=_plots(material, sections) if draw else [],
        trainings=[plots.training(curve, f"training{place}") for place, curve in enumerate(material.trainings)] if draw else [],
        retrieval=material.retrieval,
        packed=viewer.pack(list(zip(material.results, sections, strict=True))),
        commands=material.commands,
        version=edgexp.__version__,
    )


def _plots(material: Material, sections: Sequence[Figures]) -> list[Plot]:
    made: list[Plot] = []
    for place, figures in enumerate(sections):
        key = f"s{place}"
        own = [plots.success(figures, key), plots.by_k(series.by_k(figures), key)]
        bank = plots.by_bank(series.by_bank(figures), key, figures.baseline)
        made += [*own, bank, plots.times(figures, key)]
    headers = [results.header for results in material.results]
    return [*made, plots.by_size(series.by_size(list(zip(headers, sections, strict=True))), "all")]


def _lead(sections: Sequence[Figures]) -> str:
    episodes, tasks = sum(figures.episodes for figures in sections), sum(figures.tasks for figures in sections)
    conditions = sum(len(figures.lines) for figures in sections)
    last = max(figures.finished for figures in sections)
    parts = [words.counted(episodes, "episode"), words.counted(tasks, "task"), words.counted(conditions, "condition")]
    return f"{', '.join(parts)}; the last episode ended {last[:16].replace('T', ' ')} UTC."


def _templates() -> "Environment":
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    templates = Environment(loader=FunctionLoader(_read), autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    helpers = {name: getattr(words, name) for name in ("percent", "interval", "points", "p_value", "figure", "about", "types", "endings")}
    templates.globals.update(helpers, paper=paper, zip=zip,
                             drawn=lambda made: Markup(templates.get_template("plots.html").render(plots=made)))  # fmt: skip
    return templates


def _read(name: str) -> str:
    return (files(__package__ or "edgexp.evaluation.report") / name).read_text(encoding="utf-8")
