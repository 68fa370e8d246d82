"""Text to token ids and back, by the vocabulary inside a GGUF file. Knows nothing of roles, turns or templates.

There are two doors and they are kept apart: `encode` for content, in which no text can become a control token, and `control` for the
markers that edgexp itself writes.
"""

import ctypes
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from edgexp.engine import native
from edgexp.errors import EdgexpError

_LARGEST = 1 << 31
"""llama.cpp answers with this number, negated, where a text has more tokens than it can count."""
LONGEST_RUN = 4096
"""Characters without a space before a word that a vocabulary is given at once. llama.cpp's regular expressions use about 400 bytes of the
stack for each, and threads may have 2 MB of it."""

_WORD = re.compile(r"[ \n](?=\S)|\Z")
"""Where every vocabulary begins a new word."""


class Tokenizer(Protocol):
    """What the renderer and the training data need of a vocabulary."""

    def encode(self, text: str) -> list[int]:
        """Ids of content; text that looks like a control token stays text."""

    def control(self, text: str) -> list[int]:
        """Ids of template markers; control tokens in the text become their ids."""

    def decode(self, ids: list[int]) -> str:
        """Text of ids, control tokens written out."""

    def is_end(self, token: int) -> bool:
        """Whether the token ends a turn or the text."""

    def is_control(self, token: int) -> bool:
        """Whether the token is a control token."""


def cut_runs(text: str) -> Iterator[str]:
    """The text in one piece, or in several where it goes on for more than `LONGEST_RUN` without a new word."""
    begin = last = 0
    for word in _WORD.finditer(text):
        for cut in range(last + LONGEST_RUN, word.start(), LONGEST_RUN):
            yield text[begin:cut]
            begin = cut
        last = word.start()
    yield text[begin:]


class Vocabulary:
    """The tokenizer of a loaded llama.cpp model. Keeps the model alive only as long as the caller does."""

    def __init__(self, model: Any):
        self._lib = native.load()
        self._vocab = self._lib.llama_model_get_vocab(model)
        self._size = self._lib.llama_vocab_n_tokens(self._vocab)
        if self._size < 1 or self._lib.llama_vocab_type(self._vocab) == self._lib.LLAMA_VOCAB_TYPE_NONE:
            raise EdgexpError("the model's file has no vocabulary, so no text can be given to it; take a complete one")

    def __len__(self) -> int:
        return int(self._size)

    def encode(self, text: str) -> list[int]:
        """Ids of content, special tokens off. Costs about 1 µs a character.

        Some of llama.cpp's vocabularies crash where a text goes on for tens of thousands of characters without a new word: such a text is
        read in pieces.
        """
        if len(text) <= LONGEST_RUN:
            return self._tokenize(text, special=False)
        return [token for piece in cut_runs(text) for token in self._tokenize(piece, special=False)]

    def control(self, text: str) -> list[int]:
        """Ids of markers, special tokens on."""
        return self._tokenize(text, special=True)

    def decode(self, ids: list[int]) -> str:
        """Text of ids; bytes that are no UTF-8 become the replacement character."""
        return b"".join(self.piece(i) for i in ids).decode("utf-8", "replace")

    def piece(self, token: int) -> bytes:
        """The bytes of one token. Raises EdgexpError for an id that is not in the vocabulary."""
        if not 0 <= token < self._size:
            raise EdgexpError(f"token id {token} is not in this vocabulary of {self._size} tokens")
        buffer = ctypes.create_string_buffer(64)
        length = self._lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
        if length < 0:
            buffer = ctypes.create_string_buffer(-length)
            length = self._lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
        if length < 0:
            raise EdgexpError(f"llama.cpp gives no text for token {token}; the vocabulary is damaged")
        return bytes(buffer.raw[:length])

    def is_end(self, token: int) -> bool:
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))

    def is_control(self, token: int) -> bool:
        return bool(self._lib.llama_vocab_is_control(self._vocab, token))

    @property
    def bos(self) -> int:
        """The id that begins a text, -1 where the model has none."""
        return int(self._lib.llama_vocab_bos(self._vocab))

    @property
    def adds_bos(self) -> bool:
        """Whether every text is to begin with `bos`."""
        return bool(self._lib.llama_vocab_get_add_bos(self._vocab))

    @property
    def eos(self) -> int:
        """The id that ends a text, -1 where the model has none."""
        return int(self._lib.llama_vocab_eos(self._vocab))

    def _tokenize(self, text: str, *, special: bool) -> list[int]:
        # Lone surrogates (a broken file name, a bad JSON escape) cannot be encoded; they become '?', as every other reader shows them.
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        ids = (self._lib.llama_token * room)()
        count = self._lib.llama_tokenize(self._vocab, data, len(data), ids, room, False, special)
        if -_LARGEST < count < 0:
            room = -count
            ids = (self._lib.llama_token * room)()
            count = self._lib.llama_tokenize(self._vocab, data, len(data), ids, room, False, special)
        if count < 0:
            raise EdgexpError(f"llama.cpp could not turn a text of {len(text):,} characters into tokens; the vocabulary is damaged")
        return list(ids[:count])


