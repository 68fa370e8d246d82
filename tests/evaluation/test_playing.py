"""In which order episodes are played, and what they share; with the default model, tokens are counted."""

import msgspec
import pytest
from result_samples import SETUP
from toys import Counting

from edgexp.errors import EdgexpError
from edgexp.evaluation import field
from edgexp.evaluation.evaluate import Watch, Wishes, evaluate
from edgexp.evaluation.playing import Job, in_turns, play_all
from edgexp.evaluation.results import Header, Writer, read
from edgexp.evaluation.suite import Condition, Suite, Tasks
from edgexp.play import fleet
from edgexp.play.episode import play
from edgexp.play.rollout import run
from edgexp.play.scripted import Scripted
from edgexp.trajectory import Task

CONDITIONS = (
    Condition(name="plain"),
    Condition(name="two", k=2),
    Condition(name="two, dynamic", k=2, memory="dynamic"),
    Condition(name="four", k=4),
    Condition(name="foreign", k=2, bank="mismatched"),
    Condition(name="two, valid", k=2, actions="admissible"),
    Condition(name="nothing found", k=2, bank="empty"),
    Condition(name="off", k=2, memory="off", actions="admissible"),
    Condition(name="spread", k=2, diversity=0.5),
)


def jobs(conditions=CONDITIONS, tasks=2):
    entry = Tasks("counting", ("train",))
    drawn = [Task(f"counting/train/{n}", "counting", "train", "count") for n in range(tasks)]
    return [Job(condition, entry, task) for condition in conditions for task in drawn]


def test_who_begins_with_the_same_prompt_is_played_in_turn():
    turns = [[job.condition.name for job in turn] for turn in in_turns(jobs())]
    once = [["plain", "nothing found", "off"], ["two", "two, valid", "two, dynamic"], ["four"], ["foreign"], ["spread"]]
    assert turns == once * 2
    assert [{job.task.id for job in turn} for turn in in_turns(jobs())] == [{"counting/train/0"}] * 5 + [{"counting/train/1"}] * 5


def test_every_job_is_in_one_turn():
    every = jobs(tasks=7)
    assert sorted(job.key for turn in in_turns(every) for job in turn) == sorted(job.key for job in every)
    assert in_turns([]) == []


def suite(*conditions):
    tasks = Tasks("household", ("dev",), number=2, steps=2)
    return Suite(conditions, context=2048, tasks=(tasks,))


PLAIN = (Condition(name="free"), Condition(name="valid", actions="admissible"), Condition(name="other", actions="admissible", repeats=1))


def played(folder, parallel, monkeypatch, cores):
    monkeypatch.setattr(fleet, "cores", lambda: cores)
    # How many threads are the fastest is measured, and not the same everywhere.
    monkeypatch.setattr(fleet, "engines_for", lambda places, cores, threads: min(places, cores))
    made, plain = [], field.FieldPlayers.__init__

    def opened(self, *args, **kwargs):
        plain(self, *args, **kwargs)
        made.append(self)

    monkeypatch.setattr(field.FieldPlayers, "__init__", opened)
    evaluate("toy", suite(*PLAIN), folder, Wishes(parallel), Watch())
    monkeypatch.undo()
    return {row.key: row for row in read(folder).rows}, made[0].engines


@pytest.mark.parametrize("cores", [1, 2])
def test_a_prompt_is_evaluated_once_for_all_who_begin_with_it(tmp_path, monkeypatch, policy_path, cores):
    """One at a time, conditions come one after the other. With more places each task is a turn: its first episode pays for the prompt."""
    alone, [engine] = played(tmp_path / "1", 1, monkeypatch, cores)
    together, engines = played(tmp_path / "2", 2, monkeypatch, cores)
    assert len(engines) == cores
    assert [key[0] for key in alone] == ["free"] * 2 + ["valid"] * 2 + ["other"] * 2
    for task in {task for _, task in alone}:
        rows = [together[condition.name, task] for condition in PLAIN]
        own = [row.tokens.evaluated - row.tokens.generated for row in rows]
        assert own[0] > rows[0].tokens.prompt // 4 and max(own[1:]) < rows[0].tokens.prompt // 2
        assert [row.tokens.prompt for row in rows] == [alone[condition.name, task].tokens.prompt for condition in PLAIN]
        assert all(row.parallel == 2 for row in rows)
    assert sum(e.counters.evaluated for e in engines) < engine.counters.evaluated


