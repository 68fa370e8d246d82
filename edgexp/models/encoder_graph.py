"""ONNX sentence encoders: made from a BERT checkpoint, operator by operator and without torch, or by wrapping a ready graph.

Every graph ends alike: token embeddings pooled over the mask, then scaled to unit length. In: a checkpoint (config.json,
model.safetensors) or a graph, and tokenizer.json, as the hub has them. Out: model.onnx (input_ids, attention_mask → embedding, fp32),
tokenizer.json unchanged, encoder.json. The same source gives the same bytes.

Exported decoders want more inputs than an encoder has: segments, positions, an empty key-value cache. All of them follow from the ids and
the mask, so they are computed in the graph. Weights in a file beside the graph stay there; it is linked, or copied where that fails.

Imports onnx and numpy at once: for the child that makes such a file, nobody else. Knows nothing of where the files come from.
Method: Devlin et al., BERT (2018); Reimers and Gurevych, Sentence-BERT (2019).
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgexp.errors import EdgexpError
from edgexp.models import encoder
from edgexp.models.manifest import Bert, Pool

OPSET = 20
"""The first with Gelu; onnxruntime has had it since 1.17."""
IR_VERSION = 9
WRAPPED = range(13, 24)
"""Opsets of ready graphs that can be wrapped."""


class Graph:
    """Nodes and constants in the order they were added; values are known by their names."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """A constant tensor; naming it twice is one tensor."""
        name = self.prefix + name
        self.constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def ints(self, *values: int) -> str:
        """A constant vector of int64."""
        return self.constant("ints:" + ",".join(map(str, values)), np.array(values, np.int64))

    def op(self, kind: str, inputs: Sequence[str], name: str, outputs: int = 1, **attributes: Any) -> str:
        """One node; its value's name. With several outputs they are called `name.0`, `name.1`, …"""
        name = self.prefix + name
        names = [name] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=name, **attributes))
        return name


def add_pooling(graph: Graph, hidden: str, mask: str, pooling: str, output: str = "embedding") -> None:
    """Append pooling of `hidden` [n, t, d] under the int64 `mask` [n, t] and scaling to unit length: `output` [n, d].

    Each pooling is a sum of some token vectors; that a mean also divides makes no difference to a vector of unit length.
    Padding never enters the sum, so a text gives the same vector alone and in a batch.
    """
    weights = graph.op("Cast", [_chosen_tokens(graph, mask, pooling)], "pool.weights", to=TensorProto.FLOAT)
    row = graph.op("Unsqueeze", [weights, graph.ints(1)], "pool.row")
    total = graph.op("MatMul", [row, hidden], "pool.total")
    flat = graph.op("Squeeze", [total, graph.ints(1)], "pool.flat")
    graph.nodes.append(helper.make_node("LpNormalization", [flat], [output], name="pool.unit", axis=-1, p=2))


def _chosen_tokens(graph: Graph, mask: str, pooling: str) -> str:
    """Which tokens count, [n, t]: all real ones, the first or the last of them, on whichever side the padding is."""
    if pooling == "mean":
        return mask
    count = graph.op("CumSum", [mask, graph.constant("pool.axis", np.array(1, np.int64))], "pool.count")
    if pooling == "cls":
        wanted = graph.ints(1)
    else:
        wanted = graph.op("ReduceSum", [mask, graph.ints(1)], "pool.length", keepdims=1)
    at = graph.op("Equal", [count, wanted], "pool.at")
    real = graph.op("Cast", [mask], "pool.real", to=TensorProto.BOOL)
    return graph.op("And", [at, real], "pool.chosen")


def _write_encoder(out: Path, graph: bytes, tokenizer: Path, settings: encoder.EncoderConfig) -> list[str]:
    """Write the folder and try it once; the names of its files."""
    (out / settings.graph).write_bytes(graph)
    shutil.copyfile(tokenizer, out / settings.tokenizer)
    encoder.write(out, settings)
    try_encoder(out / settings.graph, settings.dimensions)
    return [settings.graph, settings.tokenizer, encoder.NAME]


