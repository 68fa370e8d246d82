"""Where an adapter lies and what its training says of it. Reads the record that training leaves; knows nothing of recipes' meaning.

Which GGUF an adapter is merged into. Opens no sockets; knows manifests and paths, not tensors.

A manifest's name stands for the weights as they came, not for what was requantised from them: training dequantises the same file, so
nothing is lost twice.

What an export leaves beside its file: the record of where it came from, the parity report, and the entry by which `--model` finds it.

The record is written after the file has its name, and the entry after the record, so that what can be found is complete.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgexp.errors import EdgexpError, UsageError
from edgexp.export.adapter import CONFIG, WEIGHTS, read_base_name
from edgexp.export.parity import Parity, table
from edgexp.files import write_atomic
from edgexp.home import home
from edgexp.models import manifest, store

RECORD = "manifest.json"


class TrainedOn(msgspec.Struct, frozen=True):
    """The base a training started from."""

    name: str = ""
    sha256: str = ""
    """Of the GGUF; empty where it was none."""


class Training(msgspec.Struct, frozen=True):
    """The parts of a training's record that an export carries on; the rest stays with the adapter, found by the digest."""

    name: str = ""
    recipe: dict[str, Any] = {}
    base: TrainedOn = TrainedOn()
    banks: tuple[str, ...] = ()
    """Fingerprints of the bank snapshots that gave the data."""
    step: int = 0
    code: str = ""
    finished: str = ""
    files: dict[str, str] = {}
    """Name → sha256 of what training wrote."""


def find_adapter(named: Path) -> Path:
    """The folder of an adapter, by its own path, by that of its run, or by the name of a run in edgexp's home. Raises UsageError."""
    named = named.expanduser()
    for folder in (named, named / "adapter", home() / "runs" / named / "adapter"):
        if (folder / CONFIG).is_file():
            return folder.absolute()
    raise UsageError(f"{named} is no adapter and no run: there is no {CONFIG} in it; name a folder that edgexp train wrote")


def read_training(adapter: Path) -> Training | None:
    """What training says of an adapter; None where it left no record (an adapter from elsewhere).

    Raises EdgexpError where the record cannot be read, or the weights are not the ones it means.
    """
    path = adapter / RECORD
    try:
        training = msgspec.json.decode(path.read_bytes(), type=Training)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise EdgexpError(f"{path} cannot be read: {error}") from error
    for name in (WEIGHTS, CONFIG):
        if name in training.files and manifest.sha256(adapter / name) != training.files[name]:
            raise EdgexpError(f"{adapter / name} is not the file that its {RECORD} means; it was changed or damaged after training")
    return training


def base_of(adapter: Path) -> TrainedOn:
    """The base by the training's record, else by the adapter's own configuration, which knows no digest."""
    training = read_training(adapter)
    return training.base if training and training.base.name else TrainedOn(read_base_name(adapter))


def name_of(adapter: Path) -> str:
    """A name for what is made of an adapter: its training's, else its folder's, or its run's where the folder is just called adapter."""
    training = read_training(adapter)
    folder = adapter.absolute()
    return (training.name if training else "") or (folder.parent if folder.name == "adapter" else folder).name


@dataclass(frozen=True)
class Base:
    """The GGUF to merge into."""

    path: Path
    sha256: str
    licence: str = ""
    """SPDX identifier where a manifest says; empty otherwise."""


def find_base(adapter: Path) -> Base:
    """The base that an adapter says it was trained on.

    Raises UsageError where it names none that is known here, EdgexpError where the weights are other ones than it was trained on.
    """
    trained = base_of(adapter)
    if not trained.name:
        raise UsageError(f"{adapter} does not say what it was trained on; name the base with --base (a GGUF or a model's name)")
    base = _known(trained.name)
    if base is None:
        raise UsageError(f"{adapter} was trained on {trained.name}, which is neither a GGUF here nor a model of edgexp models ls; "
                         "name the base with --base")
    if trained.sha256 and base.sha256 != trained.sha256:
        raise EdgexpError(f"{adapter} was trained on other weights than {base.path} (sha256 {trained.sha256[:12]}…, here "
                          f"{base.sha256[:12]}…); bring those, or name these with --base and let the comparison judge")
    return base


