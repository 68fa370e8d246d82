"""Somebody else's program as a child process that is asked line by line: in a group of its own, with a time limit, ended whole.

Nothing that it does can hold us: what it writes is read on a thread and kept within a limit, and what it does not read waits on another.
Its whole group of processes is killed when it is closed, when it says anything wrong, and when we end, killed with -9 too: a process in
the group waits for the end of a pipe that nobody but us holds open. A child of it that leaves the group on purpose is out of our reach.
Knows lines, and not what they mean.
"""

import contextlib
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from edgexp.environments import plain
from edgexp.errors import EdgexpError, UsageError
from edgexp.process import death_in_words

LONGEST_LINE = 16_000_000
"""Bytes of one line, its end included."""
_PATIENCE = 1.0
"""Seconds that a program has to end by itself once its input has ended."""
_KEPT = 20
"""Last lines of standard error that are kept."""

_WATCHED = '({ cat "/dev/fd/$0"; kill -KILL 0; } </dev/null >/dev/null 2>&1 &); exec "$@"'
"""Starts a command, and in its group a process that kills the group when the pipe `$0` ends. It is nobody's child, so that a program that
waits for its children does not wait for it."""


class ProgramFailed(EdgexpError):
    """The program died, hung, or said what is no answer. It has been ended."""


def split_command(command: str, who: str) -> list[str]:
    """The words of a command line, quoted as in a shell. Raises UsageError where there are none, or the program is not there."""
    try:
        words = shlex.split(command, posix=sys.platform != "win32")
    except ValueError as error:
        raise UsageError(f"{who}: the command cannot be read: {error}") from error
    if not words or any("\0" in word for word in words):
        raise UsageError(f"{who}: name a command, for example process:python3 doors.py")
    if shutil.which(words[0]) is None:
        raise UsageError(f"{who}: there is no program {plain.shown(words[0])}")
    return words


