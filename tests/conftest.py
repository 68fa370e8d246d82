"""What all tests share: a home folder of their own, the real model and its vocabulary, opened once."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from toys import Counting

from edgexp.embedding import Encoder
from edgexp.engine.engine import Engine, Sequence
from edgexp.engine.model import Model
from edgexp.engine.native import Tuning
from edgexp.errors import EdgexpError
from edgexp.prompt.template import Template, learn

# Started in the background by a shell, pytest ignores Ctrl-C and its children inherit that; tests that send it need the usual behaviour.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test is about time: a loaded machine must not fail one.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


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
def encoder(encoder_folder: Path) -> Encoder:
    """The default sentence encoder, opened once."""
    from edgexp.models import DEFAULT_EMBEDDER

    return Encoder.open(encoder_folder, name=DEFAULT_EMBEDDER)


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
def counting() -> Counting:
    """A tiny environment; see its class."""
    return Counting()
