"""LoRA adapters: read as peft writes them, fitted to the tensors of a base GGUF, written as a GGUF that llama.cpp loads beside the base.

Training frameworks name modules after their code (`model.layers.3.self_attn.q_proj`), GGUF after their role (`blk.3.attn_q.weight`). The
`llama` architecture also reorders the rows of the query and key projections, because llama.cpp rotates neighbouring numbers of a head
where the training code rotates the two halves of the head.

A folder from peft holds adapter_config.json and adapter_model.safetensors. What cannot be carried over faithfully (DoRA, trained biases,
whole modules, initialisations that change the base) is an error here, before anything is written. In an adapter-only GGUF the rank and
the trained numbers stay; only names, row order and container change. Knows nothing of training, and not how a base is merged.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgexp.errors import EdgexpError
from edgexp.gguf import formats
from edgexp.gguf.reader import GgufFile, Tensor, shown
from edgexp.gguf.writer import entry, write_gguf

ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""Families whose names and row order are known here, as GGUF files name them. Mistral, SmolLM2 and Llama-3 are `llama`."""

ROLES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Linear modules of a layer and their roles in GGUF."""

_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")


def gguf_name(module: str) -> str | None:
    """The GGUF tensor of a module such as `model.layers.0.mlp.up_proj` or `lm_head`; None for a module not known here."""
    if module == "lm_head":
        return "output.weight"
    match = _LAYER.fullmatch(module)
    role = ROLES.get(match[2]) if match else None
    return f"blk.{int(match[1])}.{role}.weight" if match and role else None


def row_order(architecture: str, name: str, rows: int, metadata: Callable[[str], object]) -> NDArray[np.intp] | None:
    """Indices that bring a module's output rows into the order of the GGUF tensor `name`; None where the order is the same.

    `metadata` answers the file's metadata keys. Raises EdgexpError where the number of heads does not divide the rows.
    """
    heads = heads_of(architecture, name, rows, metadata)
    return interleave(rows, heads) if heads else None


def heads_of(architecture: str, name: str, rows: int, metadata: Callable[[str], object]) -> int:
    """How many heads the rows of the GGUF tensor `name` are ordered by; 0 where their order is the module's. Raises as `row_order`."""
    role = name.split(".")[-2]
    if architecture != "llama" or role not in ("attn_q", "attn_k"):
        return 0
    key = "llama.attention.head_count" + ("_kv" if role == "attn_k" else "")
    heads = metadata(key) or metadata("llama.attention.head_count")
    if isinstance(heads, list):  # one number a layer
        layer = int(name.split(".")[1])
        heads = heads[layer] if layer < len(heads) else None
    if not isinstance(heads, int) or isinstance(heads, bool) or heads < 1 or rows % (2 * heads):
        raise EdgexpError(f"the base's {key} is {repr(heads)[:80]}, which does not fit the {rows} rows of {name}; the base is damaged")
    return heads