class GGUFTokenizer(Vocabulary):
    """The vocabulary of a GGUF file alone: no weights are read, so it opens in a fraction of a second and needs little memory."""

    def __init__(self, path: Path):
        self._model = native.open_native(path, vocab_only=True)
        super().__init__(self._model)

    def template(self) -> str | None:
        """The chat template stored in the file, None where there is none."""
        return native.chat_template(self._model)

    def close(self) -> None:
        """Free the vocabulary; the tokenizer cannot be used after."""
        if self._model is not None:
            self._lib.llama_model_free(self._model)
            self._model = None


_ANCHOR = "\n"
"""A text that no SentencePiece vocabulary joins with what follows it."""


class Spelling:
    """The ids of a text by what stands before it, so that pieces put together give the ids of the whole.

    SentencePiece vocabularies put a space before a text that begins a prompt or follows a special token, and before no other. Asked for a
    piece alone they put it before every piece, which no model was trained on. Other vocabularies spell a piece the same wherever it stands
    and are asked for it as it is. No text in `kept_apart` comes out as one token, even where the vocabulary finds it in plain text.
    """

    def __init__(self, tokenizer: Tokenizer, kept_apart: Sequence[str] = ()):
        self.tokenizer = tokenizer
        self._apart = re.compile("|".join(f"(?<={re.escape(text[0])})(?={re.escape(text[1:])})" for text in kept_apart) or "(?!)")
        self._spaced = tokenizer.decode(tokenizer.encode("a")) == " a"
        self._special: dict[int, bool] = {}

    def content(self, before: Sequence[int], text: str) -> list[int]:
        """Ids of a text in which nothing can become a control token. `before` are the ids it follows; only the last of them counts."""
        first, *rest = self._apart.split(text)
        ids = self._spell(self.tokenizer.encode, first, self._follows_text(before))
        return ids + [token for piece in rest for token in self._spell(self.tokenizer.encode, piece, True)]

    def marker(self, before: Sequence[int], text: str, *, after_text: bool = False) -> list[int]:
        """Ids of what a template writes: control tokens in it become their ids. It follows a text, or ids as in `content`."""
        return self._spell(self.tokenizer.control, text, after_text or self._follows_text(before))

    def more(self, text: str) -> list[int]:
        """Ids of content that follows other content."""
        return [token for piece in self._apart.split(text) for token in self._spell(self.tokenizer.encode, piece, True)]

    def _spell(self, tokenize: Callable[[str], list[int]], text: str, inside: bool) -> list[int]:
        if not text:
            return []
        if self._spaced and inside:
            before, both = tokenize(_ANCHOR), tokenize(_ANCHOR + text)
            if both[: len(before)] == before:
                return both[len(before) :]
        return tokenize(text)

    def _follows_text(self, before: Sequence[int]) -> bool:
        return self._spaced and bool(before) and not self._is_special(before[-1])

    def _is_special(self, token: int) -> bool:
        """Whether the token is spelt by its own text alone, as control tokens and those that a user defined are."""
        if token not in self._special:
            self._special[token] = self.tokenizer.control(self.tokenizer.decode([token])) == [token]
        return self._special[token]
