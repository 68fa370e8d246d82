"""An evaluation can be stopped anywhere and goes on; it never mixes what was played otherwise."""

import random
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import msgspec
import pytest
import toy_eval
from result_samples import SETUP, a_header, a_row
from toy_eval import TASKS, ToyPlayers, content, evaluate_toys, toy_suite

from edgexp.errors import EdgexpError, UsageError
from edgexp.evaluation.evaluate import Watch, Wishes, check_setups, evaluate, header_for
from edgexp.evaluation.results import EPISODES, MEMORIES, Header, read
from edgexp.evaluation.suite import Condition, Suite
from edgexp.files import hold_folder


def contents(folder: Path) -> list:
    return sorted((content(row) for row in read(folder).rows), key=lambda row: (row["condition"], row["task_id"]))


def test_every_condition_plays_every_task_once(tmp_path):
    played, failures = evaluate_toys(tmp_path)
    results = read(tmp_path)
    assert (played, failures) == (2 * TASKS, [])
    assert sorted(row.key for row in results.rows) == sorted(job.key for job in ToyPlayers(toy_suite()).jobs())
    row = next(row for row in results.rows if row.key == ("plain", "counting/train/1"))
    assert (row.success, row.steps, row.end, row.group) == (True, 4, "done", "hard")
    assert [a.action for a in row.actions] == ["wait", "add one", "add one", "add one"]
    assert row.recalls[0].used[0].id in results.memories and len(results.memories) == 3
    assert evaluate_toys(tmp_path) == (0, []), "nothing is played twice"


@pytest.mark.slow
def test_killed_at_random_moments_it_comes_to_the_same_results(tmp_path):
    """SIGKILL until an unbroken rest gets through: as many rows, each once, and nothing of them is different."""
    evaluate_toys(tmp_path / "unbroken")
    chance, kills, grown, path = random.Random(5), 0, set(), tmp_path / "broken" / EPISODES
    script = [sys.executable, toy_eval.__file__, str(tmp_path / "broken"), "0.03"]
    while True:
        process = subprocess.Popen(script, start_new_session=True)
        if kills % 3:  # else at any moment of its start
            _wait_for_rows(tmp_path / "broken", process)
        time.sleep(chance.random() * 0.3)
        if process.poll() is not None or kills >= 40:
            assert process.wait() == 0
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        grown.add(len(path.read_bytes().splitlines()) if path.exists() else 0)
    assert kills >= 8 and len(grown) >= 5, "it was killed many times, at different moments"
    assert contents(tmp_path / "broken") == contents(tmp_path / "unbroken")
    assert read(tmp_path / "broken").memories == read(tmp_path / "unbroken").memories
    assert read(tmp_path / "broken").header == read(tmp_path / "unbroken").header


def _wait_for_rows(folder: Path, process: subprocess.Popen) -> None:
    """Until the process has written something, or is over: starting Python takes longer than playing."""
    path = folder / EPISODES
    before = path.stat().st_size if path.exists() else 0
    while process.poll() is None and (path.stat().st_size if path.exists() else 0) == before:
        time.sleep(0.002)


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_torn_row_is_played_again(tmp_path, cut):
    evaluate_toys(tmp_path / "whole")
    evaluate_toys(tmp_path / "torn")
    path = tmp_path / "torn" / EPISODES
    path.write_bytes(path.read_bytes()[:-cut])
    said = []
    assert evaluate_toys(tmp_path / "torn", watch=Watch(said.append)) == (1, [])
    assert "cut short by a crash" in said[0]
    assert contents(tmp_path / "torn") == contents(tmp_path / "whole")


def test_results_of_other_weights_are_not_mixed(tmp_path):
    evaluate_toys(tmp_path, sha="a" * 64)
    before = (tmp_path / EPISODES).read_bytes()
    with pytest.raises(EdgexpError, match=r"of '(plain|remembering)'.*model_sha256 was 'aaaa.*' and is 'bbbb.*--fresh"):
        evaluate_toys(tmp_path, sha="b" * 64)
    assert (tmp_path / EPISODES).read_bytes() == before
    with pytest.raises(EdgexpError, match="of 'remembering'"):
        evaluate_toys(tmp_path, sha="b" * 64, fresh=["plain"])
    assert evaluate_toys(tmp_path, sha="b" * 64, fresh=["plain", "remembering"]) == (2 * TASKS, [])
    results = read(tmp_path)
    assert {results.header.setups[row.setup].model_sha256[0] for row in results.rows} == {"b"}


