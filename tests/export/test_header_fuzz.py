"""Headers that say anything at all: reading one ends, takes little memory, and an error is one line that names the file.

More of them by `EDGEXP_FUZZ_ROUNDS`; see `fuzzing.py`.
"""

import struct
import tracemalloc

import pytest
from fuzzing import ROUNDS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgexp.errors import EdgexpError
from edgexp.gguf import formats
from edgexp.gguf.lora import check_base
from edgexp.gguf.reader import MAGIC, Tensor, open_gguf, read_header
from edgexp.gguf.writer import entry, header
from edgexp.models.playable import check_playable
from edgexp.models.ready import resolve

from .kit import Tiny

EXTREMES = [0, 1, 2, 7, 8, 9, 12, 13, 255, 65_535, 65_537, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1,
            (1 << 64) - 1]
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def one_line(action, path):
    """Do it; what it raises must be an error for people, in one line that could be printed anywhere, about this file."""
    try:
        return action()
    except EdgexpError as error:
        text = str(error)
        assert path.name in text and "\n" not in text and len(text) < 1000
        text.encode("utf-8")
        assert all(c.isprintable() for c in text)
        return None


def read_every_way(path):
    tracemalloc.start()
    try:
        for read in (open_gguf, read_header):
            found = one_line(lambda read=read: read(path), path)
            if found is not None:
                for question in (lambda f=found: check_playable(f), lambda f=found: check_base(f, ["q_proj", "down_proj"])):
                    one_line(question, path)
                for key in list(found.entries):
                    found.text(key), found.number(key), found.is_off(key)
        one_line(lambda: resolve(path), path)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


