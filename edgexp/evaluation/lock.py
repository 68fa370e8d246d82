"""Holds a folder for one process: two that wrote one file would spoil it. The hold ends with the process, however it ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgexp.errors import EdgexpError
from edgexp.home import lock_now


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder, made if it is not there. Raises EdgexpError when another process does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+b") as file:
        try:
            lock_now(file.fileno())
        except OSError as error:
            raise EdgexpError(f"{folder}: another evaluation is writing there; wait for it, or name another folder with --out") from error
        yield
