"""From a chosen checkpoint to a finished adapter: weights in 16 bits, configuration, and the answers that an export is compared with. Knows
nothing of how the checkpoint was trained or chosen.

The reference is computed from the weights of the GGUF that an export merges into, with the adapter's very numbers as stored, in 32 bits
where memory allows: so the gate can be tight. What the model said as it was trained (from a checkpoint, in bf16, on 4-bit weights) is kept
beside it in `as-trained/`, which shows how much that is worth."""

import hashlib
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from edgexp.errors import EdgexpError
from edgexp.export.reference import Origin, Precision, Reference, write_reference
from edgexp.files import write_atomic
from edgexp.training import backend, checkpoint, loop, prepared
from edgexp.training.events import Say, Scores
from edgexp.training.launch import Job, Run

AS_TRAINED = "as-trained"


def finish(run: Run, job: Job, folder: Path, step: int, say: Say) -> dict[str, Scores]:
    """Write adapter, configuration and references of a step's checkpoint into the adapter folder; scores of the exact arithmetic.

    Raises EdgexpError where the checkpoint is damaged, or holds a number that 16 bits do not.
    """
    chosen = checkpoint.read(run.checkpoints / checkpoint.name(step))
    tensors = {key: _halved(key, value) for key, value in checkpoint.load_adapter(chosen.folder).items()}
    data = safetensors.torch.save(tensors)
    run.adapter.mkdir(parents=True, exist_ok=True)
    write_atomic(run.adapter / checkpoint.ADAPTER, data)
    write_atomic(run.adapter / "adapter_config.json", (chosen.folder / "adapter_config.json").read_bytes())

    record = prepared.read(run.data)
    if not record.held_out:
        say("nothing was held out: there is no parity reference, and an export needs --no-gate")
        return {}
    samples = prepared.read_set(run.data, record, record.held_out[0])
    sha256 = hashlib.sha256(data).hexdigest()
    learner = backend.load(folder, job.recipe, say, samples)
    trained: Precision = "nf4" if learner.four_bit else learner.precision
    _write_answers(run.adapter / AS_TRAINED, learner, tensors, samples, _origin(record, trained, sha256))
    size = learner.size
    del learner
    backend.free()
    exact: backend.Precision = "f32" if backend.roomy(size, backend.device()) else "bf16"
    learner = backend.load_exact(_merged_into(job, folder, say), job.recipe, exact)
    if not backend.reads_apart(learner, samples, training=False):
        raise EdgexpError("what loads this model does not read memory that stands apart as it is served; there can be no parity reference")
    said = _write_answers(run.adapter, learner, tensors, samples, _origin(record, exact, sha256))
    return {f"{record.held_out[0].removeprefix('valid-')} in {exact}": loop.scores(samples, said)}


def _merged_into(job: Job, folder: Path, say: Say) -> Path:
    """The folder with the weights of the GGUF, also where training began from a checkpoint's."""
    if not job.base.checkpoint:
        return folder
    try:
        return backend.folder_of(Path(job.base.gguf), job.base.sha256, "", Path(job.cache), say)
    except EdgexpError as error:  # some models can only be trained from a checkpoint
        say(f"the parity reference is made from base.checkpoint, so the export's gate may refuse a merge into other weights: {error}")
        return folder


def _halved(key: str, value: Tensor) -> Tensor:
    half = value.to(torch.float16)
    if not torch.isfinite(half).all():
        raise EdgexpError(f"{key} holds a number that is none, or too large for 16 bits; the training went wrong, take an earlier one")
    return half


def _origin(record: prepared.Dataset, precision: Precision, sha256: str) -> Origin:
    return Origin(precision, sha256, record.template, record.reference, record.layout)


def _write_answers(folder: Path, learner: backend.Learner, tensors: dict[str, Tensor], samples: prepared.Samples,
           origin: Origin) -> loop.Answers:
    learner.load_adapter({key: value.float() for key, value in tensors.items()})
    said = loop.ask(learner, samples)
    folder.mkdir(parents=True, exist_ok=True)
    write_reference(folder, Reference(origin, samples.ids, said.positions, said.logprobs, said.greedy, samples.blocks))
    return said
