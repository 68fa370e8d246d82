"""What makes worlds worth having: their ways are consistent inside, conflict between them, and are known from experience or not at all."""

import random
from collections import defaultdict

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from edgexp.environments.base import Expert
from edgexp.environments.household.generator import Draw
from edgexp.environments.household.household import Household
from edgexp.environments.worlds import invented
from edgexp.environments.worlds.invented import RECIPES, SLOTS, WORLDS, Recipe, RecipeStep, World, scene, world
from edgexp.environments.worlds.players import expert, guesser, imitator, read_ways
from edgexp.environments.worlds.worlds import Game, Worlds
from edgexp.play.collecting import expert_episode
from edgexp.play.rollout import run
from edgexp.trajectory import Task, Trajectory

any_world = st.integers(0, WORLDS - 1).map(world)


def play(game: Game, player: Expert, limit: int = 20) -> int:
    """Actions until the game is won; 0 when it is not."""
    observation = game.observation()
    player.begin(game.scene.goal, observation)
    for number in range(1, limit + 1):
        action = player.act(observation)
        if action is None:
            return 0
        observation = game.step(action)
        if game.won:
            return number
    return 0


def wins(tasks: list[Task], player_of: object) -> float:
    """How many of a hundred tasks are won by the player that `player_of(task, game)` gives."""
    environment = Worlds()
    games = [(task, Game(environment.scene(task))) for task in tasks]
    return 100 * sum(play(game, player_of(task, game)) > 0 for task, game in games) / len(games)  # type: ignore[operator]


# The words


def test_pools_share_no_word() -> None:
    pools = [invented.TAKE, invented.FROM, invented.PUT, invented.ON, invented.SAY, invented.WITH, invented.HAND, invented.ROOMS,
             invented.STORAGE, invented.APPLIANCES, invented.TOOLS, invented.OBJECTS, invented.STATES]  # fmt: skip
    everything = [word for pool in pools for word in pool]
    assert len(everything) == len(set(everything))
    assert not {"go", "to", "look", "inventory", "examine"} & (set(everything) - set(invented.ON))
    assert all(word.isascii() and word.isalpha() and word.islower() for word in everything)


def test_every_house_has_a_name_of_its_own() -> None:
    names = [invented.name(number) for number in range(invented.NAMES)]
    assert len(set(names)) == invented.NAMES == WORLDS
    assert all(name.isalpha() and name.istitle() for name in names)


@given(any_world)
def test_a_word_means_one_thing_in_a_world(world: World) -> None:
    used = [*world.verbs, *world.words, *world.appliances, *world.tools]
    for recipe in world.recipes:
        used += [recipe.state, recipe.room, *recipe.objects, *recipe.storage]
    assert len(used) == len(set(used))
    assert not {world.take, world.put, world.say} & set(used) and len({world.take, world.put, world.say}) == 3


# Consistent inside


@given(any_world)
def test_recipes_use_what_the_world_has(world: World) -> None:
    assert len({recipe.shape for recipe in world.recipes}) == RECIPES == len({recipe.state for recipe in world.recipes})
    assert world.open in world.verbs
    for recipe in world.recipes:
        assert len(recipe.steps) == (3 if recipe.shape == "three_step" else 2)
        for step in recipe.steps:
            if step.kind == "say":
                assert step.at in world.words
            else:
                assert step.verb in world.verbs and step.at in (*world.appliances, *world.tools)
        assert len(set(recipe.steps)) == len(recipe.steps)
        assert any(step.at in world.tools for step in recipe.steps) == (recipe.shape == "tool")


@given(any_world)
def test_all_scenes_of_a_world_are_played_by_the_same_recipes(world: World) -> None:
    """A recipe, read off any of its scenes, is what wins all the others."""
    taught: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for slot in range(3 * RECIPES):
        here = scene(world, slot)
        game = Game(here)
        assert play(game, expert(lambda here=here: here))  # type: ignore[misc]
        taught[here.recipe.state].add(tuple(_told(step) for step in here.recipe.steps))
    assert len(taught) == RECIPES and all(len(ways) == 1 for ways in taught.values())


def _told(step: RecipeStep) -> str:
    return f"{step.kind} {step.verb} {step.at}"


@given(any_world, st.integers(0, SLOTS - 1))
def test_a_scene_can_be_played_and_is_not_won_at_first(world: World, slot: int) -> None:
    here = scene(world, slot)
    assert not Game(here).won
    types = [thing.type for thing in here.things]
    assert here.object in types and set(world.tools) <= set(types) and here.object in here.recipe.objects
    assert set(world.appliances) < {place.type for place in here.places} and here.target in {place.type for place in here.places}
    assert all(not here.places[thing.place].appliance for thing in here.things)
    assert len({thing.name for thing in here.things}) == len(types) and len({place.name for place in here.places}) == len(here.places)
    assert all(place.lid == (world.lids and not place.appliance) for place in here.places)
    assert {here.recipe.state, here.object, here.target, world.name} <= {word.strip(".,") for word in here.goal.split()}


