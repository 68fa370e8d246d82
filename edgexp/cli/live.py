"""An episode on the screen as it happens, and the summary after the last."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgexp.agent import Acted, Began, Ended, Event, Recalled, Stats
from edgexp.trajectory import Trajectory


@dataclass
class Live:
    """A watcher that prints. `total` episodes will be shown."""

    console: Console
    total: int
    finished: list[tuple[Trajectory, Stats]] = field(default_factory=list)

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
        title = Text.assemble((f" {len(self.finished) + 1}/{self.total} ", "bold"), (task.type, "bold"), (f"  {task.id} ", "dim"))
        self.console.rule(title, align="left", style="dim")
        self.console.print(Text.assemble(("goal      ", "bold magenta"), event.start.goal))
        self.console.print(Padding(Text(event.start.observation, "dim"), (0, 0, 0, 6)))

    def _recalled(self, event: Recalled) -> None:
        memory = event.memory
        for recalled in memory.recalled:
            t = recalled.trajectory
            line = Text.assemble(("recalled  ", "cyan"), f"{recalled.score:.2f} ", ("✓", "green") if t.success else ("✗", "red"))
            line.append(f" {t.goal}  ").append(f"{len(t.steps)} actions, {t.provenance.source}, {t.id[:9]}", "dim")
            self.console.print(line, no_wrap=True, overflow="ellipsis")
        for dropped in memory.dropped:
            if dropped.reason == "budget":
                self.console.print(Text(f"recalled  {dropped.score:.2f} left out: {dropped.tokens} tokens do not fit", "yellow"))

    def _acted(self, event: Acted) -> None:
        probability = event.decision.probability
        share = "" if probability is None else f"{probability:4.0%}  "
        action = Text.assemble((f"{event.number:3} ", "dim"), ("> ", "green"), (event.decision.text or "(said nothing)", "bold"))
        action.append(f"   {share}{event.seconds * 1000:.0f} ms", "dim")
        self.console.print(action)
        self.console.print(Padding(Text(event.outcome.observation, "dim"), (0, 0, 0, 6)))

    def _ended(self, event: Ended) -> None:
        self.finished.append((event.trajectory, event.stats))
        t = event.trajectory
        seconds = event.stats.deciding_seconds + event.stats.retrieval_seconds + event.stats.environment_seconds
        if t.success:
            verdict = Text(f"✓ done in {len(t.steps)} actions", "bold green")
        else:
            reason = {"max_steps": "out of actions", "context_full": "the context is full", "gave_up": "gave up"}.get(t.end, t.end)
            verdict = Text(f"✗ not done after {len(t.steps)} actions: {reason}", "bold red")
        self.console.print(verdict.append(f"   {seconds:.1f} s\n", "dim"))


def summary(finished: list[tuple[Trajectory, Stats]]) -> dict[str, object]:
    """The figures of some episodes. Times in seconds, rates per action; tokens summed over all episodes."""
    actions = sum(len(t.steps) for t, _ in finished)
    stats = [s for _, s in finished]
    count = max(1, len(finished))
    return {
        "episodes": len(finished),
        "successes": sum(t.success for t, _ in finished),
        "actions": actions,
        "tokens_reused": sum(s.reused for s in stats),
        "tokens_evaluated": sum(s.evaluated for s in stats),
        "tokens_generated": sum(s.generated for s in stats),
        "first_action_seconds": sum(s.first_action_seconds for s in stats) / count,
        "action_seconds": sum(s.deciding_seconds for s in stats) / max(1, actions),
        "retrieval_seconds": sum(s.retrieval_seconds for s in stats) / count,
        "environment_seconds": sum(s.environment_seconds for s in stats) / max(1, actions),
    }


def show_summary(console: Console, figures: dict[str, object]) -> None:
    """The summary as a small table."""
    f = figures
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    rows = [
        ("success", f"{f['successes']} of {f['episodes']} episodes, {f['actions']} actions"),
        ("tokens", f"{f['tokens_reused']:,} reused, {f['tokens_evaluated']:,} evaluated, {f['tokens_generated']:,} decided by the model"),
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
