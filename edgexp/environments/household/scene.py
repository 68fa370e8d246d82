"""What a game of the household world is, as data: furniture, things, where the player starts, the goal and its wordings. Knows no rules.

A scene comes from an official game file (`pddl`) or straight from the `generator`; the `simulator` plays either. It is immutable, so one
scene serves any number of episodes. Receptacles and things are listed in the order in which the texts of the game list them: by lower-case
type, and within a type from the highest number down (see `numbered`). Where things are is given by index into `receptacles`, and standing
places are plain integers; several receptacles may share one place.

Goals are worded both ways: `word` puts what is asked for into words, `read` and `aspects` take it out of them.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

import msgspec

GoalKind = Literal[
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_two_obj_and_place",
]
"""The six shapes a goal can have, by the names ALFWorld gives its task types."""

GOAL_KINDS: tuple[GoalKind, ...] = get_args(GoalKind)

GROUPS: Mapping[str, str] = {
    "pick_and_place_simple": "easy",
    "look_at_obj_in_light": "easy",
    "pick_clean_then_place_in_recep": "easy",
    "pick_cool_then_place_in_recep": "hard",
    "pick_heat_then_place_in_recep": "hard",
    "pick_two_obj_and_place": "hard",
}
"""Which side of the paper's split (arXiv 2603.18272) a task type is on."""


class Receptacle(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A piece of furniture or an appliance that things lie in or on. It never moves."""

    name: str
    """As the texts call it: `drawer 3`."""
    type: str
    """`Drawer`, `SinkBasin`, `Microwave`, …"""
    place: int
    """Where one stands to use it."""
    openable: bool = False
    opened: bool = False
    """Whether it is open at the start; only an openable one can be."""


class Kind(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What can be done with a thing; shared by all things it is true of, so that making a scene costs nothing for it."""

    type: str
    """`Apple`, `DeskLamp`, …; empty for the few things in official files that have none."""
    portable: bool = False
    cleanable: bool = False
    heatable: bool = False
    coolable: bool = False
    toggleable: bool = False
    """A lamp."""
    sliceable: bool = False
    vessel: bool = False
    """A bowl, a box: examining it tells what is in it."""


class Thing(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One object, and its state at the start. The generator needs `name`, `kind`, `receptacles` and `places` only."""

    name: str
    """As the texts call it: `apple 2`."""
    kind: Kind
    receptacles: tuple[int, ...] = ()
    """The receptacles it lies in, as indices: one, as a rule; none for windows and the like; official files have some with two."""
    places: tuple[int, ...] = ()
    """The places it is at: as a rule the `place` of its receptacle. Only slicing and a second look at the floor ask for it."""
    contents: tuple[int, ...] = ()
    """The things in it, as indices, if it is a vessel. They never change: nothing is put into or taken out of a vessel here."""
    clean: bool = False
    hot: bool = False
    cool: bool = False
    sliced: bool = False
    toggled: bool = False


class Way(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A treatment beside heating, cooling and cleaning: `verb` of anything in hand, at an appliance of that type, gives it the state."""

    verb: str
    state: str
    appliance: str
    """A type of receptacle, as `Receptacle.type`."""


class Goal(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What has to be true in the end."""

    kind: GoalKind
    object: str
    """The type of the thing (or two things) it is about."""
    target: str
    """The type of receptacle to put it in; the type of lamp for `look_at_obj_in_light`."""
    text: str
    """The wording the player reads: `put a clean plate in shelf.`"""
    way: Way | None = None
    """What has to be done to the thing first, where that is none of the three treatments that the kind can ask for."""


class Scene(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A whole game at its beginning."""

    receptacles: tuple[Receptacle, ...]
    things: tuple[Thing, ...]
    goal: Goal
    fits: Mapping[str, frozenset[str]]
    """Receptacle type → the types of things that may be put in it."""
    start: int = -1
    """The place the player starts at; no receptacle is there, as a rule (`-1`: nowhere near any)."""


def numbered(types: Iterable[str]) -> list[str]:
    """The names of things or receptacles of these types in listing order: of each type the last one is number 1.

    `["Drawer", "Drawer", "Shelf"]` → `["drawer 2", "drawer 1", "shelf 1"]`. This is how the real game numbers its sorted names.
    """
    names: list[str] = []
    left: dict[str, int] = {}
    lower = [t.lower() for t in types]
    for name in lower:
        left[name] = left.get(name, 0) + 1
    for name in lower:
        names.append(f"{name} {left[name]}")
        left[name] -= 1
    return names


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


def pattern(wording: str) -> re.Pattern[str]:
    """What a goal of that wording looks like: each `{slot}` is one word, a group of that name."""
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[A-Za-z]+)", re.escape(wording)))


_PATTERNS = tuple((kind, pattern(wording)) for kind, wordings in WORDINGS.items() for wording in wordings)


def read(text: str) -> Request | None:
    """What the goal asks for; None where it is worded in no way known here. A full stop and `Your task is to:` may be there or not."""
    plain = text.strip().removeprefix("Your task is to:").strip().rstrip(".").lower() + "."
    for kind, form in _PATTERNS:
        if found := form.fullmatch(plain):
            return Request(kind, found["object"], found["target"])
    return None


_TREATED: Mapping[str, str] = {
    "pick_clean_then_place_in_recep": "clean",
    "pick_cool_then_place_in_recep": "cool",
    "pick_heat_then_place_in_recep": "hot",
}
"""What three of the goals want the thing to be."""


def aspects(text: str) -> dict[str, str]:
    """What a goal names: object, receptacle or lamp, treatment and count where they are asked for; nothing of a goal in other words."""
    if not (request := read(text)):
        return {}
    found = {"object": request.object, "lamp" if request.kind == "look_at_obj_in_light" else "receptacle": request.target}
    if treatment := _TREATED.get(request.kind):
        found["treatment"] = treatment
    if request.kind == "pick_two_obj_and_place":
        found["count"] = "2"
    return found
