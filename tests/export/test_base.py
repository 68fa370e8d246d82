"""Finding an adapter, what its training says of it, and the base it belongs to."""

import json

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgexp.errors import EdgexpError, UsageError
from edgexp.export.adapter import find_adapter, find_base, name_of, read_training
from edgexp.gguf import formats
from edgexp.gguf.lora import read_adapter
from edgexp.gguf.reader import Tensor
from edgexp.gguf.writer import entry, write_gguf
from edgexp.home import home
from edgexp.models import BASE_POLICY, DEFAULT_EMBEDDER
from edgexp.models.model_files import open_base

from .kit import write_adapter

MODULES = {"model.layers.0.mlp.up_proj": (96, 64)}
SMOLLM = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def test_a_name_means_the_weights_as_they_came(smollm_base, tmp_path):
    adapter = write_adapter(tmp_path, MODULES, base_model_name_or_path=BASE_POLICY)
    for base in (find_base(adapter), open_base(BASE_POLICY)):
        assert (base.path, base.licence, base.sha256) == (smollm_base, "Apache-2.0", SMOLLM)


def test_a_file_is_taken_as_it_is(tiny, tmp_path):
    _, file = tiny()
    adapter = write_adapter(tmp_path / "a", MODULES, base_model_name_or_path=str(file.path))
    assert find_base(adapter) == open_base(str(file.path))
    assert find_base(adapter).path == file.path.absolute()


def test_bases_that_cannot_be_found(tmp_path):
    silent = write_adapter(tmp_path / "a", MODULES, base_model_name_or_path=None)
    with pytest.raises(UsageError, match="does not say what it was trained on; name the base with --base"):
        find_base(silent)
    hub = write_adapter(tmp_path / "b", MODULES, base_model_name_or_path="Qwen/Qwen2.5-0.5B-Instruct")
    with pytest.raises(UsageError, match=r"trained on Qwen/Qwen2\.5-0\.5B-Instruct, which is neither"):
        find_base(hub)
    with pytest.raises(UsageError, match=r"no model is called .*nowhere"):
        open_base("nowhere")
    with pytest.raises(UsageError, match="is an embedder"):
        open_base(DEFAULT_EMBEDDER)
    with pytest.raises(EdgexpError, match="edgexp models pull"):
        open_base("smollm2-1.7b-instruct")


def test_weights_that_are_not_the_manifests_are_refused(tiny):
    _, file = tiny()
    path = home() / "models" / "mine.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"""name = "mine"\nrole = "policy"\ndescription = "x"\nlicence = "MIT"\ncontext = 128
[[source]]\nkind = "local"\npath = '{file.path.parent}'\nfile = [{{ path = "{file.path.name}", sha256 = "{"0" * 64}" }}]\n""")
    try:
        with pytest.raises(EdgexpError, match="wrong sha256"):
            open_base("mine")
    finally:
        path.unlink()


def recorded(folder, **about):
    """An adapter with a training's record."""
    write_adapter(folder, MODULES, base_model_name_or_path="elsewhere")
    (folder / "manifest.json").write_text(json.dumps(about))
    return folder


def test_the_trainings_record_knows_the_base_best(tiny, tmp_path):
    _, file = tiny()
    right = open_base(str(file.path)).sha256
    adapter = recorded(tmp_path / "a", name="lora", base={"name": str(file.path), "sha256": right})
    assert find_base(adapter).path == file.path
    recorded(adapter, name="lora", base={"name": str(file.path), "sha256": "f" * 64})
    with pytest.raises(EdgexpError, match=r"was trained on other weights than .* \(sha256 ffffffffffff…, here"):
        find_base(adapter)
    (adapter / "manifest.json").write_text('{"step": "last"}')
    with pytest.raises(EdgexpError, match=r"manifest\.json cannot be read: .*step"):
        find_base(adapter)


