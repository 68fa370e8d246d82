"""A trained adapter: where it lies, what its training says of it, and the GGUF it is merged into. Opens no sockets.

Reads the record that training leaves beside an adapter, as far as an export carries it on; knows nothing of what a recipe means, and
nothing of tensors. The base that a manifest names is the weights as they came, not what was requantised from them: training dequantises
the same file, so nothing is lost twice.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from edgexp.errors import EdgexpError, UsageError
from edgexp.gguf.lora import CONFIG, WEIGHTS, read_base_name
from edgexp.gguf.reader import shown
from edgexp.home import home
from edgexp.models import model_files
from edgexp.models.manifest import Adapt, find
from edgexp.models.model_files import Base, known_base

RECORD = "manifest.json"


class TrainedOn(msgspec.Struct, frozen=True):
    """The base a training started from."""

    name: str = ""
    sha256: str = ""
    """Of the GGUF; empty where it was none."""
    adapter: str = ""
    """The adapter that the training went on from; empty where it began anew."""
    adapter_sha256: str = ""


class Training(msgspec.Struct, frozen=True):
    """The parts of a training's record that an export carries on; the rest stays with the adapter, found by the digest."""

    name: str = ""
    recipe: dict[str, Any] = {}
    base: TrainedOn = TrainedOn()
    banks: tuple[str, ...] = ()
    """Fingerprints of the bank snapshots that gave the data."""
    step: int = 0
    prompt: int = 1
    """The version of the prompt's words; see `edgexp.prompt.messages`."""
    layout: str = "chained"
    """How memory stood in the samples."""
    code: str = ""
    finished: str = ""
    files: dict[str, str] = {}
    """Name → sha256 of what training wrote."""


def find_adapter(named: Path) -> Path:
    """The folder of an adapter, by its own path, by that of its run, by the name of a run in edgexp's home, or by that of a model that is
    made of one. Raises UsageError."""
    named = named.expanduser()
    for folder in (named, named / "adapter", home() / "runs" / named / "adapter", *_of_model(str(named))):
        if (folder / CONFIG).is_file():
            return folder.absolute()
    raise UsageError(f"{named} is no adapter and no run: there is no {CONFIG} in it; name a folder that edgexp train wrote")


def _of_model(name: str) -> Iterator[Path]:
    """Where the adapter of a model lies that is a base with an adapter."""
    manifest = find(name)
    if manifest is not None and isinstance(manifest.derive, Adapt):
        yield Path(manifest.derive.adapter)


def read_training(adapter: Path) -> Training | None:
    """What training says of an adapter; None where it left no record (an adapter from elsewhere).

    Raises EdgexpError where the record cannot be read, or the weights are not the ones it means.
    """
    path = adapter / RECORD
    try:
        training = msgspec.json.decode(path.read_bytes(), type=Training)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise EdgexpError(f"{path} cannot be read: {error}") from error
    for name in (WEIGHTS, CONFIG):
        if name in training.files and model_files.sha256(adapter / name) != training.files[name]:
            raise EdgexpError(f"{adapter / name} is not the file that its {RECORD} means; it was changed or damaged after training")
    return training


def base_of(adapter: Path) -> TrainedOn:
    """The base by the training's record, else by the adapter's own configuration, which knows no digest."""
    training = read_training(adapter)
    return training.base if training and training.base.name else TrainedOn(read_base_name(adapter))


def name_of(adapter: Path) -> str:
    """A name for what is made of an adapter: its training's, else its folder's, or its run's where the folder is just called adapter."""
    training = read_training(adapter)
    folder = adapter.absolute()
    return (training.name if training else "") or (folder.parent if folder.name == "adapter" else folder).name


def find_base(adapter: Path) -> Base:
    """The base that an adapter says it was trained on.

    Raises UsageError where it names none that is known here, EdgexpError where the weights are other ones than it was trained on.
    """
    trained = base_of(adapter)
    if not trained.name:
        raise UsageError(f"{adapter} does not say what it was trained on; name the base with --base (a GGUF or a model's name)")
    base = known_base(trained.name)
    if base is None:
        raise UsageError(f"{adapter} was trained on {shown(trained.name)}, which is neither a GGUF here nor a model of edgexp models ls; "
                         f"name the base with --base{_likely(trained.name)}")
    if trained.sha256 and base.sha256 != trained.sha256:
        raise EdgexpError(f"{adapter} was trained on other weights than {base.path} (sha256 {trained.sha256[:12]}…, here "
                          f"{base.sha256[:12]}…); bring those, or name these with --base and let the comparison judge")
    return base


_FOUR_BIT = re.compile(r"(-unsloth)?-(bnb|nf4|fp4|awq|gptq)(-4bit|-int4)?$|-4bit$")
"""How hubs name 4-bit variants of a model. An adapter trained on one goes into the unquantised weights."""


def _likely(trained_on: str) -> str:
    """What a base that is not known by its name most likely is, as the end of an advice; empty where nothing is like it."""
    last = trained_on.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].lower()
    plain = _FOUR_BIT.sub("", last)
    advice = ", which wants the unquantised weights as a GGUF, not the 4-bit ones" if plain != last else ""
    manifest = find(plain)
    return advice + (f"; {plain} of edgexp models ls looks like it" if manifest is not None and manifest.role == "policy" else "")
