"""Files and folders that are whole or not there: written in one step, built under a working name, held by one process, added to by lines.

A process may be killed at any moment, and a disk may be full. Everything here leaves then what was there before. A working name says whose
it is (`owned_name`), so that what a killed process left goes as soon as another comes by, and after a day in any case.

Caches are read and written here too: one that is damaged is as good as none, and one that cannot be written costs time only. And the text
of files that people bring, in whatever Unicode their editor saves. Knows nothing of what the files hold, nor where edgexp keeps them.
"""

import codecs
import contextlib
import errno
import functools
import glob
import hashlib
import os
import platform
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from edgexp.errors import EdgexpError

T = TypeVar("T")

STALE = 24 * 3600.0
"""Seconds after which a working file or folder is taken for one that a killed process left, where its name does not say whose it is."""
NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
"""What systems say where a place has no locks, as some network drives have none. Anything else means that another process holds it."""
_OWNED = re.compile(r"\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}(\.|$)")


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step: readers see the old bytes or the new ones, never a part, even after a crash.

    Raises OSError (a full disk, no permission) with the old file still in place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(data)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to fill. When the block ends well it is on the disk and takes the name `path`; otherwise `path` stays as it was.

    Raises OSError (a full disk, no permission, no such folder).
    """
    remove_stale(path.parent, f".{glob.escape(path.name)}.*")
    partial = path.with_name(owned_name(f".{path.name}"))
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def owned_name(start: str) -> str:
    """A working name that no other process has: `start`, then which machine and process made it. `remove_stale` understands it."""
    return f"{start}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"


@functools.cache
def _machine() -> str:
    """Tells apart machines, their starts, and containers on one machine: a process number means something within one of these only."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii"))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:8]


