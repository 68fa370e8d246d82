"""The `alfworld` environment: which games count, bad ids, missing data, damaged files; and the official games, where they are at hand."""

import os
from collections import Counter
from pathlib import Path

import pytest

from edgexp.environments.alfworld import Alfworld
from edgexp.environments.base import Environment, HasAdmissible, HasExpert
from edgexp.environments.household import pddl
from edgexp.environments.household.generator import generate
from edgexp.environments.household.pddl import Templates
from edgexp.environments.household.scene import GOAL_KINDS, Scene
from edgexp.environments.household.simulator import Game
from edgexp.environments.household.texts import NOTHING
from edgexp.environments.registry import make
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Task

TEMPLATES = Templates("(define (domain alfred))", '"Your task is to: x."')


def put(root: Path, split: str, folder: str, trial: str, scene: Scene | None = None, content: bytes = b"") -> Path:
    """A game file where the official ones are; its content as given, or a scene."""
    path = root / "json_2.1.1" / split / folder / trial / "game.tw-pddl"
    path.parent.mkdir(parents=True)
    path.write_bytes(pddl.encode(scene, TEMPLATES) if scene else content)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Games of our own under official names: one of each kind in `train`, and in `valid_seen` those that do not count."""
    for number, kind in enumerate(GOAL_KINDS):
        put(tmp_path, "train", f"{kind}-Mug-None-Shelf-{number}", "trial_T1", generate(kind, number))
    put(tmp_path, "train", f"{GOAL_KINDS[0]}-Mug-None-Shelf-0", "trial_T0", generate(GOAL_KINDS[0], 77))
    whole = pddl.encode(generate("pick_and_place_simple", 1), TEMPLATES)
    put(tmp_path, "valid_seen", "pick_and_place_simple-Mug-None-Shelf-1", "good", content=whole)
    put(tmp_path, "valid_seen", "pick_and_place_simple-Mug-None-Shelf-2", "unsolvable", content=whole.replace(b"true", b"false"))
    put(tmp_path, "valid_seen", "pick_and_place_simple-Mug-None-Shelf-3", "unchecked", content=whole.replace(b'"solvable"', b'"other"'))
    put(tmp_path, "valid_seen", "pick_and_place_with_movable_recep-Mug-Plate-Shelf-4", "movable", content=whole)
    put(tmp_path, "valid_seen", "pick_two_obj_and_place-AppleSliced-None-Shelf-5", "sliced", content=whole)
    put(tmp_path, "valid_seen", "pick_and_place_simple-Mug-None-Shelf-6", "truncated", content=whole[:2000])
    (tmp_path / "json_2.1.1" / "valid_seen" / "pick_and_place_simple-Mug-None-Shelf-7" / "no game").mkdir(parents=True)
    return tmp_path


def test_it_keeps_the_contract_of_environments(data: Path) -> None:
    environment = make("alfworld", data=data)
    assert isinstance(environment, Environment) and isinstance(environment, HasAdmissible) and isinstance(environment, HasExpert)
    assert environment.name == "alfworld"
    assert list(environment.splits()) == ["train", "valid_seen", "valid_unseen"]
    assert "move [object] to [receptacle]" in environment.instructions()
    environment.close()
    environment.close()


def test_games_are_listed_by_folder_and_trial_with_type_and_group(data: Path) -> None:
    tasks = Alfworld(data).tasks("train")
    assert [task.id for task in tasks] == sorted(task.id for task in tasks)
    assert [task.id for task in tasks if task.type == "pick_and_place_simple"] == [
        "alfworld/train/pick_and_place_simple-Mug-None-Shelf-0/trial_T0",
        "alfworld/train/pick_and_place_simple-Mug-None-Shelf-0/trial_T1",
    ]
    assert {task.type: task.group for task in tasks} == {
        "look_at_obj_in_light": "easy",
        "pick_and_place_simple": "easy",
        "pick_clean_then_place_in_recep": "easy",
        "pick_cool_then_place_in_recep": "hard",
        "pick_heat_then_place_in_recep": "hard",
        "pick_two_obj_and_place": "hard",
    }


def test_the_games_the_package_leaves_out_do_not_count(data: Path) -> None:
    """But a file cut short is listed: playing it says what is wrong with it."""
    environment = Alfworld(data)
    tasks = environment.tasks("valid_seen")
    assert [task.id.rpartition("/")[2] for task in tasks] == ["good", "truncated"]
    with pytest.raises(EdgexpError, match=r"truncated.game\.tw-pddl: not a game file, or damaged"):
        environment.reset(tasks[1])


def test_an_id_gives_its_task(data: Path) -> None:
    environment = Alfworld(data)
    for task in environment.tasks("train"):
        assert environment.task(task.id) == task


@pytest.mark.parametrize(
    "task_id",
    [
        "",
        "alfworld",
        "household/train/1",
        "alfworld/train/pick_and_place_simple-Mug-None-Shelf-0/gone",
        "alfworld/nowhere/pick_and_place_simple-Mug-None-Shelf-0/trial_T0",
        "alfworld/train/../trial_T0",
        "alfworld/train/pick_and_place_simple-Mug-None-Shelf-0/trial_T0/game.tw-pddl",
        "alfworld/valid_seen/pick_two_obj_and_place-AppleSliced-None-Shelf-5/sliced",
        "alfworld/valid_seen/pick_and_place_simple-Mug-None-Shelf-2/unsolvable",
    ],
)
def test_unknown_ids_are_the_users_mistake(task_id: str, data: Path) -> None:
    with pytest.raises(UsageError, match="ids look like"):
        Alfworld(data).task(task_id)


def test_a_task_of_another_environment_is_refused(data: Path) -> None:
    with pytest.raises(UsageError, match="household/train/1"):
        Alfworld(data).reset(Task("household/train/1", "household", "train", "pick_and_place_simple"))


def test_an_unknown_split_is_the_users_mistake(data: Path) -> None:
    with pytest.raises(UsageError, match="no split 'dev'; it has train, valid_seen, valid_unseen"):
        Alfworld(data).tasks("dev")


def test_missing_data_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    with pytest.raises(EdgexpError, match=r"ALFWORLD_DATA is not set.*alfworld-download"):
        Alfworld().tasks("train")
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "gone"))
    with pytest.raises(EdgexpError, match=r"gone.*alfworld-download"):
        Alfworld().tasks("train")
    (tmp_path / "json_2.1.1" / "train").mkdir(parents=True)
    with pytest.raises(EdgexpError, match="train holds no games"):
        Alfworld(tmp_path).tasks("train")
    with pytest.raises(EdgexpError, match="valid_unseen holds no games"):
        Alfworld(tmp_path).tasks("valid_unseen")


def test_data_is_found_by_the_environment_variable(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(data))
    assert len(Alfworld().tasks("train")) == 7


def test_an_episode_from_start_to_end(data: Path) -> None:
    environment = Alfworld(data)
    with pytest.raises(EdgexpError, match="no episode is under way"):
        environment.step("look")
    with pytest.raises(EdgexpError, match="no episode is under way"):
        environment.admissible()
    start = environment.reset(environment.tasks("train")[0])
    assert start.observation.startswith("You are in the middle of a room.") and "task" not in start.observation
    assert environment.step("x" * 100_000).observation == NOTHING
    expert = environment.expert()
    expert.begin(start.goal, start.observation)
    observation, outcome = start.observation, None
    for _ in range(environment.max_steps):
        action = expert.act(observation)
        assert action in environment.admissible()
        outcome = environment.step(action)
        observation = outcome.observation
        if outcome.done:
            break
    assert outcome is not None and outcome.done and outcome.success and outcome.score == 1.0
    assert environment.admissible() == []
    with pytest.raises(EdgexpError, match="the episode is over"):
        environment.step("look")
    environment.reset(environment.tasks("train")[1])
    assert not environment.step("look").done


@pytest.fixture(scope="module")
def official() -> Alfworld:
    if not os.environ.get("ALFWORLD_DATA"):
        pytest.skip("ALFWORLD_DATA is not set: no official games here")
    return Alfworld()


def official_tasks(official: Alfworld) -> dict[str, list[Task]]:
    found = {}
    for split in official.splits():
        try:
            found[split] = list(official.tasks(split))
        except EdgexpError:
            continue
    return found


def test_official_counts_are_the_papers(official: Alfworld) -> None:
    counts = {"train": (1748, 1805), "valid_seen": (None, None), "valid_unseen": (73, 61)}
    totals = {"train": 3553, "valid_seen": 140, "valid_unseen": 134}
    for split, tasks in official_tasks(official).items():
        groups = Counter(task.group for task in tasks)
        assert len(tasks) == totals[split]
        assert counts[split] in ((None, None), (groups["easy"], groups["hard"]))


def test_every_official_walkthrough_wins(official: Alfworld) -> None:
    """With its last command and not before."""
    for tasks in official_tasks(official).values():
        for task in tasks:
            game = Game(official.scene(task))
            assert game.scene.goal.kind == task.type and game.scene.goal.text
            for command in official.walkthrough(task):
                assert not game.won, task.id
                assert game.step(command) != NOTHING, (task.id, command)
            assert game.won, task.id
