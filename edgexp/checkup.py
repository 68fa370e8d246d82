"""Looks at everything that playing needs, one part after the other, and says what is there and what is wrong with it."""

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgexp import __version__
from edgexp.errors import EdgexpError
from edgexp.home import home


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    state: Literal["good", "note", "bad"]
    """`bad` is something `edgexp run` fails by, `note` something worth knowing."""
    text: str
    remedy: str = ""


Check = Callable[[], Iterator[Finding]]


def examine(model: str | None = None, bank: Path | None = None, fresh: bool = False) -> Iterator[Finding]:
    """Every finding, as it is made. A check that fails becomes a `bad` finding and the others go on."""
    checks: list[tuple[str, Check]] = [
        ("machine", _machine),
        ("home", _home),
        ("library", _library),
        ("models", _models),
        ("engine", lambda: _engine(model, fresh)),
        ("environments", _environments),
        ("bank", lambda: _bank(bank)),
        ("vault", _vault),
    ]
    for what, check in checks:
        try:
            yield from check()
        except (EdgexpError, OSError) as error:
            yield Finding(what, "bad", str(error))


def _machine() -> Iterator[Finding]:
    from edgexp.machine import cores

    system = f"{platform.system()} {platform.machine()}, {cores()} cores, Python {platform.python_version()}, edgexp {__version__}"
    yield Finding("machine", "good", system)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > cores() * 0.75:
        text = f"other programs keep {load:.1f} of {cores()} cores busy"
        yield Finding("machine", "note", text, "measure again when it is quiet: edgexp doctor --fresh")


def _home() -> Iterator[Finding]:
    folder = home()
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if not os.access(existing, os.W_OK):
        yield Finding("home", "bad", f"{folder} cannot be written", "name another folder in EDGEXP_HOME")
    elif free < 1:
        yield Finding("home", "bad", f"{folder}: only {free:.1f} GB free", "make room, or name another folder in EDGEXP_HOME")
    else:
        yield Finding("home", "good", f"{folder}, {free:.0f} GB free")


def _library() -> Iterator[Finding]:
    from importlib.metadata import version

    from edgexp.engine import native

    yield Finding("library", "good", f"llama-cpp-python {version('llama-cpp-python')}, {native.library_path()}")


def _models() -> Iterator[Finding]:
    from edgexp.models import DEFAULT_EMBEDDER, DEFAULT_POLICY, resolve

    for name, role in ((DEFAULT_POLICY, "acts"), (DEFAULT_EMBEDDER, "embeds")):
        try:
            ready = resolve(name)
            yield Finding("models", "good", f"{name} ({role}), sha256 {ready.sha256[:12]}…")
        except EdgexpError as error:
            yield Finding("models", "bad", str(error))


def _engine(model: str | None, fresh: bool) -> Iterator[Finding]:
    from edgexp.engine import tuning
    from edgexp.models import DEFAULT_POLICY, resolve
    from edgexp.models.model_files import digest_of

    ready = resolve(model or DEFAULT_POLICY, role="policy")
    digest = digest_of(ready.path)
    if fresh:
        tuning.forget(ready.path, digest)
    found = tuning.for_model(ready.path, digest=digest)
    waiting = " ".join(f"{k}={v}" for k, v in found.environment.items()) or "the runtime's own way of waiting"
    text = f"{found.threads} thread(s) to generate ({found.generate_rate:.0f} tokens/s), {found.threads_batch} for prompts "
    yield Finding("engine", "good", text + f"({found.prompt_rate:.0f} tokens/s), {waiting}")
    for note in found.notes:
        yield Finding("engine", "note", note)


def _environments() -> Iterator[Finding]:
    from edgexp.environments.registry import describe_all

    for one in describe_all():
        counts = ", ".join(f"{split} {count:,}" for split, count in one.splits.items())
        yield Finding("environment", "note" if one.problem else "good", f"{one.name}: {one.problem or counts}")


def _bank(path: Path | None) -> Iterator[Finding]:
    from edgexp.bank import Bank, default_path

    folder = path or default_path()
    if not folder.exists():
        yield Finding("bank", "note", f"{folder} does not exist yet", "edgexp run makes it; or fill one with: edgexp collect")
        return
    with Bank.open(folder, readonly=True) as bank:
        stats = bank.stats()
        held = f"{stats.trajectories:,} trajectories, {stats.successful:,} successful"
        yield Finding("bank", "good", f"{folder}: {held}, encoder {stats.encoder}")
        for problem in bank.verify()[:5]:
            yield Finding("bank", "bad", problem, f"edgexp bank rebuild --bank {folder}")


def _vault() -> Iterator[Finding]:
    from edgexp.engine.vault import VARIABLE, Vault, chosen_limit, default_folder

    limit = chosen_limit()
    vault = Vault(default_folder(), limit)
    usage = vault.usage()
    held = f"{vault.folder}: {usage.files:,} blocks, {usage.bytes / 1e9:.2f} of {limit / 1e9:.2f} GB"
    problem = vault.problem() if limit else ""
    if problem:
        remedy = f"what is recalled is evaluated anew in every process; make room, or set {VARIABLE}=off"
        yield Finding("vault", "note", problem, remedy)
    else:
        yield Finding("vault", "good", held if limit else f"off, by {VARIABLE}")
