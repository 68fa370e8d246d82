"""The page: one HTML file with everything in it, which opens from disk and asks for nothing. Counts and draws nothing itself.

Its policy (`Content-Security-Policy`) forbids every request, and every script but the one whose hash it names, so that text out of an
episode could not run or call home even if it got out of its place.

The episodes as data for the page's viewer: one JSON, compressed, as text that no HTML can be hidden in.

Observations repeat from step to step and from condition to condition: gzip leaves about a sixteenth of the JSON, a twelfth as base64.
Base64 has neither `<` nor `&`, so that nothing an environment says can end the element it stands in.

The results as Markdown for a README: a table with intervals, the differences, and how to make it again.
"""

import base64
import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec

import edgexp
from edgexp.evaluation import statistics
from edgexp.evaluation.report import figures as paper
from edgexp.evaluation.report import figures as series
from edgexp.evaluation.report import figures as words
from edgexp.evaluation.report import plots
from edgexp.evaluation.report.figures import Figures, Line, count
from edgexp.evaluation.report.plots import Plot
from edgexp.evaluation.report.training_curves import Curve
from edgexp.evaluation.results import Recall, Remembered, Results, Row
from edgexp.evaluation.retrieval_quality import Quality
from edgexp.trajectory import Trajectory

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
        packed=pack(list(zip(material.results, sections, strict=True))),
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


def pack(all_results: Sequence[tuple[Results, Figures]]) -> str:
    """Everything the viewer shows, as base64 of gzip of JSON; browsers undo both without help."""
    return base64.b64encode(gzip.compress(msgspec.json.encode(data(all_results)), 9, mtime=0)).decode()


def data(all_results: Sequence[tuple[Results, Figures]]) -> dict[str, Any]:
    """Conditions, tasks with an episode of each condition that played them, and the trajectories that were remembered."""
    several = len(all_results) > 1
    conditions: list[dict[str, str]] = []
    tasks: dict[tuple[str, str], dict[str, Any]] = {}
    memories: dict[str, Any] = {}
    for results, figures in all_results:
        first = len(conditions)
        places = {line.condition: first + place for place, line in enumerate(figures.lines)}
        conditions += [{"name": f"{figures.folder}: {name}" if several else name} for name in places]
        for row in results.rows:
            task = tasks.setdefault((row.environment, row.task_id), _task(row))
            task["episodes"][places[row.condition]] = _episode(row)
        memories |= {identity: _memory(t) for identity, t in results.memories.items()}
    return {"conditions": conditions, "tasks": list(tasks.values()), "memories": memories}


def _task(row: Row) -> dict[str, Any]:
    place = f"{row.environment} {row.split}" + (f", {row.group}" if row.group else "")
    return {"id": row.task_id, "type": row.task_type, "place": place, "goal": row.goal, "episodes": {}}


def _episode(row: Row) -> dict[str, Any]:
    return {
        "won": row.success,
        "score": row.score,
        "end": row.end,
        "observation": row.observation,
        "steps": [[a.action, a.observation, a.reward, _round(a.probability), [(text, _round(p)) for text, p in a.alternatives]]
                  for a in row.actions],
        "recalls": [_recall(recall) for recall in row.recalls],
        "tokens": row.tokens,
        "seconds": _round(row.seconds.wall),
        "parallel": row.parallel,
    }  # fmt: skip


def _recall(recall: Recall) -> dict[str, Any]:
    return {
        "step": recall.step,
        "query": recall.query,
        "seconds": _round(recall.seconds),
        "used": [_remembered(found) for found in recall.used],
        "dropped": [_remembered(found) for found in recall.dropped],
    }


def _remembered(found: Remembered) -> dict[str, Any]:
    return {**msgspec.to_builtins(found), "score": _round(found.score)}


def _memory(t: Trajectory) -> dict[str, Any]:
    steps = [[step.action, step.observation] for step in t.steps]
    return {"goal": t.goal, "observation": t.observation, "won": t.success, "steps": steps, "source": t.provenance.source, "end": t.end}


def _round(number: float | None) -> float | None:
    """Four digits are more than anybody reads, and half the bytes."""
    return None if number is None else float(f"{number:.4g}")


def render(sections: Sequence[Figures], commands: str, retrieval: Sequence[Quality] = ()) -> str:
    """One table a results folder, and one a measured bank."""
    parts = [_section(figures, len(sections) > 1) for figures in sections] + [_retrieval(quality) for quality in retrieval]
    return "\n".join([*parts, "```console", *(f"$ {line}" for line in commands.splitlines()), "```", ""])


def _section(figures: Figures, named: bool) -> str:
    titles = [column.title for column in figures.columns]
    lines = [f"**{figures.folder}**\n"] if named else []
    lines += [_row(["condition", *titles]), _row(["---"] * (1 + len(titles)))]
    lines += [_row([f"**{_safe(line.condition)}**<br>{_safe(words.about(line))}", *_cells(figures, line)]) for line in figures.lines]
    lines += ["", _below(figures), ""]
    return "\n".join(lines)


def _cells(figures: Figures, line: Line) -> list[str]:
    cells = []
    for column in figures.columns:
        share, change = line.shares.get(column.key), line.changes.get(column.key)
        text = f"{share.won}/{share.count} = {words.percent(share.share)} ({words.interval(share)})" if share else "not played"
        if change:
            text += f"<br>{words.points(change.difference)} ({words.points(change.low)} to {words.points(change.high)}), "
            text += words.p_value(change.p)
        cells.append(text)
    return cells


def _retrieval(quality: Quality) -> str:
    lines = [_row(["retrieval", *(f"same {aspect}" for aspect in quality.aspects)]), _row(["---"] * (1 + len(quality.aspects)))]
    for way in quality.ways:
        means = (way.shares[aspect] for aspect in quality.aspects)
        lines.append(_row([way.name, *(f"{words.percent(mean.mean)} ({words.interval(mean)})" for mean in means)]))
    return "\n".join([*lines, "", quality.about, ""])


def _below(figures: Figures) -> str:
    played = f"{words.counted(figures.episodes, 'episode')} of {words.counted(figures.tasks, 'task')}"
    text = f"{played}; won of played with Wilson intervals (95 %)."
    if not figures.complete:
        text += " Not every condition has played every task yet."
    text = " ".join([text, *words.endings(figures.broken, figures.full)])
    if figures.baseline and len(figures.lines) > 1:
        text += (f" Second line: difference to *{_safe(figures.baseline)}* in percentage points on the same tasks (Newcombe's interval, "
                 "95 %), p of McNemar's exact test, not corrected for the number of comparisons.")  # fmt: skip
    return text


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _safe(text: str) -> str:
    """Text that cannot end its cell or begin a tag."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*").replace("\n", " ")
