"""Standard output and standard error as they are found: closed, full, gone, of any encoding; and who may write to them."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import edgexp

PACKAGE = Path(edgexp.__file__).parent
RUN = ("run", "terminal_toys:Saying", "--policy", "terminal_toys:player", "--memory", "off", "-n", "1")
COMMANDS = [RUN, (*RUN, "--json"), ("envs", "ls"), ("--help",), ("run", "--help"), ("models", "ls"), ("run", "nowhere"),
            ("eval", "smoke", "--show")]
posix = pytest.mark.skipif(sys.platform == "win32", reason="shells of POSIX")


def variables(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), str(PACKAGE.parent)]), **more}


def call(arguments: Sequence[str], **settings: Any) -> "subprocess.CompletedProcess[bytes]":
    more = settings.pop("more", {})
    command = [sys.executable, "-m", "edgexp", *arguments]
    return subprocess.run(command, **{"capture_output": True, "env": variables(**more), "check": False, "timeout": 120} | settings)


def shell(text: str, arguments: Sequence[str]) -> "subprocess.CompletedProcess[bytes]":
    """A shell command, in which `$@` is edgexp with the arguments."""
    command = ["bash", "-c", text, "bash", sys.executable, "-m", "edgexp", *arguments]
    return subprocess.run(command, capture_output=True, env=variables(), check=False, timeout=120)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-16"])
def test_no_encoding_makes_a_traceback(encoding: str) -> None:
    done = call(RUN, more={"PYTHONIOENCODING": encoding, "HOSTILE": json.dumps("漢 ✓ \x1b]52;c;x\x07")})
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    shown = done.stdout.decode(encoding)
    assert "done in 1 actions" in shown and "\x1b" not in shown


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_json_is_the_same_in_any_encoding(encoding: str) -> None:
    text = "漢 ✓ é \x9b \u202e"
    done = call((*RUN, "--json"), more={"PYTHONIOENCODING": encoding, "HOSTILE": json.dumps(text)})
    assert json.loads(done.stdout.splitlines()[0])["trajectory"]["goal"] == f"say {text}"


def test_the_c_locale_makes_no_traceback() -> None:
    done = call(RUN, more={"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert done.returncode == 0 and b"Traceback" not in done.stderr


@posix
@pytest.mark.parametrize("arguments", COMMANDS[:4])
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "<&-"])
def test_closed_streams_change_nothing(arguments: Sequence[str], closed: str) -> None:
    done = shell(f'"$@" {closed}', arguments)
    assert done.returncode == 0 and b"Traceback" not in done.stderr


@posix
def test_with_output_closed_no_file_gets_it(tmp_path: Path) -> None:
    """The first file that is opened takes the number of the closed stream; what is printed must not land in it."""
    record = tmp_path / "run.jsonl"
    assert shell('NOISE=1 "$@" >&- 2>&-', (*RUN, "--record", str(record))).returncode == 0
    assert [json.loads(line)["trajectory"]["success"] for line in record.read_text("utf-8").splitlines()] == [True]


@posix
@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_reader_that_has_gone_ends_the_command_quietly(arguments: Sequence[str]) -> None:
    done = shell('"$@" | true; exit ${PIPESTATUS[0]}', arguments)
    assert done.returncode in (0, 2) and b"Traceback" not in done.stderr and b"Exception" not in done.stderr
    assert (done.returncode == 2) == (arguments[-1] == "nowhere")
    assert not done.stderr or arguments[0] == "run"


@posix
@pytest.mark.parametrize("arguments", COMMANDS[:4])
def test_standard_error_may_go_too(arguments: Sequence[str]) -> None:
    assert shell('"$@" 2> >(true)', arguments).returncode == 0
    assert shell('"$@" 2>&1 | true; exit ${PIPESTATUS[0]}', ("run", "nowhere")).returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [*COMMANDS[:6], COMMANDS[7]])
def test_a_full_disk_is_one_line(arguments: Sequence[str]) -> None:
    done = shell('"$@" >/dev/full', arguments)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == "edgexp: standard output: No space left on device"
    assert b"Traceback" not in done.stderr and shell('"$@" >/dev/full 2>&1', arguments).returncode == 1


@posix
def test_json_is_alone_on_standard_output_whoever_prints() -> None:
    """The environment prints by `print`, as bytes, past Python, from C and from a child process."""
    done = call((*RUN, "--json"), more={"NOISE": "1"})
    assert done.returncode == 0
    assert [sorted(json.loads(line)) for line in done.stdout.splitlines()][1:] == [["summary"]]
    for way in ("from print", "from bytes", "past Python", "from C", "from a child"):
        assert f"noise {way}" in done.stderr.decode()


@posix
def test_json_of_a_pipe_with_standard_error_closed() -> None:
    done = shell('NOISE=1 "$@" 2>&-', (*RUN, "--json"))
    assert done.returncode == 0 and [bool(json.loads(line)) for line in done.stdout.splitlines()] == [True, True]


# Errors


BUG = """
import sys
from edgexp.cli import main
from edgexp.cli.doctor_command import doctor
def fail(**_):
    raise KeyError("\\x1b]52;c;x\\x07 two\\nlines")
doctor.callback = fail
main(sys.argv[1:])
"""


@pytest.mark.parametrize("arguments", [["doctor"], ["--debug", "doctor"], ["doctor", "--debug"]])
def test_a_bug_is_one_line_and_a_log_and_a_traceback_with_debug(arguments: list[str], tmp_path: Path) -> None:
    environment = variables(EDGEXP_HOME=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", BUG, *arguments], capture_output=True, env=environment, text=True, check=False)
    assert done.returncode == 1 and "\x1b" not in done.stderr
    if "--debug" in arguments:
        assert "Traceback" in done.stderr and "in fail" in done.stderr
    else:
        assert done.stderr.count("\n") == 1 and done.stderr.startswith("edgexp: this is a bug of edgexp: KeyError: ")
        (log,) = (tmp_path / "logs").glob("*.log")
        assert str(log) in done.stderr and "in fail" in log.read_text("utf-8") and "\x1b" not in log.read_text("utf-8")


def test_a_bug_with_no_place_for_a_log_is_one_line_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder")
    environment = variables(EDGEXP_HOME=str(tmp_path / "home"))
    done = subprocess.run([sys.executable, "-c", BUG, "doctor"], capture_output=True, env=environment, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "edgexp --debug" in done.stderr


@pytest.mark.parametrize("arguments", [["--debug", "run", "nowhere"], ["run", "nowhere", "--debug"], ["run", "--debug", "nowhere"]])
def test_debug_stands_anywhere(arguments: list[str]) -> None:
    done = call(arguments)
    assert done.returncode == 2 and b"Traceback" in done.stderr and b"no environment is called 'nowhere'" in done.stderr


def test_after_two_dashes_debug_is_an_argument() -> None:
    assert b"no environment is called '--debug'" in call(["run", "--", "--debug"]).stderr
