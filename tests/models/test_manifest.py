"""Manifests: the shipped ones, and what is said about wrong ones."""

import re
from pathlib import Path

import pytest

from edgexp.errors import EdgexpError, UsageError
from edgexp.models import BASE_POLICY, DEFAULT_EMBEDDER
from edgexp.models.manifest import Bert, Hub, Local, Package, Requantise, files, find, folders, read, require

GOOD = """
name = "toy"
role = "policy"
description = "for tests"
licence = "MIT"
context = 64

[[source]]
kind = "hub"
repo = "maker/toy"
[[source.file]]
path = "toy.gguf"
size = 10
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
"""


def shipped():
    return sorted(folders()[-1].glob("*.toml"))


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_every_shipped_manifest_is_sound(path):
    manifest = read(path)
    for source in manifest.sources:
        assert isinstance(source, Package | Hub), "a shipped manifest cannot name a folder of one machine"
        if isinstance(source, Hub):
            assert re.fullmatch("[0-9a-f]{40}", source.revision), "a branch may change under way"


def test_the_models_promised_are_there():
    promised = {BASE_POLICY, DEFAULT_EMBEDDER, "smollm2-360m-instruct", "smollm2-1.7b-instruct", "qwen3-embedding-0.6b",
                *(f"qwen2.5-{size}-instruct" for size in ("0.5b", "1.5b", "3b", "7b"))}
    assert promised <= set(dict(files()))


def test_the_defaults_come_from_packages_and_are_converted():
    policy, embedder = require(BASE_POLICY), require(DEFAULT_EMBEDDER)
    assert isinstance(policy.sources[0], Package) and policy.derive == Requantise("q8_0")
    assert isinstance(embedder.sources[0], Package) and embedder.derive == Bert("mean", 256)
    assert {f.sha256 for s in embedder.sources for f in s.files if f.name == "model.safetensors"} == {
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    }


