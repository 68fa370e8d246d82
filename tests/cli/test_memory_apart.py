"""Memory that stands apart, by the commands: the real model attaches what `bank warm` or an earlier run evaluated."""

import json

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("policy_path")]

SHORT = ("run", "household", "-n", "2", "--steps", "3", "--layout", "apart", "--no-usefulness", "--json")


@pytest.fixture(scope="module")
def filled(edgexp, own_home, tmp_path_factory):
    """A bank of a dozen episodes, and options that name it."""
    bank = tmp_path_factory.mktemp("apart") / "bank"
    done = edgexp("collect", "household", "-n", "12", "--bank", str(bank))
    assert done.returncode == 0, done.stderr
    assert edgexp("bank", "vault", "--clear", "--yes").returncode == 0
    return "--bank", str(bank)


def summary(done):
    assert done.returncode == 0, done.stderr
    [line] = [json.loads(line)["summary"] for line in done.stdout.splitlines() if line.startswith('{"summary"')]
    return line


def test_a_second_run_loads_what_the_first_evaluated(filled, edgexp, own_home):
    first, second = (summary(edgexp(*SHORT, *filled)) for _ in range(2))
    assert first["tokens_loaded"] == 0 and second["tokens_loaded"] > 300
    saved = second["tokens_loaded"] + second["tokens_attached"] - first["tokens_attached"]
    assert second["tokens_evaluated"] == first["tokens_evaluated"] - saved
    without = summary(edgexp(*SHORT, *filled, "--vault", "off"))
    assert without["tokens_loaded"] == 0 and without["tokens_evaluated"] == first["tokens_evaluated"]
    assert list((own_home / "vault").iterdir())


def test_warming_evaluates_each_episode_once_and_forgetting_removes_it(filled, edgexp, own_home):
    warmed, again = (json.loads(edgexp("bank", "warm", *filled, "--json").stdout) for _ in range(2))
    assert warmed["episodes"] == again["episodes"] == 12
    assert again["known"] == 12 and again["tokens_evaluated"] == 0
    assert summary(edgexp(*SHORT, *filled))["tokens_loaded"] > 0
    some = next((own_home / "vault").glob("*.t*.block")).name.split(".")[1]
    assert edgexp("bank", "forget", some, *filled, "--yes").returncode == 0
    assert not list((own_home / "vault").glob(f"*{some}*"))


def test_the_actions_are_the_same_with_and_without_a_vault(filled, edgexp):
    played = []
    for vault in ("off", "1GB", "1GB"):
        done = edgexp(*SHORT, *filled, "--vault", vault)
        played.append([[s["action"] for s in json.loads(line)["trajectory"]["steps"]] for line in done.stdout.splitlines()
                       if not line.startswith('{"summary"')])
    assert played[0] == played[1] == played[2] and len(played[0]) == 2


def test_warming_a_bank_that_holds_nothing_says_so(edgexp, tmp_path):
    done = edgexp("bank", "warm", "--bank", str(tmp_path / "none"))
    assert done.returncode != 0 and done.stderr.count("\n") == 1
