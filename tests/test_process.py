"""Our own Python in a child: called with its argument, heard to its answer, and explained when it dies."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from process_works import Order, Told, answer_and_hang, chatter, count, go_wrong, look, tell

import edgexp
from edgexp import process
from edgexp.errors import EdgexpError, UsageError
from edgexp.process import LOGS, STEPS, ChildDied, call, death_in_words, last_line, messages, start

posix = pytest.mark.skipif(os.name == "nt", reason="signals are another matter there")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and a child that finds the functions of these tests."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("EDGEXP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def logs(home: Path) -> list[Path]:
    return sorted((home / "logs").glob("*")) if (home / "logs").exists() else []


def died(what: str, number: int = 0, limit: float | None = None) -> ChildDied:
    with pytest.raises(ChildDied) as error:
        call(go_wrong, Order(what, number), "trying", limit=limit)
    assert "\n" not in str(error.value)
    return error.value


# Going well


def test_an_argument_goes_there_and_an_answer_comes_back(home: Path) -> None:
    told = call(tell, Order("größer 🐢", 7), "telling", environment={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"})
    assert isinstance(told, Told) and told.order == Order("größer 🐢", 7)
    assert told.variables["OMP_WAIT_POLICY"] == "PASSIVE" and logs(home) == []


def test_the_child_finds_this_very_edgexp_and_not_what_lies_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "msgspec.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    told = call(tell, Order("where"), "telling")
    assert str(tmp_path) not in told.path and "" not in told.path
    assert told.path[0] == str(Path(edgexp.__file__).parents[1])


def test_progress_is_heard_to_the_end_and_sparingly() -> None:
    heard: list[tuple[int, int]] = []
    assert call(count, Order("", 5000), "counting", progress=lambda *step: heard.append(step)) == 5000
    assert heard[0] == (0, 5000) and heard[-1] == (5000, 5000)
    assert len(heard) == STEPS + 1 and heard == sorted(heard)


def test_what_is_printed_is_no_message(home: Path) -> None:
    assert call(chatter, Order("the real one"), "chatting") == "the real one"
    assert logs(home) == []


def test_lines_that_are_no_messages_are_passed_over() -> None:
    code = r"import sys; sys.stdout.buffer.write(b'noise\n\xff\xfe\n\n3\n[1\n4\n')"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert list(messages(child, msgspec.json.Decoder(int).decode)) == [3, 4]


# Errors made for people


@pytest.mark.parametrize(("what", "kind", "says"), [
    ("told", EdgexpError, "the base is cut short"),
    ("usage", UsageError, "there is no such type"),
    ("memory", EdgexpError, "there is not enough memory"),
    ("disk", EdgexpError, "/x/y: No space left on device"),
])  # fmt: skip
def test_an_error_for_people_is_the_same_here_and_brings_where_it_was_raised(home: Path, what: str, kind: type, says: str) -> None:
    with pytest.raises(EdgexpError) as error:
        call(go_wrong, Order(what), "trying")
    assert type(error.value) is kind and str(error.value) == says
    assert "process_works.py" in error.value.details and "Traceback" in error.value.details
    assert logs(home) == []


# Dying


def test_a_bug_is_one_line_that_names_the_log_with_its_traceback(home: Path) -> None:
    error = died("bug")
    (log,) = logs(home)
    assert str(error) == f"trying failed: the process ended with status 1; it last said: ZeroDivisionError: by nothing (log: {log})"
    text = log.read_text()
    assert text.startswith("noise\n") and "process_works.py" in text and "Traceback" in text and error.details == text
    assert log.name.split("-")[2] == "go_wrong"


@posix
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_signal_is_named(home: Path, number: signal.Signals) -> None:
    error = died("signal", number)
    memory = " (is there enough memory?)" if number == signal.SIGKILL else ""
    (log,) = logs(home)
    assert str(error) == f"trying failed: the process was killed by {number.name}{memory}; it last said: GGML_ASSERT(x) failed (log: {log})"
    assert error.code == -number


def test_a_death_without_a_word_leaves_no_log(home: Path) -> None:
    error = died("exit", 7)
    assert str(error) == "trying failed: the process ended with status 7"
    assert (error.code, error.last_words, error.details, logs(home)) == (7, "", "", [])


def test_an_end_without_an_answer_is_a_death() -> None:
    assert str(died("exit", 0)) == "trying failed: the process ended with status 0"


def test_what_takes_too_long_is_ended() -> None:
    error = died("hang", limit=1.0)
    assert str(error) == "trying failed: the process took too long and was ended" and error.code is None


def test_an_answer_counts_when_the_process_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time is up right after the answer, in this test."""
    listen, ends = process._listen, []

    class Timer:
        def __init__(self, seconds: float, end: Callable[[], None]) -> None:
            ends.append(end)

        def start(self) -> None:
            """Not by the clock."""

        cancel = start

    def answered(*arguments: Any) -> Any:
        answer = listen(*arguments)
        ends[0]()
        return answer

    monkeypatch.setattr(process.threading, "Timer", Timer)
    monkeypatch.setattr(process, "_listen", answered)
    assert call(answer_and_hang, Order("done"), "trying", limit=600) == "done"


