"""What is kept of a conversation is cleaned of secrets first: those that `edgexp.redaction` knows, and what somebody's own patterns fit.

What a model is asked and answers is never changed; only what is kept of it.
"""

import re
from collections.abc import Iterable, Sequence

from edgexp.errors import UsageError
from edgexp.redaction import redact

MARK = "[redacted]"
"""In place of what a pattern of somebody's own fits."""


def compile_patterns(texts: Iterable[str]) -> tuple["re.Pattern[str]", ...]:
    """Patterns of somebody's own. Raises UsageError for one that is no regular expression, or that finds nothing everywhere."""
    found = []
    for text in texts:
        try:
            pattern = re.compile(text)
        except re.error as error:
            raise UsageError(f"--redact {text}: no regular expression: {error}") from error
        if pattern.search(""):
            raise UsageError(f"--redact {text}: it fits an empty text, and so every place")
        found.append(pattern)
    return tuple(found)


class Redaction:
    """Replaces secrets in texts, and counts them. Without `known`, only those of `own`."""

    def __init__(self, own: Sequence["re.Pattern[str]"] = (), *, known: bool = True):
        self._own, self._known = tuple(own), known
        self.count = 0

    def clean(self, text: str) -> str:
        """The text without secrets. Cleaning twice changes nothing more."""
        if self._known:
            text, found = redact(text)
            self.count += found.total()
        for pattern in self._own:
            text, number = pattern.subn(MARK, text)
            self.count += number
        return text
