"""Merging and quantising: the numbers, the bytes that stay, the memory, and adapters that do not fit."""

import ctypes
import json
import tracemalloc

import numpy as np
import pytest

from edgexp.errors import EdgexpError, UsageError
from edgexp.gguf import formats
from edgexp.gguf.lora import gguf_name, interleave, patches, read_adapter, write_lora
from edgexp.gguf.merge import merge
from edgexp.gguf.quantise import QUANTS, check_quant, plan
from edgexp.gguf.reader import Tensor, open_gguf
from edgexp.gguf.writer import write_gguf

from .kit import Tiny, raw, values, write_adapter

pytestmark = pytest.mark.slow


def changes_of(base, folder, modules, **settings):
    return patches(read_adapter(write_adapter(folder, modules, **settings)), base)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_merged_weights_are_base_plus_scaled_product(tiny, tmp_path, architecture):
    model, base = tiny(architecture=architecture, tied=False)
    folder = write_adapter(tmp_path / "a", model.modules, lora_alpha=12)
    merge(base, patches(read_adapter(folder), base), "f16", tmp_path / "m")
    merged, adapter = open_gguf(tmp_path / "m"), read_adapter(folder)
    assert len(adapter.deltas) == 15
    for delta in adapter.deltas:
        name = gguf_name(delta.module)
        change = 3.0 * delta.b @ delta.a
        heads = {"attn_q": 4, "attn_k": 2}.get(name.split(".")[-2])
        if architecture == "llama" and heads:
            change = change[interleave(len(change), heads)]
        np.testing.assert_allclose(values(merged, name), values(base, name) + change, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [formats.F32, formats.F16, formats.BF16, formats.Q8_0])
