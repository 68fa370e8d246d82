"""Quality of retrieval, against counting by hand; the household world and its expert, a bank of words."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bank_samples import WordEncoder
from hypothesis import given
from hypothesis import strategies as st
from report_samples import collect
from toys import Counting

from edgexp.bank import Bank, Filters
from edgexp.environments.household.household import Household
from edgexp.errors import EdgexpError
from edgexp.evaluation import retrieval_quality
from edgexp.evaluation.retrieval_quality import TYPE, aspects_of, measure_quality
from edgexp.play.episode import play
from edgexp.play.rollout import run
from edgexp.play.scripted import ExpertPolicy
from edgexp.retrieval import Retrieval, VectorRetriever
from edgexp.trajectory import Task


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    with collect(tmp_path_factory.mktemp("quality") / "bank", 24) as made:
        yield made


def test_aspects_come_from_the_goal() -> None:
    task = Task("x", "household", "dev", "heat")
    asked = {TYPE: "heat", "object": "egg", "receptacle": "sidetable", "treatment": "hot"}
    assert aspects_of(Household(), task, "put a hot egg in sidetable.") == asked
    assert aspects_of(Household(), task, "do something else") == {TYPE: "heat"}
    assert aspects_of(Counting(), task, "put a hot egg in sidetable.") == {TYPE: "heat"}  # type: ignore[arg-type]


def test_static_and_chance_are_what_counting_by_hand_gives(bank: Bank) -> None:
    household, tasks = Household(), list(Household().tasks("dev")[:6])
    quality = measure_quality(bank, household, tasks, k=2)
    static, chance, goals = [], [], [(t.task.type, t.goal) for t in bank.each()]
    for task in tasks:
        start = household.reset(task)
        found = VectorRetriever(bank, Retrieval(k=2)).recall(task, start.goal, start.observation).recalled
        static.append(sum(r.trajectory.task.type == task.type for r in found) / 2)
        chance.append(sum(kind == task.type for kind, _ in goals) / len(goals))
    ways = {way.name: way for way in quality.ways}
    assert list(ways)[:3] == ["static", "dynamic", "chance"]
    assert set(quality.aspects) == {TYPE, "object", "receptacle", "lamp", "treatment", "count"}
    assert ways["static"].shares[TYPE].mean == pytest.approx(sum(static) / 6)
    assert ways["chance"].shares[TYPE].mean == pytest.approx(sum(chance) / 6)
    assert ways["static"].retrievals == 6 and ways["dynamic"].retrievals > 12
    assert ways["static"].shares[TYPE].mean > ways["chance"].shares[TYPE].mean
    mean = ways["static"].shares[TYPE]
    assert 0 <= mean.low <= mean.mean <= mean.high <= 1


def test_a_matched_bank_is_measured_among_the_tasks_own_group(bank: Bank) -> None:
    household, tasks = Household(), list(Household().tasks("dev")[:6])
    ways = {way.name: way for way in measure_quality(bank, household, tasks, k=2).ways}
    assert list(ways)[3:] == ["static, own group", "dynamic, own group", "chance, own group"]
    found, chance = [], []
    for task in tasks:
        start = household.reset(task)
        own = [t.task for t in bank.each(Filters(group=task.group))]
        retriever = VectorRetriever(bank, Retrieval(k=2), filters=Filters(group=task.group))
        recalled = retriever.recall(task, start.goal, start.observation).recalled
        found.append(sum(r.trajectory.task.type == task.type for r in recalled) / 2)
        chance.append(sum(other.type == task.type for other in own) / len(own))
    assert ways["static, own group"].shares[TYPE].mean == pytest.approx(sum(found) / 6)
    assert ways["chance, own group"].shares[TYPE].mean == pytest.approx(sum(chance) / 6)
    assert ways["chance, own group"].shares[TYPE].mean > ways["chance"].shares[TYPE].mean


def test_a_bank_without_a_tasks_group_is_measured_as_a_whole(bank: Bank, tmp_path: Path) -> None:
    with Bank.open(tmp_path / "easy", WordEncoder()) as easy:
        easy.add([t for t in bank.each() if t.task.group == "easy"])
        ways = measure_quality(easy, Household(), Household().tasks("dev")[:4]).ways
        assert [way.name for way in ways] == ["static", "dynamic", "chance"]


def test_a_task_of_the_bank_does_not_find_itself(bank: Bank) -> None:
    task = Household().tasks("train")[0]
    own = measure_quality(bank, Household(), [task], k=1)
    held = [t for t in bank.each() if t.task.id != task.id]
    expected = sum(t.task.type == task.type for t in held) / len(held)
    assert {way.name: way for way in own.ways}["chance"].shares[TYPE].mean == pytest.approx(expected)


def test_an_environment_without_an_expert_has_no_dynamic_retrieval(tmp_path: Path) -> None:
    from toys import make_trajectory

    counting = Counting()
    made = make_trajectory(task_id="counting/train/0")
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank:
        import msgspec

        bank.add([msgspec.structs.replace(made, task=counting.task("counting/train/0"))])
        quality = measure_quality(bank, counting, counting.tasks("test"), k=1)  # type: ignore[arg-type]
    assert [way.name for way in quality.ways] == ["static", "chance"] and quality.ways[0].shares[TYPE].mean == 1


def test_nothing_to_measure_is_an_error(bank: Bank, tmp_path: Path) -> None:
    with pytest.raises(EdgexpError, match="there is no task"):
        measure_quality(bank, Household(), [])
    with Bank.open(tmp_path / "empty", WordEncoder()) as empty, pytest.raises(EdgexpError, match="holds no episode of household"):
        measure_quality(empty, Household(), Household().tasks("dev")[:1])
    with collect(tmp_path / "one", 1) as one, pytest.raises(EdgexpError, match="nothing but episodes of the task itself"):
        measure_quality(one, Household(), [Household().tasks("train")[0]])


def test_what_was_measured_is_said_and_progress_is_told(bank: Bank) -> None:
    told: list[tuple[int, int]] = []
    quality = measure_quality(bank, Household(), list(Household().tasks("dev")[:3]), 1, lambda done, of: told.append((done, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert (quality.environment, quality.tasks, quality.trajectories, quality.k) == ("household", 3, 24, 1)
    assert quality.bank == bank.fingerprint() and quality.encoder == bank.encoder_name
    held = f"The bank {bank.fingerprint()[:13]} holds 24 episodes"
    for fact in ("For each task 1 past episode is retrieved", "3 tasks of household", held, "A task never finds itself"):
        assert fact in quality.about


def test_dynamic_retrieval_asks_again_along_the_experts_episode(bank: Bank) -> None:
    household, task = Household(), Household().tasks("dev")[0]
    steps = len(run(play(household, task, ExpertPolicy(household))).trajectory.steps)
    retriever = VectorRetriever(bank, Retrieval(k=1, memory='dynamic'))
    ways = {way.name: way for way in measure_quality(bank, household, [task], k=1).ways}
    assert ways["dynamic"].retrievals == sum(retriever.due(done) for done in range(steps)) > 1 == ways["static"].retrievals
    assert ways["chance"].retrievals == 0


@given(st.lists(st.fixed_dictionaries({TYPE: st.sampled_from("abc")}, optional={"object": st.sampled_from("xy")}), min_size=1))
def test_likeness_is_a_share_of_what_was_found(found: list[dict[str, str]]) -> None:
    shares = retrieval_quality._alike({TYPE: "a", "object": "x"}, found)
    assert {kind: round(share * len(found)) for kind, share in shares.items()} == {
        TYPE: sum(one[TYPE] == "a" for one in found), "object": sum(one.get("object") == "x" for one in found)}  # fmt: skip
    assert all(0 <= share <= 1 for share in shares.values())
