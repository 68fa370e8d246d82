"""Which GGUF an adapter is merged into. Opens no sockets; knows manifests and paths, not tensors.

A manifest's name stands for the weights as they came, not for what was requantised from them: training dequantises the same file, so
nothing is lost twice.
"""

from dataclasses import dataclass
from pathlib import Path

from edgexp.errors import EdgexpError, UsageError
from edgexp.export.adapter import read_base_name
from edgexp.models import digest, manifest, store


@dataclass(frozen=True)
class Base:
    """The GGUF to merge into."""

    path: Path
    sha256: str
    licence: str = ""
    """SPDX identifier where a manifest says; empty otherwise."""


def find_base(adapter: Path, named: str | None) -> Base:
    """The base of an adapter: as named (a manifest's name or a GGUF), else what the adapter itself says.

    Raises UsageError where neither names one, EdgexpError where it is not on this machine or not the bytes its manifest means.
    """
    name = named or read_base_name(adapter)
    if not name:
        raise UsageError(f"{adapter} does not say what it was trained on; name the base with --base (a GGUF or a model's name)")
    path = Path(name).expanduser()
    if path.is_file():
        return Base(path.absolute(), digest.sha256(path))
    known = manifest.find(name) if "/" not in name and "\\" not in name else None
    if known is None:
        where = "" if named else f"{adapter} was trained on "
        raise UsageError(f"{where}{name}, which is neither a GGUF here nor a model of edgexp models ls; name the base with --base")
    return _from_manifest(known)


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
