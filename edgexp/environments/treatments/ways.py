"""The treatment that each home knows, drawn from a seed: a verb, the state it gives and the appliance it is done at. Knows no scenes.

A home has the same treatment in all its rooms. Other homes use the same words for other appliances, so that no word tells what to do. None
is a treatment of the household's own, nor said in words for warm, cold or clean.
"""

from functools import lru_cache

import msgspec

from edgexp.environments.household.generator import Draw
from edgexp.environments.household.scene import Way
from edgexp.environments.worlds import words

_VERBS = (
    "polish", "paint", "pickle", "seal", "bless", "smoke", "carve", "mark", "stamp", "harden", "sweeten", "tune", "charge", "bind",
    "brew", "cure", "fire", "press", "season", "wrap", "glaze", "salt", "wax", "bleach", "gild", "perfume", "charm", "grease", "lace",
    "mend", "plate", "rust", "sand", "tan", "butter", "label", "weigh", "scan", "varnish", "engrave", "soften", "test", "ink", "oil",
    "sort", "trim", "inspect", "sign", "bend", "dust", "starch", "fold",
)  # fmt: skip
_INVENTED = 40
"""How many verbs of a hundred are invented."""

APPLIANCES = (
    ("Fridge", "Microwave", "Toaster", "CoffeeMachine", "StoveBurner", "SinkBasin", "GarbageCan", "CounterTop"),
    ("Toilet", "SinkBasin", "HandTowelHolder", "ToiletPaperHanger", "TowelHolder", "GarbageCan"),
    ("Bed", "Drawer", "GarbageCan", "Sofa"),
)
"""Types of receptacles that rooms of one kind have: kitchens, bathrooms, and the others."""
_ROOMS = (60, 25, 15)
"""How many treatments of a hundred are done in each kind of room."""

_HOME_SEEDS = 3_000_000_000
"""Seeds of homes begin here: above those of worlds and of their scenes."""
_FIRST_NAME = 4_000
"""Names up to here are those of the houses of `worlds`."""


class Home(msgspec.Struct, frozen=True):
    """What is so in all rooms of a home."""

    name: str
    way: Way


@lru_cache(maxsize=4096)
def home(number: int) -> Home:
    """Home `number`, from 0 to some thousands."""
    draw = Draw(_HOME_SEEDS + number)
    appliance = draw.one(APPLIANCES[draw.weighed(_ROOMS)])
    verb = words.Lexicon(draw).some(_VERBS, 1, invented=_INVENTED)[0]
    return Home(words.name(_FIRST_NAME + number), Way(verb, _participle(verb), appliance))


def _participle(verb: str) -> str:
    if verb.endswith("e"):
        return verb + "d"
    return {"bind": "bound", "bend": "bent"}.get(verb, verb + "ed")
