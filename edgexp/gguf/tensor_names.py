"""Which tensor of a GGUF file a trained module is, and in which order that tensor keeps its rows. Knows nothing of files or values.

Training frameworks name modules after their code (`model.layers.3.self_attn.q_proj`), GGUF after their role (`blk.3.attn_q.weight`). The
`llama` architecture also reorders the rows of the query and key projections, because llama.cpp rotates neighbouring numbers of a head
where the training code rotates the two halves of the head.
"""

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgexp.errors import EdgexpError

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
