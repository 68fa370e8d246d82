"""What environments behind a Java server share: one JVM for episode after episode, its restarts, and experts that play gold paths.

Nothing starts before the first reset. Each environment object has a JVM of its own, so several can play side by side, and several can share
the work of finding gold paths (`freeze_all`). When the JVM dies, hangs or raises, the episode under way fails with an `EdgexpError` and the
next reset starts another. Knows no game: a subclass translates to the calls of its server.
"""

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import perf_counter

from edgexp.environments.base import Expert, Outcome, Start
from edgexp.environments.java.gateway import HEAP, JavaError, Server, find_java, package
from edgexp.environments.java.gold import GoldExpert, GoldFile, GoldPath, default_file
from edgexp.errors import EdgexpError
from edgexp.trajectory import Task


class ServedEnvironment(ABC):
    """An environment whose games run in Java. A subclass adds splits, tasks and texts, and translates to the server's calls."""

    name: str
    """Also the name of the package that brings the server, and of edgexp's extra."""
    version: str
    """The package's version whose behaviour this is, `+`, and our count of changes."""
    max_steps: int
    """The limit of the task under way; before the first reset, the largest of all."""
    remote = True
    """Other episodes go on while this one's server works; see `remote` in `edgexp.environments.base`."""
    entry: str
    """The server's class; the JAR is named after the package."""

    def __init__(self, gold: Path | None = None, heap: int = HEAP) -> None:
        """`gold` is the file of gold paths, by default one in the home folder; `heap` caps the JVM's, in megabytes.

        Raises EdgexpError where the package or a Java is not installed.
        """
        self._jar = self._find_jar()
        self.restarts = 0
        """How often a JVM died, hung or raised and had to be replaced."""
        self.gold = GoldFile(gold or default_file(self.name), self.version)
        self._heap = heap
        self._server: Server | None = None
        self._task: Task | None = None
        self._over = False

    @abstractmethod
    def _begin(self, server: Server, task: Task) -> Start:
        """Load a task. Raises EdgexpError where it cannot be loaded."""

    @abstractmethod
    def _act(self, server: Server, action: str) -> Outcome:
        """Take an action."""

    @abstractmethod
    def _valid(self, server: Server) -> list[str]:
        """The valid actions, in any order."""

    @abstractmethod
    def _solve(self, server: Server, task: Task) -> list[str]:
        """The solver's path; leaves the server in any state. Raises EdgexpError where it finds none."""

    @abstractmethod
    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split. Raises UsageError for an unknown split."""

    @abstractmethod
    def task(self, task_id: str) -> Task:
        """The task of that id. Raises UsageError where there is none."""

    @abstractmethod
    def limit(self, task: Task) -> int:
        """Actions an episode of that task may take."""

    def reset(self, task: Task) -> Start:
        """Begin an episode; one under way is dropped. A JVM that dies of it is replaced once. Raises EdgexpError, UsageError."""
        self._check(task)
        self._task = None
        try:
            start = self._begin(self._running_server(), task)
        except JavaError:
            start = self._begin(self._running_server(), task)
        self._task, self._over, self.max_steps = task, False, self.limit(task)
        return start

    def step(self, action: str) -> Outcome:
        """Take an action. Raises EdgexpError before a reset, after the end, and when Java fails, which ends the episode."""
        server = self._under_way()
        text = " ".join(action.encode("utf-8", "replace").decode("utf-8").split())
        outcome = self._act(server, text)
        self._over = outcome.done
        return outcome

    def admissible(self) -> list[str]:
        """The valid actions now, sorted; none once the episode is over. Raises EdgexpError before a reset and when Java fails."""
        if self._task is not None and self._over:
            return []
        return sorted(set(self._valid(self._under_way())))

    def expert(self) -> Expert:
        """A player of the frozen gold paths. A task without one is solved at its first episode, which may take seconds."""
        return GoldExpert(self._path_under_way)

    def freeze(self, task: Task) -> GoldPath:
        """The gold path of a task: from the file, or found, replayed and put into it. Drops the episode under way.

        Where the solver finds nothing, or a path that does not win, the path says so, and that is kept. Where Java dies or hangs, the path
        says so but is not kept: another time it may work. Raises EdgexpError where no Java runs at all.
        """
        self._check(task)
        self._task = None
        path = self.gold.get(task.id)
        if path is None:
            path, lasting = self._find(task)
            if lasting:
                self.gold.add(path)
        return path

    def close(self) -> None:
        """End the JVM and drop the episode under way."""
        if self._server is not None:
            self._server.close()
        self._server = self._task = None

    def _find(self, task: Task) -> tuple[GoldPath, bool]:
        """The path, and whether it says something of the task rather than of Java."""
        self._running_server()  # that Java cannot start at all is not the task's doing
        started, actions, end, problem, lasting = perf_counter(), list[str](), Outcome(""), "", True
        try:
            actions = self._solve(self._running_server(), task)
            actions, end = self._replay(task, actions)
        except EdgexpError as error:
            problem, lasting = str(error), not isinstance(error, JavaError)
        seconds = round(perf_counter() - started, 3)
        return GoldPath(task.id, self.version, tuple(actions), end.success, end.score, seconds, problem), lasting

    def _replay(self, task: Task, actions: list[str]) -> tuple[list[str], Outcome]:
        """Play a path; returns what of it was played, for some go on after the end, and how it ended."""
        server, outcome = self._running_server(), Outcome("")
        self._begin(server, task)
        for number, action in enumerate(actions, 1):
            outcome = self._act(server, action)
            if outcome.done:
                return actions[:number], outcome
        return actions, outcome

    def _path_under_way(self) -> GoldPath:
        """The path of the task under way. Where it has to be found first, the episode begins anew behind it."""
        self._under_way()
        assert self._task is not None
        task, path = self._task, self.gold.get(self._task.id)
        if path is None:
            path = self.freeze(task)
            self.reset(task)
        return path

    def _gold(self, server: Server, task: Task) -> list[str]:
        """The solver's path of a task that was loaded with it. Raises EdgexpError where it found none."""
        actions = [str(action) for action in server.call("getGoldActionSequence")]
        if not actions or actions[0].startswith("ERROR"):
            raise EdgexpError(f"{task.id}: the solver found no path{': ' + actions[0] if actions else ''}")
        return actions

    def _find_jar(self) -> Path:
        folder = package(self.name, self.version.partition("+")[0])
        find_java()
        return folder / f"{self.name}.jar"

    def _start(self) -> Server:
        return Server(self._jar, self.entry, self._heap)

    def _check(self, task: Task) -> None:
        if task != self.task(task.id):
            raise EdgexpError(f"{task.id}: this is not {self.name}'s own task of that id; get it from task({task.id!r})")

    def _running_server(self) -> Server:
        if self._server is None or not self._server.alive():
            if self._server is not None:
                self.restarts += 1
                self._server.close()
            self._server = self._start()
        return self._server

    def _under_way(self) -> Server:
        if self._task is None or self._server is None:
            raise EdgexpError("no episode is under way: reset the environment with a task first")
        if self._over:
            raise EdgexpError("the episode is over: reset the environment before the next action")
        if not self._server.alive():
            raise JavaError("Java has ended, and the episode with it: reset the environment")
        return self._server


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
