"""What is made from a source once: a requantised GGUF, a base merged with an adapter, an ONNX encoder.

The result is the folder `home()/models/<name>/ready/`. Its `made.json` says from which bytes, by which recipe and with which tools, and
holds the digest of every file. A folder that does not fit the manifest any more, or is damaged, is made again; losing it costs time.

Where the home cannot be written it lies in a folder of this user's among the temporary files, and serves until the system clears those.

It is made in a child process (`make_files` runs there, and imports what is heavy), under a working name, and takes its place whole. Knows
nothing of where sources come from, nor of the file formats.
"""

import errno
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from edgexp import process
from edgexp.errors import EdgexpError
from edgexp.files import build_folder, read_cache
from edgexp.models import model_files
from edgexp.models.manifest import Adapt, Bert, Derive, Manifest, Pool, Requantise
from edgexp.models.model_files import Here, folder, locate, not_here
from edgexp.process import ChildDied, Progress

Say = Callable[[str], None]

RECIPES = {Requantise: 1, Bert: 1, Pool: 1, Adapt: 2}
"""Raised by one whenever the same source would give another result: everything made by the older code is then made again."""


NOT_WRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""What systems say where nothing may be written."""


class Made(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`ready/made.json`, written by the child as its last act."""

    fingerprint: str
    sources: dict[str, str]
    """Name → sha256 of what it was made from."""
    files: dict[str, str]
    """Name → sha256 of what was made; the first is the one to load."""
    tools: dict[str, str]
    """Package → version."""


def _decode_made(data: bytes) -> Made:
    """Raises ValueError for a record that says nothing, or names files that lie elsewhere."""
    made = msgspec.json.decode(data, type=Made)
    if not made.files or any(Path(name).name != name or "\0" in name for name in made.files):
        raise ValueError("no record of what was made")
    return made


class Job(msgspec.Struct, frozen=True):
    """What the child is asked to do."""

    name: str
    derive: Derive
    paths: dict[str, str]
    sources: dict[str, str]
    fingerprint: str
    out: str


def ensure(manifest: Manifest, say: Say) -> tuple[Path, str]:
    """The path to load and its digest, made now where it is not there yet. Raises EdgexpError."""
    damaged = False
    for place in _places(manifest):
        made = read_cache(place / "made.json", _decode_made)
        if made is not None and _current(manifest, made):
            if _intact(place, made):
                return _result(manifest, made, place)
            damaged = True
    if damaged:
        say(f"{manifest.name}: the file made from the weights is damaged; making it again")
    here = locate(manifest)
    if here is None:
        raise not_here(manifest)
    place, made = _make(manifest, here, model_files.check(manifest, here), say)
    return _result(manifest, made, place)


def peek(manifest: Manifest) -> Path | None:
    """Where the finished thing lies, if it is there and fits the manifest; it is not checked."""
    made = peek_made(manifest) if manifest.derive is not None else None
    if made is None or not _current(manifest, made) or not all((_ready(manifest) / name).is_file() for name in made.files):
        return None
    return _result(manifest, made, _ready(manifest))[0]


def peek_made(manifest: Manifest) -> Made | None:
    """The record of what was made, if anything was."""
    return read_cache(_ready(manifest) / "made.json", _decode_made)


def verify(manifest: Manifest, made: Made) -> dict[str, str | None]:
    """Every made file re-hashed: name → None where it is intact, else what is wrong."""
    problems: dict[str, str | None] = {}
    for name, expected in made.files.items():
        try:
            got = model_files.sha256(_ready(manifest) / name, fresh=True)
        except OSError as error:
            problems[name] = f"cannot be read: {error.strerror}"
        else:
            problems[name] = None if got == expected else f"wrong sha256: expected {expected}, got {got}"
    return problems


