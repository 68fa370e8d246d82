"""A mock engine and its vocabulary: a model that is a function of the ids, so that whole episodes play without weights, in milliseconds.

Knows nothing of llama.cpp. What a test needs of a policy's construction stands in `make_policy` and nowhere else.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgexp.engine.blocks import stretches
from edgexp.engine.engine import TokenSequence
from edgexp.engine.maker import Stretch
from edgexp.environments.base import Environment
from edgexp.play.local import ACTION_TOKENS, Acting, LocalPolicy
from edgexp.prompt.messages import Layout
from edgexp.prompt.render import Renderer, make_renderer
from edgexp.retrieval import Retriever

Logits = NDArray[np.float32]


class MockVocabulary:
    """Bytes as ids 0 to 255, and above them the control tokens of ChatML."""

    CONTROL = ("<|im_start|>", "<|im_end|>")
    bos = eos = -1
    adds_bos = False

    def __len__(self) -> int:
        return 256 + len(self.CONTROL)

    def encode(self, text: str) -> list[int]:
        return list(text.encode("utf-8", "replace"))

    def control(self, text: str) -> list[int]:
        parts = re.split(f"({'|'.join(map(re.escape, self.CONTROL))})", text)
        return [i for part in parts for i in ([256 + self.CONTROL.index(part)] if part in self.CONTROL else self.encode(part))]

    def decode(self, ids: Sequence[int]) -> str:
        pieces = (bytes([i]) if i < 256 else self.CONTROL[i - 256].encode() for i in ids)
        return b"".join(pieces).decode("utf-8", "replace")

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token < 256 else self.CONTROL[token - 256].encode()

    def is_end(self, token: int) -> bool:
        return token == 257

    def is_control(self, token: int) -> bool:
        return token >= 256


VOCABULARY = MockVocabulary()
TURN = VOCABULARY.control("<|im_start|>assistant\n")


def by_chance(ids: Sequence[int]) -> Logits:
    """Logits [vocabulary] that hang on all ids and look like chance."""
    seed = int.from_bytes(hashlib.sha256(np.array(ids, np.int32).tobytes()).digest()[:8], "little")
    return np.random.default_rng(seed).normal(size=len(VOCABULARY)).astype(np.float32)


def saying(answer: Callable[[str], str]) -> Callable[[Sequence[int]], Logits]:
    """Logits of a model that says `answer(prompt)`, byte by byte, and then ends its turn. The prompt is a text with its control tokens."""

    def think(ids: Sequence[int]) -> Logits:
        begins = max(place for place, token in enumerate(ids) if token == 256) + len(TURN)  # counted in ids: half a character is said too
        wanted = [*VOCABULARY.encode(answer(VOCABULARY.decode(ids[:begins]))), 257]
        return 20 * (np.arange(len(VOCABULARY)) == wanted[min(len(ids) - begins, len(wanted) - 1)]).astype(np.float32)

    return think


class MockEngine:
    """What `play.rollout` needs of an engine, over a function from ids to logits."""

    def __init__(self, think: Callable[[Sequence[int]], Logits] = by_chance) -> None:
        self.think, self.evaluated, self.batches = think, 0, list[int]()
        self._known = set[Stretch]()
        """Shared stretches that were evaluated; a real engine has them from its `BlockSource`."""

    def evaluate(self, sequences: Sequence[TokenSequence]) -> None:
        pending = [sequence for sequence in sequences if sequence.logits is None]
        self.batches += [len(pending)] if pending else []
        for s in pending:
            self._share(s)
            ran = len(s.ids) - min(s.evaluated, len(s.ids) - s.wanted)  # the last token runs again where only its logits are gone
            ids = whole(s)
            s.show(np.stack([self.think(ids[: len(ids) - more]) for more in reversed(range(s.wanted))]))
            s.evaluated, s.ran, self.evaluated = len(s.ids), s.ran + ran, self.evaluated + ran

    def _share(self, s: TokenSequence) -> None:
        for stretch in stretches(s.shared) if s.held != s.shared else ():
            if stretch in self._known:
                s.attached += stretch.cells
            else:
                s.ran, self.evaluated = s.ran + stretch.cells, self.evaluated + stretch.cells
                self._known.add(stretch)
        s.held = s.shared

    def evaluate_tree(self, sequence: TokenSequence, parents: Sequence[int], tokens: Sequence[int]) -> Logits:
        self.evaluate([sequence])
        paths: list[list[int]] = []
        for parent, token in zip(parents, tokens, strict=True):
            paths.append([*(paths[parent] if parent >= 0 else []), token])
        return np.stack([self.think([*whole(sequence), *path]) for path in paths])


def whole(sequence: TokenSequence) -> list[int]:
    """All ids that a sequence sees: what it shares, the prefix first, and its own."""
    return [*(i for stretch in stretches(sequence.shared) for i in stretch.ids), *sequence.ids]


def renderer_of(environment: Environment, layout: Layout = "chained") -> Renderer:
    """A renderer of ChatML for one environment."""
    return make_renderer(VOCABULARY, "chatml", environment.instructions(), layout)


def make_policy(environment: Environment, retriever: Retriever | None = None, *, context: int = 16_384, reserve: int = 2048,
                action_tokens: int = ACTION_TOKENS, **acting: Any) -> LocalPolicy:
    """A policy that the mock engine decides for, on a sequence of its own, with room for everything. It may go in circles, unless told.

    `acting`: fields of `Acting`.
    """
    how = Acting(**{"repeats": 0} | acting)
    renderer = renderer_of(environment, "apart" if how.layout == "apart" else "chained")
    return LocalPolicy(TokenSequence(0), renderer, retriever, how, context=context, reserve=reserve,
                       action_tokens=action_tokens, model="mock")  # fmt: skip
