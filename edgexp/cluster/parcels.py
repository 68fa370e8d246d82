"""Weights, encoders and copies of banks on their way to workers: known by the hashes of their content, once a machine.

A worker looks first where the driver has the files, which on the driver's own machine is where they are, then in its own folder for what
was brought. Only what is in neither is brought, piece by piece; a parcel is there whole and checked, or not at all. Knows no Ray.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from edgexp.cluster.wire import File, Parcel
from edgexp.errors import EdgexpError
from edgexp.files import build_folder, remove_stale, shown
from edgexp.home import home
from edgexp.models import Ready, encoder
from edgexp.models.model_files import parts_of, remember_sha256, sha256, sha256_of_mapping

PIECE = 16 << 20
"""Bytes that are brought at once."""


def brought() -> Path:
    """The folder for what was brought to this machine."""
    return home() / "cluster"


def pack_weights(ready: Ready) -> Parcel:
    """The parcel of a model (all parts of a split one) or an encoder."""
    if ready.role == "policy":
        return pack("model", ready.path.parent, [part.name for part in parts_of(ready.path)])
    return pack("encoder", ready.path, ["encoder.json", *encoder.files(ready.path, encoder.read(ready.path))])


def pack(kind: str, folder: Path, names: list[str]) -> Parcel:
    """The parcel of some files of a folder. Raises EdgexpError where one cannot be read."""
    try:
        files = tuple(File(name, sha256(folder / name), (folder / name).stat().st_size) for name in sorted(set(names)))
    except OSError as error:
        raise EdgexpError(f"{error.filename or shown(folder)} cannot be read: {error.strerror or error}") from error
    return Parcel(kind, sha256_of_mapping({file.name: file.sha256 for file in files}), shown(folder), files)  # type: ignore[arg-type]


def find(parcel: Parcel) -> Path | None:
    """The folder on this machine that holds a parcel's very files; None where there is none."""
    return next((folder for folder in (Path(parcel.folder), place_of(parcel)) if _holds(folder, parcel)), None)


def place_of(parcel: Parcel) -> Path:
    """Where a parcel is put when it is brought."""
    return brought() / f"{parcel.kind}-{parcel.digest[:32]}"


def forget_banks(parcels: tuple[Parcel, ...] = ()) -> None:
    """Remove the copies of banks that were brought, and those that nobody has removed for a day: whoever makes a bank forget something
    does not reach them."""
    for parcel in parcels:
        shutil.rmtree(place_of(parcel), ignore_errors=True)
    remove_stale(brought(), "bank-*")
    remove_stale(brought(), ".parcel-*")


def pieces(parcel: Parcel) -> Iterator[bytes]:
    """The content of a parcel's files, one after the other, for `Incoming`. No piece is of two files, and each file has one at least."""
    for file in parcel.files:
        with (Path(parcel.folder) / file.name).open("rb") as opened:
            yield opened.read(PIECE)
            while piece := opened.read(PIECE):
                yield piece


class Incoming:
    """A parcel that is being brought. Close it, or use it as a context manager: what is not whole then is gone."""

    def __init__(self, parcel: Parcel):
        """Raises OSError where nothing can be written."""
        self._parcel, self._stack = parcel, contextlib.ExitStack()
        self._folder = self._stack.enter_context(build_folder(place_of(parcel), "parcel"))
        self._left = list(parcel.files)
        self._file: BinaryIO | None = None
        self._digest, self._size = hashlib.sha256(), 0

    def __enter__(self) -> "Incoming":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def whole(self) -> bool:
        """Whether all of it is there, checked, and in its place."""
        return not self._left

    def add(self, piece: bytes) -> None:
        """The next piece. Raises EdgexpError where a file is not what the parcel says."""
        file = self._left[0]
        if self._file is None:
            self._file = self._stack.enter_context((self._folder / file.name).open("xb"))
        self._file.write(piece)
        self._digest.update(piece)
        self._size += len(piece)
        if self._size >= file.size:
            self._end_file(file)
        if not self._left:
            self._stack.close()
            for done in self._parcel.files:
                remember_sha256(place_of(self._parcel) / done.name, done.sha256)

    def close(self) -> None:
        """Stop, whole or not."""
        if self._left:  # what is built is taken for whole where its block ends well
            error = EdgexpError("a parcel was not brought whole")
            self._stack.__exit__(EdgexpError, error, None)
            self._left = []

    def _end_file(self, file: File) -> None:
        assert self._file is not None
        self._file.close()
        if self._digest.hexdigest() != file.sha256:
            raise EdgexpError(f"{file.name} came with another content than it has on the driver's machine")
        self._file, self._digest, self._size = None, hashlib.sha256(), 0
        self._left.pop(0)


def _holds(folder: Path, parcel: Parcel) -> bool:
    try:
        return all((folder / f.name).stat().st_size == f.size and sha256(folder / f.name) == f.sha256 for f in parcel.files)
    except (OSError, ValueError):
        return False
