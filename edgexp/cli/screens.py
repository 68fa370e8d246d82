"""An episode on the screen as it happens, and the summary after the last.

How `edgexp bank` shows things to people.

Text that came out of an environment or a file is `plain`, so that its lines are measured as they are shown; the consoles of
`edgexp.terminal` clean once more whatever was forgotten here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgexp.bank.records import Entry, Episode, Hit, Recall, Stats
from edgexp.bank.usefulness import HOPE, Usefulness
from edgexp.play.episode import Acted, Began, Ended, Event, Recalled
from edgexp.terminal import clean, console
from edgexp.trajectory import Played, Trajectory


@dataclass
class Live:
    """A watcher that prints. `total` episodes will be shown."""

    console: Console
    total: int
    finished: list[Played] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        """Print one event."""
        if isinstance(event, Began):
            self._began(event)
        elif isinstance(event, Recalled):
            self._recalled(event)
        elif isinstance(event, Acted):
            self._acted(event)
        else:
            self._ended(event)

    def _began(self, event: Began) -> None:
        task = event.task
        title = Text.assemble((f" {len(self.finished) + 1}/{self.total} ", "bold"), plain(task.type, "bold"), plain(f"  {task.id} ", "dim"))
        self.console.rule(title, align="left", style="dim")
        self.console.print(Text.assemble(("goal      ", "bold magenta"), plain(event.start.goal)))
        self.console.print(Padding(plain(event.start.observation, "dim"), (0, 0, 0, 6)))

    def _recalled(self, event: Recalled) -> None:
        memory = event.memory
        for recalled in memory.recalled:
            t = recalled.trajectory
            line = Text.assemble(("recalled  ", "cyan"), f"{recalled.score:.2f} ", ("✓", "green") if t.success else ("✗", "red"))
            about = f"{len(t.steps)} actions, {t.provenance.source}, {proved(recalled.usefulness)}{t.id[:9]}"
            line.append_text(plain(f" {t.goal}  ")).append_text(plain(about, "dim"))
            self.console.print(line, no_wrap=True, overflow="ellipsis")
        for dropped in memory.dropped:
            if dropped.reason == "budget":
                self.console.print(Text(f"recalled  {dropped.score:.2f} left out: {dropped.tokens} tokens do not fit", "yellow"))
            elif dropped.reason == "usefulness" and dropped.usefulness is not None:
                line = Text(f"recalled  {dropped.score:.2f} left out: usefulness {dropped.usefulness:+.2f}", "yellow")
                self.console.print(line.append_text(plain(f"  {dropped.trajectory.goal}")), no_wrap=True, overflow="ellipsis")

    def _acted(self, event: Acted) -> None:
        probability = event.decision.probability
        if event.decision.thought:
            self.console.print(Padding(plain(event.decision.thought, "dim italic"), (0, 0, 0, 6)))
        share = "" if probability is None else f"{probability:4.0%}  "
        action = Text.assemble((f"{event.number:3} ", "dim"), ("> ", "green"), plain(event.decision.text or "(said nothing)", "bold"))
        action.append(f"   {share}{event.decision.seconds * 1000:.0f} ms", "dim")
        self.console.print(action)
        self.console.print(Padding(plain(event.outcome.observation, "dim"), (0, 0, 0, 6)))

    def _ended(self, event: Ended) -> None:
        self.finished.append(event.played)
        t, s = event.played.trajectory, event.played.seconds
        seconds = s.deciding + s.retrieval + s.environment
        if t.success:
            verdict = Text(f"✓ done in {len(t.steps)} actions", "bold green")
        else:
            reason = {"max_steps": "out of actions", "context_full": "the context is full", "gave_up": "gave up"}.get(t.end, t.end)
            verdict = plain(f"✗ not done after {len(t.steps)} actions: {reason}", "bold red")
        self.console.print(verdict.append(f"   {seconds:.1f} s\n", "dim"))


def summary(finished: Sequence[Played]) -> dict[str, object]:
    """The figures of some episodes. Times in seconds, rates per action; tokens summed over all episodes."""
    trajectories, tokens, seconds = [p.trajectory for p in finished], [p.tokens for p in finished], [p.seconds for p in finished]
    actions, count = sum(len(t.steps) for t in trajectories), max(1, len(finished))
    return {
        "episodes": len(finished),
        "successes": sum(t.success for t in trajectories),
        "actions": actions,
        "tokens_reused": sum(t.reused for t in tokens),
        "tokens_attached": sum(t.attached for t in tokens),
        "tokens_loaded": sum(t.loaded for t in tokens),
        "tokens_evaluated": sum(t.evaluated for t in tokens),
        "tokens_generated": sum(t.generated for t in tokens),
        "first_action_seconds": sum(s.first_action for s in seconds) / count,
        "action_seconds": sum(s.deciding for s in seconds) / max(1, actions),
        "retrieval_seconds": sum(s.retrieval for s in seconds) / count,
        "environment_seconds": sum(s.environment for s in seconds) / max(1, actions),
    }


def show_summary(console: Console, figures: dict[str, object]) -> None:
    """The summary as a small table."""
    f = figures
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    rows = [
        ("success", f"{f['successes']} of {f['episodes']} episodes, {f['actions']} actions"),
        ("tokens", f"{f['tokens_reused']:,} reused, {f['tokens_evaluated']:,} evaluated, {f['tokens_generated']:,} decided by the model"),
        *([("", f"of those reused, {f['tokens_attached']:,} attached from memory and {f['tokens_loaded']:,} loaded from disk")]
          if f["tokens_attached"] or f["tokens_loaded"] else []),
        ("time", f"{_ms(f['first_action_seconds'])} to the first action, {_ms(f['action_seconds'])} an action on average"),
        ("", f"retrieval {_ms(f['retrieval_seconds'])} an episode, environment {_ms(f['environment_seconds'])} an action"),
    ]
    for name, text in rows:
        table.add_row(Text(name, "bold"), text)
    console.print(table)


def save_picture(console: Console, path: Path, title: str) -> None:
    """What a recording console has printed, as an SVG that needs no fonts from the network."""
    from rich._export_format import CONSOLE_SVG_FORMAT
    from rich.terminal_theme import TerminalTheme

    light = TerminalTheme(
        (250, 250, 247), (56, 58, 66),
        [(56, 58, 66), (190, 60, 60), (60, 130, 60), (160, 110, 20), (50, 100, 180), (140, 60, 150), (20, 125, 140), (120, 124, 133)],
    )
    # Rich's own format fetches its font from the web; without it the reader's monospace font is used.
    plain = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace("Fira Code", "ui-monospace, Menlo, Consolas")
    path.write_text(console.export_svg(title=title, theme=light, code_format=plain), encoding="utf-8")


def _ms(seconds: object) -> str:
    assert isinstance(seconds, float)
    return f"{seconds:.1f} s" if seconds >= 2 else f"{seconds * 1000:.0f} ms" if seconds >= 0.0095 else f"{seconds * 1000:.1f} ms"


_SHORT = 10
"""Digits of an id that are shown: unique in any bank one will ever have, and `find` takes them."""


def plain(text: str, style: str = "") -> Text:
    """Text without markup, made safe for a terminal."""
    return Text(clean(text), style)


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
    console().print(table)


def entries(shown: Sequence[Entry], found: Sequence[Trajectory], total: int) -> None:
    """`bank ls`."""
    table = _table("id", "outcome", "steps", "by", "task", "goal")
    for entry, trajectory in zip(shown, found, strict=True):
        by = entry.source if entry.status == "accepted" else f"{entry.source}, quarantined"
        table.add_row(entry.id[:_SHORT], _outcome_of(trajectory), str(entry.steps), plain(by), plain(entry.task_id), _line(trajectory.goal))
    console().print(table)
    if len(shown) < total:
        console().print(Text(f"the newest {len(shown):,} of {total:,}; -n 0 for all", "dim"))


def hits(shown: Sequence[Hit], found: Sequence[Trajectory]) -> None:
    """`bank search`."""
    if not shown:
        console().print("nothing accepted passes these filters")
        return
    table = _table("score", "id", "outcome", "steps", "task", "goal")
    for hit, t in zip(shown, found, strict=True):
        table.add_row(f"{hit.score:.3f}", hit.id[:_SHORT], _outcome_of(t), str(len(t.steps)), plain(t.task.id), _line(t.goal))
    console().print(table)


def trajectory(shown: Trajectory, useful: Usefulness, longest: int = 0) -> None:
    """`bank show`, and `bank review`, which cuts texts at `longest` characters."""

    def cut(text: str) -> str:
        return text if not longest or len(text) <= longest else f"{text[:longest]}\n(and {len(text) - longest:,} characters more)"

    out, t, who = console(), shown, shown.provenance
    by = " ".join(part for part in (who.source, who.model, who.created) if part)
    out.print(plain(f"{t.id}  {t.task.id}  {t.task.type} {t.task.group}  by {by}", "dim"))
    if who.origin:
        out.print(plain(f"from {who.origin}", "dim"))
    out.print(Text.assemble(plain(cut(t.goal), "bold"), "  ", _outcome_of(t), plain(f" ({t.end})", "dim")))
    often = f"in the prompts of {useful.uses:,} episodes, of which {useful.wins:,} were won and {useful.expected:.1f} were to be expected"
    out.print(Text(f"{often if useful.uses else 'in no prompt yet'}: usefulness {useful.value:+.2f}", "dim"))
    out.print(plain(cut(t.observation)))
    for number, step in enumerate(t.steps, 1):
        note = "  (a mistake, on purpose)" if step.mistake else ""
        out.print(Text.assemble((f"{number:3} > ", "dim"), plain(cut(step.action), "cyan"), (note, "dim")))
        out.print(plain(cut(step.observation)))


def episodes(shown: Sequence[Episode]) -> None:
    """`bank why` without an episode."""
    if not shown:
        console().print("no episode has been played with this bank yet")
        return
    table = _table("episode", "outcome", "model", "task", "played")
    for episode in shown:
        outcome = _outcome(episode.success, episode.score)
        table.add_row(episode.id, outcome, plain(episode.model or "expert"), plain(episode.task_id), plain(episode.created))
    console().print(table)


def why(episode: Episode, recalls: Sequence[Recall], goals: Mapping[str, str]) -> None:
    """`bank why`: every retrieval with its query, what it found and what became of it."""
    out = console()
    outcome = _outcome(episode.success, episode.score)
    out.print(Text.assemble(plain(f"{episode.id}  {episode.task_id}  {episode.model}  ", "dim"), outcome))
    if not recalls:
        out.print("nothing was retrieved")
    for recall in recalls:
        out.print(Text(f"\nstep {recall.step}, in {1000 * recall.seconds:.1f} ms, for the query", "dim"))
        out.print(plain(recall.query))
        weighed = [name for name in ("frame", "usefulness") if any(getattr(hit, name) is not None for hit in recall.hits)]
        table = _table("score", *weighed, "id", "", "goal")
        for hit in recall.hits:
            tokens = f", {hit.tokens:,} tokens" if hit.tokens else ""
            state = Text(f"left out: {hit.dropped}{tokens}", "yellow") if hit.dropped else Text("shown", "green")
            goal = _line(goals[hit.id]) if hit.id in goals else Text("no longer in the bank", "dim")
            figures = [_figure(name, getattr(hit, name)) for name in weighed]
            table.add_row(f"{hit.score:.3f}", *figures, hit.id[:_SHORT], state, goal)
        out.print(table if recall.hits else "nothing in the bank passed the filters")


def proved(usefulness: float | None) -> str:
    """What experience says of a memory while an episode is shown; nothing where there is none yet. `bank why` has all figures."""
    return "" if usefulness is None or usefulness == HOPE else f"usefulness {_figure('usefulness', usefulness)}, "


def _figure(name: str, value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}" if name == "usefulness" else f"{value:.2f}"


def _table(*columns: str, header: bool = True) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=header)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in ("score", "steps", "frame", "usefulness") else "left"
        table.add_column(column, justify=justify, no_wrap=column in ("id", "episode", "outcome"))
    return table


def _outcome_of(trajectory: Trajectory) -> Text:
    return _outcome(trajectory.success, trajectory.score) if trajectory.outcome_known else Text("unknown", "yellow")


def _outcome(success: bool, score: float) -> Text:
    return Text("won", "green") if success else Text("lost" if score == 0 else f"lost {score:.2f}", "red")


def _line(text: str) -> Text:
    return plain(" ".join(text.split()))


def _counts(figures: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in figures.items()) or "none"


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