def try_encoder(path: Path, dimensions: int) -> None:
    """Run a finished encoder once. Raises EdgexpError unless it gives a unit vector of so many numbers."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        ids = np.array([[1, 2, 3, 2]], np.int64)
        vectors = session.run(["embedding"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
    except Exception as error:  # onnxruntime raises its own types, none of them public
        raise EdgexpError(f"the ONNX graph does not run: {str(error).splitlines()[0]}") from error
    if vectors.shape != (1, dimensions):
        raise EdgexpError(f"the ONNX graph gives vectors of {vectors.shape[-1]} numbers, {dimensions} were expected")
    if not abs(float(np.linalg.norm(vectors[0])) - 1.0) < 1e-3:
        raise EdgexpError("the ONNX graph gives vectors that are not of unit length; the weights are damaged")


Weights = dict[str, NDArray[np.float32]]


class BertConfig(msgspec.Struct, frozen=True):
    """What matters of config.json; other keys are passed over."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"
    model_type: str = "bert"
    position_embedding_type: str = "absolute"


def convert_bert(paths: dict[str, Path], out: Path, recipe: Bert, fingerprint: str) -> list[str]:
    """Write the encoder folder into `out`; returns the names of its files. Raises EdgexpError for a checkpoint that is no plain BERT."""
    config = _bert_config(paths["config.json"], recipe)
    weights = _bert_weights(paths["model.safetensors"])
    settings = encoder.EncoderConfig(config.hidden_size, recipe.max_tokens, query_prefix=recipe.query_prefix, fingerprint=fingerprint)
    return _write_encoder(out, bert_graph(config, weights, recipe.pooling), paths["tokenizer.json"], settings)


def bert_graph(config: BertConfig, weights: Weights, pooling: str) -> bytes:
    """The serialised ONNX model. Raises EdgexpError naming a tensor that is missing or of the wrong shape."""
    graph = Graph()
    add_pooling(graph, _Bert(graph, config, weights).hidden(), "attention_mask", pooling)
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in ("input_ids", "attention_mask")]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", config.hidden_size])
    body = helper.make_graph(graph.nodes, "bert", inputs, [output], list(graph.constants.values()))
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="edgexp")
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


