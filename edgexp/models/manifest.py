"""Manifests: what a model is and where its files come from, read from TOML into strict Structs. Opens no weights and no sockets.

Manifests are found in a checkout (`models/`), in the installed package (`edgexp/_data/models/`) and in the user's `home()/models/`,
where a file of the same name overrides the shipped one. The file `<name>.toml` holds the model `<name>`.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

import edgexp
from edgexp import settings
from edgexp.errors import EdgexpError, UsageError
from edgexp.home import home

Role = Literal["policy", "embedder"]
Pooling = Literal["mean", "cls", "last"]
QuantType = Literal["f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0"]
MergedType = Literal["f16", "q8_0", "q4_k_m", "q4_0"]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Text = Annotated[str, Meta(min_length=1)]
Name = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]*$")]
Count = Annotated[int, Meta(ge=1)]


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a source. Without a `sha256` the first one seen at a pull is recorded, and enforced from then on."""

    path: Text
    """Inside the distribution, the repository or the folder; forward slashes."""
    size: Count | None = None
    """Bytes."""
    sha256: Sha256 | None = None

    @property
    def name(self) -> str:
        """The last part of the path: what the file is called here."""
        return PurePosixPath(self.path).name


class Package(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="package", rename={"files": "file"}):
    """A pinned Python distribution that carries the files. Its code is never run and its dependencies are never installed."""

    distribution: Text
    version: Text
    files: Annotated[tuple[File, ...], Meta(min_length=1)]

    def __str__(self) -> str:
        return f"package {self.distribution} {self.version}"


class Hub(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="hub", rename={"files": "file"}):
    """A repository on the model hub; `HF_ENDPOINT` names a mirror."""

    repo: Annotated[str, Meta(pattern="^[^/ ]+/[^/ ]+$")]
    files: Annotated[tuple[File, ...], Meta(min_length=1)]
    revision: Text = "main"

    def __str__(self) -> str:
        return f"hub {self.repo}"


class Local(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="local", rename={"files": "file"}):
    """A folder on this machine, used in place; relative to the manifest, `~` allowed."""

    path: Text
    files: Annotated[tuple[File, ...], Meta(min_length=1)]

    def __str__(self) -> str:
        return f"folder {self.path}"


Source = Package | Hub | Local


class Requantise(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="requantise"):
    """A GGUF is written once more with another tensor type."""

    type: QuantType


class Bert(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="bert"):
    """A BERT checkpoint (config.json, model.safetensors, tokenizer.json) becomes an ONNX sentence encoder."""

    pooling: Literal["mean", "cls"]
    max_tokens: Count
    query_prefix: str = ""


class Pool(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="pool"):
    """A ready ONNX graph of token embeddings (`graph`, tokenizer.json) gets pooling and unit length, and loses its optional inputs."""

    graph: Text
    pooling: Pooling
    dimensions: Count
    max_tokens: Count
    query_prefix: str = ""
    batch: Annotated[int, Meta(ge=0)] = 0
    """Most texts in one call, 0 for any number. Graphs whose vectors change with padding need 1."""


class Adapt(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="adapt"):
    """An adapter is merged into the GGUF of the manifest's `base`, and the result written with a tensor type."""

    adapter: Text
    """A folder as training leaves it (adapter_model.safetensors, adapter_config.json); relative to the manifest, `~` allowed."""
    sha256: Sha256
    """Of adapter_model.safetensors."""
    type: MergedType


Derive = Requantise | Bert | Pool | Adapt


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"sources": "source"}):
    """One model: facts about it, sources in order of preference, and what is made from it once."""

    name: Name
    role: Role
    description: Text
    licence: Text
    """SPDX identifier, or `LicenseRef-…` for a licence without one."""
    context: Count
    """Tokens the model was made for."""
    sources: tuple[Source, ...] = ()
    base: Name | None = None
    """The model whose sources these are, in place of its own: files are fetched and kept once for both."""
    parameters: Count | None = None
    derive: Derive | None = None

    @property
    def owner(self) -> str:
        """Under whose name the source files are kept."""
        return self.base or self.name

    @property
    def size(self) -> int | None:
        """Bytes of the first source that states them all."""
        for source in self.sources:
            sizes = [file.size for file in source.files]
            if None not in sizes:
                return sum(size for size in sizes if size is not None)
        return None


def read(path: Path) -> Manifest:
    """The manifest in a file. Raises EdgexpError naming the file and the key that is wrong."""
    return _with_base(_read(path), path)


