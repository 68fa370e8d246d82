"""The page: one HTML file with everything in it, which opens from disk and asks for nothing.

Its policy (`Content-Security-Policy`) forbids every request, and every script but the one whose hash it names, so that text out of an
episode could not run or call home even if it got out of its place.

The episodes are data for the page's viewer: one JSON, compressed, as base64, which has neither `<` nor `&`. So nothing an environment says
can end the element it stands in. Observations repeat from step to step and from condition to condition. So gzip leaves a sixteenth of the
JSON or so, a twelfth as base64.

Does not count (`figures`), choose words (`wording`) or draw (`plots`). Knows no models and plays nothing.
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
from edgexp.evaluation.report import plots, series, wording
from edgexp.evaluation.report.figures import Figures, count_figures
from edgexp.evaluation.report.plots import Plot
from edgexp.evaluation.report.training_curves import Curve
from edgexp.evaluation.results import Recall, Remembered, Results, Row
from edgexp.trajectory import Trajectory

if TYPE_CHECKING:
    from jinja2 import Environment

    from edgexp.evaluation.retrieval_quality import Quality  # measuring plays episodes; reporting does not

WORDS = ("percent", "interval", "points", "p_value", "figure", "counted", "describe", "describe_endings", "name_bank")
"""Functions of `wording` that the template calls."""


@dataclass(frozen=True)
class Material:
    """All that a report is made of."""

    results: Sequence[Results]
    trainings: Sequence[Curve] = ()
    retrieval: Sequence["Quality"] = ()
    commands: str = ""
    """How to make it again."""


class Reported(msgspec.Struct, frozen=True):
    """A line of the paper: success in per cent, easy and hard, by model."""

    condition: str
    easy: tuple[float, ...]
    hard: tuple[float, ...]


class Paper(msgspec.Struct, frozen=True):
    """Figures of a paper, to stand beside one's own. They are its authors', for other models, and never ours."""

    source: str
    models: tuple[str, ...]
    lines: tuple[Reported, ...]
    frozen_by_k: tuple[tuple[int, float], ...]
    """Frozen Ministral-3-8B, both groups: success in per cent by the number of retrieved trajectories."""
    bad_memory: tuple[tuple[str, dict[str, float]], ...]
    """ExpRAG-LoRA on hard tasks, in per cent, by what the bank holds."""


PAPER = Paper(
    "arXiv 2603.18272",
    ("Ministral-3-8B", "Gemma-3-4B", "Qwen2.5-7B", "Qwen2.5-7B-1M"),
    (
        Reported("frozen, with retrieved experience (ExpRAG)", (54.8, 20.6, 82, 67.1), (47.5, 4.9, 82, 54.1)),
        Reported("fine-tuned (LoRA)", (98.6, 61.6, 86.3, 98.6), (34.4, 1.6, 21.3, 23.0)),
        Reported("fine-tuned, experience only at test", (97.3, 57.5, 89.0, 82.2), (67.2, 3.3, 70.5, 68.9)),
        Reported("fine-tuned with experience (ExpRAG-LoRA)", (97.3, 86.3, 84.9, 97.3), (88.5, 73.8, 90.2, 91.8)),
    ),
    ((0, 4.5), (1, 40.0), (2, 51.0), (4, 64.0)),
    (
        ("Ministral-3-8B", {"matched": 88.5, "mismatched": 39.3, "empty": 29.5, "none": 34.4}),
        ("Qwen2.5-7B-1M", {"matched": 91.8, "mismatched": 60.7, "empty": 36.1, "none": 23.0}),
    ),
)
"""The paper that edgexp rebuilds: "Retrieval-Augmented LLM Agents: Learning to Learn from Experience". ALFWorld, valid_unseen: 73 games of
easy task types, 61 of hard ones; free actions, greedy, one seed, no intervals. Collected from the abstract and from notes on the paper.
`none` is LoRA without memory. Of the frozen models without memory only Ministral-3-8B over both groups is known, about 4.5."""


def build_page(material: Material, *, draw: bool = True) -> str:
    """The page as text. Raises UsageError when it shall `draw` and Matplotlib is not installed."""
    sections = [count_figures(results) for results in material.results]
    templates = _templates()
    script = _read("page.js")
    text = templates.get_template("page.html").render(
        title=", ".join(dict.fromkeys(figures.suite for figures in sections)),
        descriptions=list(dict.fromkeys(text for one in material.results if (text := str(one.header.resolved.get("description", ""))))),
        lead=_lead(sections),
        style=_read("page.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        sections=sections,
        costs=(*statistics.COSTS, statistics.TO_SUCCESS),
        paper=PAPER,
        plots=_plots(material, sections) if draw else [],
        trainings=[plots.draw_training(curve, f"training{place}") for place, curve in enumerate(material.trainings)] if draw else [],
        retrieval=material.retrieval,
        packed=pack_episodes(list(zip(material.results, sections, strict=True))),
        commands=material.commands,
        version=edgexp.__version__,
    )
    return text.encode("utf-8", "replace").decode()  # names of folders need not be UTF-8


def pack_episodes(all_results: Sequence[tuple[Results, Figures]]) -> str:
    """Everything the viewer shows, as base64 of gzip of JSON; browsers undo both without help."""
    return base64.b64encode(gzip.compress(msgspec.json.encode(collect_episodes(all_results)), 9, mtime=0)).decode()


def collect_episodes(all_results: Sequence[tuple[Results, Figures]]) -> dict[str, Any]:
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


def _lead(sections: Sequence[Figures]) -> str:
    episodes, tasks = sum(figures.episodes for figures in sections), sum(figures.tasks for figures in sections)
    conditions = sum(len(figures.lines) for figures in sections)
    last = max(figures.finished for figures in sections)
    parts = [wording.counted(episodes, "episode"), wording.counted(tasks, "task"), wording.counted(conditions, "condition")]
    return f"{', '.join(parts)}. The last episode ended {last[:16].replace('T', ' ')} UTC."


def _plots(material: Material, sections: Sequence[Figures]) -> list[Plot]:
    made: list[Plot] = []
    for place, figures in enumerate(sections):
        key = f"s{place}"
        made.append(plots.draw_success(figures, key))
        made.append(plots.draw_by_k(series.curves_by_k(figures), key))
        made.append(plots.draw_by_bank(series.curves_by_bank(figures), key, figures.baseline))
        made.append(plots.draw_times(figures, key))
    headers = [results.header for results in material.results]
    return [*made, plots.draw_by_size(series.curves_by_size(list(zip(headers, sections, strict=True))), "all")]


def _templates() -> "Environment":
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    templates = Environment(loader=FunctionLoader(_read), autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    templates.globals.update({name: getattr(wording, name) for name in WORDS}, zip=zip,
                             drawn=lambda made: Markup(templates.get_template("plots.html").render(plots=made)))  # fmt: skip
    return templates


def _read(name: str) -> str:
    return (files(__package__ or "edgexp.evaluation.report") / name).read_text(encoding="utf-8")


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
