"""What all tests share: a home folder of their own, the real model and its vocabulary, opened once."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgexp.embedding import Encoder
from edgexp.engine.engine import Engine, Sequence
from edgexp.engine.model import Model
from edgexp.engine.native import Tuning
from edgexp.environments.base import Outcome, Start
from edgexp.errors import EdgexpError
from edgexp.template import Template, learn
from edgexp.trajectory import Provenance, Step, Task, Trajectory


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing a test does touches the user's home folder."""
    before, folder = os.environ.get("EDGEXP_HOME"), tmp_path_factory.mktemp("home")
    os.environ["EDGEXP_HOME"] = str(folder)
    yield folder
    if before is None:
        del os.environ["EDGEXP_HOME"]
    else:
        os.environ["EDGEXP_HOME"] = before


@pytest.fixture(scope="session")
def policy_path(own_home: Path) -> Path:
    """The default model as it is served."""
    from edgexp.models import DEFAULT_POLICY, resolve

    try:
        return resolve(DEFAULT_POLICY).path
    except EdgexpError as error:
        pytest.skip(f"needs the default model's weights: {error}")


@pytest.fixture(scope="session")
def encoder_folder(own_home: Path) -> Path:
    """The default sentence encoder, made from its weights once."""
    from edgexp.models import DEFAULT_EMBEDDER, resolve

    try:
        return resolve(DEFAULT_EMBEDDER).path
    except EdgexpError as error:
        pytest.skip(f"needs the default encoder's weights: {error}")


@pytest.fixture(scope="session")
def encoder(encoder_folder: Path) -> Encoder:
    """The default sentence encoder, opened once."""
    return Encoder.open(encoder_folder)


@pytest.fixture(scope="session")
def model(policy_path: Path) -> Iterator[Model]:
    """The default model, two threads that sleep while they wait, no repacked weights (they crash on some machines)."""
    tuning = Tuning(1, 2, {"OMP_WAIT_POLICY": "PASSIVE"}, extra_buffers=False)
    with Model(policy_path, tuning) as opened:
        yield opened


@pytest.fixture(scope="session")
def engine(model: Model) -> Iterator[Engine]:
    """An engine for all tests; each takes its own sequences and gives them back."""
    with Engine(model, context=4096, slots=32) as opened:
        yield opened


@pytest.fixture
def sequence(engine: Engine) -> Iterator[Sequence]:
    """A fresh sequence."""
    made = engine.new()
    yield made
    engine.free(made)


@pytest.fixture(scope="session")
def template(model: Model) -> Template:
    """The default model's chat template as ids."""
    assert model.template
    return learn(model.template, model.vocabulary)


@pytest.fixture
def counting() -> "Counting":
    """A tiny environment; see its class."""
    return Counting()


class Counting:
    """Count to a number by saying `add one`: the smallest environment there is, with valid actions and texts of the test's choice."""

    name, version, max_steps = "counting", "1", 10

    def __init__(self, target: int = 3, observation: str = "The count is {}.", goal: str = "count to {}."):
        self.target, self.observation, self.goal, self.count, self.closed = target, observation, goal, -1, False

    def splits(self) -> tuple[str, ...]:
        return ("train", "test")

    def tasks(self, split: str) -> list[Task]:
        return [Task(f"counting/{split}/{n}", "counting", split, "count", "easy") for n in range(4)]

    def task(self, task_id: str) -> Task:
        return next(t for s in self.splits() for t in self.tasks(s) if t.id == task_id)

    def instructions(self) -> str:
        return "You count. Answer with one action: add one, or take one."

    def reset(self, task: Task) -> Start:
        self.count = 0
        return Start(self.goal.format(self.target), self.observation.format(0))

    def step(self, action: str) -> Outcome:
        if not 0 <= self.count < self.target:
            raise EdgexpError("the episode is over")
        self.count += {"add one": 1, "take one": -1}.get(action, 0)
        self.count = max(self.count, 0)
        won = self.count == self.target
        return Outcome(self.observation.format(self.count), float(won), won, won, self.count / self.target)

    def admissible(self) -> list[str]:
        return ["add one", "take one", "wait"]

    def close(self) -> None:
        self.closed = True


def make_trajectory(actions: tuple[str, ...] = ("open it", "take it"), *, goal: str = "win.", observation: str = "You see a box.",
                    success: bool = True, task_id: str = "toy/train/1", observations: tuple[str, ...] | None = None) -> Trajectory:
    """A trajectory for tests that are not about how it came to be."""
    seen = observations or tuple(f"After {a}." for a in actions)
    steps = tuple(Step(a, o) for a, o in zip(actions, seen, strict=True))
    task = Task(task_id, "toy", "train", "fetch", "easy")
    return Trajectory(task, goal, observation, steps, success, float(success), "done" if success else "max_steps", Provenance("expert"))
