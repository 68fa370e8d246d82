"""Which GGUF an adapter is merged into. Opens no sockets; knows manifests and paths, not tensors.

A manifest's name stands for the weights as they came, not for what was requantised from them: training dequantises the same file, so
nothing is lost twice.
"""

from dataclasses import dataclass
from pathlib import Path

from edgexp.errors import EdgexpError, UsageError
from edgexp.export.trained import base_of
from edgexp.models import digest, manifest, store


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
        return Base(path.absolute(), digest.sha256(path))
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
