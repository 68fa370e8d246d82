"""Scripted players: the expert, who knows the ways of every house; a guesser, who knows all but the recipes; and blind chance.

All of them search a room as a person would, by the texts alone. The expert is the teacher: what it knows beyond the texts are the rules of
the house, never where things are. The other two are there to measure what success is worth without experience.
"""

import re
from collections.abc import Callable, Iterator

from edgexp.environments.household.generator import Draw
from edgexp.environments.worlds.scene import Scene
from edgexp.environments.worlds.world import Recipe, Step, World

_NAME = re.compile(r"\b([a-z]+ \d+)\b")
_SHOWN = re.compile(r"(?:On the|The) ([a-z]+ \d+)(?: is open\. In it)?, you see ([^.]*)\.")
_CLOSED = re.compile(r"The ([a-z]+ \d+) is closed\.")


def _type(name: str) -> str:
    return name.partition(" ")[0]


class Notes:
    """What a player has seen of a room."""

    def __init__(self, observation: str) -> None:
        self.places = _NAME.findall(observation)
        self.contents: dict[str, list[str]] = {}
        """Place → what was last seen there. No entry: not looked into yet."""
        self.closed: set[str] = set()
        self.here = ""

    def learn(self, observation: str) -> None:
        """Take in what an action led to."""
        self.closed.update(_CLOSED.findall(observation))
        for place, listing in _SHOWN.findall(observation):
            self.closed.discard(place)
            self.contents[place] = _NAME.findall(listing)

    def find(self, type: str) -> tuple[str, str] | None:
        """A (thing, place) of that type, one that is here first; None when none was seen."""
        found = [(thing, place) for place, things in self.contents.items() for thing in things if _type(thing) == type]
        return min(found, key=lambda pair: pair[1] != self.here, default=None)


class Player:
    """Plays a scene by trying sequences of steps on the wanted thing until it is what it should be. Keeps the `Expert` protocol."""

    def __init__(self, scene: Callable[[], Scene], tries: Callable[[Scene], Iterator[tuple[Step, ...]]]) -> None:
        """`scene` gives the scene that is being played, `tries` what to try in it, one sequence after the other."""
        self._scene_now, self._tries_for = scene, tries

    def begin(self, goal: str, observation: str) -> None:
        """A new episode."""
        scene = self._scene_now()
        self._world, self._object, self._target, self._state = scene.world, scene.object, scene.target, scene.recipe.state
        self._storage = set(scene.world.storage)
        self._tries = self._tries_for(scene)
        self._left: list[Step] = []
        self._notes = Notes(observation)
        self._thing = ""
        """The thing to work on, once it was taken."""
        self._lies = ""
        """The place it was put at; empty: in hand."""
        self._ready = False

    def act(self, observation: str) -> str | None:
        """The next action, given the latest observation; None when there is nothing left to look into or to try."""
        self._notes.learn(observation)
        if self._thing and f"The {self._thing} is {self._state}." in observation:
            self._ready = True
        if not self._thing:
            return self._get()
        return self._deliver() if self._ready else self._work()

    # The parts of the plan

    def _get(self) -> str | None:
        found = self._notes.find(self._object)
        if not found:
            return self._search()
        thing, place = found
        if move := self._reach(place):
            return move
        self._thing = thing
        self._notes.contents[place].remove(thing)
        return self._take(thing, place)

    def _work(self) -> str | None:
        if not self._left:
            self._left = list(next(self._tries, ()))
            if not self._left:
                return None
        step = self._left[0]
        at = step.at
        if step.kind == "apply" and at in self._world.tools:
            found = self._notes.find(at)
            return self._do(f"{step.verb} {self._thing} {self._world.by} {found[0]}", found[1]) if found else self._search()
        if step.kind == "work":
            return self._do(f"{step.verb} {at} 1", f"{at} 1", lying=True)
        if step.kind == "apply":
            return self._do(f"{step.verb} {self._thing} {self._world.by} {at} 1", f"{at} 1")
        return self._do(f"{self._world.say} {at}", self._notes.here)

    def _do(self, action: str, place: str, lying: bool = False) -> str:
        """A step at a place, or what has to come before: to have the thing in hand, or lying there, and to be there."""
        if self._lies and (not lying or self._lies != place):
            return self._take_back()
        if move := self._reach(place):
            return move
        if lying and not self._lies:
            return self._put(place)
        self._left.pop(0)
        return action

    def _deliver(self) -> str:
        if self._lies:
            return self._take_back()
        places = [place for place in self._notes.places if _type(place) == self._target]
        best = min(places, key=lambda place: (place != self._notes.here, place in self._notes.closed or place not in self._notes.contents))
        return self._reach(best) or self._put(best)

    # The steps of it

    def _search(self) -> str | None:
        unseen = (place for place in self._notes.places if _type(place) in self._storage and place not in self._notes.contents)
        place = next(unseen, None)
        return None if place is None else self._reach(place)

    def _reach(self, place: str) -> str:
        """The action that leads to the place, or into it; empty when one is there and it is open."""
        if self._notes.here != place:
            self._notes.here = place
            return f"go to {place}"
        return f"{self._world.open} {place}" if place in self._notes.closed else ""

    def _take(self, thing: str, place: str) -> str:
        return f"{self._world.take} {thing} {self._world.off} {place}"

    def _put(self, place: str) -> str:
        self._lies = place
        return f"{self._world.put} {self._thing} {self._world.on} {place}"

    def _take_back(self) -> str:
        place = self._lies
        if move := self._reach(place):
            return move
        self._lies = ""
        return self._take(self._thing, place)


def expert(scene: Callable[[], Scene]) -> Player:
    """The teacher: does what the house's recipe says, once."""
    return Player(scene, lambda scene: iter([scene.recipe.steps]))


def guesser(scene: Callable[[], Scene], draw: Draw) -> Player:
    """Knows the house's words and the shape of the recipe, finds things as the expert does, and tries recipes of that shape by chance."""
    return Player(scene, lambda scene: _guesses(scene.world, scene.recipe, draw))


def _guesses(world: World, recipe: Recipe, draw: Draw) -> Iterator[tuple[Step, ...]]:
    while True:
        at = draw.one(world.appliances)
        yield tuple(_like(step, world, at, draw) for step in recipe.steps)


def _like(step: Step, world: World, at: str, draw: Draw) -> Step:
    if step.kind == "say":
        return Step("say", "", draw.one(world.words))
    if step.kind == "work":
        return Step("work", draw.one(world.verbs), at)
    return Step("apply", draw.one(world.verbs), draw.one(world.tools if step.at in world.tools else world.appliances))
