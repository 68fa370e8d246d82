"""The adapters that come with edgexp: whole, small, and merged into their base as any other model is made ready."""

import json
import shutil
from pathlib import Path

import pytest

from edgexp.errors import EdgexpError
from edgexp.gguf import merge
from edgexp.gguf.reader import open_gguf
from edgexp.models import BASE_POLICY, DEFAULT_POLICY, derive, model_files, resolve
from edgexp.models.manifest import files, require
from edgexp.models.model_files import locate

ADAPTERS = Path(__file__).parents[2] / "adapters"
SHIPPED = sorted(path.name for path in ADAPTERS.iterdir())


def files_of(recipe):
    return Path(recipe.adapter)


@pytest.fixture
def base(home):
    manifest = require(BASE_POLICY)
    if locate(manifest) is None:
        pytest.skip(f"needs the weights of {BASE_POLICY}")
    return manifest


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_adapter_is_whole_and_small(name):
    recipe = require(name).derive
    folder = files_of(recipe)
    record = json.loads((folder / "manifest.json").read_bytes())
    assert {file: model_files.sha256(folder / file) for file in record["files"]} == record["files"]
    assert record["files"]["adapter_model.safetensors"] == recipe.sha256
    assert {"recipe.toml", "training.jsonl", "reference.safetensors"} <= record["files"].keys()
    assert record["base"]["sha256"] in {file.sha256 for source in require(name).sources for file in source.files}
    assert (folder / "adapter_model.safetensors").stat().st_size < 12e6


@pytest.mark.slow
def test_an_adapter_changes_what_it_is_trained_on_and_nothing_else(base):
    said = []
    ready = resolve(DEFAULT_POLICY, say=said.append)
    assert any("merging the adapter" in line for line in said)
    assert resolve(DEFAULT_POLICY, say=said.append) == ready and len(said) == 1, "made once"
    mine, theirs = open_gguf(ready.path), open_gguf(next(iter(locate(base).paths.values())))
    assert mine.tensors.keys() == theirs.tensors.keys()
    assert {t.kind for t in mine.tensors.values()} == {0, 8}
    assert mine.get("tokenizer.chat_template") == theirs.get("tokenizer.chat_template")


@pytest.fixture
def mine(base, home, tmp_path, monkeypatch):
    """A user's own model: a copy of the default's adapter."""
    monkeypatch.setattr(derive, "_run", lambda job: derive.make_files(job, lambda *_: None))
    shutil.copytree(files_of(require(DEFAULT_POLICY).derive), tmp_path / "adapter")
    text = dict(files())[DEFAULT_POLICY].read_text().replace(DEFAULT_POLICY, "mine", 1)
    lines = [f'adapter = "{(tmp_path / "adapter").as_posix()}"' if line.startswith("adapter = ") else line for line in text.splitlines()]
    (home / "models" / "mine.toml").write_text("\n".join(lines))
    return tmp_path / "adapter"


@pytest.mark.slow
def test_another_adapter_than_the_one_meant_is_refused(mine):
    weights = mine / "adapter_model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(EdgexpError, match=r"adapter_model\.safetensors is not the adapter that the manifest means"):
        resolve("mine")
    weights.unlink()
    with pytest.raises(EdgexpError, match=r"adapter_model\.safetensors is not there"):
        resolve("mine")


@pytest.mark.slow
def test_where_an_adapter_lies_does_not_matter(mine, monkeypatch):
    made = resolve("mine")

    def again(*_):
        raise AssertionError("it was merged again")

    monkeypatch.setattr(merge, "merge", again)
    moved = mine.rename(mine.with_name("moved"))
    path = dict(files())["mine"]
    path.write_text(path.read_text().replace(mine.as_posix(), moved.as_posix()))
    assert resolve("mine").sha256 == made.sha256
