"""How the goals of the household world are worded, both ways: from what is asked to words, and back. Knows no scenes and no rules."""

import re
from collections.abc import Mapping

import msgspec

from edgexp.environments.household.scene import GoalKind

WORDINGS: Mapping[GoalKind, tuple[str, ...]] = {
    "pick_and_place_simple": ("put a {object} in {target}.", "put some {object} on {target}."),
    "look_at_obj_in_light": ("look at {object} under the {target}.", "examine the {object} with the {target}."),
    "pick_clean_then_place_in_recep": ("put a clean {object} in {target}.", "clean some {object} and put it in {target}."),
    "pick_cool_then_place_in_recep": ("put a cool {object} in {target}.", "cool some {object} and put it in {target}."),
    "pick_heat_then_place_in_recep": ("put a hot {object} in {target}.", "heat some {object} and put it in {target}."),
    "pick_two_obj_and_place": ("put two {object} in {target}.", "find two {object} and put them in {target}."),
}
"""The two ways in which each goal is put; names of types in lower case, without numbers."""


class Request(msgspec.Struct, frozen=True):
    """What a goal asks for, in the words of the texts."""

    kind: GoalKind
    object: str
    target: str
    """The type of receptacle, or of lamp for `look_at_obj_in_light`."""


def word(request: Request, wording: int) -> str:
    """The goal in words; `wording` picks one of the ways (0 or 1)."""
    return WORDINGS[request.kind][wording].format(object=request.object, target=request.target)


def _pattern(wording: str) -> re.Pattern[str]:
    slots = re.escape(wording).replace(r"\{object\}", "(?P<object>[a-z]+)").replace(r"\{target\}", "(?P<target>[a-z]+)")
    return re.compile(slots)


_PATTERNS = tuple((kind, _pattern(wording)) for kind, wordings in WORDINGS.items() for wording in wordings)


def read(text: str) -> Request | None:
    """What the goal asks for; None where it is worded in no way known here. A full stop and `Your task is to:` may be there or not."""
    plain = text.strip().removeprefix("Your task is to:").strip().rstrip(".").lower() + "."
    for kind, pattern in _PATTERNS:
        if found := pattern.fullmatch(plain):
            return Request(kind, found["object"], found["target"])
    return None
