"""What all tests share: a home folder of their own, the real model and its vocabulary opened once, and which tests are slow.

Importing this loads no model library: `pytest -m "not slow"` runs where there is none.
"""

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from fuzzing import ROUNDS
from toys import Counting

from edgexp.errors import EdgexpError

if TYPE_CHECKING:
    from edgexp.embedding import Encoder
    from edgexp.engine.engine import Engine, TokenSequence
    from edgexp.engine.model import Model
    from edgexp.prompt.template import Template

# Started in the background by a shell, pytest ignores Ctrl-C and its children inherit that; tests that send it need the usual behaviour.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test is about time: a loaded machine must not fail one.
hypothesis.settings.register_profile("untimed", deadline=None, max_examples=100 * ROUNDS)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=20)
hypothesis.settings.load_profile("untimed")


# Whoever asks for one of these, directly or through another fixture, needs weights or starts programs.
QUICK = "not slow"
SLOW_FIXTURES = {"policy_path", "encoder_folder", "smollm_base", "edgexp", "spoken"}
WHOLLY_SLOW = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.slow\b", re.MULTILINE)


def pytest_configure(config: pytest.Config) -> None:
    """A quick run tries fewer examples."""
    if config.option.markexpr == QUICK:
        hypothesis.settings.load_profile("quick")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs slow fixtures as slow; what is slow for another reason says so itself."""
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A quick run does not even import a file that is slow as a whole: some load torch, which takes seconds."""
    if config.option.markexpr != QUICK or collection_path.suffix != ".py":
        return None
    return bool(WHOLLY_SLOW.search(collection_path.read_text("utf-8"))) or None


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
    from edgexp.models import BASE_POLICY, resolve

    try:
        return resolve(BASE_POLICY).path
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
def encoder(encoder_folder: Path) -> "Encoder":
    """The default sentence encoder, opened once."""
    from edgexp.embedding import Encoder
    from edgexp.models import DEFAULT_EMBEDDER

    return Encoder.open(encoder_folder, name=DEFAULT_EMBEDDER)


@pytest.fixture(scope="session")
def model(policy_path: Path) -> "Iterator[Model]":
    """The default model, two threads that sleep while they wait, no repacked weights (they crash on some machines)."""
    from edgexp.engine.model import Model
    from edgexp.engine.native import Tuning

    tuning = Tuning(1, 2, {"OMP_WAIT_POLICY": "PASSIVE"}, extra_buffers=False)
    with Model(policy_path, tuning) as opened:
        yield opened


@pytest.fixture(scope="session")
def engine(model: "Model") -> "Iterator[Engine]":
    """An engine for all tests; each takes its own sequences and gives them back."""
    from edgexp.engine.engine import Engine

    with Engine(model, context=4096, slots=32) as opened:
        yield opened


@pytest.fixture
def sequence(engine: "Engine") -> "Iterator[TokenSequence]":
    """A fresh sequence."""
    made = engine.new()
    yield made
    engine.free(made)


@pytest.fixture(scope="session")
def template(model: "Model") -> "Template":
    """The default model's chat template as ids."""
    from edgexp.prompt.template import learn

    assert model.template
    return learn(model.template, model.vocabulary)


@pytest.fixture
def counting() -> Counting:
    """A tiny environment; see its class."""
    return Counting()


@pytest.fixture(autouse=True)
def signals_given_back() -> Iterator[None]:
    """A command that a test ran in this process took Ctrl-C and SIGTERM for good, as a process of its own may; later tests want theirs."""
    yield
    taken = sys.modules.get("edgexp.signals")
    if taken is not None and taken._State.installed:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        taken._State.installed = taken._State.working = False
        taken._State.received = taken._State.repeating = 0
