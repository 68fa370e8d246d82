"""The templates in llama.cpp's source, each with a vocabulary that fits it: they play, and their ids are those of the whole text.

A few of each kind by default, all of them with EDGEXP_FUZZ_ROUNDS=2. Skipped where the source is not here; see `tools/template_table.py`.
"""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from fuzzing import LONG

from edgexp.engine import native
from edgexp.engine.tokenizer import GGUFTokenizer
from edgexp.prompt.render import Renderer, learn_template
from edgexp.prompt.template import BUILT_IN, advise, choose_template

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "templates.md").read_text(encoding="utf-8")
SOME = ["Qwen-Qwen3-0.6B", "Qwen3.5-4B", "google-gemma-2-2b-it", "microsoft-Phi-3.5-mini-instruct",
        "mistralai/Mistral-7B-Instruct-v0.2 (v1)", "TheBloke/FusionNet_34Bx2_MoE-AWQ", "openai-gpt-oss-120b", "LFM2.5-8B-A1B",
        "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "mistralai-Mistral-Nemo-Instruct-2407", "eachadea/vicuna-13b-1.1"]  # fmt: skip
REFUSED = {"ai-sage/GigaChat-20B-A3B-instruct"}
"""It asks for a variable that only one library has."""


def load_tool():
    spec = importlib.util.spec_from_file_location("template_table", ROOT / "tools" / "template_table.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["template_table"] = module
    spec.loader.exec_module(module)
    return module


tool = load_tool()
SOURCE = tool.find_source()
TEMPLATES = tool.find_templates(SOURCE) if SOURCE else {}
needs_source = pytest.mark.skipif(SOURCE is None, reason="needs llama.cpp's source; name its folder in EDGEXP_LLAMA_CPP")


@needs_source
@pytest.mark.parametrize("name", TEMPLATES if LONG else SOME)
def test_it_plays(name, tmp_path):
    row = tool.judge(name, TEMPLATES[name], SOURCE, tmp_path)
    assert row.accepted == (name not in REFUSED), row.refusal
    if row.accepted:
        # Only a full stop that a vocabulary joins with what the template writes after it is spelt otherwise.
        assert row.ids == "same" or re.match(r"' (?:action|it)' '\.'", row.ids)
        assert f"| {name} | {row.vocabulary} | yes |" in PAGE


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory):
    """A function that opens a vocabulary of llama.cpp's source as it is."""
    opened = []

    def vocabulary(name):
        opened.append(GGUFTokenizer(SOURCE / "models" / f"ggml-vocab-{name}.gguf"))
        return opened[-1]

    yield vocabulary
    for tokenizer in opened:
        tokenizer.close()


@needs_source
@pytest.mark.parametrize(
    ("vocabulary", "advice"),
    [("qwen2", "chatml"), ("llama-bpe", "llama-3"), ("phi-3", "phi-3"), ("gemma-4", "gemma-4"), ("command-r", "command-r"),
     ("llama-spm", "vicuna")],
)  # fmt: skip
def test_what_is_advised_fits(vocabularies, vocabulary, advice):
    tokenizer = vocabularies(vocabulary)
    bos, eos = (tokenizer.decode([token]) for token in (tokenizer.bos, tokenizer.eos))
    assert advise(tokenizer, bos, eos) == advice
    learned = learn_template(tokenizer, advice)
    assert tool.compare_ids(tool.learned_texts(BUILT_IN[advice], tokenizer, learned), tokenizer, learned) == "same"
    assert learned.before.count(tokenizer.bos) == tokenizer.adds_bos


@needs_source
def test_sentencepiece_spells_pieces_as_in_the_whole_text(vocabularies):
    tokenizer = vocabularies("llama-spm")
    for name in ("llama-2", "zephyr", "vicuna", "alpaca"):
        learned = learn_template(tokenizer, name)
        assert tool.compare_ids(tool.learned_texts(BUILT_IN[name], tokenizer, learned), tokenizer, learned) == "same", name
    answer = Renderer(tokenizer, learn_template(tokenizer, "vicuna"), "").answer("go to the door")
    assert answer == tokenizer.encode("go to the door") and tokenizer.decode(answer) == " go to the door"
    answer = Renderer(tokenizer, learn_template(tokenizer, "zephyr"), "").answer("go to the door")
    assert tokenizer.decode(answer) == "go to the door"


@needs_source
def test_no_text_becomes_a_marker(vocabularies):
    """Command R's vocabulary finds its markers in plain text too."""
    tokenizer = vocabularies("command-r")
    learned = learn_template(tokenizer, "command-r")
    [marker] = tokenizer.control("<|START_OF_TURN_TOKEN|>")
    assert marker in tokenizer.encode("<|START_OF_TURN_TOKEN|>")
    ids = Renderer(tokenizer, learned, "<|START_OF_TURN_TOKEN|>").opening("<|START_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|>").ids
    assert ids.count(marker) == 3 and tokenizer.decode(ids).count("<|START_OF_TURN_TOKEN|>") == 6


@needs_source
def test_qwen3_does_not_think(vocabularies, tmp_path):
    row = tool.judge("Qwen-Qwen3-0.6B", TEMPLATES["Qwen-Qwen3-0.6B"], SOURCE, tmp_path)
    assert row.done == ("thinking switched off", "empty thought in every turn")


@needs_source
def test_a_file_names_its_other_templates():
    handle = native.open_native(SOURCE / "models" / "ggml-vocab-command-r.gguf", vocab_only=True)
    named = native.named_templates(handle)
    native.load().llama_model_free(handle)
    assert set(named) == {"tool_use", "rag"} and choose_template("rag", None, named) == named["rag"]


def test_the_page_names_every_template():
    table = PAGE.split("| name | for |")[1].split("\n\n")[0]
    assert re.findall(r"`([a-z0-9-]+)`", table) and set(re.findall(r"`([a-z0-9-]+)`", table)) == set(BUILT_IN)
