"""Players of worlds to measure with. They differ from the expert in nothing but what they believe is to be done.

- the `guesser` knows all but the recipe. It measures what success is worth without experience;
- the `imitator` knows no house and believes what past episodes show. It proves that experience is enough, and how far it carries. It reads
  words alone: which action took the thing, what was done to it, how it was put down. Then it does the same with the thing and the place
  that its own goal names where the past goal named others.
"""

from collections.abc import Callable, Iterator, Sequence

from edgexp.environments.household.generator import Draw
from edgexp.environments.worlds.invented import Recipe, RecipeStep, Scene, World
from edgexp.environments.worlds.players import NAME, Move, Player, Ways, type_of, ways_of
from edgexp.trajectory import Step, Trajectory


def guesser(scene: Callable[[], Scene], draw: Draw) -> Player:
    """Knows the house's words and the shape of the recipe, finds things as the expert does, and tries recipes of that shape by chance."""
    return Player(lambda _: ways_of(scene(), _guesses(scene().world, scene().recipe, draw)))


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