class Content(tuple):
    """(path to write to, bytes of a sound file, where its header ends)"""

    def __repr__(self):  # hypothesis shows it
        return "content"


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A small file, and where its header ends. Lists of texts and of lists are in it."""
    path = tmp_path_factory.mktemp("fuzz") / "x.gguf"
    tiny = Tiny(layers=1, vocabulary=8, **{"general.type": "model", "general.license": "mit", "split.count": 0, "llama.pooling_type": 0})
    words = b"".join(struct.pack("<Q", 3) + b"abc" for _ in range(4))
    tiny.entries["a.words"] = entry("a.words", "")[:15] + struct.pack("<IIQ", 9, 8, 4) + words
    tiny.entries["a.nested"] = entry("a.nested", "")[:16] + struct.pack("<IIQIQ", 9, 9, 1, 4, 2) + struct.pack("<II", 1, 2)
    found = tiny.write(path)
    return Content((path.with_name("fuzzed.gguf"), path.read_bytes(), min(t.offset for t in found.tensors.values())))


def test_the_file_that_is_mutated_is_sound(content):
    path, data, _ = content
    path.write_bytes(data)
    file = open_gguf(path)
    assert (file.get("a.words"), file.get("a.nested")) == (["abc"] * 4, [[1, 2]])
    check_playable(file)
    check_base(file, ["q_proj"])


@settings(max_examples=150 * ROUNDS, deadline=None, suppress_health_check=QUIET)
@given(data=st.data())
def test_numbers_of_a_header_replaced_by_any_others(content, data):
    path, original, end = content
    changed = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        kind = data.draw(st.sampled_from(["<Q", "<I", "<B"]))
        size = struct.calcsize(kind)
        value = data.draw(st.sampled_from(EXTREMES) | st.integers(0, 300)) % (1 << 8 * size)
        struct.pack_into(kind, changed, data.draw(st.integers(4, end - 8)), value)
    path.write_bytes(changed)
    read_every_way(path)


@settings(max_examples=100 * ROUNDS, deadline=None, suppress_health_check=QUIET)
@given(data=st.data())
def test_bytes_of_a_header_left_out_doubled_or_random(content, data):
    path, original, end = content
    first = data.draw(st.integers(0, end))
    last = data.draw(st.integers(first, min(end, first + 60)))
    middle = data.draw(st.sampled_from([b"", original[first:last] * 2]) | st.binary(max_size=60))
    path.write_bytes(original[:first] + middle + original[last:])
    read_every_way(path)


KEYS = ["general.architecture", "general.type", "general.license", "general.alignment", "split.count", "split.no", "llama.context_length",
        "llama.block_count", "llama.expert_count", "llama.pooling_type", "llama.attention.causal", "llama.attention.head_count",
        "adapter.type", "tokenizer.ggml.tokens", "é\n\x1b[2J"]


@st.composite
def values(draw, depth=2):
    """A value of any type, type first, as it stands in a file."""
    kind = draw(st.integers(0, 13 if depth else 8))
    letters = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "I", 7: "B", 10: "Q", 11: "q", 12: "Q"}
    if kind in letters:
        size = struct.calcsize(letters[kind])
        return struct.pack("<I", kind) + draw(st.binary(min_size=size, max_size=size))
    if kind == 9:
        inner = draw(values(depth - 1))
        return struct.pack("<I", 9) + inner[:4] + struct.pack("<Q", count := draw(st.integers(0, 5))) + inner[4:] * count
    text = draw(st.binary(max_size=12) | st.sampled_from([b"llama", b"bert", b"qwen2\n\x1b[31m", b"\xff\xfe", b"x" * 5000]))
    return struct.pack("<IQ", 8 if kind == 8 else kind, len(text)) + text


@settings(max_examples=150 * ROUNDS, deadline=None, suppress_health_check=QUIET)
@given(given_values=st.dictionaries(st.sampled_from(KEYS), values(), max_size=8))
def test_metadata_of_any_type(content, given_values):
    path, original, _ = content
    path.write_bytes(original)
    file = open_gguf(path)
    entries = dict(file.entries)
    for key, raw in given_values.items():
        entries[key] = struct.pack("<Q", len(key.encode())) + key.encode() + raw
    tensors = [Tensor(t.name, t.shape, t.kind) for t in file.tensors.values()]
    head = header(entries, tensors, 32)
    path.write_bytes(head + bytes(sum(-(-t.nbytes // 32) * 32 for t in tensors)))
    read_every_way(path)


HUGE = 6 << 30


@pytest.mark.parametrize("head", [
    struct.pack("<IQQ", 3, 0, 1) + entry("a", "")[:9] + struct.pack("<IIQ", 9, 0, HUGE - 4096),
    struct.pack("<IQQ", 3, 0, 1) + entry("a", "")[:9] + struct.pack("<IQ", 8, HUGE - 4096),
    struct.pack("<IQQ", 3, 0, 1) + entry("a", "")[:9] + struct.pack("<IIQ", 9, 8, HUGE // 16),
    struct.pack("<IQQ", 3, 0, 1) + entry("a", "")[:9] + struct.pack("<IIQ", 9, 9, HUGE // 16),
    struct.pack("<IQQ", 3, 0, 1) + entry("a", "")[:9] + struct.pack("<IIQ", 9, 8, (1 << 64) - 1),
    struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", HUGE - 4096),
    struct.pack("<IQQ", 3, 0, 1 << 40),
    struct.pack("<IQQ", 3, 1 << 40, 0),
    struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q", HUGE - 4096),
], ids=["bytes", "text", "texts", "lists", "endless texts", "key", "entries", "tensors", "name"])  # fmt: skip
def test_a_header_that_claims_the_whole_of_a_large_file(tmp_path, head):
    """Six gigabytes of nothing, which cost no disk."""
    path = tmp_path / "large.gguf"
    with path.open("wb") as file:
        file.write(MAGIC + head)
        file.truncate(HUGE)
    tracemalloc.start()
    try:
        with pytest.raises(EdgexpError, match=r"large\.gguf"):
            open_gguf(path)
        one_line(lambda: read_header(path), path)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_names_that_would_disturb_a_terminal_are_shown_escaped(tmp_path):
    path = tmp_path / "odd.gguf"
    path.write_bytes(header({}, [Tensor("\x1b[2J\udcff\n" + "t" * 9000, (4,), formats.F32)], 32))
    assert one_line(lambda: open_gguf(path), path) is None
