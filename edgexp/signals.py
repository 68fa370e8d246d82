"""Ctrl-C and SIGTERM in one place: one line and an exit code, never a traceback.

Before a command begins and after it has ended there is nothing to keep, and a signal ends the process at once. While it works the first
signal is a KeyboardInterrupt, so that what has ended can be kept; a second one ends the process at once, even inside a library's long call.
Imports nothing that takes time, as all of it has to stand before the first slow import. Knows nothing of what is interrupted.
"""

# Not `signal`: that needs `enum` and others, milliseconds in which Ctrl-C would still be a traceback.
import _signal  # type: ignore[import-not-found, unused-ignore]
import _thread
import os
import sys
import time

TYPE_CHECKING = False  # `typing` takes tens of milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

WORDS = {int(_signal.SIGINT): "interrupted", int(_signal.SIGTERM): "terminated"}
TOGETHER = 0.1
"""Seconds. Signals that come so close are one Ctrl-C: a terminal and a parent process often both send it."""


class _State:
    """What happened so far; one process has one."""

    installed = False
    main = 0
    working = False
    received = 0
    repeating = 0
    """Signals that this module sent itself, and that are no second Ctrl-C."""


def install() -> None:
    """Take both signals, once. A signal that this process was told to ignore (by `nohup`, or in the background) stays ignored."""
    if _State.installed:
        return
    _State.installed, _State.main = True, _thread.get_ident()
    _open_what_is_closed()
    for number in WORDS:
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _handle)
    _watch_for_a_second_one()


def _open_what_is_closed() -> None:
    """Let closed standard streams lead nowhere: the next file that is opened, such as a bank, would stand in for one and get its output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)


def begin() -> None:
    """The command begins: a signal is a KeyboardInterrupt from now on."""
    _State.working = True


def end() -> None:
    """The command has ended and its output is written: a signal ends the process from now on."""
    _State.working = False


def received() -> int:
    """The number of the signal that came while the command worked; 0 for none."""
    return _State.received


def _handle(number: int, _: object) -> None:
    if not _State.working:
        _die(number, "" if _State.received else WORDS[number])
    if _State.received and not _State.repeating:
        return  # the thread that watches ends the process, where it is a second one
    _State.repeating = 0
    _State.received = _State.received or number
    raise KeyboardInterrupt


def _die(number: int, word: str) -> None:
    """End the process now; a progress bar may have hidden the cursor of the terminal."""
    shown = "\x1b[?25h" if _State.received and os.isatty(2) else ""
    try:
        os.write(2, (shown + word + "\n" * bool(word)).encode())
    finally:
        os._exit(128 + number)


def _watch_for_a_second_one() -> None:
    """A thread is told of each signal by the operating system's own handler: Python's waits until the library under way has returned."""
    reader, writer = os.pipe()
    if sys.platform != "win32":
        os.set_blocking(writer, False)
    try:
        _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    except ValueError:  # not in the main thread: Python's own ways have to do
        return
    _thread.start_new_thread(_watch, (reader,))
    sys.unraisablehook = _retold(sys.unraisablehook)


def _watch(reader: int) -> None:
    first = 0.0
    while told := os.read(reader, 1):
        now = time.monotonic()
        if told[0] not in WORDS or _State.repeating or not _State.working:
            continue
        if first and now - first > TOGETHER:
            _die(told[0], "")
        first = first or now


def _retold(before: "Callable[[Any], object]") -> "Callable[[Any], object]":
    """An interruption inside a destructor or a callback is lost and printed; it is raised again instead, where it can be seen."""

    def hook(args: "Any") -> None:
        if not (isinstance(args.exc_value, KeyboardInterrupt) and _State.received):
            before(args)
        elif _State.working:
            _thread.start_new_thread(_repeat, ())

    return hook


def _repeat() -> None:
    """A little later, when the destructor and the hook that told of it have returned."""
    time.sleep(0.02)
    _State.repeating = 1
    if sys.platform == "win32":
        _thread.interrupt_main()
    else:  # a real one, which wakes what waits
        _signal.pthread_kill(_State.main, _signal.SIGINT)
