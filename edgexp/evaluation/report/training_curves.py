"""The course of a training, from an adapter's log or that of a run under way. Knows what a log holds, and neither draws it nor trains."""

from pathlib import Path
from typing import Any

import msgspec

from edgexp.errors import EdgexpError
from edgexp.evaluation.report.figures import name_folder
from edgexp.training import events

RECORD, LOGS = "manifest.json", ("training.jsonl", "metrics.jsonl")


class Curve(msgspec.Struct, frozen=True):
    """One training. Points are (step, value)."""

    name: str
    loss: tuple[tuple[int, float], ...]
    """Of every step, before it; nats a label token."""
    held_out: dict[str, tuple[tuple[int, float], ...]]
    """Validation loss by memory condition (matched, mismatched, none)."""
    actions: dict[str, tuple[tuple[int, float], ...]]
    """Share of expert actions predicted whole, by memory condition."""
    won: tuple[tuple[int, float], ...]
    """Share of dev episodes that a checkpoint won, where it was played."""
    chosen: int | None
    """The step of the adapter that was kept; None while the training runs."""


def read_curve(folder: Path) -> Curve:
    """The curves of an adapter's folder, or of the run's folder it is in. Raises EdgexpError where there is no log, or nothing in it."""
    inner = folder / "adapter"
    name = name_folder(folder)
    if not (folder / RECORD).is_file() and (inner / RECORD).is_file():
        folder = inner
    log = next((folder / log for log in LOGS if (folder / log).is_file()), None)
    if log is None:
        raise EdgexpError(f"{folder}: neither an adapter nor a run of training: it has no {' and no '.join(LOGS)}")
    record = _record(folder / RECORD)
    steps, evaluated = events.read(log, "step"), events.read(log, "evaluated")
    if not steps:
        raise EdgexpError(f"{log}: no step of training is in it yet")
    try:
        return _curve(str(record.get("name", name)), steps, evaluated, record)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise EdgexpError(f"{log}: not a log of training that this version reads: {type(error).__name__}: {error}") from error


def _record(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise EdgexpError(f"{path}: cannot be read: {error}") from error


def _curve(name: str, steps: list[dict[str, Any]], evaluated: list[dict[str, Any]], record: dict[str, Any]) -> Curve:
    held_out: dict[str, dict[int, float]] = {}
    actions: dict[str, dict[int, float]] = {}
    for event in evaluated:
        for condition, scores in event["scores"].items():
            held_out.setdefault(condition, {})[int(event["step"])] = float(scores["loss"])
            actions.setdefault(condition, {})[int(event["step"])] = float(scores["actions"])
    chosen = record.get("step")
    won = {int(point["step"]): float(point["won"]) for point in record.get("curve", ()) if "won" in point}
    return Curve(
        name,
        tuple((int(event["step"]), float(event["loss"])) for event in steps),
        {condition: tuple(sorted(points.items())) for condition, points in held_out.items()},
        {condition: tuple(sorted(points.items())) for condition, points in actions.items()},
        tuple(sorted(won.items())),
        None if chosen is None else int(chosen),
    )
