"""The native parts of an export, each in a child process: a crash there is one line here, and its memory is given back when it ends.

The parent sends a job to `edgexp.export.worker` on its standard input and reads JSON lines: progress, then one answer or a failure. What
libraries print goes to the child's standard error, whose last line is quoted when it dies.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

import edgexp
from edgexp.errors import EdgexpError, UsageError
from edgexp.export.parity import Parity

Progress = Callable[[int, int], None]


class Merge(msgspec.Struct, tag=True, frozen=True):
    """Write the merged model of some type to `out`. Answers with the file's SHA-256."""

    base: str
    adapter: str
    quant: str
    out: str

    doing = "merging the adapter"


class Lora(msgspec.Struct, tag=True, frozen=True):
    """Write the adapter-only GGUF to `out`. Answers with the file's SHA-256."""

    base: str
    adapter: str
    out: str

    doing = "writing the adapter"


class Compare(msgspec.Struct, tag=True, frozen=True):
    """Compare a GGUF (with an adapter-only GGUF beside it, unless `lora` is empty) with a reference. Answers with a `Parity`."""

    model: str
    lora: str
    reference: str
    quant: str

    doing = "comparing the exported model"


class Advance(msgspec.Struct, tag=True, array_like=True):
    """So much of the job is done, in units of the job's own."""

    done: int
    total: int


class Failed(msgspec.Struct, tag=True, array_like=True):
    """The job ended with an error made for people; `usage` for a UsageError."""

    message: str
    usage: bool


class Done(msgspec.Struct, tag=True, array_like=True):
    """The job's answer: one of the two, by kind of job."""

    sha256: str = ""
    parity: Parity | None = None


_messages = msgspec.json.Decoder(Advance | Failed | Done)
Job = Merge | Lora | Compare


def write(job: Merge | Lora, progress: Progress | None = None) -> str:
    """Do a writing job in a child; the SHA-256 of what it wrote. Raises EdgexpError; what was half written may lie at `out` then."""
    return _run(job, progress).sha256


def compare(job: Compare, progress: Progress | None = None) -> Parity:
    """Do a comparison in a child. Raises EdgexpError when it could not be made; a gate that was not passed is in the answer."""
    parity = _run(job, progress).parity
    assert parity is not None
    return parity


def _run(job: Job, progress: Progress | None) -> Done:
    # One BLAS thread each: the products are small and already spread over threads. Sleeping waiters are kind to what else runs here.
    settings = {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    path = os.pathsep.join(filter(None, (str(Path(edgexp.__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen([sys.executable, "-m", "edgexp.export.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
                                 env={**os.environ, **settings, "PYTHONPATH": path})
        with child:
            try:
                answer = _listen(child, job, progress)
            except BaseException:
                child.kill()
                raise
        if answer is None:
            raise EdgexpError(f"{job.doing} failed: the process {_death(child.returncode)}{_last_words(said)}")
        return answer


def _listen(child: "subprocess.Popen[bytes]", job: Job, progress: Progress | None) -> Done | None:
    """The child's answer; None when it ended without one."""
    assert child.stdin and child.stdout
    try:
        child.stdin.write(msgspec.json.encode(job))
        child.stdin.close()
    except BrokenPipeError:
        return None
    for line in child.stdout:
        message = _messages.decode(line)
        if isinstance(message, Failed):
            raise UsageError(message.message) if message.usage else EdgexpError(message.message)
        if isinstance(message, Done):
            return message
        if progress:
            progress(message.done, message.total)
    return None


def _death(code: int) -> str:
    if code < 0:
        try:
            name = signal.Signals(-code).name
            return f"was killed by {name}" + (" (is there enough memory?)" if name == "SIGKILL" else "")
        except ValueError:
            return f"was killed by signal {-code}"
    return f"ended with status {code}"


def _last_words(said: BinaryIO) -> str:
    said.seek(0)
    lines = [line.strip() for line in said.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return f"; it last said: {lines[-1]}" if lines else ""
