"""`edgexp run` and `edgexp collect` with the real model, encoder, environment and bank."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from edgexp.bank import Bank
from edgexp.trajectory import read_lines

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("policy_path")]

SHORT = ("run", "household", "-n", "2", "--steps", "4")


@pytest.fixture(scope="module")
def first_run(edgexp, own_home):
    """The first run of all: no bank yet."""
    shutil.rmtree(own_home / "banks", ignore_errors=True)
    return edgexp(*SHORT)


def test_the_first_run_fills_a_bank_and_plays(first_run):
    assert first_run.returncode == 0, first_run.stderr
    assert "an expert plays 120 training tasks" in first_run.stderr
    for word in ("goal", "recalled", "  1 > ", "tokens", "reused", "to the first action"):
        assert word in first_run.stdout


def test_the_second_run_needs_no_collecting_and_plays_the_same(first_run, edgexp):
    one, two = (edgexp(*SHORT, "--json") for _ in range(2))
    assert "expert plays" not in one.stderr
    episodes = [[json.loads(line) for line in r.stdout.splitlines() if "summary" not in line[:12]] for r in (one, two)]
    assert len(episodes[0]) == 2
    actions = [[[s["action"] for s in e["trajectory"]["steps"]] for e in played] for played in episodes]
    assert actions[0] == actions[1]
    assert [len(e["recalls"][0]["hits"]) for e in episodes[0]] == [2, 2]


def test_why_shows_what_was_retrieved(first_run, edgexp):
    [line] = [x for x in first_run.stderr.splitlines() if "bank why" in x]
    why = edgexp("bank", "why", line.split()[-1])
    assert why.returncode == 0, why.stderr
    assert "0." in why.stdout


def test_it_runs_without_any_network(first_run, edgexp, own_home):
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("network namespaces are not allowed here")
    command = ["unshare", "-rn", sys.executable, "-m", "edgexp", *SHORT]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "EDGEXP_HOME": str(own_home)}, check=False)
    assert done.returncode == 0, done.stderr


BLOCKED = """
import socket, sys
def refuse(*_, **__): raise SystemExit("a socket was opened")
socket.socket.connect = socket.socket.connect_ex = socket.socket.bind = refuse
socket.create_connection = socket.getaddrinfo = refuse
from edgexp.cli import main
main(sys.argv[1:])
"""


def test_it_opens_no_socket(first_run, own_home):
    done = subprocess.run([sys.executable, "-c", BLOCKED, *SHORT], capture_output=True, text=True, check=False,
                          env={**os.environ, "EDGEXP_HOME": str(own_home)})
    assert done.returncode == 0, done.stdout + done.stderr


def test_learning_keeps_what_succeeded(first_run, edgexp, tmp_path):
    """A task that the bank solves word for word is not needed: any success is kept, any failure is not."""
    bank = tmp_path / "bank"
    task = ("--type", "look_at_obj_in_light", "-n", "3", "--steps", "8")
    played = edgexp("run", *task, "--learn", "--json", "--bank", bank)
    lines = [json.loads(line) for line in played.stdout.splitlines()]
    won = [e["trajectory"] for e in lines if "trajectory" in e and e["trajectory"]["success"]]
    with Bank.open(bank, readonly=True) as opened:
        kept = [e for e in opened.entries() if e.source == "agent"]
    assert {e.task_id for e in kept} == {t["task"]["id"] for t in won}


def test_record_writes_lines_or_a_picture(first_run, edgexp, tmp_path):
    lines, picture = tmp_path / "run.jsonl", tmp_path / "run.svg"
    assert edgexp(*SHORT, "--record", lines).returncode == 0
    assert len([json.loads(line) for line in lines.read_text().splitlines()]) == 2
    assert edgexp(*SHORT, "--record", picture).returncode == 0
    assert "<svg" in picture.read_text()[:200]


def test_a_terminal_shows_no_control_characters_from_an_environment(first_run):
    assert "\x1b]" not in first_run.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", "nowhere"), 2, "no environment is called 'nowhere'"),
        (("run", "--split", "nope"), 2, "no split 'nope'"),
        (("run", "--type", "dance"), 2, "no task of split dev"),
        (("run", "--task", "household/dev/x"), 2, "household/dev/x"),
        (("run", "--model", "no-such-model"), 2, "no-such-model"),
        (("run", "--model", "/no/such.gguf"), None, "/no/such.gguf"),
        (("run", "--context", "256", "-n", "1"), 1, "do not fit a context of 256"),
        (("run", "--actions", "dance"), 2, "dance"),
        (("run", "json:loads"), 1, "cannot be made"),
        (("run", "builtins:dict"), 1, "is not an environment"),
        (("collect", "nowhere"), 2, "no environment"),
        (("collect", "--policy", "agent", "--slips", "0.1"), 2, "--mistakes are those of the expert"),
        (("collect", "--slips", "0.9"), 2, "--slips"),
        (("collect", "--hand-back", "2"), 2, "--hand-back is for --policy takeover"),
    ],
)
def test_bad_input_is_one_clear_line(first_run, edgexp, arguments, code, words):
    done = edgexp(*arguments)
    assert done.returncode != 0 and (code is None or done.returncode == code), done.stdout
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_truncated_model_is_one_clear_line(policy_path, edgexp, tmp_path):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(policy_path.read_bytes()[:2_000_000])
    done = edgexp("run", "--model", cut, "-n", "1")
    assert done.returncode == 1 and "cut.gguf" in done.stderr and "Traceback" not in done.stderr


def test_ctrl_c_ends_cleanly_and_keeps_finished_episodes(first_run, own_home, tmp_path):
    record = tmp_path / "run.jsonl"
    command = [sys.executable, "-m", "edgexp", "run", "-n", "50", "--steps", "3", "--record", str(record)]
    pipe, environment = subprocess.PIPE, {**os.environ, "EDGEXP_HOME": str(own_home)}
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (not record.exists() or record.read_bytes().count(b"\n") < 2):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    kept = record.read_bytes().count(b"\n")
    assert 2 <= kept < 50 and f"of {kept} episodes" in out
    assert "interrupted" in err and "Traceback" not in err


def test_collecting_again_plays_nothing_twice(edgexp, tmp_path):
    bank = tmp_path / "bank"
    first = json.loads(edgexp("collect", "-n", "6", "--bank", bank, "--json").stdout)
    again = json.loads(edgexp("collect", "-n", "9", "--bank", bank, "--json").stdout)
    assert (first["played"], first["known"]) == (6, 0)
    assert (again["played"], again["known"], again["bank"]) == (3, 6, 9)


def test_collected_slips_are_in_the_bank_and_marked(edgexp, tmp_path):
    assert edgexp("collect", "-n", "6", "--slips", "0.4", "--bank", tmp_path / "bank").returncode == 0
    episodes = edgexp("bank", "export", "--bank", tmp_path / "bank").stdout.splitlines()
    assert len(episodes) == 6 and sum(line.count('"slip":true') for line in episodes) > 3


ANNOUNCING = """
import sys
from pathlib import Path
from edgexp.play.collecting import collect, expert_episodes, left_to_play
from edgexp.play.fleet import Environments
from edgexp.play.session import open_bank
with open_bank(Path(sys.argv[1])) as bank, Environments() as worlds:
    tasks = left_to_play(bank, worlds.at("household").tasks("train")[:4000], "expert")
    collect(bank, expert_episodes(worlds, "household", tasks), lambda played: print(played.trajectory.id, flush=True))
"""
"""Collects and says which episode is finished."""


def test_kill_minus_nine_at_any_moment_of_collecting_loses_no_finished_episode(policy_path, own_home, tmp_path):
    """Twenty kills over one bank; every episode that was announced is there, none is half there, and the bank is sound."""
    import random

    bank, moments = tmp_path / "bank", random.Random(5)
    announced: set[str] = set()
    for _ in range(20):
        process = subprocess.Popen([sys.executable, "-c", ANNOUNCING, str(bank)], stdout=subprocess.PIPE, text=True,
                                   env={**os.environ, "EDGEXP_HOME": str(own_home)})
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(moments.random() * 0.4)
        process.kill()
        announced |= {line.strip() for line in [first, *process.stdout.read().splitlines()] if len(line.strip()) == 25}
        process.wait()
    with Bank.open(bank, readonly=True) as opened:
        held = {t.id for t in opened.each()}
        assert announced <= held and len(held) - len(announced) <= 20
        assert opened.verify() == []


def test_an_exported_bank_reads_back(first_run, edgexp):
    lines = edgexp("bank", "export", "-").stdout.splitlines()
    assert len(list(read_lines(lines, "export"))) >= 120
