"""How large this machine is: the cores and the memory that there are for this process. Knows nothing of what they are used for.

A container sees the whole machine and may use a part of it: what the system's control groups (Linux, both versions) allow is looked up too.
"""

import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
"""Where control groups are mounted."""
OWN_GROUPS = Path("/proc/self/cgroup")
"""Which of them this process is in: lines of `number:controllers:/path`."""


def cores() -> int:
    """Cores that this process may use, one at least: those it may run on, and no more than its container pays for, rounded down."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([here, *map(int, _core_limits())]))


def machine_memory() -> int:
    """Bytes of main memory, no more than this container may use; 8 GB where the system does not say."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        memory = 8 << 30
    return min([memory, *_memory_limits()])


def _core_limits() -> Iterator[float]:
    """Cores' worth of time that each group around this process gives it."""
    for folder in _folders("cpu"):
        quota, period = (*_words(folder / "cpu.max"), "", "")[:2]
        if not quota:
            quota, period = _first(folder / "cpu.cfs_quota_us"), _first(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0:  # `max` and -1 are no limit
            yield int(quota) / int(period)


def _memory_limits() -> Iterator[int]:
    """Bytes that each group around this process may use. The first version says "no limit" as a number near 2^63, which is none."""
    for folder in _folders("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _first(folder / name)
            if limit.isdecimal() and int(limit) > 0:
                yield int(limit)


def _folders(controller: str) -> Iterator[Path]:
    """The folders of the groups around this process, for one controller, the innermost first. Inside a container the path may be one
    that only the host knows; the mount's own root is looked at in any case."""
    for line in _lines(OWN_GROUPS):
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        for root in [GROUPS / controller, GROUPS / controllers] if controllers else [GROUPS]:
            inner = [part for part in path.split("/") if part not in ("", ".", "..")]
            yield from (root.joinpath(*inner[:depth]) for depth in range(len(inner), -1, -1))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", errors="replace").splitlines()
    except (OSError, ValueError):
        return []


def _words(path: Path) -> list[str]:
    lines = _lines(path)
    return lines[0].split() if lines else []


def _first(path: Path) -> str:
    words = _words(path)
    return words[0] if words else ""
