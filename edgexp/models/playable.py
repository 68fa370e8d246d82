"""What a GGUF file is by its header, and what to do with one that is no model that acts. Reads no weights and loads no library.

Only what is known to write no text is refused here; of everything else llama.cpp is the judge, in a child process. Knows nothing of how a
model is run.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgexp.errors import EdgexpError
from edgexp.models.model_files import open_header, parts_of

if TYPE_CHECKING:
    from edgexp.gguf.reader import GgufFile

EMBEDDERS = frozenset({"bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3", "eurobert",
                       "gemma-embedding", "llama-embed"})
"""Architectures of llama.cpp that turn texts into vectors and write none."""
TRANSLATORS = frozenset({"t5", "t5encoder"})
DIFFUSERS = frozenset({"dream", "llada", "llada-moe", "rnd1"})

_NAME_ONE = "name a model that writes text"


def check_playable(header: "GgufFile") -> None:
    """Raise EdgexpError, saying what the file is and what to do, where it is no language model that writes token by token."""
    problem = _part_problem(header) or _kind_problem(header)
    if problem:
        raise EdgexpError(f"{header.path} {problem}")


def read_playable(path: Path) -> "GgufFile":
    """The header of a file that may be played. Raises EdgexpError as `check_playable`, or for what is no GGUF."""
    header = open_header(path)
    check_playable(header)
    return header


def layout_of(path: Path) -> Literal["chained", "apart"]:
    """How memory stood in the prompts that a model was trained on; chained where its file does not say."""
    from edgexp.gguf.lora import LAYOUT_KEY

    return "apart" if open_header(path).text(LAYOUT_KEY) == "apart" else "chained"


def _part_problem(header: "GgufFile") -> str:
    """What is wrong with one file of several."""
    count, number = header.number("split.count"), header.number("split.no")
    if count <= 1:
        return ""
    parts = parts_of(header.path)
    if number > 0:
        return f"is part {number + 1} of a model in {count} files; name the first ({parts[0].name})"
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        return f"is the first of {count} files, of which {missing[0]} is not beside it; put all of them into one folder"
    return ""


def _kind_problem(header: "GgufFile") -> str:
    """What the file is instead of a model that acts; empty where it may be one."""
    kind, architecture = header.text("general.type"), header.text("general.architecture")
    if kind == "adapter" or "adapter.type" in header.entries:
        return "is a LoRA adapter, which is nothing without its base; merge the two into one GGUF (llama-export-lora) and name that"
    if kind == "mmproj" or architecture == "clip" or "clip.has_vision_encoder" in header.entries:
        return "is a projector for images or sound (mmproj), not the model itself; name the language model's own GGUF, which lies beside it"
    if kind == "imatrix" or architecture == "controlvector":
        return f"is an {'importance matrix' if kind == 'imatrix' else 'aid'} for a model and no model; {_NAME_ONE}"
    if not architecture:
        return "has no metadata 'general.architecture'; it is not a complete language model"
    if not header.tensors and header.number("split.count") <= 1:
        return f"holds a vocabulary and no weights; {_NAME_ONE}"
    if architecture in DIFFUSERS:
        return f"is a diffusion model ({architecture}), which writes all of a text at once; {_NAME_ONE} from left to right"
    if architecture in EMBEDDERS or header.number(f"{architecture}.pooling_type") or header.is_off(f"{architecture}.attention.causal"):
        return (f"is an embedding or reranking model, which writes no text; {_NAME_ONE}, and see docs/models.md for how to use another "
                "sentence encoder")
    if architecture in TRANSLATORS:
        return f"is an encoder with a decoder ({architecture}), which edgexp does not run; {_NAME_ONE} from left to right"
    if not any(name.startswith(("token_embd", "blk.")) for name in header.tensors) and header.number("split.count") <= 1:
        return f"has none of a language model's tensors (its architecture is {header.architecture}); {_NAME_ONE}"
    return ""
