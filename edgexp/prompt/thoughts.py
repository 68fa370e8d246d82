"""How a thought is opened and closed where a model's answer begins. Knows templates and tokens; what is thought is the engine's affair.

A template that switches thinking off writes an empty thought before every answer: a thought that is wanted stands in its place. Where a
template says nothing of thoughts, they stand between `<think>` and `</think>`.
"""

import re
from dataclasses import dataclass

from edgexp.engine.tokenizer import Tokenizer
from edgexp.prompt.template import Template
from edgexp.prompt.template_texts import THOUGHTS


@dataclass(frozen=True)
class Thinking:
    """The ids around a thought."""

    replaced: int
    """How many ids at the end of `Template.after_user` it stands in the place of: an empty thought."""
    opened: tuple[int, ...]
    closed: tuple[int, ...]
    mark: str
    """The text at which a model has finished thinking; `closed` begins with it, but for line breaks."""


def learn_thinking(template: Template, tokenizer: Tokenizer) -> Thinking:
    """How a model with this template thinks."""
    text = tokenizer.decode(template.after_user)
    for opening, closing in THOUGHTS:
        for found in list(re.finditer(opening, text))[-1:]:
            mark, rest = found.expand(closing), text[found.end() :]
            kept = _length_of(text[: found.start()], template.after_user, tokenizer)
            if mark.strip() in rest and kept is not None:
                lines = "\n" if rest.startswith("\n") else ""
                return _thinking(len(template.after_user) - kept, found.group() + lines, rest.removeprefix("\n"), mark, tokenizer)
    return _thinking(0, "<think>\n", "\n</think>\n\n", "</think>", tokenizer)


def _thinking(replaced: int, opened: str, closed: str, mark: str, tokenizer: Tokenizer) -> Thinking:
    return Thinking(replaced, tuple(tokenizer.control(opened)), tuple(tokenizer.control(closed)), mark)


def _length_of(text: str, ids: list[int], tokenizer: Tokenizer) -> int | None:
    """How many of the first ids are this text; None where it ends inside of one."""
    return next((length for length in range(len(ids) + 1) if tokenizer.decode(ids[:length]) == text), None)
