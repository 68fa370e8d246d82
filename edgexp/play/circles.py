"""Going in circles, and how an agent is kept from it: small models take the same action again where it told them nothing new, and count on
to a drawer that is not there, and to the next. Knows texts and what was answered; no model, no tokens, no environment by name.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence

from edgexp.play.episode import last_observations
from edgexp.trajectory import Step

_NUMBER = re.compile(r"\d+")


def drop_repeated_actions(actions: Sequence[str], steps: Sequence[Step], first: str, repeats: int) -> list[str]:
    """The actions taken fewer than `repeats` times when the same was to be seen as now, and than twice that since anything new was seen.

    All of them where none is left, or `repeats` is 0. `first` is the observation before the first step. An expert may come back to a
    place time and again, but it has seen something new in between: of 600 household episodes none of its actions would be dropped.
    """
    often = taken_too_often(steps, first, repeats)
    return [action for action in actions if action not in often] or list(actions)


def taken_too_often(steps: Sequence[Step], first: str, repeats: int) -> set[str]:
    """What `drop_repeated_actions` drops: each was taken already."""
    taken = _Taken(steps, first, repeats)
    return {step.action for step in steps if taken.too_often(step.action)}


class Futile:
    """Which texts would be futile as the next action of an episode, where the environment says which answers are refusals.

    Futile is what `drop_repeated_actions` drops; what was refused when the same was to be seen; and, right after a refusal, what differs
    from the refused action only in its numbers: who was told that there is no `shelf 5` asks for `shelf 6` next, and for `shelf 7`.
    """

    def __init__(self, steps: Sequence[Step], first: str, repeats: int, refusals: Collection[str]):
        self._taken = _Taken(steps, first, repeats)
        seen, refused, run = first, dict[str, set[str]](), list[str]()
        for step in steps:
            if step.observation in refusals:
                refused.setdefault(seen, set()).add(step.action)
                run.append(_shape(step.action))
            else:
                seen, run = step.observation, []
        self._refused, self._run = refused.get(seen, set()), set(run)

    def __call__(self, action: str) -> bool:
        """Whether the text would be futile."""
        return action in self._refused or _shape(action) in self._run or self._taken.too_often(action)


class _Taken:
    """How often actions were taken."""

    def __init__(self, steps: Sequence[Step], first: str, repeats: int):
        seen = last_observations(first, steps)
        self._now = Counter(step.action for before, step in zip(seen, steps, strict=False) if before == seen[-1])
        known, since = {first}, Counter[str]()
        for step in steps:
            if step.observation not in known:
                known.add(step.observation)
                since.clear()
            else:
                since[step.action] += 1
        self._since, self._repeats = since, repeats

    def too_often(self, action: str) -> bool:
        return bool(self._repeats) and (self._now[action] >= self._repeats or self._since[action] >= 2 * self._repeats)


def _shape(action: str) -> str:
    """The action without its numbers."""
    return _NUMBER.sub("#", action)