def test_a_refused_run_changes_nothing(tmp_path):
    evaluate_toys(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(EdgexpError, match="played otherwise"):
        evaluate_toys(tmp_path, toy_suite("plain", "remembering", "later"), sha="b" * 64, fresh=["plain"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(("field", "value", "refused"), [
    ("code", "0+other", True), ("engine", "other", True), ("environment_version", "2", True), ("steps", 11, True),
    ("bank_fingerprint", "b2", True), ("encoder", "other", True),
    ("bank", "all", False), ("context", 2048, False), ("model_sha256", "c" * 64, False),
])
def test_conditions_that_are_compared_were_played_alike(tmp_path, monkeypatch, field, value, refused):
    """Also where one of them is not played now: of weights and their context each has its own, of code, games and bank there is one."""
    plain = ToyPlayers.setup
    banked = {"bank": "matched", "bank_fingerprint": "b1", "encoder": "e"}
    monkeypatch.setattr(ToyPlayers, "setup", lambda self, job: msgspec.structs.replace(plain(self, job), **banked))
    evaluate_toys(tmp_path, toy_suite("plain"))
    monkeypatch.setattr(ToyPlayers, "setup", lambda self, job: msgspec.structs.replace(plain(self, job), **(banked | {field: value})))
    jobs = [job for job in ToyPlayers(toy_suite()).jobs() if job.condition.name == "remembering"]
    if refused:
        with pytest.raises(EdgexpError, match=f"of 'plain' that were played otherwise: {field} was .*--fresh 'plain'"):
            evaluate_toys(tmp_path, jobs=jobs)
    else:
        assert evaluate_toys(tmp_path, jobs=jobs) == (TASKS, [])


def test_a_bank_of_ones_own_that_was_changed_in_between_is_noticed():
    def setup(name, fingerprint, bank="mine"):
        return msgspec.structs.replace(SETUP, condition=name, k=2, bank=bank, bank_fingerprint=fingerprint, encoder="e")

    before = setup("before", "b1")
    for after, refused in ((setup("now", "b2"), True), (setup("now", "b1"), False), (setup("now", "b2", "another"), False)):
        rows = [a_row("before", setup=before.key)]
        with pytest.raises(EdgexpError, match="bank_fingerprint was 'b1' and is 'b2'") if refused else nullcontext():
            check_setups(Path("folder"), a_header(before), rows, {("now", "counting"): after})


def test_a_condition_can_be_added_later(tmp_path):
    evaluate_toys(tmp_path, toy_suite("plain"))
    assert evaluate_toys(tmp_path, toy_suite("plain", "later", "still later")) == (2 * TASKS, [])
    assert read(tmp_path).header.conditions == ["plain", "later", "still later"]


def test_tasks_that_are_no_longer_asked_for_stay_and_are_said(tmp_path):
    evaluate_toys(tmp_path)
    said, jobs = [], [job for job in ToyPlayers(toy_suite()).jobs() if job.task.id.endswith(("/1", "/2"))]
    assert evaluate_toys(tmp_path, jobs=jobs, watch=Watch(said.append)) == (0, [])
    assert said == [f"{2 * (TASKS - 2)} episodes of earlier settings, of tasks that are not among the suite's now, stay in the results"]


def test_an_episode_that_cannot_begin_is_told_of_and_tried_again(tmp_path, monkeypatch):
    def broken(self, task):
        if task.id == "counting/train/4":
            raise EdgexpError("the game file is damaged")
        return super(toy_eval.Slow, self).reset(task)

    with monkeypatch.context() as patched:
        patched.setattr(toy_eval.Slow, "reset", broken, raising=False)
        played, failures = evaluate_toys(tmp_path)
    assert played == 2 * TASKS - 2 and [f.job.task.id for f in failures] == ["counting/train/4"] * 2
    assert failures[0].reason == "the game file is damaged"
    assert evaluate_toys(tmp_path) == (2, [])


def test_interrupted_it_keeps_what_was_over(tmp_path):
    kept = []

    def stop(row):
        kept.append(row)
        if len(kept) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_toys(tmp_path, watch=Watch(kept=stop))
    assert read(tmp_path).rows == kept
    assert evaluate_toys(tmp_path) == (2 * TASKS - 5, [])


def test_a_folder_of_another_suite_is_refused(tmp_path):
    evaluate_toys(tmp_path)
    with pytest.raises(EdgexpError, match="holds results of the suite 'toy', not of 'other'"):
        header_for(tmp_path, "other", toy_suite())


def test_two_evaluations_do_not_write_one_folder(tmp_path):
    with hold_folder(tmp_path, "taken"), pytest.raises(EdgexpError, match="another evaluation is writing there"):
        evaluate("toy", toy_suite(), tmp_path)
    assert not (tmp_path / EPISODES).exists()


@pytest.mark.parametrize(("wishes", "said"), [
    (Wishes(only=["nobody"]), "--only nobody: the suite has no such condition; it has plain, remembering"),
    (Wishes(fresh=["nobody"]), "--fresh nobody"),
    (Wishes(models={"nothing": "x"}), "--model nothing=…: the suite names no such model; it names model 0, model 1"),
])
def test_names_that_are_not_in_the_suite(tmp_path, wishes, said):
    with pytest.raises(UsageError, match=said):
        evaluate("toy", toy_suite(), tmp_path, wishes)


def test_without_any_model_nothing_can_be_played(tmp_path):
    said = []
    suite = Suite((Condition(name="trained", model="not-there-yet"),))
    with pytest.raises(EdgexpError, match="no condition can be played: no model is called not-there-yet"):
        evaluate("toy", suite, tmp_path, None, Watch(said.append))
    assert said == ["trained is left out: no model is called not-there-yet; it can be added later, with the same command"]


def test_the_header_holds_the_suite_as_it_was_resolved(tmp_path):
    evaluate_toys(tmp_path)
    header = read(tmp_path).header
    assert isinstance(header, Header) and header.baseline == "plain"
    assert msgspec.convert(header.resolved, Suite) == toy_suite()
    assert (tmp_path / MEMORIES).is_file()
