"""Files and folders of other programs' sessions, read as trajectories. A format is recognised by content, never by a file's name.

One bad line, session or file is one line for the caller, and the rest is read. Files are read as a stream, twice: first for their digest,
which goes into each trajectory's provenance together with the format and the place. Knows no bank.
"""

import hashlib
import io
import os
import stat
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from edgexp.errors import EdgexpError, UsageError
from edgexp.files import decode_text, shown
from edgexp.importing.agent_databases import MAGIC, read_database
from edgexp.importing.agent_events import read_claude_code, read_goose, recognise_events
from edgexp.importing.chat_records import READERS, recognise
from edgexp.importing.dialogue import Dialogue, Tally, trajectory_of
from edgexp.importing.json_pieces import LONGEST, read_values
from edgexp.redaction import redact
from edgexp.terminal import clean
from edgexp.trajectory import Trajectory, as_import

FORMATS = ("auto", "openai", "sharegpt", "claude-code", "goose", "hermes", "llm", "open-webui", "inspect", "art", "eto", "edgexp")
"""What `--format` takes. `auto` looks at the content."""
_DATABASES = ("goose", "hermes", "llm")
_EVENTS = {"claude-code": read_claude_code, "goose": read_goose}
_MARKS = ((b"PAR1", "a Parquet file: write it as JSON lines"), (b"\x1f\x8b", "compressed with gzip: unpack it first"),
          (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first"), (b"BZh", "compressed with bzip2: unpack it first"),
          (b"\xfd7zXZ", "compressed with xz: unpack it first"), (b"%PDF", "a PDF"), (b"GGUF", "a model's weights"))  # fmt: skip
"""How files begin that are no sessions, and what they are."""
_OTHER_UNICODE = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_LOOKAHEAD = 50
"""Values that are looked at before a file is said to hold nothing that is known."""
_WRONG = (EdgexpError, OSError, EOFError, MemoryError, RecursionError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
"""What reading a file, a database or an archive raises where something is wrong with it."""
_MOST_FOLDERS = 100_000
_LONGEST_TOLD = 300


@dataclass
class Import:
    """Reads, and keeps count. `problem` hears of what was passed over, a line each."""

    format: str = "auto"
    secrets: bool = False
    """Leave secrets in."""
    problem: Callable[[str], None] = lambda _: None
    check: Callable[[Trajectory], Trajectory] = lambda trajectory: trajectory
    """What a trajectory has to pass before it is given on; raises EdgexpError for one that cannot be kept."""
    tally: Tally = field(default_factory=Tally)
    files: int = 0
    """Files in which there was something."""
    formats: Counter[str] = field(default_factory=Counter)
    """Sessions by format."""
    unknown: int = 0
    """Sessions of which nobody has said how they ended."""
    problems: int = 0

    def read(self, place: Path) -> Iterator[Trajectory]:
        """The trajectories in a file, in standard input (`-`), or in all files below a folder. Raises UsageError where there is nothing."""
        if self.format not in FORMATS:
            raise UsageError(f"--format {self.format}: no such format; known: {', '.join(FORMATS)}")
        if str(place) == "-":
            yield from self._read_file(place, _standard_input())
        elif place.is_dir():
            paths = sorted(_files_below(place))
            if not paths:
                raise UsageError(f"{shown(place)}: there is no file in this folder")
            for path in paths:
                yield from self._read_file(path, None)
        else:
            yield from self._read_file(place, None)

    def _read_file(self, path: Path, data: bytes | None) -> Iterator[Trajectory]:
        """The trajectories of one file. Whatever is wrong with the file as a whole is one line."""
        where = "standard input" if data is not None else shown(path)
        count = 0
        try:
            if data is None and not stat.S_ISREG(path.stat().st_mode):
                data = path.read_bytes()  # a pipe can be read once only
            for trajectory in self._trajectories(path, data, where):
                count += 1
                yield trajectory
        except _WRONG as error:
            self._tell(f"{where}: {_reason(error)}")
        self.files += count > 0

    def _tell(self, line: str) -> None:
        self.problems += 1
        self.problem(clean(" ".join(line.split()))[:2_000])

    def _trajectories(self, path: Path, data: bytes | None, where: str) -> Iterator[Trajectory]:
        digest = _digest(path) if data is None else hashlib.sha256(data).hexdigest()
        for form, place, given in self._sessions(path, data, where):
            origin = ", ".join(part for part in (form, f"sha256 {digest}", place) if part)
            try:
                made = self._made(given, form, origin)
                made = self.check(made)
            except (EdgexpError, ValueError, TypeError, RecursionError) as error:
                self._tell(f"{where}, {place}: {_reason(error)}" if place else f"{where}: {_reason(error)}")
                continue
            self.formats[form] += 1
            self.unknown += not made.outcome_known
            yield made

    def _made(self, given: Any, form: str, origin: str) -> Trajectory:
        if isinstance(given, Dialogue):
            return trajectory_of(given, origin, self.tally, secrets=self.secrets)
        return _of_edgexp(given, origin, self.tally, self.secrets)

    def _sessions(self, path: Path, data: bytes | None, where: str) -> Iterator[tuple[str, str, Any]]:
        """Format, place, and the session: a dialogue, or an object that is a trajectory of edgexp's own."""
        with path.open("rb") if data is None else io.BytesIO(data) as file:
            begin = file.read(16)
            file.seek(0)
            for mark, what in _MARKS:
                if begin.startswith(mark):
                    raise EdgexpError(f"it is {what}")
            if begin.startswith(MAGIC):
                if data is not None:
                    raise EdgexpError("it is a database, and is to be named as a file")
                yield from self._of_database(path, where)
            elif begin.startswith(b"PK\x03\x04"):
                yield from self._of_archive(file, where)
            else:
                yield from self._of_values(_as_utf8(file, begin, where), where)

    def _of_database(self, path: Path, where: str) -> Iterator[tuple[str, str, Any]]:
        if self.format not in ("auto", *_DATABASES):
            raise EdgexpError(f"it is a database, and --format {self.format} is none")
        for form, dialogue in read_database(path):
            yield form, dialogue.place, dialogue

    def _of_archive(self, file: BinaryIO, where: str) -> Iterator[tuple[str, str, Any]]:
        """The samples of a log of Inspect's, which is an archive."""
        with zipfile.ZipFile(file) as archive:
            names = [entry for entry in archive.infolist() if entry.filename.startswith("samples/") and entry.filename.endswith(".json")]
            if not names:
                raise EdgexpError("an archive, and no log of Inspect's: there is no samples/ in it")
            for entry in names:
                try:
                    if entry.file_size > LONGEST:
                        raise EdgexpError(f"it is longer than {LONGEST:,} bytes")
                    with archive.open(entry) as inside:
                        value = msgspec.json.decode(inside.read(LONGEST))
                except _WRONG as error:
                    self._tell(f"{where}, {entry.filename}: {_reason(error)}")
                    continue
                yield from self._of_record("inspect", entry.filename, value, where)

    def _of_values(self, file: BinaryIO, where: str) -> Iterator[tuple[str, str, Any]]:
        before: list[str] = []
        first: list[tuple[str, Any]] = []

        def hear(line: str) -> None:
            self._tell(f"{where}, {line}") if first else before.append(line)

        with closing(read_values(file, hear)) as values:
            found = list(islice(_objects(values, before), _LOOKAHEAD))
            if not found:
                raise EdgexpError(f"there is no session in it{f' ({before[0]})' if before else ''}")
            first = found
            for line in before:
                hear(line)
            form = self.format if self.format != "auto" else next((e for _, v in first if (e := recognise_events(v))), "auto")
            if form in _EVENTS:
                for dialogue in _EVENTS[form](value for _, value in chain(first, values)):
                    yield form, dialogue.place, dialogue
                return
            if not any(_is_known(form, value) for _, value in first):
                raise EdgexpError(_unknown(first[0][1]))
            for place, value in chain(first, values):
                yield from self._of_record(form, place, value, where)

    def _of_record(self, form: str, place: str, value: Any, where: str) -> Iterator[tuple[str, str, Any]]:
        found = recognise(value) if form == "auto" else form
        if not _is_known(found, value):
            self._tell(f"{where}, {place}: {_unknown(value)}")
        elif found == "edgexp":
            yield found, place, value
        else:
            for dialogue in READERS[found](value):
                dialogue.place = f"{place}, {dialogue.place}" if dialogue.place else place
                yield found, dialogue.place, dialogue


def _objects(values: Iterator[tuple[str, Any]], problems: list[str]) -> Iterator[tuple[str, Any]]:
    """The values as long as there is hope: not beyond a number of lines of which none is JSON."""
    for place, value in values:
        yield place, value
        if len(problems) > _LOOKAHEAD:
            return


def _is_known(form: str, value: Any) -> bool:
    """Whether an object can be read as of a format; `auto`: as of any."""
    if not isinstance(value, dict):
        return False
    found = recognise(value) if form == "auto" else form
    return found in READERS or found == "edgexp"


def _unknown(value: Any) -> str:
    keys = ", ".join(map(str, list(value)[:8])) if isinstance(value, dict) else ""
    what = f"an object with {keys or 'nothing'}" if isinstance(value, dict) else f"a JSON {type(value).__name__}"
    return f"no session of a format that is known here, but {what[:200]}"


def _of_edgexp(value: Any, origin: str, tally: Tally, secrets: bool) -> Trajectory:
    """A trajectory of edgexp's own, without secrets; where it has none it keeps its id."""
    try:
        given = as_import(msgspec.convert(value, Trajectory))
    except (ValueError, RecursionError) as error:
        raise EdgexpError(f"not a trajectory: {error}") from error

    def clean_text(text: str) -> str:
        cleaned, found = (text, Counter[str]()) if secrets else redact(text)
        tally.secrets += found
        return cleaned

    replace = msgspec.structs.replace
    steps = tuple(replace(step, action=clean_text(step.action), observation=clean_text(step.observation)) for step in given.steps)
    provenance = replace(given.provenance, origin=given.provenance.origin or origin)
    return replace(given, goal=clean_text(given.goal), observation=clean_text(given.observation), steps=steps, provenance=provenance)


def _files_below(folder: Path) -> Iterator[Path]:
    """The files of a folder and of those in it; links are not followed, nor are the files that SQLite keeps beside a database."""
    for count, (at, _, names) in enumerate(os.walk(folder)):
        if count > _MOST_FOLDERS:
            raise UsageError(f"{shown(folder)}: there are more than {_MOST_FOLDERS:,} folders in it")
        for name in names:
            path = Path(at, name)
            if not name.endswith(("-wal", "-shm", "-journal")) and not path.is_symlink() and path.is_file():
                yield path


def _as_utf8(file: BinaryIO, begin: bytes, where: str) -> BinaryIO:
    """The file, or what it holds in UTF-8 where it is in another Unicode."""
    if not begin.startswith(_OTHER_UNICODE) and not (len(begin) > 1 and (begin[0] == 0) != (begin[1] == 0)):
        return file
    data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise EdgexpError(f"it is in UTF-16 and has more than {LONGEST:,} bytes: save it as UTF-8")
    return io.BytesIO(decode_text(data, where).encode("utf-8", "replace"))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _standard_input() -> bytes:
    return sys.stdin.buffer.read()


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    return (str(error) or type(error).__name__)[:_LONGEST_TOLD]