def fingerprint(recipe: Derive, sources: dict[str, str]) -> str:
    """One digest of everything that decides what is made, but for the versions of the tools."""
    if isinstance(recipe, Adapt):
        recipe = msgspec.structs.replace(recipe, adapter="")  # its digest says which one; where it lies does not matter
    told = msgspec.json.encode(recipe, order="deterministic").decode()
    return model_files.sha256_of_mapping({**sources, "\0recipe": told, "\0version": str(RECIPES[type(recipe)])})


def _ready(manifest: Manifest) -> Path:
    """The folder that holds what was made, or that is to hold it."""
    held = {place: made for place in _places(manifest) if (made := read_cache(place / "made.json", _decode_made))}
    fitting = [place for place, made in held.items() if _current(manifest, made)]
    return [*fitting, *held, _own(manifest)][0]


def _places(manifest: Manifest) -> list[Path]:
    """Where it may lie: in the home, or because that cannot be written, in this user's folder among the temporary files."""
    return [_own(manifest), *([_spare_home() / manifest.name / "ready"] if _is_ours(_spare_home()) else [])]


def _own(manifest: Manifest) -> Path:
    return folder(manifest.name) / "ready"


def _spare_home() -> Path:
    """One for each user: nobody else may say what this user's models are."""
    return Path(tempfile.gettempdir()) / f"edgexp-{os.geteuid() if hasattr(os, 'geteuid') else 'user'}"


def _is_ours(folder: Path) -> bool:
    """Whether a folder is there, and is one that nobody else can have written into."""
    try:
        seen = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(seen.st_mode) and (not hasattr(os, "geteuid") or (seen.st_uid == os.geteuid() and not seen.st_mode & 0o022))


def _result(manifest: Manifest, made: Made, place: Path) -> tuple[Path, str]:
    if isinstance(manifest.derive, Requantise | Adapt):
        name, sha = next(iter(made.files.items()))
        return place / name, sha
    return place, made.fingerprint


def _current(manifest: Manifest, made: Made) -> bool:
    """Whether what was made comes from the files the manifest means, by its recipe."""
    assert manifest.derive is not None
    if made.fingerprint != fingerprint(manifest.derive, made.sources):
        return False
    pins = [{file.name: file.sha256 for file in source.files} for source in manifest.sources]
    fitting = [p for p in pins if p.keys() == made.sources.keys() and all(sha in (None, made.sources[n]) for n, sha in p.items())]
    if not fitting or any(None not in pinned.values() for pinned in fitting):
        return bool(fitting)
    here = locate(manifest)  # without pins the files themselves say whether they changed
    return here is None or all(made.sources.get(n) == (sha or model_files.sha256(here.paths[n])) for n, sha in here.sha256.items())


def _intact(place: Path, made: Made) -> bool:
    try:
        return all(model_files.sha256(place / name) == sha for name, sha in made.files.items())
    except OSError:
        return False


def _make(manifest: Manifest, here: Here, sources: dict[str, str], say: Say) -> tuple[Path, Made]:
    """Make it; where it lies, and the record of it."""
    assert manifest.derive is not None
    say(f"{manifest.name}: {_verb(manifest.derive)}, once")
    place = _own(manifest)
    try:
        try:
            _build(place, manifest, here, sources)
        except OSError as error:
            if error.errno not in NOT_WRITABLE:
                raise
            _spare_home().mkdir(mode=0o700, exist_ok=True)
            if not _is_ours(_spare_home()):
                raise
            place = _places(manifest)[-1]
            say(f"{folder(manifest.name)} cannot be written, so {manifest.name} is made in {place.parent}")
            _build(place, manifest, here, sources)
    except OSError as error:
        raise EdgexpError(f"{place}: cannot be written: {error.strerror or error}; close what uses this model and try again; "
                          "EDGEXP_HOME names another place") from error
    made = read_cache(place / "made.json", _decode_made)
    if made is None:
        raise EdgexpError(f"{manifest.name}: what was made has vanished from {place}; run the command again")
    for name, sha in made.files.items():
        model_files.remember_sha256(place / name, sha)
    return place, made