def _owner_is_gone(name: str) -> bool:
    """Whether the process that made this working name has ended. False where that cannot be known."""
    found = _OWNED.search(name)
    if not found or found[1] != _machine() or os.name == "nt":
        return False
    try:
        os.kill(int(found[2]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def read_cache(path: Path, decode: Callable[[bytes], T]) -> T | None:
    """What a cache holds; None where it is missing, cannot be read, or holds anything that `decode` does not take.

    Whatever is wrong with a cache, it costs the time to make it anew and nothing else.
    """
    try:
        return decode(path.read_bytes())
    except (OSError, ValueError, TypeError, RecursionError, MemoryError):  # ValueError: of msgspec and of text that is not UTF-8, too
        return None


def write_cache(path: Path, data: bytes) -> bool:
    """Write a cache; whether that was possible: on a full disk or in a read-only folder one goes on without."""
    try:
        write_atomic(path, data)
    except (OSError, ValueError):
        return False
    return True


def decode_text(data: bytes, where: str) -> str:
    """The text of a file that a person brings: UTF-8, or what its byte-order mark or its zero bytes say. `where` names it in errors.

    Raises EdgexpError where it is none of these.
    """
    name, start = _encoding_of(data)
    try:
        return data[start:].decode(name)
    except UnicodeDecodeError as error:
        raise EdgexpError(f"{where}: is not text in UTF-8 or UTF-16 (byte {start + error.start}): save it as UTF-8") from error


def text_lines(file: BinaryIO, where: str) -> Iterator[bytes]:
    """The lines of a file that a person brings, in UTF-8, whatever Unicode it is saved in. Lines of UTF-8 are passed on unread.

    Raises EdgexpError as `decode_text`.
    """
    first = file.readline()
    name, start = _encoding_of(first)
    if name == "utf-8":
        yield first[start:]
        yield from file
    else:
        yield from (line.encode() for line in decode_text(first + file.read(), where).split("\n"))


_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be",
          codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
"""Byte-order marks; those of UTF-32 first, because one of UTF-16 is how one of them begins."""


def _encoding_of(data: bytes) -> tuple[str, int]:
    """Encoding, and bytes to pass over. Text without a mark that begins with ASCII shows UTF-16 by its zero bytes: UTF-8 has none."""
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            return name, len(mark)
    if len(data) >= 2 and (data[0] == 0) != (data[1] == 0) and 0 < max(data[:2]) < 128:
        return ("utf-16-be" if data[0] == 0 else "utf-16-le"), 0
    return "utf-8", 0


def shown(path: Path | str) -> str:
    """A path as text that can be printed and stored: bytes of a name that are not UTF-8 are shown as `\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace") if os.name != "nt" else str(path)


def append_lines(path: Path, *lines: bytes) -> None:
    """Add lines (given without their ends) to a JSON-lines file; made with its folder where it is missing, on the disk when this returns.

    They are written in one piece, in turn, so that several processes may add to one file. A last line that a crash cut short is ended
    first: it is lost, and only it. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+", buffering=0) as file:
        _wait_for_turn(file.fileno())  # a line that another process is writing looks like one that was cut short
        data = memoryview((b"\n" if _is_cut_short(path) else b"") + b"".join(line + b"\n" for line in lines))
        while data:  # the system takes less than all only where a disk is full or a signal comes
            data = data[file.write(data) :]
        os.fsync(file.fileno())


def _wait_for_turn(descriptor: int) -> None:
    """Wait until no other process adds to the file, where the system can say so; the turn ends when the file is closed."""
    if sys.platform != "win32":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)


def _is_cut_short(path: Path) -> bool:
    """Whether the last line has no end."""
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


@contextlib.contextmanager
def working_folder(parent: Path, label: str) -> Iterator[Path]:
    """A new folder `.<label>-…` in `parent`, which is made where it is missing. It is gone afterwards, whatever happens, and so is a
    `parent` that was made for it and holds nothing.

    What killed processes left under the same label goes first. Raises OSError where it cannot be made.
    """
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    parent.mkdir(parents=True, exist_ok=True)
    remove_stale(parent, f".{glob.escape(label)}-*")
    work = parent / owned_name(f".{label}-")
    try:
        work.mkdir(mode=0o700)
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        with contextlib.suppress(OSError):  # one that holds something stays
            for folder in made:
                folder.rmdir()


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


def remove_stale(folder: Path, pattern: str, seconds: float = STALE) -> None:
    """Remove the working files and folders in `folder` that killed processes left: those that match, and whose owner is gone or which
    were last added to so many seconds ago. Never raises: another process may be faster, or nothing may be removed here."""
    with contextlib.suppress(OSError):
        for left in folder.glob(pattern):
            with contextlib.suppress(OSError):
                if _owner_is_gone(left.name) or left.lstat().st_mtime < time.time() - seconds:
                    shutil.rmtree(left, ignore_errors=True) if left.is_dir() and not left.is_symlink() else left.unlink()


@contextlib.contextmanager
def hold_folder(folder: Path, complaint: str) -> Iterator[None]:
    """Hold a folder, made if it is not there: two processes that wrote into it would spoil it. The hold ends with the process, however
    that ends. Raises EdgexpError with the complaint while another process has it, and where it cannot be held at all.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a+b")
    except OSError as error:
        raise EdgexpError(f"{shown(folder)}: cannot be written to: {error.strerror or error}; name another folder") from error
    with file:
        lock_or_say(file.fileno(), folder, complaint)
        yield


def lock_or_say(descriptor: int, place: Path, complaint: str) -> None:
    """Lock an open file in `place`. Raises EdgexpError: with the complaint when another process has it, else with what is wrong."""
    try:
        lock_open_file(descriptor)
    except OSError as error:
        raise EdgexpError(no_locks(place, error) if error.errno in NO_LOCKS else complaint) from error


def no_locks(place: Path, error: OSError) -> str:
    """The line for a place where files cannot be locked."""
    return (f"{shown(place)}: files cannot be locked here ({error.strerror or error}), as on some network drives: "
            "use a folder on a disk of this machine")


def find_lock_trouble(folder: Path) -> str:
    """What keeps files in a folder from being locked at all, as a line; empty where locks work, or where nothing can be tried."""
    probe = folder / owned_name(".lock")
    try:
        with probe.open("xb") as file:
            _lock_range(file.fileno())
    except OSError as error:
        return no_locks(folder, error) if error.errno in NO_LOCKS else ""
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return ""


def _lock_range(descriptor: int) -> None:
    """The kind of lock that SQLite takes, which a drive may lack though it has the other kind."""
    if sys.platform != "win32":
        import fcntl

        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_open_file(descriptor: int) -> None:
    """Lock an open file for this process, until it is closed. Raises OSError at once: one of `NO_LOCKS` where there are no locks, any
    other when another process has it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
