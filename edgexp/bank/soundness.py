"""What a bank can give back as it was given it: told before a trajectory is stored, and again when one is read.

A trajectory is sound when its JSON reads back as the same, and when it is not so large that looking at it would stop everything else. What
an older version stored unsound, or a disk has damaged since, is set aside when it is met: nothing else notices it any more. Knows no SQL.
"""

import math
import zlib
from collections.abc import Iterator

import msgspec

from edgexp.errors import EdgexpError
from edgexp.trajectory import Trajectory, decode, encode

LONGEST_TEXT = 1 << 20
"""Characters of any one text of a trajectory: a goal, an observation, an action."""
MOST_BYTES = 16 << 20
"""Of a trajectory as JSON."""


def check_sound(trajectory: Trajectory) -> Trajectory:
    """The trajectory as it will be read back; numbers may be of another type, and are equal.

    Raises EdgexpError saying which episode cannot be stored, and why.
    """
    try:
        data = encode(trajectory)
        again = decode(data)
        problem = find_excess(again, len(data)) or ("" if again == _with_tuples(trajectory) else _difference(trajectory, again))
    except UnicodeEncodeError as error:
        problem = f"it holds text that is not Unicode ({error.reason})"
    except (EdgexpError, TypeError, ValueError, RecursionError, OverflowError) as error:
        problem = str(error).removeprefix("not a trajectory: ")
    if problem:
        raise EdgexpError(f"an episode of {_name(trajectory)} cannot be stored: {problem}")
    return again


def find_excess(trajectory: Trajectory, size: int) -> str:
    """Why a trajectory of so many bytes is too large; empty where it is not."""
    if size > MOST_BYTES:
        return f"it has {size:,} bytes, more than {MOST_BYTES:,}"
    longest = max(map(len, _texts(trajectory))) if size > LONGEST_TEXT else 0  # no text has more characters than the whole has bytes
    return f"a text of it has {longest:,} characters, more than {LONGEST_TEXT:,}" if longest > LONGEST_TEXT else ""


def pack(trajectory: Trajectory) -> bytes:
    """A body as it is stored: JSON, deflated (about a quarter of the size for 40 µs; nothing else in the library does better per µs)."""
    return zlib.compress(encode(trajectory), 6)


def unpack(data: bytes, identity: str) -> Trajectory:
    """The reverse of `pack`. Raises EdgexpError naming the trajectory whose body is damaged."""
    try:
        text = _inflate(data)
        trajectory = decode(text)
        problem = find_excess(trajectory, len(text))
        error: Exception | None = None
    except (zlib.error, TypeError, ValueError, RecursionError, EdgexpError) as caught:
        problem, error = str(caught), caught
    if problem:
        raise EdgexpError(f"the stored trajectory {identity} is damaged ({problem}): `edgexp bank forget {identity}` removes it") from error
    return trajectory


def is_plain(entry: msgspec.Struct) -> bool:
    """Whether an entry can be shown, filtered and written as JSON: its numbers are finite and its texts Unicode."""
    try:
        msgspec.json.encode(entry)
    except (UnicodeEncodeError, TypeError, OverflowError):
        return False
    values = [getattr(entry, name) for name in entry.__struct_fields__]
    return all(math.isfinite(value) for value in values if isinstance(value, float)) and all(
        len(value) <= LONGEST_TEXT for value in values if isinstance(value, str)
    )


def _inflate(data: bytes) -> bytes:
    """Never more than is allowed: a few bytes can stand for gigabytes."""
    reader = zlib.decompressobj()
    text = reader.decompress(data, MOST_BYTES + 1)
    if len(text) <= MOST_BYTES and not reader.eof:
        raise zlib.error("it is cut short")
    return text


def _texts(trajectory: Trajectory) -> Iterator[str]:
    t, task = trajectory, trajectory.task
    yield from (task.id, task.environment, task.split, task.type, task.group, t.goal, t.observation, t.end)
    yield from (value for value in msgspec.structs.astuple(t.provenance) if isinstance(value, str))
    for step in t.steps:
        yield from (step.action, step.observation)


def _with_tuples(trajectory: Trajectory) -> Trajectory:
    """Steps in a list mean the same."""
    steps = trajectory.steps
    return msgspec.structs.replace(trajectory, steps=tuple(steps)) if isinstance(steps, list) else trajectory


def _difference(given: Trajectory, read: Trajectory) -> str:
    field = next((name for name in given.__struct_fields__ if getattr(given, name) != getattr(read, name)), "it")
    return f"its {field} would be read back as something else"


def _name(trajectory: Trajectory) -> str:
    name = getattr(getattr(trajectory, "task", None), "id", None)
    return ascii(name)[1:-1][:80] if isinstance(name, str) else "a task without a name"
