"""Number formats of GGUF tensors: their sizes, and the conversion of rows by ggml's own C functions. Knows nothing of files or models.

Only `libggml-base` is opened, through ctypes: no backend, no threads, none of the code that runs models. Calls release the interpreter
lock, so rows can be converted in parallel by ordinary threads.
"""

import ctypes
import os
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgexp.errors import EdgexpError

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


class Kind(NamedTuple):
    """A number format: `elements` numbers take `size` bytes; quantised formats come in blocks of more than one."""

    name: str
    elements: int
    size: int


F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, BF16 = 0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 30
"""The formats this package names; the numbers are ggml's and are what stands in the files."""

KINDS = {
    F32: Kind("F32", 1, 4),
    F16: Kind("F16", 1, 2),
    BF16: Kind("BF16", 1, 2),
    Q4_0: Kind("Q4_0", 32, 18),
    Q4_1: Kind("Q4_1", 32, 20),
    Q5_0: Kind("Q5_0", 32, 22),
    Q5_1: Kind("Q5_1", 32, 24),
    Q8_0: Kind("Q8_0", 32, 34),
    10: Kind("Q2_K", 256, 84),
    11: Kind("Q3_K", 256, 110),
    Q4_K: Kind("Q4_K", 256, 144),
    Q5_K: Kind("Q5_K", 256, 176),
    Q6_K: Kind("Q6_K", 256, 210),
    16: Kind("IQ2_XXS", 256, 66),
    17: Kind("IQ2_XS", 256, 74),
    18: Kind("IQ3_XXS", 256, 98),
    19: Kind("IQ1_S", 256, 50),
    20: Kind("IQ4_NL", 32, 18),
    21: Kind("IQ3_S", 256, 110),
    22: Kind("IQ2_S", 256, 82),
    23: Kind("IQ4_XS", 256, 136),
    24: Kind("I8", 1, 1),
    25: Kind("I16", 1, 2),
    26: Kind("I32", 1, 4),
    27: Kind("I64", 1, 8),
    28: Kind("F64", 1, 8),
    29: Kind("IQ1_M", 256, 56),
}
"""Every format read here, by its number in a GGUF file."""

OTHERS = {34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0", 42: "Q2_0"}
"""Formats that llama.cpp plays and that are not read here."""


def row_bytes(kind: int, columns: int) -> int:
    """Bytes of one row. Raises ValueError where the row is not whole blocks."""
    _, elements, size = KINDS[kind]
    if columns % elements:
        raise ValueError(f"rows of {columns} numbers cannot be {KINDS[kind].name}, whose blocks hold {elements}")
    return columns // elements * size


class _Traits(ctypes.Structure):
    """`struct ggml_type_traits` of ggml.h."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
        ("from_float", ctypes.c_void_p),
    )


@cache
def _library() -> ctypes.CDLL:
    """libggml-base of the installed llama-cpp-python, found without importing it. Raises EdgexpError where it is missing or foreign."""
    folder = _library_folder()
    names = {"win32": ("ggml-base.dll", "libggml-base.dll"), "darwin": ("libggml-base.dylib", "libggml-base.so")}
    path = next((p for n in names.get(sys.platform, ("libggml-base.so",)) if (p := folder / n).is_file()), None)
    if path is None:
        raise EdgexpError(f"{folder} holds no ggml-base library; reinstall llama-cpp-python")
    if sys.platform == "win32":
        os.add_dll_directory(str(folder))
    try:
        library = ctypes.CDLL(str(path))
        library.ggml_get_type_traits.restype = ctypes.POINTER(_Traits)
        library.ggml_get_type_traits.argtypes = [ctypes.c_int]
        library.ggml_quantize_chunk.restype = ctypes.c_size_t
        library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
        for name in ("ggml_fp32_to_fp16_row", "ggml_fp16_to_fp32_row"):
            getattr(library, name).argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    except (OSError, AttributeError) as error:
        raise EdgexpError(f"the ggml library at {path} cannot be used: {error}; reinstall llama-cpp-python") from error
    return library


def _library_folder() -> Path:
    named = os.environ.get("LLAMA_CPP_LIB_PATH")
    if named:
        return Path(named)
    spec = find_spec("llama_cpp")
    if spec is None or not spec.submodule_search_locations:
        raise EdgexpError("llama-cpp-python is not installed here; install edgexp with: uv sync")
    return Path(spec.submodule_search_locations[0]) / "lib"


@cache
def _traits(kind: int) -> _Traits:
    """ggml's own description of a format, checked against `KINDS`, so that a library with other layouts is refused and not misread."""
    traits: _Traits = _library().ggml_get_type_traits(kind).contents
    name, elements, size = KINDS[kind]
    found = (traits.type_name or b"").decode("ascii", "replace")
    if (found.upper(), traits.blck_size, traits.type_size) != (name, elements, size):
        raise EdgexpError(f"the installed llama.cpp knows {name} as {found!r} ({traits.blck_size} numbers in {traits.type_size} bytes); "
                          "install the llama-cpp-python version that edgexp names")
    return traits


def unknown(kind: int) -> str:
    """What to say of a format that is not read here."""
    name = f" ({OTHERS[kind]})" if kind in OTHERS else ""
    return f"number format {kind}{name}, which edgexp cannot read to train or export; take a base in F16 or Q8_0"


def check_numbers(kind: int) -> None:
    """Raise EdgexpError for a format that `to_float` cannot read."""
    if kind not in KINDS:
        raise EdgexpError(f"a tensor has {unknown(kind)}")
    if kind not in (F32, F16, BF16) and not _traits(kind).to_float:
        raise EdgexpError(f"llama.cpp cannot turn {KINDS[kind].name} into numbers; take a base in F16 or Q8_0")


def to_float(kind: int, data: Bytes, columns: int) -> Floats:
    """Rows of a format as float32, [rows, columns]; `data` is their bytes in one piece. Raises EdgexpError for a format without numbers."""
    rows = data.size // row_bytes(kind, columns)
    if kind == F32:
        return data.view(np.float32).reshape(rows, columns)
    out = np.empty((rows, columns), np.float32)
    if kind == BF16:  # the upper half of a float32
        out.view(np.uint32)[...] = data.view(np.uint16).reshape(rows, columns).astype(np.uint32) << 16
    elif kind == F16:
        _library().ggml_fp16_to_fp32_row(data.ctypes.data, out.ctypes.data, out.size)
    else:
        check_numbers(kind)
        _traits(kind).to_float(data.ctypes.data, out.ctypes.data, out.size)
    return out


def from_float(kind: int, values: Floats) -> Bytes:
    """The reverse of `to_float`: rows [rows, columns] of float32 in a format, as bytes. Rounds to nearest; the values must be finite."""
    values = np.ascontiguousarray(values, np.float32)
    rows, columns = values.shape
    if kind == F32:
        return values.reshape(-1).view(np.uint8)
    out = np.empty(rows * row_bytes(kind, columns), np.uint8)
    if kind == F16:
        _library().ggml_fp32_to_fp16_row(values.ctypes.data, out.ctypes.data, values.size)
    else:
        _traits(kind)
        written = _library().ggml_quantize_chunk(kind, values.ctypes.data, out.ctypes.data, 0, rows, columns, None)
        if written != out.size:
            raise EdgexpError(f"llama.cpp wrote {written} bytes of {KINDS[kind].name} instead of {out.size}; reinstall llama-cpp-python")
    return out
