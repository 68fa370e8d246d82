"""An evaluation of toy players, to be run in a process of its own and killed: `python toy_eval.py FOLDER SECONDS_PER_STEP`."""

import sys
import time
from contextlib import contextmanager
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, the tests' own helpers are not on the path

from toys import Counting, make_trajectory

from edgexp.evaluation.evaluate import Watch, header_for, play_missing
from edgexp.evaluation.playing import Job
from edgexp.evaluation.results import Setup
from edgexp.evaluation.suite import Condition, Suite, Tasks
from edgexp.play.episode import play
from edgexp.play.scripted import Scripted
from edgexp.retrieval import Memory
from edgexp.retrieval import Recalled as Found
from edgexp.trajectory import Task

TASKS = 12


class Slow(Counting):
    """The counting environment with more tasks, that takes its time."""

    def __init__(self, seconds=0.0):
        super().__init__(3)
        self.seconds = seconds

    def tasks(self, split):
        return [Task(f"counting/{split}/{n}", "counting", split, "count", ("easy", "hard")[n % 2]) for n in range(TASKS)]

    def step(self, action):
        time.sleep(self.seconds)
        return super().step(action)


class Remembering(Scripted):
    """Wins some tasks and loses others, always the same; says that it remembered something."""

    def begin(self, episode):
        number = int(episode.task.id.rsplit("/", 1)[1])
        episode.remember(Memory("query", (Found(make_trajectory(goal=f"memory {number % 3}."), 0.5),)))


def setup(**what):
    """A setup of the counting environment."""
    plain = dict.fromkeys(("bank", "bank_fingerprint", "encoder", "engine"), "")
    return Setup(**{"environment": "counting", "environment_version": "1", "steps": 10, "context": 4096, "code": "0"} | plain | what)


class ToyPlayers:
    """Scripted players at three places."""

    places, engines = 3, ()

    def __init__(self, suite, seconds=0.0, sha="0" * 64):
        self.suite, self.seconds, self.sha = suite, seconds, sha

    def jobs(self):
        tasks = Slow().tasks("train")
        return [Job(condition, self.suite.tasks[0], task) for condition in self.suite.conditions for task in tasks]

    def setup(self, job):
        c = job.condition
        return setup(condition=c.name, model=c.model, model_sha256=self.sha, actions=c.actions, k=c.k, memory=c.memory)

    def episode(self, place, job):
        number = int(job.task.id.rsplit("/", 1)[1])
        won = 3 if (number + job.condition.k) % 3 else 2
        return play(Slow(self.seconds), job.task, Remembering(["wait", *["add one"] * won]))

    def check(self, job):
        pass


def toy_suite(*names):
    """Conditions on the counting tasks; those after the first remember."""
    conditions = tuple(Condition(name=name, k=k, model=f"model {k}") for k, name in enumerate(names or ("plain", "remembering")))
    return Suite(conditions=conditions, tasks=(Tasks("counting", ("train",)),))


def evaluate_toys(folder, suite=None, seconds=0.0, sha="0" * 64, fresh=(), jobs=None, watch=None):
    """Play what is missing in a folder."""
    suite = suite or toy_suite()
    players = ToyPlayers(suite, seconds, sha)

    @contextmanager
    def opened(_):
        yield players

    jobs = players.jobs() if jobs is None else jobs
    return play_missing(folder, header_for(folder, "toy", suite), jobs, players.setup, opened, fresh, watch or Watch())


def content(row):
    """A row but for its times."""
    plain = msgspec.to_builtins(row)
    for key in ("finished", "seconds"):
        del plain[key]
    for part in (*plain["actions"], *plain["recalls"]):
        del part["seconds"]
    return plain


if __name__ == "__main__":
    evaluate_toys(Path(sys.argv[1]), seconds=float(sys.argv[2]))
