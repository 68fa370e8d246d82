"""The worlds environment: thousands of houses with ways of their own, and the rules by which a scene in one is played. Draws nothing.

Whatever is done to a thing is told in the same words whether it is of any use or not; only the last step of a recipe, after all the others
in their order and with nothing in between, tells what the thing has become. So a wrong try costs a turn and teaches nothing.

Tasks of held-out splits are played; the banks of those splits are other scenes of the same houses, from which their ways can be learned.
`Game` knows no tasks and no players; `Worlds` knows which task is which scene, and no rules.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from edgexp.environments.base import Expert, Start
from edgexp.environments.household import texts
from edgexp.environments.splits import Housed, Houses
from edgexp.environments.text_game import GameEnvironment
from edgexp.environments.worlds.invented import RECIPES, RecipeStep, Scene, read_wish, scene, shape, world
from edgexp.environments.worlds.players import expert
from edgexp.trajectory import Task

Act = Callable[[], str]


class Game:
    """One game under way. Places and things are indices into the scene's tuples throughout."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._world = scene.world
        self._places = scene.places
        self._things = scene.things
        self._at: list[int | None] = [thing.place for thing in scene.things]
        """Where things are; None: in hand."""
        self._closed = {index for index, place in enumerate(scene.places) if place.lid}
        self._done: list[list[RecipeStep]] = [[] for _ in scene.things]
        """What was done to each thing, in order."""
        self._is: list[set[str]] = [set() for _ in scene.things]
        """The states that recipes gave to each thing."""
        self._here: int | None = None
        self._held: int | None = None

    # What the player sees and may do

    def observation(self) -> str:
        """What is seen at the beginning, before any command."""
        listing = texts.listing([place.name for place in self._places])
        return f"You are in the {self.scene.recipe.room} of {self._world.name}. Looking quickly around you, you see {listing}."

    def step(self, command: str) -> str:
        """Carry out a command and return what is seen. Any text will do: what is not valid changes nothing."""
        act = dict(self._valid()).get(command.strip())
        return act() if act else texts.NOTHING

    def admissible(self) -> list[str]:
        """Every valid command, sorted, each once. Most of them are of no use."""
        return sorted({command for command, _ in self._valid()})

    @property
    def won(self) -> bool:
        """Whether a wanted thing lies at a wanted place and is what it should be."""
        scene = self.scene
        return any(
            thing.type == scene.object and scene.recipe.state in states and at is not None and self._places[at].type == scene.target
            for thing, states, at in zip(self._things, self._is, self._at, strict=True)
        )

    # Commands with what they do

    def _valid(self) -> Iterator[tuple[str, Act]]:
        yield "look", self._look
        yield "inventory", self._inventory
        for index, place in enumerate(self._places):
            if index != self._here:
                yield f"go to {place.name}", partial(self._go, index)
        if self._here is not None:
            yield from self._valid_at(self._here)
        if self._held is not None:
            yield from self._valid_with(self._held)

    def _valid_at(self, here: int) -> Iterator[tuple[str, Act]]:
        world, place = self._world, self._places[here]
        yield f"examine {place.name}", partial(self._see, here)
        if place.appliance or here in self._closed:
            for verb in world.verbs:
                yield f"{verb} {place.name}", partial(self._work, verb, here)
        if self._held is None:
            for thing in self._seen(here):
                yield f"{world.take} {self._things[thing].name} {world.off} {place.name}", partial(self._take, thing, here)

    def _valid_with(self, held: int) -> Iterator[tuple[str, Act]]:
        world, name = self._world, self._things[held].name
        yield f"examine {name}", partial(self._see_thing, held)
        for word in world.words:
            yield f"{world.say} {word}", partial(self._treat, held, RecipeStep("say", "", word), f"You {world.say} {word}.")
        if self._here is None:
            return
        here, place = self._here, self._places[self._here]
        if here not in self._closed:
            yield f"{world.put} {name} {world.on} {place.name}", partial(self._put, held, here)
        for type, with_name in self._means(here):
            for verb in world.verbs:
                act = partial(self._treat, held, RecipeStep("apply", verb, type), f"You {verb} the {name}.")
                yield f"{verb} {name} {world.by} {with_name}", act

    def _means(self, here: int) -> Iterator[tuple[str, str]]:
        """(type, name) of what a thing in hand can be treated with here: the appliance, or the tools that lie here."""
        place = self._places[here]
        if place.appliance:
            yield place.type, place.name
        for thing in self._seen(here):
            if self._things[thing].type in self._world.tools:
                yield self._things[thing].type, self._things[thing].name

    def _go(self, to: int) -> str:
        self._here = to
        bare = self._places[to].appliance and not self._seen(to)
        return f"You arrive at {self._places[to].name}." + ("" if bare else f" {self._see(to)}")

    def _take(self, thing: int, here: int) -> str:
        self._held, self._at[thing] = thing, None
        return f"You {self._world.take} the {self._things[thing].name} {self._world.off} the {self._places[here].name}."

    def _put(self, thing: int, here: int) -> str:
        self._held, self._at[thing] = None, here
        return f"You {self._world.put} the {self._things[thing].name} {self._world.on} the {self._places[here].name}."

    def _work(self, verb: str, here: int) -> str:
        place = self._places[here]
        told = f"You {verb} the {place.name}."
        if here in self._closed:
            if verb != self._world.open:
                return told
            self._closed.remove(here)
            return f"{told} {self._see(here)}"
        for thing in self._seen(here):
            told = self._treat(thing, RecipeStep("work", verb, place.type), told)
        return told

    def _treat(self, thing: int, step: RecipeStep, told: str) -> str:
        """Do a step to a thing; `told` with what it became, when that completes a recipe."""
        done = self._done[thing]
        done.append(step)
        for recipe in self._world.recipes:
            if self._things[thing].type in recipe.objects and tuple(done[-len(recipe.steps) :]) == recipe.steps:
                self._is[thing].add(recipe.state)
                told += f" The {self._things[thing].name} is {recipe.state}."
        return told

    # What is seen

    def _seen(self, here: int) -> list[int]:
        return [] if here in self._closed else [thing for thing, at in enumerate(self._at) if at == here]

    def _see(self, index: int) -> str:
        place = self._places[index]
        return texts.receptacle(place.name, place.lid, index not in self._closed, [self._things[thing].name for thing in self._seen(index)])

    def _see_thing(self, thing: int) -> str:
        name, states = self._things[thing].name, sorted(self._is[thing])
        return f"The {name} is {' and '.join(states)}." if states else f"There's nothing special about {name}."

    def _look(self) -> str:
        if self._here is None:
            return self.observation()
        return f"You are facing the {self._places[self._here].name}. {self._see(self._here)}"

    def _inventory(self) -> str:
        return "You are not carrying anything." if self._held is None else f"You are carrying: a {self._things[self._held].name}."


