"""A large file of JSON, one value after the other: JSON lines, a list, or one object. Never more than one value is in memory.

A value that is no JSON is a line for the caller, and the next one is read. Knows nothing of what the values mean.
"""

import re
from collections.abc import Callable, Generator, Iterator
from typing import Any, BinaryIO

import msgspec

from edgexp.errors import EdgexpError

LONGEST = 256_000_000
"""Bytes of one value."""
_CHUNK = 1 << 20
_OUTSIDE = re.compile(rb'["\[\]{},]')
_INSIDE = re.compile(rb'["\\]')

Problem = Callable[[str], None]


def read_values(file: BinaryIO, problem: Problem) -> Generator[tuple[str, Any], None, None]:
    """Each value with its place (`line 3`, `entry 3`). What cannot be read is told to `problem`, and passed over."""
    first = _first_line(file)
    opening = first.lstrip()[:1]
    if opening == b"[":
        yield from _decoded(split_list(file, first, problem), "entry", problem)
    elif opening == b"{" and _is_spread(first):
        yield from _decoded(iter([(1, first + _rest(file, len(first)))]), "entry", problem)
    else:
        yield from _decoded(_lines(file, first, problem), "line", problem)


def _first_line(file: BinaryIO) -> bytes:
    """The beginning of the file up to the end of its first line that is not blank, or as much of it as tells a list from lines."""
    while (line := file.readline(_CHUNK)) and not line.strip(b" \t\r\n\xef\xbb\xbf"):
        pass
    return line.removeprefix(b"\xef\xbb\xbf")


def _is_spread(first: bytes) -> bool:
    """Whether an object goes on over several lines: its first one ends where no object does."""
    return first.endswith(b"\n") and first.strip()[-1:] in b"{[,"


def _rest(file: BinaryIO, before: int) -> bytes:
    rest = file.read(LONGEST - before + 1)
    if before + len(rest) > LONGEST:
        raise EdgexpError(f"it is one object of more than {LONGEST:,} bytes: write one session a line")
    return rest


def _decoded(pieces: Iterator[tuple[int, bytes]], what: str, problem: Problem) -> Iterator[tuple[str, Any]]:
    for number, piece in pieces:
        place = f"{what} {number}"
        try:
            value = msgspec.json.decode(piece)
        except (ValueError, RecursionError) as error:
            problem(f"{place}: not JSON: {error}")
            continue
        yield place, value


def _lines(file: BinaryIO, first: bytes, problem: Problem) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank; one that is too long is told and passed over."""
    number, line = 1, first + (b"" if first.endswith(b"\n") else file.readline(LONGEST + 1 - len(first)))
    while line:
        if len(line) > LONGEST:
            problem(f"line {number}: it is longer than {LONGEST:,} bytes")
            while line and not line.endswith(b"\n"):
                line = file.readline(_CHUNK)
        elif line.strip():
            yield number, line
        number, line = number + 1, file.readline(LONGEST + 1)


def split_list(file: BinaryIO, first: bytes, problem: Problem) -> Iterator[tuple[int, bytes]]:
    """The entries of a JSON list, as they stand there. `first` is what was read of the file already."""
    splitter, number = _Splitter(), 0
    data = first
    while data and not splitter.over:
        for entry in splitter.feed(data):
            number += 1
            if entry is None:
                problem(f"entry {number}: it is longer than {LONGEST:,} bytes")
            elif entry.strip():
                yield number, entry
        data = file.read(_CHUNK)
    if not splitter.over:
        problem(f"the list does not end; what stands after entry {number} is lost")


class _Splitter:
    """Cuts a list at the commas between its entries."""

    def __init__(self) -> None:
        self.over = False
        self._depth, self._in_text, self._size, self._skip = 0, False, 0, 0
        self._kept: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """The entries that end in the next bytes; None for one that is too long."""
        at = start = min(self._skip, len(data))
        self._keep(data[:at])
        self._skip -= at
        while not self.over and (found := (_INSIDE if self._in_text else _OUTSIDE).search(data, at)):
            mark, at = found[0], found.end()
            if self._in_text:
                if mark == b"\\":
                    self._skip, at = max(0, at + 1 - len(data)), min(len(data), at + 1)
                else:
                    self._in_text = False
            elif mark == b'"':
                self._in_text = True
            elif mark in b"[{":
                self._depth += 1
                if self._depth == 1:
                    start = at
            elif mark == b"," and self._depth > 1:
                continue
            else:
                self._depth -= mark != b","
                if self._depth < 1 or mark == b",":
                    self._keep(data[start : at - 1])
                    yield self._taken()
                    start, self.over = at, self._depth < 1
        if not self.over:
            self._keep(data[start:])

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= LONGEST:
            self._kept.append(data)
        else:
            self._kept.clear()

    def _taken(self) -> bytes | None:
        whole = b"".join(self._kept) if self._size <= LONGEST else None
        self._kept, self._size = [], 0
        return whole