WRONG = {
    "unknown key": (GOOD + "\n[derive]\nkind = 'requantise'\ntype = 'q8_0'\nbits = 8\n", r"derive\.bits: there is no such setting"),
    "unknown top key": (GOOD.replace('licence = "MIT"', 'licence = "MIT"\nlicense = "MIT"'), r": license: there is no such setting"),
    "unknown kind": (GOOD.replace('"hub"', '"torrent"'), r"source\[0\]\.kind: .*torrent"),
    "missing key": (GOOD.replace("context = 64", ""), "missing required field `context`"),
    "wrong type": (GOOD.replace("size = 10", 'size = "10"'), r"source\[0\]\.file\[0\]\.size: expected `int"),
    "short digest": (GOOD.replace("0" * 64, "00"), r"source\[0\]\.file\[0\]\.sha256: .*regex"),
    "zero size": (GOOD.replace("size = 10", "size = 0"), r"source\[0\]\.file\[0\]\.size: expected `int` >= 1"),
    "no files": (GOOD[: GOOD.index("[[source.file]]")] + "file = []", r"source\[0\]\.file: "),
    "role": (GOOD.replace('"policy"', '"oracle"'), "role: invalid enum value 'oracle'"),
    "repo": (GOOD.replace("maker/toy", "toy"), r"source\[0\]\.repo: "),
    "name": (GOOD.replace('name = "toy"', 'name = "other"'), "name: is 'other', but the file is called toy.toml"),
    "escape": (GOOD.replace("toy.gguf", "../toy.gguf"), r"source\[0\]\.file: a path leaves its folder"),
    "absolute": (GOOD.replace("toy.gguf", "/toy.gguf"), r"source\[0\]\.file: a path leaves its folder"),
    "twins": (GOOD + '[[source.file]]\npath = "a/toy.gguf"\n', "two files are called alike"),
    "embedder without derive": (GOOD.replace('"policy"', '"embedder"'), "derive: an embedder needs one"),
    "derive of the other role": (GOOD + "\n[derive]\nkind='bert'\npooling='mean'\nmax_tokens=8\n", "role is 'embedder', not 'policy'"),
    "files derive needs": (
        GOOD.replace('"policy"', '"embedder"') + "\n[derive]\nkind='bert'\npooling='mean'\nmax_tokens=8\n",
        r"source\[0\]\.file: config.json, model.safetensors, tokenizer.json is missing",
    ),
    "no TOML": ("name = ", "Invalid value"),
    "no text": (b"\xff\xfe", "toml"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_manifest_is_one_line_naming_file_and_key(case, tmp_path):
    text, expected = WRONG[case]
    path = tmp_path / "toy.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(EdgexpError, match=expected) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_a_users_manifest_wins_over_a_shipped_one(home):
    mine = GOOD.replace('name = "toy"', f'name = "{BASE_POLICY}"').replace("for tests", "my own")
    (home / "models" / f"{BASE_POLICY}.toml").write_text(mine)
    assert require(BASE_POLICY).description == "my own"
    assert len([name for name, _ in files() if name == BASE_POLICY]) == 1


def test_a_broken_manifest_harms_no_other(home):
    (home / "models" / "broken.toml").write_text("no = ")
    assert find(BASE_POLICY) is not None
    with pytest.raises(EdgexpError, match=r"broken\.toml"):
        find("broken")


def test_an_unknown_name_lists_those_there_are(home):
    with pytest.raises(UsageError, match=f"no model is called 'gpt': .*|.*{BASE_POLICY}"):
        require("gpt")


def test_a_local_source_is_relative_to_its_manifest(declare, home):
    manifest = declare('[[source]]\nkind = "local"\npath = "../w"\n[[source.file]]\npath = "a.gguf"')
    (source,) = manifest.sources
    assert isinstance(source, Local) and Path(source.path) == (home / "models" / ".." / "w").absolute()


def test_the_examples_in_the_documentation_work(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    examples = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        (name,) = re.findall(r'^name = "(.*?)"', example, re.MULTILINE)
        path = tmp_path / f"{name}.toml"
        path.write_text(example)
        assert read(path).name == name


ADAPTED = """
name = "mine"
role = "policy"
description = "for tests"
licence = "MIT"
context = 64
base = "BASE"
[derive]
kind = "adapt"
adapter = "../adapters/mine"
sha256 = "DIGEST"
type = "q8_0"
""".replace("BASE", BASE_POLICY).replace("DIGEST", "0" * 64)


def test_an_adapted_model_shares_the_sources_of_its_base(tmp_path):
    path = tmp_path / "models" / "mine.toml"
    path.parent.mkdir()
    path.write_text(ADAPTED)
    mine, base = read(path), require(BASE_POLICY)
    assert mine.sources == base.sources and mine.owner == base.owner == BASE_POLICY
    assert mine.derive.adapter == str(tmp_path / "adapters" / "mine")


WRONG_BASE = {
    "unknown base": (ADAPTED.replace(BASE_POLICY, "nobody"), "base: no model is called 'nobody'"),
    "its own base": (ADAPTED.replace(BASE_POLICY, "mine"), "base: a model cannot be its own base"),
    "no base": (ADAPTED.replace(f'base = "{BASE_POLICY}"', ""), "source: there must be at least one"),
    "base of another role": (ADAPTED.replace(BASE_POLICY, DEFAULT_EMBEDDER), f"base: {DEFAULT_EMBEDDER} is an embedder"),
    "adapter without base": (GOOD.replace("toy", "mine") + ADAPTED[ADAPTED.index("[derive]"):], "base: an adapter needs one"),
    "type": (ADAPTED.replace("q8_0", "q6_k"), "derive.type: invalid enum value 'q6_k'"),
}


@pytest.mark.parametrize("case", WRONG_BASE)
def test_a_wrong_base_is_one_line(case, tmp_path):
    text, expected = WRONG_BASE[case]
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(EdgexpError, match=expected) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
