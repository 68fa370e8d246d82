"""Every answer of llama.cpp is looked at: scores that are no numbers, models that write nothing, and Ctrl-C while it works."""

import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
from tiny_models import borrowed, write_model

from edgexp import process
from edgexp.engine import decide, native, tuning
from edgexp.engine.engine import Engine, NotNumbers
from edgexp.engine.model import Model
from edgexp.engine.native import Tuning
from edgexp.engine.tuning import Trial, measure_rates
from edgexp.errors import EdgexpError
from edgexp.gguf.reader import open_gguf

TUNING = Tuning(1, 2, {"OMP_WAIT_POLICY": "PASSIVE"}, extra_buffers=False)


@pytest.fixture(scope="module")
def vocabulary(policy_path):
    return borrowed(policy_path)


@pytest.fixture(params=[("llama", "output_norm.weight", float("nan")), ("llama", "blk.1.ffn_down.weight", float("inf")),
                        ("mamba", "output_norm.weight", float("-inf")), ("lfm2", "token_embd_norm.weight", float("nan"))],
                ids=lambda p: f"{p[0]} {p[2]}")
def broken(request, vocabulary, tmp_path):
    """A model with a tensor that holds no numbers."""
    architecture, tensor, value = request.param
    path = write_model(tmp_path / "broken.gguf", *vocabulary, architecture, values={tensor: value})
    with Model(path, TUNING) as opened, Engine(opened, 512, slots=3) as engine:
        yield engine


def decisions(sequence, vocabulary):
    end = vocabulary.control("<|im_end|>")
    actions = {text: [*vocabulary.encode(text), *end] for text in ("look", "go to cabinet 1", "go to cabinet 2")}
    for choose in (decide.greedy, decide.sampler(1.0, 0)):
        yield decide.free(sequence, vocabulary, end, choose)
        yield decide.admissible(sequence, actions, choose)
        yield decide.scored(sequence, actions, choose)


def test_scores_that_are_no_numbers_are_one_line_in_every_mode(broken):
    sequence = broken.new()
    sequence.append([10, 11, 12])
    for deciding in decisions(sequence, broken.model.vocabulary):
        with pytest.raises(NotNumbers, match=r"broken\.gguf: its scores are not numbers") as error:
            while True:
                request = next(deciding)
                broken.evaluate([request]) if not isinstance(request, decide.Tree) else None
        assert "\n" not in str(error.value)
        assert sequence.ids == [10, 11, 12], "nothing was chosen"
    with pytest.raises(NotNumbers):
        broken.evaluate_tree(sequence, [-1], [5])


def test_one_token_without_a_number_is_enough(vocabulary, tmp_path):
    """The first token's row is NaN only: `argmax` would take it whatever the others are."""
    path = write_model(tmp_path / "one.gguf", *vocabulary)
    data = bytearray(path.read_bytes())
    tensor = open_gguf(path).tensors["token_embd.weight"]
    data[tensor.offset : tensor.offset + 4] = np.float32(np.nan).tobytes()
    path.write_bytes(data)
    with Model(path, TUNING) as opened, Engine(opened, 256, slots=1) as engine:
        sequence = engine.new()
        sequence.append([10, 11])
        with pytest.raises(NotNumbers):
            engine.evaluate([sequence])


@pytest.mark.parametrize("scores", [[np.nan, 1.0], [1.0, np.nan], [np.inf, 0.0], [-np.inf, -np.inf]])
def test_no_chooser_chooses_among_what_is_no_number(scores):
    for choose in (decide.greedy, decide.sampler(0.7, 1)):
        with pytest.raises(EdgexpError, match="not numbers"):
            choose(np.array(scores, np.float32))


def test_the_measuring_child_says_the_same_line(vocabulary, tmp_path):
    path = write_model(tmp_path / "nan.gguf", *vocabulary, values={"output_norm.weight": float("nan")})
    with pytest.raises(EdgexpError, match=r"nan\.gguf: its scores are not numbers") as error:
        tuning.measure(path)
    assert "\n" not in str(error.value)


