"""The figures of the paper that edgexp rebuilds, to stand beside one's own. They are the authors', for other models, and never ours.

"Retrieval-Augmented LLM Agents: Learning to Learn from Experience", arXiv 2603.18272. ALFWorld, valid_unseen: 73 games of easy task
types, 61 of hard ones; free actions, greedy, one seed, no intervals given; collected from the abstract and from notes on the paper.
"""

import msgspec

SOURCE = "arXiv 2603.18272"
MODELS = ("Ministral-3-8B", "Gemma-3-4B", "Qwen2.5-7B", "Qwen2.5-7B-1M")


class Reported(msgspec.Struct, frozen=True):
    """A line of the paper: success in per cent, easy and hard, by model; None where no figure is known."""

    condition: str
    easy: tuple[float | None, ...]
    hard: tuple[float | None, ...]


ALFWORLD = (
    Reported("frozen, with retrieved experience (ExpRAG)", (54.8, 20.6, 82, 67.1), (47.5, 4.9, 82, 54.1)),
    Reported("fine-tuned (LoRA)", (98.6, 61.6, 86.3, 98.6), (34.4, 1.6, 21.3, 23.0)),
    Reported("fine-tuned, experience only at test", (97.3, 57.5, 89.0, 82.2), (67.2, 3.3, 70.5, 68.9)),
    Reported("fine-tuned with experience (ExpRAG-LoRA)", (97.3, 86.3, 84.9, 97.3), (88.5, 73.8, 90.2, 91.8)),
)
"""Success on ALFWorld. The frozen models without memory: only Ministral-3-8B over both groups is known, about 4.5."""

FROZEN_BY_K = ((0, 4.5), (1, 40.0), (2, 51.0), (4, 64.0))
"""Frozen Ministral-3-8B, ALFWorld, both groups: success in per cent by the number of retrieved trajectories."""

BAD_MEMORY = (
    ("Ministral-3-8B", {"matched": 88.5, "mismatched": 39.3, "empty": 29.5, "LoRA without memory": 34.4}),
    ("Qwen2.5-7B-1M", {"matched": 91.8, "mismatched": 60.7, "empty": 36.1, "LoRA without memory": 23.0}),
)
"""ExpRAG-LoRA on hard ALFWorld tasks, by what the bank holds."""
