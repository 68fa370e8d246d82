"""The episodes as data for the page's viewer: one JSON, compressed, as text that no HTML can be hidden in.

Observations repeat from step to step and from condition to condition: gzip leaves about a sixteenth of the JSON, a twelfth as base64.
Base64 has neither `<` nor `&`, so that nothing an environment says can end the element it stands in.
"""

import base64
import gzip
from collections.abc import Sequence
from typing import Any

import msgspec

from edgexp.evaluation.report.figures import Figures
from edgexp.evaluation.results import Recall, Remembered, Results, Row
from edgexp.trajectory import Trajectory


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
