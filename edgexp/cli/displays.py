"""What `edgexp train` shows while it works: a bar for the dataset, a bar for the steps with loss and rate, remarks in between.

What `edgexp eval` shows: a bar with the success of each condition so far, and a table with intervals at the end.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import msgspec
from rich.table import Table

from edgexp.cli.options import say
from edgexp.evaluation import statistics
from edgexp.evaluation.evaluate import Watch
from edgexp.evaluation.report.wording import describe_endings
from edgexp.evaluation.results import Results, Row, read
from edgexp.evaluation.statistics import Change, Share
from edgexp.progress import Bars
from edgexp.terminal import console, echo_json
from edgexp.training import events
from edgexp.training.train import Watchers


@contextmanager
def watch_training(as_json: bool) -> Iterator[Watchers]:
    """Watchers that draw on standard error; with `as_json` they write every event as a line on standard output instead."""
    if as_json:
        yield Watchers(event=lambda event: echo_json(events.encode(event)))
        return
    with Bars(keep=True) as bars:
        yield _TrainingBars(bars).watchers


@contextmanager
def watch_improving(as_json: bool) -> Iterator[tuple[Watchers, Callable[[str, int, int], None]]]:
    """The same, and who is told how far a round has got: what is being done, how much of it is, and how much there is."""
    if as_json:
        with watch_training(as_json) as watchers:
            yield watchers, lambda *_: None
        return
    with Bars(keep=True) as bars:
        yield _TrainingBars(bars).watchers, bars.tell


class _TrainingBars:
    """One bar a stage."""

    def __init__(self, bars: Bars):
        self._bars = bars
        self._total = 0
        self._tokens = self._seconds = 0.0
        self.watchers = Watchers(bars.say, self._prepared, self._event, self._played)

    def _prepared(self, done: int, total: int) -> None:
        self._bars.tell("samples", done, total)

    def _played(self, checkpoint: str, done: int, won: int, total: int) -> None:
        self._bars.tell(checkpoint, done, total, f"{won} of {done} dev episodes won")

    def _event(self, event: events.Event) -> None:
        match event:
            case events.Notice(text):
                self._bars.say(text)
            case events.Started():
                self._bars.say(f"{event.backend} on {event.device}, {event.precision}; {event.trainable:,} trainable parameters; "
                               f"{event.tokens:,} tokens in {event.steps} steps, padding {event.padding:.1%}")
                self._total = event.steps
                self._bars.tell("steps", event.done, self._total)
            case events.Stepped():
                self._step(event)
            case events.Evaluated():
                for name, scores in event.scores.items():
                    self._bars.say(f"step {event.step}, {name:<10} memory: loss {scores.loss:.4f}, actions right {scores.actions:.1%}")

    def _step(self, event: events.Stepped) -> None:
        self._tokens, self._seconds = self._tokens + event.tokens, self._seconds + event.seconds
        self._bars.tell("steps", event.step, self._total, f"loss {event.loss:.4f}  {self._tokens / self._seconds:,.0f} tokens/s")


@contextmanager
def watch_evaluation(as_json: bool) -> Iterator[Watch]:
    """Watchers that draw on standard error; with `as_json`, every row also goes to standard output as a line."""
    with Bars(slow=True) as bars:
        shown = _EvaluationBars(bars, as_json)
        yield Watch(say if as_json else bars.say, shown.filling, shown.planned, shown.opened, shown.kept)


class _EvaluationBars:
    """One bar for filling each bank, one for the episodes."""

    def __init__(self, bars: Bars, as_json: bool):
        self._bars, self._as_json = bars, as_json
        self._won: dict[str, list[bool]] = {}
        self._done, self._total, self._tokens, self._started = 0, 0, 0, 0.0

    def filling(self, environment: str, done: int, total: int) -> None:
        """An expert plays for the bank."""
        if done == 0:
            self._bars.say(f"an expert plays {total} episodes of {environment} for the evaluation's bank (once)")
        self._bars.tell(f"filling the bank, {environment}", done, total)

    def planned(self, rows: Sequence[Row], todo: int) -> None:
        """It is known what is to be played."""
        if rows:
            self._bars.say(f"{len(rows)} episodes are there already; {todo} are to be played")
        for row in rows:
            self._won.setdefault(row.condition, []).append(row.success)
        self._total = todo
        self._bars.tell("episodes", 0, todo)

    def opened(self) -> None:
        """A model is open: from the first one on, time counts."""
        self._started = self._started or perf_counter()

    def kept(self, row: Row) -> None:
        """An episode is over and on disk."""
        self._won.setdefault(row.condition, []).append(row.success)
        self._tokens += row.tokens.evaluated
        rate = self._tokens / (perf_counter() - self._started)
        won = self._won[row.condition]
        self._done += 1
        self._bars.tell("episodes", self._done, self._total, f"{row.condition} {sum(won)}/{len(won)} won · {rate:,.0f} tokens/s")
        if self._as_json:
            echo_json(msgspec.json.encode(row))


def show_results(folder: Path, as_json: bool) -> None:
    """The table of conditions and groups, each share with its interval and each difference with its p-value."""
    results = read(folder)
    baseline = _baseline(results)
    lines = list(_lines(results, baseline))
    if as_json:
        echo_json(msgspec.json.encode({"summary": [entry for _, _, entry in lines]}))
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name, justify in (("condition", "left"), ("tasks", "left"), ("won", "right"), ("95 % interval", "right"),
                          (f"against {baseline}", "right"), ("p", "right")):
        table.add_column(name, justify="right" if justify == "right" else "left")
    last = ""
    for condition, part, entry in lines:
        share, change = entry["success"], entry["change"]
        assert isinstance(share, Share) and (change is None or isinstance(change, Change))
        table.add_row("" if condition == last else condition, part, _won(share), f"{share.low:.0%} to {share.high:.0%}",
                      _difference(change), "" if change is None else f"{change.p:.2g}")
        last = condition
    console().print(table)
    _asides(results)


def _baseline(results: Results) -> str:
    """The suite's baseline; where that has not been played yet, the first condition that has."""
    played = {row.condition for row in results.rows}
    return next(name for name in (results.header.baseline, *results.header.conditions, *sorted(played)) if name in played)


