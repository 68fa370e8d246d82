"""Samples as the training process gets them: the folder they lie in, the order they are taken in, and their figures. Knows token ids and
label spans; knows no text, no bank and no torch.

`<set>.safetensors` holds the samples of a set, `dataset.json` what they are; it is written last, so a folder with one is complete.
Sets are `train`, and the held-out trajectories under one or more memory conditions (`valid-matched`, `valid-mismatched`, `valid-none`).

Which samples make up which optimiser step is decided before the first one, from lengths and a seed alone, so that a resumed run is the
same run. Samples that go through a model together are of nearly the same length, so that little of it is padding.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from edgexp.errors import EdgexpError
from edgexp.export.reference import Sample, blocks_are_sound
from edgexp.files import write_atomic
from edgexp.prompt.messages import Layout
from edgexp.training.recipe import Train

if TYPE_CHECKING:
    from rich.console import Group

FORMAT = 1
RECORD = "dataset.json"


@dataclass(frozen=True)
class Samples:
    """Samples as token ids, and of each the half-open spans of ids that the model is to say (one an action), and those that stand apart."""

    ids: list[NDArray[np.int32]] = field(default_factory=list)
    spans: list[NDArray[np.int64]] = field(default_factory=list)
    """[actions, 2] of each sample, ascending."""
    blocks: list[NDArray[np.int64]] = field(default_factory=list)
    """[past episodes that stand apart, 2] of each sample, each where the one before it ends; see `edgexp.prompt.render.Rendered`."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sample."""
        return [len(i) for i in self.ids]

    def labels(self, sample: int) -> NDArray[np.int64]:
        """Positions of the label tokens of a sample."""
        return np.concatenate([np.arange(first, last) for first, last in self.spans[sample]])

    def add(self, ids: Sequence[int], spans: Sequence[tuple[int, int]], blocks: Sequence[tuple[int, int]] = ()) -> None:
        """Append a sample."""
        self.ids.append(np.array(ids, np.int32))
        self.spans.append(np.array(spans, np.int64).reshape(-1, 2))
        self.blocks.append(np.array(blocks, np.int64).reshape(-1, 2))


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
    layout: Layout = "chained"
    """How memory stands in the samples."""
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
    except (OSError, ValueError, RecursionError) as error:
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
    tensors = {**_no_blocks(len(tensors["id_counts"])), **tensors}
    samples = Samples(*(_parts(tensors[f"{part}s"], tensors[f"{part}_counts"]) for part in ("id", "span", "block")))
    _check(path, samples, record)
    return samples


def _parts(joined: NDArray[Any], counts: NDArray[np.int64]) -> list[NDArray[Any]]:
    """One after the other, so many of each."""
    return np.split(joined, np.cumsum(counts)[:-1]) if len(counts) else []


def _no_blocks(samples: int) -> dict[str, NDArray[np.int64]]:
    """What a file without blocks leaves out."""
    return {"blocks": np.zeros((0, 2), np.int64), "block_counts": np.zeros(samples, np.int64)}


def _write_set(path: Path, samples: Samples) -> str:
    import safetensors.numpy

    tensors = {
        "ids": np.concatenate(samples.ids) if samples.ids else np.zeros(0, np.int32),
        "id_counts": np.array(samples.lengths, np.int64),
        "spans": np.concatenate(samples.spans) if samples.spans else np.zeros((0, 2), np.int64),
        "span_counts": np.array([len(s) for s in samples.spans], np.int64),
    }
    if any(map(len, samples.blocks)):
        tensors |= {"blocks": np.concatenate(samples.blocks), "block_counts": np.array([len(b) for b in samples.blocks], np.int64)}
    data = safetensors.numpy.save(tensors)
    write_atomic(path, data)
    return hashlib.sha256(data).hexdigest()


