"""The folder of a run, and the training process that works in it: what it is told, its events, its end, and what to say when it died
without a word. Knows no torch, and not what happens in a step.

A run is told by one JSON file in its folder. One process at a time works there."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from edgexp import process
from edgexp.errors import EdgexpError
from edgexp.files import hold_folder, write_atomic
from edgexp.training import events
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
    adapter: str = ""
    """The folder of the adapter that training goes on from; empty where it begins anew."""
    adapter_sha256: str = ""
    """Of its weights, of which the run's dataset has a copy."""


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
        except (OSError, ValueError, RecursionError) as error:
            raise EdgexpError(f"{self.job_file} cannot be read: {error}; choose another folder with --out") from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for this process, and remove what killed ones left half made. Raises EdgexpError while another process has it."""
        with hold_folder(self.folder, f"another process is at work in {self.folder} (a training whose command was killed stops after its "
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


Watcher = Callable[[events.Event], None]

DETAILS = 20_000
"""Bytes of the log that an error brings as its details."""

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""No sockets and no telemetry, whatever the user's own settings are."""

ENVIRONMENT = {
    # Threads that wait must sleep: spinning ones fall to a fraction of their speed as soon as anything else wants a core.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Memory that one step frees is what the next one takes: handing it back to the system in between costs time (glibc only).
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
}
"""Read by native libraries when they load; the user's own settings go first."""


def follow(run: Run, task: list[str], watch: Watcher) -> None:
    """Run one task of `child.py` to its end and pass on every event.

    Interrupted (Ctrl-C), it asks the process to stop after the step under way, waits for its checkpoint and raises KeyboardInterrupt;
    interrupted again, it ends the process at once. Raises EdgexpError with the reason of a failure.
    """
    failure: list[str] = []

    def pass_on(child: "subprocess.Popen[bytes]") -> None:
        for event in process.messages(child, events.decode):
            if isinstance(event, events.Failed):
                failure.append(event.message)
            else:
                watch(event)

    with run.log.open("ab") as log:
        before = log.tell()
        child = _start(run, task, log)
        try:
            try:
                pass_on(child)
            except KeyboardInterrupt:
                watch(events.Notice("stopping after this step; Ctrl-C again stops at once"))
                _ask_to_stop(child)
                pass_on(child)
                child.wait()
                raise
            code = child.wait()
        finally:
            if child.poll() is None:
                child.kill()
            child.communicate()
    if failure or code != 0:
        message = f"{failure[0]} (details: {run.log})" if failure else _death(run, code)
        raise EdgexpError(message, details=_said(run, before))


def _start(run: Run, task: list[str], log: Any) -> "subprocess.Popen[bytes]":
    # A group of its own: a process that Ctrl-C hits in mid-step could not save.
    return process.start("edgexp.training.child", [task[0], str(run.folder), *task[1:]], log=log, folder=run.folder, own_group=True,
                         environment={**ENVIRONMENT, **os.environ, **OFFLINE})  # fmt: skip


def _ask_to_stop(child: "subprocess.Popen[bytes]") -> None:
    assert child.stdin
    with contextlib.suppress(OSError):
        child.stdin.write(b"stop\n")
        child.stdin.flush()


def _said(run: Run, before: int) -> str:
    """What the log got since it had so many bytes; the end of it, where that is much."""
    with run.log.open("rb") as log:
        log.seek(max(before, log.seek(0, os.SEEK_END) - DETAILS))
        return log.read().decode("utf-8", "replace")


def _death(run: Run, code: int) -> str:
    if sys.platform != "win32" and code == -signal.SIGKILL:
        return f"the training process was killed, most often because memory ran out: {LESS_MEMORY}"
    return f"the training process died with code {code}, the end of {run.log} says more; the same command goes on from the last checkpoint"