@pytest.mark.parametrize(("places", "cores", "threads", "engines"), [(1, 8, 1, 1), (8, 2, 1, 2), (2, 8, 1, 2), (8, 8, 4, 2), (8, 2, 4, 1)])
def test_engines_are_as_many_as_keep_the_cores_busy(places, cores, threads, engines):
    assert fleet.engines_for(places, cores, threads) == engines


class Toys:
    """Scripted episodes; some cannot begin, and the bank is not what it was after others."""

    places, engines = 2, ()

    def __init__(self, unborn=(), spoilt=()):
        self.unborn, self.spoilt = unborn, spoilt

    def episode(self, place, job):
        if job.condition.name in self.unborn:
            raise EdgexpError("cannot begin")
        return play(Counting(), job.task, Scripted(["add one"]))

    def setup(self, job):
        return SETUP

    def check(self, job):
        if job.condition.name in self.spoilt:
            raise EdgexpError("the bank was changed")


def test_an_episode_that_cannot_begin_does_not_keep_the_next_of_its_turn(tmp_path):
    with Writer(tmp_path, Header("toy", {}, {})) as writer:
        kept = []
        failures = play_all(jobs(tasks=1), Toys(unborn=["plain", "four"]), writer, kept.append)
    assert sorted((f.job.condition.name, f.reason) for f in failures) == [("four", "cannot begin"), ("plain", "cannot begin")]
    assert len(kept) == len(CONDITIONS) - 2 and {"nothing found", "off"} <= {row.condition for row in kept}


def test_a_bank_that_changed_under_way_ends_the_evaluation(tmp_path):
    kept = []
    with Writer(tmp_path, Header("toy", {}, {})) as writer, pytest.raises(EdgexpError, match="the bank was changed"):
        play_all(jobs(tasks=1), Toys(spoilt=["two, valid"]), writer, kept.append)
    assert "two" in {row.condition for row in kept} and "two, valid" not in {row.condition for row in kept}


class Far:
    """Players elsewhere: what a near one plays, in another order; some of it cannot be played."""

    places = 2

    def __init__(self, fails=(), stop_after=None):
        self.fails, self.stop_after, self.turns = fails, stop_after, []

    def setup(self, job):
        return toy_setup(job)

    def play(self, turns):
        self.turns = [list(turn) for turn in turns]
        for number, job in enumerate(job for turn in reversed(turns) for job in turn):
            if number == self.stop_after:
                raise KeyboardInterrupt
            lost = EdgexpError("it was lost") if job.task.id in self.fails else None
            yield job, lost or run(play(Counting(3), job.task, Scripted(["add one"] * 3)))


class Near:
    """The same, here."""

    places, engines = 2, ()

    def setup(self, job):
        return toy_setup(job)

    def check(self, job):
        pass

    def episode(self, place, job):
        return play(Counting(3), job.task, Scripted(["add one"] * 3))


def toy_setup(job):
    return msgspec.structs.replace(SETUP, condition=job.condition.name, environment="counting")


def kept_rows(folder, players, todo):
    with Writer(folder, Header("toy", {}, {})) as writer:
        failures = play_all(todo, players, writer)
    rows = read(folder).rows
    return {row.key: untimed(row) for row in rows}, failures, rows


def untimed(row):
    actions = tuple(msgspec.structs.replace(action, seconds=0.0) for action in row.actions)
    return msgspec.structs.replace(row, actions=actions, seconds=None, finished="")


def test_what_is_played_elsewhere_has_the_same_rows(tmp_path):
    todo, far = jobs(CONDITIONS[:3], 4), Far()
    near, none, _ = kept_rows(tmp_path / "near", Near(), todo)
    assert kept_rows(tmp_path / "far", far, todo)[:2] == (near, none) and len(near) == 12
    assert far.turns == in_turns(todo)


def test_what_cannot_be_played_elsewhere_is_missing_and_the_rest_is_kept(tmp_path):
    rows, failures, _ = kept_rows(tmp_path, Far(fails=["counting/train/1"]), jobs(CONDITIONS[:3], 4))
    assert [(failure.job.task.id, failure.reason) for failure in failures] == [("counting/train/1", "it was lost")] * 3
    assert len(rows) == 9 and {task for _, task in rows} == {f"counting/train/{n}" for n in (0, 2, 3)}


def test_what_was_played_elsewhere_before_ctrl_c_is_kept(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        kept_rows(tmp_path, Far(stop_after=5), jobs(CONDITIONS[:3], 4))
    assert len(read(tmp_path).rows) == 5