def _check(path: Path, samples: Samples, record: Dataset) -> None:
    """Every id in the vocabulary; spans ascending, inside their sample, not empty, and none at its very beginning; blocks one behind the
    other, between the first id and the first label."""
    vocabulary = record.vocabulary
    for number, (ids, spans, blocks) in enumerate(zip(samples.ids, samples.spans, samples.blocks, strict=True)):
        edges = spans.reshape(-1)
        sound = len(edges) and edges[0] >= 1 and edges[-1] <= len(ids) and (np.diff(edges) >= 0).all() and (spans[:, 0] < spans[:, 1]).all()
        if not sound:
            raise EdgexpError(f"{path}: sample {number} has no labels, or labels outside of it")
        if ids.min() < 0 or ids.max() >= vocabulary:
            raise EdgexpError(f"{path}: sample {number} has an id outside the vocabulary of {vocabulary}")
        if len(blocks) and not (record.layout == "apart" and blocks_are_sound(blocks, int(edges[0]))):
            raise EdgexpError(f"{path}: sample {number} has blocks of memory where there can be none")


Batch = tuple[int, ...]
"""Samples that go through the model together, padded to the longest."""
OptimizerStep = tuple[Batch, ...]

_WINDOW = 32
"""Steps among whose samples neighbours in length are looked for: more pads less and shuffles less."""


@dataclass(frozen=True)
class Plan:
    """The steps of a whole training, and where each epoch begins."""

    steps: tuple[OptimizerStep, ...]
    per_epoch: tuple[int, ...]
    """Steps of each epoch that was planned in full."""

    def epoch(self, step: int) -> float:
        """How many times the data have been seen before `step`."""
        seen = 0.0
        for count in self.per_epoch:
            if step < count:
                return seen + step / count
            seen, step = seen + 1, step - count
        return seen


def plan_steps(lengths: Sequence[int], *, trajectories: int, at_once: int, epochs: float, steps: int, seed: int) -> Plan:
    """Steps of about `trajectories` samples in batches of at most `at_once` tokens, padding included (a longer sample goes alone).

    `steps` above 0 decides how many there are; otherwise `epochs` does, and every sample is seen once in each.
    """
    made: list[OptimizerStep] = []
    per_epoch: list[int] = []
    while not _enough(len(made), len(per_epoch), epochs, steps):
        epoch = _epoch(lengths, trajectories, at_once, Random(f"{seed}/{len(per_epoch)}"))
        per_epoch.append(len(epoch))
        made += epoch
    if steps:
        wanted = steps
    else:
        whole = int(epochs)
        wanted = sum(per_epoch[:whole]) + round((epochs - whole) * per_epoch[-1])
    return Plan(tuple(made[: max(1, wanted)]), tuple(per_epoch))


def _enough(steps: int, epochs_made: int, epochs: float, wanted: int) -> bool:
    """Whether enough epochs are planned."""
    return steps >= wanted if wanted else epochs_made >= epochs


def share_of_padding(chosen: Sequence[OptimizerStep], lengths: Sequence[int]) -> float:
    """The share of tokens in the batches of these steps that is padding."""
    real = sum(lengths[i] for step in chosen for batch in step for i in batch)
    padded = sum(max(lengths[i] for i in batch) * len(batch) for step in chosen for batch in step)
    return 1 - real / padded


def _epoch(lengths: Sequence[int], trajectories: int, at_once: int, chance: Random) -> list[OptimizerStep]:
    """Every sample once. Within a window of samples, neighbours in length form batches; batches in random order form steps."""
    order = list(range(len(lengths)))
    chance.shuffle(order)
    size = trajectories * _WINDOW
    steps: list[OptimizerStep] = []
    for start in range(0, len(order), size):
        batches = _batches(sorted(order[start : start + size], key=lambda i: (lengths[i], i)), lengths, trajectories, at_once)
        chance.shuffle(batches)
        steps += _steps(batches, trajectories)
    return steps


def _batches(ordered: Sequence[int], lengths: Sequence[int], trajectories: int, at_once: int) -> list[Batch]:
    """Runs of samples in ascending length, none larger than a step or `at_once` tokens."""
    out: list[list[int]] = []
    for index in ordered:
        if out and len(out[-1]) < trajectories and (len(out[-1]) + 1) * lengths[index] <= at_once:
            out[-1].append(index)
        else:
            out.append([index])
    return [tuple(batch) for batch in out]


