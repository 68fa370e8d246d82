"""TextWorldExpress: ids and splits, and the real server: contract, gold paths, the same texts after another start."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgexp.environments.base import Environment, HasAdmissible, HasExpert
from edgexp.environments.java.textworld_express import GAMES, SPLITS, TextWorldExpress, tasks
from edgexp.environments.registry import make
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.collecting import spread
from edgexp.play.episode import play
from edgexp.play.rollout import run
from edgexp.play.scripted import ExpertPolicy

pytestmark = pytest.mark.slow


def test_tasks_are_balanced_and_numbered_by_seed() -> None:
    for split, first in SPLITS.items():
        made = tasks(split)
        assert len(made) == 8_000
        assert Counter(task.type for task in made[:80]) == dict.fromkeys(GAMES, 10)
        assert made[0].id == f"textworld-express/{split}/arithmetic/{first}"
        assert made[-1].id == f"textworld-express/{split}/twc/{first + 999}"
    with pytest.raises(IndexError):
        tasks("train")[8_000]


def test_without_the_package_it_says_how_to_get_it() -> None:
    try:
        make("textworld-express").close()
    except EdgexpError as error:
        assert "edgexp[textworld-express]" in str(error)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TextWorldExpress]:
    """One environment for all tests, with gold paths of its own."""
    try:
        made = TextWorldExpress(gold=tmp_path_factory.mktemp("gold") / "gold.jsonl")
    except EdgexpError as error:
        pytest.skip(str(error))
    yield made
    made.close()


def test_tasks_by_id(world: TextWorldExpress) -> None:
    assert isinstance(world, Environment) and isinstance(world, HasAdmissible) and isinstance(world, HasExpert)
    for split in world.splits():
        tasks = world.tasks(split)
        assert all(world.task(tasks[n].id) == tasks[n] for n in (0, 77, 7_999))
    with pytest.raises(UsageError, match="no split 'nowhere'"):
        world.tasks("nowhere")
    for wrong in ("train/coin/1000", "dev/coin/0", "dev/coin/11000", "dev/coin/010000", "dev/chess/10000", "x/coin/0"):
        with pytest.raises(UsageError, match="ids look like textworld-express/dev/coin/10000"):
            world.task(f"textworld-express/{wrong}")


def test_seeds_are_those_of_the_server(world: TextWorldExpress) -> None:
    world.reset(world.task("textworld-express/train/coin/0"))
    server = world._server
    assert server is not None
    assert sorted(server.call("getGameNames")) == sorted(GAMES)
    for split, first in SPLITS.items():
        seeds = server.call(f"getSeeds{split.title()}")
        assert (seeds[0], seeds[-1], len(seeds)) == (first, first + 999, 1_000)


@pytest.mark.parametrize("game", sorted(GAMES))
def test_gold_paths_win_within_the_limit(world: TextWorldExpress, game: str) -> None:
    policy = ExpertPolicy(world)
    for task in spread(world.tasks("train"), 3, seed=1, keep=lambda task: task.type == game):
        trajectory = run(play(world, task, policy)).trajectory
        assert trajectory.success and trajectory.score == 1.0 and trajectory.end == "done", trajectory.end
        assert abs(sum(step.reward for step in trajectory.steps) - 1.0) < 0.01


def test_random_play_keeps_the_contract(world: TextWorldExpress) -> None:
    rng, ends = random.Random(0), Counter[str]()
    for task in spread(world.tasks("dev"), 24, seed=2):
        start = world.reset(task)
        assert start.goal and start.observation and world.reset(task) == start
        for _ in range(world.max_steps):
            actions = world.admissible()
            assert actions and actions == sorted(set(actions))
            outcome = world.step(rng.choice([*actions, "dance"]))
            assert 0 <= outcome.score <= 1 and (outcome.done or not outcome.success)
            if outcome.done:
                ends["won" if outcome.success else "lost"] += 1
                assert world.admissible() == []
                with pytest.raises(EdgexpError, match="the episode is over"):
                    world.step("look around")
                break
    assert ends["lost"]


def test_the_same_actions_give_the_same_texts_after_another_start_of_java(world: TextWorldExpress, tmp_path: Path) -> None:
    told = []
    for turn in range(2):
        other = TextWorldExpress(gold=tmp_path / "gold.jsonl")
        tasks = spread(other.tasks("test"), 8, seed=3)
        episodes = {task.id: run(play(other, task, ExpertPolicy(other))).trajectory for task in (tasks if turn else reversed(tasks))}
        told.append({name: (t.goal, t.observation, t.steps) for name, t in episodes.items()})
        other.close()
    assert told[0] == told[1]
