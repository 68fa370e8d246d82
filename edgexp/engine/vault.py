"""Keys and values of token blocks on disk, so that what a model has evaluated once need not be evaluated again by any process.

A folder with one file a block, named `<model>.<label>.<fingerprint>.block`. The fingerprint says what the keys and values were computed
from; the label says whose content they are, so that it can be forgotten. A file is a header of 64 bytes and the payload, nothing else:

    magic, 16 bytes · payload length, 8 · SHA-256 over magic, name, length and payload, 32 · zeros, 8

A vault is a cache, shared by any number of processes. Files get their name when they are whole and are replaced, never changed. They are
read, not mapped: a file that another program cuts short, or a disk that fails, would kill whoever has it mapped, and mapping saves nothing
beside the checksum (`benchmarks/vault.py`). Whatever is wrong with a file, it is as good as none; what cannot be stored is done without.

Knows nothing of llama.cpp, nor of what a payload means.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgexp.errors import UsageError
from edgexp.files import owned_name, remove_stale, shown, whole_file
from edgexp.home import home

Payload = NDArray[np.uint8]

DEFAULT_LIMIT = 4 << 30
"""Bytes that a vault may hold where nobody says otherwise."""
SPARE = 10**9
"""Bytes of the disk that are left free: as others fill it, the vault gives way."""
HEADER = 64
"""Bytes of a file beside its payload."""
SUFFIX = ".block"
VARIABLE = "EDGEXP_VAULT"
"""The environment variable that says how much a vault may hold, as `parse_limit` reads it."""
_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([kmgt]?)(i?)b?", re.ASCII | re.IGNORECASE)
_MAGIC = b"edgexp block 1\n\0"
_NAME = re.compile(r"([0-9a-f]{12})\.([A-Za-z0-9_-]{1,64})\.([0-9a-f]{64})\.block", re.ASCII)
_PARTIAL = re.compile(rf"\.(?:{_NAME.pattern})\.[0-9a-f]{{8}}-[0-9]+-[0-9a-f]{{8}}", re.ASCII)
"""The name that a file has while it is written (`files.owned_name`)."""
_KEY = re.compile(r"([0-9a-f]{12})-([0-9a-f]{64})", re.ASCII)
_BAD = frozenset({errno.EACCES, errno.EPERM, errno.EIO, errno.EISDIR, errno.ELOOP, errno.EMLINK, errno.ENXIO})
"""What a file says that cannot be read and that should make room for a good one. Other errors are this process's own."""


def default_folder() -> Path:
    """The vault of the home folder; need not exist."""
    return home() / "vault"


def parse_limit(text: str) -> int:
    """Bytes from what people write: `8GB`, `500 MB`, `1.5GiB`, or `off`, which is 0. Raises UsageError, in one line, for anything else."""
    found = _SIZE.fullmatch(text.strip())
    if text.strip().lower() in ("off", "0"):
        return 0
    if found is None or not found[2]:
        raise UsageError(f"{text!r} is no size: write it as 8GB or 500MB, or off")
    return int(Fraction(found[1]) * (1024 if found[3] else 1000) ** ("kmgt".index(found[2].lower()) + 1))


def chosen_limit() -> int:
    """The limit where no option says one: that of the environment variable, or the default. Raises UsageError as `parse_limit`."""
    chosen = os.environ.get(VARIABLE)
    try:
        return parse_limit(chosen) if chosen else DEFAULT_LIMIT
    except UsageError as error:
        raise UsageError(f"{VARIABLE}: {error}") from error


def open_vault(limit: int) -> "Vault | None":
    """The vault of the home folder, of at most `limit` bytes; None where the limit is 0."""
    return Vault(default_folder(), limit) if limit else None


