"""Writing GGUF files as a stream: all sizes are known before the first byte, tensor data passes through once. Knows nothing of models.

A write that fails removes its file. Callers write under a working name and rename when they are content with the result.
"""

import errno
import hashlib
import os
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from edgexp.errors import EdgexpError
from edgexp.gguf import formats
from edgexp.gguf.reader import MAGIC, STRING, Tensor

UINT32, FLOAT32 = 4, 6
NO_SPACE = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.ENOSPC}
"""Errors of a write that mean: there is no room for this file."""
VERSION = 3


def entry(key: str, value: str | int | float) -> bytes:
    """A metadata entry's bytes: text, an unsigned 32-bit number, or a 32-bit float."""
    head = _text(key)
    if isinstance(value, str):
        return head + struct.pack("<I", STRING) + _text(value)
    if isinstance(value, int):
        return head + struct.pack("<II", UINT32, value)
    return head + struct.pack("<If", FLOAT32, value)


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(data)) + data


def header(entries: Mapping[str, bytes], tensors: Iterable[Tensor], alignment: int) -> bytes:
    """All bytes before the tensor data, padding included. The tensors' own offsets are ignored: data follows in their order."""
    tensors = list(tensors)
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(tensors), len(entries)), *entries.values()]
    offset = 0
    for tensor in tensors:
        dimensions = tensor.shape[::-1]
        parts.append(_text(tensor.name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, tensor.kind, offset))
        offset += _padded(tensor.nbytes, alignment)
    data = b"".join(parts)
    return data.ljust(_padded(len(data), alignment), b"\0")


def file_size(entries: Mapping[str, bytes], tensors: Iterable[Tensor], alignment: int) -> int:
    """Bytes the whole file will have."""
    tensors = list(tensors)
    return len(header(entries, tensors, alignment)) + sum(_padded(t.nbytes, alignment) for t in tensors)


def check_space(folder: Path, needed: int) -> None:
    """Raise EdgexpError unless the folder's disk has room for `needed` bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise EdgexpError(f"no space left for the export: {folder} has {free / 1e9:.2f} GB free, {needed / 1e9:.2f} GB are needed; "
                          "free some or name another place with --out")


def write_gguf(path: Path, entries: Mapping[str, bytes], tensors: Sequence[Tensor], data: Callable[[Tensor], Iterable[formats.Bytes]],
               alignment: int = 32) -> str:
    """Write a whole file and return its SHA-256. `data` yields a tensor's bytes in pieces; it is asked once for each, in order.

    Raises EdgexpError when the disk is full or `path` cannot be written; nothing is left at `path` then, whatever the error was.
    """
    check_space(path.parent, file_size(entries, tensors, alignment))
    digest = hashlib.sha256()
    try:
        with path.open("wb") as file:
            for piece in _pieces(entries, tensors, data, alignment):
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise explained(path, error) from error
        raise
    return digest.hexdigest()


def _pieces(entries: Mapping[str, bytes], tensors: Sequence[Tensor], data: Callable[[Tensor], Iterable[formats.Bytes]],
            alignment: int) -> Iterator[bytes | memoryview]:
    yield header(entries, tensors, alignment)
    for tensor in tensors:
        written = 0
        for piece in data(tensor):
            written += piece.nbytes
            yield piece.data
        if written != tensor.nbytes:
            raise ValueError(f"{written} bytes for tensor {tensor.name}, whose shape and format take {tensor.nbytes}")
        yield bytes(_padded(written, alignment) - written)


def explained(path: Path, error: OSError) -> EdgexpError:
    """A failed write as one line that says what to do."""
    if error.errno in NO_SPACE:
        return EdgexpError(f"no space left while writing {path}; free some or name another place with --out")
    return EdgexpError(f"{path} cannot be written: {error.strerror or error}")


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
