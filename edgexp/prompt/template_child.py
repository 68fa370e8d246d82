"""Runs a template that a stranger wrote: in a process of its own, with limits, once. What came out is remembered in this process and in the
home folder, so that starting a model a second time costs nothing. Knows texts only, no tokens.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import msgspec

import edgexp
from edgexp.home import home, write_atomic
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
        done = _start(json.dumps(request))
    except subprocess.TimeoutExpired:
        return Found(complaint=f"takes longer than {SECONDS:.0f} seconds")
    except OSError as error:
        return Found(complaint=f"cannot be tried, because no process can be started ({error.strerror or error})")
    if done.returncode == 0:
        with contextlib.suppress(msgspec.MsgspecError):
            return msgspec.json.decode(done.stdout, type=Found)
    if os.name == "posix" and done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return Found(complaint=f"takes longer than {PROCESSOR_SECONDS} seconds of computing")
    if b"MemoryError" in done.stderr:
        return Found(complaint=f"fails: it wants more than {MEMORY_BYTES >> 20} MB of memory")
    return Found(complaint=f"makes the process that tries it end with status {done.returncode}")


def _start(request: str) -> "subprocess.CompletedProcess[bytes]":
    """The child, from beginning to end. It finds this edgexp wherever it lies, and nothing in the current folder (`-P`)."""
    path = os.pathsep.join([str(Path(edgexp.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-P", "-X", "utf8", "-m", "edgexp.prompt.template_texts"], input=request.encode(), capture_output=True,
        timeout=SECONDS, env={**os.environ, "PYTHONPATH": path}, check=False,
    )  # fmt: skip
