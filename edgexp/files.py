"""Files and folders that are whole or not there: written in one step, built under a working name, held by one process, added to by lines.

A process may be killed at any moment, and a disk may be full. Everything here leaves then what was there before; a working folder that a
killed process left is removed after a day. Knows nothing of what the files hold, nor where edgexp keeps them.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from edgexp.errors import EdgexpError

STALE = 24 * 3600.0
"""Seconds after which a working folder is taken for one that a killed process left."""


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step: readers see the old bytes or the new ones, never a part, even after a crash.

    Raises OSError (a full disk, no permission) with the old file still in place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if hasattr(os, "fchmod"):  # as any other new file: temporary ones are their maker's alone
                os.fchmod(handle, 0o666 & ~_umask())
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """The permissions that new files do not get. They can only be read by setting them."""
    now = os.umask(0o077)
    os.umask(now)
    return now


def append_lines(path: Path, *lines: bytes) -> None:
    """Add lines (given without their ends) to a JSON-lines file; made with its folder where it is missing, on the disk when this returns.

    They are written in one piece, so that several processes may add to one file. A last line that a crash cut short is ended first: it
    is lost, and only it. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+", buffering=0) as file:
        data = memoryview((b"\n" if _is_cut_short(path) else b"") + b"".join(line + b"\n" for line in lines))
        while data:  # the system takes less than all only where a disk is full or a signal comes
            data = data[file.write(data) :]
        os.fsync(file.fileno())


def _is_cut_short(path: Path) -> bool:
    """Whether the last line has no end."""
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


@contextlib.contextmanager
def working_folder(parent: Path, label: str) -> Iterator[Path]:
    """A new folder `.<label>-…` in `parent`, which is made where it is missing. It is gone afterwards, whatever happens.

    What killed processes left under the same label goes first. Raises OSError where it cannot be made.
    """
    parent.mkdir(parents=True, exist_ok=True)
    remove_stale(parent, f".{label}-*")
    work = Path(tempfile.mkdtemp(prefix=f".{label}-", dir=parent))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def build_folder(final: Path, label: str = "work") -> Iterator[Path]:
    """Fill the folder that this gives; when the block ends well it takes the name `final`, and the place of what lies there.

    However the block ends otherwise, a kill included, `final` stays as it was. Raises OSError where it cannot be made or replaced.
    """
    with working_folder(final.parent, label) as work:
        yield work
        _put_in_place(work, final)


def _put_in_place(work: Path, final: Path) -> None:
    """A folder cannot take the name of another that has anything in it: the old one steps aside first, and back if that was in vain."""
    old = work.with_name(f"{work.name}.old")
    if final.exists():
        final.rename(old)
    try:
        work.rename(final)
    except OSError:
        if old.exists():
            old.rename(final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def remove_stale(folder: Path, pattern: str) -> None:
    """Remove the working folders in `folder` that killed processes left: those that match and were last added to a day ago."""
    for left in folder.glob(pattern):
        with contextlib.suppress(OSError):  # another process was faster
            if left.stat().st_mtime < time.time() - STALE:
                shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def hold_folder(folder: Path, complaint: str) -> Iterator[None]:
    """Hold a folder, made if it is not there: two processes that wrote into it would spoil it. The hold ends with the process, however
    that ends. Raises EdgexpError with the complaint while another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+b") as file:
        try:
            lock_open_file(file.fileno())
        except OSError as error:
            raise EdgexpError(complaint) from error
        yield


def lock_open_file(descriptor: int) -> None:
    """Lock an open file for this process, until it is closed. Raises OSError at once when another process has it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
