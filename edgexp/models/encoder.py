"""`encoder.json`: how a folder with an ONNX sentence encoder is to be used. Loads no graph; knows nothing of how it was made.

A folder holds the graph, tokenizer.json and encoder.json. The graph takes `input_ids` and `attention_mask` (int64, [n, t]) and gives
either unit vectors `embedding` (float32, [n, dimensions]; pooling "done") or token embeddings [n, t, dimensions] that the reader pools.
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgexp.errors import EdgexpError
from edgexp.models import model_files

NAME = "encoder.json"


class EncoderConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a reader must know to turn texts into vectors with this folder."""

    dimensions: Annotated[int, Meta(ge=1)]
    max_tokens: Annotated[int, Meta(ge=2)]
    """Longer texts are cut by the tokenizer, special tokens included in the count."""
    graph: str = "model.onnx"
    tokenizer: str = "tokenizer.json"
    """Its own padding and truncation settings do not count."""
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    output: str = "embedding"
    pooling: Literal["done", "mean", "cls", "last"] = "done"
    """"done": the graph pools and scales to unit length itself."""
    query_prefix: str = ""
    """Put before a query, not before what is searched."""
    batch: Annotated[int, Meta(ge=0)] = 0
    """Most texts in one call; 0 for any number."""
    fingerprint: str = ""
    """What decides the vectors: source digests, recipe and converter. Equal fingerprints may share an index. Empty: unknown."""


def read(folder: Path) -> EncoderConfig:
    """The settings of an encoder folder. Raises EdgexpError where the folder is none."""
    try:
        config = msgspec.json.decode((folder / NAME).read_bytes(), type=EncoderConfig)
    except OSError as error:
        raise EdgexpError(f"{folder}: is no encoder folder: {NAME} cannot be read") from error
    except (ValueError, RecursionError) as error:
        raise EdgexpError(f"{folder / NAME}: {error}") from error
    for name in (config.graph, config.tokenizer):
        if not (folder / name).is_file():
            raise EdgexpError(f"{folder}: is no encoder folder: {name} is missing")
    return config


def write(folder: Path, config: EncoderConfig) -> None:
    """Write `encoder.json` into a folder being made."""
    (folder / NAME).write_bytes(msgspec.json.format(msgspec.json.encode(config)) + b"\n")


def files(folder: Path, config: EncoderConfig) -> set[str]:
    """Names of the files that decide the vectors: the graph, its external data, the tokenizer and the settings."""
    beside = {path.name for path in folder.glob(f"{Path(config.graph).stem}*.onnx_data*")}
    return {config.graph, config.tokenizer, NAME} | beside


def fingerprint_of(folder: Path) -> str:
    """The folder's stated fingerprint, or a digest of its files where it states none."""
    config = read(folder)
    return config.fingerprint or model_files.sha256_of_mapping({name: model_files.sha256(folder / name) for name in files(folder, config)})
