"""Scripted players of worlds: chance and guessing win next to nothing, one episode of the same recipe nearly everything."""

import random
import sys
from collections import defaultdict
from pathlib import Path

import msgspec
from houses import play

from edgexp.environments.household.generator import Draw
from edgexp.environments.household.household import Household
from edgexp.environments.worlds.worlds import Game, Worlds
from edgexp.play.collecting import expert_episode
from edgexp.play.rollout import run
from edgexp.trajectory import Task, Trajectory

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

from worlds_players import guesser, imitator, read_ways


def wins(tasks: list[Task], player_of: object) -> float:
    """How many of a hundred tasks are won by the player that `player_of(task, game)` gives."""
    environment = Worlds()
    games = [(task, Game(environment.scene(task))) for task in tasks]
    return 100 * sum(play(game, player_of(task, game)) > 0 for task, game in games) / len(games)  # type: ignore[operator]


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