def test_without_changes_everything_stays(tiny, tmp_path, kind):
    _, base = tiny(kind=kind)
    quant = "q8_0" if kind == formats.Q8_0 else "f16"
    merge(base, {}, quant, tmp_path / "m")
    merged = open_gguf(tmp_path / "m")
    assert list(merged.tensors) == list(base.tensors)
    assert {k: v for k, v in merged.entries.items() if k not in ("general.file_type", "general.quantization_version")} == {
        k: v for k, v in base.entries.items() if k != "general.file_type"}
    assert merged.get("general.file_type") == QUANTS[quant][1]
    for name, tensor in base.tensors.items():
        if merged.tensors[name].kind == tensor.kind:
            assert raw(merged, name) == raw(base, name)
        else:
            np.testing.assert_allclose(values(merged, name), values(base, name), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(("key", "record", "told"), [
    # An adapter from elsewhere says nothing; one of ours of before there were versions has the first.
    ("prompt_version", None, None), ("prompt_version", {}, 1), ("prompt_version", {"prompt": 3}, 3),
    ("prompt_version", {"prompt": "x"}, None),
    # What was trained before there were two layouts says none, as its file always did.
    ("layout", None, None), ("layout", {}, None), ("layout", {"layout": "apart"}, "apart"), ("layout", {"layout": "chained"}, "chained"),
    ("layout", {"layout": "x"}, None), ("layout", {"layout": []}, None),
])
def test_what_is_made_of_an_adapter_says_how_it_was_trained(tiny, tmp_path, key, record, told):
    model, base = tiny()
    folder = write_adapter(tmp_path / "a", model.modules)
    if record is not None:
        (folder / "manifest.json").write_text(json.dumps(record))
    adapter = read_adapter(folder)
    changes = patches(adapter, base)
    merge(base, changes, "f16", tmp_path / "m", about=adapter.about)
    write_lora(base, adapter, changes, tmp_path / "l")
    assert open_gguf(tmp_path / "m").get(f"edgexp.{key}") == open_gguf(tmp_path / "l").get(f"edgexp.{key}") == told


def test_a_zero_adapter_is_no_change(tiny, tmp_path):
    model, base = tiny(kind=formats.F16)
    zero = changes_of(base, tmp_path / "a", model.modules, scale=0.0)
    merge(base, zero, "f16", tmp_path / "m")
    merge(base, {}, "f16", tmp_path / "n")
    assert (tmp_path / "m").read_bytes() == (tmp_path / "n").read_bytes()


def llama_quantise(source, quant, out):
    """llama.cpp's own quantiser, in this process."""
    from edgexp.engine import native

    lib = native.load()
    params = lib.llama_model_quantize_default_params()
    params.ftype, params.nthread = QUANTS[quant][1], 2
    assert lib.llama_model_quantize(str(source).encode(), str(out).encode(), ctypes.byref(params)) == 0
    return open_gguf(out)


SHAPES = {
    "blocks of 256 fit": {"width": 256, "inner": 512, "layers": 9},
    "blocks of 256 do not fit": {"width": 288, "inner": 256, "layers": 9, "heads": 9, "heads_kv": 3},
    "blocks of 32 do not fit": {"width": 80, "inner": 96, "heads": 5, "heads_kv": 5},
    "untied": {"width": 256, "inner": 512, "tied": False},
    "eighty layers": {"width": 32, "inner": 32, "layers": 80, "heads": 4, "heads_kv": 1},
    "eighty layers, all heads": {"width": 32, "inner": 32, "layers": 80, "heads": 4, "heads_kv": 4},
}


@pytest.mark.parametrize("quant", ["q8_0", "q4_k_m", "q4_0"])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_export_is_what_llama_cpp_makes_of_the_f16_export(tiny, tmp_path, shape, quant):
    model, base = tiny(**SHAPES[shape])
    changes = changes_of(base, tmp_path / "a", model.modules)
    merge(base, changes, "f16", tmp_path / "f16")
    merge(base, changes, quant, tmp_path / "ours", threads=2)
    ours, theirs = open_gguf(tmp_path / "ours"), llama_quantise(tmp_path / "f16", quant, tmp_path / "theirs")
    mine, other = ({n: formats.KINDS[t.kind].name for n, t in file.tensors.items()} for file in (ours, theirs))
    assert mine == other
    assert ours.entries == theirs.entries
    for name in ours.tensors:
        assert raw(ours, name) == raw(theirs, name), name


def test_a_large_tensor_passes_through_little_memory(tmp_path):
    rows, columns = 65536, 256  # 64 MB as float32
    entries = Tiny().entries
    block = np.zeros((1024, columns), np.float32).view(np.uint8).reshape(-1)
    write_gguf(tmp_path / "big", entries, [Tensor("token_embd.weight", (rows, columns), formats.F32)], lambda _: [block] * (rows // 1024))
    base = open_gguf(tmp_path / "big")
    tracemalloc.start()
    try:
        merge(base, {}, "q8_0", tmp_path / "m", threads=2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16e6


def test_progress_reaches_the_end(tiny, tmp_path):
    _, base = tiny()
    seen = []
    merge(base, {}, "q8_0", tmp_path / "m", lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == sum(t.nbytes for t in plan(base, "q8_0"))
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)


def test_unknown_types_are_listed():
    assert check_quant("Q4_K_M") == "q4_k_m"
    with pytest.raises(UsageError, match="unknown quantisation 'q3'; choose one of f16, q8_0, q4_k_m, q4_0"):
        check_quant("q3")


def refused(base, folder, modules, words, **settings):
    with pytest.raises(EdgexpError, match=words):
        changes_of(base, folder, modules, **settings)


def test_adapters_that_do_not_fit_the_base(tiny, tmp_path):
    model, base = tiny()
    up = "model.layers.0.mlp.up_proj"
    refused(base, tmp_path / "a", {up: (96, 65)}, r"blk\.0\.ffn_up\.weight has shape 96×64 in the base and 96×65 in the adapter")
    refused(base, tmp_path / "b", {"model.layers.7.mlp.up_proj": (96, 64)}, r"blk\.7\.ffn_up\.weight\), but .* has no such tensor")
    refused(base, tmp_path / "c", {"lm_head": (40, 64)}, "the base uses its token embedding there")
    refused(base, tmp_path / "d", {"model.embed_tokens": (40, 64)}, "does not know the module model.embed_tokens")
    for extra, words in (({"architecture": "gpt2"}, "architecture gpt2; edgexp exports adapters for llama, qwen2, qwen3"),
                         ({"llama.expert_count": 8}, "llama with experts")):
        _, other = tiny(**extra)
        refused(other, tmp_path / "e", model.modules, words)


def test_weights_that_sixteen_bits_cannot_hold(tiny, tmp_path):
    model, base = tiny()
    changes = changes_of(base, tmp_path / "a", model.modules, scale=1e6)
    with pytest.raises(EdgexpError, match=r"blk\.\d\.\w+\.weight: the merged weights hold NaN, infinity or numbers beyond 65504"):
        merge(base, changes, "q8_0", tmp_path / "m")
    assert not (tmp_path / "m").exists()
