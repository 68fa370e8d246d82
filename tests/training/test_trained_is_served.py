"""What the trained model says under a layout of memory is what llama.cpp says under it: torch and the engine, on one file of weights."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs its extra: uv sync --extra train")

import tiny  # noqa: E402
import tiny_models  # noqa: E402
from toys import make_trajectory  # noqa: E402

from edgexp.engine.model import Model  # noqa: E402
from edgexp.engine.native import Tuning  # noqa: E402
from edgexp.export.parity import BOUNDS, check_ids, compare  # noqa: E402
from edgexp.export.reference import Origin, Reference, Sample  # noqa: E402
from edgexp.gguf.reader import open_gguf  # noqa: E402
from edgexp.prompt.messages import Layout  # noqa: E402
from edgexp.prompt.render import Renderer, learn_template  # noqa: E402
from edgexp.training import backend, loop, prepared  # noqa: E402

pytestmark = pytest.mark.slow

INSTRUCTIONS = "You act in a house."
MEMORY = tuple(make_trajectory(actions, goal=f"do as in {n}.", success=n != 1) for n, actions in enumerate([
    ("open box 1", "take key 1", "use key 1"), ("wait", "jump"), tuple(f"go to shelf {n}" for n in range(30)), ("look",),
]))
SAMPLES = tuple(Sample(INSTRUCTIONS, make_trajectory(("open box 1", f"take key {n}", "use key 1")), MEMORY[:n]) for n in range(5))


@pytest.fixture(scope="module")
def served(policy_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """A small model with random weights and the default model's vocabulary."""
    from edgexp.models.model_files import open_base

    folder, base = tmp_path_factory.mktemp("served"), open_gguf(open_base("smollm2-135m-instruct").path)
    size = base.tensors["token_embd.weight"].rows
    path = tiny_models.write_model(folder / "tiny.gguf", tiny_models.vocabulary_of(base), size)
    with Model(path, Tuning(1, 2, extra_buffers=False)) as model:
        yield model


@pytest.fixture(scope="module")
def learner(served: Model, tmp_path_factory: pytest.TempPathFactory) -> backend.Learner:
    """Torch on the very weights of the file, with an adapter that adds nothing yet."""
    folder = backend.folder_of(served.path, "0" * 64, "", tmp_path_factory.mktemp("expanded"), lambda _: None)
    return backend.load_exact(folder, tiny.settings(), "f32")


def answered(learner: backend.Learner, served: Model, layout: Layout, samples: Sequence[Sample] = SAMPLES) -> Reference:
    """What torch says about the samples as they stand under a layout."""
    renderer = Renderer(served.vocabulary, learn_template(served.vocabulary, served.template), INSTRUCTIONS, layout)
    data = prepared.Samples()
    for sample in samples:
        rendered = renderer.trajectory(sample.trajectory, sample.memory)
        data.add(rendered.ids, rendered.labels, rendered.blocks)
    said = loop.ask(learner, data)
    origin = Origin("f32", "", samples=tuple(samples), layout=layout)
    return Reference(origin, data.ids, said.positions, said.logprobs, said.greedy, data.blocks)


@pytest.mark.parametrize("layout", ["chained", "apart"])
def test_llama_cpp_says_what_torch_says(learner: backend.Learner, served: Model, layout: Layout) -> None:
    """With none to four past episodes, of unequal lengths, within the tightest bounds that an export has to keep."""
    parity = compare(answered(learner, served, layout), served, BOUNDS["f16"])
    assert parity.failures == () and parity.ids_checked == len(SAMPLES) and parity.greedy == 1.0
    assert parity.mean < 0.001 and parity.largest < 0.01


@pytest.mark.parametrize("asked", ["quick", "masked"])
def test_another_layout_than_the_trained_one_does_not_pass(learner: backend.Learner, served: Model, asked: str,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    """So what passes above could have failed. Quick or through the model's own modules, blocks are heeded."""
    if asked == "masked":
        monkeypatch.setattr(learner, "_quick", None)
    apart = answered(learner, served, "apart")
    assert compare(apart, served, BOUNDS["f16"]).mean < 0.001
    forgotten = Reference(msgspec.structs.replace(apart.origin, samples=()), apart.ids, apart.positions, apart.logprobs, apart.greedy)
    parity = compare(forgotten, served, BOUNDS["f16"])
    assert parity.mean > 0.01 and "log-probabilities differ" in parity.failures[0]


def test_blocks_must_be_those_that_are_rendered(learner: backend.Learner, served: Model) -> None:
    apart = answered(learner, served, "apart", SAMPLES[2:3])
    ((first, middle), (_, last)) = apart.blocks[0].tolist()
    said = "sample 1 (toy/train/1): the blocks of its memory are not those that the model was trained on"
    for blocks in ([], [np.array([[first, middle - 1], [middle - 1, last]])]):
        assert check_ids(changed(apart, blocks=blocks), served) == (0, said)
    assert check_ids(apart, served) == (1, "")
    assert check_ids(changed(apart, origin=msgspec.structs.replace(apart.origin, layout="chained")), served) == (0, said)


def changed(reference: Reference, **parts: Any) -> Reference:
    return Reference(**{**vars(reference), **parts})
