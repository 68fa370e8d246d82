"""`benchmarks/shaped_model.py`: a file of a shape and a seed is always the same, and llama.cpp runs it."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from edgexp.engine.engine import Engine
from edgexp.engine.model import Model
from edgexp.gguf.reader import open_gguf

TOOL = Path(__file__).parents[1] / "benchmarks" / "shaped_model.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("shaped_model", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["shaped_model"] = module
    spec.loader.exec_module(module)
    return module


def small(tool, name):
    """A known shape with two narrow layers."""
    return dataclasses.replace(tool.SHAPES[name], layers=2, width=256, inner=512, heads=4, key_heads=2)


@pytest.mark.parametrize("name", ["smollm2-135m", "qwen2.5-1.5b"])
@pytest.mark.parametrize("quant", ["q8_0", "q4_0", "q4_k_m", "f16"])
def test_a_shape_and_a_seed_make_one_file_that_runs(tool, policy_path, tmp_path, name, quant):
    vocabulary = open_gguf(policy_path)
    first, again, other = (tool.write_shaped(tmp_path / f"{n}.gguf", small(tool, name), quant, vocabulary, n // 2) for n in range(3))
    assert first == again != other
    with Model(tmp_path / "0.gguf") as model, Engine(model, 256, slots=2) as engine:
        sequence = engine.new()
        sequence.append(range(100, 150))
        engine.evaluate([sequence])
        assert sequence.logits is not None and np.isfinite(sequence.logits).all() and sequence.logits.std() > 0
        assert model.recurrent is False and quant.split("_")[0].upper() in model.description.upper()


def test_the_1_5b_shape_has_as_many_weights(tool, policy_path):
    vocabulary = open_gguf(policy_path)
    shape = tool.SHAPES["qwen2.5-1.5b"]
    tokens = len(vocabulary.require("tokenizer.ggml.tokens"))
    weights = sum(t.rows * t.columns for t in tool._tensors(shape, vocabulary)) + (151_936 - tokens) * shape.width
    assert weights == 1_543_714_304, "Qwen2.5-1.5B, with a vocabulary of another size"


def test_no_more_than_some_rows_are_made_at_a_time(tool, policy_path, tmp_path, monkeypatch):
    largest = 0
    values = tool._values

    def watched(tensor, size, chance):
        nonlocal largest
        largest = max(largest, size[0] * size[1])
        return values(tensor, size, chance)

    monkeypatch.setattr(tool, "_values", watched)
    monkeypatch.setattr(tool, "CHUNK", 4096)
    tool.write_shaped(tmp_path / "model.gguf", small(tool, "smollm2-135m"), "q8_0", open_gguf(policy_path))
    assert 0 < largest <= 4096
