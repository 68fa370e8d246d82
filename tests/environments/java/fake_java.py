"""Stands in for Java: a process that greets as py4j's server does, and answers its line protocol over a socket. Ends when its input does.

Its one object adds, echoes, lists, raises, hangs and dies when it is told to. Class `Missing` cannot be made.
"""

import os
import socket
import sys
import threading
import time
from typing import Any

SECRET = "swordfish"
LISTS: dict[str, list[str]] = {}
"""Lists that were given out and not yet dropped, by id."""


def end_with_input() -> None:
    """As a JVM under `--die-on-broken-pipe`."""
    sys.stdin.read()
    os._exit(0)


def answer(command: list[str]) -> str:
    """The answer to a command: its letter and the lines of its parts."""
    letter, *parts = command
    if letter == "i":
        return "!xsno class of that name" if parts[0] == "Missing" else "!yro7"
    if letter == "m":
        LISTS.pop(parts[1])
        return "!yv"
    target, method, *arguments = parts
    if target in LISTS:
        return f"!yi{len(LISTS[target])}" if method == "size" else f"!ys{LISTS[target][int(arguments[0][1:])]}"
    if target == "o9":
        return "!ysjava.lang.Oops: it broke\\n\\tat line 3"
    return call(method, arguments)


def call(method: str, arguments: list[str]) -> str:
    """What the object does."""
    if method == "echo":
        return "!y" + arguments[0]
    if method == "kinds":
        return "!ys" + "".join(argument[0] for argument in arguments)
    if method == "number":
        return "!y" + {"long": "L41", "double": "d0.25", "true": "btrue", "false": "bfalse", "null": "n", "void": "v"}[arguments[0][1:]]
    if method == "list":
        LISTS["l1"] = ["a", "b\\nc"]
        return "!yll1"
    if method == "held":
        return f"!yi{len(LISTS)}"
    if method == "raise":
        return "!xro9"
    if method == "odd":
        return "!y?what is this"
    if method == "die":
        sys.stdout.write("chatter\njava.lang.OutOfMemoryError: Java heap space\n")
        sys.stdout.flush()
        time.sleep(0.2)
        os._exit(3)
    time.sleep(600)
    return ""


def serve(connection: Any) -> None:
    """One connection: the secret first, then command after command."""
    lines = connection.makefile("rb")

    def say(text: str) -> None:
        connection.sendall(text.encode() + b"\n")

    if lines.readline() != b"A\n" or lines.readline().decode().rstrip("\n") != SECRET:
        say("!xsAuthentication error")
        return
    say("!yv")
    command: list[str] = []
    for line in lines:
        text = line.decode().rstrip("\n")
        if text != "e":
            command.append(text)
            continue
        say(answer(command))
        command = []


def main() -> None:
    """Greet, then serve whoever comes."""
    threading.Thread(target=end_with_input, daemon=True).start()
    listener = socket.create_server(("127.0.0.1", 0))
    print("a warning that comes first", flush=True)
    print(f"{listener.getsockname()[1]}\n{SECRET}", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


main()
