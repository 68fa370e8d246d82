"""The sentences of the household world, word for word those of the original game. Knows no rules and no state beyond its arguments."""

from collections.abc import Sequence, Set

NOTHING = "Nothing happens."
"""The answer to everything that is not a valid command."""

WELCOME = "-= Welcome to TextWorld, ALFRED! =-"

_COMMANDS = (
    ("look", "look around your current location"),
    ("inventory", "check your current inventory"),
    ("go to (receptacle)", "move to a receptacle"),
    ("open (receptacle)", "open a receptacle"),
    ("close (receptacle)", "close a receptacle"),
    ("take (object) from (receptacle)", "take an object from a receptacle"),
    ("move (object) to (receptacle)", "place an object in or on a receptacle"),
    ("examine (something)", "examine a receptacle or an object"),
    ("use (object)", "use an object"),
    ("heat (object) with (receptacle)", "heat an object using a receptacle"),
    ("clean (object) with (receptacle)", "clean an object using a receptacle"),
    ("cool (object) with (receptacle)", "cool an object using a receptacle"),
    ("slice (object) with (object)", "slice an object using a sharp object"),
)


def _help_line(form: str, meaning: str) -> str:
    width = 32 if form.startswith("move") else 34  # that line is two columns short in the original
    return f"  {form + ':':{width}}{meaning}\n"


HELP = "Available commands:\n" + "".join(_help_line(*command) for command in _COMMANDS)


def listing(names: Sequence[str], article: str = "a ") -> str:
    """`a book 1, a pen 2, and a pen 1`; two names get the comma as well; none are `nothing`."""
    if not names:
        return "nothing"
    if len(names) == 1:
        return article + names[0]
    return ", ".join(article + name for name in names[:-1]) + ", and " + article + names[-1]


def middle_of_room(receptacles: Sequence[str]) -> str:
    """Where the game begins."""
    return f"You are in the middle of a room. Looking quickly around you, you see {listing(receptacles)}."


def facing(receptacles: Sequence[str], floor: Sequence[str]) -> str:
    """A look around while standing at receptacles."""
    return f"You are facing the {listing(receptacles, '')}. Next to it, you see {listing(floor)}."


def receptacle(name: str, openable: bool, opened: bool, things: Sequence[str]) -> str:
    """What a receptacle shows to somebody who stands at it."""
    if not openable:
        return f"On the {name}, you see {listing(things)}."
    if opened:
        return f"The {name} is open. In it, you see {listing(things)}."
    return f"The {name} is closed."


def thing(name: str, states: Set[str], toggleable: bool, sliceable: bool) -> str:
    """What a close look at a thing (not a vessel) tells; `states` are among clean, hot, cool, sliced, toggled."""
    warmth = "hot" if "hot" in states else "cool" if "cool" in states else ""
    words = " and ".join(word for word in (warmth, "clean" if "clean" in states else "") if word)
    if words and "sliced" in states:
        return f"This is a {words} sliced {name}."
    if words:
        return f"This is a {'cold' if words == 'cool' else words} {name}."
    if "toggled" in states and toggleable:
        return f"This {name} is on."
    if "sliced" in states and sliceable:
        return f"This is a sliced {name}."
    return f"There's nothing special about {name}."


def vessel(name: str, contents: Sequence[str]) -> str:
    """What a close look at a bowl, a box and the like tells, whatever was done to it."""
    return f"This is a normal {name}. In it, you see {listing(contents)}."
