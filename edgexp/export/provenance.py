"""What an export leaves beside its file: the record of where it came from, the parity report, and the entry by which `--model` finds it.

The record is written after the file has its name, and the entry after the record, so that what can be found is complete. Knows nothing of
how a file is made.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from edgexp.errors import EdgexpError
from edgexp.export.adapter import Training
from edgexp.export.parity import Parity, table
from edgexp.files import write_atomic
from edgexp.home import home
from edgexp.models import manifest

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
