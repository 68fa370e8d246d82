"""Which files of a model are on this machine, where they lie, and whether their bytes are the right ones. Changes none of them.

Files lie in `home()/models/<name>/`: `source/` holds what was pulled, with `pulled.json` saying from where; `ready/` holds what was
made from it. Weights in an installed package or a local folder are used where they are.

SHA-256 of large files are remembered, so that a file that did not change since it was hashed is not hashed again: `.hashed.json` keeps
size, modification time (ns), inode and digest by absolute path. That saves 0.1 to 0.3 s per 100 MB at every start. It guards against
accidents, not against somebody who forges modification times; `fresh=True` always reads. Knows nothing of networks, nor of what is made
from a source.
"""

import contextlib
import hashlib
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgexp.errors import EdgexpError, UsageError
from edgexp.files import read_cache, shown, write_atomic, write_cache
from edgexp.home import home
from edgexp.models.manifest import Hub, Local, Manifest, Package, Sha256, Source, find

if TYPE_CHECKING:
    from edgexp.gguf.reader import GgufFile


class Pulled(msgspec.Struct, forbid_unknown_fields=True):
    """`source/pulled.json`: where the files beside it came from, and their digests, which are enforced from then on."""

    origin: str
    files: dict[str, Sha256]
    """Name → sha256."""


_pulled = msgspec.json.Decoder(Pulled)


class Here(msgspec.Struct, frozen=True):
    """The files of one source, present on this machine; not yet checked."""

    origin: str
    paths: dict[str, Path]
    """Name → path, in the manifest's order."""
    sha256: dict[str, str | None]
    """Name → what the digest must be, where anything says."""
    ours: bool
    """Whether they lie in our own home, so that a pull may replace them."""


_PARTS = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
"""How llama.cpp names the parts of a split GGUF; only their digests can be checked."""


def folder(name: str) -> Path:
    """Where the files of a model lie; need not exist."""
    return home() / "models" / name


def locate(manifest: Manifest) -> Here | None:
    """The files the model starts from, the pulled ones first; None where no source is complete on this machine."""
    pulled = _in_home(manifest)
    if pulled is not None:
        return pulled
    for source in manifest.sources:
        paths = _in_place(source)
        if paths and all(path.is_file() for path in paths.values()):
            return Here(str(source), paths, {file.name: file.sha256 for file in source.files}, ours=False)
    return None


def check(manifest: Manifest, here: Here, *, fresh: bool = False) -> dict[str, str]:
    """The sha256 of every file, compared with what it must be. Raises EdgexpError naming the first that is wrong."""
    return {name: check_file(path, here.sha256[name], f"edgexp models pull {manifest.name}", fresh) for name, path in here.paths.items()}


def check_file(path: Path, expected: str | None, remedy: str, fresh: bool = False) -> str:
    """The sha256 of one file. Raises EdgexpError when it is not the expected one, or when a GGUF is cut short."""
    try:
        got = sha256(path, fresh=fresh)
    except OSError as error:
        raise EdgexpError(f"{path}: cannot be read: {error.strerror}; run: {remedy}") from error
    if expected is not None and got != expected:
        raise EdgexpError(f"{path}: wrong sha256: expected {expected}, got {got}; run: {remedy}")
    if expected is None and path.suffix == ".gguf" and not _PARTS.search(path.name):
        open_header(path)
    return got


def write_pulled(manifest: Manifest, origin: str, files: dict[str, str]) -> None:
    """Record what `source/` now holds. Written last, so that a half-finished pull is no source."""
    write_atomic(folder(manifest.owner) / "source" / "pulled.json", msgspec.json.format(msgspec.json.encode(Pulled(origin, files))))


def open_header(path: Path) -> "GgufFile":
    """The header of a GGUF, read as for playing; numpy is imported only when one is opened."""
    from edgexp.gguf import reader

    return reader.read_header(path)


def not_here(manifest: Manifest) -> EdgexpError:
    """The error of a model whose weights are nowhere on this machine."""
    return EdgexpError(f"{manifest.name} is not here; run: edgexp models pull {manifest.name}")


@dataclass(frozen=True)
class Base:
    """The GGUF to merge into."""

    path: Path
    sha256: str
    licence: str = ""
    """SPDX identifier where a manifest says; empty otherwise."""


def open_base(named: str) -> Base:
    """A base by a manifest's name or a GGUF's path. Raises UsageError where there is none, EdgexpError as `find_base`."""
    base = known_base(named)
    if base is None:
        raise UsageError(f"no model is called {named!r} and there is no such GGUF; see edgexp models ls")
    return base


def known_base(name: str) -> Base | None:
    """A base by a GGUF's path or a manifest's name; None where neither is known here."""
    path = Path(name).expanduser()
    if path.is_file():
        return Base(path.absolute(), sha256(path))
    known = find(name) if "/" not in name and "\\" not in name else None
    return _from_manifest(known) if known else None


def _from_manifest(known: Manifest) -> Base:
    if known.role != "policy":
        raise UsageError(f"{known.name} is an {known.role}; a policy model is needed")
    here = locate(known)
    if here is None:
        raise not_here(known)
    path = next((p for p in here.paths.values() if p.suffix == ".gguf"), None)
    if path is None:
        raise EdgexpError(f"{known.name} does not come as a GGUF; name one with the same weights with --base")
    return Base(path, check(known, here)[path.name], known.licence)


