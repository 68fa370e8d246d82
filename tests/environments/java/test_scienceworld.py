"""ScienceWorld: the arithmetic of its splits without Java; the real server where its package is installed."""

import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from itertools import chain, combinations
from pathlib import Path

import pytest

from edgexp.environments.java.gateway import JavaError
from edgexp.environments.java.scienceworld import INSTRUCTIONS, SPLITS, TYPES, ScienceWorld, tasks, variations
from edgexp.environments.registry import make
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.episode import play
from edgexp.play.rollout import run
from edgexp.play.scripted import ExpertPolicy, Scripted
from edgexp.trajectory import Task

pytestmark = pytest.mark.slow

KNOWN_EASY = {"boil", "melt", "freeze", "find-plant", "find-animal"}
KNOWN_HARD = {"chemistry-mix", "mendelian-genetics-known-plant", "mendelian-genetics-unknown-plant", "grow-plant", "test-conductivity"}

ALL = "EDGEXP_ALL_GOLD"
QUICK = ("find-plant", "freeze", "lifespan-shortest-lived", "power-component", "use-thermometer")


def test_splits_are_the_packages_and_the_papers() -> None:
    assert {split: len(list(tasks(split))) for split in SPLITS} == {"train": 3592, "dev": 1796, "test": 1819, "dev-5": 145, "test-5": 149}
    sides = {split: Counter(task.group for task in tasks(split)) for split in SPLITS}
    assert sides["train"]["hard"] == 1254 and sides["test"] == {"easy": 1183, "hard": 636}
    assert Counter(kind.group for kind in TYPES.values()) == {"easy": 17, "hard": 13}
    assert all(kind.group == "easy" for name, kind in TYPES.items() if name in KNOWN_EASY)
    assert all(kind.group == "hard" for name, kind in TYPES.items() if name in KNOWN_HARD)


def test_six_choices_of_hard_types_fit_the_papers_sums() -> None:
    """As docs/environments.md says: they differ in one lifespan type and in one power type, and in nothing else."""
    rest = [name for name in TYPES if name not in KNOWN_EASY | KNOWN_HARD]
    fitting = []
    for chosen in combinations(rest, 13 - len(KNOWN_HARD)):
        hard = KNOWN_HARD | set(chosen)
        if sum(TYPES[n].train for n in hard) == 1254 and sum(TYPES[n].test for n in hard) == 636:
            fitting.append(hard)
    assert len(fitting) == 6
    assert {name for name, kind in TYPES.items() if kind.group == "hard"} in fitting
    differing = set.union(*fitting) - set.intersection(*fitting)
    assert differing == {name for name in TYPES if name.startswith(("lifespan", "power-component"))}
    assert all(kind.train % 2 == 0 for kind in TYPES.values())  # so no choice sums to the paper's 2,335


def test_variations_are_numbered_through_the_splits() -> None:
    for kind in TYPES.values():
        whole = list(chain(*(variations(kind, split) for split in ("train", "dev", "test"))))
        assert whole == list(range(kind.train + kind.dev + kind.test))
        for split in ("dev", "test"):
            assert list(variations(kind, f"{split}-5")) == list(variations(kind, split))[:5]


def test_limits_are_the_papers_range() -> None:
    assert min(k.limit for k in TYPES.values()) == 50 and max(k.limit for k in TYPES.values()) == 150


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScienceWorld]:
    """One environment for all tests, with gold paths of its own."""
    try:
        made = ScienceWorld(gold=tmp_path_factory.mktemp("gold") / "gold.jsonl")
    except EdgexpError as error:
        pytest.skip(str(error))
    yield made
    made.close()


def test_without_the_package_it_says_how_to_get_it() -> None:
    try:
        make("scienceworld").close()
    except EdgexpError as error:
        assert "edgexp[scienceworld]" in str(error)


def test_tasks_by_id(world: ScienceWorld) -> None:
    for split in world.splits():
        found = world.tasks(split)
        assert all(world.task(task.id) == task for task in (found[0], found[-1]))
    with pytest.raises(UsageError, match="no split 'nowhere'"):
        world.tasks("nowhere")
    for wrong in ("scienceworld/dev/boil/13", "scienceworld/dev/boil/014", "scienceworld/dev/nothing/0", "scienceworld/x/boil/0", "boil"):
        with pytest.raises(UsageError, match="ids look like scienceworld/dev/boil/14"):
            world.task(wrong)
    with pytest.raises(UsageError, match="boil has 14 to 20 in dev"):
        world.task("scienceworld/dev/boil/13")
    with pytest.raises(EdgexpError, match="not scienceworld's own task"):
        world.reset(Task("scienceworld/dev/boil/14", "scienceworld", "dev", "melt"))


