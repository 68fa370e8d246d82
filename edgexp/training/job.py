"""What a training process is told: one JSON file in the run's folder, where everything in that folder lies, and who works there. Knows no
torch.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import msgspec

from edgexp.errors import EdgexpError
from edgexp.home import held, write_atomic
from edgexp.training.recipe import Recipe

FILE = "job.json"

LESS_MEMORY = ("with --set train.recompute=true the same command goes on from the last checkpoint; where that is not enough, lower "
               "train.tokens_at_once or train.sequence, set base.four_bit = true or take a smaller model, and train anew with --fresh, or "
               "in another folder with --out")
"""What to do when memory runs out: the one setting that a run may change on its way, and those that make it another training."""


class Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The weights to start from, found and checked."""

    name: str
    """What the adapter will say it was trained on: a name of `edgexp models ls`, or a GGUF's path."""
    gguf: str
    sha256: str
    """Of the GGUF."""
    checkpoint: str = ""
    """A folder with unquantised weights of the same model; empty where the GGUF's own are used."""


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run: recipe, base, and the prepared dataset in its folder."""

    name: str
    recipe: Recipe
    base: Base
    cache: str
    """Folder for weights expanded from GGUF files; shared by runs."""


class Run:
    """The folder of a run."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.job_file, self.metrics, self.log = folder / FILE, folder / "metrics.jsonl", folder / "child.log"
        self.data, self.checkpoints, self.adapter = folder / "data", folder / "checkpoints", folder / "adapter"

    def write_job(self, job: Job) -> None:
        """Record what this run is."""
        write_atomic(self.job_file, msgspec.json.format(msgspec.json.encode(job), indent=2))

    def job(self) -> Job | None:
        """What this run is; None where the folder is no run yet. Raises EdgexpError where the file is not one of ours."""
        try:
            return msgspec.json.decode(self.job_file.read_bytes(), type=Job)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise EdgexpError(f"{self.job_file} cannot be read: {error}; choose another folder with --out") from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for this process, and remove what killed ones left half made. Raises EdgexpError while another process has it."""
        with held(self.folder, f"another process is at work in {self.folder} (a training whose command was killed stops after its "
                               "step): wait for it and run the same command again, or choose another folder with --out"):  # fmt: skip
            for left in chain(self.checkpoints.glob(".step-*"), self.checkpoints.glob(".rollouts-*")):
                shutil.rmtree(left, ignore_errors=True)
            yield


def same_training(a: Job, b: Job) -> bool:
    """Whether both would take the same steps: all is equal but name, description, what is measured on the way and `train.recompute`."""
    return _steps_of(a) == _steps_of(b)


def _steps_of(job: Job) -> tuple[Base, Recipe]:
    check = msgspec.structs.replace(Recipe().check, held_out=job.recipe.check.held_out)
    train = msgspec.structs.replace(job.recipe.train, recompute=False)
    return job.base, msgspec.structs.replace(job.recipe, description="", check=check, train=train)
