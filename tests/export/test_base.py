"""Finding an adapter, what its training says of it, and the base it belongs to."""

import json

import pytest

from edgexp.errors import EdgexpError, UsageError
from edgexp.export.adapter import find_adapter, find_base, name_of, read_training
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