def test_a_function_that_is_not_there_is_a_death(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tell, "__qualname__", "nothing")
    with pytest.raises(ChildDied, match="has no attribute 'nothing'"):
        call(tell, Order(""), "telling")


def test_a_child_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = subprocess.Popen
    monkeypatch.setattr(process.subprocess, "Popen", lambda _, **rest: opened([sys.executable, "-c", "raise SystemExit('no')"], **rest))
    with pytest.raises(ChildDied, match="ended with status 1; it last said: no "):
        call(tell, Order("x" * 1_000_000), "telling")


def test_an_interrupt_here_ends_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(process, "start", lambda *a, **k: started.append(start(*a, **k)) or started[-1])

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(go_wrong, Order("hang"), "trying", progress=interrupt)
    assert started[0].returncode is not None


def test_old_logs_make_room(home: Path) -> None:
    (home / "logs").mkdir(parents=True)
    for number in range(LOGS + 5):
        (home / "logs" / f"20200101-{number:06d}-work-1.log").write_text("old")
    died("bug")
    assert len(logs(home)) == LOGS and logs(home)[-1].read_text().startswith("noise")


def test_a_home_that_cannot_be_written_to_costs_the_log_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEXP_HOME", str(tmp_path / "file"))
    error = died("bug")
    assert str(error).endswith("ZeroDivisionError: by nothing") and "Traceback" in error.details


# Words


def test_deaths_in_words() -> None:
    assert death_in_words(0) == "ended with status 0" and death_in_words(137) == "ended with status 137"
    assert death_in_words(-200) == "was killed by signal 200"


@given(st.text())
@settings(max_examples=200)
def test_the_last_line_is_one_line_of_what_was_said(said: str) -> None:
    last = last_line(said)
    assert last == last.strip() and len(last.splitlines()) <= 1 and last in said
    assert bool(last) == bool(said.strip())


# On the command line


SCRIPT = """
import sys
from edgexp.cli import main
from edgexp.cli.doctor_command import doctor
from edgexp.process import call
from process_works import Order, go_wrong
doctor.callback = lambda **_: call(go_wrong, Order(sys.argv[-1]), "trying")
main(sys.argv[1:-1])
"""


@pytest.mark.parametrize("what", ["bug", "told"])
def test_the_childs_traceback_is_shown_with_debug_and_only_then(what: str) -> None:
    quiet, loud = (
        subprocess.run([sys.executable, "-c", SCRIPT, *flags, "doctor", what], capture_output=True, text=True, check=False)
        for flags in ([], ["--debug"])
    )
    assert quiet.returncode == 1 and quiet.stderr.count("\n") == 1 and quiet.stderr.startswith("edgexp: ")
    assert loud.returncode == 1 and 'process_works.py"' in loud.stderr and ", in go_wrong" in loud.stderr
    assert loud.stderr.count("Traceback") == 2, "the child's and ours"


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="file systems there know Unicode names only")
def test_names_that_are_not_utf_8_reach_the_child(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9")
    path.write_bytes(b"four")
    assert call(look, Order(str(path)), "looking") == 4
    with pytest.raises(EdgexpError, match="No such file") as caught:
        call(look, Order(str(path) + "?"), "looking")
    assert str(caught.value).encode() and "caf" in str(caught.value)
