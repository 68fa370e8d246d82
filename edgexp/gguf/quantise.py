"""Quantising: which number format each tensor of an export gets, and a whole GGUF rewritten with another type by llama.cpp itself.

`plan` follows `llama_model_quantize` tensor by tensor, so that an export equals what llama.cpp's quantiser makes of the f16 export, byte
for byte; a test holds the two together. Making the choice here lets one pass over the base merge and quantise with a few rows in memory,
without a full-size f16 file in between. `requantise` needs no adapter: there llama.cpp does it all. Knows nothing of values, nor of where
models come from.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from edgexp.errors import EdgexpError, UsageError
from edgexp.gguf.formats import F16, KINDS, Q4_0, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0
from edgexp.gguf.reader import GgufFile, Tensor, read_header

QUANTS = {"f16": (F16, 1), "q8_0": (Q8_0, 7), "q4_k_m": (Q4_K, 15), "q4_0": (Q4_0, 2)}
"""The types an export can have: its main number format, and the file's `general.file_type`."""

FALLBACK = {Q4_K: Q5_0, Q5_K: Q5_1, Q6_K: Q8_0}
"""What stands in for a format whose blocks of 256 do not divide the rows."""


def check_quant(quant: str) -> str:
    """The type's name in lower case. Raises UsageError listing the known ones."""
    name = quant.lower()
    if name not in QUANTS:
        raise UsageError(f"unknown quantisation {quant!r}; choose one of {', '.join(QUANTS)}")
    return name


def plan(base: GgufFile, quant: str) -> list[Tensor]:
    """The tensors of the export, in the base's order, each with the format it will have. Offsets are left at 0."""
    shape = _Shape.of(base)
    return [Tensor(t.name, t.shape, _kind(t, quant, shape)) for t in base.tensors.values()]


@dataclass(frozen=True)
class _Shape:
    """What the mixtures look at."""

    layers: int
    tied: bool
    """Whether the token embedding is the output too."""
    shared: bool
    """Whether it is one of the models of 80 layers whose value heads serve several query heads each."""

    @classmethod
    def of(cls, base: GgufFile) -> "_Shape":
        a = base.architecture
        layers = base.number(f"{a}.block_count")
        heads = base.get(f"{a}.attention.head_count")
        shared = layers == 80 and (a != "llama" or base.get(f"{a}.attention.head_count_kv", heads) != heads)
        return cls(layers, "output.weight" not in base.tensors, shared)


def _kind(tensor: Tensor, quant: str, shape: _Shape) -> int:
    if len(tensor.shape) < 2 or not tensor.name.endswith("weight") or "_norm.weight" in tensor.name:
        return tensor.kind
    main, _ = QUANTS[quant]
    if main == F16:
        return F16
    kind = _mixture(tensor, quant, main, shape)
    if tensor.columns % KINDS[kind].elements:
        kind = FALLBACK.get(kind, F16)
    return F16 if tensor.columns % KINDS[kind].elements else kind


def _mixture(tensor: Tensor, quant: str, main: int, shape: _Shape) -> int:
    """The format before looking at whether the blocks divide the rows."""
    if tensor.name == "output.weight" or (shape.tied and tensor.name == "token_embd.weight"):
        return Q8_0 if tensor.columns % KINDS[main].elements or main == Q8_0 else Q6_K
    if quant != "q4_k_m" or not tensor.name.startswith("blk."):
        return main
    _, layer, role, _ = tensor.name.split(".")
    sensitive = role in ("attn_v", "ffn_down") and _more_bits(int(layer), shape.layers)
    if role == "attn_v" and shape.shared and not sensitive:  # an eighth of the size it could have: worth its bits
        return Q5_K
    return Q6_K if sensitive else main


def _more_bits(layer: int, layers: int) -> bool:
    """llama.cpp's rule: the first and last eighth, and every third layer between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


_ROOM = 64 << 20
"""Bytes: less free space than this after a failure means the disk was full; llama.cpp does not say."""


def requantise(source: Path, out: Path, quant: str) -> str:
    """Write `<model>.<QUANT>.gguf` into the folder `out`; returns its name. `quant` is one of f16, q8_0, q6_k, q5_k_m, q4_k_m, q4_0.

    Run it in a child process: the library prints, and may abort. Raises EdgexpError where llama.cpp cannot.
    """
    import llama_cpp

    read_header(source)
    name = f"{source.stem.rpartition('.')[0] or source.stem}.{quant.upper()}.gguf"
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{quant.upper()}")
    params.allow_requantize = True
    llama_cpp.llama_backend_init()
    status = llama_cpp.llama_model_quantize(str(source).encode(), str(out / name).encode(), params)
    if status != 0:
        if shutil.disk_usage(out).free < _ROOM:
            raise EdgexpError(f"{out.parent}: no room for the new file; free some, or EDGEXP_HOME names another place")
        raise EdgexpError(f"{source}: llama.cpp could not requantise it (status {status})")
    read_header(out / name)
    return name
