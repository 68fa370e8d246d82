"""Folders that may not be written, for the tests about places; also where the tests run as root, who may write everywhere."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

NOBODY = 65534


@contextlib.contextmanager
def unwritable(folder: Path, *more: Path) -> Iterator[None]:
    """A folder and all in it that this process may only read, also where the tests run as root."""
    paths = [folder, *folder.rglob("*"), *more]
    modes = [(path, path.stat().st_mode) for path in paths]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    opened = [(path, path.stat().st_mode) for path in folder.parents if root and not path.stat().st_mode & 1]
    for path, mode in opened:
        path.chmod(mode | 0o11)
    try:
        if root:
            os.seteuid(NOBODY)
        yield
    finally:
        if root:
            os.seteuid(0)
        for path, mode in [*opened, *modes]:
            path.chmod(mode)
