"""One answer of a model of this process, token by token: a prompt that is read in pieces, then a token at a time. Knows no threads.

What a model wrote stays as it was sampled; only where a stop text cuts the answer are its tokens those of the text that is left.
"""

import math
import secrets
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgexp.engine import decide
from edgexp.engine.decide import Chooser
from edgexp.engine.engine import TokenSequence
from edgexp.prompt.render import Renderer
from edgexp.serve.protocol import Sampling, Usage, Written
from edgexp.serve.text_stream import TextStream
from edgexp.serve.tool_calls import OPENS, read_calls

PIECE = 256
"""Tokens of a prompt that are read before others have their turn."""


@dataclass
class Generation:
    """An answer in the making. Set `sequence` before the first `prepare`."""

    renderer: Renderer
    prompt: list[int]
    sampling: Sampling
    limit: int
    """Tokens of the answer."""
    tools: bool = False
    given: str = ""
    """What the answer has to begin with."""
    sequence: TokenSequence = field(init=False)
    usage: Usage = field(default_factory=Usage)
    finish: str = ""
    """Why it is over; empty until it is."""

    def __post_init__(self) -> None:
        self._choose = chooser(self.sampling)
        given = self.renderer.answers.encode(self.given) if self.given else []
        lead = "" if given else self.renderer.template.leads.action
        self._text = TextStream(self._decode, self.sampling.stop, OPENS if self.tools else "", lead, self.given)
        self._target, self._given = [*self.prompt, *given], len(given)
        self._read, self._generated, self._ran = 0, 0, 0

    def begin(self, sequence: TokenSequence) -> None:
        """Take a sequence, and keep of it what the prompt begins with as well."""
        self.sequence, self._ran = sequence, sequence.ran
        same = next((n for n, (a, b) in enumerate(zip(sequence.ids, self._target, strict=False)) if a != b),
                    min(len(sequence.ids), len(self._target)))  # fmt: skip
        sequence.cut(same)
        self._read = same

    def prepare(self) -> None:
        """Append what is to be evaluated next, where that is still a piece of the prompt."""
        if self._read < len(self._target):
            piece = self._target[self._read : self._read + PIECE]
            self.sequence.append(piece)
            self._read += len(piece)
        # Nothing new, and no logits: the engine runs the last token again.

    def advance(self) -> str:
        """Take the next token, now that the sequence has logits; text that came of it."""
        if self._read < len(self._target):
            return ""
        sequence = self.sequence
        assert sequence.logits is not None
        if not self._generated:
            cached = max(0, len(self.prompt) - (sequence.ran - self._ran - self._given))
            self.usage = Usage(len(self.prompt), min(cached, len(self.prompt)), self._given)
        token = self._choose(sequence.logits)
        self._generated += 1
        self.usage = Usage(self.usage.prompt, self.usage.cached, self._generated + self._given)
        if self.renderer.answers.is_end(token):
            self.finish = "stop"
            return self._text.end()
        sequence.append([token])
        told = self._text.feed(token)
        if self._text.stopped:
            self.finish = "stop"
        elif self._generated >= self.limit:
            self.finish = "length"
            told += self._text.end()
        return told

    @property
    def evaluated(self) -> int:
        """Tokens that the model has run for it."""
        return self.sequence.ran - self._ran

    def written(self) -> Written:
        """The answer. Its sequence holds it with the end of the turn, for what follows."""
        sequence, end = self.sequence, self.renderer.template.end
        text, calls = read_calls(self._text.text) if self.tools else (self._text.text, ())
        if self._text.stopped:
            sequence.replace(self.renderer.answers.encode(self._text.text), len(self.prompt))
        sequence.append(end)
        return Written(text, calls, "tool_calls" if calls and self.finish == "stop" else self.finish, self.usage)

    def _decode(self, ids: list[int]) -> str:
        """Text of ids; control tokens are none."""
        tokenizer = self.renderer.tokenizer
        return tokenizer.decode([token for token in ids if not tokenizer.is_control(token)])


def chooser(sampling: Sampling) -> Chooser:
    """How tokens are drawn. Without a seed every answer is another."""
    temperature = sampling.temperature or 0.0
    if temperature == 0:
        return decide.greedy
    seed = secrets.randbits(63) if sampling.seed is None else sampling.seed & (2**63 - 1)
    draw = decide.sampler(temperature, seed)
    return draw if sampling.top_p >= 1 else _nucleus(draw, temperature, sampling.top_p)


def _nucleus(draw: Chooser, temperature: float, share: float) -> Chooser:
    """Draw among the likeliest tokens that together have a share of the probability (Holtzman et al., 2020)."""

    def choose(logits: NDArray[np.float32]) -> int:
        scaled = (logits.astype(np.float64) - float(logits.max())) / temperature
        order = np.argsort(-scaled, kind="stable")
        sums = np.cumsum(np.exp(scaled[order]))
        most = int(np.searchsorted(sums, share * sums[-1])) + 1
        kept = np.full_like(logits, -math.inf)
        kept[order[:most]] = logits[order[:most]]
        return draw(kept)

    return choose
