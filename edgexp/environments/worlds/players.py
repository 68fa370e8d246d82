"""Scripted players of worlds: they search a room as a person would, by the texts alone, and do what they believe is to be done there.

What they believe is given to them as `Ways`. Three players differ in nothing else:
- the `expert` believes what is true. It is the teacher, and knows the rules of the house but not where things lie;
- the `guesser` knows all but the recipe. It is there to measure what success is worth without experience;
- the `imitator` knows no house and believes what past episodes show. It proves that experience is enough, and how far it carries. It reads
  words alone: which action took the thing, what was done to it, how it was put down. Then it does the same with the thing and the place
  that its own goal names where the past goal named others.

None of them knows how a scene is played.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from edgexp.environments.household.generator import Draw
from edgexp.environments.worlds.invented import Recipe, RecipeStep, Scene, World
from edgexp.trajectory import Step, Trajectory

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
    return Player(lambda _: _ways(scene(), [scene().recipe.steps]))


def guesser(scene: Callable[[], Scene], draw: Draw) -> Player:
    """Knows the house's words and the shape of the recipe, finds things as the expert does, and tries recipes of that shape by chance."""
    return Player(lambda _: _ways(scene(), _guesses(scene().world, scene().recipe, draw)))


def _ways(scene: Scene, tries: Iterable[Sequence[RecipeStep]]) -> Ways:
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


def _guesses(world: World, recipe: Recipe, draw: Draw) -> Iterator[tuple[RecipeStep, ...]]:
    while True:
        appliance = draw.one(world.appliances)
        yield tuple(_like(step, world, appliance, draw) for step in recipe.steps)


def _like(step: RecipeStep, world: World, appliance: str, draw: Draw) -> RecipeStep:
    """A step of the same kind by chance; those that work an appliance go to the given one, since they belong together."""
    if step.kind == "say":
        return RecipeStep("say", "", draw.one(world.words))
    if step.kind == "work":
        return RecipeStep("work", draw.one(world.verbs), appliance)
    return RecipeStep("apply", draw.one(world.verbs), draw.one(world.tools if step.at in world.tools else world.appliances))


def imitator(memory: Sequence[Trajectory]) -> Player:
    """A player that follows the first of `memory` that fits its goal: a success whose goal has the same wording and the same state."""
    return Player(lambda goal: next((ways for past in memory if (ways := read_ways(past, goal, memory))), None))


def read_ways(past: Trajectory, goal: str, memory: Sequence[Trajectory] = ()) -> Ways | None:
    """What a past episode says about the ways of a house, for another goal; None where it says nothing about it.

    `memory` may add where things lie in that house.
    """
    handled = [(index, names) for index, step in enumerate(past.steps) if len(names := NAME.findall(step.action)) == 2]
    if not past.success or not handled or handled[-1][0] != len(past.steps) - 1:
        return None  # it does not end with a thing being put somewhere
    thing, place = handled[-1][1]
    then, now = _words(past.goal), _words(goal)
    state = next((step.observation for step in past.steps if f"The {thing} is " in step.observation), "").rpartition(" ")[2].rstrip(".")
    if len(then) != len(now) or state not in now or not {type_of(thing), type_of(place)} <= set(then):
        return None
    first = next(index for index, names in handled if names[0] == thing)
    return Ways(
        object=now[then.index(type_of(thing))],
        target=now[then.index(type_of(place))],
        state=state,
        take=_with_slots(past.steps[first].action),
        put=_with_slots(past.steps[-1].action),
        open=next(map(_opening, filter(_opens, past.steps)), "open {place}"),
        storage=tuple({type_of(name): None for other in (past, *memory) for name in _looked_into(other)}),
        tries=[_moves(past, thing, first)],
    )


def _words(goal: str) -> list[str]:
    return [word.strip(".,") for word in goal.split()]


def _with_slots(action: str) -> str:
    """`take apple 1 from shelf 1` as `take {thing} from {place}`."""
    return NAME.sub("{place}", NAME.sub("{thing}", action, count=1), count=1)


def _opens(step: Step) -> bool:
    return " is open. " in step.observation and not step.action.startswith(("go to ", "examine "))


def _opening(step: Step) -> str:
    return NAME.sub("{place}", step.action)


def _looked_into(past: Trajectory) -> list[str]:
    """The places that were looked into."""
    walks = (step for step in past.steps if step.action.startswith("go to "))
    return [step.action.removeprefix("go to ") for step in walks if ", you see " in step.observation or " is closed." in step.observation]


def _moves(past: Trajectory, thing: str, first: int) -> list[Move]:
    """What was done to the thing between its being found and its being put down for good; walking, opening and handling are left out."""
    moves = []
    lies = False
    handling = {type_of(past.steps[first].action), type_of(past.steps[-1].action)}
    for step in past.steps[first + 1 : -1]:
        action = step.action
        if action.startswith("go to ") or _opens(step):
            continue
        if type_of(action) in handling:
            lies = type_of(action) == type_of(past.steps[-1].action)
            continue
        others = [name for name in NAME.findall(action) if name != thing]
        at = others[0] if others else ""
        moves.append(Move(action.replace(thing, "{thing}").replace(at, "{at}") if at else action, type_of(at), lies))
    return moves
