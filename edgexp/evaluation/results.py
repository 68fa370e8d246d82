"""A folder of results: what was played under which setup, one row an episode. Knows nothing of how episodes are played.

`suite.json` holds the suite and every setup met, `episodes.jsonl` one finished episode a line, `memories.jsonl` each trajectory that was
remembered, once. Lines are appended and synced one by one; what a crash left of a line is cut off when the folder is opened again.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import msgspec

from edgexp import trajectory as trajectories
from edgexp.errors import EdgexpError
from edgexp.files import append_lines, write_atomic
from edgexp.play.acting import Acting, now
from edgexp.trajectory import Played, Recall, Remembered, Seconds, Tokens, Trajectory

__all__ = ["Action", "Header", "Recall", "Remembered", "Results", "Row", "Seconds", "Setup", "Tokens", "Writer", "read", "row_of"]

SUITE, EPISODES, MEMORIES = "suite.json", "episodes.jsonl", "memories.jsonl"
FORMAT = 1
ALTERNATIVES = 5
"""Other actions kept of each decision."""


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One action of an episode and what it led to."""

    action: str
    observation: str
    reward: float
    probability: float | None
    """Of this action among the valid ones; None where nobody computed it."""
    alternatives: tuple[tuple[str, float], ...]
    """The likeliest other actions, or beginnings of several (ending in `…`), with their probabilities."""
    seconds: float
    """Time to decide."""


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One finished episode of one condition."""

    condition: str
    split: str
    environment: str
    task_id: str
    task_type: str
    group: str
    """`easy`, `hard`, or empty where the environment has no such sides."""
    setup: str
    """Key into the header's setups."""
    success: bool
    score: float
    steps: int
    end: str
    goal: str
    observation: str
    """The first one."""
    actions: tuple[Action, ...]
    recalls: tuple[Recall, ...]
    tokens: Tokens
    seconds: Seconds
    finished: str
    """UTC, ISO 8601."""
    parallel: int = 1
    """Episodes played at once; above 1 the seconds are not those of an episode alone."""

    @property
    def key(self) -> tuple[str, str]:
        """What there is one row of: a condition's episode of a task."""
        return self.condition, self.task_id


def row_of(played: Played, condition: str, setup: str, places: int = 1) -> Row:
    """The row of an episode that was played under a condition; `setup` is its key."""
    t, task = played.trajectory, played.trajectory.task
    return Row(
        condition=condition,
        split=task.split,
        environment=task.environment,
        task_id=task.id,
        task_type=task.type,
        group=task.group,
        setup=setup,
        success=t.success,
        score=t.score,
        steps=len(t.steps),
        end=t.end,
        goal=t.goal,
        observation=t.observation,
        actions=tuple(
            Action(step.action, step.observation, step.reward, decision.probability, decision.alternatives[:ALTERNATIVES], decision.seconds)
            for step, decision in zip(t.steps, played.decisions, strict=True)
        ),
        recalls=played.recalls,
        tokens=played.tokens,
        seconds=played.seconds,
        finished=now(),
        parallel=places,
    )


class Setup(Acting, frozen=True, kw_only=True):
    """Everything that decides what an episode of a condition in an environment means. Rows of unlike setups are never mixed."""

    COMMON: ClassVar = ("environment_version", "steps", "code", "engine")
    """What has to be the same in all conditions, or they cannot be compared."""

    condition: str
    environment: str
    environment_version: str
    steps: int
    """The most actions an episode may take."""
    model: str
    model_sha256: str
    actions: str  # type: ignore[assignment]
    """As in `Acting`; older results have a fourth, `weighed`, which is called `scored` now."""
    context: int
    """Room of an episode, in tokens."""
    bank: str
    """`matched`, `mismatched`, `all`, `empty`, or a folder; empty without memory."""
    bank_fingerprint: str
    encoder: str
    code: str
    """edgexp's version and the digest of what decides an episode; see `edgexp.evaluation.playing`."""
    engine: str
    """The llama.cpp library's version; empty for a policy without a model, and for a server's."""
    bank_split: str = ""
    """The split whose episodes may be remembered; empty for any, and without memory."""
    repeats: int = 0
    prompt: int = 1
    """The version of the prompt's words; see `edgexp.prompt.messages`."""
    frame: bool = False
    usefulness: bool = False
    """Older results say neither of these two: their episodes were played without."""
    logged: int = 0
    """Episodes in the bank's log, by which usefulness was counted; 0 where it was not."""
    server: str = ""
    """The address of the server that had the model, without name and login; `model` is then what the server calls it."""
    asked: str = ""
    """How that server was asked, in words."""

    @property
    def key(self) -> str:
        """`s` and 16 hexadecimal digits over all fields."""
        body = msgspec.json.encode(self, order="deterministic")
        return "s" + hashlib.sha256(b"edgexp.setup.1\0" + body).hexdigest()[:16]


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a results folder is about."""

    suite: str
    """The suite's name."""
    resolved: dict[str, Any]
    """The suite with every setting, as plain data; `conditions` and `tasks` are lists in the order to show."""
    setups: dict[str, Setup]
    """Every setup met, by its key."""
    baseline: str = ""
    """The condition the others are compared with."""
    format: int = FORMAT

    @property
    def conditions(self) -> list[str]:
        """Names of the suite's conditions, in their order."""
        return [condition["name"] for condition in self.resolved.get("conditions", ())]


