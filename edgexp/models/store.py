"""From a name or a path to checked files that can be loaded. Opens no sockets: what is not here is an error that says how to get it.

Files lie in `home()/models/<name>/`: `source/` holds what was pulled, with `pulled.json` saying from where; `ready/` holds what was
made from it, with `made.json`. Weights in an installed package or a local folder are used where they are.

A ready ONNX graph of token embeddings becomes an encoder of ours: two inputs, one output `embedding` of unit length.

Exported decoders want more inputs than an encoder has: segments, positions, an empty key-value cache. All of them follow from the ids and
the mask, so they are computed in the graph. Weights in a file beside the graph stay there; it is linked, or copied where that fails.
"""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from edgexp.errors import EdgexpError, UsageError
from edgexp.home import home
from edgexp.models import encoder
from edgexp.models import manifest as digest
from edgexp.models.encoder_graph import Graph, add_pooling, probe
from edgexp.models.manifest import Hub, Local, Manifest, Package, Pool, Role, Source, find, require

if TYPE_CHECKING:
    from edgexp.gguf.reader import GgufFile


BASE_POLICY = "smollm2-135m-instruct"
DEFAULT_POLICY = "smollm2-135m-exprag"
DEFAULT_EMBEDDER = "all-minilm-l6-v2"

Say = Callable[[str], None]
State = Literal["ready", "source here", "not here"]


class Ready(msgspec.Struct, frozen=True):
    """A model that can be loaded now."""

    name: str
    role: Role
    path: Path
    """A GGUF (the first of a split one) for a policy, a folder with encoder.json for an embedder."""
    sha256: str
    """Of the GGUF. Of a split GGUF or an encoder: one digest of what decides its output, the same on every machine."""
    context: int
    """Tokens the model was made for; 0 where nobody says."""
    licence: str
    manifest: Manifest | None = None
    """None for a model that was named by its path."""


class Pulled(msgspec.Struct, forbid_unknown_fields=True):
    """`source/pulled.json`: where the files beside it came from, and their digests, which are enforced from then on."""

    origin: str
    files: dict[str, str]
    """Name → sha256."""


class Here(msgspec.Struct, frozen=True):
    """The files of one source, present on this machine; not yet checked."""

    origin: str
    paths: dict[str, Path]
    """Name → path, in the manifest's order."""
    sha256: dict[str, str | None]
    """Name → what the digest must be, where anything says."""
    ours: bool
    """Whether they lie in our own home, so that a pull may replace them."""


_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
"""How llama.cpp names the parts of a split GGUF; only their digests can be checked."""


def resolve(name_or_path: str | Path, *, role: Role | None = None, say: Say = lambda _: None) -> Ready:
    """Checked, loadable files of a model; what is derived is made here, once (`say` hears about it).

    Takes a manifest's name, the path of a GGUF, or the path of an encoder folder. Raises UsageError for an unknown name or a model of
    another role, EdgexpError where weights are missing, damaged or not the ones the manifest names.
    """
    text = str(name_or_path)
    manifest = find(text) if isinstance(name_or_path, str) else None
    ready = _by_name(manifest, say) if manifest else _by_path(Path(text).expanduser(), text)
    if role is not None and ready.role != role:
        raise UsageError(f"{text}: a model of role {role} is needed here, this one's is {ready.role}; see edgexp models ls")
    return ready


def folder(name: str) -> Path:
    """Where the files of a model lie; need not exist."""
    return home() / "models" / name


def state(manifest: Manifest) -> tuple[State, str]:
    """Whether a model could be loaded, and where its files are or would come from. Reads no weights."""
    from edgexp.models import derive

    made = derive.peek(manifest)
    if made is not None:
        return "ready", str(made)
    here = locate(manifest)
    if here is None:
        return "not here", "; ".join(str(source) for source in manifest.sources)
    in_package = here.origin.startswith("package ") and not here.ours
    place = here.origin + ", installed" if in_package else str(next(iter(here.paths.values())))
    return ("ready" if manifest.derive is None else "source here"), place


def locate(manifest: Manifest) -> Here | None:
    """The files the model starts from, the pulled ones first; None where no source is complete on this machine."""
    pulled = _pulled(manifest)
    if pulled is not None:
        return pulled
    for source in manifest.sources:
        paths = _in_place(source)
        if paths and all(path.is_file() for path in paths.values()):
            return Here(str(source), paths, {file.name: file.sha256 for file in source.files}, ours=False)
    return None


