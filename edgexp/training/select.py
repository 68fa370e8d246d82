"""Which checkpoint becomes the adapter."""

from collections.abc import Mapping

from edgexp.errors import EdgexpError


def select(steps: list[int], scores: Mapping[int, float]) -> int:
    """The checkpoint with the highest score (the share of dev episodes won, or minus the validation loss); of equals the latest.

    Without any score it is the last one. Steps without a score do not compete. Raises EdgexpError where there is no checkpoint.
    """
    if not steps:
        raise EdgexpError("the run has no checkpoint to choose from; train it first")
    known = {step: scores[step] for step in steps if step in scores}
    if not known:
        return max(steps)
    return max(known, key=lambda step: (known[step], step))