class Program:
    """A running program. Not for several threads at once."""

    def __init__(self, words: Sequence[str], folder: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
        """Start it, in `folder` or in the current one, with our variables or with `environment`. Raises EdgexpError where that fails."""
        pipe = subprocess.PIPE
        self._process, life = launch(words, folder, stdin=pipe, stderr=pipe, environment=environment)
        self._free = weakref.finalize(self, end, self._process, life, os.getpid())
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._said: deque[str] = deque(maxlen=_KEPT)
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lines: queue.Queue[bytes] = queue.Queue(4)  # more than one answer at a time is noise, and is not read for ever
        pipes = self._process.stdin, self._process.stdout, self._process.stderr
        works: tuple[Callable[..., None], ...] = (_write, _read, _hear)
        for work, end_of_pipe, kept in zip(works, pipes, (self._out, self._lines, self._said), strict=True):
            threading.Thread(target=work, args=(end_of_pipe, kept), daemon=True, name="program-pipe").start()

    @property
    def pid(self) -> int:
        """The program's process id, and that of its group."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def chatters(self) -> bool:
        """Whether it has said something that nobody asked for."""
        return not self._lines.empty()

    def ask(self, line: bytes, seconds: float) -> bytes:
        """Say a line and give the line that is said next. Raises ProgramFailed where none comes in time; the program is ended then."""
        self.say(line)
        return self.hear(seconds)

    def say(self, line: bytes) -> None:
        """Say a line; it is written on a thread, so that nobody waits for a program that does not read."""
        self._out.put(line)

    def hear(self, seconds: float) -> bytes:
        """The next line that it says. Raises ProgramFailed where none comes in time; the program is ended then."""
        try:
            answer = self._next_line(time.monotonic() + seconds)
        except queue.Empty:
            code = self._process.poll()
            self.close(0)
            how = f"did not answer within {seconds:g} s and was ended" if code is None else death_in_words(code)
            raise ProgramFailed(f"it {how}{self._last_words()}") from None
        except BaseException:  # Ctrl-C: its answer would be taken for that of the next question
            self.close(0)
            raise
        if answer.endswith(b"\n"):
            return answer
        if len(answer) > LONGEST_LINE:
            self.close(0)
            raise ProgramFailed(f"it wrote a line of more than {LONGEST_LINE:,} bytes and was ended")
        code = self._wait()
        self.close(0)
        if answer:
            raise ProgramFailed(f"its last line does not end: {plain.shown(answer)}{self._last_words()}")
        raise ProgramFailed(f"it closed its output and was ended{self._last_words()}" if code is None
                          else f"it {death_in_words(code)}{self._last_words()}")

    def close(self, patience: float = _PATIENCE) -> None:
        """End its input, give it some seconds, and kill what is left of its group. Closing twice is fine."""
        if self._free.alive and patience and self.alive():
            self._out.put(None)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        self._free()
        self._out.put(None)
        with contextlib.suppress(queue.Empty):  # the reading thread may wait for room
            while True:
                self._lines.get_nowait()

    def _next_line(self, until: float) -> bytes:
        """The next line. Raises queue.Empty at the time limit, or where the program is gone and its children keep its output open."""
        while True:
            gone = not self.alive()
            with contextlib.suppress(queue.Empty):
                return self._lines.get(timeout=max(0.0, min(0.2, until - time.monotonic())))
            if gone or time.monotonic() >= until:
                raise queue.Empty

    def _wait(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(_PATIENCE)
        return None

    def _last_words(self) -> str:
        time.sleep(0.05)  # the thread that hears them may be a little behind
        last = next((line for line in reversed(list(self._said)) if line.strip()), "")
        return f"; it last said: {plain.one_line(last, 300)}" if last else ""


def launch(words: Sequence[str], folder: Path | None, *, stdin: int, stderr: int,
           environment: Mapping[str, str] | None = None) -> "tuple[subprocess.Popen[bytes], int | None]":
    """A process in a group of its own with its output as a pipe, and our end of the pipe whose end is the group's. `end` ends both.

    Raises EdgexpError where it cannot be started.
    """
    pipe = subprocess.PIPE
    try:
        if sys.platform == "win32":
            flags = subprocess.CREATE_NEW_PROCESS_GROUP
            return subprocess.Popen(words, stdin=stdin, stdout=pipe, stderr=stderr, cwd=folder, env=environment, creationflags=flags), None
        theirs, ours = os.pipe()
        try:
            command = ["/bin/sh", "-c", _WATCHED, str(theirs), *words]
            return subprocess.Popen(command, stdin=stdin, stdout=pipe, stderr=stderr, cwd=folder, env=environment, pass_fds=(theirs,),
                                    start_new_session=True), ours
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
    except (OSError, ValueError) as error:
        raise EdgexpError(f"{plain.shown(words[0])} cannot be started: {plain.explain(error)}") from error


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process that leads a group, and the group."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True, check=False)
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def end(process: "subprocess.Popen[bytes]", life: int | None, owner: int) -> None:
    """Kill the group, unless this is a forked child, whose parent still needs it."""
    if os.getpid() != owner:
        return
    _end_group(process)
    if life is not None:
        os.close(life)


def _write(pipe: IO[bytes], lines: "queue.SimpleQueue[bytes | None]") -> None:
    """Write what is put in, until None; then its input ends."""
    with contextlib.suppress(OSError, ValueError):
        while (line := lines.get()) is not None:
            pipe.write(line)
            pipe.flush()
    with contextlib.suppress(OSError, ValueError):
        pipe.close()


def _read(pipe: IO[bytes], lines: "queue.Queue[bytes]") -> None:
    """Read lines; the last one is what has no end: nothing, a part of a line, or the beginning of one that is too long."""
    line = b"\n"
    with contextlib.suppress(OSError, ValueError), pipe:
        while line.endswith(b"\n"):
            line = pipe.readline(LONGEST_LINE + 1)
            lines.put(line)


def _hear(pipe: IO[bytes], said: "deque[str]") -> None:
    """Read what it says to people, for a full pipe would stop it."""
    with contextlib.suppress(OSError, ValueError), pipe:
        while line := pipe.readline(4096):
            said.append(line.decode("utf-8", "replace"))
