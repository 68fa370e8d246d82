"""What a training process tells whoever started it: one JSON object a line on its standard output. Knows no process and no torch.

The same lines, with times, are the training log `metrics.jsonl`. After a crash it is cut back to where training goes on, so that each step
is in it once."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from edgexp.files import append_lines, write_atomic


class Notice(msgspec.Struct, frozen=True, tag="notice"):
    """Something worth saying once."""

    text: str


class Started(msgspec.Struct, frozen=True, tag="started"):
    """Everything is loaded; the first step comes next."""

    steps: int
    tokens: int
    """Tokens of all steps, padding not counted."""
    done: int
    """Steps that a checkpoint had done already."""
    done_tokens: int
    backend: str
    device: str
    precision: str
    """Type of the computation; `nf4` where the frozen weights are held in 4 bits."""
    trainable: int
    """Parameters of the adapter."""
    padding: float
    """Share of padding among all tokens the model is given."""


class Stepped(msgspec.Struct, frozen=True, tag="step"):
    """An optimiser step."""

    step: int
    """Counts from 1."""
    epoch: float
    loss: float
    """Mean over the step's label tokens, in nats, before the step."""
    accuracy: float
    """Share of label tokens that were the most probable one."""
    lr: float
    norm: float
    """Of the gradient, before clipping."""
    tokens: int
    seconds: float


class Scores(msgspec.Struct, frozen=True):
    """How well expert actions are predicted, given all that the expert saw before."""

    loss: float
    """Nats a label token."""
    tokens: float
    """Share of label tokens that are the most probable one."""
    actions: float
    """Share of actions of which every token is."""


class Evaluated(msgspec.Struct, frozen=True, tag="evaluated"):
    """Scores on held-out trajectories, by memory condition: matched, mismatched, none."""

    step: int
    scores: dict[str, Scores]
    seconds: float


class Saved(msgspec.Struct, frozen=True, tag="saved"):
    """A checkpoint is complete."""

    step: int
    path: str


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """All steps are done and the last checkpoint is written. `stopped` instead: asked to stop before the end."""

    step: int
    stopped: bool = False


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Why it ended: one line with what to change."""

    message: str


Event = Notice | Started | Stepped | Evaluated | Saved | Finished | Failed
Emit = Callable[[Event], None]
"""Passes an event on, from the training process."""
Say = Callable[[str], None]
"""Tells a person something worth saying once."""
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """One line, newline included."""
    return _encoder.encode(event) + b"\n"


def decode(line: bytes) -> Event:
    """The reverse. Raises msgspec.DecodeError."""
    event: Event = _decoder.decode(line)
    return event


def append(path: Path, event: Event) -> None:
    """Add an event. A line is written in one piece, so that a crash can only cost the last one."""
    append_lines(path, _stamped(event))


def rewind(path: Path, step: int) -> None:
    """Forget what happened after `step`."""
    lines = [line for line in _lines(path) if line.get("step", 0) <= step]
    write_atomic(path, b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines))


def read(path: Path, kind: str) -> list[dict[str, Any]]:
    """The events of a kind (`step`, `evaluated`, …), in order. A last line that a crash cut off is passed over."""
    return [line for line in _lines(path) if line.get("type") == kind]


def _stamped(event: Event) -> bytes:
    body: dict[str, Any] = msgspec.to_builtins(event)
    return json.dumps({**body, "time": round(time.time(), 2)}, separators=(",", ":")).encode()


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
