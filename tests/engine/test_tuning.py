"""Choosing threads and ways of waiting, and surviving a native library that dies."""

import hashlib
import os
import stat
import sys

import pytest

from edgexp.engine import tuning
from edgexp.engine.tuning import Rate
from edgexp.errors import EdgexpError
from edgexp.machine import cores

SLEEP, SPIN = tuning.WAITING


def test_spinning_is_chosen_only_when_it_is_worth_it():
    slow, fast = [Rate(1, 400, 100), Rate(2, 500, 60)], [Rate(1, 400, 100), Rate(2, 800, 110)]
    assert tuning.choose([(SLEEP, slow), (SPIN, fast)]).environment == SPIN
    assert tuning.choose([(SLEEP, slow), (SPIN, slow)]).environment == SLEEP


def test_prompts_and_generation_get_their_own_thread_counts():
    chosen = tuning.choose([(SLEEP, [Rate(1, 400, 130), Rate(2, 800, 147)])])
    assert (chosen.threads, chosen.threads_batch) == (1, 2)
    chosen = tuning.choose([(SLEEP, [Rate(1, 40, 5), Rate(2, 75, 9)])])
    assert (chosen.threads, chosen.threads_batch) == (2, 2)


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1, 2]), (8, [1, 4, 8]), (64, [1, 8, 16])])
def test_thread_counts(cores, counts):
    assert tuning.thread_counts(cores) == counts


@pytest.fixture
def probe(tmp_path, monkeypatch):
    """Replace the child's interpreter by a script of the test's choice."""

    def install(script):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(path))

    if sys.platform == "win32":
        pytest.skip("stands in for the interpreter with a shell script")
    return install


RATE = """echo '["Answer", [{"threads": 1, "prompt": 100.0, "generate": 10.0}]]'"""


def test_a_crash_with_repacked_weights_falls_back_by_itself_and_says_so_once(probe, policy_path, own_home):
    probe(f"if grep -q '\"extra_buffers\":true'; then kill -SEGV $$; fi; {RATE}")
    tuning.forget(policy_path)
    said: list[str] = []
    found = tuning.for_model(policy_path, said.append)
    assert not found.extra_buffers
    assert "llama.cpp crashes (exit -11) here with repacked weights; running without them" in said
    again: list[str] = []
    assert tuning.for_model(policy_path, again.append) == found and again == []
    tuning.forget(policy_path)


@pytest.mark.parametrize(("script", "words"), [
    ("kill -ILL $$", r"^llama\.cpp crashes \(exit -4\) when it evaluates .*; see what it says with: edgexp doctor$"),
    ("exit 134", r"^llama\.cpp crashes \(exit 134\) when it evaluates"),
    ("echo no such op >&2; exit 1", r"^llama\.cpp fails: no such op when it evaluates"),
    ("exit 3", r"^llama\.cpp fails: exit 3 when it evaluates"),
    ("exec sleep 600", r"^llama\.cpp hangs when it evaluates"),
])  # fmt: skip
def test_a_library_that_cannot_run_is_one_clear_line(probe, policy_path, monkeypatch, script, words):
    probe(script)
    if "sleep" in script:
        monkeypatch.setattr(tuning, "LIMIT", 0.2)
    with pytest.raises(EdgexpError, match=words):
        tuning.measure(policy_path)


def test_the_real_library_is_measured(policy_path):
    found = tuning.measure(policy_path)
    assert found.generate_rate > 1 and found.prompt_rate > 1
    assert 1 <= found.threads <= cores()


def test_a_damaged_memory_of_measurements_is_measured_again(probe, policy_path):
    probe(RATE)
    tuning.cache_path().write_text("{not json")
    assert tuning.for_model(policy_path).threads == 1
    tuning.forget(policy_path)


def put(path, content, times=None):
    path.write_bytes(content)
    if times:
        os.utime(path, ns=times)


@pytest.mark.parametrize("known", [True, False], ids=["digest", "quick"])
def test_another_file_of_the_same_name_and_size_is_probed_before_it_is_loaded(probe, tmp_path, known):
    """What crashes must do so in a child, also where a file that was measured had its name."""
    model = tmp_path / "model.gguf"

    def digest():
        return hashlib.sha256(model.read_bytes()).hexdigest() if known else ""

    probe(RATE)
    put(model, b"GGUF" + bytes(3 << 20))
    tuning.for_model(model, digest=digest())
    probe("kill -SEGV $$")
    assert tuning.for_model(model, digest=digest()).generate_rate == 10.0, "the same file is remembered"
    before = model.stat()
    put(model, b"GGUF" + bytes(1 << 20) + b"x" + bytes((2 << 20) - 1), (before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(EdgexpError, match="crashes"):
        tuning.for_model(model, digest=digest())


def test_the_same_content_elsewhere_is_remembered_by_its_digest(probe, tmp_path):
    probe(RATE)
    for name in ("a.gguf", "b.gguf"):
        put(tmp_path / name, b"GGUF twice")
        tuning.for_model(tmp_path / name, digest="d" * 64)
        probe("exit 3")
    tuning.forget(tmp_path / "c.gguf", digest="d" * 64)
    with pytest.raises(EdgexpError, match="fails"):
        tuning.for_model(tmp_path / "a.gguf", digest="d" * 64)
