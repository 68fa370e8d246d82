"""Synthetic trajectories and a tiny encoder, for tests that are about storing and finding and not about language."""

import hashlib
import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgexp.trajectory import Provenance, Source, Step, Task, Trajectory

PLACES = ["shelf", "drawer", "cabinet", "countertop", "sofa", "fridge", "desk", "bed"]
THINGS = ["book", "mug", "apple", "pencil", "vase", "laptop", "egg", "knife"]


class WordEncoder:
    """A bag of hashed words: the same text gives the same unit vector everywhere, texts that share words are near."""

    def __init__(self, name: str = "words", dimensions: int = 32, max_tokens: int = 256) -> None:
        self.name, self.id, self.dimensions, self.max_tokens = name, f"e-{name}", dimensions, max_tokens
        self.encoded = 0

    def encode(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        self.encoded += len(texts)
        if not texts:
            return np.empty((0, self.dimensions), np.float32)
        vectors = np.stack([sum((self._word(word) for word in text.split()), self._word("")) for text in texts])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def count(self, text: str, *, query: bool = False) -> int:
        return len(text.split()) + 2

    def _word(self, word: str) -> NDArray[np.float64]:
        seed = int.from_bytes(hashlib.sha256(f"{self.name} {word}".encode()).digest()[:8], "little")
        return np.random.default_rng(seed).normal(size=self.dimensions)


def trajectory(
    number: int, environment: str = "household", success: bool | None = None, source: Source = "expert", task: str = ""
) -> Trajectory:
    """Trajectory `number`: always the same; different numbers differ."""
    rng = random.Random(number)
    thing, place = rng.choice(THINGS), rng.choice(PLACES)
    steps = []
    for _ in range(rng.randint(1, 8)):
        at = f"{rng.choice(PLACES)} {rng.randint(1, 4)}"
        steps.append(Step(f"go to {at}", f"You arrive at {at}. On the {at}, you see a {rng.choice(THINGS)} {rng.randint(1, 3)}."))
    won = rng.random() < 0.7 if success is None else success
    kind, group = rng.choice([("place", "easy"), ("heat", "hard"), ("cool", "hard")])
    return Trajectory(
        Task(task or f"{environment}/train/{number}", environment, "train", kind, group),
        f"put a {thing} on the {place}.",
        f"You are in room {number}. You see a {rng.choice(PLACES)} and a {rng.choice(PLACES)}.",
        tuple(steps),
        won,
        float(won),
        "done" if won else "max_steps",
        Provenance(source, "1", number, created="2026-11-22T12:00:00+00:00"),
    )


def trajectories(count: int, start: int = 0) -> list[Trajectory]:
    """Trajectories `start` to `start + count - 1`."""
    return [trajectory(number) for number in range(start, start + count)]
