"""What is played and what is told: llama.cpp judges weights, and what is no model that acts is told in one line before it is tried."""

import struct

import numpy as np
import pytest
from tiny_models import FOREIGN, borrowed, metadata_entry, write_model

from edgexp.engine import tuning
from edgexp.engine.engine import Engine
from edgexp.engine.model import Model
from edgexp.engine.native import Tuning
from edgexp.errors import EdgexpError
from edgexp.gguf import formats
from edgexp.gguf.reader import Tensor, open_gguf, read_header
from edgexp.gguf.writer import write_gguf
from edgexp.models import resolve
from edgexp.models.model_files import digest_of
from edgexp.models.playable import EMBEDDERS, check_playable

TUNING = Tuning(1, 2, {"OMP_WAIT_POLICY": "PASSIVE"}, extra_buffers=False)


@pytest.fixture(scope="module")
def vocabulary(policy_path):
    return borrowed(policy_path)


def plays(path):
    """Whether llama.cpp gives sound scores."""
    with Model(path, TUNING) as model, Engine(model, 256, slots=1) as engine:
        sequence = engine.new()
        sequence.append([10, 11, 12])
        engine.evaluate([sequence])
        return bool(np.isfinite(sequence.logits).all())


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda k: FOREIGN[k][0])
def test_number_formats_that_edgexp_does_not_read_are_played(vocabulary, tmp_path, kind):
    path = write_model(tmp_path / "odd.gguf", *vocabulary, kinds={"blk.0.ffn_down.weight": kind, "blk.1.ffn_down.weight": kind})
    assert resolve(path).context == 4096 and plays(path)
    with pytest.raises(EdgexpError, match=rf"number format {kind} \({FOREIGN[kind][0]}\)"):
        open_gguf(path)


def test_a_number_format_that_nobody_knows_is_left_to_llama_cpp(vocabulary, tmp_path, monkeypatch):
    monkeypatch.setitem(formats.KINDS, 99, formats.Kind("NEW", 32, 20))
    monkeypatch.setitem(FOREIGN, 99, ("NEW", 32, bytes(20)))
    path = write_model(tmp_path / "new.gguf", *vocabulary, kinds={"blk.0.ffn_down.weight": 99})
    assert resolve(path).name == "new"
    with pytest.raises(EdgexpError, match=r"new\.gguf"):
        tuning.measure(path)


def split(path, into):
    """A model as two files, as llama.cpp's own splitter names them."""
    whole = open_gguf(path)
    tensors, parts = list(whole.tensors.values()), []
    for number, mine in enumerate((tensors[:3], tensors[3:])):
        extra = {"split.no": struct.pack("<IH", 2, number), "split.count": struct.pack("<IH", 2, 2),
                 "split.tensors.count": struct.pack("<Ii", 5, len(tensors))}
        entries = (whole.entries if number == 0 else {}) | {key: metadata_entry(key, value) for key, value in extra.items()}
        parts.append(into / f"{path.stem}-{number + 1:05}-of-00002.gguf")
        written = [Tensor(t.name, t.shape, t.kind) for t in mine]
        write_gguf(parts[-1], entries, written, lambda t: whole.read_rows(whole.tensors[t.name], 999))
    return parts


def test_the_first_part_of_a_split_model_is_played(vocabulary, tmp_path):
    first, second = split(write_model(tmp_path / "whole.gguf", *vocabulary), tmp_path)
    ready = resolve(first)
    assert ready.sha256 == digest_of(first) and plays(first)
    second.write_bytes(second.read_bytes()[:-1] + b"x")
    assert resolve(first).sha256 != ready.sha256
    with pytest.raises(EdgexpError, match=r"is part 2 of a model in 2 files; name the first \(whole-00001-of-00002\.gguf\)$"):
        resolve(second)
    second.unlink()
    with pytest.raises(EdgexpError, match=r"of which whole-00002-of-00002\.gguf is not beside it"):
        resolve(first)


U64, I32, TEXT, F32, LIST = (struct.pack("<IQ", 10, 4096), struct.pack("<Ii", 5, 4096), struct.pack("<IQ", 8, 4) + b"4096",
                             struct.pack("<If", 6, 4096), struct.pack("<IIQI", 9, 4, 1, 4096))


@pytest.mark.parametrize(("value", "context"), [(U64, 4096), (I32, 4096), (TEXT, 0), (F32, 0), (LIST, 0), (struct.pack("<Ii", 5, -1), 0)],
                         ids=["u64", "i32", "text", "float", "list", "negative"])
