"""The rules of the household world: a scene played by commands. Knows no files, no tasks and no agents.

The behaviour is that of the `alfworld` package 0.4.2 on the same game: every text, every valid command, and when it is won. What looks like
an oversight here is one there and is marked "as the original"; `tools/record_alfworld.py` compares the two command by command.
"""

from collections.abc import Callable, Iterator, Mapping

import msgspec

from edgexp.environments.household import texts
from edgexp.environments.household.scene import GoalKind, Scene, Thing

_KNIVES = frozenset({"Knife", "ButterKnife"})
_STATES = ("clean", "hot", "cool", "sliced", "toggled")


class _Treatment(msgspec.Struct, frozen=True):
    """Heating, cooling, cleaning: what can be treated, at which appliances, and what comes of it."""

    ability: str
    """The field of `Kind` that a thing needs for it; empty: any thing will do."""
    appliances: frozenset[str]
    gives: str
    ends: str = ""

    def suits(self, thing: Thing) -> bool:
        """Whether it can be done to that thing."""
        return not self.ability or bool(getattr(thing.kind, self.ability))


_TREATMENTS = {
    "heat": _Treatment("heatable", frozenset({"Microwave"}), "hot", ends="cool"),
    "cool": _Treatment("coolable", frozenset({"Fridge"}), "cool", ends="hot"),
    "clean": _Treatment("cleanable", frozenset({"SinkBasin", "Sink"}), "clean"),
}
_TREATMENT_OF_GOAL: Mapping[GoalKind, str] = {
    "pick_heat_then_place_in_recep": "heat",
    "pick_cool_then_place_in_recep": "cool",
    "pick_clean_then_place_in_recep": "clean",
}


