"""A real Ray on this machine: workers that are killed, the default model, Ctrl-C, and what is said where there is no cluster."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from far_world import Slow
from test_crew import bare

from edgexp.bank import Bank
from edgexp.cluster import ray_link, wire
from edgexp.cluster.crew import Crew, Died
from edgexp.cluster.far import Cluster
from edgexp.cluster.ray_link import RayLink, connected, explain
from edgexp.cluster.wire import Hello, Item, Opening, SessionPlay, Turn
from edgexp.errors import EdgexpError, UsageError
from edgexp.evaluation.evaluate import Wishes, evaluate
from edgexp.evaluation.results import read_header, read_rows
from edgexp.evaluation.suite import Condition, Suite, Tasks
from edgexp.play.session import Settings, open_session

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray", reason="needs Ray, which comes with the extra cluster")

TESTS = Path(__file__).parents[1]
SETTINGS = Settings(environment="far_world:Slow", policy="far_world:make", actions="free", k=0, parallel=2)
TASKS = Slow().tasks("train")[:60]


@pytest.fixture(scope="module")
def link(own_home: Path) -> Iterator[RayLink]:
    """One small Ray for all of these, or the one at the address in EDGEXP_TEST_RAY. Its processes find what this one finds."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS.parent), str(TESTS), str(TESTS / "cluster")])
    try:
        with connected(os.environ.get("EDGEXP_TEST_RAY", "local")) as made:
            yield made
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


class Watched:
    """A link that knows the processes of the workers that said hello."""

    def __init__(self, link: RayLink):
        self._link, self.processes = link, list[int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def result(self, call: Any) -> bytes:
        data = self._link.result(call)
        with contextlib.suppress(EdgexpError):
            self.processes.append(wire.read_answer(data, Hello).process)
        return data


@pytest.mark.parametrize(("address", "told"), [
    ("auto", "no Ray cluster answers"),
    ("127.0.0.1:1", "no Ray cluster answers"),
    ("ray://127.0.0.1:1", "start the command on a machine of the cluster"),
    ("no address", "write auto, local, or the HOST:PORT"),
    ("192.0.2.1", "write auto"),
    ("nowhere.invalid:6379", "no Ray cluster answers"),
])
def test_a_cluster_that_does_not_answer_is_one_line(address: str, told: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgexp", "collect", "--ray", address, "--bank", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False,
                          env={**os.environ, "RAY_ADDRESS": "127.0.0.1:1"})
    assert done.returncode in (1, 2) and told in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize("seed", [0, 1])
def test_workers_that_are_killed_lose_nothing(link: RayLink, seed: int) -> None:
    """Two to four workers; some of them are killed at random moments. Each episode is told of once, and is the one that is played here."""
    with open_session(SETTINGS) as here:
        near = {finished.number: bare(finished.trajectory) for finished in here.play(TASKS) if finished.trajectory}
    watched, said, chance, over = Watched(link), list[str](), random.Random(seed), threading.Event()

    def kill() -> None:
        for _ in range(2):
            if over.wait(chance.uniform(0.5, 2.0)):
                return
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(chance.choice(watched.processes[-3:]), signal.SIGKILL)

    opening = Opening(SessionPlay(SETTINGS, None, False), {"far_world:Slow": "1"})
    turns = (Turn(number, (Item(0, task),)) for number, task in enumerate(TASKS))
    killer, told = threading.Thread(target=kill), list[wire.Over]()
    for finished in Crew(watched, chance.randint(2, 4), said.append).play(opening, turns):
        if not told:
            killer.start()
        told.append(finished)
    over.set()
    killer.join()
    assert sorted(finished.turn for finished in told) == list(range(len(TASKS)))
    assert {finished.turn: bare(finished.played.trajectory) for finished in told if finished.played} == near
    assert said and all("died" in line and "played elsewhere" in line for line in said)


def shape(row: Any) -> Any:
    """A row without times, and without what the engine happened to have read before."""
    told = msgspec.to_builtins(row)
    del told["seconds"], told["finished"]
    for action in told["actions"]:
        del action["seconds"]
        action["probability"] = action["probability"] and round(action["probability"], 3)
        action["alternatives"] = [(text, round(p, 3)) for text, p in action["alternatives"]]
    for recall in told["recalls"]:
        del recall["seconds"]
    told["tokens"] = {name: told["tokens"][name] for name in ("prompt", "generated")}
    return told


def test_an_evaluation_with_the_default_model_has_the_rows_of_a_local_one(
    link: RayLink, policy_path: Path, encoder_folder: Path, tmp_path: Path
) -> None:
    tasks = Tasks("household", ("dev",), number=2, steps=4)
    tasks = msgspec.structs.replace(tasks, experience=msgspec.structs.replace(tasks.experience, number=3))
    base = "smollm2-135m-instruct"
    suite = Suite((Condition(name="plain", model=base), Condition(name="valid", model=base, k=1, actions="admissible")), context=2048,
                  tasks=(tasks,))
    assert not evaluate("toy", suite, tmp_path / "here").failures
    assert not evaluate("toy", suite, tmp_path / "there", Wishes(far=Cluster(link, 2).players)).failures
    here, there = (
        {row.key: shape(row) for row in read_rows(tmp_path / name, read_header(tmp_path / name))} for name in ("here", "there")
    )
    assert here == there and len(here) == 4
    assert evaluate("toy", suite, tmp_path / "there").played == 0, "a local evaluation goes on with the rows of a far one"


def test_ctrl_c_keeps_what_was_over_and_the_same_command_goes_on(link: RayLink, encoder_folder: Path, tmp_path: Path) -> None:
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-m", "edgexp", "collect", "far_world:Slow", "--policy", "far_world:make", "--actions", "free", "-k", "0",
               "-n", "80", "--bank", str(tmp_path / "bank"), "--ray", address, "--workers", "2", "--again", "none", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        until = time.monotonic() + 240
        while held(tmp_path / "bank") < 3 and time.monotonic() < until and running.poll() is None:
            time.sleep(0.2)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=120)
    assert running.returncode == 130 and "Traceback" not in said, said
    first = held(tmp_path / "bank")
    assert 3 <= first < 80
    again = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert again.returncode == 0, again.stderr
    told = json.loads(again.stdout)
    assert (told["known"], told["played"], told["bank"]) == (first, 80 - first, 80)


def held(bank: Path) -> int:
    with contextlib.suppress(EdgexpError), Bank.open(bank, None, readonly=True) as opened:
        return opened.count()
    return 0


def test_where_ray_is_not_installed_one_line_says_how_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'edgexp\[cluster\]'"), ray_link.connected("auto"):
        pass


def test_a_machine_without_edgexp_and_a_worker_that_died_are_told_apart(link: RayLink) -> None:
    class Broken:
        """As Ray unpickles a class of a module that is not there."""

        def __init__(self) -> None:
            raise ModuleNotFoundError("No module named 'edgexp.cluster'")

        def hello(self) -> bytes:
            return b""

    lost = RayLink(ray)
    lost._made = ray.remote(Broken)
    with pytest.raises(EdgexpError, match="it has no edgexp that can be a worker"):
        list(Crew(lost).play(Opening(SessionPlay(SETTINGS, None, False), {}), iter([Turn(0, (Item(0, TASKS[0]),))])))
    assert isinstance(explain(ray.exceptions.ActorDiedError()), Died)
