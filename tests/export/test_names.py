"""Names and row order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgexp.errors import EdgexpError
from edgexp.gguf.lora import gguf_name, interleave, row_order

from .kit import LINEAR


def test_every_linear_module_has_its_tensor():
    for module, role in LINEAR.items():
        assert gguf_name(f"model.layers.17.{module}") == f"blk.17.{role}.weight"
    assert gguf_name("lm_head") == "output.weight"
    for unknown in ("model.embed_tokens", "model.layers.0.mlp.experts.0.up_proj", "model.layers.x.mlp.up_proj", "model.norm"):
        assert gguf_name(unknown) is None


def halves(x, angles):
    """Rotation as training code does it: number i of a head with number i + half."""
    a, b = np.split(x, 2)
    return np.concatenate([a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)])


def neighbours(x, angles):
    """Rotation as llama.cpp does it for this family: number 2i with number 2i + 1."""
    a, b = x[0::2], x[1::2]
    out = np.empty_like(x)
    out[0::2], out[1::2] = a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)
    return out


@settings(deadline=None)
@given(heads=st.integers(1, 6), half=st.integers(1, 8), seed=st.integers(0, 99))
def test_reordered_rows_rotate_to_the_same_thing(heads, half, seed):
    rng = np.random.default_rng(seed)
    size = 2 * half
    x, angles = rng.standard_normal(heads * size), rng.standard_normal(half)
    order = interleave(heads * size, heads)
    assert sorted(order) == list(range(heads * size))
    theirs = np.concatenate([halves(h, angles) for h in x.reshape(heads, size)])
    ours = np.concatenate([neighbours(h, angles) for h in x[order].reshape(heads, size)])
    np.testing.assert_allclose(ours, theirs[order])


def test_only_queries_and_keys_of_llama_are_reordered():
    meta = {"llama.attention.head_count": 4, "llama.attention.head_count_kv": 2}.get
    assert (row_order("llama", "blk.0.attn_q.weight", 32, meta) == interleave(32, 4)).all()
    assert (row_order("llama", "blk.0.attn_k.weight", 16, meta) == interleave(16, 2)).all()
    assert row_order("llama", "blk.0.attn_v.weight", 16, meta) is None
    assert row_order("llama", "output.weight", 16, meta) is None
    for other in ("qwen2", "qwen3"):
        assert row_order(other, "blk.0.attn_q.weight", 32, {}.get) is None


def test_heads_may_differ_by_layer_and_must_fit():
    meta = {"llama.attention.head_count": 4, "llama.attention.head_count_kv": [4, 2]}.get
    assert (row_order("llama", "blk.1.attn_k.weight", 16, meta) == interleave(16, 2)).all()
    assert (row_order("llama", "blk.1.attn_k.weight", 16, {"llama.attention.head_count": 2}.get) == interleave(16, 2)).all()
    for rows, found in ((30, meta), (32, {}.get)):
        with pytest.raises(EdgexpError, match="does not fit"):
            row_order("llama", "blk.0.attn_q.weight", rows, found)