def test_an_embedding_model_is_refused_by_itself_and_in_the_measuring_child(vocabulary, tmp_path):
    path = write_model(tmp_path / "bert.gguf", *vocabulary, "bert")
    with pytest.raises(EdgexpError, match=r"bert\.gguf is an embedding model"):
        Model(path, TUNING)
    with pytest.raises(EdgexpError, match=r"bert\.gguf is an embedding model"):
        process.call(measure_rates, Trial(str(path), (1,), False), "measuring")


def test_a_model_without_a_vocabulary_is_refused(tmp_path):
    path = write_model(tmp_path / "mute.gguf", {}, 64, about={"tokenizer.ggml.model": "none", "llama.vocab_size": 64})
    with pytest.raises(EdgexpError, match="no vocabulary"):
        Model(path, TUNING)


def test_a_vocabulary_smaller_than_the_probes_tokens_is_measured(vocabulary, tmp_path):
    size = 64
    words = {key: raw for key, raw in vocabulary[0].items() if key not in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type",
                                                                           "tokenizer.ggml.merges", "tokenizer.chat_template")}
    about = {"tokenizer.ggml.tokens": [f"t{n}" for n in range(size)], "tokenizer.ggml.token_type": [1] * size,
             "tokenizer.ggml.merges": ["t 1"]}
    path = write_model(tmp_path / "small.gguf", words, size, about=about)
    assert [r.threads for r in measure_rates(Trial(str(path), (1,), False), lambda *_: None)] == [1]


def test_refused_answers_of_llama_cpp_are_errors(model, monkeypatch):
    with Engine(model, 256, slots=2) as engine:
        sequence = engine.new()
        sequence.append([1, 2])
        for code, words in ((-1, "code -1"), (-3, "code -3"), (2, "code 2"), (1, "is full")):
            monkeypatch.setattr(engine._context._lib, "llama_decode", lambda *_, code=code: code)
            with pytest.raises(EdgexpError, match=words):
                engine.evaluate([sequence])
            monkeypatch.undo()
            assert sequence.evaluated == 0 and sequence.logits is None
        monkeypatch.setattr(engine._context._lib, "llama_get_logits_ith", lambda *_: None)
        with pytest.raises(EdgexpError, match="no scores"):
            engine.evaluate([sequence])
        monkeypatch.undo()
        engine.evaluate([sequence])
        assert sequence.logits is not None
    monkeypatch.setattr(model.vocabulary._lib, "llama_tokenize", lambda *_: -(1 << 31))
    with pytest.raises(EdgexpError, match="could not turn a text"):
        model.vocabulary.encode("a")
    monkeypatch.undo()
    monkeypatch.setattr(model.vocabulary._lib, "llama_token_to_piece", lambda *_: -100)
    with pytest.raises(EdgexpError, match="no text for token"):
        model.vocabulary.piece(5)


LOADING = """
import sys
from pathlib import Path
from edgexp.engine import native
from edgexp.engine.engine import Engine
from edgexp.engine.model import Model
native.load()
print("begins", flush=True)
try:
    for _ in range(200):
        with Model(Path(sys.argv[1])) as model, Engine(model, 256, slots=1):
            pass
    print("swallowed", flush=True)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_ctrl_c_while_a_model_loads_ends_the_program(policy_path):
    """Twenty times, at moments all over the loading; nothing is swallowed, and nothing is complained of."""
    chance = random.Random(13)
    for _ in range(20):
        with subprocess.Popen([sys.executable, "-c", LOADING, str(policy_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as child:
            assert child.stdout and child.stdout.readline() == "begins\n"
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(chance.uniform(0.01, 0.6))
            child.send_signal(signal.SIGINT)
            out, complaints = child.communicate(timeout=60)
        assert (child.returncode, out) == (130, ""), complaints
        assert "ignored" not in complaints


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_a_signal_in_a_callback_takes_effect_when_the_call_is_over(policy_path, monkeypatch):
    lib, native_load = native.load(), native.load().llama_model_load_from_file

    def load(path, params):
        os.kill(os.getpid(), signal.SIGINT)
        assert not params.progress_callback(0.5, None), "loading is told to stop"
        return native_load(path, params)

    monkeypatch.setattr(lib, "llama_model_load_from_file", load)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        native.open_native(policy_path)
    assert signal.getsignal(signal.SIGINT) is before


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with native.deferred_interrupts() as interrupts:
            signal.raise_signal(signal.SIGINT)
        assert not interrupts.arrived and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
