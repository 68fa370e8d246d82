"""Every byte of a model that is here, hashed again and compared with what it must be. Changes nothing."""

from collections.abc import Iterator

import msgspec

from edgexp.errors import EdgexpError
from edgexp.models import derive
from edgexp.models.manifest import Manifest, files, read
from edgexp.models.store import check_file, folder, locate, not_here


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
