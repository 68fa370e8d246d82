"""A vocabulary for prompts of a limited length: what could never fit is not read to its end, and no text takes the process down.

A text that an environment brings may be long. Some vocabularies take seconds for what no context has room for, and some of llama.cpp's
crash where a text goes on for tens of thousands of characters without a new word. Every other text has the ids that the vocabulary itself
gives it. Knows no templates and no turns.
"""

import re
from collections.abc import Iterator

from edgexp.prompt.render import Vocabulary

LONGEST_RUN = 4096
"""Characters without a space before a word that a vocabulary is given at once. llama.cpp's regular expressions use about 400 bytes of the
stack for each, and threads may have 2 MB of it."""

_WORD = re.compile(r"[ \n](?=\S)|\Z")
"""Where every vocabulary begins a new word."""


class Bounded:
    """A vocabulary of which `encode` stops once a text has more than twice `room` tokens: that many never fit, and are easily counted.

    It is counted in pieces, which may have a few tokens more than the whole: hence twice.
    """

    def __init__(self, vocabulary: Vocabulary, room: int):
        """`room` is the most tokens that a prompt can have."""
        self._vocabulary, self._most = vocabulary, 2 * room
        self.control, self.decode = vocabulary.control, vocabulary.decode
        self.is_end, self.is_control = vocabulary.is_end, vocabulary.is_control
        self.bos, self.eos, self.adds_bos = vocabulary.bos, vocabulary.eos, vocabulary.adds_bos

    def encode(self, text: str) -> list[int]:
        """Ids of content; of one that is too long for any prompt only the first, and more than fit."""
        if len(text) <= LONGEST_RUN:
            return self._vocabulary.encode(text)
        return self._too_many(text) or [token for piece in cut_runs(text) for token in self._vocabulary.encode(piece)]

    def _too_many(self, text: str) -> list[int]:
        """More ids than fit; none where all may fit."""
        ids = list[int]()
        for start in range(0, len(text) if len(text) > self._most else 0, LONGEST_RUN):
            ids += self._vocabulary.encode(text[start : start + LONGEST_RUN])
            if len(ids) > self._most:
                return ids
        return []


def cut_runs(text: str) -> Iterator[str]:
    """The text in one piece, or in several where it goes on for more than `LONGEST_RUN` without a new word."""
    begin = last = 0
    for word in _WORD.finditer(text):
        for cut in range(last + LONGEST_RUN, word.start(), LONGEST_RUN):
            yield text[begin:cut]
            begin = cut
        last = word.start()
    yield text[begin:]