def interleave(rows: int, heads: int) -> NDArray[np.intp]:
    """For each head, its rows from (first half, second half) into (one of each half, in turn); the indices into the former order."""
    return np.arange(rows).reshape(heads, 2, rows // heads // 2).swapaxes(1, 2).reshape(rows)


CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

PROMPT_KEY = "edgexp.prompt_version"
"""In a GGUF's metadata: the version of the prompt's words that the model was trained with."""
LAYOUTS = ("chained", "apart")
LAYOUT_KEY = "edgexp.layout"
"""In a GGUF's metadata: how memory stood in the prompts that the model was trained on, `chained` or `apart`."""
_TENSOR = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight")

UNSUPPORTED = {
    "use_dora": "DoRA",
    "modules_to_save": "whole trained modules (modules_to_save)",
    "lora_bias": "trained biases (lora_bias)",
    "fan_in_fan_out": "transposed weights (fan_in_fan_out)",
    "layer_replication": "replicated layers (layer_replication)",
    "target_parameters": "parameters that are not linear modules (target_parameters)",
    "trainable_token_indices": "trained token embeddings (trainable_token_indices)",
    "use_qalora": "QA-LoRA",
    "use_bdlora": "block-diagonal LoRA",
    "alora_invocation_tokens": "activated LoRA (alora_invocation_tokens)",
    "arrow_config": "routed adapters (arrow_config)",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "velora_config": "VeLoRA",
    "megatron_config": "layers split over machines (megatron_config)",
}
"""Settings of peft whose effect a plain sum `W + B·A` does not hold."""

HARMLESS = frozenset({
    "task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "r", "lora_alpha",
    "target_modules", "exclude_modules", "lora_dropout", "bias", "use_rslora", "init_lora_weights", "layers_to_transform", "layers_pattern",
    "rank_pattern", "alpha_pattern", "megatron_core", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "qalora_group_size",
    "runtime_config", "ensure_weight_tying",
})  # fmt: skip
"""Settings of peft that are looked at here, or that say nothing about what a trained adapter adds to the weights."""

KEEPS_BASE = (True, False, "gaussian", "eva", "orthogonal")
"""Values of `init_lora_weights` that leave the base's weights alone; after others (pissa, loftq) the adapter fits no published base."""


@dataclass(frozen=True)
class Delta:
    """What one module adds to its weight: `scale` · `b` @ `a`."""

    module: str
    """For example `model.layers.0.self_attn.q_proj`."""
    a: formats.Floats
    """[rank, inputs]"""
    b: formats.Floats
    """[outputs, rank]"""
    scale: float

    @property
    def shape(self) -> tuple[int, int]:
        """(outputs, inputs): the shape of the weight it belongs to."""
        return self.b.shape[0], self.a.shape[1]


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter in memory."""

    folder: Path
    base: str
    """What the adapter says it was trained on: a name or a path, possibly empty."""
    alpha: float
    deltas: tuple[Delta, ...]
    prompt: int | None = None
    """The version of the prompt's words that it was trained with; None for an adapter that edgexp did not train."""

    layout: str = ""
    """How memory stood in the prompts that it was trained on; empty where that is not known."""

    @property
    def about(self) -> dict[str, int | str]:
        """What a GGUF made of it says of itself, beside what llama.cpp wants to know."""
        known = {PROMPT_KEY: self.prompt, LAYOUT_KEY: self.layout or None}
        return {key: value for key, value in known.items() if value is not None}


def read_adapter(folder: Path) -> Adapter:
    """Read and check an adapter. Raises EdgexpError naming the file and the setting or tensor at fault."""
    config = _config(folder)
    halves: dict[str, dict[str, formats.Floats]] = {}
    for name, values in _tensors(folder / WEIGHTS).items():
        match = _TENSOR.fullmatch(name)
        if not match:
            embedding = name.endswith((".base_layer.weight", "embed_tokens.weight"))
            hint = "save it with save_embedding_layers=False" if embedding else "leave it out"
            raise EdgexpError(f"{folder / WEIGHTS}: tensor {name} is not part of a LoRA on a linear module; {hint}")
        if not np.isfinite(values).all():
            raise EdgexpError(f"{folder / WEIGHTS}: tensor {name} holds NaN or infinity; take an earlier checkpoint")
        halves.setdefault(match["module"], {})[match["side"]] = values
    if not halves:
        raise EdgexpError(f"{folder / WEIGHTS} holds no tensors; the adapter is empty")
    deltas = tuple(_delta(folder, config, module, sides) for module, sides in sorted(halves.items()))
    return Adapter(folder, str(config.get("base_model_name_or_path") or ""), float(config["lora_alpha"]), deltas, *_trained(folder))


def _trained(folder: Path) -> tuple[int | None, str]:
    """Prompt version and layout by the record that training left; records of before there were versions have the first, and no layout."""
    try:
        record = json.loads((folder / "manifest.json").read_bytes())
        version, layout = record.get("prompt", 1), record.get("layout", "")
    except (OSError, ValueError, AttributeError):
        return None, ""
    return version if isinstance(version, int) else None, layout if layout in LAYOUTS else ""


def read_base_name(folder: Path) -> str:
    """What the adapter says it was trained on, a name or a path; empty where it does not say. Raises EdgexpError as `read_adapter`."""
    return str(_config(folder).get("base_model_name_or_path") or "")


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise EdgexpError(f"{folder} is not an adapter: it has no {CONFIG}; name the folder that edgexp train wrote") from error
    except (OSError, ValueError, RecursionError) as error:
        raise EdgexpError(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise EdgexpError(f"{path} is not a LoRA configuration (peft_type is not LORA); edgexp exports LoRA adapters")
    for key, meaning in UNSUPPORTED.items():
        if config.get(key):
            raise EdgexpError(f"{path} asks for {meaning}, which GGUF LoRA cannot hold; train with {key} off")
    for key, value in config.items():
        if value and key not in HARMLESS and key not in UNSUPPORTED:
            raise EdgexpError(f"{path} has the setting {shown(key)} = {shown(json.dumps(value))}, which edgexp does not know, so it cannot "
                              "tell what the adapter adds to the weights; train without it, or take it out if it changes no arithmetic")
    if config.get("bias", "none") != "none":
        raise EdgexpError(f"{path} has trained biases (bias = {config['bias']!r}), which edgexp cannot export; train with bias = 'none'")
    if not any(config.get("init_lora_weights", True) == kept for kept in KEEPS_BASE):
        raise EdgexpError(f"{path} was initialised with {config['init_lora_weights']!r}, which may change the base's own weights; "
                          "train with init_lora_weights = true")
    for key, pattern in (("r", "rank_pattern"), ("lora_alpha", "alpha_pattern")):
        others = config.get(pattern) or {}
        if not isinstance(others, dict):
            raise EdgexpError(f"{path}: {pattern} is {shown(json.dumps(others))}, not a table of patterns and numbers")
        for value in (config.get(key), *others.values()):
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
                raise EdgexpError(f"{path}: {key} is {shown(repr(value))}, not a positive number")
    return config


def _tensors(path: Path) -> dict[str, formats.Floats]:
    """Every tensor as float32; safetensors' own numpy reader knows no bfloat16."""
    import safetensors

    try:
        found = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except FileNotFoundError as error:
        raise EdgexpError(f"{path.parent} is not an adapter: it has no {WEIGHTS}; name the folder that edgexp train wrote") from error
    except OSError as error:
        raise EdgexpError(f"{path} cannot be read: {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        raise EdgexpError(f"{path} is damaged or no safetensors file: {error}") from error
    return {name: _floats(path, name, tensor) for name, tensor in found}


def _floats(path: Path, name: str, tensor: dict[str, Any]) -> formats.Floats:
    data, kind = tensor["data"], tensor["dtype"]
    if kind == "BF16":
        values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    elif kind in ("F16", "F32"):
        values = np.frombuffer(data, {"F16": "<f2", "F32": "<f4"}[kind]).astype(np.float32, copy=False)
    else:
        raise EdgexpError(f"{path}: tensor {name} has type {kind}; edgexp reads F32, F16 and BF16")
    return values.reshape(tensor["shape"])


def _delta(folder: Path, config: dict[str, Any], module: str, sides: dict[str, formats.Floats]) -> Delta:
    where = f"{folder / WEIGHTS}: module {module}"
    if len(sides) < 2:
        raise EdgexpError(f"{where} has only lora_{next(iter(sides))}; the file is incomplete")
    a, b = sides["A"], sides["B"]
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
        raise EdgexpError(f"{where}: lora_A {a.shape} and lora_B {b.shape} do not multiply")
    rank = _pattern(config.get("rank_pattern"), module, config["r"])
    if a.shape[0] != rank:
        raise EdgexpError(f"{where} has rank {a.shape[0]}, {CONFIG} says {rank}; the two files belong to different adapters")
    alpha = _pattern(config.get("alpha_pattern"), module, config["lora_alpha"])
    return Delta(module, a, b, float(alpha / (rank**0.5 if config.get("use_rslora") else rank)))


def _pattern(patterns: dict[str, Any] | None, module: str, default: Any) -> Any:
    """peft's rule: the first regular expression that matches the end of the module's name, at a dot."""
    for key, value in (patterns or {}).items():
        try:
            if re.match(rf"(.*\.)?({key})$", module):
                return value
        except re.error as error:
            raise EdgexpError(f"{CONFIG}: the pattern {key!r} is no regular expression: {error}") from error
    return default


@dataclass(frozen=True)
class Patch:
    """A delta in the row order of its GGUF tensor."""

    a: formats.Floats
    """[rank, inputs]"""
    b: formats.Floats
    """[outputs, rank]"""
    scale: float

    def rows(self, first: int, count: int) -> formats.Floats:
        """What is added to rows `first` and following, [count, inputs]."""
        return np.asarray((self.b[first : first + count] * np.float32(self.scale)) @ self.a)


def check_base(base: GgufFile, targets: Iterable[str] = ()) -> None:
    """Raise EdgexpError for a base that no adapter could be merged into. `targets` are linear modules, such as `q_proj`, that training
    will change in every layer; what is refused here would be refused by an export, hours later."""
    a = base.architecture
    experts = base.number(f"{a}.expert_count") or any("_exps." in name for name in base.tensors)
    if a not in ARCHITECTURES or experts:
        family = a + (" with experts" if a in ARCHITECTURES else "")
        raise EdgexpError(f"{base.path} has the architecture {family}; edgexp exports adapters for {', '.join(ARCHITECTURES)}")
    for key in ("context_length", "block_count"):
        if not base.number(f"{a}.{key}"):
            raise EdgexpError(f"{base.path} has no metadata {f'{a}.{key}'!r} that is a number; it is not a complete language model")
    roles = {module.split(".")[-1]: module for module in ROLES}
    try:
        for kind in {tensor.kind for tensor in base.tensors.values() if len(tensor.shape) > 1}:
            formats.check_numbers(kind)
        for target in targets:
            for layer in range(base.number(f"{a}.block_count")):
                _check_target(base, f"model.layers.{layer}.{roles[target]}")
    except EdgexpError as error:
        raise EdgexpError(f"{base.path}: {error}") from error


def _check_target(base: GgufFile, module: str) -> None:
    name = gguf_name(module)
    tensor = base.tensors.get(name or "")
    if tensor is None or len(tensor.shape) != 2:
        raise EdgexpError(f"{module} is to be trained, but there is no tensor {name}; name another base")
    heads_of(base.architecture, tensor.name, tensor.rows, base.get)


def check_fit(adapter: Adapter, base: GgufFile) -> None:
    """Raise EdgexpError where adapter and base do not belong together. Converts nothing."""
    check_base(base)
    for delta in adapter.deltas:
        _target(adapter, base, delta)


def patches(adapter: Adapter, base: GgufFile) -> dict[str, Patch]:
    """The adapter's deltas by GGUF tensor name. Raises EdgexpError where adapter and base do not belong together."""
    check_base(base)
    return {_target(adapter, base, delta).name: _patch(base, _target(adapter, base, delta), delta) for delta in adapter.deltas}


def _target(adapter: Adapter, base: GgufFile, delta: Delta) -> Tensor:
    name = gguf_name(delta.module)
    if name is None:
        raise EdgexpError(f"{adapter.folder}: edgexp does not know the module {delta.module}; it exports the linear layers of "
                          f"attention and feed-forward ({', '.join(m.split('.')[-1] for m in ROLES)}) and lm_head")
    tensor = base.tensors.get(name)
    if tensor is None:
        why = "the base uses its token embedding there" if name == "output.weight" else f"{base.path} has no such tensor"
        raise EdgexpError(f"{adapter.folder} trains {delta.module} ({name}), but {why}; is this the base it was trained on?")
    if tensor.shape != delta.shape:
        raise EdgexpError(f"{adapter.folder} does not fit {base.path.name}: {name} has shape {_shape(tensor.shape)} in the base and "
                          f"{_shape(delta.shape)} in the adapter; it was trained on {adapter.base or 'another base'}")
    return tensor


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _patch(base: GgufFile, tensor: Tensor, delta: Delta) -> Patch:
    order = row_order(base.architecture, tensor.name, tensor.rows, base.get)
    return Patch(delta.a, delta.b if order is None else delta.b[order], delta.scale)


def write_lora(base: GgufFile, adapter: Adapter, changes: Mapping[str, Patch], out: Path) -> str:
    """Write the adapter-only file and return its SHA-256. Raises EdgexpError for a full disk; `out` is gone then.

    A scale other than alpha/rank (rank-stabilised LoRA, or another alpha for some modules) goes into the B matrices, because the file
    has one alpha for all.
    """
    values: dict[str, formats.Floats] = {}
    for name, patch in changes.items():
        values[f"{name}.lora_a"] = patch.a
        values[f"{name}.lora_b"] = patch.b * np.float32(patch.scale * len(patch.a) / adapter.alpha)
    tensors = [Tensor(name, tuple(array.shape), formats.F32) for name, array in values.items()]

    def data(tensor: Tensor) -> Iterator[formats.Bytes]:
        yield formats.from_float(formats.F32, values[tensor.name])

    return write_gguf(out, _lora_entries(base, adapter), tensors, data)


def _lora_entries(base: GgufFile, adapter: Adapter) -> dict[str, bytes]:
    meta: dict[str, str | int | float] = {
        "general.type": "adapter",
        "general.architecture": base.architecture,
        "general.name": adapter.folder.resolve().name,
        "general.file_type": 0,
        "adapter.type": "lora",
        "adapter.lora.alpha": float(adapter.alpha),
    }
    return {key: entry(key, value) for key, value in {**meta, **adapter.about}.items()}
