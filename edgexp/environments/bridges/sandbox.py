"""One command of a shell in a folder that it may write, with limits on time, memory, output and disk; nothing of it goes on afterwards.

Under bubblewrap it sees the folder, the system's programs to read, and no network. Without bubblewrap it has the user's rights: callers
refuse that unless the user has said so. Limits without: time, output, disk and memory of each process, as with. A command that leaves its
group of processes on purpose is stopped under bubblewrap only. Knows no tasks.
"""

import contextlib
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import msgspec

from edgexp.environments import plain
from edgexp.environments.bridges.program import end, launch
from edgexp.errors import UsageError

PLACE = "/desk"
"""What a command sees as its folder."""
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache", "/nix/store")
_LIMITED = 'ulimit -c 0; ulimit -t "$1"; ulimit -f "$2"; ulimit -v "$3" 2>/dev/null; exec /bin/sh -c "$4" 2>&1 </dev/null'
_TURN = 0.05
"""Seconds between two looks at a running command."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one action may use."""

    seconds: float = 10.0
    memory: int = 1024
    """Megabytes of address space of each process."""
    output: int = 4000
    """Characters that are shown."""
    disk: int = 64
    """Megabytes of all files of an episode together."""


class Ran(msgspec.Struct, frozen=True):
    """How a command ended."""

    status: int | None
    """Its exit status; None where it was ended."""
    output: str
    """What it wrote, both to standard output and standard error, cut."""
    problem: str = ""
    """Why it was ended."""
    full: bool = False
    """It has filled the disk that it may use: the episode cannot go on."""


def find_bubblewrap() -> str:
    """The program, which has been seen to work here. Raises UsageError, which says what else can be done."""
    found = shutil.which("bwrap") if sys.platform == "linux" else None
    otherwise = "or let its commands run with your own rights: --no-sandbox, or EDGEXP_NO_SANDBOX=1"
    if found is None:
        raise UsageError(f"shell tasks run under bubblewrap, which is not here (on Linux, install the package bubblewrap), {otherwise}")
    try:
        tried = subprocess.run([*_wrapped(found, None, None), "/bin/sh", "-c", "exit 0"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"bubblewrap does not work here: {plain.explain(error)}; mend it, {otherwise}") from error
    if tried.returncode:
        raise UsageError(f"bubblewrap does not work here: {plain.one_line(tried.stderr.decode('utf-8', 'replace'))}; mend it, {otherwise}")
    return found


def run_command(command: str, folder: Path, limits: Limits, bubblewrap: str | None) -> Ran:
    """Run a command of the shell in `folder`; without `bubblewrap`, with the user's rights. Temporary files go beside the folder."""
    if "\0" in command or len(command) > 100_000:
        return Ran(None, "", "A command has at most 100,000 characters, and no NUL.")
    text = command.encode("utf-8", "replace").decode()
    other = folder.with_name("tmp")
    other.mkdir(exist_ok=True)
    numbers = [str(math.ceil(limits.seconds) + 1), str(limits.disk * 2048), str(limits.memory * 1024)]
    words = ["/bin/sh", "-c", _LIMITED, "sh", *numbers, text]
    if bubblewrap:
        words = [*_wrapped(bubblewrap, folder, other), *words]
    variables = _variables(folder, other, bubblewrap)
    process, life = launch(words, folder, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, environment=variables)
    kept = bytearray()
    assert process.stdout
    reading = threading.Thread(target=_keep, args=(process.stdout, kept, 4 * limits.output + 4), daemon=True, name="command-output")
    reading.start()
    try:
        problem, full = _watch(process, folder.parent, limits)
    finally:
        end(process, life, os.getpid())
    reading.join(2)
    shown = _cut(bytes(kept).decode("utf-8", "replace").replace(str(folder), PLACE).replace("\0", "\ufffd"), limits.output)
    return Ran(None if problem else process.returncode, shown, problem, full)


def size_of(folder: Path) -> int:
    """Bytes of everything in a folder; nothing is smaller than a block."""
    total = 0
    for place, folders, names in os.walk(folder, onerror=None):
        for name in (*folders, *names):
            with contextlib.suppress(OSError):
                total += max(4096, os.lstat(os.path.join(place, name)).st_size)  # noqa: PTH118 - a Path for each takes longer
    return total


def remove(folder: Path) -> None:
    """Remove a folder, whatever a command has made of its permissions."""
    for place, folders, _ in os.walk(folder):
        for name in folders:
            with contextlib.suppress(OSError):
                inner = Path(place, name)
                if not inner.is_symlink():
                    inner.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _watch(process: "subprocess.Popen[bytes]", root: Path, limits: Limits) -> tuple[str, bool]:
    """Wait for the end of a command; why it has to be ended, and whether it has filled the disk."""
    until = time.monotonic() + limits.seconds
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_TURN)
        over = process.returncode is not None
        if size_of(root) > limits.disk * 1_000_000:
            return f"The files have more than {limits.disk} MB together. The episode is over.", True
        if over:
            return "", False
        if time.monotonic() > until:
            return f"The command took longer than {limits.seconds:g} s and was ended.", False


def _wrapped(bubblewrap: str, folder: Path | None, other: Path | None) -> list[str]:
    """The words before a command: no network, no other processes, nothing to write but the folder; it ends with bubblewrap itself."""
    words = [bubblewrap, "--unshare-all", "--die-with-parent", "--new-session", "--hostname", "edgexp", "--cap-drop", "ALL"]
    for place in _SYSTEM:
        words += ["--ro-bind-try", place, place]
    words += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    if folder is not None and other is not None:
        words += ["--bind", str(folder), PLACE, "--bind", str(other), "/tmp", "--chdir", PLACE]
    return [*words, "--remount-ro", "/", "--"]


def _variables(folder: Path, other: Path, bubblewrap: str | None) -> dict[str, str]:
    """The variables of a command: none of ours, for they may hold secrets."""
    place, temporary = (PLACE, "/tmp") if bubblewrap else (str(folder), str(other))
    path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" if bubblewrap else os.environ.get("PATH", "/usr/bin:/bin")
    return {"PATH": path, "HOME": place, "TMPDIR": temporary, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _keep(pipe: IO[bytes], kept: bytearray, most: int) -> None:
    """Read everything, for a full pipe would stop the command, and keep the beginning."""
    with contextlib.suppress(OSError, ValueError), pipe:
        while piece := os.read(pipe.fileno(), 65_536):
            kept += piece[: max(0, most - len(kept))]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "\n(cut)"


def refuse_elsewhere() -> None:
    """Raises UsageError on a system without a POSIX shell."""
    if sys.platform == "win32":
        raise UsageError("shell tasks need a POSIX shell, which Windows does not have")


