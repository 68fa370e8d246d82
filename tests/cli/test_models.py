"""`edgexp models` as a user calls it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgexp.cli import cli
from edgexp.cli.models_command import _size, _table
from edgexp.errors import EdgexpError, UsageError
from edgexp.gguf.reader import Tensor
from edgexp.gguf.writer import entry, write_gguf
from edgexp.models import DEFAULT_EMBEDDER, DEFAULT_POLICY, model_files


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and no network but a closed door."""
    monkeypatch.setenv("EDGEXP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (tmp_path / "home" / "models").mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A GGUF in a folder outside the home."""
    path = tmp_path / "given" / "toy.gguf"
    path.parent.mkdir()
    tensor = Tensor("blk.0.weight", (32,), 0)
    write_gguf(path, {"general.architecture": entry("general.architecture", "llama")}, [tensor], lambda t: [np.zeros(t.nbytes, np.uint8)])
    return path


@pytest.fixture
def toy(home: Path, weights: Path) -> str:
    """A manifest for it, from a hub nobody can reach."""
    (home / "models" / "toy.toml").write_text(
        'name = "toy"\nrole = "policy"\ndescription = "a toy"\nlicence = "MIT"\ncontext = 8\n'
        f'[[source]]\nkind = "hub"\nrepo = "maker/toy"\n[[source.file]]\npath = "toy.gguf"\nsize = {weights.stat().st_size}\n'
        f'sha256 = "{model_files.sha256(weights)}"\n'
    )
    return "toy"


def run(*arguments: str, fails: type[EdgexpError] | None = None):
    result = CliRunner().invoke(cli, ["models", *arguments])
    if fails:
        assert isinstance(result.exception, fails), result.output
        return str(result.exception)
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.stdout


def listed(name: str) -> dict:
    return next(row for row in json.loads(run("ls", "--json")) if row["name"] == name)


def test_ls_shows_every_model(toy):
    rows = {row["name"]: row for row in json.loads(run("ls", "--json"))}
    assert {toy, DEFAULT_POLICY, DEFAULT_EMBEDDER, "qwen2.5-7b-instruct"} <= set(rows)
    assert rows["toy"] == {"name": "toy", "role": "policy", "licence": "MIT", "size": rows["toy"]["size"], "state": "not here",
                           "where": "hub maker/toy"}
    text = run("ls")
    assert all(name in text for name in rows) and "hub maker/toy" in text


def test_a_broken_manifest_is_a_row_not_an_end(home):
    (home / "models" / "broken.toml").write_text("name = 3")
    row = listed("broken")
    assert row["state"] == "broken" and "broken.toml" in row["where"]
    assert "broken" in run("ls")
    result = CliRunner().invoke(cli, ["models", "verify", "--json"])
    assert [r["name"] for r in json.loads(result.stdout) if r["problem"]] == ["broken"] and "1 of" in str(result.exception)


def test_pull_from_a_folder_makes_it_ready(toy, weights):
    (done,) = json.loads(run("pull", toy, "--from", str(weights.parent), "--json"))
    assert done["sha256"] == model_files.sha256(weights) and Path(done["path"]).is_file()
    assert listed(toy)["state"] == "ready"
    assert json.loads(run("verify", toy, "--json")) == [{"name": "toy", "path": done["path"], "problem": None}]


def test_pull_without_a_network_says_so(toy):
    assert "127.0.0.1:9 cannot be reached" in run("pull", toy, fails=EdgexpError)


def test_pull_wants_sense(toy, weights):
    assert "no model is called 'nobody'" in run("pull", "nobody", fails=UsageError)
    result = CliRunner().invoke(cli, ["models", "pull", "--from", str(weights)])
    assert result.exit_code == 2 and "--from needs exactly one NAME" in result.output


def test_an_interrupted_pull_says_that_nothing_is_lost(toy, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("edgexp.models.pull.pull", interrupt)
    assert run("pull", toy, fails=EdgexpError) == "interrupted; what was fetched is kept, the same command goes on from it"


def test_verify_finds_damage(toy, weights):
    run("pull", toy, "--from", str(weights.parent))
    path = Path(json.loads(run("verify", toy, "--json"))[0]["path"])
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as a failing disk would: nothing shows but the bytes
    result = CliRunner().invoke(cli, ["models", "verify", toy])
    assert "wrong sha256: expected" in result.stdout and "1 of 1 files are wrong" in str(result.exception)


def test_verify_of_what_is_not_here(toy):
    assert run("verify", toy, fails=EdgexpError) == "toy is not here; run: edgexp models pull toy"


@pytest.mark.slow
def test_pull_of_the_defaults_and_a_full_verify(own_home):
    """With the weights installed as packages nothing is fetched; the test session's home already holds what is made from them."""
    if any(listed(name)["state"] == "not here" for name in (DEFAULT_POLICY, DEFAULT_EMBEDDER)):
        pytest.skip("needs the weights of both default models")
    done = json.loads(run("pull", "--json"))
    assert [row["name"] for row in done] == [DEFAULT_POLICY, DEFAULT_EMBEDDER]
    verdicts = json.loads(run("verify", "--json"))
    problems = {row["name"]: row["problem"] for row in verdicts}  # other tests' models may be in this home too
    assert not problems[DEFAULT_POLICY] and not problems[DEFAULT_EMBEDDER]


def test_the_table_breaks_lines_that_do_not_fit():
    row = {"name": "toy", "role": "policy", "licence": "MIT", "size": 2_500_000, "state": "ready", "where": "/somewhere/toy.gguf"}
    assert len(list(_table([row], 200))[1].splitlines()) == 1
    assert list(_table([row], 40))[1].splitlines()[1].strip().endswith("/somewhere/toy.gguf\x1b[0m")
    assert [_size(None), _size(2_500_000), _size(4_683_074_240)] == ["?", "2 MB", "4.68 GB"]
