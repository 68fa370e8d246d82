"""From what is served to what trains: a GGUF expanded once to a folder of plain weights, and how much memory decides the type.

The folder is what transformers and Unsloth load from: config.json, model.safetensors and the tokenizer files they insist on.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from edgexp.errors import EdgexpError
from edgexp.home import sweep, write_atomic

_LARGE = 1_000_000_000
"""Parameters from which on expanded weights are kept in 16 bits."""
_DONE = "expanded.json"


def folder_of(gguf: Path, sha256: str, checkpoint: str, cache: Path, say: Callable[[str], None]) -> Path:
    """A folder to load from: the checkpoint where one is named, else the GGUF's weights, expanded into the cache where they are not yet."""
    if checkpoint:
        folder = Path(checkpoint).expanduser()
        if not (folder / "config.json").is_file():
            raise EdgexpError(f"{checkpoint} is not a checkpoint: it has no config.json; set base.checkpoint to a folder with the model's "
                              "unquantised weights, or to \"\" for those of the GGUF")
        return folder
    sweep(cache, ".*-*")
    folder = cache / sha256[:24]
    if not (folder / _DONE).is_file():
        say(f"expanding {gguf.name} for training (once)")
        _expand(gguf, folder)
    return folder


def _expand(gguf: Path, folder: Path) -> None:
    """Write the expanded weights under a working name, then give them theirs."""
    from transformers import AutoTokenizer

    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        model = _load_gguf(gguf)
        # Above a billion parameters 32 bits would cost more disk than most have; the GGUF's own numbers have no more than 16 anyway.
        model.to(torch.bfloat16 if model.num_parameters() > _LARGE else torch.float32).save_pretrained(work)
        AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name).save_pretrained(work)
        write_atomic(work / _DONE, b"{}")
        shutil.rmtree(folder, ignore_errors=True)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _load_gguf(gguf: Path) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise EdgexpError(f"{gguf} cannot be expanded for training: {error}; set base.checkpoint to a folder with this model's unquantised "
                          "weights") from error
    # transformers remembers that the weights came out of a GGUF and would not save them as the plain numbers they now are.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    return model


def roomy(parameters: int, device: torch.device) -> bool:
    """Whether the weights in 32 bits take less than half of the device's memory."""
    if device.type == "cuda":
        memory = int(torch.cuda.get_device_properties(device).total_memory)
    else:
        memory = _system_memory()
    return parameters * 4 < memory / 2


def _system_memory() -> int:
    """Bytes of main memory; 8 GB where the system does not say."""
    import os

    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 << 30
