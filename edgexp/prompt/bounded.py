"""A vocabulary for prompts of a limited length: what could never fit is not read to its end.

A text that an environment brings may be long, and some vocabularies take seconds for what no context has room for. Every other text has
the ids that the vocabulary itself gives it. Knows no templates and no turns.
"""

from edgexp.engine.tokenizer import LONGEST_RUN
from edgexp.prompt.render import Vocabulary


class Bounded:
    """A vocabulary of which `encode` stops once a text has more than twice `room` tokens: that many never fit, and are easily counted.

    It is counted in pieces, which may have a few tokens more than the whole: hence twice.
    """

    def __init__(self, vocabulary: Vocabulary, room: int):
        """`room` is the most tokens that a prompt can have."""
        self._vocabulary, self._most = vocabulary, 2 * room
        self.control, self.decode = vocabulary.control, vocabulary.decode
        self.is_end, self.is_control = vocabulary.is_end, vocabulary.is_control
        self.piece = getattr(vocabulary, "piece", lambda token: vocabulary.decode([token]).encode())
        self.bos, self.eos, self.adds_bos = vocabulary.bos, vocabulary.eos, vocabulary.adds_bos

    def encode(self, text: str) -> list[int]:
        """Ids of content; of one that is too long for any prompt only the first, and more than fit."""
        if len(text) <= LONGEST_RUN:
            return self._vocabulary.encode(text)
        return self._too_many(text) or self._vocabulary.encode(text)

    def _too_many(self, text: str) -> list[int]:
        """More ids than fit; none where all may fit."""
        ids = list[int]()
        for start in range(0, len(text) if len(text) > self._most else 0, LONGEST_RUN):
            ids += self._vocabulary.encode(text[start : start + LONGEST_RUN])
            if len(ids) > self._most:
                return ids
        return []
