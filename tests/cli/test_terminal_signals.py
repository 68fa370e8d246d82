"""Ctrl-C and SIGTERM at any moment: one line, an exit code, no traceback.

25 moments for each command and signal; more by `EDGEXP_FUZZ_ROUNDS`, see `fuzzing.py`.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from fuzzing import ROUNDS

import edgexp

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")]

MOMENTS = 25 * ROUNDS
RUN = ("run", "terminal_toys:Saying", "--policy", "terminal_toys:player", "--memory", "off")
PATHS = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(edgexp.__file__).parents[1])])

# The program from its first own line on; before that it is Python that starts, which no program can change.
STARTED = """
import os, runpy, sys
from edgexp import signals
signals.install()
os.write(1, b"!")
sys.argv[0] = "edgexp"
runpy.run_module("edgexp", run_name="__main__", alter_sys=True)
"""


def start(arguments: Sequence[str], code: str = STARTED, **more: str) -> "subprocess.Popen[bytes]":
    """The program, just started."""
    pipe = subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": PATHS, **more}
    child = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=pipe, stderr=pipe, env=environment)
    assert child.stdout and child.stdout.read(1) == b"!"
    return child


def how_long(arguments: Sequence[str]) -> float:
    """Seconds that the command takes."""
    begun = time.monotonic()
    start(arguments).communicate(timeout=120)
    return time.monotonic() - begun


@pytest.mark.parametrize("arguments", [("envs", "ls"), (*RUN, "-n", "1"), ("--help",)], ids=lambda a: a[0])
@pytest.mark.parametrize(("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")])
def test_a_signal_at_any_moment_is_one_line(arguments: Sequence[str], number: signal.Signals, code: int, word: str) -> None:
    moments, whole = random.Random(7), how_long(arguments)
    for _ in range(MOMENTS):
        child = start(arguments)
        time.sleep(moments.uniform(0, whole))
        child.send_signal(number)
        err = child.communicate(timeout=60)[1].decode()
        assert "Traceback" not in err
        if child.returncode != 0:  # else it was over before
            line = err.splitlines()[-1]
            assert child.returncode == code and (line == word or line.startswith("interrupted; ")), err
            assert sum(shown.startswith(("interrupted", "terminated")) for shown in err.splitlines()) == 1


def test_signals_stand_before_anything_slow_is_imported() -> None:
    code = "import sys; before = set(sys.modules); import edgexp.signals; print(sorted(set(sys.modules) - before))"
    environment = {**os.environ, "PYTHONPATH": PATHS}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert set(json.loads(done.stdout.replace("'", '"'))) <= {"edgexp", "edgexp.signals", "_signal", "_thread", "time"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_ended_is_kept(number: signal.Signals, code: int, tmp_path: Path) -> None:
    record = tmp_path / "run.jsonl"
    child = start((*RUN, *["--task", "saying/dev/0"] * 50, "--record", str(record)), SLOW="0.1")
    while not record.exists() or record.read_bytes().count(b"\n") < 2:
        time.sleep(0.02)
    child.send_signal(number)
    err = child.communicate(timeout=60)[1].decode()
    assert child.returncode == code and err.splitlines()[-1].startswith("interrupted; ") and "Traceback" not in err
    assert all(json.loads(line)["trajectory"]["success"] for line in record.read_text("utf-8").splitlines())


def script(body: str) -> str:
    """The program with another `doctor`."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return "import os, sys, time\nfrom edgexp.__main__ import main\nfrom edgexp.cli.doctor_command import doctor\n" \
           f"def work(**_):\n{lines}\n" \
           "doctor.callback = work\nsys.argv[1:] = ['doctor']\nmain()\n"


def test_an_error_that_says_so_itself_is_the_one_line() -> None:
    body = "from edgexp.errors import EdgexpError\nos.write(1, b'!')\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n" \
           "    raise EdgexpError('interrupted; what was fetched is kept')"
    child = start((), script(body))
    time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=30)[1] == b"interrupted; what was fetched is kept\n" and child.returncode == 130


@pytest.mark.parametrize("body", [
    "os.write(1, b'!')\ntime.sleep(60)",
    "os.write(1, b'!')\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    raise RuntimeError('a library made this of it')",
    "os.write(1, b'!')\ntry:\n    time.sleep(60)\nexcept BaseException:\n    pass",
    "class Dying:\n    def __del__(self):\n        os.write(1, b'!')\n        time.sleep(2)\nit = Dying()\ndel it\ntime.sleep(60)",
    "os.write(1, b'!')\nimport click\nclick.confirm('?', err=True)",
], ids=["plain", "another error", "swallowed", "in a destructor", "at a question"])
def test_no_code_can_lose_the_first_one(body: str) -> None:
    child = start((), script(body))
    time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    err = child.communicate(timeout=30)[1].decode() if "confirm" in body else child.stderr.read().decode()  # type: ignore[union-attr]
    assert child.wait() == 130 and err.splitlines()[-1] == "interrupted" and "Traceback" not in err, err


@pytest.mark.parametrize("body", [
    "os.write(1, b'!')\nwhile True:\n    try:\n        time.sleep(60)\n    except KeyboardInterrupt:\n        pass",
    # Blocked here, the signal goes to another thread, and this one stays in its call as it would in a library's computation.
    "import ctypes, signal\nlibc = ctypes.CDLL(None)\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\nos.write(1, b'!')\n"
    "libc.sleep(60)",
], ids=["deaf Python", "in C"])
def test_a_second_one_ends_it_at_once(body: str) -> None:
    child = start((), script(body))
    time.sleep(0.2)
    child.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert child.poll() is None
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=20) == 130
    assert "Traceback" not in child.communicate()[1].decode()


def test_two_that_come_together_are_one() -> None:
    """A terminal and a parent process often both send it: the command still keeps what it has."""
    body = "try:\n    os.write(1, b'!')\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    time.sleep(0.5)\n    print('kept')\n    raise"
    child = start((), script(body))
    child.send_signal(signal.SIGINT)
    time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (130, b"kept\n", b"interrupted\n")


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + script("os.write(1, b'!')\ntime.sleep(0.5)\nprint('done')")
    child = start((), code)
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=30) == (b"done\n", b"") and child.returncode == 0
