"""`edgexp doctor`, `edgexp envs` and what `edgexp --help` promises."""

import json

import pytest

from edgexp.cli import COMMANDS


def test_doctor_finds_nothing_wrong_here(policy_path, edgexp):
    done = edgexp("doctor", "--json")
    findings = json.loads(done.stdout)
    assert done.returncode == 0, findings
    assert {"machine", "home", "library", "models", "engine", "environment", "bank", "vault"} == {f["what"] for f in findings}
    assert "tokens/s" in next(f["text"] for f in findings if f["what"] == "engine")


def test_doctor_says_what_is_wrong_and_goes_on(edgexp, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model")
    bank = tmp_path / "bank"
    bank.mkdir()
    (bank / "bank.sqlite3").write_bytes(b"not a database, and long enough to be read as one" * 100)
    done = edgexp("doctor", "--model", broken, "--bank", bank)
    assert done.returncode == 1
    assert "broken.gguf" in done.stdout and "bank.sqlite3" in done.stdout and "household" in done.stdout


def test_envs_ls(edgexp):
    rows = {row["name"]: row for row in map(json.loads, edgexp("envs", "ls", "--json").stdout.splitlines())}
    assert rows["household"]["splits"] == {"train": 100_000, "dev": 10_000, "test": 10_000}
    assert "ALFWORLD_DATA" in edgexp("envs", "ls", ALFWORLD_DATA="").stdout


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help(edgexp, command):
    done = edgexp(command, "--help")
    assert done.returncode == 0 and "Usage: edgexp " + command in done.stdout


def test_an_unknown_command_is_wrong_usage(edgexp):
    done = edgexp("dance")
    assert done.returncode == 2 and "dance" in done.stderr
