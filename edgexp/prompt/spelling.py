"""How a vocabulary spells a text that stands after other tokens, so that pieces put together give the ids of the whole.

SentencePiece vocabularies put a space before a text that begins a prompt or follows a special token, and before no other. Asked for a piece
alone, they put it before every piece, which no model was trained on. Other vocabularies spell a piece the same wherever it stands, and are
asked for it as it is. Knows nothing of roles and turns.
"""

from collections.abc import Callable, Sequence

from edgexp.engine.tokenizer import Tokenizer

_BEFORE = "\n"
"""A text that no vocabulary of the kind joins with what follows it."""


class Spelling:
    """The ids of texts by what stands before them."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self._spaced = tokenizer.decode(tokenizer.encode("a")) == " a"
        self._special: dict[int, bool] = {}

    def content(self, before: Sequence[int], text: str) -> list[int]:
        """Ids of a text in which nothing can become a control token. `before` are the ids it follows; only the last of them counts."""
        return self._spell(self.tokenizer.encode, text, self._follows_text(before))

    def marker(self, before: Sequence[int], text: str, *, after_text: bool = False) -> list[int]:
        """Ids of what a template writes: control tokens in it become their ids. It follows a text, or ids as in `content`."""
        return self._spell(self.tokenizer.control, text, after_text or self._follows_text(before))

    def more(self, text: str) -> list[int]:
        """Ids of content that follows other content."""
        return self._spell(self.tokenizer.encode, text, True)

    def _spell(self, tokenize: Callable[[str], list[int]], text: str, inside: bool) -> list[int]:
        if not text:
            return []
        if self._spaced and inside:
            before, both = tokenize(_BEFORE), tokenize(_BEFORE + text)
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

