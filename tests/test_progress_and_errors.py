"""The one progress bar and the two errors."""

import subprocess
import sys

import pytest
from rich.progress import Task

from edgexp.errors import EdgexpError, UsageError
from edgexp.progress import Rate, bar


def make_task(speed: float | None) -> Task:
    """A task that goes at a speed, in items per second."""

    class Timed(Task):
        @property
        def speed(self) -> float | None:  # type: ignore[override]
            return speed

    return Timed(1, "x", 100, 10, _get_time=lambda: 0.0)  # type: ignore[call-arg]


@pytest.mark.parametrize(("speed", "text"), [(None, ""), (0.25, "0.2/s"), (9.94, "9.9/s"), (10, "10/s"), (12345.6, "12,346/s")])
def test_a_rate_is_short_whatever_its_size(speed: float | None, text: str) -> None:
    assert Rate().render(make_task(speed)).plain == text


def test_a_bar_goes_to_standard_error_and_leaves_nothing_on_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    with bar("Adding") as progress:
        task = progress.add_task("", total=3)
        for _ in range(3):
            progress.advance(task)
    captured = capfd.readouterr()
    assert captured.out == "" and progress.tasks[task].completed == 3


def test_exit_codes_tell_failure_from_wrong_usage() -> None:
    assert (EdgexpError.exit_code, UsageError.exit_code) == (1, 2) and issubclass(UsageError, EdgexpError)


def test_errors_cost_nothing_to_import() -> None:
    """Everything imports them: they import nothing."""
    code = "import sys; before = set(sys.modules); import edgexp.errors; print(sorted(set(sys.modules) - before))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert printed == "['edgexp', 'edgexp.errors']"
