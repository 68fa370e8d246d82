"""To say how an episode ended, of which nobody has said so yet, or to say it otherwise. Knows the bank as everybody does, and no SQL."""

from collections.abc import Sequence

import msgspec

from edgexp.bank.bank import Bank
from edgexp.trajectory import Trajectory


def with_outcome(trajectory: Trajectory, success: bool) -> Trajectory:
    """The trajectory as one that a person has judged. Its id is another one where it was judged otherwise before, or not at all."""
    if trajectory.outcome_known and trajectory.success == success:
        return trajectory
    return msgspec.structs.replace(trajectory, success=success, score=float(success), end="done")


def judge(bank: Bank, ids: Sequence[str], success: bool) -> tuple[list[str], list[str]]:
    """Accept trajectories as won or lost: the ids that they have from now on, and those that others have taken the place of.

    The latter are still in the bank, for the caller to forget. The bank needs its encoder. Raises UsageError for an id that is not there.
    """
    before = bank.read(ids)
    after = [with_outcome(trajectory, success) for trajectory in before]
    bank.add(after, "accepted")
    made = [trajectory.id for trajectory in after]
    return made, [old.id for old, new in zip(before, made, strict=True) if old.id != new]
