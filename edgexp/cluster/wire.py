"""What a driver and its workers say to each other, as msgspec bytes: no object of edgexp's is pickled. Knows no Ray.

Each call of a worker is answered by `Done` with the answer inside, or by `Failed`. Strings that a file name made unreadable are escaped.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from edgexp.errors import EdgexpError, UsageError
from edgexp.evaluation.suite import KINDS, Suite
from edgexp.play.chat_client import Terms
from edgexp.play.session import Settings
from edgexp.trajectory import Played, Task

PROTOCOL = 1
"""Raised when anything in this module changes its meaning."""

Answer = TypeVar("Answer")


class File(msgspec.Struct, frozen=True):
    """A file of a parcel."""

    name: Annotated[str, Meta(pattern=r"^[^/\\]*[^/\\.][^/\\]*$")]
    """Without a folder: nothing is written beside a parcel's own."""
    sha256: str
    size: int
    """Bytes."""


class Parcel(msgspec.Struct, frozen=True):
    """Files that a worker needs together, known by their content."""

    kind: Literal["model", "encoder", "bank"]
    digest: str
    folder: str
    """Where they lie on the driver's machine."""
    files: tuple[File, ...]


class Weights(msgspec.Struct, frozen=True):
    """A model or an encoder that settings name, and the parcel that holds it."""

    called: str
    """By what the settings call it, a name or a path."""
    name: str
    role: Literal["policy", "embedder"]
    sha256: str
    context: int
    licence: str
    first: str
    """The file to open; empty for the folder itself."""
    parcel: Parcel


class ExpertPlay(msgspec.Struct, frozen=True, tag="expert"):
    """Play as `collect --policy expert` does."""

    environment: str
    steps: int | None
    mistakes: float
    seed: int
    parallel: int


class SessionPlay(msgspec.Struct, frozen=True, tag="session"):
    """Play as a session with these settings does; their bank is the parcel of that digest, where one is named."""

    settings: Settings
    steps: int | None
    in_use: bool
    bank: str = ""


class SuitePlay(msgspec.Struct, frozen=True, tag="suite"):
    """Play conditions of one model of a suite. Its banks are named by the digests of their parcels, after `parcel:`."""

    name: str
    suite: Suite
    models: dict[str, str]
    conditions: tuple[int, ...]
    """Positions in the suite."""
    parallel: int
    gpu_layers: int
    vault: int
    terms: Terms


class Opening(msgspec.Struct, frozen=True):
    """What workers are to play with."""

    play: ExpertPlay | SessionPlay | SuitePlay
    environments: dict[str, str]
    """By the name that settings give → the version that the driver has."""
    weights: tuple[Weights, ...] = ()
    banks: tuple[Parcel, ...] = ()
    folder: str = ""
    """Where the command was started: relative paths mean something there."""

    @property
    def parcels(self) -> list[Parcel]:
        """Every parcel once."""
        return list({p.digest: p for p in (*(w.parcel for w in self.weights), *self.banks)}.values())


class Hello(msgspec.Struct, frozen=True):
    """Who a worker is."""

    protocol: int
    code: str
    """See `edgexp.evaluation.playing.code`."""
    engine: str
    """The llama.cpp library's version."""
    host: str
    process: int


class Opened(msgspec.Struct, frozen=True):
    """A worker is ready."""

    places: int
    """Episodes that it plays at once."""
    environments: dict[str, str]
    notes: tuple[str, ...]
    """What was said while it opened."""


class Item(msgspec.Struct, frozen=True):
    """One episode to play."""

    position: int
    """In its turn as it was made."""
    task: Task
    condition: int = 0
    """Positions in the suite, where one is played."""
    entry: int = 0


class Turn(msgspec.Struct, frozen=True):
    """Episodes that are played at one place, one after the other."""

    number: int
    items: tuple[Item, ...]


class Over(msgspec.Struct, frozen=True):
    """An episode that is over, or that could not be played."""

    turn: int
    position: int
    played: Played | None
    error: str = ""
    """Why there is no record."""
    usage: bool = False
    """Whether the request itself was wrong: then it is wrong for all."""


class Done(msgspec.Struct, frozen=True, tag="done"):
    """A call went well."""

    value: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """A call did not."""

    message: str
    usage: bool = False
    broken: bool = False
    """Whether the worker cannot go on: it met an error that nobody foresaw."""
    details: str = ""


class Broken(EdgexpError):
    """A worker met an error that nobody foresaw."""


PARCEL = "parcel:"
"""Before a digest, where a suite names a bank."""


def with_banks(suite: Suite, place: Callable[[str], str]) -> Suite:
    """The suite with other names for its banks: those of its entries and those that conditions name themselves."""
    entries = [replace(entry, experience=replace(entry.experience, bank=place(entry.experience.bank))) for entry in suite.tasks]
    conditions = [c if c.bank in KINDS else replace(c, bank=place(c.bank)) for c in suite.conditions]
    return replace(suite, tasks=tuple(entries), conditions=tuple(conditions))


def encode(value: Any) -> bytes:
    """Anything of this module, as bytes."""
    return msgspec.msgpack.encode(value)


def decode(data: bytes, kind: type[Answer]) -> Answer:
    """The reverse of `encode`. Raises EdgexpError for bytes of something else."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (ValueError, RecursionError) as error:
        raise EdgexpError(f"what came from another machine is no {getattr(kind, '__name__', kind)}: {error}") from error


def answer(value: Any) -> bytes:
    """A call's answer, for `read_answer`."""
    return encode(Done(msgspec.Raw(encode(value))))


def read_answer(data: bytes, kind: type[Answer]) -> Answer:
    """What a call was answered. Raises the EdgexpError or UsageError that the worker raised, or Broken."""
    told: Done | Failed = decode(data, Done | Failed)  # type: ignore[arg-type]
    if isinstance(told, Failed):
        kind_of_error = UsageError if told.usage else Broken if told.broken else EdgexpError
        raise kind_of_error(told.message, details=told.details)
    return decode(bytes(told.value), kind)


def plain(text: str) -> str:
    """Text that can be sent, whatever names of files are in it."""
    return text.encode("utf-8", "backslashreplace").decode()