@given(any_world)
def test_scenes_of_a_world_differ(world: World) -> None:
    assert len({(s.places, s.things, s.goal) for s in (scene(world, slot) for slot in range(SLOTS))}) > SLOTS // 2


# Different between worlds


def test_the_same_words_have_different_ways_elsewhere() -> None:
    """A state that is known from one world says nothing about another: hardly two recipes for it are alike."""
    ways: dict[str, list[Recipe]] = defaultdict(list)
    for number in range(1_000):
        for recipe in world(number).recipes:
            ways[recipe.state].append(recipe)
    shared = [recipes for recipes in ways.values() if len(recipes) > 1]
    assert sum(map(len, shared)) > 1_800
    for recipes in shared:
        assert len({recipe.steps for recipe in recipes}) > 0.95 * len(recipes)


def test_the_same_verb_serves_different_ends() -> None:
    verbs: dict[str, set[str]] = defaultdict(set)
    opens: dict[str, set[bool]] = defaultdict(set)
    for house in map(world, range(1_000)):
        for verb in house.verbs:
            opens[verb].add(verb == house.open)
        for recipe in house.recipes:
            for step in recipe.steps:
                verbs[step.verb].add(recipe.state)
    assert all(len(verbs[verb]) > 20 and len(opens[verb]) == 2 for verb in invented.HAND)


def test_worlds_differ_in_wording_and_lids() -> None:
    houses = [world(number) for number in range(1_000)]
    assert {house.goal for house in houses} == set(invented.GOALS)
    assert 250 < sum(house.lids for house in houses) < 350


# Wrong tries


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


# Known from experience or not at all


def test_chance_wins_nothing() -> None:
    chance = random.Random(7)
    won = 0
    for task in Worlds().tasks("dev")[::3]:
        game = Game(Worlds().scene(task))
        for _ in range(20):
            game.step(chance.choice(game.admissible()))
            won += game.won
    assert won <= 1


def test_who_knows_all_but_the_recipe_rarely_wins() -> None:
    draw = Draw(7)
    assert wins(list(Worlds().tasks("dev")), lambda task, game: guesser(lambda: game.scene, draw)) < 4


def test_who_has_read_one_episode_nearly_always_wins() -> None:
    lessons = _lessons()
    tasks = list(Worlds().tasks("dev")[:300])
    assert wins(tasks, lambda task, game: imitator(lessons[task.id.split("/")[2], task.type][:1])) > 97
    assert wins(tasks, lambda task, game: imitator(lessons[task.id.split("/")[2], task.type])) > 99


def test_episodes_of_other_recipes_and_other_worlds_do_not_help() -> None:
    lessons = _lessons()
    tasks = list(Worlds().tasks("dev")[:300])
    elsewhere = [past for (house, _), some in lessons.items() if house == "0" for past in some]
    assert len(elsewhere) == 9 and wins(tasks[3:], lambda task, game: imitator(elsewhere)) == 0
    assert wins(tasks, lambda task, game: imitator(_of_other_recipes(lessons, task))) == 0


def _lessons() -> dict[tuple[str, str], list[Trajectory]]:
    """(world, shape) → the expert's episodes, for the first hundred worlds of the bank of dev."""
    environment, lessons = Worlds(), defaultdict(list)
    for task in environment.tasks("dev-bank")[:900]:
        lessons[task.id.split("/")[2], task.type].append(run(expert_episode(environment, task)).trajectory)
    return lessons


def _of_other_recipes(lessons: dict[tuple[str, str], list[Trajectory]], task: Task) -> list[Trajectory]:
    world = task.id.split("/")[2]
    return [past for (house, shape), some in lessons.items() if house == world and shape != task.type for past in some]


def test_a_lost_or_empty_episode_teaches_nothing() -> None:
    environment = Worlds()
    task = environment.tasks("dev-bank")[0]
    past = run(expert_episode(environment, task)).trajectory
    lost = run(expert_episode(environment, task, 3)).trajectory
    assert read_ways(past, past.goal) is not None
    assert read_ways(lost, past.goal) is None
    assert read_ways(past, "put a clean plate in shelf.") is None and read_ways(past, "") is None


def test_episodes_of_another_environment_teach_nothing() -> None:
    household = Household()
    for task in household.tasks("dev")[:12]:
        past = run(expert_episode(household, task)).trajectory
        assert read_ways(past, past.goal) is None
        assert read_ways(msgspec.structs.replace(past, steps=()), past.goal) is None


def test_players_with_no_beliefs_give_up() -> None:
    player = imitator([])
    player.begin("put a glazed mug on shelf.", "You are in the hall of Beladar. Looking quickly around you, you see a shelf 1.")
    assert player.act("") is None