class _Bert:
    """The layers. Tokens are kept as rows of one matrix [n·t, d], so that every dense layer is one Gemm with its bias inside."""

    def __init__(self, graph: Graph, config: BertConfig, weights: Weights) -> None:
        self.graph, self.config, self.weights = graph, config, weights
        self.width = config.hidden_size
        self.head = config.hidden_size // config.num_attention_heads

    def hidden(self) -> str:
        """Token embeddings [n, t, d]."""
        g = self.graph
        self.shape = g.op("Shape", ["input_ids"], "shape")
        self.split_heads = g.op("Concat", [self.shape, g.ints(self.config.num_attention_heads, self.head)], "shape.heads", axis=0)
        self.rows = g.ints(-1, self.width)
        self.bias = self.mask_bias()
        x = self.embeddings()
        for number in range(self.config.num_hidden_layers):
            x = self.layer(x, f"encoder.layer.{number}.")
        return g.op("Reshape", [x, g.op("Concat", [self.shape, g.ints(self.width)], "shape.tokens", axis=0)], "tokens")

    def mask_bias(self) -> str:
        """[n, 1, 1, t]: 0 for a token, for padding a number whose exponential is exactly 0 in float32."""
        g = self.graph
        mask = g.op("Cast", ["attention_mask"], "mask.float", to=TensorProto.FLOAT)
        mask = g.op("Unsqueeze", [mask, g.ints(1, 2)], "mask.heads")
        padding = g.op("Sub", [g.constant("one", np.array(1, np.float32)), mask], "mask.padding")
        return g.op("Mul", [padding, g.constant("minus", np.array(-10000, np.float32))], "mask.bias")

    def embeddings(self) -> str:
        """Word, position and (the first) segment embeddings, added and normalised; rows."""
        g = self.graph
        # One sentence is one segment, so its vector is added to the positions here, once.
        positions = self.tensor("embeddings.position_embeddings.weight", (self.config.max_position_embeddings, self.width))
        segments = self.tensor("embeddings.token_type_embeddings.weight", (None, self.width))
        table = g.constant("positions", positions + segments[0])
        length = g.op("Slice", [self.shape, g.ints(1), g.ints(2)], "length")
        position = g.op("Slice", [table, g.ints(0), length, g.ints(0)], "position")
        words = g.constant("words", self.tensor("embeddings.word_embeddings.weight", (None, self.width)))
        total = g.op("Add", [g.op("Gather", [words, "input_ids"], "word"), position], "embeddings.sum")
        return self.normalised(g.op("Reshape", [total, self.rows], "embeddings.rows"), "embeddings.LayerNorm")

    def layer(self, x: str, p: str) -> str:
        """One transformer layer over the rows."""
        g = self.graph
        attended = self.dense(self.attention(x, p), p + "attention.output.dense")
        x = self.normalised(g.op("Add", [attended, x], p + "attention.residual"), p + "attention.output.LayerNorm")
        up = g.op("Gelu", [self.dense(x, p + "intermediate.dense")], p + "gelu")
        return self.normalised(g.op("Add", [self.dense(up, p + "output.dense"), x], p + "residual"), p + "output.LayerNorm")

    def attention(self, x: str, p: str) -> str:
        """Self-attention, rows in, rows out. One product gives queries, keys and values; the queries come scaled."""
        g, width, scale = self.graph, self.width, np.float32(1 / np.sqrt(self.head))
        names = [p + f"attention.self.{part}" for part in ("query", "key", "value")]
        scales = (scale, np.float32(1), np.float32(1))
        weight = np.concatenate([self.tensor(n + ".weight", (width, width)) * s for n, s in zip(names, scales, strict=True)])
        bias = np.concatenate([self.tensor(n + ".bias", (width,)) * s for n, s in zip(names, scales, strict=True)])
        joint = g.op("Gemm", [x, g.constant(p + "qkv.weight", weight.T), g.constant(p + "qkv.bias", bias)], p + "qkv")
        parts = g.op("Split", [joint, g.ints(width, width, width)], p + "split", outputs=3, axis=-1)
        query, key, value = (
            g.op("Transpose", [g.op("Reshape", [f"{parts}.{i}", self.split_heads], f"{parts}.{i}.heads")], f"{parts}.{i}.t", perm=order)
            for i, order in enumerate(([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]))
        )
        scores = g.op("Add", [g.op("MatMul", [query, key], p + "scores"), self.bias], p + "scores.masked")
        mixed = g.op("MatMul", [g.op("Softmax", [scores], p + "weights", axis=-1), value], p + "mixed")
        return g.op("Reshape", [g.op("Transpose", [mixed], p + "mixed.t", perm=[0, 2, 1, 3]), self.rows], p + "mixed.rows")

    def dense(self, x: str, name: str) -> str:
        weight, bias = self.tensor(name + ".weight", (None, None)), self.tensor(name + ".bias", (None,))
        return self.graph.op("Gemm", [x, self.graph.constant(name + ".weight", weight.T), self.graph.constant(name + ".bias", bias)], name)

    def normalised(self, x: str, name: str) -> str:
        g = self.graph
        gain, bias = (g.constant(f"{name}.{part}", self.tensor(f"{name}.{part}", (self.width,))) for part in ("weight", "bias"))
        return g.op("LayerNormalization", [x, gain, bias], name, axis=-1, epsilon=self.config.layer_norm_eps)

    def tensor(self, name: str, shape: tuple[int | None, ...]) -> NDArray[np.float32]:
        """A tensor of the checkpoint, float32; None in `shape` is any size."""
        value = self.weights.get(name)
        if value is None:
            raise EdgexpError(f"the checkpoint has no tensor {name}; only plain BERT models can be converted")
        if value.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, value.shape, strict=True)):
            raise EdgexpError(f"the tensor {name} has shape {value.shape}, which does not fit config.json")
        return value


def _bert_config(path: Path, recipe: Bert) -> BertConfig:
    try:
        config = msgspec.json.decode(path.read_bytes(), type=BertConfig)
    except msgspec.DecodeError as error:
        raise EdgexpError(f"{path}: {error}") from error
    fixed = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    for key, value in fixed.items():
        if getattr(config, key) != value:
            raise EdgexpError(f"{path}: {key} is {getattr(config, key)!r}; only {value!r} can be converted")
    if config.hidden_size % config.num_attention_heads:
        raise EdgexpError(f"{path}: hidden_size is no multiple of num_attention_heads")
    if recipe.max_tokens > config.max_position_embeddings:
        raise EdgexpError(f"max_tokens is {recipe.max_tokens}, the model has {config.max_position_embeddings} positions")
    return config


