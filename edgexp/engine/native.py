"""The one door to the native llama.cpp library: loads it, keeps it quiet, remembers its last complaint.

How threads wait (spinning or sleeping) is read by the OpenMP runtime when the library is loaded, so `load` must be called with the
machine's `Tuning` before anything else imports `llama_cpp`. Knows nothing of models, sequences or prompts.
"""

import ctypes
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from edgexp.errors import EdgexpError


class Tuning(msgspec.Struct, frozen=True):
    """How to run llama.cpp on this machine; `edgexp.engine.tuning` measures it once."""

    threads: int = 1
    """Threads for one new token (generation)."""
    threads_batch: int = 1
    """Threads for many new tokens (prompts)."""
    environment: dict[str, str] = {}
    """Variables that set how waiting threads behave."""
    extra_buffers: bool = True
    """Whether llama.cpp may repack weights (AMX and the like); off where that crashes."""
    generate_rate: float = 0.0
    """Tokens per second, one at a time, when it was measured; 0 where it was not."""
    prompt_rate: float = 0.0
    """Tokens per second in a prompt when it was measured; 0 where it was not."""
    notes: tuple[str, ...] = ()


_errors: deque[str] = deque(maxlen=8)
_library: Any = None
_callback: Any = None

LEVEL_WARN, LEVEL_ERROR = 3, 4
"""Values of ggml's log levels."""


def load(tuning: Tuning | None = None) -> Any:
    """The `llama_cpp` module with its log silenced. Only the first call's tuning has an effect on waiting threads."""
    global _library, _callback
    if _library is not None:
        return _library
    for key, value in (tuning.environment if tuning else {}).items():
        os.environ.setdefault(key, value)
    try:
        import llama_cpp
    except Exception as error:  # a broken wheel raises many kinds: OSError, RuntimeError, ImportError
        advice = "reinstall it with: uv sync --reinstall-package llama-cpp-python"
        raise EdgexpError(f"llama-cpp-python does not load: {error}; {advice}") from error

    def remember(level: int, text: bytes, _: Any) -> None:
        if level in (LEVEL_WARN, LEVEL_ERROR):
            _errors.append(text.decode("utf-8", "replace").strip())

    _callback = llama_cpp.llama_log_callback(remember)
    with deferred_interrupts():
        llama_cpp.llama_log_set(_callback, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
    _library = llama_cpp
    return llama_cpp


class _Interrupts:
    """Whether Ctrl-C came while it was deferred."""

    arrived = False

    def note(self, _: int, __: FrameType | None) -> None:
        self.arrived = True


@contextmanager
def deferred_interrupts() -> Iterator[_Interrupts]:
    """Ctrl-C in this block is only noted, and takes effect at its end.

    llama.cpp calls back into Python to log. An exception that a signal raises there is printed and lost, because there is no way through
    C for it; the program would go on as if nobody had pressed anything.
    """
    noted, before = _Interrupts(), signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield noted  # signals are not handled here, or not by Python
        return
    signal.signal(signal.SIGINT, noted.note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)
        if noted.arrived:
            before(signal.SIGINT, None)


def last_error() -> str:
    """What llama.cpp last complained about, one line; empty if nothing."""
    for line in reversed(_errors):
        if line and not line.endswith("failed to load model"):
            return line.splitlines()[-1]
    return ""


def library_path() -> Path:
    """The file of the native library, found without loading it. Raises EdgexpError where llama-cpp-python is not installed."""
    import importlib.util

    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or not spec.submodule_search_locations:
        raise EdgexpError("llama-cpp-python is not installed here; install edgexp with: uv sync")
    folder = Path(spec.submodule_search_locations[0]) / "lib"
    found = sorted(p for p in folder.glob("*llama.*") if p.suffix in (".so", ".dylib", ".dll"))
    if not found:
        raise EdgexpError(f"{folder} holds no llama library; reinstall llama-cpp-python")
    return found[0]


MAGIC = b"GGUF"


def open_native(path: Path, *, vocab_only: bool = False, tuning: Tuning | None = None, gpu_layers: int = 0) -> Any:
    """The native handle of a GGUF file. Raises EdgexpError with the file's name when it is missing, no GGUF, or cut short."""
    check_file(path)
    lib = load(tuning)
    params = lib.llama_model_default_params()
    params.vocab_only = vocab_only
    params.n_gpu_layers = gpu_layers
    params.use_extra_bufts = tuning.extra_buffers if tuning else False
    _errors.clear()
    with deferred_interrupts() as interrupts:
        go_on = lib.llama_progress_callback(lambda _, __: not interrupts.arrived)
        params.progress_callback = go_on
        handle = lib.llama_model_load_from_file(os.fsencode(path), params)
        if interrupts.arrived and handle:
            lib.llama_model_free(handle)
    if interrupts.arrived:
        raise KeyboardInterrupt
    if not handle:
        reason = last_error() or "llama.cpp gave no reason"
        raise EdgexpError(f"{path} cannot be loaded: {reason}; check it with: edgexp models verify")
    return handle


def check_file(path: Path) -> None:
    """Raise EdgexpError unless `path` is a file that begins like a GGUF."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except FileNotFoundError as error:
        raise EdgexpError(f"no model file at {path}") from error
    except OSError as error:
        raise EdgexpError(f"{path} cannot be read: {error.strerror or error}") from error
    if magic != MAGIC:
        raise EdgexpError(f"{path} is not a GGUF file (it begins with {magic!r}); edgexp runs GGUF models, see docs/models.md")


def chat_template(handle: Any) -> str | None:
    """The chat template inside the file, None where there is none."""
    text = load().llama_model_chat_template(handle, None)
    return text.decode("utf-8", "replace") if text else None


def named_templates(handle: Any) -> dict[str, str]:
    """The chat templates that the file holds beside the usual one, by their names."""
    lib, key, buffer = load(), "tokenizer.chat_template.", ctypes.create_string_buffer(256)
    names = []
    for index in range(lib.llama_model_meta_count(handle)):
        if lib.llama_model_meta_key_by_index(handle, index, buffer, len(buffer)) > 0:
            names.append(buffer.value.decode("utf-8", "replace"))
    found = {name.removeprefix(key): lib.llama_model_chat_template(handle, name.removeprefix(key).encode())
             for name in names if name.startswith(key)}
    return {name: text.decode("utf-8", "replace") for name, text in found.items() if text}
