"""What worlds are made of: words that mean one thing in a house, ways that are consistent inside and conflict between houses."""

from collections import defaultdict

from houses import any_world, play
from hypothesis import given
from hypothesis import strategies as st

from edgexp.environments.worlds import invented
from edgexp.environments.worlds.invented import RECIPES, SLOTS, WORLDS, Recipe, RecipeStep, World, scene, world
from edgexp.environments.worlds.players import expert
from edgexp.environments.worlds.worlds import Game

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


@given(any_world, st.integers(0, RECIPES - 1))
def test_a_wish_is_read_as_it_is_worded(world: World, number: int) -> None:
    recipe = world.recipes[number]
    for object, target in zip(recipe.objects, recipe.storage, strict=False):
        found = invented.read_wish(world.wish(recipe, object, target))
        assert found == {"home": world.name, "object": object, "treatment": recipe.state, "receptacle": target}


@given(st.integers(0, len(invented.GOALS) - 1), any_world)
def test_every_wording_is_read_and_by_itself_alone(number: int, world: World) -> None:
    """No goal in one wording could be one in another that is about other things."""
    slots = {"name": world.name, "put": world.put, "on": world.on, "state": "glazed", "object": "mug", "target": "shelf"}
    goal = invented.GOALS[number].format(**slots)
    assert invented.read_wish(goal) == {"home": world.name, "object": "mug", "treatment": "glazed", "receptacle": "shelf"}
    assert sum(bool(form.fullmatch(goal)) for form in invented._READ) == 1


def test_goals_of_others_are_no_wishes() -> None:
    for goal in ("", "put a clean mug in shelf.", "in Beladar, put a glazed mug on shelf", "find out."):
        assert invented.read_wish(goal) == {}
