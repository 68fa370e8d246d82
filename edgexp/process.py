"""Our own Python in a child process: a function of ours is called there, its progress and its answer come back, and its death is an error.

Native libraries print, use much memory, read their settings when they load, and may abort; in a child all of that stays there. `call`
starts `python -m edgexp.process`, which imports the function by its name, reads its argument from standard input and answers in JSON
lines on standard output. Whatever libraries print goes to standard error. `start`, `messages` and `take_standard_output` are the parts of
it, for a child with a protocol of its own.

An error that the child's code raises on purpose is raised again here, with the child's traceback as its `details`. A child that dies of
anything else (a bug, a signal, its time limit) is a `ChildDied`: one line that names the log with all it said, which `--debug` shows.
Knows nothing of what is called.
"""

import contextlib
import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeVar

import msgspec

import edgexp
from edgexp.errors import EdgexpError, UsageError
from edgexp.files import write_atomic
from edgexp.home import home
from edgexp.terminal import clean

Argument = TypeVar("Argument")
Value = TypeVar("Value")
Message = TypeVar("Message")

Progress = Callable[[int, int], None]
"""Called with (how much is done, how much there is)."""

STEPS = 200
"""Progress messages a call may send."""
LOGS = 20
"""Logs of dead children that are kept, the newest."""


class Advance(msgspec.Struct, tag=True, array_like=True):
    """So much of the work is done, in units of its own."""

    done: int
    total: int


class Failed(msgspec.Struct, tag=True, array_like=True):
    """The work ended with an error made for people; `usage` for a UsageError."""

    message: str
    usage: bool
    traceback: str


class Answer(msgspec.Struct, tag=True, array_like=True):
    """What the function returned."""

    value: msgspec.Raw


_decode = msgspec.json.Decoder(Advance | Failed | Answer).decode


class ChildDied(EdgexpError):
    """A child ended without an answer."""

    def __init__(self, doing: str, code: int | None, said: str, log: Path | None):
        """`code` is its exit code, None where it was ended at its time limit; `said` is all of its standard error, kept in `log`."""
        self.code, self.last_words = code, last_line(said)
        quoted = f"; it last said: {self.last_words}" if self.last_words else ""
        super().__init__(f"{doing} failed: the process {death_in_words(code)}{quoted}{f' (log: {log})' if log else ''}", details=said)


def call(work: Callable[[Argument, Progress], Value], argument: Argument, doing: str, *, progress: Progress | None = None,
         environment: Mapping[str, str] | None = None, limit: float | None = None) -> Value:
    """`work(argument, report)` in a child, where `report` leads to `progress`; its answer.

    `work` is a function at the top of a module, with annotations that say how its argument and its answer are read from JSON. `doing` is
    said in errors ("merging the adapter"). `environment` stands for all variables, in place of this process's own. `limit`: seconds
    after which the child is ended. Raises the EdgexpError or UsageError that the child raised, or ChildDied.
    """
    with tempfile.TemporaryFile() as log:
        child = start(__name__, [work.__module__, work.__qualname__], log=log, environment=environment)
        with _ended_after(child, limit) as late, child:
            try:
                answer = _listen(child, _pack(argument), progress)
            except BaseException:
                child.kill()
                raise
        if answer is None:
            said = _read(log)
            raise ChildDied(doing, None if late.is_set() else child.returncode, said, keep_log(work.__qualname__, said))
    value: Value = msgspec.json.decode(answer.value, type=typing.get_type_hints(work)["return"])
    return value


