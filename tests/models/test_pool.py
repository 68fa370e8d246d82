"""Exported graphs with more inputs than an encoder has, made into encoders: same token vectors, pooled over the right tokens."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgexp.errors import EdgexpError
from edgexp.models import encoder
from edgexp.models.encoder_graph import wrap_graph
from edgexp.models.manifest import Pool

pytestmark = pytest.mark.slow

WIDTH, HEADS, HEAD = 6, 2, 3
TABLE = np.random.default_rng(3).normal(size=(20, WIDTH)).astype(np.float32)


def exported(path: Path, *, half: bool = False, opset: int = 18, external: str = "", drop: str = "", extra: str = "") -> None:
    """A stand-in for an exported decoder: a token's vector is the sum of the embeddings so far, plus its position.

    The length of the key-value cache is added too, so a cache that is not empty, or positions that are not right, change the result.
    """
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    table = numpy_helper.from_array(TABLE.astype(np.float16 if half else np.float32), "table")
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("CumSum", ["words", "axis"], ["sum"]),
        helper.make_node("Add", ["position_ids", "token_type_ids"], ["offset"]),
        helper.make_node("Cast", ["offset"], ["offset.float"], to=kind),
        helper.make_node("Unsqueeze", ["offset.float", "two"], ["offset.3d"]),
        helper.make_node("Concat", ["past_key_values.0.key", "past_key_values.0.value"], ["present.0.key"], axis=2),
        helper.make_node("Shape", ["present.0.key"], ["cached"], start=2, end=3),
        helper.make_node("Cast", ["cached"], ["cached.float"], to=kind),
        helper.make_node("Sum", ["sum", "offset.3d", "cached.float"], ["last_hidden_state"]),
        helper.make_node("Identity", ["attention_mask"], ["mask.out"]),
    ]
    constants = [table, numpy_helper.from_array(np.array(1), "axis"), numpy_helper.from_array(np.array([2]), "two")]
    names = [n for n in ("input_ids", "attention_mask", "position_ids", "token_type_ids", extra) if n]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in names]
    cache = ["batch", HEADS, "past", HEAD]
    inputs += [helper.make_tensor_value_info(f"past_key_values.0.{part}", kind, cache) for part in ("key", "value")]
    outputs = [helper.make_tensor_value_info(name, kind, None) for name in ("last_hidden_state", "present.0.key") if name != drop]
    graph = helper.make_graph(nodes, "decoder", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    if external:
        onnx.save(model, str(path), save_as_external_data=True, location=external, size_threshold=100)
    else:
        onnx.save(model, str(path))


@pytest.fixture
def source(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "out").mkdir()
    (tmp_path / "tokenizer.json").write_text("{}")
    exported(tmp_path / "decoder.onnx")
    return {name: tmp_path / name for name in ("decoder.onnx", "tokenizer.json")}


def run(source, pooling="last", **changes):
    recipe = Pool("decoder.onnx", pooling, changes.get("dimensions", WIDTH), 32, "find: ", batch=1)
    out = source["decoder.onnx"].parent / "out"
    names = wrap_graph(source, out, recipe, "f")
    session = onnxruntime.InferenceSession(str(out / "model.onnx"), providers=["CPUExecutionProvider"])
    return names, session


def expected(ids, pooling):
    hidden = TABLE[ids].cumsum(0) + np.arange(len(ids))[:, None]
    vector = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[pooling]
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("padded", ["right", "left"])
def test_it_pools_the_real_tokens_on_either_side(source, pooling, padded):
    names, session = run(source, pooling)
    assert names == ["model.onnx", "tokenizer.json", "encoder.json"]
    assert [value.name for value in session.get_inputs()] == ["input_ids", "attention_mask"]
    assert [value.name for value in session.get_outputs()] == ["embedding"]
    rows = [[3, 1, 4, 1, 5], [9, 2], [6]]
    ids, mask = np.zeros((3, 5), np.int64), np.zeros((3, 5), np.int64)
    for n, row in enumerate(rows):
        place = slice(0, len(row)) if padded == "right" else slice(5 - len(row), 5)
        ids[n, place], mask[n, place] = row, 1
    vectors = session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
    want = [expected(row, pooling) for row in rows]
    if padded == "left":  # this stand-in also adds up the padding it is given; a real decoder masks it
        want = [_left(row, 5, pooling) for row in rows]
    assert np.abs(vectors - np.array(want)).max() < 1e-5


def _left(row, width, pooling):
    hidden = (TABLE[0] * (width - len(row)) + TABLE[row].cumsum(0)) + np.arange(len(row))[:, None]
    vector = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[pooling]
    return vector / np.linalg.norm(vector)


def test_the_settings_go_into_the_folder(source, tmp_path):
    run(source)
    config = encoder.read(tmp_path / "out")
    assert (config.dimensions, config.max_tokens, config.query_prefix, config.batch, config.pooling) == (WIDTH, 32, "find: ", 1, "done")


def test_half_precision_gives_full_precision_vectors(source):
    exported(source["decoder.onnx"], half=True)
    _, session = run(source)
    one = np.ones((1, 1), np.int64)
    vector = session.run(None, {"input_ids": one, "attention_mask": one})[0]
    assert vector.dtype == np.float32 and np.abs(vector[0] - expected([1], "last")).max() < 1e-3


def test_weights_beside_the_graph_come_along(source, tmp_path):
    exported(source["decoder.onnx"], external="decoder.onnx_data")
    with pytest.raises(EdgexpError, match=r"keeps weights in decoder\.onnx_data; name it"):
        run(source)
    names, session = run(source | {"decoder.onnx_data": tmp_path / "decoder.onnx_data"})
    assert names[-1] == "decoder.onnx_data" and (tmp_path / "out" / "decoder.onnx_data").is_file()
    ids = np.array([[3, 1]])
    assert np.abs(session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0] - expected([3, 1], "last")).max() < 1e-5


WRONG = {
    "no ONNX": (lambda p: p.write_bytes(b"\xff" * 99), "not an ONNX file"),
    "empty": (lambda p: p.write_bytes(b""), "opset 0|not an ONNX file"),
    "old": (lambda p: exported(p, opset=11), "opset 11; from 13"),
    "no token vectors": (lambda p: exported(p, drop="last_hidden_state"), r"gives present\.0\.key, but no last_hidden_state"),
    "an input nobody knows": (lambda p: exported(p, extra="pixel_values"), "wants an input pixel_values"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_graph_that_cannot_be_wrapped(case, source):
    make, message = WRONG[case]
    make(source["decoder.onnx"])
    with pytest.raises(EdgexpError, match=message):
        run(source)


def test_another_width_than_promised(source):
    with pytest.raises(EdgexpError, match="gives vectors of 6 numbers, 7 were expected"):
        run(source, dimensions=7)
