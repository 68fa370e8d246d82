"""Reading a LoRA adapter as peft writes it: a folder with adapter_config.json and adapter_model.safetensors. Knows nothing of GGUF.

What cannot be exported faithfully (DoRA, trained biases, whole modules, initialisations that change the base) is an error here, before
anything is written.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgexp.errors import EdgexpError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

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
}
"""Settings of peft whose effect a plain sum `W + B·A` does not hold."""

KEEPS_BASE = (True, False, "gaussian", "eva", "orthogonal")
"""Values of `init_lora_weights` that leave the base's weights alone; after others (pissa, loftq) the adapter fits no published base."""


@dataclass(frozen=True)
class Delta:
    """What one module adds to its weight: `scale` · `b` @ `a`."""

    module: str
    """For example `model.layers.0.self_attn.q_proj`."""
    a: NDArray[np.float32]
    """[rank, inputs]"""
    b: NDArray[np.float32]
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


def read_adapter(folder: Path) -> Adapter:
    """Read and check an adapter. Raises EdgexpError naming the file and the setting or tensor at fault."""
    config = _config(folder)
    halves: dict[str, dict[str, NDArray[np.float32]]] = {}
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
    return Adapter(folder, str(config.get("base_model_name_or_path") or ""), float(config["lora_alpha"]), deltas)


def read_base_name(folder: Path) -> str:
    """What the adapter says it was trained on, a name or a path; empty where it does not say. Raises EdgexpError as `read_adapter`."""
    return str(_config(folder).get("base_model_name_or_path") or "")


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise EdgexpError(f"{folder} is not an adapter: it has no {CONFIG}; name the folder that edgexp train wrote") from error
    except (OSError, ValueError) as error:
        raise EdgexpError(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise EdgexpError(f"{path} is not a LoRA configuration (peft_type is not LORA); edgexp exports LoRA adapters")
    for key, meaning in UNSUPPORTED.items():
        if config.get(key):
            raise EdgexpError(f"{path} asks for {meaning}, which GGUF LoRA cannot hold; train with {key} off")
    if config.get("bias", "none") != "none":
        raise EdgexpError(f"{path} has trained biases (bias = {config['bias']!r}), which edgexp cannot export; train with bias = 'none'")
    if config.get("init_lora_weights", True) not in KEEPS_BASE:
        raise EdgexpError(f"{path} was initialised with {config['init_lora_weights']!r}, which may change the base's own weights; "
                          "train with init_lora_weights = true")
    for key in ("r", "lora_alpha"):
        for value in (config.get(key), *(config.get({"r": "rank_pattern", "lora_alpha": "alpha_pattern"}[key]) or {}).values()):
            if not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise EdgexpError(f"{path}: {key} is {value!r}, not a positive number")
    return config


def _tensors(path: Path) -> dict[str, NDArray[np.float32]]:
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


def _floats(path: Path, name: str, tensor: dict[str, Any]) -> NDArray[np.float32]:
    data, kind = tensor["data"], tensor["dtype"]
    if kind == "BF16":
        values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    elif kind in ("F16", "F32"):
        values = np.frombuffer(data, {"F16": "<f2", "F32": "<f4"}[kind]).astype(np.float32, copy=False)
    else:
        raise EdgexpError(f"{path}: tensor {name} has type {kind}; edgexp reads F32, F16 and BF16")
    return values.reshape(tensor["shape"])


def _delta(folder: Path, config: dict[str, Any], module: str, sides: dict[str, NDArray[np.float32]]) -> Delta:
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
