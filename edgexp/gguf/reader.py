"""Reading GGUF files: the header with every metadata entry's own bytes, and tensor data in chunks of rows. Knows nothing of models.

The header is checked against the file's size before any data is read, so a download that was cut short is an error that says so. Data is
read and not mapped: a file that shrinks under the reader is an error too, where a map would kill the process.

There are two ways to read a header. `open_gguf` takes what the code here can read data of. `read_header` is as lenient as llama.cpp: number
formats that are not known here, one part of several, values of any type; whether such a file can be played is not for a reader to say.
Both take time and memory in proportion to a header, whatever a damaged one says of itself.
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

LONGEST_NAME = 1 << 16
"""Bytes of a key or of a tensor's name."""
MOST_ENTRIES = 1 << 20
"""Metadata entries, and tensors, of a file."""
MOST_ITEMS = 1 << 24
"""Texts and lists inside the lists of a file's metadata; vocabularies have some 100,000s."""
LARGEST_ENTRY = 1 << 28
"""Bytes of a metadata entry that are kept. More is passed over where the header is read for playing, and refused otherwise."""


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

    def text(self, key: str) -> str:
        """A metadata value that is a text; empty where it is absent or anything else. Bytes that are no UTF-8 are replaced."""
        raw, at = self.entries.get(key), 8 + len(key.encode("utf-8", "surrogateescape"))
        if raw is None or struct.unpack_from("<I", raw, at) != (STRING,):
            return ""
        return raw[at + 12 :].decode("utf-8", "replace")

    def number(self, key: str) -> int:
        """A metadata value that is a whole number of any size; 0 where it is absent, negative or anything else."""
        raw, at = self.entries.get(key), 8 + len(key.encode("utf-8", "surrogateescape"))
        if raw is None or struct.unpack_from("<I", raw, at)[0] not in SCALARS:
            return 0
        value = self.get(key)
        return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else 0

    def is_off(self, key: str) -> bool:
        """Whether a metadata value is the truth value "false"; absent or of another type, it is not."""
        head = len(key.encode("utf-8", "surrogateescape")) + 8
        return self.entries.get(key, b"")[head:] == struct.pack("<I?", 7, False)

    @property
    def architecture(self) -> str:
        """The model family as llama.cpp names it, for example `llama` or `qwen2`. Raises EdgexpError where the file does not say."""
        named = self.text("general.architecture")
        if not named:
            raise EdgexpError(f"{self.path} has no metadata 'general.architecture'; it is not a complete language model")
        return shown(named)

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
    """Read and check a file's header. Raises EdgexpError naming the file: missing, no GGUF, cut short, damaged, one part of several, or
    with tensors that cannot be read here."""
    return _open(path, strict=True)


def read_header(path: Path) -> GgufFile:
    """A header for playing: what is not known here is left to llama.cpp. Raises EdgexpError where the file is missing, no GGUF, cut short
    or damaged."""
    return _open(path, strict=False)


def shown(name: str) -> str:
    """A name out of a file as it can stand in a line: short, and without what would not be shown as it is."""
    return repr(name[:80] + ("…" if len(name) > 80 else ""))[1:-1]


def _open(path: Path, strict: bool) -> GgufFile:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise EdgexpError(f"{path} is not a GGUF file; name a model in GGUF form")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _parse(path, size, data, strict)
    except FileNotFoundError as error:
        raise EdgexpError(f"no model file at {path}") from error
    except OSError as error:
        raise EdgexpError(f"{path} cannot be read: {error.strerror or error}") from error
    except (struct.error, IndexError, OverflowError, RecursionError, MemoryError) as error:
        raise EdgexpError(f"{path} is cut short or damaged: its header makes no sense; download it again") from error


