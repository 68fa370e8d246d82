"""A player that knows no house and does what past episodes show: proof that experience is enough, and how far it carries.

It reads words alone: which action took the thing, what was done to it, how it was put down. Then it does the same with the thing and the
place that its own goal names where the past goal named others.
"""

from collections.abc import Sequence

from edgexp.environments.worlds.players import NAME, Move, Player, Ways, type_of
from edgexp.trajectory import Step, Trajectory


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
