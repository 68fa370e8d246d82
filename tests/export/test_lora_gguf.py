"""The adapter-only file, and with it the strongest check of merging: llama.cpp's own way of adding the adapter must give the same model."""

import numpy as np
import pytest

from edgexp.engine.engine import Engine
from edgexp.engine.model import Model
from edgexp.engine.native import Tuning
from edgexp.errors import EdgexpError
from edgexp.export.parity import attach
from edgexp.gguf.lora import Patch, gguf_name, patches, read_adapter, write_lora
from edgexp.gguf.merge import merge
from edgexp.gguf.reader import open_gguf

from .kit import raw, values, write_adapter

TUNING = Tuning(1, 2, {"OMP_WAIT_POLICY": "PASSIVE"}, extra_buffers=False)
PROMPT = "<|im_start|>user\nWhere would you look for a clean mug, and why?<|im_end|>\n<|im_start|>assistant\n"


def answers(path, lora=None):
    """Log-probabilities of every next token at the prompt's end and after each of a few tokens, [tokens, vocabulary]."""
    with Model(path, TUNING) as model, Engine(model, 256, 4) as engine:
        if lora:
            attach(engine, lora)
        sequence = engine.new()
        sequence.append(model.vocabulary.control(PROMPT))
        rows = engine.evaluate_tree(sequence, [-1, 0, 1], model.vocabulary.encode("In the kitchen")[:3])
        rows = np.concatenate([sequence.logits[None], rows]).astype(np.float64)
    return rows - np.log(np.exp(rows - rows.max(1, keepdims=True)).sum(1, keepdims=True)) - rows.max(1, keepdims=True)


@pytest.fixture(scope="module")
def written(smollm_base, smollm_modules, tmp_path_factory):
    """The default model in 16 bits as it is, merged with an adapter, and the adapter alone."""
    folder = tmp_path_factory.mktemp("lora")
    base = open_gguf(smollm_base)
    # Some modules with another alpha, so that the one alpha of the file is not enough.
    adapter = read_adapter(write_adapter(folder / "a", smollm_modules, scale=0.05, alpha_pattern={"k_proj": 20}))
    changes = patches(adapter, base)
    merge(base, {}, "f16", folder / "plain.gguf")
    merge(base, changes, "f16", folder / "merged.gguf")
    write_lora(base, adapter, changes, folder / "lora.gguf")
    # The same adapter with the rows of queries and keys in the order in which training keeps them.
    unordered = {gguf_name(d.module): Patch(d.a, d.b, d.scale) for d in adapter.deltas}
    write_lora(base, adapter, unordered, folder / "unordered.gguf")
    return folder


def test_merged_and_attached_are_the_same_model(written):
    plain, merged = answers(written / "plain.gguf"), answers(written / "merged.gguf")
    attached = answers(written / "plain.gguf", written / "lora.gguf")
    unordered = answers(written / "plain.gguf", written / "unordered.gguf")
    effect, error = np.abs(merged - plain).mean(), np.abs(merged - attached).mean()
    assert effect > 0.5, "the adapter must do something for this to mean anything"
    assert error < 0.01
    assert np.abs(merged - unordered).mean() > 10 * error, "rows in training's order must show"


def test_the_file_says_what_llama_cpp_wants_to_know(written):
    file = open_gguf(written / "lora.gguf")
    said = {key: file.get(key) for key in ("general.type", "general.architecture", "adapter.type", "adapter.lora.alpha")}
    assert said == {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora", "adapter.lora.alpha": 8.0}
    assert len(file.tensors) == 2 * 7 * 30
    assert file.tensors["blk.0.attn_k.weight.lora_a"].shape == (4, 576)
    assert file.tensors["blk.0.attn_k.weight.lora_b"].shape == (192, 4)


def test_other_scales_go_into_b(tiny, tmp_path):
    model, base = tiny(architecture="qwen2")
    for name, settings in {"plain": {}, "rank-stabilised": {"use_rslora": True}}.items():
        adapter = read_adapter(write_adapter(tmp_path / name, model.modules, rank=4, **settings))
        write_lora(base, adapter, patches(adapter, base), tmp_path / f"{name}.gguf")
    plain, stable = (open_gguf(tmp_path / f"{name}.gguf") for name in ("plain", "rank-stabilised"))
    for name in plain.tensors:
        if name.endswith("lora_a"):
            assert raw(plain, name) == raw(stable, name)
        else:
            np.testing.assert_allclose(values(stable, name), 2 * values(plain, name), rtol=1e-6)  # 8/√4 is twice 8/4


def test_a_file_that_llama_cpp_refuses_is_an_error_with_its_words(tmp_path, model, tiny):
    with Engine(model, 256, 2) as engine:
        with pytest.raises(EdgexpError, match="does not load"):
            attach(engine, tmp_path / "none.gguf")
        _, other = tiny()
        with pytest.raises(EdgexpError, match=r"expect general\.type to be 'adapter'"):
            attach(engine, other.path)
