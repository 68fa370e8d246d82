"""Functions for tests of child processes: what a child can be asked to do, and all the ways in which it can go wrong."""

import logging
import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from edgexp.errors import EdgexpError, UsageError
from edgexp.process import Progress


class Order(msgspec.Struct, frozen=True):
    """What to do, and with what."""

    what: str
    number: int = 0


class Told(msgspec.Struct, frozen=True):
    """An answer of several parts."""

    order: Order
    variables: dict[str, str]
    path: list[str]


def tell(order: Order, _: Progress) -> Told:
    """What the child sees of its surroundings."""
    return Told(order, dict(os.environ), sys.path)


def count(order: Order, progress: Progress) -> int:
    """Says every step of many."""
    for done in range(order.number + 1):
        progress(done, order.number)
    return order.number


def chatter(order: Order, _: Progress) -> str:
    """Prints by every way there is, and answers."""
    print("printed", flush=True)
    os.write(1, b'["Answer", "forged"]\n')
    os.system("echo from a child of its own; echo to its stderr >&2")
    logging.warning("logged")
    return order.what


def go_wrong(order: Order, progress: Progress) -> None:
    """Ends in one of several bad ways."""
    progress(1, 2)
    match order.what:
        case "bug":
            print("noise", file=sys.stderr)
            raise ZeroDivisionError("by nothing")
        case "told":
            raise EdgexpError("the base is cut short")
        case "usage":
            raise UsageError("there is no such type")
        case "memory":
            raise MemoryError
        case "disk":
            raise OSError(28, "No space left on device", "/x/y")
        case "signal":
            print("GGML_ASSERT(x) failed\n", file=sys.stderr, flush=True)
            os.kill(os.getpid(), order.number)
        case "exit":
            os._exit(order.number)
        case "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)


def answer_and_hang(order: Order, _: Progress) -> str:
    """Answers, and then its process does not end."""
    import threading

    threading.Thread(target=time.sleep, args=(600,)).start()
    return order.what


def look(order: Order, _: Progress) -> int:
    """Bytes of the file that is named."""
    return Path(order.what).stat().st_size
