"""A client of py4j's gateway: makes one object of a Java class and calls its methods, over a socket of this machine.

It speaks the few words of py4j's line protocol that our servers need: strings, numbers, truth values and lists. py4j's own client takes
no time limit for a single call, swallows Ctrl-C in the middle of one, and prints a traceback for every server that dies.

A command is a line with its letter, lines of its parts, and `e`; a part and an answer begin with the letter of their type.
"""

import re
import socket
from collections.abc import Callable
from typing import Any

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
