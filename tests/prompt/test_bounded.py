"""Long texts: the ids of a text that may fit are the vocabulary's own; one that cannot fit is not read to its end; none is a crash."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mock_engine import MockVocabulary as Words

from edgexp.engine.tokenizer import LONGEST_RUN, cut_runs
from edgexp.prompt.bounded import Bounded

ROOT = Path(__file__).parents[2]


class Counted(Words):
    """Counts the characters that it is asked for."""

    def __init__(self):
        super().__init__()
        self.asked, self.longest = 0, 0

    def encode(self, text):
        self.asked += len(text)
        self.longest = max(self.longest, len(text))
        return [ord(c) for c in text]


RUN = st.tuples(st.sampled_from("a \n中\x1f\t"), st.integers(1, 3 * LONGEST_RUN)).map(lambda run: run[0] * run[1])
TEXT = st.lists(st.one_of(st.text(max_size=20), RUN), max_size=6).map("".join)


@settings(max_examples=30)
@given(TEXT, st.integers(1, 8 * LONGEST_RUN))
def test_a_text_that_may_fit_has_its_own_ids_and_no_other_is_read_to_its_end(text, room):
    vocabulary = Counted()
    ids = Bounded(vocabulary, room).encode(text)
    whole = [ord(c) for c in text]
    assert ids == whole[: len(ids)] and (ids == whole or len(ids) > 2 * room)
    assert vocabulary.asked <= max(LONGEST_RUN, 2 * room + LONGEST_RUN)


@settings(max_examples=30)
@given(TEXT)
def test_only_what_goes_on_without_a_new_word_is_cut(text):
    pieces = list(cut_runs(text))
    assert "".join(pieces) == text
    assert all(len(run) <= LONGEST_RUN for piece in pieces for run in re.split(r"[ \n](?=\S)", piece))
    assert len(pieces) == 1 or any(len(run) >= LONGEST_RUN for run in re.split(r"[ \n](?=\S)", text))


def test_everything_else_is_the_vocabularys():
    vocabulary = Words()
    bounded = Bounded(vocabulary, 10)
    for name in ("bos", "eos", "adds_bos"):
        assert getattr(bounded, name) == getattr(vocabulary, name)
    assert bounded.control("<|im_end|>") == vocabulary.control("<|im_end|>") and bounded.decode([5]) == vocabulary.decode([5])


TRY = r"""
import sys
from pathlib import Path
from edgexp.engine.tokenizer import GGUFTokenizer
from edgexp.prompt.bounded import Bounded
tokenizer = GGUFTokenizer(Path(sys.argv[1]))
for unit in ("a", "7", "中", " ", "=-", "\n", "😀", "a b ", "=\x1f", " \t"):
    for room in (1_000, 1_000_000):
        assert Bounded(tokenizer, room).encode(unit * (35_000 // len(unit)))
    assert tokenizer.encode(unit * (35_000 // len(unit))), "training has no room to look at"
    text = unit * (4096 // len(unit))
    assert Bounded(tokenizer, 100_000).encode(text) == tokenizer.encode(text)
"""


@pytest.mark.parametrize("name", ["deepseek-llm", "deepseek-coder", "falcon", "llama-spm", "qwen2"])
def test_no_text_takes_a_vocabulary_of_llama_cpp_down(name):
    """Several of them end the process with 32,000 characters and no space."""
    spec = importlib.util.spec_from_file_location("template_table", ROOT / "tools" / "template_table.py")
    tool = importlib.util.module_from_spec(spec)
    sys.modules["template_table"] = tool
    spec.loader.exec_module(tool)
    source = tool.find_source()
    if source is None:
        pytest.skip("needs llama.cpp's source; name its folder in EDGEXP_LLAMA_CPP")
    tried = subprocess.run([sys.executable, "-c", TRY, source / "models" / f"ggml-vocab-{name}.gguf"], capture_output=True, text=True)
    assert tried.returncode == 0, tried.stderr[-500:]
