"""Finding the base an adapter belongs to."""

import pytest

from edgexp.errors import EdgexpError, UsageError
from edgexp.export.base import find_base
from edgexp.home import home
from edgexp.models import DEFAULT_EMBEDDER, DEFAULT_POLICY

from .kit import write_adapter

MODULES = {"model.layers.0.mlp.up_proj": (96, 64)}


def test_a_name_means_the_weights_as_they_came(smollm_base, tmp_path):
    base = find_base(write_adapter(tmp_path, MODULES, base_model_name_or_path=DEFAULT_POLICY), None)
    assert base.path == smollm_base
    assert base.licence == "Apache-2.0"
    assert base.sha256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def test_a_file_is_taken_as_it_is(tiny, tmp_path):
    _, file = tiny()
    adapter = write_adapter(tmp_path / "a", MODULES, base_model_name_or_path=str(file.path))
    assert find_base(adapter, None) == find_base(adapter, str(file.path))
    assert find_base(adapter, None).path == file.path.absolute()


def test_bases_that_cannot_be_found(tmp_path):
    silent = write_adapter(tmp_path / "a", MODULES, base_model_name_or_path=None)
    with pytest.raises(UsageError, match="does not say what it was trained on; name the base with --base"):
        find_base(silent, None)
    hub = write_adapter(tmp_path / "b", MODULES, base_model_name_or_path="Qwen/Qwen2.5-0.5B-Instruct")
    with pytest.raises(UsageError, match=r"trained on Qwen/Qwen2\.5-0\.5B-Instruct, which is neither"):
        find_base(hub, None)
    with pytest.raises(UsageError, match="nowhere, which is neither"):
        find_base(hub, "nowhere")
    with pytest.raises(UsageError, match="is an embedder"):
        find_base(hub, DEFAULT_EMBEDDER)
    with pytest.raises(EdgexpError, match="edgexp models pull"):
        find_base(hub, "smollm2-1.7b-instruct")


def test_weights_that_are_not_the_manifests_are_refused(tiny):
    _, file = tiny()
    path = home() / "models" / "mine.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"""name = "mine"\nrole = "policy"\ndescription = "x"\nlicence = "MIT"\ncontext = 128
[[source]]\nkind = "local"\npath = '{file.path.parent}'\nfile = [{{ path = "{file.path.name}", sha256 = "{"0" * 64}" }}]\n""")
    try:
        with pytest.raises(EdgexpError, match="wrong sha256"):
            find_base(file.path, "mine")
    finally:
        path.unlink()
