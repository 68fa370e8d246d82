"""Workers on threads: the same episodes as here, whoever dies; and who is refused, in which words."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fuzzing import ROUNDS
from hypothesis import given, settings
from hypothesis import strategies as st
from thread_link import Handle, ThreadLink

from edgexp.cluster import crew as crews
from edgexp.cluster import parcels, wire
from edgexp.cluster.crew import Crew
from edgexp.cluster.far import Cluster
from edgexp.cluster.sharing import MOST_DEATHS
from edgexp.cluster.stage import Worker
from edgexp.cluster.wire import ExpertPlay, Hello, Item, Opening, Over, Turn
from edgexp.environments.registry import make
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.collecting import expert_episode
from edgexp.play.rollout import run
from edgexp.trajectory import Task, Trajectory

WORLD = make("household")
TASKS = list(WORLD.tasks("train")[:8])


def bare(trajectory: Trajectory) -> Trajectory:
    """But for the time."""
    return msgspec.structs.replace(trajectory, provenance=msgspec.structs.replace(trajectory.provenance, created=""))


HERE = {task.id: bare(run(expert_episode(WORLD, task, 12)).trajectory) for task in TASKS}


def opening(**more: Any) -> Opening:
    return Opening(ExpertPlay("household", 12, 0.0, 0, 2), {"household": WORLD.version}, **more)


def items(tasks: list[Task]) -> Iterator[Turn]:
    return (Turn(number, (Item(0, task),)) for number, task in enumerate(tasks))


def check(overs: list[Over], tasks: list[Task] = TASKS, deaths: int = 0) -> None:
    """Each episode once, as it is here; three deaths may by chance have met the same one."""
    assert sorted(over.turn for over in overs) == list(range(len(tasks)))
    for over in overs:
        if over.played is None and (deaths := deaths - MOST_DEATHS) >= 0:
            assert over.error.endswith("3 workers died while they played it")
            continue
        assert over.played is not None, over.error
        assert bare(over.played.trajectory) == HERE[tasks[over.turn].id]


@pytest.mark.parametrize(("machines", "workers"), [(1, None), (3, None), (1, 3), (2, 5), (3, 1)])
def test_episodes_are_those_that_are_played_here(machines: int, workers: int | None) -> None:
    link = ThreadLink([str(n) for n in range(machines)])
    check(list(Crew(link, workers).play(opening(), items(TASKS))))
    assert len(link.handles) == (workers or machines) and all(handle.dead for handle in link.handles)
    assert {handle.machine for handle in link.handles} == {str(n) for n in range(min(machines, workers or machines))}


@given(st.lists(st.integers(0, 6), max_size=8), st.integers(1, 3))
@settings(max_examples=15 * ROUNDS)
def test_whoever_dies_nothing_is_lost_and_nothing_is_told_twice(after: list[int], machines: int) -> None:
    """Workers die after so many answers, told or untold."""
    lives = iter(after)
    ends: dict[int, int] = {}

    def fate(handle: Handle, method: str, _: Any) -> bool:
        handle.taken += 1
        return handle.taken > ends.setdefault(id(handle), next(lives, 1_000_000))

    said = list[str]()
    crew = Crew(ThreadLink([str(n) for n in range(machines)], fate), say=said.append)
    try:
        check(list(crew.play(opening(), items(TASKS))), deaths=len(after))
    except EdgexpError as error:  # where one dies again and again before it has done anything
        assert "died again and again" in str(error) and len(after) > crews.MOST_FAILURES


def test_an_episode_that_kills_workers_is_told_in_a_line_and_the_others_are_played() -> None:
    killer = TASKS[3]

    def fate(handle: Handle, method: str, arguments: Any) -> bool:
        return method == "exchange" and killer in [item.task for turn in msgspec.msgpack.decode(arguments[0], type=list[Turn])
                                                   for item in turn.items]

    link = ThreadLink(["a", "b"], fate)
    overs = list(Crew(link).play(opening(), items(TASKS)))
    lost = [over for over in overs if over.played is None]
    assert [over.error for over in lost] == [f"{killer.id}: 3 workers died while they played it"]
    rest = [task for task in TASKS if task != killer]
    check([msgspec.structs.replace(over, turn=rest.index(TASKS[over.turn])) for over in overs if over.played], rest)


class Other(Worker):
    """A worker of another edgexp."""

    told = Hello(wire.PROTOCOL, "0.0.9+abc", "1", "old-machine", 1)

    def hello(self) -> bytes:  # type: ignore[override]
        return wire.answer(self.told)


def test_a_worker_of_another_version_is_refused_in_words_and_the_others_play() -> None:
    made = iter([Other, Worker])
    link, said = ThreadLink(["a", "b"], make=lambda: next(made)()), list[str]()
    check(list(Crew(link, say=said.append).play(opening(), items(TASKS))))
    assert len(said) == 1 and said[0].startswith("the worker on old-machine is refused: it has edgexp 0.0.9+abc, and this machine has 0.")
    with pytest.raises(EdgexpError, match="no worker can play; the one on old-machine: it has edgexp 0"):
        list(Crew(ThreadLink(make=Other)).play(opening(), items(TASKS)))


def test_a_worker_with_another_environment_is_refused() -> None:
    with pytest.raises(EdgexpError, match=r"it has version \S+ of the environment household, and this machine has 0.0"):
        list(Crew(ThreadLink()).play(msgspec.structs.replace(opening(), environments={"household": "0.0"}), items(TASKS)))


def test_what_a_worker_cannot_open_is_told_as_it_would_be_here() -> None:
    wrong = Opening(ExpertPlay("hausholt", 12, 0.0, 0, 2), {"hausholt": "1"})
    with pytest.raises(UsageError, match="hausholt"):
        list(Crew(ThreadLink(["a", "b"])).play(wrong, items(TASKS)))


def test_an_error_that_nobody_foresaw_is_a_death(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in one episode ends the worker, and after some of them the episode is given up; the others are played."""
    from edgexp.cluster import stage

    def episode(world: Any, task: Task, *rest: Any) -> Any:
        if task == TASKS[2]:
            raise ZeroDivisionError("a bug")
        return expert_episode(world, task, *rest)

    monkeypatch.setattr(stage, "expert_episode", episode)
    said = list[str]()
    overs = list(Crew(ThreadLink(), say=said.append).play(opening(), items(TASKS)))
    assert [over.turn for over in overs if over.played is None] == [2] and len(overs) == len(TASKS)
    assert "a worker" in said[0] and "ZeroDivisionError: a bug" in said[0]


