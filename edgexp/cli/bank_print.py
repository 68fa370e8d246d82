"""How `edgexp bank` shows things to people.

All text that came out of an environment or a file is shown as plain characters: an imported trajectory can neither move the cursor nor
colour the terminal.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgexp.bank.records import Entry, Episode, Hit, Recall, Stats
from edgexp.trajectory import Trajectory

_SHORT = 10
"""Digits of an id that are shown: unique in any bank one will ever have, and `find` takes them."""


def plain(text: str, style: str = "") -> Text:
    """Text without markup, control characters made visible."""
    return Text("".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text), style)


def stats(figures: Stats) -> None:
    """`bank stats`."""
    f = figures
    table = _table("", "", header=False)
    for name, value in (
        ("bank", f.path),
        ("trajectories", f"{f.trajectories:,}: {f.successful:,} successful, {f.quarantined:,} in quarantine"),
        ("environments", _counts(f.by_environment)),
        ("played by", _counts(f.by_source)),
        ("encoder", f"{f.encoder}, {f.dimensions} dimensions" if f.encoder else "none yet"),
        ("in index files", _counts(f.indexed) + "; the others are in memory while it is open"),
        ("episodes logged", f"{f.episodes:,}"),
        ("size", f"database {_size(f.database_bytes)}, index {_size(f.index_bytes)}"),
        ("fingerprint", f.fingerprint),
    ):
        table.add_row(Text(name, "dim"), plain(value))
    Console().print(table)


def entries(shown: Sequence[Entry], found: Sequence[Trajectory], total: int) -> None:
    """`bank ls`."""
    table = _table("id", "outcome", "steps", "by", "task", "goal")
    for entry, trajectory in zip(shown, found, strict=True):
        by = entry.source if entry.status == "accepted" else f"{entry.source}, quarantined"
        outcome = _outcome(entry.success, entry.score)
        table.add_row(entry.id[:_SHORT], outcome, str(entry.steps), plain(by), plain(entry.task_id), _line(trajectory.goal))
    Console().print(table)
    if len(shown) < total:
        Console().print(Text(f"the newest {len(shown):,} of {total:,}; -n 0 for all", "dim"))


def hits(shown: Sequence[Hit], found: Sequence[Trajectory]) -> None:
    """`bank search`."""
    if not shown:
        Console().print("nothing accepted passes these filters")
        return
    table = _table("score", "id", "outcome", "steps", "task", "goal")
    for hit, t in zip(shown, found, strict=True):
        outcome = _outcome(t.success, t.score)
        table.add_row(f"{hit.score:.3f}", hit.id[:_SHORT], outcome, str(len(t.steps)), plain(t.task.id), _line(t.goal))
    Console().print(table)


def trajectory(shown: Trajectory) -> None:
    """`bank show`."""
    console, t, who = Console(highlight=False), shown, shown.provenance
    by = " ".join(part for part in (who.source, who.model, who.created) if part)
    console.print(plain(f"{t.id}  {t.task.id}  {t.task.type} {t.task.group}  by {by}", "dim"))
    console.print(Text.assemble(plain(t.goal, "bold"), "  ", _outcome(t.success, t.score), plain(f" ({t.end})", "dim")))
    console.print(plain(t.observation))
    for number, step in enumerate(t.steps, 1):
        note = "  (a slip, on purpose)" if step.slip else ""
        console.print(Text.assemble((f"{number:3} > ", "dim"), plain(step.action, "cyan"), (note, "dim")))
        console.print(plain(step.observation))


def episodes(shown: Sequence[Episode]) -> None:
    """`bank why` without an episode."""
    if not shown:
        Console().print("no episode has been played with this bank yet")
        return
    table = _table("episode", "outcome", "model", "task", "played")
    for episode in shown:
        outcome = _outcome(episode.success, episode.score)
        table.add_row(episode.id, outcome, plain(episode.model or "expert"), plain(episode.task_id), plain(episode.created))
    Console().print(table)


def why(episode: Episode, recalls: Sequence[Recall], goals: Mapping[str, str]) -> None:
    """`bank why`: every retrieval with its query, what it found and what became of it."""
    console = Console(highlight=False)
    outcome = _outcome(episode.success, episode.score)
    console.print(Text.assemble(plain(f"{episode.id}  {episode.task_id}  {episode.model}  ", "dim"), outcome))
    if not recalls:
        console.print("nothing was retrieved")
    for recall in recalls:
        console.print(Text(f"\nstep {recall.step}, in {1000 * recall.seconds:.1f} ms, for the query", "dim"))
        console.print(plain(recall.query))
        table = _table("score", "id", "", "goal")
        for hit in recall.hits:
            tokens = f", {hit.tokens:,} tokens" if hit.tokens else ""
            state = Text(f"left out: {hit.dropped}{tokens}", "yellow") if hit.dropped else Text("shown", "green")
            goal = _line(goals[hit.id]) if hit.id in goals else Text("no longer in the bank", "dim")
            table.add_row(f"{hit.score:.3f}", hit.id[:_SHORT], state, goal)
        console.print(table if recall.hits else "nothing in the bank passed the filters")


def _table(*columns: str, header: bool = True) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=header)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in ("score", "steps") else "left"
        table.add_column(column, justify=justify, no_wrap=column in ("id", "episode", "outcome"))
    return table


def _outcome(success: bool, score: float) -> Text:
    return Text("won", "green") if success else Text("lost" if score == 0 else f"lost {score:.2f}", "red")


def _line(text: str) -> Text:
    return plain(" ".join(text.split()))


def _counts(figures: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in figures.items()) or "none"


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
