"""A ready ONNX graph of token embeddings becomes an encoder of ours: two inputs, one output `embedding` of unit length.

Exported decoders want more inputs than an encoder has: segments, positions, an empty key-value cache. All of them follow from the ids and
the mask, so they are computed in the graph. Weights in a file beside the graph stay there; it is linked, or copied where that fails.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from edgexp.errors import EdgexpError
from edgexp.models import encoder
from edgexp.models.graph import Graph, add_pooling, probe
from edgexp.models.manifest import Pool

_OPSETS = range(13, 24)


def wrap(paths: dict[str, Path], out: Path, recipe: Pool, fingerprint: str) -> list[str]:
    """Write the encoder folder into `out`; returns the names of its files. Raises EdgexpError for a graph that cannot be wrapped."""
    import onnx

    try:
        model = onnx.load(str(paths[recipe.graph]), load_external_data=False)
    except Exception as error:  # protobuf's DecodeError is not part of onnx's interface
        raise EdgexpError(f"{paths[recipe.graph]}: not an ONNX file that can be read") from error
    beside = _external(model)
    missing = beside - paths.keys()
    if missing:
        raise EdgexpError(f"{recipe.graph} keeps weights in {', '.join(sorted(missing))}; name it as a file of the source")
    rewire(model, recipe.pooling)
    for name in sorted(beside):
        _link(paths[name], out / name)
    (out / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    shutil.copyfile(paths["tokenizer.json"], out / "tokenizer.json")
    settings = encoder.EncoderConfig(
        recipe.dimensions, recipe.max_tokens, query_prefix=recipe.query_prefix, batch=recipe.batch, fingerprint=fingerprint
    )
    encoder.write(out, settings)
    probe(out / "model.onnx", recipe.dimensions)
    return ["model.onnx", "tokenizer.json", encoder.NAME, *sorted(beside)]


def rewire(model: Any, pooling: str) -> None:
    """Change the model in place: optional inputs computed, token embeddings pooled, everything else no longer an output."""
    from onnx import TensorProto, helper

    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset not in _OPSETS:
        raise EdgexpError(f"the ONNX graph has opset {opset}; from {_OPSETS[0]} to {_OPSETS[-1]} can be wrapped")
    body, front, back = model.graph, Graph("edgexp."), Graph("edgexp.")
    held = {tensor.name for tensor in body.initializer}
    inputs = [value for value in body.input if value.name not in held]
    for value in inputs:
        _compute(front, value)
    hidden = _hidden(body)
    tokens = back.op("Cast", [hidden], "tokens", to=TensorProto.FLOAT)
    add_pooling(back, tokens, "attention_mask", pooling)
    nodes = [*front.nodes, *body.node, *back.nodes]
    del body.node[:]
    body.node.extend(nodes)
    body.initializer.extend([*front.constants.values(), *(c for n, c in back.constants.items() if n not in front.constants)])
    del body.input[:], body.output[:]
    body.input.extend(helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in ("input_ids", "attention_mask"))
    body.output.extend([helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", None])])


def _compute(graph: Graph, value: Any) -> None:
    """Nodes that give an optional input its only sensible value."""
    from onnx import helper

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


def _hidden(body: Any) -> str:
    names = [output.name for output in body.output]
    for name in ("last_hidden_state", "token_embeddings", "hidden_states"):
        if name in names:
            return name
    raise EdgexpError(f"the ONNX graph gives {', '.join(names)}, but no last_hidden_state")


def _external(model: Any) -> set[str]:
    """Names of the files beside the graph that hold weights."""
    names = {entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"}
    if any(Path(name).name != name for name in names):
        raise EdgexpError("the ONNX graph keeps weights outside its own folder")
    return names


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