def fingerprint(about: Mapping[str, str | int], prefix: Sequence[int], position: int, ids: Sequence[int]) -> str:
    """The key of a block: different for anything that could make its keys and values different.

    `about` says what computed them (the model's digest under "model", library, number formats, …), `prefix` the ids that the block sees
    before itself, `position` where it begins, `ids` what it is. Raises struct.error for ids that are no 32-bit integers.
    """
    head = json.dumps([dict(about), int(position), len(prefix), len(ids)], sort_keys=True, separators=(",", ":"))
    numbers = struct.pack(f"<{len(prefix) + len(ids)}i", *prefix, *ids)
    digest = hashlib.sha256(b"edgexp.block.1\0" + head.encode("ascii") + b"\0" + numbers)
    return f"{model_tag(str(about.get('model', '')))}-{digest.hexdigest()}"


def model_tag(model: str) -> str:
    """What a model is called in file names: the beginning of its digest."""
    return model[:12] if re.fullmatch(r"[0-9a-f]{12,}", model) else hashlib.sha256(model.encode("utf-8", "surrogatepass")).hexdigest()[:12]


@dataclass(frozen=True)
class Usage:
    """What a vault holds."""

    files: int = 0
    bytes: int = 0
    models: dict[str, tuple[int, int]] = field(default_factory=dict)
    """`model_tag` → files and bytes, the most bytes first."""


@dataclass(frozen=True)
class _Entry:
    """One file of the vault, as its folder lists it."""

    path: Path
    size: int
    used: int
    """When it was last stored or loaded, in ns."""
    model: str


class Vault:
    """Blocks in a folder, at most `limit` bytes of them; the least recently used go first. Opening one touches nothing.

    A label is up to 64 letters, digits, `-` and `_`. Under any other label, or a key that is none, nothing is kept or found.
    No method raises for anything that lies in the folder, or for a folder or disk that does not play along.
    """

    def __init__(self, folder: Path, limit: int = DEFAULT_LIMIT, spare: int = SPARE):
        self.folder, self.limit, self._spare = folder, limit, spare

    def load(self, key: str, label: str) -> Payload | None:
        """The payload that was stored, read-only and this process's own; None where there is none that is whole and right.

        A file that is not as it should be is removed, if that is possible.
        """
        name = _file_name(key, label)
        if name is None:
            return None
        path = self.folder / name
        try:
            with open(path, "rb", buffering=0, opener=_open_plain) as file:  # Path.open takes no opener
                payload = _read_payload(file, name, self.limit)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in _BAD:
                _remove(path)
            return None
        except (ValueError, MemoryError):
            return None
        if payload is None:
            _remove(path)
            return None
        with contextlib.suppress(OSError):  # a folder that can only be read has no order of use
            os.utime(path)
        return payload

    def store(self, key: str, label: str, payload: bytes | bytearray | memoryview | Payload) -> bool:
        """Keep a payload; whether that was possible. An empty one, and one larger than the limit, is not kept."""
        name = _file_name(key, label)
        if name is None or len(payload) == 0:
            return False
        data = np.frombuffer(payload, np.uint8)
        size = HEADER + len(data)
        try:
            if size > self.limit or not self._make_room(size, name):
                return False
            with whole_file(self.folder / name) as file:
                file.write(_header(name, data))
                file.write(data.data)
            self._make_room()  # others may have stored at the same time
        except (OSError, ValueError):
            return False
        return True

    def forget(self, labels: Collection[str]) -> int:
        """Remove the blocks of these labels, whatever the model, those that are just being written included; how many there were."""
        wanted = frozenset(labels)
        gone = 0
        for path, found in self._list():
            gone += found[2] in wanted and _remove(path)
        for path, found in self._list(_PARTIAL):
            if found[2] in wanted:
                _remove(path)
        return gone

    def clear(self) -> int:
        """Remove every block, those that are just being written included; how many there were. What is not the vault's stays."""
        gone = sum(_remove(path) for path, _ in self._list())
        for path, _ in self._list(_PARTIAL):
            _remove(path)
        return gone

    def usage(self) -> Usage:
        """What is here now."""
        models: dict[str, tuple[int, int]] = {}
        for entry in self._entries():
            files, size = models.get(entry.model, (0, 0))
            models[entry.model] = files + 1, size + entry.size
        largest_first = dict(sorted(models.items(), key=lambda item: (-item[1][1], item[0])))
        return Usage(sum(files for files, _ in models.values()), sum(size for _, size in models.values()), largest_first)

    def problem(self) -> str:
        """What keeps blocks from being kept, as a line; empty where nothing does. Makes no folder."""
        try:
            there = next(folder for folder in (self.folder, *self.folder.absolute().parents) if folder.is_symlink() or folder.exists())
            if not there.is_dir():
                return f"{shown(there)} is not a folder"
            probe = there / owned_name(".probe")
            probe.touch(exist_ok=False)
            probe.unlink()
            free = shutil.disk_usage(there).free
        except (OSError, ValueError) as error:
            return f"{shown(self.folder)} cannot be written: {getattr(error, 'strerror', None) or error}"
        return f"{shown(self.folder)}: only {free / 1e9:.1f} GB of the disk free" if free < self._spare else ""

    def _make_room(self, size: int = 0, name: str = "") -> bool:
        """Remove the least recently used until `size` bytes more, as the file `name`, fit the limit and the disk; whether they do.

        Raises OSError where the folder is not there and cannot be made.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for partial, _ in self._list(_PARTIAL):
            remove_stale(self.folder, partial.name)
        entries = sorted((e for e in self._entries() if e.path.name != name), key=lambda e: (e.used, e.path.name))
        held = sum(entry.size for entry in entries)
        room = min(self.limit, held + shutil.disk_usage(self.folder).free - self._spare) - size
        for entry in entries:
            if held <= room:
                break
            held -= entry.size if _remove(entry.path, missing=True) else 0
        return held <= room

    def _entries(self) -> Iterator[_Entry]:
        for path, found in self._list():
            with contextlib.suppress(OSError):
                about = path.lstat()
                if stat.S_ISREG(about.st_mode):
                    yield _Entry(path, about.st_size, about.st_mtime_ns, found[1])

    def _list(self, pattern: re.Pattern[str] = _NAME) -> list[tuple[Path, re.Match[str]]]:
        """What is named as the vault names its files; empty where the folder cannot be listed."""
        try:
            with os.scandir(self.folder) as listed:
                names = [entry.name for entry in listed]
        except (OSError, ValueError):
            return []
        return [(self.folder / name, found) for name in names if (found := pattern.fullmatch(name))]


def _file_name(key: str, label: str) -> str | None:
    """What a block's file is called; None for a key or a label that could name anything else."""
    parts = _KEY.fullmatch(key)
    name = f"{parts[1]}.{label}.{parts[2]}{SUFFIX}" if parts else ""
    return name if _NAME.fullmatch(name) else None


