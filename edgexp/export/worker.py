"""The child process of `edgexp.export.child`: one job from standard input, progress and one answer as JSON lines on standard output."""

import os
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec

from edgexp.errors import EdgexpError, UsageError
from edgexp.export.child import Advance, Compare, Done, Failed, Job, Merge, Progress

STEPS = 200
"""Progress lines a job may print."""


def main() -> None:
    """Do the job and end. Errors made for people are answers; anything else is a traceback on standard error and status 1."""
    # Native libraries print to descriptor 1: give them standard error, and keep the pipe for answers.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        try:
            job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
            _say(answers, work(job, _reporter(answers)))
        except EdgexpError as error:
            _say(answers, Failed(str(error), isinstance(error, UsageError)))
        except MemoryError:
            _say(answers, Failed("there is not enough memory for the export", False))


def work(job: Job, progress: Progress) -> Done:
    """Do one job in this process."""
    if isinstance(job, Compare):
        return _compare(job, progress)
    from edgexp.export.adapter import read_adapter
    from edgexp.export.merge import merge, patches
    from edgexp.gguf.reader import open_gguf

    base, adapter = open_gguf(Path(job.base)), read_adapter(Path(job.adapter))
    changes = patches(adapter, base)
    if isinstance(job, Merge):
        return Done(merge(base, changes, job.quant, Path(job.out), progress))
    from edgexp.export.merge import write_lora

    return Done(write_lora(base, adapter, changes, Path(job.out)))


def _compare(job: Compare, progress: Progress) -> Done:
    from edgexp.engine.model import Model
    from edgexp.engine.native import Tuning
    from edgexp.export.merge import attach
    from edgexp.export.parity import bounds_for, compare
    from edgexp.export.reference import read_reference
    from edgexp.machine import cores

    reference = read_reference(Path(job.reference))
    # Without repacked weights: a comparison must neither crash nor depend on what a processor offers.
    with Model(Path(job.model), Tuning(1, cores(), extra_buffers=False)) as model:
        prepare = (lambda engine: attach(engine, Path(job.lora))) if job.lora else None
        return Done(parity=compare(reference, model, bounds_for(job.quant, reference.origin.precision), progress, prepare))


def _reporter(answers: BinaryIO) -> Progress:
    last = -1

    def report(done: int, total: int) -> None:
        nonlocal last
        step = done * STEPS // max(total, 1)
        if step != last:
            last = step
            _say(answers, Advance(done, total))

    return report


def _say(answers: BinaryIO, message: Advance | Failed | Done) -> None:
    answers.write(msgspec.json.encode(message) + b"\n")
    answers.flush()


if __name__ == "__main__":
    main()
