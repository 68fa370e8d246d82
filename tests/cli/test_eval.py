"""`edgexp eval`: from a suite to a table, with the default model; what is wrong is one line."""

import json

import pytest

from edgexp.evaluation.results import read

SUITE = """
description = "Two short household tasks"
context = 2048
[[tasks]]
splits = ["dev"]
groups = ["easy", "hard"]
number = 1
steps = 2
experience = { number = 2 }
[[conditions]]
name = "plain"
actions = "admissible"
[[conditions]]
name = "remembering"
k = 1
actions = "admissible"
bank = "mismatched"
[[conditions]]
name = "trained"
model = "not-there-yet"
"""


@pytest.fixture
def suite(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text(SUITE)
    return path


def test_show_prints_every_setting(edgexp, suite):
    done = edgexp("eval", "--show", suite, "-n", 5)
    assert done.returncode == 0 and "number = 5" in done.stdout and "context = 2048" in done.stdout


@pytest.mark.parametrize(("arguments", "said"), [
    (["nope"], "no suite is called 'nope'"),
    (["smoke", "--model", "x"], "write it as NAME=FILE"),
    (["smoke", "--only", "nobody"], "the suite has no such condition"),
    (["smoke", "--set", "context"], "write it as section.key=value"),
])
def test_wrong_usage_is_one_line(edgexp, tmp_path, arguments, said):
    done = edgexp("eval", *arguments, "--out", tmp_path / "out")
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_suite_is_played_shown_and_gone_on_with(edgexp, suite, tmp_path, policy_path, encoder_folder):
    out = tmp_path / "out"
    done = edgexp("eval", suite, "--out", out, "--parallel", 2)
    assert done.returncode == 0, done.stderr
    assert "trained is left out: no model is called not-there-yet" in done.stderr
    assert "0/1" in done.stdout or "1/1" in done.stdout
    rows = {row.key: row for row in read(out).rows}
    assert len(rows) == 4 and all(row.parallel == 2 and row.steps <= 2 for row in rows.values())
    for (condition, _), row in rows.items():
        [*recalls] = row.recalls
        assert len(recalls) == (condition == "remembering")
        if recalls:
            [used] = recalls[0].used
            memory = read(out).memories[used.id]
            assert memory.task.group != row.group and memory.task.split == "train" and used.task_id != row.task_id
    again = edgexp("eval", suite, "--out", out, "--json")
    assert again.returncode == 0 and "4 episodes" not in again.stdout
    [summary] = [json.loads(line) for line in again.stdout.splitlines()]
    assert {entry["condition"] for entry in summary["summary"]} == {"plain", "remembering"}
    assert all(entry["success"]["low"] < entry["success"]["high"] for entry in summary["summary"])
    assert len(read(out).rows) == 4
    other = edgexp("eval", suite, "--out", out, "--set", "context=1024")
    assert other.returncode == 1 and "context was 2048 and is 1024" in other.stderr