INSTRUCTIONS = """\
You are in a house that has its own ways and do what is asked of you, one action a turn. Answer with the action only, in one of these forms:
go to [place]
[verb] [object] [preposition] [place or object]
[verb] [place]
[verb] [word]
examine [place or object]
look
inventory
Which verbs and words a house has, and what has to be done in which order, past episodes in that house show.
Names end in a number, as in apple 1 or drawer 2. Your hands hold one object."""
"""What the system prompt says about acting in these worlds."""


SPLITS = {
    "train": Houses(0, 3_000, 0, 3 * RECIPES),
    "train-small": Houses(3_600, 300, 0, 3 * RECIPES),
    "dev": Houses(3_000, 300, 8 * RECIPES, RECIPES),
    "test": Houses(3_300, 300, 8 * RECIPES, RECIPES),
    "dev-bank": Houses(3_000, 300, 0, 3 * RECIPES),
    "test-bank": Houses(3_300, 300, 0, 3 * RECIPES),
}
"""The train splits are their own banks; dev and test have banks of the same worlds in other scenes. `train-small` is for those who cannot
fill a bank with all of `train`: a draw from `train` would hold too few episodes of each world. Scenes of a world: a multiple of RECIPES, so
that all its recipes come up equally often."""


class Worlds(Housed, GameEnvironment[Game]):
    """Houses with ways of their own. Needs no files, holds nothing open."""

    name = "worlds"
    version = "1"
    max_steps = 20
    refusals = (texts.NOTHING,)
    houses = SPLITS

    def type_of(self, house: int, scene: int) -> str:
        """The shape of the recipe that the scene asks for."""
        return shape(house, scene % RECIPES)

    def scene(self, task: Task) -> Scene:
        """The scene of a task. Raises UsageError when it is not one of this environment's tasks."""
        house, number = self.place(task)
        return scene(world(house), number)

    def instructions(self) -> str:
        """How to act: general forms, no house's ways."""
        return INSTRUCTIONS

    def reset(self, task: Task) -> Start:
        """Begin an episode; one under way is dropped. Raises UsageError when the task is none of this environment."""
        self._begin(None)
        game = Game(self.scene(task))
        self._begin(game)
        return Start(goal=game.scene.goal, observation=game.observation())

    def expert(self) -> Expert:
        """A fresh player. It knows the ways of the house, and of what lies where only what it has seen."""
        return expert(lambda: self._running().scene)

    def aspects(self, task: Task, goal: str) -> Mapping[str, str]:
        """The type, and of a goal that is worded as here the home, the object, the treatment (`glazed`) and the receptacle."""
        return {"type": task.type, **read_wish(goal)}