def _steps(batches: Sequence[Batch], trajectories: int) -> list[OptimizerStep]:
    """Batches in their order until a step has its samples. What is left over at the end is a smaller step."""
    out: list[list[Batch]] = [[]]
    held = 0
    for batch in batches:
        if held and held + len(batch) > trajectories:
            out.append([])
            held = 0
        out[-1].append(batch)
        held += len(batch)
    return [tuple(step) for step in out if step]


GPU_TOKENS = 8192
"""Tokens that go through a GPU together where the recipe leaves it open."""


class Figures(msgspec.Struct, frozen=True):
    """Of one set. Lengths are in tokens."""

    samples: int
    actions: int
    tokens: int
    labels: int
    """Tokens that the model is to say."""
    shortest: int
    median: int
    ninety: int
    """Nine of ten samples are at most this long."""
    longest: int


class Statistics(msgspec.Struct, frozen=True):
    """Of a whole dataset. Rich prints it as tables."""

    trajectories: int = 0
    """Demonstrations to train on, before any is skipped."""
    sets: dict[str, Figures] = {}
    conditions: dict[str, int] = {}
    """Training samples by what their memory was to be …"""
    empty: int = 0
    """… and those of them that found nothing, or nothing that fitted."""
    remembered: int = 0
    """Trajectories in the memory of training samples."""
    alike: float = 0.0
    """Share of matched memory that is of the sample's own lesson: its task type, or where houses have ways of their own, its house."""
    dropped: int = 0
    """Trajectories found, but left out because they did not fit."""
    skipped: int = 0
    """Trajectories too long even without memory."""
    kept_out: int = 0
    """Trajectories neither trained on nor measured on, because they are kin of held-out ones."""
    padding: float = 0.0
    """Share of an epoch's tokens that is padding, where training samples go through the model side by side."""

    def __rich__(self) -> "Group":
        """Two tables: the sets, and the memory of the training samples."""
        from rich.console import Group
        from rich.table import Table

        sets = Table("set", box=None)
        columns = ("samples", "actions", "tokens", "labels", "median", "ninety", "longest")
        for column in columns:
            sets.add_column({"ninety": "90 %"}.get(column, column), justify="right", no_wrap=True)
        for name, row in self.sets.items():
            sets.add_row(name, *(f"{getattr(row, column):,}" for column in columns))
        rest = Table.grid(padding=(0, 2))
        for label, value in self._lines():
            rest.add_row(label, value)
        return Group(sets, "", rest)

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield "demonstrations", f"{self.trajectories:,}" + (f", {self.skipped:,} of them too long" if self.skipped else "")
        if self.kept_out:
            yield "neither trained on nor held out", f"{self.kept_out:,}, kin of held-out ones"
        yield "memory of training samples", ", ".join(f"{count:,} {kind}" for kind, count in self.conditions.items() if count)
        if self.empty:
            yield "found nothing that fits", f"{self.empty:,}"
        if self.remembered:
            left_out = f", {self.dropped:,} left out for want of room" if self.dropped else ""
            yield "trajectories remembered", f"{self.remembered:,}{left_out}"
            yield "matched memory of the same task type", f"{self.alike:.0%}"
        yield "padding on a GPU", f"{self.padding:.1%}"


def count_figures(samples: Samples) -> Figures:
    """The figures of one set."""
    lengths = sorted(samples.lengths) or [0]
    labels = sum(int((spans[:, 1] - spans[:, 0]).sum()) for spans in samples.spans)
    return Figures(
        samples=len(samples), actions=sum(map(len, samples.spans)), tokens=sum(lengths), labels=labels,
        shortest=lengths[0], median=lengths[len(lengths) // 2], ninety=lengths[ceil(0.9 * len(lengths)) - 1], longest=lengths[-1],
    )  # fmt: skip


def padding_of_epoch(lengths: Sequence[int], train: Train, seed: int) -> float:
    """The share of padding in the first epoch, as a GPU would take it."""
    if not lengths:
        return 0.0
    at_once = train.tokens_at_once or GPU_TOKENS
    epoch = plan_steps(lengths, trajectories=train.trajectories, at_once=at_once, epochs=1, steps=0, seed=seed)
    return share_of_padding(epoch.steps, lengths)
