"""`Server` and `Gateway` against a process of the tests' own that talks as py4j's server does; needs neither Java nor py4j."""

import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.environments.java import gateway
from edgexp.environments.java.gateway import Gateway, JavaError, Server, _part, _unescape
from edgexp.errors import EdgexpError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in for Java is a shell script")

FAKE = Path(__file__).with_name("fake_java.py")


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `java` that is the stand-in, a py4j that knows where its JAR is, and a JAR."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "java"
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {tmp_path}/arguments\npwd > {tmp_path}/folder\nexec {sys.executable} {FAKE}\n")
    program.chmod(0o755)
    py4j, inner = ModuleType("py4j"), ModuleType("py4j.java_gateway")
    inner.find_jar_path = lambda: "py4j.jar"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "py4j", py4j)
    monkeypatch.setitem(sys.modules, "py4j.java_gateway", inner)
    monkeypatch.setattr(gateway, "find_java", lambda: program)
    (tmp_path / "games").mkdir()
    return tmp_path / "games" / "games.jar"


@pytest.fixture
def server(java: Path) -> Iterator[Server]:
    made = Server(java, "Entry")
    yield made
    made.close()
    assert not made.alive()


def ended(pid: int, seconds: float = 20.0) -> bool:
    """Whether there is no such process before long; one that nobody has waited for counts as ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            done, _ = os.waitpid(pid, os.WNOHANG)
            if done == pid:
                return True
        except ChildProcessError:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return True
        time.sleep(0.02)
    return False


# What goes over the wire


@given(st.text())
def test_text_of_any_kind_is_one_line_and_comes_back(text: str) -> None:
    line = _part(text)
    assert "\n" not in line and "\r" not in line and line[0] == "s"
    assert _unescape(line[1:]) == text


@pytest.mark.parametrize(("value", "line"), [
    (True, "bTrue"), (False, "bFalse"), (7, "i7"), (-1, "i-1"), (0.5, "d0.5"), ("7", "s7"), ("", "s"),
])  # fmt: skip
def test_values_say_of_what_kind_they_are(value: object, line: str) -> None:
    assert _part(value) == line  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "plain", "two\nlines", "\r\n", "back\\slash", "\\n", "日本 👣", "x" * 100_000, "!y", "e", "A"])
def test_texts_are_echoed(server: Server, text: str) -> None:
    assert server.call("echo", text) == text


@pytest.mark.parametrize(("name", "value"), [
    ("long", 41), ("double", 0.25), ("true", True), ("false", False), ("null", None), ("void", None),
])  # fmt: skip
def test_answers_of_every_kind(server: Server, name: str, value: object) -> None:
    found = server.call("number", name)
    assert found == value and type(found) is type(value)


def test_arguments_keep_their_kinds(server: Server) -> None:
    assert server.call("kinds", "a", 1, True, 0.5, "") == "sibds"


def test_a_list_is_read_and_given_back(server: Server) -> None:
    assert server.call("list") == ["a", "b\nc"]
    assert server.call("held") == 0  # the server keeps nothing for us


def test_many_calls_follow_one_another(server: Server) -> None:
    assert [server.call("echo", n) for n in range(200)] == list(range(200))


# What goes wrong


def test_what_is_raised_is_told_in_a_line_and_ends_the_server(server: Server) -> None:
    with pytest.raises(JavaError, match=r"^Java raised in raise: java\.lang\.Oops: it broke$"):
        server.call("raise")
    assert not server.alive()


def test_an_answer_nobody_expected_ends_the_server(server: Server) -> None:
    with pytest.raises(JavaError, match=r"an answer of a kind nobody expected: \?what is this"):
        server.call("odd")
    assert not server.alive()


def test_a_call_that_hangs_is_ended_in_time(server: Server) -> None:
    with pytest.raises(JavaError, match="did not answer hang within 0 s and was ended"):
        server.call("hang", seconds=0.2)
    assert not server.alive() and ended(server.pid)


def test_a_death_is_told_with_the_last_words(server: Server) -> None:
    with pytest.raises(JavaError, match=r"Java died in die \(exit code 3: java\.lang\.OutOfMemoryError: Java heap space\)"):
        server.call("die")
    assert not server.alive()


def test_a_server_that_was_killed_answers_nothing_any_more(server: Server) -> None:
    os.kill(server.pid, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(JavaError, match="echo"):
            server.call("echo", "anybody there?")
        assert not server.alive()


def test_ctrl_c_in_a_call_ends_the_server(server: Server) -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        server.call("hang", seconds=60)
    timer.join()
    assert not server.alive()


def test_a_server_closed_by_another_thread_ends_the_call(server: Server) -> None:
    timer = threading.Timer(0.3, server.close)
    timer.start()
    with pytest.raises(JavaError, match="hang"):
        server.call("hang", seconds=60)
    timer.join()


# How it starts and ends


def test_it_starts_with_a_capped_heap_where_its_data_lies(java: Path) -> None:
    server = Server(java, "Entry", heap=123)
    given = (java.parents[1] / "arguments").read_text().splitlines()
    server.close()
    assert given[0] == "-Xmx123m" and "-XX:hashCode=2" in given
    assert given[given.index("-cp") + 1] == os.pathsep.join(("py4j.jar", str(java)))
    assert given[given.index("-cp") + 2 :] == ["py4j.GatewayServer", "--die-on-broken-pipe", "--enable-auth", "0"]
    assert (java.parents[1] / "folder").read_text().strip() == str(java.parent)


def test_two_servers_side_by_side_know_nothing_of_each_other(java: Path, server: Server) -> None:
    other = Server(java, "Entry")
    assert other.pid != server.pid
    with pytest.raises(JavaError):
        other.call("die")
    assert server.call("echo", "still here") == "still here"


def test_a_class_that_cannot_be_made_leaves_nothing(java: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    launch = gateway._launch
    monkeypatch.setattr(gateway, "_launch", lambda *given: started.append(launch(*given)) or started[0])
    with pytest.raises(JavaError, match=r"could not start games\.jar"):
        Server(java, "Missing")
    assert started[0].poll() is not None


@pytest.mark.parametrize(("script", "wrong"), [
    ("echo 'Could not reserve enough space for the heap'; exit 1", r"could not start games\.jar: Could not reserve enough space"),
    ("exit 1", "it said nothing within"),
    ("exec sleep 60", "it said nothing within"),
    ("echo 1; echo secret; exec sleep 60", r"could not start games\.jar: .*refused"),
])  # fmt: skip
def test_a_start_that_fails_says_why(java: Path, script: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = gateway.find_java()
    program.write_text(f"#!/bin/sh\n{script}\n")
    monkeypatch.setattr(gateway, "START_SECONDS", 0.5)
    with pytest.raises(JavaError, match=wrong):
        Server(java, "Entry")


def test_a_program_that_cannot_run_is_told(java: Path) -> None:
    gateway.find_java().chmod(0o644)
    with pytest.raises(JavaError, match=r"Java could not be started: .*ermission"):
        Server(java, "Entry")


def test_without_py4j_it_says_how_to_get_it(java: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py4j.java_gateway", None)
    with pytest.raises(EdgexpError, match=r"py4j is not installed, which games\.jar is called through"):
        Server(java, "Entry")


def test_closing_twice_is_fine_and_leaves_no_process(java: Path) -> None:
    server = Server(java, "Entry")
    server.close()
    server.close()
    assert not server.alive() and ended(server.pid)


def test_a_dropped_server_is_ended(java: Path) -> None:
    server = Server(java, "Entry")
    pid = server.pid
    del server
    gc.collect()
    assert ended(pid)


def test_it_ends_when_its_input_does(java: Path) -> None:
    """So it does when we are killed and no handler of ours runs."""
    server = Server(java, "Entry")
    assert server._process.stdin is not None
    server._process.stdin.close()
    assert server._process.wait(20) == 0
    server.close()


def test_a_forked_child_leaves_the_parents_server_alone(server: Server) -> None:
    gateway._end(server._process, os.getpid() + 1)
    assert server.alive() and server.call("echo", "still here") == "still here"


@pytest.mark.parametrize("guess", ["", "a guess", "swordfis", "swordfish "])
def test_a_gateway_wants_its_secret(server: Server, guess: str) -> None:
    assert server._gateway is not None
    port = server._gateway._socket.getpeername()[1]
    with pytest.raises(OSError, match="secret"):
        Gateway(port, guess, 5)
    assert server.call("echo", "in") == "in"


def test_nobody_at_the_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(OSError):
        Gateway(port, "secret", 1)
