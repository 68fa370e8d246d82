"""What a machine is said to have."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp import machine


def test_cores_are_those_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "OWN_GROUPS", machine.OWN_GROUPS / "none")  # whatever the tests themselves run in
    assert 1 <= machine.cores() <= (os.cpu_count() or 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert machine.cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.cores() == 1


def test_memory_is_told_in_bytes_and_guessed_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.machine_memory() > 100 << 20
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}[name], raising=False)
    assert machine.machine_memory() == 4_096_000
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.setattr(machine, "OWN_GROUPS", machine.OWN_GROUPS / "none")
    assert machine.machine_memory() == 8 << 30


# What a container allows


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that writes which groups this process is in, and files of theirs; the machine has 8 cores and 64 GB."""
    monkeypatch.setattr(machine, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1 << 24}[name], raising=False)

    def write(own: str, **files: str | bytes) -> None:
        (tmp_path / "own").write_text(own)
        for name, content in files.items():
            path = tmp_path / "cgroup" / name.replace("__", "/").replace("-", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


V1 = "12:memory:/docker/abc\n5:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n0::/docker/abc\n"


@pytest.mark.parametrize(
    "own, files, cores, memory",
    [
        ("", {}, 8, 64 << 30),
        ("0::/\n", {"cpu-max": "200000 100000\n", "memory-max": "1073741824\n"}, 2, 1 << 30),
        ("0::/\n", {"cpu-max": "max 100000\n", "memory-max": "max\n"}, 8, 64 << 30),
        ("0::/\n", {"cpu-max": "150000 100000\n"}, 1, 64 << 30),
        ("0::/\n", {"cpu-max": "1000 100000\n"}, 1, 64 << 30),
        ("0::/\n", {"cpu-max": "9900000 100000\n", "memory-max": str(1 << 50)}, 8, 64 << 30),
        ("0::/a/b\n", {"a__b__cpu-max": "max 100000", "a__cpu-max": "300000 100000", "a__b__memory-max": str(4 << 30),
                       "a__memory-max": str(2 << 30)}, 3, 2 << 30),
        ("0::/not/seen/inside\n", {"cpu-max": "400000 100000"}, 4, 64 << 30),
        ("0::/../..\n", {"cpu-max": "400000 100000"}, 4, 64 << 30),
        (V1, {"cpu__docker__abc__cpu-cfs_quota_us": "250000", "cpu__docker__abc__cpu-cfs_period_us": "100000",
              "memory__docker__abc__memory-limit_in_bytes": str(3 << 30)}, 2, 3 << 30),
        (V1, {"cpu,cpuacct__cpu-cfs_quota_us": "100000", "cpu,cpuacct__cpu-cfs_period_us": "100000",
              "memory__memory-limit_in_bytes": "9223372036854771712"}, 1, 64 << 30),
        (V1, {"cpu__cpu-cfs_quota_us": "-1", "cpu__cpu-cfs_period_us": "100000"}, 8, 64 << 30),
        ("0::/\n", {"cpu-max": "", "memory-max": ""}, 8, 64 << 30),
        ("0::/\n", {"cpu-max": "100000", "memory-max": "-5"}, 8, 64 << 30),
        ("0::/\n", {"cpu-max": "0 0", "memory-max": "0"}, 8, 64 << 30),
        ("0::/\n", {"cpu-max": b"\xff\xfe\0", "memory-max": "1e9"}, 8, 64 << 30),
        ("rubbish\n::\n:::\n", {}, 8, 64 << 30),
    ],
)  # fmt: skip
def test_a_containers_limits_are_seen(
    groups: Callable[..., None], own: str, files: dict[str, str | bytes], cores: int, memory: int
) -> None:
    groups(own, **files)
    assert (machine.cores(), machine.machine_memory()) == (cores, memory)


@given(st.text(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_whatever_the_system_says_there_is_a_core_and_memory(own: str, cpu: bytes, memory: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(machine, "GROUPS", Path(folder))
        patched.setattr(machine, "OWN_GROUPS", Path(folder) / "own")
        (Path(folder) / "own").write_bytes(b"0::/\n" + own.encode("utf-8", "surrogatepass"))
        (Path(folder) / "cpu.max").write_bytes(cpu)
        (Path(folder) / "memory.max").write_bytes(memory)
        assert machine.cores() >= 1 and machine.machine_memory() > 0