def _in_home(manifest: Manifest) -> Here | None:
    place = folder(manifest.owner) / "source"
    record = read_cache(place / "pulled.json", _pulled.decode)
    if record is None and not (place / "pulled.json").exists():
        return None
    record = record or Pulled("an earlier pull", {})  # a damaged record: what the manifest itself vouches for does without
    for source in manifest.sources:
        paths = {file.name: place / file.name for file in source.files}
        known = {file.name for file in source.files if file.sha256 or file.name in record.files}
        if all(name in known and path.is_file() for name, path in paths.items()):
            return Here(record.origin, paths, {f.name: f.sha256 or record.files[f.name] for f in source.files}, ours=True)
    return None


def _in_place(source: Source) -> dict[str, Path] | None:
    """Where the files of a source lie outside our home; None where the source is not on this machine at all."""
    match source:
        case Package():
            return installed(source)
        case Local():
            return {file.name: Path(source.path) / file.path for file in source.files}
        case Hub():
            return None


def installed(source: Package) -> dict[str, Path] | None:
    """The files of an installed distribution, found through its metadata; its code is not imported."""
    from importlib import metadata

    try:
        distribution = metadata.distribution(source.distribution)
    except metadata.PackageNotFoundError:
        return None
    if distribution.version != source.version and any(file.sha256 is None for file in source.files):
        return None  # another version would do if a digest proved the file the same
    return {file.name: Path(str(distribution.locate_file(file.path))) for file in source.files}


class _Seen(msgspec.Struct, array_like=True, frozen=True):
    size: int
    mtime_ns: int
    inode: int
    sha256: Sha256
    check: int = -1
    """A checksum over the path and all of the above: a damaged entry must not say that a file is another one."""

    def checked(self, path: str) -> int:
        """What `check` must be."""
        return zlib.crc32(msgspec.json.encode([path, self.size, self.mtime_ns, self.inode, self.sha256]))


_entries = msgspec.json.Decoder(dict[str, msgspec.Raw])
_entry = msgspec.json.Decoder(_Seen)


def sha256(path: Path, *, fresh: bool = False) -> str:
    """Hexadecimal digest of a file, from memory where size, time and inode still agree. Raises OSError."""
    path = path.absolute()
    key, seen = shown(path), _remembered()
    if not fresh and key in seen and _unchanged(seen[key], path.stat()):
        return seen[key].sha256
    before = path.stat()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if _unchanged(_Seen(before.st_size, before.st_mtime_ns, before.st_ino, digest), path.stat()):
        _note(key, _Seen(before.st_size, before.st_mtime_ns, before.st_ino, digest))
    return digest


def parts_of(path: Path) -> list[Path]:
    """The files of a GGUF, of which `path` is the first: itself, or all parts of a split one, present or not."""
    named = _PARTS.search(path.name)
    if named is None:
        return [path]
    stem, count = path.name[: named.start()], int(named[2])
    return [path.with_name(f"{stem}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)]


def digest_of(path: Path) -> str:
    """One digest of a model's content: its sha256, or one of those of the parts that are here. Raises EdgexpError where that fails."""
    parts = [part for part in parts_of(path) if part == path or part.is_file()]
    try:
        digests = {part.name: sha256(part) for part in parts}
    except OSError as error:
        raise EdgexpError(f"{error.filename or path} cannot be read: {error.strerror or error}") from error
    return next(iter(digests.values())) if len(digests) == 1 else sha256_of_mapping(digests)


def remember_sha256(path: Path, digest: str) -> None:
    """Note the digest of a file that was hashed under another name and then moved to `path`."""
    path = path.absolute()
    now = path.stat()
    _note(shown(path), _Seen(now.st_size, now.st_mtime_ns, now.st_ino, digest))


def sha256_of_mapping(parts: Mapping[str, str]) -> str:
    """One digest for several named ones, whatever their order."""
    return hashlib.sha256(b"edgexp.files.1\0" + msgspec.json.encode(dict(parts), order="deterministic")).hexdigest()


def _unchanged(seen: _Seen, now: os.stat_result) -> bool:
    return (seen.size, seen.mtime_ns, seen.inode) == (now.st_size, now.st_mtime_ns, now.st_ino)


def _memory_file() -> Path:
    return home() / "models" / ".hashed.json"


def _remembered() -> dict[str, _Seen]:
    """What was noted and is as it was noted; whatever is not is hashed again, and costs nothing but that."""
    known = {}
    for path, data in (read_cache(_memory_file(), _entries.decode) or {}).items():
        with contextlib.suppress(ValueError, RecursionError):
            seen = _entry.decode(data)
            if seen.check == seen.checked(path):
                known[path] = seen
    return known


def _note(key: str, seen: _Seen) -> None:
    known = {path: old for path, old in _remembered().items() if _is_there(path)}
    known[key] = msgspec.structs.replace(seen, check=seen.checked(key))
    write_cache(_memory_file(), msgspec.json.encode(known))  # a home that cannot be written to is slower, not wrong


def _is_there(path: str) -> bool:
    """Also of what a damaged cache says is a path. A name that is not UTF-8 is kept as it is shown, and cannot be looked up."""
    try:
        return "\\x" in path or Path(path).exists()
    except (OSError, ValueError):
        return False