def test_adapters_are_found_by_path_by_run_and_by_name(tmp_path):
    run = home() / "runs" / "my-run"
    adapter = recorded(run / "adapter", name="exprag", extra=1)
    for named in (adapter, run, "my-run"):
        assert find_adapter(type(run)(named)) == adapter
    with pytest.raises(UsageError, match="is no adapter and no run"):
        find_adapter(tmp_path)
    assert name_of(adapter) == "exprag"
    recorded(adapter)
    assert name_of(adapter) == "my-run"
    (adapter / "manifest.json").unlink()
    assert read_training(adapter) is None
    assert name_of(write_adapter(tmp_path / "plain", MODULES)) == "plain"


MODEL = "model.layers.0.mlp.up_proj"


def refusals(tiny):
    """Bases that cannot be trained because they could not be exported, with what is said of them."""
    def with_entries(**about):
        return tiny(**about)[1].path

    def without(name):
        model, file = tiny()
        model.tensors = [t for t in model.tensors if t.name != name]
        return model.write(file.path).path

    def odd(kind, number, size):
        formats.KINDS[number] = formats.Kind(kind, 32, size)
        try:
            model, file = tiny()
            model.tensors = [Tensor(t.name, t.shape, number if t.name == "blk.1.ffn_up.weight" else t.kind) for t in model.tensors]
            write_gguf(file.path, model.entries, model.tensors, lambda t: [np.zeros(t.nbytes, np.uint8)])
        finally:
            del formats.KINDS[number]
        return file.path

    yield with_entries(architecture="gemma2"), "has the architecture gemma2; edgexp exports adapters for llama, qwen2, qwen3"
    yield with_entries(**{"llama.expert_count": 8}), "has the architecture llama with experts"
    yield with_entries(**{"llama.context_length": "long"}), "has no metadata 'llama.context_length'"
    yield with_entries(**{"llama.attention.head_count": 7}), "llama.attention.head_count is 7"
    yield without("blk.1.attn_q.weight"), "q_proj is to be trained, but there is no tensor blk.1.attn_q.weight"
    yield odd("MXFP4", 39, 17), r"number format 39 \(MXFP4\)"
    yield with_integers(tiny), "cannot turn I8 into numbers"
    yield one_of_two(tiny), "one part of a model in several files"


def with_integers(tiny):
    """A base with a matrix of whole numbers."""
    model, file = tiny()
    model.tensors = [Tensor(t.name, t.shape, 24 if t.name == "blk.1.ffn_up.weight" else t.kind) for t in model.tensors]
    write_gguf(file.path, model.entries, model.tensors, lambda t: [np.zeros(t.nbytes, np.uint8)])
    return file.path


def one_of_two(tiny):
    """A base that says it is in two files."""
    model, file = tiny()
    entries = model.entries | {"split.count": entry("split.count", 2)}
    write_gguf(file.path, entries, model.tensors, lambda t: [np.zeros(t.nbytes, np.uint8)])
    return file.path


def test_what_export_would_refuse_is_refused_before_training_and_before_an_export_writes(tiny, tmp_path):
    from edgexp.export.job import Request, export
    from edgexp.training import recipe
    from edgexp.training.train import find_base as find_training_base

    plain = recipe.parse("", "test")
    _, good = tiny()
    assert find_training_base(msgspec.structs.replace(plain, base=recipe.Base(model=str(good.path)))).gguf == str(good.path)
    adapter = write_adapter(tmp_path / "adapter", {MODEL: (96, 64)})
    for number, (path, words) in enumerate(refusals(tiny)):
        with pytest.raises(EdgexpError, match=words) as error:
            find_training_base(msgspec.structs.replace(plain, base=recipe.Base(model=str(path))))
        assert "\n" not in str(error.value) and path.name in str(error.value)
        if "q_proj" in words or "head_count" in words:
            continue  # the adapter here does not train that module, so it fits
        folder = tmp_path / f"out-{number}"
        with pytest.raises(EdgexpError, match=words):
            export(Request(adapter, open_base(str(path)), "mine", folder, gate=False))
        assert not folder.exists(), "a refused export leaves no folder"


