"""The ONNX sentence encoder against BERT written a second time, in numpy and float64, from the paper."""

import json
import math
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from edgexp.errors import EdgexpError
from edgexp.models import DEFAULT_EMBEDDER, encoder, encoder_graph, resolve
from edgexp.models.manifest import Bert, require
from edgexp.models.model_files import locate

pytestmark = pytest.mark.slow

TEXTS = [
    "",
    "mug",
    "put a clean mug in the coffee machine.",
    "You are in the middle of a room. Looking quickly around you, you see a cabinet 1, a drawer 2 and a fridge 1.",
    "heat some egg and put it in the garbage can; " * 4,
    "open drawer 1. You open the drawer 1. The drawer 1 is open. In it, you see a pen 2. " * 4,
]


def reference(config: dict, w: dict, ids: list[int], pooling: str = "mean") -> np.ndarray:
    """One text's unit vector, float64, without padding. Devlin et al. 2018, section 3; Reimers and Gurevych 2019, section 3."""
    heads, t = config["num_attention_heads"], len(ids)

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + config["layer_norm_eps"]) * w[name + ".weight"] + w[name + ".bias"]

    def gelu(x):
        return x * (1 + np.fromiter(map(math.erf, (x / math.sqrt(2)).ravel()), float, x.size).reshape(x.shape)) / 2

    def dense(x, name):
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    e = "embeddings."
    x = w[e + "word_embeddings.weight"][ids] + w[e + "position_embeddings.weight"][:t] + w[e + "token_type_embeddings.weight"][0]
    x = norm(x, e + "LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        p = f"encoder.layer.{layer}."
        q, k, v = (dense(x, p + f"attention.self.{part}").reshape(t, heads, -1).swapaxes(0, 1) for part in ("query", "key", "value"))
        scores = q @ k.swapaxes(1, 2) / math.sqrt(q.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        x = norm(x + dense((weights @ v).swapaxes(0, 1).reshape(t, -1), p + "attention.output.dense"), p + "attention.output.LayerNorm")
        x = norm(x + dense(gelu(dense(x, p + "intermediate.dense")), p + "output.dense"), p + "output.LayerNorm")
    vector = x.mean(0) if pooling == "mean" else x[0]
    return vector / np.linalg.norm(vector)


def double(w: dict) -> dict:
    """Every weight in float64."""
    return {name.removeprefix("bert."): value.astype(np.float64) for name, value in w.items() if value.dtype.kind == "f"}


def embed(session, ids: list[list[int]], extra: int = 0) -> np.ndarray:
    """Vectors of token ids, padded on the right by `extra` more than needed."""
    width = max(map(len, ids)) + extra
    padded = np.array([row + [0] * (width - len(row)) for row in ids], np.int64)
    mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in ids], np.int64)
    return session.run(["embedding"], {"input_ids": padded, "attention_mask": mask})[0]


