"""From a name or a path to checked files that can be loaded. Opens no sockets: what is not here is an error that says how to get it.

Puts together what `store` finds and what `derive` makes of it. Knows neither how files get here nor how a model is run. Imports nothing
heavy: a second start reads no weights.
"""

from pathlib import Path
from typing import Literal

import msgspec

from edgexp.errors import UsageError
from edgexp.models import derive, encoder, model_files
from edgexp.models.derive import Say
from edgexp.models.manifest import Manifest, Role, find, require
from edgexp.models.playable import read_playable

BASE_POLICY = "smollm2-135m-instruct"
DEFAULT_POLICY = "smollm2-135m-exprag"
DEFAULT_EMBEDDER = "all-minilm-l6-v2"

State = Literal["ready", "source here", "not here"]


class Ready(msgspec.Struct, frozen=True):
    """A model that can be loaded now."""

    name: str
    role: Role
    path: Path
    """A GGUF (the first of a split one) for a policy, a folder with encoder.json for an embedder."""
    sha256: str
    """Of the GGUF. Of a split GGUF or an encoder: one digest of what decides its output, the same on every machine."""
    context: int
    """Tokens the model was made for; 0 where nobody says."""
    licence: str
    manifest: Manifest | None = None
    """None for a model that was named by its path."""


_brought: dict[str, Ready] = {}


def bring(called: str, ready: Ready) -> None:
    """From now on `resolve` finds these files under that name or path, whatever this machine has under it: they were brought from where
    the name was said, and checked."""
    _brought[called] = ready


def resolve(name_or_path: str | Path, *, role: Role | None = None, say: Say = lambda _: None) -> Ready:
    """Checked, loadable files of a model; what is derived is made here, once (`say` hears about it).

    Takes a manifest's name, the path of a GGUF, or the path of an encoder folder. Raises UsageError for an unknown name or a model of
    another role, EdgexpError where weights are missing, damaged, not the ones the manifest names, or of no model that acts.
    """
    text = str(name_or_path)
    manifest = find(text) if isinstance(name_or_path, str) and text not in _brought else None
    ready = _brought.get(text) or (_by_name(manifest, say) if manifest else _by_path(Path(text).expanduser(), text))
    if role is not None and ready.role != role:
        raise UsageError(f"{text}: a model of role {role} is needed here, this one's is {ready.role}; see edgexp models ls")
    return ready


def state(manifest: Manifest) -> tuple[State, str]:
    """Whether a model could be loaded, and where its files are or would come from. Reads no weights."""
    made = derive.peek(manifest)
    if made is not None:
        return "ready", str(made)
    here = model_files.locate(manifest)
    if here is None:
        return "not here", "; ".join(str(source) for source in manifest.sources)
    in_package = here.origin.startswith("package ") and not here.ours
    place = here.origin + ", installed" if in_package else str(next(iter(here.paths.values())))
    return ("ready" if manifest.derive is None else "source here"), place


def _by_name(manifest: Manifest, say: Say) -> Ready:
    if manifest.derive is not None:
        path, sha = derive.ensure(manifest, say)
        return _ready(manifest, path, sha)
    here = model_files.locate(manifest)
    if here is None:
        raise model_files.not_here(manifest)
    shas = model_files.check(manifest, here)
    sha, first = next(iter(shas.values())) if len(shas) == 1 else model_files.sha256_of_mapping(shas), next(iter(here.paths.values()))
    if manifest.role == "policy" and _is_gguf(first):  # what is made of a source was looked at when it was made
        read_playable(first)
    return _ready(manifest, first, sha)


def _ready(manifest: Manifest, path: Path, sha: str) -> Ready:
    return Ready(manifest.name, manifest.role, path, sha, manifest.context, manifest.licence, manifest)


def _is_gguf(path: Path) -> bool:
    """Whether a file is one by its name or by its beginning; anything else llama.cpp refuses in a process of its own."""
    with path.open("rb") as file:
        return path.suffix == ".gguf" or file.read(4) == b"GGUF"


def _by_path(path: Path, text: str) -> Ready:
    path = path.absolute()
    if path.is_dir():
        return Ready(path.name, "embedder", path, encoder.fingerprint_of(path), encoder.read(path).max_tokens, "")
    if path.is_file():
        header = read_playable(path)
        context = header.number(f"{header.text('general.architecture')}.context_length")
        return Ready(path.stem, "policy", path, model_files.digest_of(path), context, header.text("general.license"))
    if "/" in text or "\\" in text or text.endswith(".gguf"):
        raise UsageError(f"{text}: there is no such file; name a GGUF, an encoder folder, or one of the models of edgexp models ls")
    require(text)
    raise AssertionError("unreachable: an unknown name raises")
