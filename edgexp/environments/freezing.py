"""Many gold paths at once: several environments side by side, each with a JVM of its own, share the tasks that have none yet."""

import queue
import threading
from collections.abc import Callable, Iterable, Sequence

from edgexp.environments.gold import GoldPath
from edgexp.environments.served import ServedEnvironment
from edgexp.errors import EdgexpError
from edgexp.trajectory import Task

Found = queue.SimpleQueue[GoldPath | EdgexpError | None]


def missing(environment: ServedEnvironment, tasks: Iterable[Task]) -> list[Task]:
    """The tasks that have no gold path yet."""
    return [task for task in tasks if environment.gold.get(task.id) is None]


def freeze_all(environments: Sequence[ServedEnvironment], tasks: Iterable[Task], done: Callable[[GoldPath], None]) -> None:
    """Find and keep the gold path of every task; `done` is told of each, in the order they are finished.

    Interrupting it loses the paths being looked for; all others are kept. Environments are left open, except after an interruption, which
    closes them. Raises EdgexpError when Java cannot be run, with the paths found so far kept.
    """
    left, found = queue.SimpleQueue[Task](), Found()
    for task in tasks:
        left.put(task)
    threads = [threading.Thread(target=_work, args=(environment, left, found), daemon=True) for environment in environments]
    for thread in threads:
        thread.start()
    try:
        _report(len(threads), found, done)
    except BaseException:
        _drain(left)
        for environment in environments:
            environment.close()
        for thread, environment in zip(threads, environments, strict=True):
            thread.join(5)  # its call has failed; it may have started another server before it saw that nothing is left
            environment.close()
        raise


def _work(environment: ServedEnvironment, left: "queue.SimpleQueue[Task]", found: Found) -> None:
    """Take tasks until there are none; None says that this worker is done."""
    try:
        while True:
            found.put(environment.freeze(left.get_nowait()))
    except queue.Empty:
        found.put(None)
    except EdgexpError as error:
        found.put(error)


def _report(working: int, found: Found, done: Callable[[GoldPath], None]) -> None:
    while working:
        one = found.get()
        if isinstance(one, EdgexpError):
            raise one
        if one is None:
            working -= 1
        else:
            done(one)


def _drain(left: "queue.SimpleQueue[Task]") -> None:
    try:
        while True:
            left.get_nowait()
    except queue.Empty:
        pass
