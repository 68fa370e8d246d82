"""Reading GGUF files: the header with every metadata entry's own bytes, and tensor data in chunks of rows. Knows nothing of models.

The header is checked against the file's size before any data is read, so a download that was cut short is an error that says so. Data is
read and not mapped: a file that shrinks under the reader is an error too, where a map would kill the process.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgexp.errors import EdgexpError
from edgexp.gguf import formats

MAGIC = b"GGUF"
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
"""struct formats of the metadata types that have a fixed size, by their number in the file."""
STRING, ARRAY = 8, 9


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file. `shape` is in numpy's order: the last number is the length of a row."""

    name: str
    shape: tuple[int, ...]
    kind: int
    """Number format, a key of `formats.KINDS`."""
    offset: int = 0
    """First byte, counted from the start of the file."""

    @property
    def columns(self) -> int:
        """Numbers in a row."""
        return self.shape[-1]

    @property
    def rows(self) -> int:
        """Rows in all."""
        rows = 1
        for n in self.shape[:-1]:
            rows *= n
        return rows

    @property
    def nbytes(self) -> int:
        """Size of the data. Raises ValueError where a row is not whole blocks."""
        return self.rows * formats.row_bytes(self.kind, self.columns)


@dataclass(frozen=True)
class GgufFile:
    """The header of a file. `entries` holds each metadata entry as it stands in the file, key and type included, in the file's order."""

    path: Path
    size: int
    entries: dict[str, bytes]
    tensors: dict[str, Tensor]
    alignment: int

    def get(self, key: str, default: Any = None) -> Any:
        """A metadata value: number, bool, text (bytes that are no UTF-8 are replaced) or list of these."""
        raw = self.entries.get(key)
        if raw is None:
            return default
        at = 8 + len(key.encode("utf-8", "surrogateescape"))
        (kind,) = struct.unpack_from("<I", raw, at)
        return _value(raw, at + 4, kind)[0]

    def require(self, key: str) -> Any:
        """Like `get`. Raises EdgexpError where the key is absent."""
        value = self.get(key)
        if value is None:
            raise EdgexpError(f"{self.path} has no metadata {key!r}; it is not a complete language model")
        return value

    @property
    def architecture(self) -> str:
        """The model family as llama.cpp names it, for example `llama` or `qwen2`."""
        return str(self.require("general.architecture"))

    def read_rows(self, tensor: Tensor, rows: int) -> Iterator[formats.Bytes]:
        """The tensor's data, at most `rows` rows at a time. Raises EdgexpError when the file ends early or cannot be read."""
        width = formats.row_bytes(tensor.kind, tensor.columns)
        try:
            with self.path.open("rb") as file:
                file.seek(tensor.offset)
                for first in range(0, tensor.rows, rows):
                    chunk = np.empty(min(rows, tensor.rows - first) * width, np.uint8)
                    if file.readinto(chunk.data) != chunk.size:
                        raise EdgexpError(f"{self.path} ended inside tensor {tensor.name} while it was read; was it replaced?")
                    yield chunk
        except OSError as error:
            raise EdgexpError(f"{self.path} cannot be read: {error.strerror or error}") from error


