"""A small builder of ONNX graphs, and what every encoder graph of ours ends in: pooling over the mask, then unit length.

Needs `onnx` and `numpy`. Knows no model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgexp.errors import EdgexpError

OPSET = 20
"""The first with Gelu; onnxruntime has had it since 1.17."""
IR_VERSION = 9


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
    weights = graph.op("Cast", [_chosen(graph, mask, pooling)], "pool.weights", to=TensorProto.FLOAT)
    row = graph.op("Unsqueeze", [weights, graph.ints(1)], "pool.row")
    total = graph.op("MatMul", [row, hidden], "pool.total")
    flat = graph.op("Squeeze", [total, graph.ints(1)], "pool.flat")
    graph.nodes.append(helper.make_node("LpNormalization", [flat], [output], name="pool.unit", axis=-1, p=2))


def _chosen(graph: Graph, mask: str, pooling: str) -> str:
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


def probe(path: Path, dimensions: int) -> None:
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