def _header(name: str, payload: Payload) -> bytes:
    length = struct.pack("<Q", len(payload))
    digest = hashlib.sha256(_MAGIC + name.encode("ascii") + b"\0" + length)
    digest.update(payload.data)
    return _MAGIC + length + digest.digest() + bytes(HEADER - len(_MAGIC) - 8 - 32)


def _open_plain(path: str, flags: int) -> int:
    """How to open for reading without waiting for anybody (a pipe) and without following links. Raises OSError."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))


def _read_payload(file: FileIO, name: str, limit: int) -> Payload | None:
    """The payload of an open file, if everything in it is as `_header` says. Raises OSError; MemoryError also beyond the limit, which is
    all the memory that a file can make this process take."""
    about = os.fstat(file.fileno())
    length = about.st_size - HEADER
    if not stat.S_ISREG(about.st_mode) or length <= 0:
        return None
    if about.st_size > limit:
        raise MemoryError
    header = file.read(HEADER)
    if header[: len(_MAGIC) + 8] != _MAGIC + struct.pack("<Q", length):
        return None
    payload = np.empty(length, np.uint8)
    left = payload.data
    while left:
        count = file.readinto(left)
        if not count:
            return None
        left = left[count:]
    if _header(name, payload) != header:
        return None
    payload.flags.writeable = False
    return payload


def _remove(path: Path, missing: bool = False) -> bool:
    """Whether the file was there and is gone now. With `missing`, whether it is gone, whoever removed it. An empty folder goes too."""
    try:
        path.unlink()
    except FileNotFoundError:
        return missing
    except OSError:
        with contextlib.suppress(OSError):
            path.rmdir()
            return True
        return False
    return True