def _read(path: Path) -> Manifest:
    manifest = settings.convert(settings.decode(settings.read(path), str(path)), Manifest, str(path))
    problem = _problem(manifest, path.stem)
    if problem:
        raise EdgexpError(f"{path}: {problem}")
    sources = tuple(_absolute(source, path.parent) for source in manifest.sources)
    return msgspec.structs.replace(manifest, sources=sources)


def folders() -> list[Path]:
    """Where manifests lie, the one that wins first: the user's own, then the shipped ones."""
    package = Path(edgexp.__file__).parent
    checkout = package.parent / "models"
    shipped = checkout if (package.parent / "pyproject.toml").is_file() and checkout.is_dir() else package / "_data" / "models"
    return [home() / "models", shipped]


def find(name: str) -> Manifest | None:
    """The manifest of that name, or None. Other manifests are not read, so a broken one does no harm here."""
    path = dict(files()).get(name)
    return read(path) if path else None


def require(name: str) -> Manifest:
    """The manifest of that name. Raises UsageError listing the names there are."""
    manifest = find(name)
    if manifest is None:
        raise UsageError(f"no model is called {name!r}; there are: {', '.join(sorted(dict(files())))}")
    return manifest


def files() -> Iterator[tuple[str, Path]]:
    """Every name and the manifest file it is read from, each name once."""
    seen: set[str] = set()
    for folder in folders():
        for path in sorted(folder.glob("*.toml")):
            if path.stem not in seen:
                seen.add(path.stem)
                yield path.stem, path


def _absolute(source: Source, folder: Path) -> Source:
    if isinstance(source, Local):
        return msgspec.structs.replace(source, path=str((folder / Path(source.path).expanduser()).absolute()))
    return source


def _with_base(manifest: Manifest, path: Path) -> Manifest:
    """With the sources of its base, and the place of its adapter made absolute."""
    if isinstance(manifest.derive, Adapt):
        place = str((path.parent / Path(manifest.derive.adapter).expanduser()).resolve())
        manifest = msgspec.structs.replace(manifest, derive=msgspec.structs.replace(manifest.derive, adapter=place))
    if manifest.base is None:
        return manifest
    where = dict(files()).get(manifest.base)
    if where is None:
        raise EdgexpError(f"{path}: base: no model is called {manifest.base!r}")
    base = _read(where)
    if base.base is not None or base.role != manifest.role:
        raise EdgexpError(f"{path}: base: {manifest.base} is {'itself made from a base' if base.base else f'an {base.role}'}")
    return msgspec.structs.replace(manifest, sources=base.sources)


def _problem(manifest: Manifest, stem: str) -> str | None:
    """What the types cannot say."""
    if manifest.name != stem:
        return f"name: is {manifest.name!r}, but the file is called {stem}.toml; both must be equal"
    if manifest.base == manifest.name:
        return "base: a model cannot be its own base"
    if bool(manifest.sources) == bool(manifest.base):
        return "source: there must be at least one, or a base to share them with; not both"
    if isinstance(manifest.derive, Adapt) and not manifest.base:
        return "base: an adapter needs one to be merged into"
    for number, source in enumerate(manifest.sources):
        names = [file.name for file in source.files]
        if len(set(names)) < len(names):
            return f"source[{number}].file: two files are called alike"
        if any(not _inside(file.path) for file in source.files):
            return f"source[{number}].file: a path leaves its folder"
    return _problem_derive(manifest)


def _problem_derive(manifest: Manifest) -> str | None:
    wants = "policy" if isinstance(manifest.derive, Requantise | Adapt) else "embedder"
    if manifest.derive is None:
        return "derive: an embedder needs one (kind = \"bert\" or \"pool\")" if manifest.role == "embedder" else None
    if manifest.role != wants:
        return f"derive: this kind is for a model whose role is {wants!r}, not {manifest.role!r}"
    needed = {"config.json", "model.safetensors", "tokenizer.json"} if isinstance(manifest.derive, Bert) else set()
    if isinstance(manifest.derive, Pool):
        needed = {manifest.derive.graph, "tokenizer.json"}
    for number, source in enumerate(manifest.sources):
        missing = needed - {file.name for file in source.files}
        if missing:
            return f"source[{number}].file: {', '.join(sorted(missing))} is missing, [derive] needs it"
    return None


def _inside(path: str) -> bool:
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts and "\\" not in path and ":" not in path
