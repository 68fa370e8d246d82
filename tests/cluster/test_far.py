"""Sessions whose episodes are played elsewhere, on threads and with a policy in place of a model: what is kept, and going on."""

from pathlib import Path

import msgspec
import pytest
from bank_samples import WordEncoder
from far_world import Slow
from test_crew import bare
from thread_link import Handle, ThreadLink

from edgexp.bank import Bank
from edgexp.cluster import far, parcels
from edgexp.cluster.far import Cluster, FarSession
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.collecting import collect, collect_telling, left_to_play
from edgexp.play.session import Settings, open_session
from edgexp.trajectory import Played

SETTINGS = Settings(environment="far_world:Slow", policy="far_world:make", actions="free", k=0, parallel=2)
TASKS = Slow().tasks("train")[:9]


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Banks are opened with one that needs no weights."""
    monkeypatch.setattr("edgexp.play.session.open_encoder", lambda *_: WordEncoder())


def untimed(played: Played) -> Played:
    decisions = tuple(msgspec.structs.replace(d, seconds=0.0) for d in played.decisions)
    return msgspec.structs.replace(played, trajectory=bare(played.trajectory), decisions=decisions, seconds=None)


def test_a_far_session_plays_what_a_near_one_does() -> None:
    with open_session(SETTINGS) as here:
        near = {finished.number: untimed(finished.played) for finished in here.play(TASKS, steps=7) if finished.played}
    with Cluster(ThreadLink(["a", "b"])).open_session(SETTINGS) as there:
        away = {finished.number: untimed(finished.played) for finished in there.play(TASKS, steps=7) if finished.played}
    assert away == near and len(near) == len(TASKS)
    assert {played.trajectory.success for played in near.values()} == {True, False}


def test_what_cannot_be_played_is_told_in_the_same_words() -> None:
    some = [TASKS[1], Slow().tasks("train")[199], TASKS[2]]
    with open_session(SETTINGS) as here:
        near = {finished.number: finished.problem for finished in here.play(some)}
    with Cluster(ThreadLink()).open_session(SETTINGS) as there:
        away = {finished.number: finished.problem for finished in there.play(some)}
    assert away == near and [bool(near[number]) for number in range(3)] == [False, True, False]


def session(folder: Path, cluster: Cluster) -> "far.Iterator[FarSession]":
    return cluster.open_session(msgspec.structs.replace(SETTINGS, bank=folder), keep=True, in_use=True)  # type: ignore[return-value]


def test_interrupted_it_keeps_what_was_over_and_goes_on(tmp_path: Path) -> None:
    def interrupt(_: Played) -> None:
        nonlocal heard
        heard += 1
        if heard == 4:
            raise KeyboardInterrupt

    heard, link = 0, ThreadLink(["a", "b"])
    with pytest.raises(KeyboardInterrupt), session(tmp_path, Cluster(link)) as there:  # type: ignore[attr-defined]
        assert there.bank
        collect(there.bank, there.play(TASKS), interrupt)
    assert all(handle.dead for handle in link.handles)
    with session(tmp_path, Cluster(ThreadLink(["a"]))) as there:  # type: ignore[attr-defined]
        assert there.bank and there.bank.count() == 4
        left = left_to_play(there.bank, TASKS, "agent", "none")
        assert len(left) == 5
        collect(there.bank, there.play(left))
        assert sorted(entry.task_id for entry in there.bank.entries()) == sorted(task.id for task in TASKS)


def test_workers_that_die_lose_nothing(tmp_path: Path) -> None:
    deaths = iter([3, 5, 4])
    ends: dict[int, int] = {}

    def fate(handle: Handle, method: str, _: object) -> bool:
        handle.taken += 1
        return handle.taken > ends.setdefault(id(handle), next(deaths, 1_000_000))

    said = list[str]()
    with session(tmp_path, Cluster(ThreadLink(["a", "b"], fate), say=said.append)) as there:  # type: ignore[attr-defined]
        assert there.bank
        assert collect_telling(there.bank, there.play(TASKS), lambda _: None) == (6, [])
        assert sorted(entry.task_id for entry in there.bank.entries()) == sorted(task.id for task in TASKS)
    assert 1 <= len(said) <= 3 and all("its episodes are played elsewhere" in line for line in said)


def test_a_copy_of_a_bank_is_what_it_was_and_is_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEXP_HOME", str(tmp_path / "home"))
    with session(tmp_path / "bank", Cluster(ThreadLink())) as there:  # type: ignore[attr-defined]
        assert there.bank
        collect(there.bank, there.play(TASKS))
        with far.ExitStack() as stack:
            [parcel] = far._copies(stack, [tmp_path / "bank"])
            before = there.bank.fingerprint()
            there.bank.forget([there.bank.entries()[0].id])
            folder = parcels.find(parcel)
            assert folder is not None
            with Bank.open(folder, WordEncoder(), readonly=True) as copy:
                assert copy.fingerprint() == before != there.bank.fingerprint() and copy.count() == 9
                assert [hit.id for hit in copy.search("task", "count to 3.", 9)]
        assert parcels.find(parcel) is None


def test_a_bank_without_anything_can_be_copied(tmp_path: Path) -> None:
    with far.ExitStack() as stack:
        [parcel] = far._copies(stack, [tmp_path / "none"])
        with Bank.open(Path(parcel.folder), WordEncoder(), readonly=True) as copy:
            assert copy.count() == 0


def test_what_is_wrong_is_told_before_anything_is_played() -> None:
    cluster = Cluster(ThreadLink())
    with pytest.raises(UsageError, match="far_world:nothing"), cluster.open_session(
        msgspec.structs.replace(SETTINGS, environment="far_world:Slow", policy="far_world:nothing")
    ) as there:
        list(there.play(TASKS))
    with pytest.raises(EdgexpError, match="nothing-of-that-name"), cluster.open_session(
        msgspec.structs.replace(SETTINGS, policy="", model="nothing-of-that-name")
    ):
        pass