def session_of(model: bytes | str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


# The default model


@pytest.fixture(scope="module")
def minilm(own_home):
    try:
        return resolve(DEFAULT_EMBEDDER)
    except EdgexpError as error:
        pytest.skip(f"needs the default encoder's weights: {error}")


@pytest.fixture(scope="module")
def session(minilm):
    return session_of(str(minilm.path / "model.onnx"))


@pytest.fixture(scope="module")
def tokens(minilm):
    tokenizer = Tokenizer.from_file(str(minilm.path / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(encoder.read(minilm.path).max_tokens)
    return lambda texts: [tokenizer.encode(text).ids for text in texts]


def test_the_default_encoder_equals_the_reference(minilm, session, tokens):
    source = locate(require(DEFAULT_EMBEDDER)).paths
    config, weights = json.loads(source["config.json"].read_text()), double(load_file(source["model.safetensors"]))
    ids = tokens(TEXTS)
    assert [len(row) for row in ids] == sorted(len(row) for row in ids) and len(ids[0]) == 2 and len(ids[-1]) > 100
    expected = np.array([reference(config, weights, row) for row in ids])
    alone = np.concatenate([embed(session, [row]) for row in ids])
    cosines = (alone * expected).sum(1)
    assert cosines.min() >= 0.99999, cosines
    assert np.abs(np.linalg.norm(alone, axis=1) - 1).max() < 1e-6


def test_a_vector_does_not_depend_on_its_company(session, tokens):
    ids = tokens(TEXTS)
    alone = np.concatenate([embed(session, [row]) for row in ids])
    assert np.abs(embed(session, ids) - alone).max() < 1e-6
    assert np.abs(embed(session, ids[2:3], extra=200) - alone[2:3]).max() < 1e-6


def test_likeness_is_likeness(session, tokens):
    ids = tokens(["put a clean mug in the coffee machine", "clean some mug and put it in the coffeemachine", "the stock market fell"])
    vectors = embed(session, ids)
    assert vectors[0] @ vectors[1] > 0.7 > 0.3 > vectors[0] @ vectors[2]


def test_the_folder_says_how_it_is_used(minilm):
    config = encoder.read(minilm.path)
    assert (config.dimensions, config.max_tokens, config.pooling, config.output) == (384, 256, "done", "embedding")
    assert config.fingerprint == minilm.sha256


def test_the_longest_text_it_takes(session, tokens):
    (ids,) = tokens(["open drawer 1. " * 200])
    assert len(ids) == 256 and abs(np.linalg.norm(embed(session, [ids])) - 1) < 1e-6


# Small checkpoints

CONFIG = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 12, "layer_norm_eps": 1e-12,
          "hidden_act": "gelu", "model_type": "bert", "vocab_size": 30}  # fmt: skip


def checkpoint(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random weights of the shapes of CONFIG."""
    d, up = 16, 40
    shapes = {f"embeddings.{name}_embeddings.weight": (n, d) for name, n in (("word", 30), ("position", 12), ("token_type", 2))}
    for layer in range(2):
        p = f"encoder.layer.{layer}."
        dense = {f"attention.self.{k}": (d, d) for k in ("query", "key", "value")}
        dense |= {"attention.output.dense": (d, d), "intermediate.dense": (up, d), "output.dense": (d, up)}
        shapes |= {p + name + ".weight": shape for name, shape in dense.items()} | {p + n + ".bias": s[:1] for n, s in dense.items()}
    for name in ["embeddings.", *(f"encoder.layer.{n}.{part}" for n in range(2) for part in ("attention.output.", "output."))]:
        shapes |= {name + "LayerNorm.weight": (d,), name + "LayerNorm.bias": (d,)}
    return {name: rng.normal(0, 0.7, shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def source(tmp_path: Path) -> dict[str, Path]:
    """A small checkpoint on disk."""
    save_file(checkpoint(np.random.default_rng(7)), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "out").mkdir()
    return {name: tmp_path / name for name in ("config.json", "model.safetensors", "tokenizer.json")}


def convert(source, pooling="mean", max_tokens=8):
    return encoder_graph.convert_bert(source, source["config.json"].parent / "out", Bert(pooling, max_tokens), "f")


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("prefix", ["", "bert."])
def test_a_small_checkpoint_equals_the_reference(source, pooling, prefix, tmp_path):
    weights = load_file(source["model.safetensors"])
    save_file({prefix + name: value for name, value in weights.items()}, source["model.safetensors"])
    assert convert(source, pooling) == ["model.onnx", "tokenizer.json", "encoder.json"]
    ids = [[3, 1, 4], [15, 9, 2, 6, 5, 29, 8], [7]]
    expected = np.array([reference(CONFIG, double(weights), row, pooling) for row in ids])
    assert np.abs(embed(session_of(str(tmp_path / "out" / "model.onnx")), ids) - expected).max() < 1e-5


def test_the_same_checkpoint_gives_the_same_bytes(source, tmp_path):
    convert(source)
    first = (tmp_path / "out" / "model.onnx").read_bytes()
    convert(source)
    assert (tmp_path / "out" / "model.onnx").read_bytes() == first


WRONG = {
    "another family": ({"model_type": "roberta"}, {}, r"config\.json: model_type is 'roberta'; only 'bert'"),
    "another activation": ({"hidden_act": "relu"}, {}, "hidden_act is 'relu'"),
    "uneven heads": ({"num_attention_heads": 3}, {}, "hidden_size is no multiple"),
    "more layers than there are": ({"num_hidden_layers": 3}, {}, r"no tensor encoder\.layer\.2\."),
    "too few positions": ({"max_position_embeddings": 4}, {}, "max_tokens is 8, the model has 4 positions"),
    "another width": ({"hidden_size": 8}, {}, "has shape .* does not fit config.json"),
    "a missing tensor": ({}, {"embeddings.LayerNorm.bias": None}, r"no tensor embeddings\.LayerNorm\.bias"),
    "not numbers": ({}, {"embeddings.LayerNorm.bias": np.full(16, np.nan, np.float32)}, "weights are damaged"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_checkpoint_that_cannot_be_converted(case, source):
    settings, tensors, expected = WRONG[case]
    source["config.json"].write_text(json.dumps(CONFIG | settings))
    weights = load_file(source["model.safetensors"]) | tensors
    save_file({name: value for name, value in weights.items() if value is not None}, source["model.safetensors"])
    with pytest.raises(EdgexpError, match=expected):
        convert(source)


@pytest.mark.parametrize(("name", "data"), [("config.json", b"{"), ("config.json", b"{}"), ("model.safetensors", b"\x08\0\0"),
                                            ("model.safetensors", b"")])
def test_files_that_are_something_else(source, name, data):
    source[name].write_bytes(data)
    with pytest.raises(EdgexpError, match=name.replace(".", r"\.")):
        convert(source)