@dataclass(frozen=True)
class Results:
    """A results folder, read."""

    folder: Path
    header: Header
    rows: list[Row]
    memories: dict[str, Trajectory]
    """The trajectories that were remembered, by id."""


_rows = msgspec.json.Decoder(Row)


def read(folder: Path) -> Results:
    """Everything in a results folder; a last line that a crash cut short is passed over.

    Raises EdgexpError where there is no such folder, no episode in it, a row of an unknown setup, or a line that cannot be read.
    """
    header = read_header(folder)
    rows = read_rows(folder, header)
    if not rows:
        raise EdgexpError(f"{folder}: no episode has been played yet; run: edgexp eval {header.suite} --out {folder}")
    return Results(folder, header, rows, {t.id: t for t in _memories(folder)})


def read_header(folder: Path) -> Header:
    """A results folder's header. Raises EdgexpError where there is none, or one of another version."""
    if not folder.is_dir():
        raise EdgexpError(f"{folder}: there is no such folder; edgexp eval makes results")
    path = folder / SUITE
    try:
        header = msgspec.json.decode(path.read_bytes(), type=Header)
    except FileNotFoundError as error:
        raise EdgexpError(f"{folder}: not a folder of results: it has no {SUITE}") from error
    except OSError as error:
        raise EdgexpError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise EdgexpError(f"{path}: not a header of results that this version reads: {error}") from error
    if header.format != FORMAT:
        raise EdgexpError(f"{path}: format {header.format}; this version of edgexp reads format {FORMAT}")
    return header


def read_rows(folder: Path, header: Header) -> list[Row]:
    """The finished episodes, in the order they were written; none where there is no file yet."""
    rows: list[Row] = []
    known: set[tuple[str, str]] = set()
    path = folder / EPISODES
    for number, line in _lines(path):
        try:
            row = _rows.decode(line)
        except (ValueError, RecursionError) as error:
            raise EdgexpError(f"{path}, line {number}: not an episode: {error}; delete the line to play it again") from error
        if row.setup not in header.setups:
            raise EdgexpError(f"{path}, line {number}: its setup {row.setup} is not in {SUITE}: the two files are not of one evaluation")
        setup = header.setups[row.setup]
        if (row.condition, row.environment) != (setup.condition, setup.environment):
            raise EdgexpError(f"{path}, line {number}: an episode of {row.condition!r} in {row.environment} with a setup of "
                              f"{setup.condition!r} in {setup.environment}; delete the line to play it again")
        if row.key in known:
            raise EdgexpError(f"{path}, line {number}: a second episode of {row.task_id} in {row.condition}; delete one of the lines")
        known.add(row.key)
        rows.append(row)
    return rows


class Writer:
    """Adds to a results folder. Every row is on disk when `add` returns; the setup and memories it names before it."""

    def __init__(self, folder: Path, header: Header, say: Callable[[str], None] = lambda _: None):
        """Open the folder, made if it is not there, and cut what a crash left of a line; `say` hears of that."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in (EPISODES, MEMORIES):
            cut = _mend(folder / name)
            if cut:
                say(f"{folder / name}: its last line was cut short by a crash; {cut} bytes removed")
        self.header = header
        self._write_header()
        self._known = {t.id for t in _memories(folder)}

    def know(self, setup: Setup) -> str:
        """Note a setup in the header, where it is new; its key."""
        if setup.key not in self.header.setups:
            self.header = msgspec.structs.replace(self.header, setups={**self.header.setups, setup.key: setup})
            self._write_header()
        return setup.key

    def add(self, row: Row, memories: Iterable[Trajectory] = ()) -> None:
        """Write one episode, after the trajectories it remembered."""
        if row.setup not in self.header.setups:
            raise ValueError(f"setup {row.setup} is not known to the results")
        new = {t.id: t for t in memories if t.id not in self._known}
        if new:
            append_lines(self.folder / MEMORIES, *map(trajectories.encode, new.values()))
            self._known |= new.keys()
        append_lines(self.folder / EPISODES, msgspec.json.encode(row))

    def close(self) -> None:
        """Nothing is open between two rows; closing twice is fine."""

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _write_header(self) -> None:
        write_atomic(self.folder / SUITE, msgspec.json.format(msgspec.json.encode(self.header), indent=2) + b"\n")


def forget(folder: Path, header: Header, conditions: Sequence[str]) -> int:
    """Remove the rows of some conditions, in one step. Returns how many there were."""
    rows = read_rows(folder, header)
    kept = [row for row in rows if row.condition not in conditions]
    write_atomic(folder / EPISODES, b"".join(msgspec.json.encode(row) + b"\n" for row in kept))
    return len(rows) - len(kept)


def _mend(path: Path) -> int:
    """Cut what follows the last line break; how many bytes that were."""
    if not path.is_file():
        return 0
    with path.open("r+b") as file:
        data = file.read()
        torn = len(data) - (data.rfind(b"\n") + 1)
        if torn:
            file.truncate(len(data) - torn)
            os.fsync(file.fileno())
    return torn


def _memories(folder: Path) -> Iterator[Trajectory]:
    lines = (line for _, line in _lines(folder / MEMORIES))
    return trajectories.read_lines(lines, str(folder / MEMORIES))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The whole lines of a file, numbered from 1; nothing where there is none."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                yield number, line