def _parse(path: Path, size: int, data: mmap.mmap, strict: bool) -> GgufFile:
    version, tensor_count, entry_count = struct.unpack_from("<IQQ", data, 4)
    if version not in (2, 3):
        form = "is big-endian" if version & 0xFFFF == 0 else f"has GGUF version {version}"
        raise EdgexpError(f"{path} {form}; edgexp reads little-endian GGUF 2 and 3")
    if max(tensor_count, entry_count) > MOST_ENTRIES:
        raise IndexError(tensor_count)
    entries, at = _entries(path, data, 24, entry_count, strict)
    head = GgufFile(path, size, entries, {}, 32)
    if strict and head.number("split.count") > 1:
        raise EdgexpError(f"{path} is one part of a model in several files; join them first (llama-gguf-split --merge)")
    alignment = head.number("general.alignment") if "general.alignment" in entries else 32
    if alignment <= 0 or alignment & (alignment - 1):
        raise EdgexpError(f"{path} is damaged: its alignment is not a power of two")
    tensors, at = _tensors(path, data, at, tensor_count, strict)
    start = -(-at // alignment) * alignment
    placed = {t.name: Tensor(t.name, t.shape, t.kind, start + t.offset) for t in tensors}
    if len(placed) != len(tensors):
        raise EdgexpError(f"{path} is damaged: two of its tensors have the same name")
    for tensor in placed.values():
        if tensor.kind in formats.KINDS:
            _check_place(path, tensor, size)
    return GgufFile(path, size, entries, placed, alignment)


def _check_place(path: Path, tensor: Tensor, size: int) -> None:
    try:
        end = tensor.offset + tensor.nbytes
    except ValueError as error:
        raise EdgexpError(f"{path} is damaged: tensor {shown(tensor.name)}: {error}") from error
    if end > size:
        name = shown(tensor.name)
        raise EdgexpError(f"{path} is cut short: tensor {name} ends at byte {end:,}, the file has {size:,}; download it again")


def _entries(path: Path, data: mmap.mmap, at: int, count: int, strict: bool) -> tuple[dict[str, bytes], int]:
    entries: dict[str, bytes] = {}
    seen: set[str] = set()
    room = _Room(MOST_ITEMS)
    for _ in range(count):
        start = at
        key, at = _string(data, at)
        (kind,) = struct.unpack_from("<I", data, at)
        at = _skip(path, data, at + 4, kind, room)
        if at > len(data):
            raise IndexError(key)
        if key in seen:
            raise EdgexpError(f"{path} is damaged: a metadata key appears twice")
        seen.add(key)
        if at - start <= LARGEST_ENTRY:
            entries[key] = data[start:at]
        elif strict:
            raise EdgexpError(f"{path}: its metadata {shown(key)!r} takes {at - start:,} bytes, edgexp reads at most {LARGEST_ENTRY:,}")
    return entries, at


class _Room:
    """How many more items may be looked at one by one."""

    def __init__(self, items: int):
        self.items = items

    def take(self, items: int) -> None:
        self.items -= items
        if self.items < 0:
            raise IndexError(items)


def _tensors(path: Path, data: mmap.mmap, at: int, count: int, strict: bool) -> tuple[list[Tensor], int]:
    tensors = []
    for _ in range(count):
        name, at = _string(data, at)
        (dimensions,) = struct.unpack_from("<I", data, at)
        if not 1 <= dimensions <= 4:
            raise EdgexpError(f"{path} is damaged: tensor {shown(name)} has {dimensions} dimensions")
        shape = struct.unpack_from(f"<{dimensions}Q", data, at + 4)[::-1]
        kind, offset = struct.unpack_from("<IQ", data, at + 4 + 8 * dimensions)
        at += 4 + 8 * dimensions + 12
        if strict and kind not in formats.KINDS:
            raise EdgexpError(f"{path}: tensor {shown(name)} has {formats.unknown(kind)}")
        if strict and 0 in shape:
            raise EdgexpError(f"{path} is damaged: tensor {shown(name)} is empty")
        tensors.append(Tensor(name, shape, kind, offset))
    return tensors, at


def _skip(path: Path, data: mmap.mmap, at: int, kind: int, room: _Room) -> int:
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
    if count > len(data):
        raise IndexError(count)
    room.take(count)
    length = struct.Struct("<Q").unpack_from
    for _ in range(count):  # a vocabulary: some 100,000 strings
        at = at + 8 + length(data, at)[0] if inner == STRING else _skip(path, data, at, inner, room)
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
    if end > len(data) or (isinstance(data, mmap.mmap) and length > LONGEST_NAME):
        raise IndexError(length)
    return data[at + 8 : end].decode("utf-8", "surrogateescape"), end