def open_gguf(path: Path) -> GgufFile:
    """Read and check a file's header. Raises EdgexpError naming the file: missing, no GGUF, cut short, damaged, one part of several."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise EdgexpError(f"{path} is not a GGUF file; name a model in GGUF form")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _parse(path, size, data)
    except FileNotFoundError as error:
        raise EdgexpError(f"no model file at {path}") from error
    except OSError as error:
        raise EdgexpError(f"{path} cannot be read: {error.strerror or error}") from error
    except (struct.error, IndexError, OverflowError, RecursionError) as error:
        raise EdgexpError(f"{path} is cut short or damaged: its header makes no sense; download it again") from error


def _parse(path: Path, size: int, data: mmap.mmap) -> GgufFile:
    version, tensor_count, entry_count = struct.unpack_from("<IQQ", data, 4)
    if version not in (2, 3):
        form = "is big-endian" if version & 0xFFFF == 0 else f"has GGUF version {version}"
        raise EdgexpError(f"{path} {form}; edgexp reads little-endian GGUF 2 and 3")
    entries, at = _entries(path, data, 24, entry_count)
    head = GgufFile(path, size, entries, {}, 32)
    if (head.get("split.count") or 0) > 1:
        raise EdgexpError(f"{path} is one part of a model in several files; join them first (llama-gguf-split --merge)")
    alignment = head.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
        raise EdgexpError(f"{path} is damaged: its alignment is {alignment!r}, not a power of two")
    tensors, at = _tensors(path, data, at, tensor_count)
    start = -(-at // alignment) * alignment
    placed = {t.name: Tensor(t.name, t.shape, t.kind, start + t.offset) for t in tensors}
    if len(placed) != len(tensors):
        raise EdgexpError(f"{path} is damaged: two of its tensors have the same name")
    for tensor in placed.values():
        _check_place(path, tensor, size)
    return GgufFile(path, size, entries, placed, alignment)


def _check_place(path: Path, tensor: Tensor, size: int) -> None:
    try:
        end = tensor.offset + tensor.nbytes
    except ValueError as error:
        raise EdgexpError(f"{path} is damaged: tensor {tensor.name}: {error}") from error
    if end > size:
        raise EdgexpError(f"{path} is cut short: tensor {tensor.name} ends at byte {end:,}, the file has {size:,}; download it again")


def _entries(path: Path, data: mmap.mmap, at: int, count: int) -> tuple[dict[str, bytes], int]:
    entries: dict[str, bytes] = {}
    for _ in range(count):
        start = at
        key, at = _string(data, at)
        (kind,) = struct.unpack_from("<I", data, at)
        at = _skip(path, data, at + 4, kind)
        if at > len(data):
            raise IndexError(key)
        entries[key] = data[start:at]
    if len(entries) != count:
        raise EdgexpError(f"{path} is damaged: a metadata key appears twice")
    return entries, at


def _tensors(path: Path, data: mmap.mmap, at: int, count: int) -> tuple[list[Tensor], int]:
    tensors = []
    for _ in range(count):
        name, at = _string(data, at)
        (dimensions,) = struct.unpack_from("<I", data, at)
        if not 1 <= dimensions <= 4:
            raise EdgexpError(f"{path} is damaged: tensor {name} has {dimensions} dimensions")
        shape = struct.unpack_from(f"<{dimensions}Q", data, at + 4)[::-1]
        kind, offset = struct.unpack_from("<IQ", data, at + 4 + 8 * dimensions)
        at += 4 + 8 * dimensions + 12
        if kind not in formats.KINDS:
            raise EdgexpError(f"{path}: tensor {name} has number format {kind}, which edgexp does not know; take a base in F16 or Q8_0")
        if 0 in shape:
            raise EdgexpError(f"{path} is damaged: tensor {name} is empty")
        tensors.append(Tensor(name, shape, kind, offset))
    return tensors, at


def _skip(path: Path, data: mmap.mmap, at: int, kind: int) -> int:
    """The place after a value."""
    if kind in SCALARS:
        return at + struct.calcsize(SCALARS[kind])
    if kind == STRING:
        return at + 8 + int(struct.unpack_from("<Q", data, at)[0])
    if kind != ARRAY:
        raise EdgexpError(f"{path} is damaged: metadata of unknown type {kind}")
    inner, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if inner in SCALARS:
        return at + int(count) * struct.calcsize(SCALARS[inner])
    length = struct.Struct("<Q").unpack_from
    for _ in range(count):  # a vocabulary: some 100,000 strings
        at = at + 8 + length(data, at)[0] if inner == STRING else _skip(path, data, at, inner)
    return at


def _value(raw: bytes, at: int, kind: int) -> tuple[Any, int]:
    """A value and the place after it, from one entry's bytes."""
    if kind == STRING:
        return _string(raw, at)
    if kind in SCALARS:
        return struct.unpack_from(SCALARS[kind], raw, at)[0], at + struct.calcsize(SCALARS[kind])
    inner, count = struct.unpack_from("<IQ", raw, at)
    at += 12
    values = []
    for _ in range(count):
        value, at = _value(raw, at, inner)
        values.append(value)
    return values, at


def _string(data: bytes | mmap.mmap, at: int) -> tuple[str, int]:
    """A string and the place after it. Bytes that are no UTF-8 survive as surrogates, so that keys stay distinct."""
    (length,) = struct.unpack_from("<Q", data, at)
    end = at + 8 + length
    if end > len(data):
        raise IndexError(length)
    return data[at + 8 : end].decode("utf-8", "surrogateescape"), end