def test_an_adapter_of_a_resized_vocabulary_is_told_before_anything_is_written(tiny, tmp_path):
    from edgexp.export.job import Request, export

    _, file = tiny(tied=False)
    base = open_base(str(file.path))
    grown = write_adapter(tmp_path / "grown", {"lm_head": (48, 64)})
    with pytest.raises(EdgexpError, match=r"output\.weight has shape 40×64 in the base and 48×64 in the adapter"):
        export(Request(grown, base, "mine", tmp_path / "out", gate=False))
    embedding = {"base_model.model.model.embed_tokens.weight": np.ones((48, 64), "f4")}
    saved = write_adapter(tmp_path / "saved", {MODEL: (96, 64)}, tensors=embedding)
    with pytest.raises(EdgexpError, match=r"embed_tokens\.weight is not part of a LoRA .* save_embedding_layers=False"):
        export(Request(saved, base, "mine", tmp_path / "out", gate=False))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("named", "words"), [
    ("unsloth/SmolLM2-135M-Instruct-bnb-4bit", r"unquantised weights as a GGUF, not the 4-bit ones; smollm2-135m-instruct of"),
    ("unsloth/Qwen2.5-0.5B-Instruct-unsloth-bnb-4bit", r"not the 4-bit ones; qwen2\.5-0\.5b-instruct of"),
    ("HuggingFaceTB/SmolLM2-135M-Instruct", r"--base; smollm2-135m-instruct of edgexp models ls looks like it$"),
    ("someone/own-model-bnb-4bit", r"not the 4-bit ones$"),
    ("someone/own-model", r"name the base with --base$"),
    ("a\nb\x1b[2J", r"trained on a\\nb\\x1b\[2J, which"),
    ("C:\\models\\smollm2-135m-instruct", "smollm2-135m-instruct of edgexp models ls looks like it"),
])  # fmt: skip
def test_bases_by_names_of_hubs_are_told_what_to_name(tmp_path, named, words):
    with pytest.raises(UsageError, match=words):
        find_base(write_adapter(tmp_path, MODULES, base_model_name_or_path=named))


@pytest.mark.parametrize(("config", "words"), [
    ({"use_new_trick": True}, r"has the setting use_new_trick = true, which edgexp does not know"),
    ({"tomorrow_config": {"alpha": 1}}, r"tomorrow_config"),
    ({"velora_config": {"rank": 1}}, "VeLoRA"),
    ({"bad\nkey\x1b[2J": 1}, r"bad\\nkey"),
    ({"rank_pattern": ["x"]}, "rank_pattern is .* not a table"),
    ({"alpha_pattern": {"q_proj": "8"}}, "lora_alpha is '8'"),
    ({"r": True}, "r is True"),
    ({"init_lora_weights": {"a": 1}}, "was initialised with"),
    ({"init_lora_weights": ["pissa"]}, "was initialised with"),
])  # fmt: skip
def test_settings_that_may_change_the_arithmetic_are_refused_by_name(tmp_path, config, words):
    with pytest.raises(EdgexpError, match=words) as error:
        read_adapter(write_adapter(tmp_path, MODULES, **config))
    assert "\n" not in str(error.value)


def test_settings_without_effect_are_taken(tmp_path):
    new = {"peft_version": "9.9", "use_new_trick": False, "tomorrow_config": None, "another": {}, "lora_dropout": 0.1,
           "task_type": "CAUSAL_LM", "target_modules": ["up_proj"],
           "exclude_modules": ["x"], "layers_pattern": "layers", "ensure_weight_tying": True,
           "qalora_group_size": 16, "runtime_config": {"ephemeral_gpu_offload": False}, "auto_mapping": {"a": "b"}, "revision": "main"}
    assert len(read_adapter(write_adapter(tmp_path, MODULES, **new)).deltas) == 1


JSON = st.recursive(st.none() | st.booleans() | st.integers(-3, 9) | st.floats(allow_nan=False) | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=5)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(config=st.dictionaries(st.sampled_from(["r", "lora_alpha", "rank_pattern", "alpha_pattern", "bias", "init_lora_weights",
                                               "use_rslora", "modules_to_save", "peft_type", "target_modules", "base_model_name_or_path",
                                               "news"]), JSON))
def test_a_configuration_of_any_values_is_an_adapter_or_one_line(tmp_path, config):
    try:
        read_adapter(write_adapter(tmp_path, MODULES, **config))
    except EdgexpError as error:
        assert "\n" not in str(error)