def test_a_machine_that_is_gone_is_not_waited_for_and_one_that_joins_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "LOOKING", 0.0)
    link = ThreadLink(["a"])

    def fate(handle: Handle, method: str, _: Any) -> bool:
        if handle.machine == "a" and method == "exchange":
            link.names[:] = ["b"]
            return True
        return False

    link.fate = fate
    check(list(Crew(link).play(opening(), items(TASKS))))
    assert [handle.machine for handle in link.handles] == ["a", "b"]


def test_who_stops_listening_ends_the_workers() -> None:
    link = ThreadLink(["a", "b"])
    overs = Crew(link).play(opening(), items(TASKS))
    next(overs)
    overs.close()  # type: ignore[attr-defined]
    assert all(handle.dead for handle in link.handles)


def test_a_model_is_brought_once_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four workers on two machines that have not the driver's folder: each piece is put once, and one worker a machine takes it."""
    monkeypatch.setenv("EDGEXP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(parcels, "PIECE", 1000)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "m.gguf").write_bytes(bytes(2500))
    parcel = parcels.pack("model", tmp_path / "here", ["m.gguf"])
    weights = wire.Weights("m", "m", "policy", parcel.files[0].sha256, 0, "", "m.gguf", parcel)
    there, lock, both = dict[str, set[str]](), threading.Lock(), threading.Event()

    class Far(Worker):
        """Sees only what was brought to its machine."""

        machine = ""

        def look(self, data: bytes) -> bytes:  # type: ignore[override]
            self._opening = wire.decode(data, Opening)
            return wire.answer([p.digest for p in self._opening.parcels if p.digest not in there.get(self.machine, ())])

        def take(self, digest: str, piece: bytes) -> bytes:  # type: ignore[override]
            answer = super().take(digest, piece)
            if wire.read_answer(answer, bool):
                with lock:
                    assert digest not in there.setdefault(self.machine, set()), "a second time"
                    there[self.machine].add(digest)
                    if len(there) == 2:
                        both.set()
            return answer

        def exchange(self, turns: bytes) -> bytes:  # type: ignore[override]
            both.wait(60)  # or the first machine has played all before the second is there
            return super().exchange(turns)

    class Link(ThreadLink):
        def start(self, machine: str, gpu: bool) -> Handle:
            handle = super().start(machine, gpu)
            handle.worker.machine = machine
            return handle

    link = Link(["a", "b"], make=Far)
    crew = Crew(link, 4)
    check(list(crew.play(opening(weights=(weights,)), items(TASKS))))
    assert set(there) == {"a", "b"}
    assert link.put_bytes in (2500, 5000) and crew.brought == link.put_bytes  # twice only where the second machine came later


def test_a_cluster_plays_as_collect_does() -> None:
    played = Cluster(ThreadLink(), 2).expert_episodes(WORLD, "household", TASKS, steps=12, parallel=2)
    for finished in played:
        assert finished.trajectory is not None and bare(finished.trajectory) == HERE[TASKS[finished.number].id]