def _lines(results: Results, baseline: str) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Condition, part of the tasks and its figures, in the suite's order; all tasks together last where there are several parts."""
    rows = statistics.group_rows(results.rows, "condition")
    compared = rows[baseline,]
    names = [name for name in results.header.conditions if (name,) in rows]
    for name in [*names, *(key for (key,) in rows if key not in names)]:
        parts = statistics.group_rows(rows[name,], "environment", "split", "group")
        for (environment, split, group), part in parts.items():
            against = [row for row in compared if (row.environment, row.split, row.group) == (environment, split, group)]
            label = " ".join(filter(None, (environment, split, group)))
            yield name, label, _figures(name, label, part, against, baseline)
        if len(parts) > 1:
            yield name, "all", _figures(name, "all", rows[name,], compared, baseline)


def _figures(name: str, part: str, rows: Sequence[Row], against: Sequence[Row], baseline: str) -> dict[str, object]:
    change = None if name == baseline else statistics.compare_pairs(rows, against)
    return {"condition": name, "tasks": part, "success": statistics.share_won(rows), "change": change, "costs": statistics.mean_costs(rows)}


def _won(share: Share) -> str:
    return f"{share.won}/{share.count} = {share.share:.0%}"


def _difference(change: Change | None) -> str:
    """In points of a hundred, with its interval, on the tasks that both have played."""
    if change is None:
        return ""
    return f"{100 * change.difference:+.0f} ({100 * change.low:+.0f} to {100 * change.high:+.0f}) on {change.pairs}"


def _asides(results: Results) -> None:
    """What the table does not say and a reader must know."""
    say("won: Wilson's interval. against: points, Newcombe's interval over tasks played by both; p: McNemar's exact test")
    broken = sum(row.end.startswith("error") for row in results.rows)
    full = sum(row.end == "context_full" for row in results.rows)
    for text in describe_endings(broken, full):
        say(text)
