"""A GGUF rewritten with another tensor type by llama.cpp, in this process. Run in a child: the library prints, and may abort."""

import shutil
from pathlib import Path

from edgexp.errors import EdgexpError
from edgexp.models.manifest import Requantise

_ROOM = 64 << 20
"""Bytes: less free space than this after a failure means the disk was full; llama.cpp does not say."""


def requantise(source: Path, out: Path, recipe: Requantise) -> list[str]:
    """Write `<model>.<TYPE>.gguf` into `out`; returns its name. Raises EdgexpError where llama.cpp cannot."""
    import llama_cpp

    from edgexp.export.gguf_read import open_gguf

    open_gguf(source)
    ftypes = {
        "f16": llama_cpp.LLAMA_FTYPE_MOSTLY_F16,
        "q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0,
        "q6_k": llama_cpp.LLAMA_FTYPE_MOSTLY_Q6_K,
        "q5_k_m": llama_cpp.LLAMA_FTYPE_MOSTLY_Q5_K_M,
        "q4_k_m": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M,
        "q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0,
    }
    name = f"{source.stem.rpartition('.')[0] or source.stem}.{recipe.type.upper()}.gguf"
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = ftypes[recipe.type]
    params.allow_requantize = True
    llama_cpp.llama_backend_init()
    status = llama_cpp.llama_model_quantize(str(source).encode(), str(out / name).encode(), params)
    if status != 0:
        if shutil.disk_usage(out).free < _ROOM:
            raise EdgexpError(f"{out.parent}: no room for the new file; free some, or EDGEXP_HOME names another place")
        raise EdgexpError(f"{source}: llama.cpp could not requantise it (status {status})")
    open_gguf(out / name)
    return [name]
