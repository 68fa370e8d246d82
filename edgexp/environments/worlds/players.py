"""The scripted player of worlds: it searches a room as a person would, by the texts alone, and does what it believes is to be done there.

What it believes is given to it as `Ways`. The expert believes what is true: it is the teacher, and knows the rules of the house but not
where things lie. Players that believe something else, to measure with, are in `tools/worlds_players.py`. Does not know how a scene is
played.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edgexp.environments.worlds.invented import RecipeStep, Scene, World

NAME = re.compile(r"\b([a-z]+ \d+)\b")
"""The name of a place or a thing in an action or an observation."""

_SHOWN = re.compile(r"(?:On the|The) ([a-z]+ \d+)(?: is open\. In it)?, you see ([^.]*)\.")
_CLOSED = re.compile(r"The ([a-z]+ \d+) is closed\.")


def type_of(name: str) -> str:
    """`apple` of `apple 1`."""
    return name.partition(" ")[0]


@dataclass(frozen=True)
class Move:
    """One step of a recipe as a player sees it: an action, in which `{thing}` and `{at}` stand for names, and what it is done at."""

    action: str
    at: str
    """Type of the appliance or tool; empty where any place will do."""
    lying: bool = False
    """Whether the thing has to lie there, rather than be in hand."""


@dataclass(frozen=True)
class Ways:
    """What a player believes about a house and its task."""

    object: str
    target: str
    state: str
    """What the thing has to be before it is delivered."""
    take: str
    """An action with `{thing}` and `{place}`."""
    put: str
    open: str
    """An action with `{place}`."""
    storage: tuple[str, ...]
    """Types of places to search first."""
    tries: Iterable[Sequence[Move]]
    """What to try until the thing is what it should be, one sequence after the other."""


class Notes:
    """What a player has seen of a room."""

    def __init__(self, observation: str) -> None:
        self.places: list[str] = NAME.findall(observation)
        self.contents: dict[str, list[str]] = {}
        """Place → what was last seen there. No entry: not looked into yet."""
        self.closed: set[str] = set()
        self.here = ""

    def learn(self, observation: str) -> None:
        """Take in what an action led to."""
        self.closed.update(_CLOSED.findall(observation))
        for place, listing in _SHOWN.findall(observation):
            self.closed.discard(place)
            self.contents[place] = NAME.findall(listing)
        if self.here and self.here not in self.closed:
            self.contents.setdefault(self.here, [])

    def find(self, type: str) -> tuple[str, str] | None:
        """A (thing, place) of that type, one that is here first; None when none was seen."""
        found = [(thing, place) for place, things in self.contents.items() for thing in things if type_of(thing) == type]
        return min(found, key=lambda pair: pair[1] != self.here, default=None)


class Player:
    """Finds the thing, tries what it believes in until the thing is what it should be, delivers it. Keeps the `Expert` protocol."""

    def __init__(self, ways: Callable[[str], Ways | None]) -> None:
        """`ways` gives the beliefs for an episode, from its goal; None where there are none."""
        self._ways_for = ways

    def begin(self, goal: str, observation: str) -> None:
        """A new episode."""
        self._ways = self._ways_for(goal)
        self._tries = iter(self._ways.tries if self._ways else ())
        self._moves: list[Move] = []
        self._notes = Notes(observation)
        self._thing = ""
        """The thing to work on, once it was taken."""
        self._lies = ""
        """The place it was put at; empty: in hand."""
        self._ready = False

    def act(self, observation: str) -> str | None:
        """The next action, given the latest observation; None when there is nothing left to look into or to try."""
        ways, notes = self._ways, self._notes
        notes.learn(observation)
        if ways is None:
            return None
        if not self._thing:
            found = notes.find(ways.object)
            return self._get(ways, *found) if found else self._search(ways)
        self._ready = self._ready or f"The {self._thing} is {ways.state}." in observation
        return self._deliver(ways) if self._ready else self._work(ways)

    # The parts of the plan

    def _get(self, ways: Ways, thing: str, place: str) -> str:
        if move := self._reach(ways, place):
            return move
        self._thing = thing
        self._notes.contents[place].remove(thing)
        return ways.take.format(thing=thing, place=place)

    def _work(self, ways: Ways) -> str | None:
        """The next move, or what has to come before it: to be there, with the thing in hand or lying there."""
        if not self._moves:
            self._moves = list(next(self._tries, ()))
            if not self._moves:
                return None
        move = self._moves[0]
        at, place = self._whereabouts(move.at)
        if not place:
            return self._search(ways)
        if self._lies and not (move.lying and self._lies == place):
            return self._take_back(ways)
        if on_the_way := self._reach(ways, place):
            return on_the_way
        if move.lying and not self._lies:
            return self._put(ways, place)
        self._moves.pop(0)
        return move.action.format(thing=self._thing, at=at)

    def _whereabouts(self, type: str) -> tuple[str, str]:
        """The name of what a move is done at, and the place to stand; two empty texts for a tool not seen yet."""
        if not type:
            return "", self._notes.here
        appliance = next((place for place in self._notes.places if type_of(place) == type), "")
        return (appliance, appliance) if appliance else self._notes.find(type) or ("", "")

    def _deliver(self, ways: Ways) -> str | None:
        if self._lies:
            return self._take_back(ways)
        notes = self._notes
        places = [place for place in notes.places if type_of(place) == ways.target]
        best = min(places, key=lambda place: (place != notes.here, place not in notes.contents), default=None)
        return best and (self._reach(ways, best) or self._put(ways, best))

    # The steps of it

    def _search(self, ways: Ways) -> str | None:
        unseen = [place for place in self._notes.places if place not in self._notes.contents]
        place = min(unseen, key=lambda place: type_of(place) not in ways.storage, default=None)
        return place and self._reach(ways, place)

    def _reach(self, ways: Ways, place: str) -> str:
        """The action that leads to the place, or into it; empty when one is there and it is open."""
        if self._notes.here != place:
            self._notes.here = place
            return f"go to {place}"
        return ways.open.format(place=place) if place in self._notes.closed else ""

    def _put(self, ways: Ways, place: str) -> str:
        self._lies = place
        return ways.put.format(thing=self._thing, place=place)

    def _take_back(self, ways: Ways) -> str:
        place = self._lies
        if move := self._reach(ways, place):
            return move
        self._lies = ""
        return ways.take.format(thing=self._thing, place=place)


def expert(scene: Callable[[], Scene]) -> Player:
    """The teacher: does what the house's recipe says, once. `scene` gives the scene that is being played."""
    return Player(lambda _: ways_of(scene(), [scene().recipe.steps]))


def ways_of(scene: Scene, tries: Iterable[Sequence[RecipeStep]]) -> Ways:
    """What somebody believes of a scene who knows its house, and would do one of `tries` after the other."""
    world, recipe = scene.world, scene.recipe
    take = f"{world.take} {{thing}} {world.off} {{place}}"
    put = f"{world.put} {{thing}} {world.on} {{place}}"
    moves = ([_move(world, step) for step in steps] for steps in tries)
    return Ways(scene.object, scene.target, recipe.state, take, put, f"{world.open} {{place}}", recipe.storage, moves)


def _move(world: World, step: RecipeStep) -> Move:
    if step.kind == "say":
        return Move(f"{world.say} {step.at}", "")
    if step.kind == "work":
        return Move(f"{step.verb} {{at}}", step.at, lying=True)
    return Move(f"{step.verb} {{thing}} {world.by} {{at}}", step.at)
