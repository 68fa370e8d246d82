"""Runs a template that a stranger wrote: in a process of its own, with limits, once. What came out is remembered in this process and in the
home folder, so that starting a model a second time costs nothing. Knows texts only, no tokens.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import msgspec

from edgexp import process
from edgexp.files import write_atomic
from edgexp.home import home
from edgexp.prompt import template_texts
from edgexp.prompt.template_texts import MEMORY_BYTES, PROCESSOR_SECONDS, Texts

SECONDS = 20.0
"""How long the process may take, a machine that is busy with other things included."""
LONGEST_SOURCE = 1_000_000
"""Characters of a template; the longest of well-known models has 20,000."""


class Found(msgspec.Struct, frozen=True):
    """The ways to use a template, the best first, and what is to be said where there is none."""

    found: tuple[Texts, ...] = ()
    complaint: str = ""


@lru_cache(64)
def find_texts(source: str, bos: str, eos: str) -> Found:
    """The texts that a template writes around the turns, where `bos` and `eos` are the vocabulary's tokens as texts. Raises nothing."""
    if len(source) > LONGEST_SOURCE:
        return Found(complaint=f"has {len(source):,} characters, more than any template needs")
    place = home() / "cache" / "templates" / f"{_digest(source, bos, eos)}.json"
    # A cache that cannot be read or written is done without.
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(place.read_bytes(), type=Found)
    answer = _ask({"source": source, "bos": bos, "eos": eos})
    if answer.found:
        with contextlib.suppress(OSError):
            write_atomic(place, msgspec.json.encode(answer))
    return answer


def _digest(*given: str) -> str:
    """What an answer depends on: what is asked, and the code that answers. More of the vocabulary than two tokens is not asked for."""
    return hashlib.sha256(json.dumps([Path(template_texts.__file__).read_text(encoding="utf-8"), *given]).encode()).hexdigest()


def _ask(request: dict[str, str]) -> Found:
    """Run the child, and put every way in which it can end into words."""
    try:
        code, answer, said = _run(json.dumps(request).encode())
    except subprocess.TimeoutExpired:
        return Found(complaint=f"takes longer than {SECONDS:.0f} seconds")
    except OSError as error:
        return Found(complaint=f"cannot be tried, because no process can be started ({error.strerror or error})")
    if code == 0:
        with contextlib.suppress(msgspec.MsgspecError):
            return msgspec.json.decode(answer, type=Found)
    if os.name == "posix" and code in (-signal.SIGXCPU, -signal.SIGKILL):
        return Found(complaint=f"takes longer than {PROCESSOR_SECONDS} seconds of computing")
    if b"MemoryError" in said:
        return Found(complaint=f"fails: it wants more than {MEMORY_BYTES >> 20} MB of memory")
    return Found(complaint=f"makes the process that tries it fail: it {process.death_in_words(code)}")


def _run(request: bytes) -> tuple[int, bytes, bytes]:
    """The child from beginning to end: its exit code, its answer, and what else it said. Raises TimeoutExpired."""
    with tempfile.TemporaryFile() as log, process.start(template_texts.__name__, log=log, own_group=True) as child:
        try:
            answer, _ = child.communicate(request, SECONDS)
        except BaseException:
            child.kill()
            raise
        log.seek(0)
        return child.returncode, answer, log.read()