def _build(place: Path, manifest: Manifest, here: Here, sources: dict[str, str]) -> None:
    """Make it in a folder. Raises OSError where that cannot be written, EdgexpError where it cannot be made."""
    assert manifest.derive is not None
    paths = {name: str(path) for name, path in here.paths.items()}
    with build_folder(place) as work:
        _run(Job(manifest.name, manifest.derive, paths, sources, fingerprint(manifest.derive, sources), str(work)))


def _verb(recipe: Derive) -> str:
    match recipe:
        case Requantise():
            return f"requantising to {recipe.type.upper()}"
        case Adapt():
            return f"merging the adapter {Path(recipe.adapter).name} into its base, as {recipe.type.upper()}"
        case _:
            return "converting to ONNX"


def _run(job: Job) -> None:
    """Let a child do it: a native crash, its prints and its memory stay there."""
    doing = f"{job.name}: {_verb(job.derive)}"
    try:
        process.call(make_files, job, doing)
    except ChildDied:
        raise
    except EdgexpError as error:
        raise EdgexpError(f"{doing} failed: {error}", details=error.details) from error


def make_files(job: Job, _: Progress) -> None:
    """In the child: make the files, and `made.json` last. Raises EdgexpError."""
    import importlib.metadata

    try:
        made, tools = _made_by(job)
        files = {name: model_files.sha256(Path(job.out) / name, fresh=True) for name in made}
        versions = {tool: importlib.metadata.version(tool) for tool in tools}
        record = Made(job.fingerprint, job.sources, files, versions)
        (Path(job.out) / "made.json").write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    except OSError as error:
        raise EdgexpError(f"{error.filename or Path(job.out).parent}: {error.strerror or error}") from error


def _made_by(job: Job) -> tuple[list[str], list[str]]:
    """Names of the files, the one to load first, and of the packages that took part."""
    out, paths = Path(job.out), {name: Path(path) for name, path in job.paths.items()}
    if isinstance(job.derive, Requantise | Adapt):
        from edgexp.models.playable import read_playable

        read_playable(next(iter(paths.values())))
    match job.derive:
        case Requantise():
            from edgexp.gguf.quantise import requantise

            return [requantise(next(iter(paths.values())), out, job.derive.type)], ["llama-cpp-python"]
        case Adapt():
            return [merge_adapter(next(iter(paths.values())), out, job.name, job.derive)], ["numpy"]
        case Bert():
            from edgexp.models.encoder_graph import convert_bert

            return convert_bert(paths, out, job.derive, job.fingerprint), ["onnx", "numpy", "safetensors", "onnxruntime"]
        case Pool():
            from edgexp.models.encoder_graph import wrap_graph

            return wrap_graph(paths, out, job.derive, job.fingerprint), ["onnx", "numpy", "onnxruntime"]


def merge_adapter(base: Path, out: Path, name: str, recipe: Adapt) -> str:
    """Write `<name>.<TYPE>.gguf`, base and adapter merged, into `out`; returns its name.

    Raises EdgexpError where the adapter is missing, is not the one meant, or does not fit.
    """
    from edgexp.gguf.lora import WEIGHTS, patches, read_adapter
    from edgexp.gguf.merge import merge
    from edgexp.gguf.reader import open_gguf

    weights = Path(recipe.adapter) / WEIGHTS
    if not weights.is_file():
        raise EdgexpError(f"{weights} is not there; bring the adapter back, or name its folder in the manifest")
    if model_files.sha256(weights, fresh=True) != recipe.sha256:
        raise EdgexpError(f"{weights} is not the adapter that the manifest means (its sha256 differs); it was changed or damaged")
    opened, made = open_gguf(base), f"{name}.{recipe.type.upper()}.gguf"
    adapter = read_adapter(Path(recipe.adapter))
    merge(opened, patches(adapter, opened), recipe.type, out / made, about=adapter.about)
    return made
