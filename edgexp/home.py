"""Where edgexp keeps what it makes: weights, banks, adapters, runs and measurements of this machine.

`EDGEXP_HOME` names the folder; without it the platform's own convention does (`~/.local/share/edgexp` on Linux,
`~/Library/Application Support/edgexp` on macOS, `%LOCALAPPDATA%\\edgexp` on Windows).
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


def home() -> Path:
    """The home folder, absolute. It need not exist yet."""
    named = os.environ.get("EDGEXP_HOME")
    if named:
        return Path(named).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("edgexp", appauthor=False))


def default_bank() -> Path:
    """The bank that is used when none is named. It need not exist yet."""
    return home() / "banks" / "default"


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


def sweep(folder: Path, pattern: str) -> None:
    """Remove the working folders in `folder` that killed processes left: those that match and were last added to a day ago."""
    for left in folder.glob(pattern):
        with contextlib.suppress(OSError):  # another process was faster
            if left.stat().st_mtime < time.time() - STALE:
                shutil.rmtree(left, ignore_errors=True)


def _umask() -> int:
    """The permissions that new files do not get. They can only be read by setting them."""
    now = os.umask(0o077)
    os.umask(now)
    return now


@contextlib.contextmanager
def held(folder: Path, complaint: str) -> Iterator[None]:
    """Hold a folder, made if it is not there: two processes that wrote into it would spoil it. The hold ends with the process, however
    that ends. Raises EdgexpError with the complaint while another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+b") as file:
        try:
            lock_now(file.fileno())
        except OSError as error:
            raise EdgexpError(complaint) from error
        yield


def lock_now(descriptor: int) -> None:
    """Lock an open file for this process, until it is closed. Raises OSError at once when another process has it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
