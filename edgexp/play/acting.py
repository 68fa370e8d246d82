"""How an agent remembers and acts, as settings: what a run, a condition of a suite and a row of results have in common. Plays nothing, and
imports nothing heavy.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal

from msgspec import Meta

from edgexp.retrieval import Retrieval

Actions = Literal["admissible", "scored", "free"]
"""How a model acts: a walk through the valid actions, the same with every one scored, or text until the end of turn."""

class Acting(Retrieval, frozen=True):
    """How an agent remembers and chooses its actions. Settings that say it inherit these fields."""

    actions: Actions = "admissible"
    repeats: Annotated[int, Meta(ge=0)] = 1
    """Times an action may be taken when the same is to be seen, and twice that in all; 0 for any number. Small models go in circles. It
    holds where actions are chosen among the valid ones; and for free ones where the environment says which answers are refusals, which
    are then heeded too."""
    temperature: Annotated[float, Meta(ge=0)] = 0.0
    """0 always takes the likeliest action."""
    think: Annotated[int, Meta(ge=0)] = 0
    """Tokens that a model may think before each action; 0 for not at all."""
    seed: int = 0
    """Chance has this seed and the task's id, so that a task is played the same whatever is played beside it."""


def now() -> str:
    """The time as a trajectory's provenance writes it: UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
