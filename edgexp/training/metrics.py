"""The training log, `metrics.jsonl`: every event of a run with the time it happened. After a crash it is cut back to where training goes
on, so that each step is in it once.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from edgexp.home import write_atomic
from edgexp.training import events


def append(path: Path, event: events.Event) -> None:
    """Add an event. A line is written in one piece, so that a crash can only cost the last one."""
    with path.open("ab") as file:
        file.write(_stamped(event))


def rewind(path: Path, step: int) -> None:
    """Forget what happened after `step`."""
    lines = [line for line in _lines(path) if line.get("step", 0) <= step]
    write_atomic(path, b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines))


def read(path: Path, kind: str) -> list[dict[str, Any]]:
    """The events of a kind (`step`, `evaluated`, …), in order. A last line that a crash cut off is passed over."""
    return [line for line in _lines(path) if line.get("type") == kind]


def _stamped(event: events.Event) -> bytes:
    body: dict[str, Any] = msgspec.to_builtins(event)
    return json.dumps({**body, "time": round(time.time(), 2)}, separators=(",", ":")).encode() + b"\n"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found
