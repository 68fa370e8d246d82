"""The rules of worlds: wrong tries cost a turn, teach nothing and spoil nothing; only the last step of a recipe tells."""

from houses import any_world
from hypothesis import given
from hypothesis import strategies as st

from edgexp.environments.household.generator import Draw
from edgexp.environments.worlds.invented import RECIPES, SLOTS, RecipeStep, World, scene, world
from edgexp.environments.worlds.players import expert
from edgexp.environments.worlds.worlds import Game


def pick_up(game: Game, type: str) -> str:
    """Have the game's player hold the first thing of that type; the thing's name."""
    world = game.scene.world
    thing = next(thing for thing in game.scene.things if thing.type == type)
    place = game.scene.places[thing.place].name
    for action in (f"go to {place}", f"{world.open} {place}" if world.lids else "look", f"{world.take} {thing.name} {world.off} {place}"):
        assert game.step(action) != "Nothing happens."
    return thing.name


def treat(game: Game, thing: str, step: RecipeStep) -> str:
    """Do a step of a recipe to the thing in hand; what is told."""
    world, scene = game.scene.world, game.scene
    if step.kind == "say":
        return game.step(f"{world.say} {step.at}")
    tool = next((tool for tool in scene.things if tool.type == step.at), None)
    place = scene.places[tool.place].name if tool else f"{step.at} 1"
    game.step(f"go to {place}")
    if world.lids:
        game.step(f"{world.open} {place}")
    return game.step(f"{step.verb} {thing} {world.by} {tool.name if tool else place}")


@given(any_world, st.integers(0, SLOTS - 1))
def test_only_the_right_order_without_anything_between_does_it(world: World, slot: int) -> None:
    here = scene(world, slot)
    if here.recipe.shape == "machine":
        return
    game, steps = Game(here), here.recipe.steps
    thing = pick_up(game, here.object)
    other = RecipeStep("say", "", next(word for word in world.words if word != steps[-1].at))
    for step in (*reversed(steps), other, *steps[:-1], other, steps[-1]):
        assert "is" not in treat(game, thing, step).split()
    assert [f"is {here.recipe.state}." in treat(game, thing, step) for step in steps] == [False] * (len(steps) - 1) + [True]


def test_a_machine_wants_the_thing_on_it_and_the_right_order() -> None:
    houses = [(house, n) for house in map(world, range(40)) for n in range(RECIPES) if house.recipes[n].shape == "machine"]
    assert houses
    for house, slot in houses:
        here = scene(house, slot)
        game, (first, second) = Game(here), here.recipe.steps
        thing, machine = pick_up(game, here.object), f"{first.at} 1"
        game.step(f"go to {machine}")
        told = [game.step(f"{step.verb} {machine}") for step in (first, second)]  # in hand: of no use
        assert game.step(f"{house.put} {thing} {house.on} {machine}") == f"You {house.put} the {thing} {house.on} the {machine}."
        told += [game.step(f"{step.verb} {machine}") for step in (second, first)]
        assert told == [f"You {step.verb} the {machine}." for step in (first, second, second, first)]
        assert game.step(f"{second.verb} {machine}") == f"You {second.verb} the {machine}. The {thing} is {here.recipe.state}."


@given(any_world, st.integers(0, SLOTS - 1))
def test_hands_hold_one_thing(world: World, slot: int) -> None:
    here = scene(world, slot)
    game = Game(here)
    thing = pick_up(game, here.object)
    assert game.step("inventory") == f"You are carrying: a {thing}."
    for place in here.places:
        game.step(f"go to {place.name}")
        game.step(f"{world.open} {place.name}")
        assert not [action for action in game.admissible() if action.startswith(f"{world.take} ")]


@given(any_world.filter(lambda world: world.lids), st.integers(0, SLOTS - 1))
def test_one_verb_opens_and_the_others_do_nothing(world: World, slot: int) -> None:
    game = Game(scene(world, slot))
    place = next(place.name for place in game.scene.places if place.lid)
    assert game.step(f"go to {place}") == f"You arrive at {place}. The {place} is closed."
    for verb in world.verbs:
        if verb != world.open:
            assert game.step(f"{verb} {place}") == f"You {verb} the {place}."
    assert game.step(f"{world.open} {place}").startswith(f"You {world.open} the {place}. The {place} is open. In it, you see ")
    assert game.step(f"{world.open} {place}") == "Nothing happens."


@given(any_world, st.integers(0, SLOTS - 1), st.integers(0, 2**32))
def test_a_wrong_order_is_told_like_a_right_one_and_does_nothing(world: World, slot: int, seed: int) -> None:
    """Whatever is done to the thing, in the same words: only a recipe's end shows."""
    here = scene(world, slot)
    draw = Draw(seed)
    game = Game(here)
    thing = pick_up(game, here.object)
    done: list[RecipeStep] = []
    for _ in range(8):
        step = RecipeStep("apply", draw.one(world.verbs), draw.one(world.appliances))
        done.append(step)
        told = treat(game, thing, step)
        if tuple(done[-len(here.recipe.steps) :]) == here.recipe.steps:
            assert told == f"You {step.verb} the {thing}. The {thing} is {here.recipe.state}."
            return
        assert told == f"You {step.verb} the {thing}."


@given(any_world, st.integers(0, SLOTS - 1))
def test_wrong_tries_spoil_nothing(world: World, slot: int) -> None:
    """Half a recipe, something else, then the whole recipe: it is done; and it stays done."""
    here = scene(world, slot)
    game = Game(here)
    observation = game.observation()
    player = expert(lambda: here)
    player.begin(here.goal, observation)
    spoilt = False
    for _ in range(40):
        action = player.act(observation)
        assert action is not None
        observation = game.step(action)
        carrying = game.step("inventory").removeprefix("You are carrying: a ").removesuffix(".")
        if carrying.split()[0] == here.object and not spoilt:
            spoilt = game.step(f"{world.say} {world.words[0]}") == f"You {world.say} {world.words[0]}."
        if game.won:
            break
    assert spoilt and game.won
