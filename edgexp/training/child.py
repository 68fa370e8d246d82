"""The training process: `python -m edgexp.training.child train|finish RUN [STEP]`. Started by `launch.py`, never by hand.

Standard output carries one event a line and nothing else; whatever libraries print goes to standard error, which is the run's log file.
A line on standard input, or its end, asks to stop after the step under way: so a parent that dies never leaves a training behind.
"""

import contextlib
import errno
import os
import sys
import threading
import traceback
from pathlib import Path

from edgexp.errors import EdgexpError
from edgexp.machine import cores
from edgexp.process import take_standard_output
from edgexp.training import events
from edgexp.training.events import Emit
from edgexp.training.launch import LESS_MEMORY, Job, Run


def main(arguments: list[str]) -> int:
    """Do one task and report it. Exit codes: 0 done or stopped, 1 failed with a reason sent."""
    out = take_standard_output()
    run = Run(Path(arguments[1]))

    def emit(event: events.Event) -> None:
        if isinstance(event, events.Started):
            events.rewind(run.metrics, event.done)
        events.append(run.metrics, event)
        with contextlib.suppress(BrokenPipeError):  # nobody listens any more; the end of standard input says so too
            out.write(events.encode(event))

    try:
        job = run.job()
        if job is None:
            raise EdgexpError(f"{run.folder} is not a run")
        with run.held():  # to its end, which its parent's may come before
            _train(run, job, emit) if arguments[0] == "train" else _finish(run, job, int(arguments[2]), emit)
    except Exception as error:
        traceback.print_exc()  # into the log
        with contextlib.suppress(OSError):
            out.write(events.encode(events.Failed(reason(error, run.folder))))
        return 1
    return 0


def reason(error: Exception, folder: Path) -> str:
    """One line that says what to change. `folder` is the run's."""
    text = str(error).strip().split("\n")[0]
    if isinstance(error, EdgexpError):
        return str(error)
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text:
        return f"memory ran out: {LESS_MEMORY}"
    if _is_full_disk(error, text):
        where = (error.filename or folder) if isinstance(error, OSError) else f"{folder}, or of expanded weights in edgexp's home"
        return f"no space left on the disk (of {where}): make room and run the same command again, it goes on from the last checkpoint"
    if isinstance(error, ImportError):
        return f"{text}; install what training needs: uv sync --extra train (with pip: pip install 'edgexp[train-plain]')"
    return f"{type(error).__name__}: {text}"


def _is_full_disk(error: Exception, text: str) -> bool:
    """Whether it is. safetensors, written in Rust, raises an error of its own."""
    return (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "(os error 28)" in text or "(os error 112)" in text


def _train(run: Run, job: Job, emit: Emit) -> None:
    from edgexp.training import backend, checkpoint, prepared
    from edgexp.training.loop import Loop

    stop = threading.Event()
    threading.Thread(target=_listen, args=(stop,), daemon=True).start()
    folder = _ready(job, emit)
    record = prepared.read(run.data)
    data = prepared.read_set(run.data, record, "train")
    learner = backend.load(folder, job.recipe, lambda text: emit(events.Notice(text)), data)
    if job.base.adapter:
        learner.load_adapter(checkpoint.load_first(run.data / checkpoint.ADAPTER, job.base.adapter_sha256))
    held_out = {name.removeprefix("valid-"): prepared.read_set(run.data, record, name) for name in record.held_out}
    Loop(learner, job.recipe, job.base.name, data, held_out, run.checkpoints, emit, stop.is_set).run()


def _listen(stop: threading.Event) -> None:
    os.read(0, 1)  # not sys.stdin: Python would wait for its lock when the process ends
    stop.set()


def _finish(run: Run, job: Job, step: int, emit: Emit) -> None:
    from edgexp.training.finish import finish

    scores = finish(run, job, _ready(job, emit), step, lambda text: emit(events.Notice(text)))
    if scores:
        emit(events.Evaluated(step, scores, 0.0))
    emit(events.Finished(step))


def _ready(job: Job, emit: Emit) -> Path:
    """The folder with the base's weights; the libraries set up."""
    import torch

    from edgexp.training import backend

    torch.set_num_threads(cores())
    if backend.by_unsloth(job.recipe):
        backend.has_unsloth()  # before transformers, which it patches
    return backend.folder_of(Path(job.base.gguf), job.base.sha256, job.base.checkpoint, Path(job.cache),
                             lambda text: emit(events.Notice(text)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
