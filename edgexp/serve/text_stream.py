"""Text out of tokens, as soon as it is certain: whole characters, nothing of a stop text, and nothing of a call of a tool.

Knows tokens as something that a vocabulary turns into text. Knows no models.
"""

from collections.abc import Callable, Sequence

_BROKEN = "\ufffd"
_LONGEST_CHARACTER = 4
"""Tokens that one character can have: one a byte."""


class TextStream:
    """What a model writes. Feed it tokens; what comes out is text that stays as it is.

    `lead` is a text that the answer may begin with and that is not part of it, `hold` one from which on nothing more comes out.
    """

    def __init__(self, decode: Callable[[list[int]], str], stops: Sequence[str] = (), hold: str = "", lead: str = "", given: str = ""):
        self._decode, self._stops, self._hold, self._lead = decode, tuple(stops), hold, lead
        self._pending: list[int] = []
        self.text, self.told = given, 0
        """All that is certain, and how many characters of it came out."""
        self.stopped = False
        """Whether a stop text came; what is in `text` ends before it."""

    def feed(self, token: int) -> str:
        """Text that became certain with a token."""
        self._pending.append(token)
        text = self._decode(self._pending)
        if text.endswith(_BROKEN) and len(self._pending) < _LONGEST_CHARACTER:
            return ""
        self._pending.clear()
        return self._add(text)

    def end(self) -> str:
        """The rest, where nothing more will come."""
        rest = self._decode(self._pending) if self._pending and not self.stopped else ""
        self._pending.clear()
        self._add(rest)
        return self._tell(self._end_of_telling())

    def _add(self, text: str) -> str:
        begins = len(self.text)
        if self._lead and not begins and text:
            text, self._lead = text.removeprefix(self._lead), ""
        self.text += text
        longest = max(map(len, self._stops), default=0)
        found = [place for stop in self._stops if (place := self.text.find(stop, max(0, begins - longest))) >= 0]
        if found:
            self.text, self.stopped = self.text[: min(found)], True
        return self._tell(self._end_of_telling() if self.stopped else self._certain())

    def _end_of_telling(self) -> int:
        held = self.text.find(self._hold) if self._hold else -1
        return len(self.text) if held < 0 else held

    def _certain(self) -> int:
        """How much can come out: no more than up to what may be the beginning of a stop, or of what is held."""
        end = self._end_of_telling()
        for text in (*self._stops, *([self._hold] if self._hold else [])):
            for length in range(min(len(text) - 1, end), 0, -1):
                if self.text.endswith(text[:length], 0, end):
                    end = min(end, end - length)
                    break
        return end

    def _tell(self, end: int) -> str:
        told, self.told = self.text[self.told : end], max(self.told, end)
        return told