def test_counts_are_those_of_the_server(world: ScienceWorld) -> None:
    world.reset(world.task("scienceworld/train/melt/0"))
    server = world._server
    assert server is not None
    for name, kind in TYPES.items():
        assert server.call("getTaskMaxVariations", name) == kind.train + kind.dev + kind.test, name
    for name in ("melt", "identify-life-stages-2", "test-conductivity", "inclined-plane-friction-named-surfaces"):
        server.call("load", name, 0, "easy", False)
        for split in ("train", "dev", "test"):
            assert server.call(f"getVariations{split.title()}") == list(variations(TYPES[name], split)), (name, split)


def test_a_wrong_focus_fails_the_task(world: ScienceWorld) -> None:
    world.reset(world.task("scienceworld/train/boil/0"))
    focus = next(action for action in world.admissible() if action.startswith("focus on"))
    outcome = world.step(focus)
    assert outcome.done and not outcome.success and outcome.score == 0.0
    assert world.admissible() == []


def test_the_same_actions_give_the_same_texts_after_another_start_of_java(world: ScienceWorld, tmp_path: Path) -> None:
    """Types whose texts differed from one start to the next before objects had equal identity hashes; in two orders."""
    paths = {}
    for name in ("use-thermometer", "identify-life-stages-2", "inclined-plane-friction-unnamed-surfaces"):
        task = world.task(f"scienceworld/train/{name}/0")
        paths[task] = world.freeze(task).actions[:20]
    told = []
    for tasks_in_turn in (list(paths), list(reversed(paths))):
        other = ScienceWorld(gold=tmp_path / "gold.jsonl")
        texts = {}
        for task in tasks_in_turn:
            start = other.reset(task)
            texts[task.id] = [start.observation, *(other.step(action).observation for action in paths[task])]
        told.append(texts)
        other.close()
    assert told[0] == told[1]


def test_random_play_keeps_the_contract(world: ScienceWorld) -> None:
    rng, played = random.Random(0), 0
    templates = {line.split()[0] for line in INSTRUCTIONS.splitlines()} | {"0", "reset"}
    for task in rng.sample(list(world.tasks("train")), 4):
        start = world.reset(task)
        assert start.goal and start.observation and not start.goal.startswith("Your task is to")
        again, total = world.reset(task), 0.0
        assert again == start
        for _ in range(8):
            actions = world.admissible()
            assert actions == sorted(set(actions)) and {action.split()[0] for action in actions} <= templates
            outcome = world.step(rng.choice([*actions, "dance", "", "0", "open \udc80"]))
            total, played = total + outcome.reward, played + 1
            assert outcome.observation and 0 <= outcome.score <= 1 and abs(total - outcome.score) < 0.01
            if outcome.done:
                break
    assert played > 8


@pytest.mark.parametrize("name", sorted(TYPES))
def test_gold_paths_win(world: ScienceWorld, name: str) -> None:
    """The first and the last training variation of each type, played by the expert from the file."""
    if name not in QUICK and not os.environ.get(ALL):
        pytest.skip(f"all types take minutes: set {ALL}=1")
    chosen = [task for task in world.tasks("train") if task.type == name]
    for task in (chosen[0], chosen[-1]) if os.environ.get(ALL) else chosen[:1]:
        path = world.freeze(task)
        assert path.success and path.score == 1.0, path.problem
        trajectory = run(play(world, task, ExpertPolicy(world), max_steps=400)).trajectory
        assert trajectory.success and trajectory.score == 1.0 and trajectory.end == "done"
        assert [step.action for step in trajectory.steps] == list(path.actions[: len(trajectory.steps)])


def test_a_jvm_killed_in_an_episode_costs_that_episode(world: ScienceWorld) -> None:
    task, before = world.task("scienceworld/train/find-plant/0"), world.restarts

    class Killer(Scripted):
        def decide(self, steps, environment):
            if len(steps) == 2:
                os.kill(environment._server.pid, signal.SIGKILL)
            return super().decide(steps, environment)

    trajectory = run(play(world, task, Killer(["look around"] * 5))).trajectory
    assert trajectory.end.startswith("error: Java") and len(trajectory.steps) == 2 and not trajectory.success
    assert run(play(world, task, Scripted(["look around"] * 3))).trajectory.end == "gave_up"
    assert world.restarts == before + 1


def test_a_jvm_that_hangs_in_an_episode_costs_that_episode(world: ScienceWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgexp.environments.java.gateway import Server

    task, call = world.task("scienceworld/train/find-plant/0"), Server.call
    world.reset(task)
    assert world._server is not None
    os.kill(world._server.pid, signal.SIGSTOP)
    monkeypatch.setattr(Server, "call", lambda self, method, *arguments, seconds=1.0: call(self, method, *arguments, seconds=1.0))
    with pytest.raises(JavaError, match="did not answer step"):
        world.step("look around")
    monkeypatch.undo()
    assert world.reset(task).observation
