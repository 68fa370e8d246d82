"""Reading and writing GGUF files."""

import errno
import hashlib
import os
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgexp.errors import EdgexpError
from edgexp.gguf import formats, writer
from edgexp.gguf.reader import GgufFile, Tensor, open_gguf
from edgexp.gguf.writer import entry, file_size, header, write_gguf

from .kit import Tiny, raw


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The bytes of a small file, and a place to put variants of it."""
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    Tiny(layers=1, vocabulary=8).write(path)
    return path, path.read_bytes()


def test_the_default_models_header_is_reproduced_byte_for_byte(smollm_base):
    file = open_gguf(smollm_base)
    made = header(file.entries, file.tensors.values(), file.alignment)
    with smollm_base.open("rb") as original:
        assert original.read(len(made)) == made
    assert file.architecture == "llama"
    assert file.get("llama.attention.head_count_kv") == 3
    assert file.get("tokenizer.ggml.tokens")[1] == "<|im_start|>"
    assert file.get("no.such.key", 7) == 7


def test_what_is_written_is_read(tmp_path):
    entries = {k: entry(k, v) for k, v in {"general.architecture": "llama", "n": 3, "x": 0.5, "text": "é\n\0"}.items()}
    tensors = [Tensor("a", (3,), formats.F32), Tensor("b", (2, 64), formats.Q8_0), Tensor("c", (2, 3, 5), formats.F16)]
    contents = {t.name: os.urandom(t.nbytes) for t in tensors}
    digest = write_gguf(tmp_path / "x", entries, tensors, lambda t: [np.frombuffer(contents[t.name], np.uint8)])
    file = open_gguf(tmp_path / "x")
    assert [(t.name, t.shape, t.kind) for t in file.tensors.values()] == [(t.name, t.shape, t.kind) for t in tensors]
    assert {name: raw(file, name) for name in file.tensors} == contents
    assert (file.get("n"), file.get("x"), file.get("text")) == (3, 0.5, "é\n\0")
    assert file.size == file_size(entries, tensors, 32)
    assert hashlib.sha256((tmp_path / "x").read_bytes()).hexdigest() == digest


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_cut_short_anywhere_is_an_error_that_names_it(small, data):
    path, content = small
    cut = path.with_name("cut.gguf")
    cut.write_bytes(content[: data.draw(st.integers(0, len(content) - 32))])
    with pytest.raises(EdgexpError, match=r"cut\.gguf"):
        open_gguf(cut)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 1500), byte=st.integers(0, 255))
def test_a_damaged_header_is_an_error_or_another_file_but_never_a_crash(small, place, byte):
    path, content = small
    damaged = path.with_name("damaged.gguf")
    damaged.write_bytes(content[:place] + bytes([byte]) + content[place + 1 :])
    try:
        file = open_gguf(damaged)
        for name in file.tensors:
            raw(file, name)
        assert isinstance(file, GgufFile)
    except EdgexpError as error:
        assert "damaged.gguf" in str(error)


NESTED = struct.pack("<Q", 1) + b"k" + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000
"""A list in a list in a list …"""
ONE_TENSOR = header({}, [Tensor("t", (4,), formats.F32)], 32)


@pytest.mark.parametrize(("content", "words"), [
    (b"", "not a GGUF"),
    (b"PK\3\4" + bytes(100), "not a GGUF"),
    (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "GGUF version 1"),
    (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0), "cut short or damaged"),
    (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + NESTED, "cut short or damaged"),
    (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry("split.count", 3), "several files"),
    (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry("general.alignment", 3), "alignment"),
    (b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + 2 * entry("a", 1), "twice"),
    (header({}, [Tensor("t", (2, 32), formats.Q8_0)] * 2, 32) + bytes(256), "same name"),
    (ONE_TENSOR.replace(struct.pack("<QIQ", 4, 0, 0), struct.pack("<QIQ", 4, 77, 0)), "number format 77"),
])  # fmt: skip
def test_files_that_are_no_model(tmp_path, content, words):
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(EdgexpError, match=words):
        open_gguf(path)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path):
    file = Tiny().write(tmp_path / "t.gguf")
    os.truncate(file.path, file.size // 2)
    with pytest.raises(EdgexpError, match="ended inside tensor"):
        [raw(file, name) for name in file.tensors]
    file.path.unlink()
    with pytest.raises(EdgexpError, match="cannot be read"):
        raw(file, "token_embd.weight")
    with pytest.raises(EdgexpError, match="no model file at"):
        open_gguf(file.path)


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    tensor, path = Tensor("t", (4,), formats.F32), tmp_path / "x"

    def failing(error):
        def data(_):
            yield np.zeros(8, np.uint8)
            raise error
        return data

    with pytest.raises(EdgexpError, match="no space left while writing"):
        write_gguf(path, {}, [tensor], failing(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(KeyboardInterrupt):
        write_gguf(path, {}, [tensor], failing(KeyboardInterrupt()))
    with pytest.raises(ValueError, match="8 bytes for tensor t"):
        write_gguf(path, {}, [tensor], lambda _: [np.zeros(8, np.uint8)])
    monkeypatch.setattr(writer.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(EdgexpError, match="no space left for the export"):
        write_gguf(path, {}, [tensor], lambda _: [np.zeros(16, np.uint8)])
    assert list(tmp_path.iterdir()) == []
