"""What `edgexp train` shows while it works: a bar for the dataset, a bar for the steps with loss and rate, remarks in between."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from edgexp.training import events
from edgexp.training.train import Watchers


@contextmanager
def watch_training(as_json: bool) -> Iterator[Watchers]:
    """Watchers that draw on standard error; with `as_json` they write every event as a line on standard output instead."""
    if as_json:
        yield Watchers(event=lambda event: click.echo(events.encode(event).decode(), nl=False))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}", style="dim"),
               TimeRemainingColumn())
    bars = _TrainingBars(Progress(*columns, console=Console(stderr=True)))
    try:
        yield bars.watchers
    finally:
        bars.close()


class _TrainingBars:
    """One bar a stage."""

    def __init__(self, bars: Progress):
        self._bars = bars
        self._data: TaskID | None = None
        self._steps: TaskID | None = None
        self._tokens = self._seconds = 0.0
        self._rollouts: dict[str, TaskID] = {}
        self.watchers = Watchers(self._say, self._prepared, self._event, self._played)

    def close(self) -> None:
        """Leave the bars as they are."""
        if self._bars.tasks:
            self._bars.stop()

    def _add(self, label: str, total: int, done: int = 0) -> TaskID:
        if not self._bars.tasks:
            self._bars.start()  # not before: even an empty display leaves a line
        return self._bars.add_task(label, total=total, completed=done, note="")

    def _say(self, text: str) -> None:
        self._bars.console.print(text, style="dim", highlight=False)

    def _prepared(self, done: int, total: int) -> None:
        if self._data is None:
            self._data = self._add("samples", total)
        self._bars.update(self._data, completed=done, total=total)

    def _played(self, checkpoint: str, done: int, won: int, total: int) -> None:
        if checkpoint not in self._rollouts:
            self._rollouts[checkpoint] = self._add(checkpoint, total)
        self._bars.update(self._rollouts[checkpoint], completed=done, note=f"{won} of {done} dev episodes won")

    def _event(self, event: events.Event) -> None:
        match event:
            case events.Notice(text):
                self._say(text)
            case events.Started():
                self._say(f"{event.backend} on {event.device}, {event.precision}; {event.trainable:,} trainable parameters; "
                          f"{event.tokens:,} tokens in {event.steps} steps, padding {event.padding:.1%}")
                self._steps = self._add("steps  ", event.steps, event.done)
            case events.Stepped():
                self._step(event)
            case events.Evaluated():
                for name, scores in event.scores.items():
                    self._say(f"step {event.step}, {name:<10} memory: loss {scores.loss:.4f}, actions right {scores.actions:.1%}")

    def _step(self, event: events.Stepped) -> None:
        self._tokens, self._seconds = self._tokens + event.tokens, self._seconds + event.seconds
        if self._steps is not None:
            note = f"loss {event.loss:.4f}  {self._tokens / self._seconds:,.0f} tokens/s"
            self._bars.update(self._steps, completed=event.step, note=note)