def open_base(named: str) -> Base:
    """A base by a manifest's name or a GGUF's path. Raises UsageError where there is none, EdgexpError as `find_base`."""
    base = _known(named)
    if base is None:
        raise UsageError(f"no model is called {named!r} and there is no such GGUF; see edgexp models ls")
    return base


def _known(name: str) -> Base | None:
    path = Path(name).expanduser()
    if path.is_file():
        return Base(path.absolute(), manifest.sha256(path))
    known = manifest.find(name) if "/" not in name and "\\" not in name else None
    return _from_manifest(known) if known else None


def _from_manifest(known: manifest.Manifest) -> Base:
    if known.role != "policy":
        raise UsageError(f"{known.name} is an {known.role}; a policy model is needed")
    here = store.locate(known)
    if here is None:
        raise store.not_here(known)
    path = next((p for p in here.paths.values() if p.suffix == ".gguf"), None)
    if path is None:
        raise EdgexpError(f"{known.name} does not come as a GGUF; name one with the same weights with --base")
    return Base(path, store.check(known, here)[path.name], known.licence)


FORMAT = 1


class Digested(msgspec.Struct, frozen=True):
    """A file that went in or came out."""

    path: str
    sha256: str
    size: int


class Record(msgspec.Struct, frozen=True):
    """`<file>.export.json`: everything that decided the export, and how it compares with the trained model."""

    name: str
    kind: str
    """`merged` or `adapter`."""
    quant: str
    """Empty for an adapter-only file."""
    file: Digested
    base: Digested
    adapter: Digested
    """adapter_model.safetensors."""
    adapter_config: Digested
    code: str
    """edgexp's version."""
    tools: dict[str, str]
    """Versions of the packages that took part."""
    training: Training | None
    """What the training says of itself (recipe, bank snapshots, base), where the adapter has its record."""
    training_record: Digested | None
    """That record's file."""
    gate: str
    """`passed`, `failed`, or `skipped` where the user asked for that."""
    parity: Parity | None
    format: int = FORMAT


def record_path(file: Path) -> Path:
    """Where the record of an exported file lies."""
    return file.with_name(f"{file.name}.export.json")


def write_report(file: Path, parity: Parity) -> Path:
    """Write the parity report beside a file, as JSON and as text. Returns the text's path."""
    write_atomic(file.with_name(f"{file.name}.parity.json"), pretty(parity))
    text = file.with_name(f"{file.name}.parity.txt")
    write_atomic(text, (table(parity) + "\n").encode())
    return text


def pretty(value: Any) -> bytes:
    """JSON for people, with a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def entry_path(name: str) -> Path:
    """The manifest by which `--model NAME` finds an exported model."""
    return home() / "models" / f"{name}.toml"


def check_name(name: str) -> None:
    """Raise EdgexpError where the name is another model's: exports only replace exports."""
    from edgexp.models import manifest

    path = dict(manifest.files()).get(name)
    if path is not None and not path.read_bytes().startswith(MARK.encode()):
        raise EdgexpError(f"{name} is the name of another model ({path}); give the export its own with --name")


MARK = "# Written by edgexp export."
"""First line of every entry written here."""


def write_entry(record: Record, *, licence: str, context: int) -> Path:
    """Write the manifest that makes the exported model known under its name."""
    file = Path(record.file.path)
    base = Path(record.base.path).name
    lines = [
        MARK,
        f"name = {_text(record.name)}",
        'role = "policy"',
        f"description = {_text(f'{base} with the adapter {Path(record.adapter.path).parent.name}, {record.quant}')}",
        f"licence = {_text(licence or 'LicenseRef-unknown')}",
        f"context = {context}",
        "",
        "[[source]]",
        'kind = "local"',
        f"path = {_text(str(file.parent))}",
        "",
        "[[source.file]]",
        f"path = {_text(file.name)}",
        f"size = {record.file.size}",
        f"sha256 = {_text(record.file.sha256)}",
    ]
    path = entry_path(record.name)
    write_atomic(path, ("\n".join(lines) + "\n").encode())
    return path


def _text(value: str) -> str:
    """A TOML string: JSON's escapes are TOML's, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