def test_a_context_length_of_any_type(vocabulary, tmp_path, value, context):
    about = {"llama.context_length": value, "general.license": [1, 2], "split.count": "x"}
    path = write_model(tmp_path / "odd.gguf", *vocabulary, about=about)
    ready = resolve(path)
    assert (ready.context, ready.licence) == (context, "")


def test_no_context_length_at_all_and_lists_of_every_type(vocabulary, tmp_path):
    scalars = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    lists = {f"x.{kind}": struct.pack(f"<IIQ3{letter}", 9, kind, 3, 1, 0, 1) for kind, letter in scalars.items()}
    lists["x.texts"] = struct.pack("<IIQQ", 9, 8, 2, 1) + b"a" + struct.pack("<Q", 0)
    path = write_model(tmp_path / "odd.gguf", *vocabulary, about=lists, leave_out=("llama.context_length",))
    assert resolve(path).context == 0
    path = write_model(tmp_path / "lists.gguf", *vocabulary, about=lists)
    assert resolve(path).context == 4096 and plays(path)


def test_huge_metadata_is_played(vocabulary, tmp_path):
    huge = {"x.note": struct.pack("<IQ", 8, 20 << 20) + b"n" * (20 << 20),
            "x.words": struct.pack("<IIQ", 9, 8, 300_000) + bytes(8) * 300_000}
    path = write_model(tmp_path / "huge.gguf", *vocabulary, about=huge)
    assert resolve(path).context == 4096 and plays(path)


NO_MODELS = {
    "lora": ({"general.type": "adapter", "adapter.type": "lora"}, ("token_embd.weight",), "is a LoRA adapter"),
    "old lora": ({"adapter.type": "lora"}, (), "is a LoRA adapter"),
    "mmproj": ({"general.type": "mmproj", "general.architecture": "clip"}, (), "mmproj"),
    "clip": ({"general.architecture": "clip"}, (), "mmproj"),
    "imatrix": ({"general.type": "imatrix"}, (), "importance matrix"),
    "t5": ({"general.architecture": "t5"}, (), "encoder with a decoder"),
    "t5 encoder": ({"general.architecture": "t5encoder"}, (), "encoder with a decoder"),
    "dream": ({"general.architecture": "dream"}, (), "diffusion"),
    "pooled": ({"llama.pooling_type": 3}, (), "embedding or reranking"),
    "reranker": ({"llama.pooling_type": struct.pack("<Ii", 5, 4)}, (), "embedding or reranking"),
    "not causal": ({"llama.attention.causal": False}, (), "embedding or reranking"),
    "nameless": ({}, ("general.architecture",), r"no metadata 'general\.architecture'"),
    "numbered": ({"general.architecture": 7}, (), r"no metadata 'general\.architecture'"),
} | {name: ({"general.architecture": name}, (), "embedding or reranking") for name in sorted(EMBEDDERS)}


@pytest.mark.parametrize("what", NO_MODELS)
def test_what_is_no_model_that_acts_is_one_line_before_anything_is_loaded(vocabulary, tmp_path, what, declare):
    about, left_out, words = NO_MODELS[what]
    path = write_model(tmp_path / "other.gguf", {}, 64, about=about, leave_out=left_out)
    source = f'[[source]]\nkind = "local"\npath = {str(tmp_path)!r}\n[[source.file]]\npath = "other.gguf"\n'
    derived = declare(source + '[derive]\nkind = "requantise"\ntype = "q4_0"\n', "derived").name
    for named in (path, declare(source).name, derived):
        with pytest.raises(EdgexpError, match=rf"other\.gguf .*{words}") as error:
            resolve(named)
        assert "\n" not in str(error.value) and "Traceback" not in str(error.value)


def test_vocabularies_and_other_peoples_tensors(tmp_path, vocabulary):
    entries = {"general.architecture": metadata_entry("general.architecture", "llama"), **vocabulary[0]}
    write_gguf(tmp_path / "vocab.gguf", entries, [], lambda _: [])
    with pytest.raises(EdgexpError, match="holds a vocabulary and no weights"):
        resolve(tmp_path / "vocab.gguf")
    flux = {"general.architecture": metadata_entry("general.architecture", "flux")}
    write_gguf(tmp_path / "flux.gguf", flux, [Tensor("double_blocks.0", (4,), 0)], lambda t: [np.zeros(t.nbytes, np.uint8)])
    with pytest.raises(EdgexpError, match="none of a language model's tensors"):
        resolve(tmp_path / "flux.gguf")


def test_a_real_model_passes(policy_path, vocabulary, tmp_path):
    check_playable(read_header(policy_path))
    for architecture in ("mamba", "lfm2", "llama"):
        check_playable(read_header(write_model(tmp_path / "m.gguf", *vocabulary, architecture, about={f"{architecture}.pooling_type": 0})))
