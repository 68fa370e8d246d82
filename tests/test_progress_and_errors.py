"""The one progress bar and the two errors."""

import subprocess
import sys
from typing import Any

import pytest

from edgexp.errors import EdgexpError, UsageError
from edgexp.progress import Bars


def drawn(capfd: pytest.CaptureFixture[str], *told: tuple[str, int, int | None, str], **how: Any) -> str:
    """What bars leave on standard error; nothing of theirs may be on standard output."""
    with Bars(keep=True, **how) as bars:
        for stage in told:
            bars.tell(*stage)
    captured = capfd.readouterr()
    assert captured.out == ""
    return captured.err


def test_a_bar_a_stage_with_what_is_done_and_what_is_said_of_it(capfd: pytest.CaptureFixture[str]) -> None:
    text = drawn(capfd, ("samples", 1, 3, ""), ("steps", 0, 7, "loss 0.5"), ("samples", 3, 3, ""), ("steps", 2, 7, "loss 0.25"))
    assert "samples" in text and "3/3" in text and "2/7" in text and "loss 0.25" in text


@pytest.mark.parametrize(("unit", "shown"), [("bytes", "2.0/4.0 kB"), ("share", "50%"), ("things", "2000/4000")])
def test_each_unit_is_counted_in_its_way(capfd: pytest.CaptureFixture[str], unit: str, shown: str) -> None:
    assert shown in drawn(capfd, ("all", 2000, 4000, ""), unit=unit)


def test_nothing_told_draws_nothing_and_quiet_bars_say_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert drawn(capfd) == ""
    with Bars(quiet=True) as bars:
        bars.tell("steps", 1, 2)
        bars.say("a remark")
    assert capfd.readouterr() == ("", "")


def test_remarks_are_plain_text(capfd: pytest.CaptureFixture[str]) -> None:
    with Bars() as bars:
        bars.say("[bold]not markup[/bold] :smile:")
    assert "[bold]not markup[/bold]" in capfd.readouterr().err


def test_a_stage_of_unknown_size_can_be_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert "5/?" in drawn(capfd, ("adding", 5, None, ""))


def test_the_reporter_is_light_until_something_is_told() -> None:
    code = "import sys, edgexp.progress as p\nwith p.Bars(): pass\nprint([m for m in sys.modules if m.split('.')[0] == 'rich'])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_exit_codes_tell_failure_from_wrong_usage() -> None:
    assert (EdgexpError.exit_code, UsageError.exit_code) == (1, 2) and issubclass(UsageError, EdgexpError)


def test_errors_cost_nothing_to_import() -> None:
    """Everything imports them: they import nothing."""
    code = "import sys; before = set(sys.modules); import edgexp.errors; print(sorted(set(sys.modules) - before))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert printed == "['edgexp', 'edgexp.errors']"
