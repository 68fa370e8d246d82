"""Secrets in texts that are to be stored: found by their shape, and replaced by what they are, as in `[api key]`.

What a model is asked and answers is never changed; only what is kept of it. A secret that has no shape of its own is not found: patterns
can be added. Pure functions.
"""

import re
from collections.abc import Iterable, Sequence

from edgexp.errors import UsageError

Pattern = tuple[str, "re.Pattern[str]"]
"""What to write, and what it stands for. A group called `secret` is replaced alone."""

_NAMES = (r"(?:api[_-]?key|apikey|access[_-]?key|secret[_-]?key|secret|client[_-]?secret|auth[_-]?token|access[_-]?token|refresh[_-]?token"
          r"|token|passwd|password|passphrase|pwd|private[_-]?key|credentials?)")

BUILT_IN: tuple[Pattern, ...] = (
    ("private key", re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY"
                               r"(?: BLOCK)?-----|\Z)", re.DOTALL)),
    ("api key", re.compile(r"(?<![A-Za-z0-9])(?:sk|pk|rk)[-_](?:[A-Za-z0-9]+[-_]){0,4}[A-Za-z0-9_-]{16,}")),
    ("github token", re.compile(r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})")),
    ("gitlab token", re.compile(r"(?<![A-Za-z0-9])gl(?:pat|dt|rt|cbt)-[A-Za-z0-9_-]{16,}")),
    ("hugging face token", re.compile(r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{16,}")),
    ("slack token", re.compile(r"(?<![A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}")),
    ("slack address", re.compile(r"https://hooks\.slack\.com/services/[A-Za-z0-9/]{20,}")),
    ("aws key", re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])")),
    ("google key", re.compile(r"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{30,}|(?<![A-Za-z0-9])ya29\.[A-Za-z0-9_-]{20,}")),
    ("stripe key", re.compile(r"(?<![A-Za-z0-9])whsec_[A-Za-z0-9]{20,}")),
    ("npm token", re.compile(r"(?<![A-Za-z0-9])npm_[A-Za-z0-9]{30,}|(?<![A-Za-z0-9])pypi-[A-Za-z0-9_-]{30,}")),
    ("telegram token", re.compile(r"(?<![A-Za-z0-9])\d{8,10}:[A-Za-z0-9_-]{35}(?![A-Za-z0-9])")),
    ("json web token", re.compile(r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*")),
    ("token", re.compile(r"(?i)\b(?:bearer|basic)\s+(?P<secret>[A-Za-z0-9._~+/=-]{12,})")),
    ("password", re.compile(r"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s/@:]{0,100}:(?P<secret>[^\s/@]{1,200})@")),
    ("secret", re.compile(rf"(?i)(?<![A-Za-z]){_NAMES}\\?[\"']?\s{{0,3}}(?:[:=]|=>|:=)\s{{0,3}}\\?[\"']?"
                          r"(?P<secret>(?!\[)[^\s\"'\\,;}{)(<>&]{4,})")),
    ("secret", re.compile(rf"(?i)--{_NAMES}[= ]\\?[\"']?(?P<secret>(?!\[)[^\s\"'\\]{{4,}})")),
    ("secret", re.compile(rf"(?i)\b[A-Z0-9_]{{0,40}}_{_NAMES}\\?[\"']?\s{{0,3}}[:=]\s{{0,3}}\\?[\"']?"
                          r"(?P<secret>(?!\[)[^\s\"'\\,;}{)(<>&]{4,})")),
)  # fmt: skip
"""What is found where nobody asks for other patterns."""


def compile_patterns(texts: Iterable[str]) -> tuple[Pattern, ...]:
    """Patterns of somebody's own. Raises UsageError for one that is no regular expression, or that finds nothing everywhere."""
    found = []
    for text in texts:
        try:
            pattern = re.compile(text)
        except re.error as error:
            raise UsageError(f"--redact {text}: no regular expression: {error}") from error
        if pattern.search(""):
            raise UsageError(f"--redact {text}: it fits an empty text, and so every place")
        found.append(("redacted", pattern))
    return tuple(found)


class Redaction:
    """Replaces secrets in texts, and counts them."""

    def __init__(self, patterns: Sequence[Pattern] = BUILT_IN):
        self._patterns = tuple(patterns)
        self.count = 0

    def clean(self, text: str) -> str:
        """The text without secrets. Cleaning twice changes nothing more."""
        for name, pattern in self._patterns:
            text, number = pattern.subn(lambda found, name=name: _without(found, name), text)  # type: ignore[misc]
            self.count += number
        return text


def _without(found: "re.Match[str]", name: str) -> str:
    if "secret" not in found.re.groupindex:
        return f"[{name}]"
    start, end = (place - found.start() for place in found.span("secret"))
    return f"{found[0][:start]}[{name}]{found[0][end:]}"
