"""A scripted player of the household world. It reads goals and observations and nothing else, as an agent does.

It remembers what it saw, searches the likeliest receptacles first and opens what is closed. The likelihoods are the tables the generator
draws from; in rooms it does not know it still searches everything. It gives up only when it has looked everywhere.
"""

import copy
import re
from collections.abc import Iterable, Mapping, Sequence

from edgexp.environments.household import rooms, scene
from edgexp.errors import EdgexpError

_NAME = re.compile(r"\b([a-z]+) (\d+)\b")
_SHOWN = re.compile(r"(?:On the|The) ([a-z]+ \d+)(?: is open\. In it)?, you see ([^.]*)\.")
_CLOSED = re.compile(r"The ([a-z]+ \d+) is closed\.")
_COMMAND = re.compile(r"(go to|[a-z]+) (\w+ \d+)(?: (?:from|to|with) (\w+ \d+))?")

_TREATMENT: Mapping[scene.GoalKind, tuple[str, str]] = {
    "pick_clean_then_place_in_recep": ("clean", "sinkbasin"),
    "pick_cool_then_place_in_recep": ("cool", "fridge"),
    "pick_heat_then_place_in_recep": ("heat", "microwave"),
}
_PRIORS: Mapping[str, Mapping[str, Mapping[str, int]]] = {
    room: {stock.type.lower(): {spot.lower(): weight for spot, weight in stock.spots.items()} for stock in table.stock.values()}
    for room, table in rooms.ROOMS.items()
}
_FITS = {place.lower(): {type.lower() for type in types} for place, types in rooms.FITS.items()}
_DOORS = {type.lower() for type in rooms.OPENABLE}
_ENDS = {"heat": "cool", "cool": "heat"}
"""What each of the two undoes."""
_FAINT = 0.5
"""The weight of a type of receptacle that the tables do not name for a thing."""


def _type(name: str) -> str:
    return name.partition(" ")[0]


def _number(name: str) -> int:
    return int(name.partition(" ")[2])


def _fits(thing: str, place: str) -> bool:
    """Whether such things are put in such places, as far as the tables know."""
    return _type(thing) in _FITS.get(_type(place), ())


class Notes:
    """What a player knows of the room, learned from the texts alone."""

    def __init__(self, observation: str) -> None:
        self.receptacles = [f"{type} {number}" for type, number in _NAME.findall(observation)]
        self.contents: dict[str, list[str]] = {}
        """Receptacle → what was last seen in it. No entry: not looked into yet."""
        self.closed: set[str] = set()
        """Receptacles known to be closed now."""
        self.done: set[str] = set()
        """Commands on things that worked: `heat apple 1`, `use desklamp 1`."""
        self.refused: set[tuple[str, str]] = set()
        """(thing, receptacle) that did not fit."""
        self.here = ""
        self.held = ""
        self.source = ""
        """The receptacle that what is held was taken from."""

    def learn(self, command: str, observation: str) -> None:
        """Take in what a command led to; an empty command for the first observation."""
        if parts := _COMMAND.fullmatch(command):
            verb, name, other = parts.groups(default="")
            if observation.startswith("Nothing happens"):
                self._failed(verb, name, other)
            else:
                self._worked(verb, name, other)
        for name in _CLOSED.findall(observation):
            self.closed.add(name)
        for name, listing in _SHOWN.findall(observation):
            self.closed.discard(name)
            self.contents[name] = [f"{type} {number}" for type, number in _NAME.findall(listing)]

    def where(self, type: str) -> list[tuple[str, str]]:
        """Every (thing, receptacle) seen, of that type of thing; what is here comes first."""
        found = [(thing, place) for place, things in self.contents.items() for thing in things if _type(thing) == type]
        return sorted(found, key=lambda pair: pair[1] != self.here)

    def _worked(self, verb: str, name: str, other: str) -> None:
        if verb == "go to":
            self.here = name
        elif verb == "take":
            self.held, self.source = name, other
            self._forget(name, other)
        elif verb == "close":
            self.closed.add(name)
        elif verb == "move":
            self.held = ""
            self.contents.setdefault(other, []).append(name)
        elif verb in _ENDS:
            self.done.discard(f"{_ENDS[verb]} {name}")
            self.done.add(f"{verb} {name}")
        else:
            self.done.add(f"{verb} {name}")

    def _failed(self, verb: str, name: str, other: str) -> None:
        """Believe the answer, so that the same command is not tried again."""
        if verb == "go to":
            self.here = name  # it shares its place with where one stands already
            if _type(name) in _DOORS and name not in self.contents:
                self.closed.add(name)
        elif verb == "take":
            self._forget(name, other)
        elif verb == "open":
            self.closed.discard(name)
        elif verb == "examine":
            self.contents.setdefault(name, [])
        elif verb == "move":
            self.refused.add((name, other))
        elif verb == "use":
            self._forget(name, self.here)
        else:
            self.done.add(f"{verb} {name}")

    def _forget(self, thing: str, place: str) -> None:
        if thing in self.contents.get(place, ()):
            self.contents[place].remove(thing)


