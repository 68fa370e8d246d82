"""The one reporter of long work: a bar for each stage with done of total, rate and time left, and remarks above them, on standard error.

Importing this loads no display library; the first stage that is told does. Knows nothing of what the work is.
"""

from typing import TYPE_CHECKING, Any, Literal

from edgexp.terminal import clean, console

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

Unit = Literal["things", "bytes", "share"]
"""What is counted: things, bytes, or something that is shown as a share of all only."""


class Bars:
    """Bars by the names of their stages. Use it as a context manager. An empty one draws nothing, not even an empty line."""

    def __init__(self, unit: Unit = "things", *, quiet: bool = False, keep: bool = False, slow: bool = False):
        """`quiet` shows no bars and no remarks. `keep` leaves the bars on the screen in the end. `slow` is for things that take a minute
        each: the rate is then measured from the beginning.
        """
        self._unit, self._quiet, self._keep, self._slow = unit, quiet, keep, slow
        self._shown: Progress | None = None
        self._stages: dict[str, TaskID] = {}

    def __enter__(self) -> "Bars":
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown is not None and self._stages:
            self._shown.stop()

    def tell(self, stage: str, done: int, total: int | None, note: str = "") -> None:
        """So much of a stage is done, of so much (None where nobody knows); the note stands behind the bar."""
        shown = self._display()
        if stage not in self._stages:
            shown.start()
            self._stages[stage] = shown.add_task(clean(stage), total=total, note=clean(note))
        shown.update(self._stages[stage], completed=done, total=total, note=clean(note))

    def say(self, text: str) -> None:
        """A remark, above the bars."""
        if not self._quiet:
            self._display().console.print(clean(text), style="dim")

    def _display(self) -> "Progress":
        if self._shown is None:
            from rich.progress import Progress

            options: dict[str, Any] = {"speed_estimate_period": 1e9} if self._slow else {}
            # Rich would print what others print on standard output and error, colours and links of theirs included.
            options |= {"redirect_stdout": False, "redirect_stderr": False, "console": console(err=True, quiet=self._quiet)}
            self._shown = Progress(*_columns(self._unit), transient=not self._keep, disable=self._quiet, **options)
        return self._shown


def _columns(unit: Unit) -> "list[ProgressColumn]":
    from rich import progress

    label = progress.TextColumn("{task.description:<8}", markup=False)
    note = progress.TextColumn("{task.fields[note]}", style="dim", markup=False)
    counted: dict[str, list[ProgressColumn]] = {
        "things": [progress.MofNCompleteColumn(), _rate_column()],
        "bytes": [progress.DownloadColumn(), progress.TransferSpeedColumn()],
        "share": [progress.TaskProgressColumn()],
    }
    return [label, progress.BarColumn(bar_width=24), *counted[unit], note, progress.TimeRemainingColumn()]


def _rate_column() -> "ProgressColumn":
    """Things a second; nothing where a stage says more by its note."""
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            shown = "" if speed is None or task.fields["note"] else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s"
            return Text(shown, style="dim")

    return Rate()
