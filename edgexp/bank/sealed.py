"""Index files that are written once, sealed with a checksum, and never changed: how they appear, are trusted, and go away.

A sealed file is a data file and a JSON sidecar of the same name, written in this order, each under another name first, synced and then
renamed: a sidecar means that the data was complete. Files are never overwritten, because a reader may have them mapped and would die;
newer ones get new names, and old ones are deleted by whoever wrote the newer. All of it is a cache: any file may vanish at any time.
What is inside a file is its writer's affair: nothing here knows vectors, graphs or tables.

The checksum is SHA-256 over the sums of the file's 4 KiB pages as 64-bit words: ten times faster than hashing every byte, so it is
checked on every mapping and nothing needs to be remembered. It finds every change within one word of a page, torn and zeroed pages,
and anything else but for one chance in 2^64 a page; words that trade places within a page stay unseen, and whoever can write here and
means to deceive can write the database as well.
"""

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from edgexp.files import owned_name, read_cache, remove_stale, shown, write_atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FORMAT = 1
_PAGE_WORDS = 512
_LEFTOVER_SECONDS = 3600
"""A half-written file older than this belongs to a process that died."""

Content = Literal["vectors", "graph"]


class Filled(msgspec.Struct, frozen=True):
    """What was written: every vector of the store up to and including `last_row`."""

    count: int
    last_row: int


class Seal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sidecar: what the data file holds, of which bank, and how to tell that it still does."""

    format: int
    library: str
    """Name and version of the library whose own format the data file has; empty for a format of ours."""
    bank: str
    encoder: str
    kind: str
    dimensions: int
    count: int
    last_row: int
    last_id: str
    """The trajectory of the last row: another one after the database was replaced by an older copy."""
    size: int
    checksum: str


_decode = msgspec.json.Decoder(Seal).decode


class Shelf:
    """The index files of one bank, encoder and kind."""

    def __init__(self, folder: Path, bank: str, encoder: str, kind: str, dimensions: int, id_of_row: Callable[[int], str | None]) -> None:
        self._folder = folder
        self._bank = bank
        self._encoder = encoder
        self._kind = kind
        self._dimensions = dimensions
        self._id_of_row = id_of_row

    def publish(self, content: Content, library: str, write: Callable[[Path], Filled]) -> None:
        """Let `write` fill a file, seal it, give it its name, delete the older ones. Raises OSError and then leaves all as it was."""
        final = self._folder / f"{self._kind}-{time.time_ns():020d}-{secrets.token_hex(2)}.{content}"
        partial = final.with_name(owned_name(f"{final.name}.partial"))
        try:
            filled = write(partial)
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            seal = self._seal(library, filled, partial)
            partial.replace(final)
            write_atomic(_sidecar(final), msgspec.json.format(msgspec.json.encode(seal)))
        except BaseException:
            _remove(partial)
            _remove(final)
            raise
        self.discard(content, keep=final)

    def newest(
        self, content: Content, library: str, size_of: Callable[[Seal], int] | None = None
    ) -> tuple[tuple[Path, Seal] | None, list[str]]:
        """The newest file that can be trusted, and what was wrong with the newer ones. `size_of` is the size that follows from a seal."""
        problems: list[str] = []
        for sidecar in sorted(self._list(f"{self._kind}-*.{content}.json"), reverse=True):
            path = sidecar.with_suffix("")
            seal = read_cache(sidecar, _decode)
            try:
                problem = self._distrust(path, seal, library, size_of(seal) if size_of else seal.size) if seal else "cannot be read"
            except FileNotFoundError:  # a writer has just replaced it
                continue
            except (OSError, ValueError, OverflowError) as error:
                problem = f"cannot be read ({error})"
            if not problem and seal:
                return (path, seal), problems
            if not sidecar.exists():  # a writer has just replaced it
                continue
            problems.append(f"the index file {shown(path)} {problem}: the database stands in for it, and the next writer renews it")
        return None, problems

    def latest(self, content: Content) -> str:
        """The name of the newest file, trusted or not; empty when there is none."""
        return max((path.name for path in self._list(f"{self._kind}-*.{content}.json")), default="").removesuffix(".json")

    def discard_unfinished(self) -> None:
        """Delete what is half-written, whoever writes it: it may hold what must be forgotten. Its writer does without it."""
        for path in self._list(f"{self._kind}-*.partial*"):
            _remove(path)

    def discard(self, content: Content, keep: Path | None = None) -> None:
        """Delete the files but `keep`, and what dead processes left half-written. What cannot be deleted now (on Windows, while a
        reader has it mapped) is deleted another time."""
        for path in [*self._list(f"{self._kind}-*.{content}.json"), *self._list(f"{self._kind}-*.{content}")]:
            if keep is None or path not in (keep, _sidecar(keep)):
                _remove(path)
        for pattern in (f"{self._kind}-*.partial*", f".{self._kind}-*.json.*"):
            remove_stale(self._folder, pattern, _LEFTOVER_SECONDS)

    def _list(self, pattern: str) -> list[Path]:
        try:
            return list(self._folder.glob(pattern))
        except OSError:  # the whole folder may vanish
            return []

    def _seal(self, library: str, filled: Filled, path: Path) -> Seal:
        return Seal(
            format=_FORMAT,
            library=library,
            bank=self._bank,
            encoder=self._encoder,
            kind=self._kind,
            dimensions=self._dimensions,
            count=filled.count,
            last_row=filled.last_row,
            last_id=self._id_of_row(filled.last_row) or "",
            size=path.stat().st_size,
            checksum=checksum(mapped(path)),
        )

    def _distrust(self, path: Path, seal: Seal, library: str, size: int) -> str:
        """Why a file must not be used, or nothing. Raises OSError when it cannot be read."""
        expected = (_FORMAT, library, self._bank, self._encoder, self._kind, self._dimensions)
        if (seal.format, seal.library, seal.bank, seal.encoder, seal.kind, seal.dimensions) != expected:
            return "belongs to another bank, encoder or version"
        if seal.last_id != self._id_of_row(seal.last_row):
            return "does not belong to this state of the database"
        if not path.stat().st_size == seal.size == size:
            return f"has {path.stat().st_size} bytes instead of {size}"
        if checksum(mapped(path)) != seal.checksum:
            return "does not have the checksum it was sealed with"
        return ""


def mapped(path: Path) -> "NDArray[np.uint8]":
    """The bytes of a file, mapped and not read. Raises OSError, also for an empty file."""
    import numpy as np

    try:
        return np.memmap(path, np.uint8, mode="r").view(np.ndarray)
    except ValueError as error:  # what numpy says of an empty file
        raise OSError("it is empty") from error


def checksum(data: "NDArray[np.uint8]") -> str:
    """The checksum of the module's docstring, over the bytes of a file."""
    import numpy as np

    whole = len(data) // (8 * _PAGE_WORDS) * (8 * _PAGE_WORDS)
    sums = data[:whole].view("<u8").reshape(-1, _PAGE_WORDS).sum(axis=1, dtype=np.uint64)
    digest = hashlib.sha256(sums.tobytes())
    digest.update(data[whole:].tobytes())
    return digest.hexdigest()


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
