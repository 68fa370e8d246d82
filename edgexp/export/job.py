"""An export from beginning to end: check, write under a working name, compare with the trained model, take the name, record.

Every native step runs in a child process (`steps.py`). A failure at any point leaves an earlier export of the same name as it was. Knows
nothing of file formats, nor of what the model is for.
"""

import importlib.metadata
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import edgexp
from edgexp.errors import EdgexpError
from edgexp.export import steps
from edgexp.export.adapter import RECORD, read_training
from edgexp.export.parity import Parity
from edgexp.export.provenance import Digested, Record, check_name, pretty, record_path, write_entry, write_report
from edgexp.export.reference import FILE as REFERENCE
from edgexp.export.reference import read_reference
from edgexp.files import working_folder, write_atomic
from edgexp.gguf.lora import CONFIG, WEIGHTS, check_fit, read_adapter
from edgexp.gguf.quantise import check_quant
from edgexp.gguf.reader import open_gguf
from edgexp.gguf.writer import explained
from edgexp.models import model_files
from edgexp.models.model_files import Base

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how much is done, how much there is)."""


@dataclass(frozen=True)
class Request:
    """What to export and where to."""

    adapter: Path
    base: Base
    name: str
    folder: Path
    """Gets the file and its reports; made where it is missing."""
    quant: str = "q8_0"
    adapter_only: bool = False
    gate: bool = True
    """False skips the comparison; the record says so."""

    @property
    def file(self) -> Path:
        """The exported file."""
        return self.folder / f"{self.name}.{'lora' if self.adapter_only else self.quant}.gguf"


@dataclass(frozen=True)
class Exported:
    """A finished export."""

    record: Record
    entry: Path | None
    """The manifest by which `--model` finds it; None for an adapter-only file."""


def export(request: Request, progress: Progress = lambda *_: None) -> Exported:
    """Do it. Raises EdgexpError: bad input, a full disk, a native crash, a gate that was not passed."""
    _check(request)
    with _workplace(request.folder) as work:
        made = work / request.file.name
        sha256 = steps.write(_writing(request, made), lambda done, total: progress("merging", done, total))
        parity = _compare(request, made, progress) if request.gate else None
        if parity is not None and parity.failures:
            raise _reject(request, made, parity)
        record = _record(request, Digested(str(request.file), sha256, made.stat().st_size), parity)
        try:
            return Exported(record, _publish(request, made, record))
        except OSError as error:
            raise explained(request.file, error) from error


def _check(request: Request) -> None:
    """What can be known to be wrong before anything is written."""
    check_quant(request.quant)
    for name in (CONFIG, WEIGHTS):
        if not (request.adapter / name).is_file():
            raise EdgexpError(f"{request.adapter} is not an adapter: it has no {name}; name the folder that edgexp train wrote")
    read_training(request.adapter)
    if request.gate:
        _check_reference(request.adapter)
    if not request.adapter_only:
        check_name(request.name)
    check_fit(read_adapter(request.adapter), open_gguf(request.base.path))


def _check_reference(adapter: Path) -> None:
    if not (adapter / REFERENCE).is_file():
        raise EdgexpError(f"{adapter} has no {REFERENCE}, so the export cannot be compared with the trained model; training writes it, "
                          "and --no-gate exports without")
    origin, training = read_reference(adapter / REFERENCE).origin, read_training(adapter)
    layout = training.layout if training else "chained"
    if origin.layout != layout:
        raise EdgexpError(f"{adapter / REFERENCE} has memory {origin.layout}, but by {RECORD} the training had it {layout}; train again, "
                          "or export with --no-gate")
    if origin.adapter_sha256 != model_files.sha256(adapter / WEIGHTS):
        raise EdgexpError(f"{adapter / REFERENCE} was made with another adapter than the {WEIGHTS} beside it; train again, or export with "
                          "--no-gate")


def _writing(request: Request, out: Path) -> steps.Merge | steps.Lora:
    base, adapter = str(request.base.path), str(request.adapter)
    return steps.Lora(base, adapter, str(out)) if request.adapter_only else steps.Merge(base, adapter, request.quant, str(out))


def _compare(request: Request, made: Path, progress: Progress) -> Parity:
    model, lora, quant = str(made), "", request.quant
    if request.adapter_only:
        # The base runs as it is: what differs from training is how llama.cpp rounds activations, as with q8_0 where the base is quantised.
        model, lora, quant = str(request.base.path), str(made), "q8_0"
    job = steps.Compare(model, lora, str(request.adapter / REFERENCE), quant)
    return steps.compare(job, lambda done, total: progress("comparing", done, total))


def _reject(request: Request, made: Path, parity: Parity) -> EdgexpError:
    kept = request.file.with_name(f"{request.file.name}.rejected")
    made.replace(kept)
    report = write_report(kept, parity)
    hint = "" if request.adapter_only or request.quant in ("f16", "q8_0") else "more bits lose less: --quant q8_0; "
    return EdgexpError(f"the export does not say what the trained model said: {'; '.join(parity.failures)}; {hint}"
                       f"the file is kept as {kept}, the report is {report.name}")


def _publish(request: Request, made: Path, record: Record) -> Path | None:
    """Give the file its name, then its report, its record and its entry: each vouches for what is there already."""
    record_path(request.file).unlink(missing_ok=True)
    made.replace(request.file)
    if record.parity is not None:
        write_report(request.file, record.parity)
    write_atomic(record_path(request.file), pretty(record))
    if request.adapter_only:
        return None
    header = open_gguf(request.file)
    licence = request.base.licence or header.text("general.license")
    return write_entry(record, licence=licence, context=header.number(f"{header.architecture}.context_length"))


def _record(request: Request, file: Digested, parity: Parity | None) -> Record:
    training = read_training(request.adapter)
    return Record(
        name=request.name,
        kind="adapter" if request.adapter_only else "merged",
        quant="" if request.adapter_only else request.quant,
        file=file,
        base=Digested(str(request.base.path), request.base.sha256, request.base.path.stat().st_size),
        adapter=_digested(request.adapter / WEIGHTS),
        adapter_config=_digested(request.adapter / CONFIG),
        code=edgexp.__version__,
        tools={name: importlib.metadata.version(name) for name in ("llama-cpp-python", "numpy")},
        training=training,
        training_record=_digested(request.adapter / RECORD) if training else None,
        gate="passed" if parity is not None else "skipped",
        parity=parity,
    )


def _digested(path: Path) -> Digested:
    return Digested(str(path.absolute()), model_files.sha256(path), path.stat().st_size)


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """A folder on the same disk that is gone afterwards, whatever happens, and with it a `folder` that was made for it and got nothing;
    what killed exports left goes first."""
    with ExitStack() as made:
        try:
            work = made.enter_context(working_folder(folder, "export"))
        except OSError as error:
            raise EdgexpError(f"{folder} cannot be written to: {error.strerror or error}; name another place with --out") from error
        yield work
