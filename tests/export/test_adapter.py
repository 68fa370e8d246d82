"""Reading adapters: what is understood, and what is refused in words."""

import json
import struct

import numpy as np
import pytest
import safetensors.numpy

from edgexp.errors import EdgexpError
from edgexp.gguf.lora import read_adapter, read_base_name

from .kit import write_adapter

MODULES = {"model.layers.0.self_attn.q_proj": (6, 8), "model.layers.1.mlp.up_proj": (10, 8)}


def test_a_delta_is_scale_times_b_times_a(tmp_path):
    adapter = read_adapter(write_adapter(tmp_path, MODULES, rank=3, lora_alpha=12))
    assert [d.module for d in adapter.deltas] == list(MODULES)
    assert [d.shape for d in adapter.deltas] == list(MODULES.values())
    assert {d.scale for d in adapter.deltas} == {4.0}
    assert (adapter.base, adapter.alpha) == ("tiny", 12.0)
    assert read_base_name(tmp_path) == "tiny"


def test_ranks_and_alphas_of_some_modules(tmp_path):
    write_adapter(tmp_path, MODULES, rank=3, lora_alpha=6, alpha_pattern={"up_proj": 30}, use_rslora=True)
    assert [round(d.scale, 6) for d in read_adapter(tmp_path).deltas] == [round(6 / 3**0.5, 6), round(30 / 3**0.5, 6)]
    write_adapter(tmp_path, MODULES, rank=3, r=8, lora_alpha=6, rank_pattern={r".*\.0\.self_attn.q_proj": 3, "mlp.up_proj": 3})
    assert [d.scale for d in read_adapter(tmp_path).deltas] == [2.0, 2.0]


@pytest.mark.parametrize("kind", ["BF16", "F16", "F32"])
def test_every_usual_number_format(tmp_path, kind):
    write_adapter(tmp_path, MODULES)
    whole = safetensors.numpy.load_file(tmp_path / "adapter_model.safetensors")
    header, data = {}, b""
    for name, values in whole.items():
        short = (values.view(np.uint32) >> 16).astype(np.uint16) if kind == "BF16" else values.astype({"F16": "f2", "F32": "f4"}[kind])
        header[name] = {"dtype": kind, "shape": values.shape, "data_offsets": [len(data), len(data) + short.nbytes]}
        data += short.tobytes()
    text = json.dumps(header).encode()
    (tmp_path / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    for delta in read_adapter(tmp_path).deltas:
        np.testing.assert_allclose(delta.a, whole[f"base_model.model.{delta.module}.lora_A.weight"], rtol=1e-2)


@pytest.mark.parametrize(("config", "words"), [
    ({"peft_type": "LOHA"}, "peft_type is not LORA"),
    ({"use_dora": True}, "DoRA"),
    ({"modules_to_save": ["embed_tokens"]}, "modules_to_save"),
    ({"bias": "all"}, "trained biases"),
    ({"lora_bias": True}, "trained biases"),
    ({"fan_in_fan_out": True}, "fan_in_fan_out"),
    ({"layer_replication": [[0, 1]]}, "layer_replication"),
    ({"trainable_token_indices": [3]}, "token embeddings"),
    ({"init_lora_weights": "pissa"}, "'pissa', which may change the base"),
    ({"init_lora_weights": "loftq"}, "'loftq'"),
    ({"lora_alpha": 0}, "lora_alpha is 0"),
    ({"lora_alpha": None}, "lora_alpha is None"),
    ({"r": "sixteen"}, "r is 'sixteen'"),
    ({"r": 99}, "has rank 4, adapter_config.json says 99"),
    ({"rank_pattern": {"q_proj": -1}}, "r is -1"),
    ({"rank_pattern": {"(": 4}}, "no regular expression"),
])  # fmt: skip
def test_settings_that_cannot_be_exported(tmp_path, config, words):
    write_adapter(tmp_path, MODULES, **config)
    with pytest.raises(EdgexpError, match=words.replace("(", r"\(")):
        read_adapter(tmp_path)


@pytest.mark.parametrize(("name", "values", "words"), [
    ("base_model.model.lm_head.weight", np.ones((2, 2)), "not part of a LoRA on a linear module; leave it out"),
    ("base_model.model.lm_head.base_layer.weight", np.ones((2, 2)), "save it with save_embedding_layers=False"),
    ("base_model.model.model.embed_tokens.lora_embedding_A", np.ones((2, 2)), "not part of a LoRA"),
    ("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", np.ones(2), "not part of a LoRA"),
    ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", np.full((4, 8), np.nan), "holds NaN or infinity"),
    ("base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", np.full((6, 4), np.inf), "holds NaN or infinity"),
    ("base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", np.ones((6, 5)), "do not multiply"),
    ("base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", np.ones((6, 4, 1)), "do not multiply"),
    ("base_model.model.model.layers.9.mlp.up_proj.lora_B.weight", np.ones((6, 4)), "has only lora_B"),
])  # fmt: skip
def test_tensors_that_cannot_be_exported(tmp_path, name, values, words):
    write_adapter(tmp_path, MODULES, tensors={name: values.astype(np.float32)})
    with pytest.raises(EdgexpError, match=words):
        read_adapter(tmp_path)


def test_files_that_are_missing_or_damaged(tmp_path):
    with pytest.raises(EdgexpError, match=r"it has no adapter_config\.json"):
        read_adapter(tmp_path / "nowhere")
    write_adapter(tmp_path, MODULES)
    weights, config = tmp_path / "adapter_model.safetensors", tmp_path / "adapter_config.json"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    with pytest.raises(EdgexpError, match="damaged or no safetensors"):
        read_adapter(tmp_path)
    weights.write_bytes(safetensors.numpy.save({}))
    with pytest.raises(EdgexpError, match="the adapter is empty"):
        read_adapter(tmp_path)
    weights.write_bytes(safetensors.numpy.save({"x.lora_A.weight": np.ones((1, 1))}))
    with pytest.raises(EdgexpError, match="type F64"):
        read_adapter(tmp_path)
    weights.unlink()
    with pytest.raises(EdgexpError, match=r"it has no adapter_model\.safetensors"):
        read_adapter(tmp_path)
    for text in ("{", "[]", json.dumps({"peft_type": None})):
        config.write_text(text)
        with pytest.raises(EdgexpError, match=r"adapter_config\.json"):
            read_adapter(tmp_path)