def start(module: str, arguments: Sequence[str] = (), *, log: IO[bytes], environment: Mapping[str, str] | None = None,
          folder: Path | None = None, own_group: bool = False) -> "subprocess.Popen[bytes]":
    """Start `python -m module arguments…` with this very edgexp, standard input and output as pipes, standard error into `log`.

    `folder` is where it works. `own_group` keeps Ctrl-C in a terminal from it, which goes to a whole group of processes.
    """
    variables = dict(os.environ if environment is None else environment)
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(edgexp.__file__).parents[1]), variables.get("PYTHONPATH"))))
    flags = 0
    if sys.platform == "win32" and own_group:
        flags = subprocess.CREATE_NEW_PROCESS_GROUP
    # -P: what lies in the folder where the user happens to be is no module of ours.
    return subprocess.Popen([sys.executable, "-P", "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                            cwd=folder, env=variables, start_new_session=own_group and sys.platform != "win32", creationflags=flags)


def messages(child: "subprocess.Popen[bytes]", decode: Callable[[bytes], Message]) -> Iterator[Message]:
    """What a child says, line by line, until it closes its output. Lines that are no messages are passed over."""
    assert child.stdout
    for line in child.stdout:
        try:
            message = decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):  # a library that wrote past the redirection
            continue
        yield message


def take_standard_output() -> BinaryIO:
    """In a child: the real standard output, for messages alone. What anybody prints from now on goes to standard error."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return out


def death_in_words(code: int | None) -> str:
    """How a process ended by its exit code (negative: a signal), None for one that took too long."""
    if code is None:
        return "took too long and was ended"
    if code >= 0:
        return f"ended with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return f"was killed by signal {-code}"
    return f"was killed by {name}" + (" (is there enough memory?)" if name == "SIGKILL" else "")


def last_line(said: str) -> str:
    """The last line that says anything; of a Python traceback that is the error."""
    return next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")


def _listen(child: "subprocess.Popen[bytes]", argument: bytes, progress: Progress | None) -> Answer | None:
    """The child's answer; None when it ended without one."""
    assert child.stdin
    with contextlib.suppress(BrokenPipeError):  # it died first, which its exit code tells
        child.stdin.write(argument)
        child.stdin.close()
    for message in messages(child, _decode):
        if isinstance(message, Failed):
            raise (UsageError if message.usage else EdgexpError)(message.message, details=message.traceback)
        if isinstance(message, Answer):
            return message
        if progress:
            progress(message.done, message.total)
    return None


@contextlib.contextmanager
def _ended_after(child: "subprocess.Popen[bytes]", limit: float | None) -> Iterator[threading.Event]:
    """Kill the child when the block takes longer; the event says so."""
    late = threading.Event()

    def end() -> None:
        late.set()
        child.kill()

    timer = threading.Timer(limit or 0, end)
    if limit is not None:
        timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _read(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode("utf-8", "replace")


def keep_log(name: str, said: str) -> Path | None:
    """Write what a dead child said, or a bug's traceback, where it can be looked up; None for nothing, or where that cannot be written."""
    if not said.strip():
        return None
    folder = home() / "logs"
    path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}-{os.getpid()}.log"
    try:
        write_atomic(path, clean(said, None).encode())
        for old in sorted(folder.glob("*.log"))[:-LOGS]:
            old.unlink(missing_ok=True)
    except OSError:
        return None
    return path


def answer_call(module: str, name: str) -> None:
    """The child's side of `call`: the named function's argument from standard input, its answer to standard output.

    Errors made for people are answers too; anything else is a traceback on standard error and status 1.
    """
    out = take_standard_output()

    def say(message: Advance | Failed | Answer) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody listens any more
            out.write(msgspec.json.encode(message) + b"\n")

    try:
        work = getattr(importlib.import_module(module), name)
        kind = typing.get_type_hints(work)[next(iter(inspect.signature(work).parameters))]
        argument = _unpack(sys.stdin.buffer.read(), kind)
        say(Answer(msgspec.Raw(msgspec.json.encode(work(argument, _sparing(say))))))
    except EdgexpError as error:
        say(Failed(_plain(str(error)), isinstance(error, UsageError), _plain(_trace(error))))
    except MemoryError as error:
        say(Failed("there is not enough memory", False, _trace(error)))
    except OSError as error:
        say(Failed(_plain(f"{error.filename or 'a file'}: {error.strerror or error}"), False, _plain(_trace(error))))
    except KeyboardInterrupt:
        sys.exit(130)


def _sparing(say: Callable[[Any], None]) -> Progress:
    """Progress that is said when it shows, at most `STEPS` times."""
    last = -1

    def report(done: int, total: int) -> None:
        nonlocal last
        step = done * STEPS // max(total, 1)
        if step != last:
            last = step
            say(Advance(done, total))

    return report


def _pack(argument: object) -> bytes:
    """An argument as JSON. The paths in it need not be UTF-8: what Python calls such names is then written as escapes."""
    try:
        return msgspec.json.encode(argument)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(argument)).encode()


def _unpack(data: bytes, kind: Any) -> Any:
    """The reverse of `_pack`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError:  # msgspec reads no such escapes
        return msgspec.convert(json.loads(data), kind)


def _plain(text: str) -> str:
    """Text that can be sent and shown, whatever names of files are in it."""
    return text.encode("utf-8", "backslashreplace").decode()


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


if __name__ == "__main__":
    answer_call(*sys.argv[1:3])
