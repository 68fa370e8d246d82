"""Frozen gold paths: actions that win a task, found once by the environment's own solver, proven by replay, kept as JSON lines.

Solvers take seconds and may find other paths after every start of Java, so an expert plays what is kept. A path belongs to one version of
its environment; those of other versions are passed over. A line that a crash cut short is passed over, too, and its task solved again.
Knows nothing of Java.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec

from edgexp.environments.base import Start
from edgexp.errors import EdgexpError
from edgexp.files import append_lines
from edgexp.home import home


class GoldPath(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the solver found for a task, and what came of it when it was replayed."""

    task: str
    version: str
    """The environment's version."""
    actions: tuple[str, ...]
    success: bool
    """Whether the replay won. A path that does not win is kept so that nobody looks for it again, and never played."""
    score: float
    seconds: float
    """What solving and replaying took."""
    problem: str = ""
    """Why there is no path, where there is none."""


_decode = msgspec.json.Decoder(GoldPath).decode


def default_file(environment: str) -> Path:
    """Where an environment's gold paths are kept when nobody says otherwise."""
    return home() / "gold" / f"{environment}.jsonl"


class GoldFile:
    """The gold paths of one environment version in one file. Several processes may read and add at the same time."""

    def __init__(self, file: Path, version: str) -> None:
        self.file = file
        self._version, self._known, self._read = version, dict[str, GoldPath](), 0

    def get(self, task_id: str) -> GoldPath | None:
        """The path of a task, or None. Raises EdgexpError for a file that cannot be read."""
        if task_id not in self._known:
            self._refresh()
        return self._known.get(task_id)

    def add(self, path: GoldPath) -> None:
        """Keep a path: one line, written at once. Raises EdgexpError where that fails."""
        try:
            append_lines(self.file, msgspec.json.encode(path))
        except OSError as error:
            raise EdgexpError(f"{self.file}: {error.strerror or error}; gold paths cannot be kept there") from error
        self._known[path.task] = path

    def __len__(self) -> int:
        self._refresh()
        return len(self._known)

    def _refresh(self) -> None:
        """Read what was added since the last look, by us or by others; the first path of a task counts."""
        try:
            with self.file.open("rb") as file:
                file.seek(self._read)
                fresh = file.read()
        except FileNotFoundError:
            return
        except OSError as error:
            raise EdgexpError(f"{self.file}: {error.strerror or error}; move it away to have the gold paths found again") from error
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            try:
                path = _decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if path.version == self._version:
                self._known.setdefault(path.task, path)


class GoldExpert:
    """Plays the frozen path of the task under way, whatever it sees; gives up where no path wins."""

    def __init__(self, path: Callable[[], GoldPath]) -> None:
        """`path` gives the path of the task under way when an episode begins."""
        self._path, self._left = path, list[str]()

    def begin(self, goal: str, observation: str) -> None:
        """A new episode. Raises EdgexpError where its path can be neither read nor found."""
        path = self._path()
        self._left = list(reversed(path.actions)) if path.success else []

    def act(self, observation: str) -> str | None:
        """The path's next action; None at its end."""
        return self._left.pop() if self._left else None


def start_of(observation: str, description: str) -> Start:
    """An episode's start from a server's texts: the goal loses the words that our prompts say before every goal."""
    goal = description.strip().removeprefix("Task Description:").strip().removeprefix("Your task is to ")
    return Start(goal, observation.strip())