def check(manifest: Manifest, here: Here, *, fresh: bool = False) -> dict[str, str]:
    """The sha256 of every file, compared with what it must be. Raises EdgexpError naming the first that is wrong."""
    return {name: check_file(path, here.sha256[name], f"edgexp models pull {manifest.name}", fresh) for name, path in here.paths.items()}


def check_file(path: Path, expected: str | None, remedy: str, fresh: bool = False) -> str:
    """The sha256 of one file. Raises EdgexpError when it is not the expected one, or when a GGUF is cut short."""
    try:
        got = digest.sha256(path, fresh=fresh)
    except OSError as error:
        raise EdgexpError(f"{path}: cannot be read: {error.strerror}; run: {remedy}") from error
    if expected is not None and got != expected:
        raise EdgexpError(f"{path}: wrong sha256: expected {expected}, got {got}; run: {remedy}")
    if expected is None and path.suffix == ".gguf" and not _PART.search(path.name):
        open_gguf(path)
    return got


def write_pulled(manifest: Manifest, origin: str, files: dict[str, str]) -> None:
    """Record what `source/` now holds. Written last, so that a half-finished pull is no source."""
    from edgexp.files import write_atomic

    write_atomic(folder(manifest.owner) / "source" / "pulled.json", msgspec.json.format(msgspec.json.encode(Pulled(origin, files))))


def open_gguf(path: Path) -> "GgufFile":
    """The checked header of a GGUF; numpy is imported only when one is opened."""
    from edgexp.gguf import reader

    return reader.open_gguf(path)


def not_here(manifest: Manifest) -> EdgexpError:
    """The error of a model whose weights are nowhere on this machine."""
    return EdgexpError(f"{manifest.name} is not here; run: edgexp models pull {manifest.name}")


def _by_name(manifest: Manifest, say: Say) -> Ready:
    from edgexp.models import derive

    if manifest.derive is not None:
        path, sha = derive.ensure(manifest, say)
        return _ready(manifest, path, sha)
    here = locate(manifest)
    if here is None:
        raise not_here(manifest)
    shas = check(manifest, here)
    sha = next(iter(shas.values())) if len(shas) == 1 else digest.of_mapping(shas)
    return _ready(manifest, next(iter(here.paths.values())), sha)


def _ready(manifest: Manifest, path: Path, sha: str) -> Ready:
    return Ready(manifest.name, manifest.role, path, sha, manifest.context, manifest.licence, manifest)


def _by_path(path: Path, text: str) -> Ready:
    path = path.absolute()
    if path.is_dir():
        from edgexp.models import encoder

        return Ready(path.name, "embedder", path, encoder.fingerprint_of(path), encoder.read(path).max_tokens, "")
    if path.is_file():
        header = open_gguf(path)
        context = int(header.get(f"{header.architecture}.context_length", 0))
        return Ready(path.stem, "policy", path, digest.sha256(path), context, str(header.get("general.license", "")))
    if "/" in text or "\\" in text or text.endswith(".gguf"):
        raise UsageError(f"{text}: there is no such file; name a GGUF, an encoder folder, or one of the models of edgexp models ls")
    require(text)
    raise AssertionError("unreachable: an unknown name raises")


def _pulled(manifest: Manifest) -> Here | None:
    place = folder(manifest.owner) / "source"
    try:
        record = msgspec.json.decode((place / "pulled.json").read_bytes(), type=Pulled)
    except (OSError, msgspec.DecodeError):
        return None
    for source in manifest.sources:
        paths = {file.name: place / file.name for file in source.files}
        if all(name in record.files and path.is_file() for name, path in paths.items()):
            return Here(record.origin, paths, {f.name: f.sha256 or record.files[f.name] for f in source.files}, ours=True)
    return None


def _in_place(source: Source) -> dict[str, Path] | None:
    """Where the files of a source lie outside our home; None where the source is not on this machine at all."""
    match source:
        case Package():
            return installed(source)
        case Local():
            return {file.name: Path(source.path) / file.path for file in source.files}
        case Hub():
            return None


def installed(source: Package) -> dict[str, Path] | None:
    """The files of an installed distribution, found through its metadata; its code is not imported."""
    from importlib import metadata

    try:
        distribution = metadata.distribution(source.distribution)
    except metadata.PackageNotFoundError:
        return None
    if distribution.version != source.version and any(file.sha256 is None for file in source.files):
        return None  # another version would do if a digest proved the file the same
    return {file.name: Path(str(distribution.locate_file(file.path))) for file in source.files}


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
