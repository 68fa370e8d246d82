"""Which tokens can stand inside a JSON text, or end it. Knows pieces of bytes, and nothing of what the text is.

A token may hold a half character, a half escape (`\\` before its `n`), or a closing quote with what follows it. What is written is spelt as
`json.dumps` would: no raw control characters, none of the letters that some readers take for the end of a line, and short escapes only.
"""

import codecs
from collections.abc import Iterable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from edgexp.engine.tokenizer import Tokenizer

_ESCAPES = frozenset('"\\bfnrt')
_REFUSED = frozenset([*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u2028", "\u2029"])


@dataclass(frozen=True)
class Inside:
    """How far a text has come: characters that are complete, and bytes that are the beginning of one (or of an escape)."""

    text: str = ""
    """As JSON spells it, without its opening quote."""
    length: int = 0
    """Characters of the text that it means."""
    half: bytes = b""
    after: str | None = None
    """What stands behind the closing quote; None where there is none yet."""

    def go_on(self, piece: bytes) -> "Inside | None":
        """The text with more bytes; None where it cannot go on like that."""
        letters = codecs.getincrementaldecoder("utf-8")()
        try:
            found = letters.decode(self.half + piece)
        except UnicodeDecodeError:
            return None
        return self._with(found, letters.getstate()[0])

    def _with(self, found: str, half: bytes) -> "Inside | None":
        length, place = self.length, 0
        while place < len(found):
            letter = found[place]
            if letter == '"':
                return None if half else Inside(self.text + found[:place], length, b"", found[place + 1 :])
            if letter in _REFUSED:
                return None
            if letter == "\\":
                if place + 1 == len(found):
                    return None if half else Inside(self.text + found[:place], length, b"\\")
                if found[place + 1] not in _ESCAPES:
                    return None
                place += 1
            length, place = length + 1, place + 1
        return Inside(self.text + found, length, half)

    def fits(self, least: int, most: int | None) -> bool:
        """Whether the text is of a length that is allowed, or can still become so."""
        whole = self.length + bool(self.half)
        return (most is None or whole <= most) and (self.after is None or self.length >= least)


@dataclass
class Pieces:
    """The tokens of a vocabulary, by what they are inside a text."""

    spelt: list[bytes]
    """Of each token; empty for those that no text holds."""
    within: NDArray[np.bool_]
    """[vocabulary] whether it can follow whole characters and ends none …"""
    lengths: NDArray[np.int32]
    """… and how many characters it has then, half ones included."""
    closing: dict[str, list[int]] = field(default_factory=dict)
    """What stands behind a closing quote → the tokens that close like that."""
    odd: dict[bytes, list[int]] = field(default_factory=dict)
    """A first byte → the tokens that can follow half a character or half an escape, which begin with it."""
    found: dict[tuple[str, ...], set[int]] = field(default_factory=dict)
    """What `closing_tokens` found so far."""

    def allowed(self, inside: Inside, least: int, most: int | None, closing: Iterable[int]) -> NDArray[np.intp]:
        """The tokens that may go on with a text, of those that close it only some."""
        closers = [token for token in sorted(closing) if self._goes_on(inside, token, least, most)]
        if inside.half:
            first = _ESCAPES if inside.half == b"\\" else ()
            starts = [letter.encode() for letter in first] or [bytes([byte]) for byte in range(0x80, 0xC0)]
            near = (token for start in starts for token in self.odd.get(start, ()))
            return np.array([token for token in near if self._goes_on(inside, token, least, most)], np.intp)
        open_ones = self.within if most is None else self.within & (self.lengths <= most - inside.length)
        return np.concatenate([np.flatnonzero(open_ones), np.array(closers, np.intp)])

    def _goes_on(self, inside: Inside, token: int, least: int, most: int | None) -> bool:
        after = inside.go_on(self.spelt[token])
        return after is not None and after.fits(least, most)


def piece_of(tokenizer: Tokenizer, token: int) -> bytes:
    """The bytes of a token."""
    piece = getattr(tokenizer, "piece", None)
    return bytes(piece(token)) if piece else tokenizer.decode([token]).encode()


def _plain(piece: bytes) -> int | None:
    """How many characters a piece is, if they are whole and mean nothing but themselves. Most tokens are such, and this is quick."""
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        return None
    return len(text) if text.isprintable() and '"' not in text and "\\" not in text else None


_READ = WeakKeyDictionary[Tokenizer, Pieces]()


def read_pieces(tokenizer: Tokenizer, size: int) -> Pieces:
    """The tokens of a vocabulary of `size`, looked at once. Takes some tenths of a second for a large one."""
    if tokenizer not in _READ:
        _READ[tokenizer] = _read(tokenizer, size)
    return _READ[tokenizer]


def _read(tokenizer: Tokenizer, size: int) -> Pieces:
    silent = [tokenizer.is_control(token) or tokenizer.is_end(token) for token in range(size)]
    found = Pieces([b"" if silent[token] else piece_of(tokenizer, token) for token in range(size)],
                   np.zeros(size, np.bool_), np.zeros(size, np.int32))  # fmt: skip
    for token, piece in enumerate(found.spelt):
        if not piece:
            continue
        if len(piece) == 1 or 0x80 <= piece[0] < 0xC0:
            found.odd.setdefault(piece[:1], []).append(token)
        if (letters := _plain(piece)) is not None:
            found.within[token], found.lengths[token] = True, letters
            continue
        after = Inside().go_on(piece)
        if after is None:
            continue
        if after.after is not None:
            found.closing.setdefault(after.after, []).append(token)
        else:
            found.within[token], found.lengths[token] = True, after.length + bool(after.half)
    return found


def closing_tokens(pieces: Pieces, following: tuple[str, ...]) -> set[int]:
    """The tokens that close a text so that one of the given texts can follow it."""
    if following not in pieces.found:
        if len(pieces.found) > 100:
            pieces.found.clear()
        fitting = (tokens for after, tokens in pieces.closing.items() if any(text.startswith(after) for text in following))
        pieces.found[following] = {token for tokens in fitting for token in tokens}
    return pieces.found[following]