class SearchExpert:
    """Plays any of the six goals. Keeps the `Expert` protocol of `edgexp.environments.base`; one object plays any number of episodes."""

    def begin(self, goal: str, observation: str) -> None:
        """A new episode. Raises EdgexpError for a goal that is worded in no known way."""
        self._request, self._treatment = self._understand(goal)
        self._notes = Notes(observation)
        self._command = ""
        types = [_type(name) for name in self._notes.receptacles]
        self._count = {type: types.count(type) for type in types}
        self._priors = _PRIORS[next((room for mark, room in rooms.LANDMARKS.items() if mark in types), "kitchen")]
        self._delivered: set[str] = set()
        self._spent: set[str] = set()
        """Lamps that were used with the thing in hand, and did not do."""

    def _understand(self, goal: str) -> tuple[scene.Request, tuple[str, str] | None]:
        """What is asked for, and the verb and the appliance of what has to be done to the thing first."""
        request = scene.read(goal)
        if request is None:
            raise EdgexpError(f"the household expert cannot read the goal {goal!r}; the wordings it knows are in household/scene.py")
        return request, _TREATMENT.get(request.kind)

    def saw(self, observation: str, action: str) -> None:
        """Take note of an observation, and that another action follows than the one it would choose."""
        self._learn(observation)
        self._command = action

    def act(self, observation: str) -> str | None:
        """The next command, given the latest observation; None when it has looked everywhere."""
        self._learn(observation)
        command = self._plan()
        self._command = command or ""
        return command

    def _learn(self, observation: str) -> None:
        self._notes.learn(self._command, observation)

    def _plan(self) -> str | None:
        return self._bring_to_light() if self._request.kind == "look_at_obj_in_light" else self._bring_to_place()

    def advise(self, observation: str) -> str | None:
        """What `act` would return for the observation; nothing is noted."""
        return copy.deepcopy(self).act(observation)

    # The two plans

    def _bring_to_light(self) -> str | None:
        notes, wanted, lamp_type = self._notes, self._request.object, self._request.target
        if notes.held:
            return self._put_back() or self._hold_under(lamp_type)
        for thing, place in notes.where(wanted):
            return self._reach(place, f"take {thing} from {place}")
        return self._search(wanted) if self._lamps(lamp_type) else self._search(wanted, lamp_type)

    def _hold_under(self, lamp_type: str) -> str | None:
        """With the thing in hand: to a lamp, and on with it."""
        if not (lamps := self._lamps(lamp_type)):
            return self._search(lamp_type)
        lamp, place = lamps[0]
        if self._notes.here == place:
            self._spent.add(lamp)
        return self._reach(place, f"use {lamp}", inside=False)

    def _lamps(self, lamp_type: str) -> list[tuple[str, str]]:
        return [(lamp, place) for lamp, place in self._notes.where(lamp_type) if lamp not in self._spent]

    def _bring_to_place(self) -> str | None:
        notes = self._notes
        if notes.held:
            return self._put_back() or self._treat(notes.held) or self._put_down(notes.held)
        destination = self._destination()
        for thing, place in notes.where(self._request.object):
            if place != destination if self._request.kind == "pick_two_obj_and_place" else thing not in self._delivered:
                return self._reach(place, f"take {thing} from {place}")
        return self._search(self._request.object)

    def _put_back(self) -> str | None:
        """Where the wrong thing is in hand: to put it away."""
        return None if _type(self._notes.held) == self._request.object else self._put_away(self._notes.held)

    def _put_away(self, held: str) -> str | None:
        """Where one stands, or where it came from, or the nearest place that takes it; None where nothing does."""
        notes = self._notes
        here = [notes.here] if notes.here in notes.receptacles and notes.here not in notes.closed else []
        others = sorted(notes.receptacles, key=lambda name: (self._effort(name), _number(name)))
        left = [place for place in (*here, notes.source, *others) if place and (held, place) not in notes.refused]
        place = next((place for place in left if _fits(held, place)), left[0] if left else "")
        return self._reach(place, f"move {held} to {place}") if place else None

    def _treat(self, thing: str) -> str | None:
        if self._treatment is None:
            return None
        verb, appliance = self._treatment
        places = [name for name in self._notes.receptacles if _type(name) == appliance]
        if f"{verb} {thing}" in self._notes.done or not places:
            return None
        place = min(places, key=_number)
        return self._reach(place, f"{verb} {thing} with {place}", inside=False)

    def _put_down(self, thing: str) -> str | None:
        place = self._destination()
        if not place:
            return None
        command = self._reach(place, f"move {thing} to {place}")
        if command.startswith("move"):
            self._delivered.add(thing)
        return command

    def _destination(self) -> str:
        """The receptacle to fill: where most of the things are already, then the least work, then the lowest number."""
        notes = self._notes

        def merit(place: str) -> tuple[int, int, int]:
            inside = sum(_type(thing) == self._request.object for thing in notes.contents.get(place, ()))
            return -inside, self._effort(place), _number(place)

        fitting = (name for name in notes.receptacles if _type(name) == self._request.target and (notes.held, name) not in notes.refused)
        return min(fitting, key=merit, default="")

    # The steps of a plan

    def _reach(self, place: str, command: str, *, inside: bool = True) -> str:
        """The command, or what has to come before it: walking there, and opening the place when the command is about its inside."""
        if self._notes.here != place:
            return f"go to {place}"
        if inside and place in self._notes.closed:
            return f"open {place}"
        return command

    def _search(self, *wanted: str) -> str | None:
        """Look into the receptacle that promises most for its work; None when there is none left."""
        unseen = [name for name in self._notes.receptacles if name not in self._notes.contents]
        # Where the goal can be met by bare placing, the things are elsewhere at the start.
        bare = self._treatment is None
        elsewhere = [name for name in unseen if not (bare and _type(name) == self._request.target)]
        place = max(elsewhere or unseen, key=lambda name: (self._promise(name, wanted), -_number(name)), default=None)
        return None if place is None else self._reach(place, f"examine {place}")

    def _promise(self, place: str, wanted: Iterable[str]) -> float:
        type = _type(place)
        weight = sum(self._priors.get(thing, {}).get(type, _FAINT) for thing in wanted)
        return weight / self._count[type] / self._effort(place)

    def _effort(self, place: str) -> int:
        """Commands until one sees into it, at least one."""
        closed = place in self._notes.closed or (place not in self._notes.contents and _type(place) in _DOORS)
        return max(1, (place != self._notes.here) + closed)


class MisledExpert(SearchExpert):
    """Takes the goal for another one: a person who did not listen."""

    def __init__(self, request: scene.Request, treatment: tuple[str, str] | None = None) -> None:
        self._heard = request, treatment or _TREATMENT.get(request.kind)

    def _understand(self, goal: str) -> tuple[scene.Request, tuple[str, str] | None]:
        return self._heard


def misled(request: scene.Request) -> Sequence[MisledExpert]:
    """Players who bring the thing where it is asked for, and do something else to it first, or nothing."""
    if request.kind == "look_at_obj_in_light":
        return ()
    kinds: tuple[scene.GoalKind, ...] = ("pick_and_place_simple", *_TREATMENT)
    return [MisledExpert(scene.Request(kind, request.object, request.target)) for kind in kinds if kind != request.kind]
