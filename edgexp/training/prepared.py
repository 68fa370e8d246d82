"""The prepared dataset: a folder of token ids and label spans, all that the training process is given. Knows no text and no torch.

`<set>.safetensors` holds the samples of a set, `dataset.json` what they are; it is written last, so a folder with one is complete.
Sets are `train`, and the held-out trajectories under one or more memory conditions (`valid-matched`, `valid-mismatched`, `valid-none`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from edgexp.errors import EdgexpError
from edgexp.export.reference import Sample
from edgexp.home import write_atomic

FORMAT = 1
RECORD = "dataset.json"


@dataclass(frozen=True)
class Samples:
    """Samples as token ids, and of each the half-open spans of ids that the model is to say: one an action."""

    ids: list[NDArray[np.int32]] = field(default_factory=list)
    spans: list[NDArray[np.int64]] = field(default_factory=list)
    """[actions, 2] of each sample, ascending."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sample."""
        return [len(i) for i in self.ids]

    def labels(self, sample: int) -> NDArray[np.int64]:
        """Positions of the label tokens of a sample."""
        return np.concatenate([np.arange(first, last) for first, last in self.spans[sample]])

    def add(self, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> None:
        """Append a sample."""
        self.ids.append(np.array(ids, np.int32))
        self.spans.append(np.array(spans, np.int64).reshape(-1, 2))


class Dataset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`dataset.json`."""

    sets: dict[str, str]
    """Name → sha256 of its file."""
    vocabulary: int
    """Ids are below this."""
    template: str = ""
    """As in a parity reference: empty for the model file's own."""
    bank: tuple[str, ...] = ()
    """Fingerprints of the banks the samples came from."""
    reference: tuple[Sample, ...] = ()
    """What was rendered for each sample of the first held-out set."""
    statistics: dict[str, Any] = {}
    format: Annotated[int, Meta(ge=1)] = FORMAT

    @property
    def held_out(self) -> list[str]:
        """Names of the held-out sets; the first is what validation loss and parity are about."""
        return [name for name in self.sets if name != "train"]


def write(folder: Path, sets: dict[str, Samples], **about: Any) -> Dataset:
    """Write a folder; `about` are the remaining fields of its record. Raises OSError where that fails."""
    (folder / RECORD).unlink(missing_ok=True)
    shas = {name: _write_set(folder / f"{name}.safetensors", samples) for name, samples in sets.items()}
    record = Dataset(shas, **about)
    write_atomic(folder / RECORD, msgspec.json.encode(record))
    return record


def read(folder: Path) -> Dataset:
    """The record of a folder. Raises EdgexpError where it is missing, damaged or newer."""
    path = folder / RECORD
    try:
        record = msgspec.json.decode(path.read_bytes(), type=Dataset)
    except FileNotFoundError as error:
        raise EdgexpError(f"{folder} is not a prepared dataset: it has no {RECORD}") from error
    except (OSError, msgspec.DecodeError) as error:
        raise EdgexpError(f"{path} cannot be read: {error}") from error
    if record.format != FORMAT:
        raise EdgexpError(f"{path} has format {record.format}, this edgexp reads {FORMAT}; prepare it again")
    return record


def read_set(folder: Path, record: Dataset, name: str) -> Samples:
    """The samples of a set, checked. Raises EdgexpError where the file is not the one the record means."""
    import safetensors.numpy

    path = folder / f"{name}.safetensors"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EdgexpError(f"{path} cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(data).hexdigest() != record.sets[name]:
        raise EdgexpError(f"{path} is not the file that {RECORD} means; prepare the dataset again")
    tensors = safetensors.numpy.load(data)
    cuts = [np.cumsum(tensors[f"{part}_counts"])[:-1] for part in ("id", "span")]
    samples = Samples(np.split(tensors["ids"], cuts[0]), np.split(tensors["spans"], cuts[1])) if len(tensors["id_counts"]) else Samples()
    _check(path, samples, record.vocabulary)
    return samples


def _write_set(path: Path, samples: Samples) -> str:
    import safetensors.numpy

    tensors = {
        "ids": np.concatenate(samples.ids) if samples.ids else np.zeros(0, np.int32),
        "id_counts": np.array(samples.lengths, np.int64),
        "spans": np.concatenate(samples.spans) if samples.spans else np.zeros((0, 2), np.int64),
        "span_counts": np.array([len(s) for s in samples.spans], np.int64),
    }
    data = safetensors.numpy.save(tensors)
    write_atomic(path, data)
    return hashlib.sha256(data).hexdigest()


def _check(path: Path, samples: Samples, vocabulary: int) -> None:
    """Every id in the vocabulary; spans ascending, inside their sample, not empty, and none at its very beginning."""
    for number, (ids, spans) in enumerate(zip(samples.ids, samples.spans, strict=True)):
        edges = spans.reshape(-1)
        sound = len(edges) and edges[0] >= 1 and edges[-1] <= len(ids) and (np.diff(edges) >= 0).all() and (spans[:, 0] < spans[:, 1]).all()
        if not sound:
            raise EdgexpError(f"{path}: sample {number} has no labels, or labels outside of it")
        if ids.min() < 0 or ids.max() >= vocabulary:
            raise EdgexpError(f"{path}: sample {number} has an id outside the vocabulary of {vocabulary}")
