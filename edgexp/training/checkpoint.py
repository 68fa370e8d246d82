"""Checkpoints: all that a training needs to go on as if it had never stopped. A folder is complete when it has its name.

Chance is no part of it: what is random in a step is a function of the seed and the step's number. Knows tensors, not models; listing
and checking needs no torch.
"""

import contextlib
import hashlib
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgexp.errors import EdgexpError
from edgexp.files import build_folder, write_atomic
from edgexp.training.events import Scores

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

FORMAT = 1
RECORD, ADAPTER, OPTIMIZER = "checkpoint.json", "adapter_model.safetensors", "optimizer.safetensors"


class Record(msgspec.Struct, frozen=True):
    """`checkpoint.json`."""

    step: int
    files: dict[str, str]
    """Name → sha256."""
    numbers: dict[str, dict[str, int | float | bool | str]]
    """What the optimiser remembers of each parameter beside tensors."""
    scores: dict[str, Scores] = {}
    """The latest evaluation, where it was made at this very step."""
    format: int = FORMAT


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk."""

    folder: Path
    record: Record


def name(step: int) -> str:
    """The folder of a step's checkpoint."""
    return f"step-{step:06d}"


def save(parent: Path, step: int, adapter: "Mapping[str, Tensor]", config: bytes, optimizer: "Optimizer",
         scores: dict[str, Scores]) -> Checkpoint:
    """Write a checkpoint. Raises EdgexpError where the disk will not have it; earlier checkpoints stay as they are."""
    final = parent / name(step)
    try:
        with build_folder(final, final.name) as work:
            record = _write(work, step, adapter, config, optimizer, scores)
    except OSError as error:
        raise EdgexpError(f"the checkpoint of step {step} cannot be written to {parent}: {error.strerror or error}; make room and run the "
                          "same command again, it goes on from the checkpoint before") from error
    return Checkpoint(final, record)


def steps(parent: Path) -> list[int]:
    """The steps that have a checkpoint, ascending."""
    found = (re.fullmatch(r"step-(\d{6,})", path.name) for path in parent.glob("step-*"))
    return sorted(int(match[1]) for match in found if match)


def scores(parent: Path) -> dict[int, dict[str, Scores]]:
    """The evaluations that were made at checkpoints, by step, ascending."""
    found = {}
    for step in steps(parent):
        with contextlib.suppress(OSError, ValueError, RecursionError):  # what is damaged is for `latest` to report
            found[step] = msgspec.json.decode((parent / name(step) / RECORD).read_bytes(), type=Record).scores
    return {step: made for step, made in found.items() if made}


def read(folder: Path) -> Checkpoint:
    """A checkpoint, every file compared with its digest. Raises EdgexpError naming what is wrong."""
    try:
        record = msgspec.json.decode((folder / RECORD).read_bytes(), type=Record)
        for file, sha256 in record.files.items():
            if hashlib.sha256((folder / file).read_bytes()).hexdigest() != sha256:
                raise EdgexpError(f"{folder / file} is damaged")
    except (OSError, ValueError, RecursionError) as error:
        raise EdgexpError(f"{folder} is no checkpoint: {error}") from error
    if record.format != FORMAT:
        raise EdgexpError(f"{folder} has format {record.format}, this edgexp reads {FORMAT}")
    return Checkpoint(folder, record)


def latest(parent: Path) -> tuple[Checkpoint | None, list[str]]:
    """The last sound checkpoint, and what is wrong with those after it, which are removed."""
    wrong: list[str] = []
    for step in reversed(steps(parent)):
        try:
            return read(parent / name(step)), wrong
        except EdgexpError as error:
            wrong.append(str(error))
            shutil.rmtree(parent / name(step), ignore_errors=True)
    return None, wrong


def restore(checkpoint: Checkpoint, optimizer: "Optimizer") -> "dict[str, Tensor]":
    """Put the optimiser's memory back; returns the adapter's tensors."""
    import safetensors.torch

    state: dict[int, dict[str, Any]] = {int(index): dict(numbers) for index, numbers in checkpoint.record.numbers.items()}
    for key, tensor in safetensors.torch.load_file(checkpoint.folder / OPTIMIZER).items():
        index, part = key.split(".", 1)
        state.setdefault(int(index), {})[part] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return load_adapter(checkpoint.folder)


def load_adapter(folder: Path) -> "dict[str, Tensor]":
    """The adapter's tensors, by peft's names."""
    import safetensors.torch

    tensors: dict[str, Tensor] = safetensors.torch.load_file(folder / ADAPTER)
    return tensors


def load_first(path: Path, sha256: str) -> "dict[str, Tensor]":
    """The tensors of an adapter that training goes on from, by peft's names. Raises EdgexpError where they are other ones than meant."""
    import safetensors.torch

    try:
        data = path.read_bytes()
    except OSError as error:
        raise EdgexpError(f"{path} cannot be read: {error.strerror or error}; train again with --fresh") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise EdgexpError(f"{path} is not the adapter that this training began with; train again with --fresh")
    found: dict[str, Tensor] = safetensors.torch.load(data)
    return {_NAMED.sub(r".\1.weight", name): tensor.float() for name, tensor in found.items()}


_NAMED = re.compile(r"\.(lora_[AB])\.default\.weight$")
"""Some versions of peft write the name that an adapter has in memory."""


def prune(parent: Path, keep: int, chosen: set[int]) -> None:
    """Remove all but the last `keep` checkpoints and the `chosen` steps; 0 keeps all."""
    for step in steps(parent)[:-keep] if keep else []:
        if step not in chosen:
            shutil.rmtree(parent / name(step), ignore_errors=True)


def _write(work: Path, step: int, adapter: "Mapping[str, Tensor]", config: bytes, optimizer: "Optimizer",
           scores: dict[str, Scores]) -> Record:
    import safetensors.torch
    from torch import Tensor

    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, int | float | bool | str]] = {}
    for index, parts in optimizer.state_dict()["state"].items():
        for part, value in parts.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{part}"] = value.detach().cpu().contiguous()
            else:
                numbers.setdefault(str(index), {})[part] = value
    weights = safetensors.torch.save({key: value.detach().cpu().contiguous() for key, value in adapter.items()})
    files = {ADAPTER: weights, OPTIMIZER: safetensors.torch.save(tensors), "adapter_config.json": config}
    for file, data in files.items():
        write_atomic(work / file, data)
    record = Record(step, {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}, numbers, scores)
    write_atomic(work / RECORD, msgspec.json.encode(record))
    return record