def _bert_weights(path: Path) -> Weights:
    """Every floating-point tensor as float32, without the prefix some checkpoints carry."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors: dict[str, NDArray[Any]] = load_file(path)
    except (SafetensorError, KeyError) as error:
        raise EdgexpError(f"{path}: not a safetensors file that can be read: {error}") from error
    return {name.removeprefix("bert."): value.astype(np.float32) for name, value in tensors.items() if value.dtype.kind == "f"}


def wrap_graph(paths: dict[str, Path], out: Path, recipe: Pool, fingerprint: str) -> list[str]:
    """Write the encoder folder into `out`; returns the names of its files. Raises EdgexpError for a graph that cannot be wrapped."""
    try:
        model = onnx.load(str(paths[recipe.graph]), load_external_data=False)
    except Exception as error:  # protobuf's DecodeError is not part of onnx's interface
        raise EdgexpError(f"{paths[recipe.graph]}: not an ONNX file that can be read") from error
    beside = _external_files(model)
    missing = beside - paths.keys()
    if missing:
        raise EdgexpError(f"{recipe.graph} keeps weights in {', '.join(sorted(missing))}; name it as a file of the source")
    rewire(model, recipe.pooling)
    for name in sorted(beside):
        _link_file(paths[name], out / name)
    settings = encoder.EncoderConfig(recipe.dimensions, recipe.max_tokens, query_prefix=recipe.query_prefix, batch=recipe.batch,
                                     fingerprint=fingerprint)  # fmt: skip
    return [*_write_encoder(out, model.SerializeToString(deterministic=True), paths["tokenizer.json"], settings), *sorted(beside)]


def rewire(model: Any, pooling: str) -> None:
    """Change the model in place: optional inputs computed, token embeddings pooled, everything else no longer an output."""
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset not in WRAPPED:
        raise EdgexpError(f"the ONNX graph has opset {opset}; from {WRAPPED[0]} to {WRAPPED[-1]} can be wrapped")
    body, front, back = model.graph, Graph("edgexp."), Graph("edgexp.")
    held = {tensor.name for tensor in body.initializer}
    inputs = [value for value in body.input if value.name not in held]
    for value in inputs:
        _compute_input(front, value)
    hidden = _token_embeddings(body)
    tokens = back.op("Cast", [hidden], "tokens", to=TensorProto.FLOAT)
    add_pooling(back, tokens, "attention_mask", pooling)
    nodes = [*front.nodes, *body.node, *back.nodes]
    del body.node[:]
    body.node.extend(nodes)
    body.initializer.extend([*front.constants.values(), *(c for n, c in back.constants.items() if n not in front.constants)])
    del body.input[:], body.output[:]
    body.input.extend(helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in ("input_ids", "attention_mask"))
    body.output.extend([helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", None])])


def _compute_input(graph: Graph, value: Any) -> None:
    """Nodes that give an optional input its only sensible value."""
    name, kind = value.name, value.type.tensor_type.elem_type
    if name in ("input_ids", "attention_mask"):
        return
    if name == "token_type_ids":
        graph.nodes.append(helper.make_node("Sub", ["input_ids", "input_ids"], [name], name="edgexp.segments"))
    elif name == "position_ids":
        count = graph.op("CumSum", ["attention_mask", graph.constant("axis", np.array(1, np.int64))], "count")
        before = graph.op("Sub", [count, graph.ints(1)], "before")
        graph.nodes.append(helper.make_node("Max", [before, graph.ints(0)], [name], name="edgexp.positions"))
    elif name.startswith("past_key_values."):
        sizes = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        if len(sizes) != 4 or not (sizes[1] and sizes[3]):
            raise EdgexpError(f"the ONNX input {name} has no fixed heads and width; it cannot be left empty")
        if "edgexp.n" not in {node.name for node in graph.nodes}:
            graph.op("Slice", [graph.op("Shape", ["input_ids"], "shape"), graph.ints(0), graph.ints(1)], "n")
        shape = graph.op("Concat", ["edgexp.n", graph.ints(sizes[1], 0, sizes[3])], f"shape.{name}", axis=0)
        zero = helper.make_tensor("zero", kind, [1], [0])
        graph.nodes.append(helper.make_node("ConstantOfShape", [shape], [name], name=f"edgexp.{name}", value=zero))
    else:
        raise EdgexpError(f"the ONNX graph wants an input {name}, which does not follow from a text")


def _token_embeddings(body: Any) -> str:
    names = [output.name for output in body.output]
    for name in ("last_hidden_state", "token_embeddings", "hidden_states"):
        if name in names:
            return name
    raise EdgexpError(f"the ONNX graph gives {', '.join(names)}, but no last_hidden_state")


def _external_files(model: Any) -> set[str]:
    """Names of the files beside the graph that hold weights."""
    names = {entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"}
    if any(Path(name).name != name for name in names):
        raise EdgexpError("the ONNX graph keeps weights outside its own folder")
    return names


def _link_file(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