class Game:
    """One game under way. It goes on after it is won, as the original; whoever plays it decides when to stop.

    Receptacles and things are indices into the scene's tuples throughout.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._receptacles = scene.receptacles
        self._things = scene.things
        self._receptacle_called = {r.name: i for i, r in enumerate(scene.receptacles)}
        self._thing_called = {t.name: i for i, t in enumerate(scene.things)}
        self._treatments, wanted = _TREATMENTS, _TREATMENT_OF_GOAL.get(scene.goal.kind, "")
        if way := scene.goal.way:
            wanted = way.verb
            self._treatments = {**_TREATMENTS, wanted: _Treatment("", frozenset({way.appliance}), way.state)}
        self._treatment = self._treatments.get(wanted)
        self._targets = [i for i, r in enumerate(scene.receptacles) if r.type == scene.goal.target]
        self._wanted = {
            i
            for i, thing in enumerate(scene.things)
            if thing.kind.type == scene.goal.object and (self._treatment is None or self._treatment.suits(thing))
        }
        self.reset()

    def reset(self) -> None:
        """Back to the beginning."""
        self._holds: list[set[int]] = [set() for _ in self._receptacles]
        self._places = [set(thing.places) for thing in self._things]
        self._is: dict[str, set[int]] = {state: set() for state in (*_STATES, *(t.gives for t in self._treatments.values()))}
        for index, thing in enumerate(self._things):
            for receptacle in thing.receptacles:
                self._holds[receptacle].add(index)
            for state in _STATES:
                if getattr(thing, state):
                    self._is[state].add(index)
        self._opened = {index for index, receptacle in enumerate(self._receptacles) if receptacle.opened}
        self._held: int | None = None
        self._taken: set[tuple[int, int]] = set()
        """(thing, receptacle): taken out of it and not put back. Only `look` asks."""
        self._stand_at(self.scene.start)

    # What the player sees and may do

    def observation(self) -> str:
        """What is seen at the beginning, before any command."""
        return self._facing() if self._here else texts.middle_of_room([r.name for r in self._receptacles])

    def intro(self) -> str:
        """The original's whole first text: welcome, first observation, task."""
        return f"{texts.WELCOME}\n\n{self.observation()}\n\nYour task is to: {self.scene.goal.text}"

    def step(self, command: str) -> str:
        """Carry out a command and return what is seen. Any text will do: what is not a valid command changes nothing."""
        verb, _, rest = command.strip().partition(" ")
        if verb in self._treatments:
            return self._treat(verb, rest) or texts.NOTHING
        act = _VERBS.get(verb)
        return (act and act(self, rest)) or texts.NOTHING

    @property
    def won(self) -> bool:
        """Whether the goal is met now. It can be met and lost again, as the original."""
        goal = self.scene.goal
        if goal.kind == "look_at_obj_in_light":
            return self._held in self._wanted and any(self._is_lit_lamp(t) for r in self._here for t in self._holds[r])
        ready = self._wanted & self._is[self._treatment.gives] if self._treatment else self._wanted
        needed = 2 if goal.kind == "pick_two_obj_and_place" else 1
        return any(len(ready & self._holds[r]) >= needed for r in self._targets)

    def met(self) -> set[tuple[GoalKind, str, str]]:
        """Every goal (kind, type of thing, type of place or lamp) that is met now, whichever is asked for."""
        found: set[tuple[GoalKind, str, str]] = set()
        for index, receptacle in enumerate(self._receptacles):
            lying: dict[str, int] = {}
            for thing in self._holds[index]:
                type = self._things[thing].kind.type
                lying[type] = lying.get(type, 0) + 1
                found.add(("pick_two_obj_and_place" if lying[type] > 1 else "pick_and_place_simple", type, receptacle.type))
                found |= {(kind, type, receptacle.type) for kind, verb in _TREATMENT_OF_GOAL.items() if self._is_treated(thing, verb)}
        lamps = {t for r in self._here for t in self._holds[r] if t in self._is["toggled"] and self._things[t].kind.toggleable}
        held = self._things[self._held].kind.type if self._held is not None else ""
        return found | {("look_at_obj_in_light", held, self._things[lamp].kind.type) for lamp in lamps if held}

    def _is_treated(self, thing: int, verb: str) -> bool:
        treatment = _TREATMENTS[verb]
        return treatment.suits(self._things[thing]) and thing in self._is[treatment.gives]

    def admissible(self) -> list[str]:
        """Every valid command, sorted, each once."""
        return sorted(set(self._valid()))

    # State

    def _stand_at(self, place: int) -> None:
        self._place = place
        self._here = [i for i, receptacle in enumerate(self._receptacles) if receptacle.place == place]

    def _accessible(self, receptacle: int) -> bool:
        return not self._receptacles[receptacle].openable or receptacle in self._opened

    def _is_lit_lamp(self, thing: int) -> bool:
        kind = self._things[thing].kind
        return kind.toggleable and kind.type == self.scene.goal.target and thing in self._is["toggled"]

    def _here_called(self, name: str) -> int | None:
        """The receptacle of that name, where the player stands at it."""
        receptacle = self._receptacle_called.get(name)
        return receptacle if receptacle in self._here else None

    def _sliceable(self, thing: int) -> bool:
        """By place alone: a knife in hand slices what lies in a closed fridge, as the original."""
        return self._things[thing].kind.sliceable and self._place in self._places[thing]

    # Commands; each answers None where it is not valid

    def _go(self, rest: str) -> str | None:
        to, _, name = rest.partition(" ")
        receptacle = self._receptacle_called.get(name)
        if to != "to" or receptacle is None or receptacle in self._here:
            return None
        self._stand_at(self._receptacles[receptacle].place)
        return f"You arrive at {name}. {self._see_receptacle(receptacle)}"

    def _open(self, name: str) -> str | None:
        receptacle = self._here_called(name)
        if receptacle is None or self._accessible(receptacle):
            return None
        self._opened.add(receptacle)
        return f"You open the {name}. {self._see_receptacle(receptacle)}"

    def _close(self, name: str) -> str | None:
        receptacle = self._here_called(name)
        if receptacle is None or not self._receptacles[receptacle].openable or receptacle not in self._opened:
            return None
        self._opened.remove(receptacle)
        return f"You close the {name}."

    def _take(self, rest: str) -> str | None:
        thing, receptacle = self._named(rest, " from ")
        if thing is None or receptacle is None or not self._can_take(thing, receptacle):
            return None
        self._holds[receptacle].remove(thing)
        self._places[thing].discard(self._place)
        self._taken.add((thing, receptacle))
        self._held = thing
        return f"You pick up the {self._things[thing].name} from the {self._receptacles[receptacle].name}."

    def _move(self, rest: str) -> str | None:
        thing, receptacle = self._named(rest, " to ")
        if thing is None or receptacle is None or thing != self._held or not self._can_put(thing, receptacle):
            return None
        self._holds[receptacle].add(thing)
        self._places[thing].add(self._place)
        self._taken.discard((thing, receptacle))
        self._held = None
        return f"You move the {self._things[thing].name} to the {self._receptacles[receptacle].name}."

    def _use(self, name: str) -> str | None:
        thing = self._thing_called.get(name)
        if thing is None or not self._can_use(thing):
            return None
        self._is["toggled"].add(thing)  # never off again, as the original
        return f"You turn on the {name}."

    def _treat(self, verb: str, rest: str) -> str | None:
        thing, receptacle = self._named(rest, " with ")
        if thing is None or receptacle is None or thing != self._held or not self._can_treat(verb, thing, receptacle):
            return None
        treatment = self._treatments[verb]
        self._is[treatment.gives].add(thing)
        if treatment.ends:
            self._is[treatment.ends].discard(thing)
        return f"You {verb} the {self._things[thing].name} using the {self._receptacles[receptacle].name}."

    def _slice(self, rest: str) -> str | None:
        name, _, knife = rest.partition(" with ")
        thing = self._thing_called.get(name)
        if thing is None or not self._sliceable(thing) or not self._holds_knife(knife):
            return None
        self._is["sliced"].add(thing)
        return f"You sliced the {name} with the {knife}."

    def _examine(self, name: str) -> str | None:
        receptacle = self._here_called(name)
        if receptacle is not None:
            return self._see_receptacle(receptacle)
        thing = self._thing_called.get(name)  # only a thing in hand can be examined, as the original
        return self._see_thing(thing) if thing is not None and thing == self._held else None

    def _look(self, rest: str) -> str | None:
        if rest:
            return None
        return self._facing() if self._here else texts.middle_of_room([])  # it names nothing once the game has begun, as the original

    def _inventory(self, rest: str) -> str | None:
        if rest:
            return None
        return "You are not carrying anything." if self._held is None else f"You are carrying: a {self._things[self._held].name}."

    # What is allowed

    def _named(self, rest: str, word: str) -> tuple[int | None, int | None]:
        """The thing and the receptacle (here) of `apple 1 from fridge 1`."""
        thing, _, receptacle = rest.partition(word)
        return self._thing_called.get(thing), self._here_called(receptacle)

    def _can_take(self, thing: int, receptacle: int) -> bool:
        portable = self._held is None and self._things[thing].kind.portable
        return portable and thing in self._holds[receptacle] and self._accessible(receptacle)

    def _can_put(self, thing: int, receptacle: int) -> bool:
        fitting = self.scene.fits.get(self._receptacles[receptacle].type, ())
        return self._things[thing].kind.type in fitting and self._accessible(receptacle)

    def _can_use(self, thing: int) -> bool:
        """A lamp in a closed receptacle can be used, as the original."""
        return self._things[thing].kind.toggleable and any(thing in self._holds[r] for r in self._here)

    def _can_treat(self, verb: str, thing: int, receptacle: int) -> bool:
        """Doors do not matter, as the original."""
        treatment = self._treatments[verb]
        return self._receptacles[receptacle].type in treatment.appliances and treatment.suits(self._things[thing])

    def _holds_knife(self, name: str | None = None) -> bool:
        held = None if self._held is None else self._things[self._held]
        return held is not None and held.kind.type in _KNIVES and name in (None, held.name)

    def _valid(self) -> Iterator[str]:
        yield from ("help", "inventory", "look")
        for receptacle in self._receptacles:
            if receptacle.place != self._place:
                yield f"go to {receptacle.name}"
        for index in self._here:
            yield from self._valid_at(index)
        if self._held is not None:
            yield from self._valid_with(self._held)

    def _valid_at(self, index: int) -> Iterator[str]:
        receptacle, name = self._receptacles[index], self._receptacles[index].name
        yield f"examine {name}"
        if receptacle.openable:
            yield f"close {name}" if index in self._opened else f"open {name}"
        for thing in self._holds[index]:
            if self._can_take(thing, index):
                yield f"take {self._things[thing].name} from {name}"
            if self._can_use(thing):
                yield f"use {self._things[thing].name}"

    def _valid_with(self, thing: int) -> Iterator[str]:
        name = self._things[thing].name
        yield f"examine {name}"
        for index in self._here:
            receptacle = self._receptacles[index].name
            if self._can_put(thing, index):
                yield f"move {name} to {receptacle}"
            for verb in self._treatments:
                if self._can_treat(verb, thing, index):
                    yield f"{verb} {name} with {receptacle}"
        if self._holds_knife():
            yield from (f"slice {t.name} with {name}" for i, t in enumerate(self._things) if self._sliceable(i))

    # What is seen

    def _facing(self) -> str:
        return texts.facing([self._receptacles[r].name for r in self._here], self._names(self._floor()))

    def _floor(self) -> list[int]:
        """What was taken out of a receptacle here and is still here: a thing moved from drawer to drawer at one place, as the original."""
        taken = sorted({thing for thing, _ in self._taken if self._place in self._places[thing]})
        return [thing for thing in taken for receptacle in self._here if (thing, receptacle) in self._taken]

    def _names(self, things: list[int]) -> list[str]:
        return [self._things[t].name for t in things]

    def _see_receptacle(self, index: int) -> str:
        receptacle = self._receptacles[index]
        return texts.receptacle(receptacle.name, receptacle.openable, index in self._opened, self._names(sorted(self._holds[index])))

    def _see_thing(self, index: int) -> str:
        thing = self._things[index]
        if thing.kind.vessel:
            return texts.vessel(thing.name, self._names(list(thing.contents)))
        states = {state for state in _STATES if index in self._is[state]}
        return texts.thing(thing.name, states, thing.kind.toggleable, thing.kind.sliceable)


_VERBS: dict[str, Callable[[Game, str], str | None]] = {
    "look": Game._look,
    "inventory": Game._inventory,
    "help": lambda game, rest: None if rest else texts.HELP,
    "go": Game._go,
    "open": Game._open,
    "close": Game._close,
    "take": Game._take,
    "move": Game._move,
    "use": Game._use,
    "slice": Game._slice,
    "examine": Game._examine,
}
