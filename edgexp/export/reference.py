"""What a trained model says on held-out trajectories, left beside its adapter so that an export can be compared without torch.

One safetensors file, `reference.safetensors`: token ids of some samples, and at every label token (a token of an action or its end of
turn) the trained model's log-probability of it and the token it would have said itself. The file also carries what was rendered, so that
the exported model's own tokenizer and template can be asked for the same ids. Training writes it, export reads it; knows neither.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from edgexp.errors import EdgexpError
from edgexp.files import write_atomic
from edgexp.prompt.messages import Layout
from edgexp.trajectory import Trajectory

FILE = "reference.safetensors"
FORMAT = 1
Precision = Literal["f32", "bf16", "f16", "nf4"]
"""The numbers the trained model's base had while the reference was computed; nf4 is bitsandbytes' 4-bit."""


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was rendered: the renderer's arguments."""

    instructions: str
    trajectory: Trajectory
    memory: tuple[Trajectory, ...] = ()


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the reference comes from. Kept as JSON in the file's metadata under the key `edgexp`."""

    precision: Precision
    adapter_sha256: str
    """Of adapter_model.safetensors, so that a reference cannot be mistaken for another adapter's."""
    template: str = ""
    """The chat template's text or built-in name; empty for the one in the model file."""
    samples: tuple[Sample, ...] = ()
    """Either empty or one for each row of ids."""
    layout: Layout = "chained"
    """How memory stands in the samples."""
    format: Annotated[int, Meta(ge=1)] = FORMAT


@dataclass(frozen=True)
class Reference:
    """The trained model's answers. `positions[i]` lists the label tokens of sample i, as ascending indices into `ids[i]`, each above 0."""

    origin: Origin
    ids: list[NDArray[np.int32]]
    positions: list[NDArray[np.int64]]
    logprobs: list[NDArray[np.float32]]
    """Natural logarithm of the probability of the label token, given all before it."""
    greedy: list[NDArray[np.int32]]
    """The most probable token at each label."""
    blocks: list[NDArray[np.int64]] = field(default_factory=list)
    """Half-open spans of each sample's ids that stand apart [blocks, 2]; empty where no sample has any."""

    @property
    def labels(self) -> int:
        """Label tokens in all."""
        return sum(len(p) for p in self.positions)


def write_reference(folder: Path, reference: Reference) -> Path:
    """Write the file into an adapter's folder, in one step."""
    import safetensors.numpy

    tensors = {
        "ids": _joined(reference.ids, np.int32),
        "id_counts": np.array([len(i) for i in reference.ids], np.int64),
        "positions": _joined(reference.positions, np.int64),
        "label_counts": np.array([len(p) for p in reference.positions], np.int64),
        "logprobs": _joined(reference.logprobs, np.float32),
        "greedy": _joined(reference.greedy, np.int32),
    }
    if any(map(len, reference.blocks)):
        tensors |= {"blocks": np.concatenate(reference.blocks), "block_counts": np.array([len(b) for b in reference.blocks], np.int64)}
    data = safetensors.numpy.save(tensors, {"edgexp": msgspec.json.encode(reference.origin).decode()})
    write_atomic(folder / FILE, data)
    return folder / FILE


def read_reference(path: Path) -> Reference:
    """Read and check a reference. Raises EdgexpError naming the file and what is wrong with it."""
    import safetensors

    try:
        with safetensors.safe_open(path, "np") as file:
            meta = file.metadata() or {}
            present = {*_NEEDED, *(_BLOCKS & set(file.keys()))}
            tensors = {name: file.get_tensor(name) for name in present}
    except FileNotFoundError as error:
        raise EdgexpError(f"there is no {path}; training leaves it beside the adapter, or export with --no-gate") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise EdgexpError(f"{path} is no parity reference: {error}") from error
    try:
        origin = msgspec.json.decode(meta.get("edgexp", ""), type=Origin)
    except msgspec.DecodeError as error:
        raise EdgexpError(f"{path} is no parity reference: its metadata do not fit: {error}") from error
    if origin.format != FORMAT:
        raise EdgexpError(f"{path} has format {origin.format}, this edgexp reads {FORMAT}; train again or update edgexp")
    return _checked(path, _split(path, origin, tensors))


_NEEDED = frozenset({"ids", "id_counts", "positions", "label_counts", "logprobs", "greedy"})
_BLOCKS = frozenset({"blocks", "block_counts"})


def _joined(parts: list[NDArray[np.generic]] | list[NDArray[np.int32]] | list[NDArray[np.int64]] | list[NDArray[np.float32]],
            kind: type[np.generic]) -> NDArray[np.generic]:
    return np.concatenate([np.asarray(p, kind) for p in parts]) if parts else np.zeros(0, kind)


def _split(path: Path, origin: Origin, tensors: dict[str, NDArray[np.generic]]) -> Reference:
    id_counts, label_counts = tensors["id_counts"], tensors["label_counts"]
    wanted = {"ids": id_counts, "positions": label_counts, "logprobs": label_counts, "greedy": label_counts}
    for name, counts in wanted.items():
        if counts.size == 0 or counts.min() < 1 or int(counts.sum()) != tensors[name].size:
            raise EdgexpError(f"{path} is damaged: the counts do not fit {name}")
    parts = {name: np.split(tensors[name], np.cumsum(counts)[:-1]) for name, counts in wanted.items()}
    return Reference(origin, **parts, blocks=_blocks(path, tensors, len(id_counts)))


def _blocks(path: Path, tensors: dict[str, NDArray[Any]], samples: int) -> list[NDArray[np.int64]]:
    """The blocks of each sample; an empty list where the file has none."""
    if not tensors.keys() & _BLOCKS:
        return []
    try:
        blocks, counts = tensors["blocks"].astype(np.int64).reshape(-1, 2), tensors["block_counts"]
    except (KeyError, ValueError) as error:
        raise EdgexpError(f"{path} is damaged: its blocks of memory are not whole") from error
    if len(counts) != samples or counts.min() < 0 or int(counts.sum()) != len(blocks):
        raise EdgexpError(f"{path} is damaged: the counts do not fit blocks")
    return np.split(blocks, np.cumsum(counts)[:-1])


def _checked(path: Path, reference: Reference) -> Reference:
    if len(reference.ids) != len(reference.positions) or (reference.origin.samples and len(reference.origin.samples) != len(reference.ids)):
        raise EdgexpError(f"{path} is damaged: it has answers for another number of samples")
    no_blocks = [np.zeros((0, 2), np.int64)] * len(reference.ids)
    rows = zip(reference.ids, reference.positions, reference.logprobs, reference.blocks or no_blocks, strict=True)
    for ids, positions, logprobs, blocks in rows:
        if positions[0] < 1 or positions[-1] >= len(ids) or (np.diff(positions) < 1).any():
            raise EdgexpError(f"{path} is damaged: label positions are out of order or outside the sample")
        if len(blocks) and not (reference.origin.layout == "apart" and blocks_are_sound(blocks, int(positions[0]))):
            raise EdgexpError(f"{path} is damaged: a sample has blocks of memory where there can be none")
        if not np.isfinite(logprobs).all() or logprobs.max() > 1e-3:
            raise EdgexpError(f"{path} holds log-probabilities that are none; the training went wrong, take an earlier checkpoint")
    return reference


def blocks_are_sound(blocks: NDArray[np.int64], end: int) -> bool:
    """Whether spans [blocks, 2] follow one another without a gap, none empty, between the first id and the one before `end`."""
    first, last = blocks.T
    return bool(first[0] > 0 and last[-1] < end and (first < last).all() and (first[1:] == last[:-1]).all())
