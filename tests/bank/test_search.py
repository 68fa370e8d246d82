"""Search equals brute force over what is accepted, whatever was added, forgotten, accepted and snapshotted, in whatever order."""

from pathlib import Path

import numpy as np
import pytest
from bank_samples import PLACES, THINGS, WordEncoder, trajectories, trajectory
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edgexp.bank import Bank, Filters, Hit, Kind, neighbours

NUMBERS = st.integers(0, 60)
ENVIRONMENTS = ["household", "lab"]


def numbered(number: int):  # type: ignore[no-untyped-def]
    """Trajectory `number`; some share a task, some an environment, some even the very texts they are found by."""
    return trajectory(number, ENVIRONMENTS[number % 2], source=("expert", "agent", "import")[number % 3], task=f"task {number % 7}")


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "environment": st.sampled_from([*ENVIRONMENTS, "nowhere"]),
        "success": st.booleans(),
        "source": st.sampled_from(["expert", "agent"]),
        "split": st.just("train"),
        "task_type": st.sampled_from(["place", "heat"]),
        "group": st.sampled_from(["easy", "hard"]),
        "exclude_task_ids": st.lists(st.sampled_from([f"task {n}" for n in range(7)]), max_size=3).map(tuple),
        "ids": st.lists(NUMBERS.map(lambda number: numbered(number).id), max_size=30).map(tuple),
    },
).map(lambda chosen: Filters(**chosen))


def check(bank: Bank, found: list[Hit], kind: Kind, query: np.ndarray, k: int, filters: Filters) -> None:
    """What was found is what a slow and obvious search finds, but for the order of scores that rounding alone tells apart."""
    f = filters
    passing = [
        entry.id
        for entry in bank.entries()
        if entry.status == "accepted"
        and f.environment in (None, entry.environment)
        and f.success in (None, entry.success)
        and f.source in (None, entry.source)
        and f.split in (None, entry.split)
        and f.task_type in (None, entry.task_type)
        and f.group in (None, entry.group)
        and entry.task_id not in f.exclude_task_ids
        and (f.ids is None or entry.id in f.ids)
    ]
    if not passing:
        assert found == []
        return
    vectors = bank.vectors(kind, passing).astype(np.float64)
    scores = dict(zip(passing, (vectors @ query.astype(np.float16).astype(np.float64)).tolist(), strict=True))
    assert len({hit.id for hit in found}) == len(found) == min(k, len(scores))
    assert found == sorted(found, key=lambda hit: (-hit.score, hit.id))
    least = sorted(scores.values(), reverse=True)[len(found) - 1] if found else 0
    for hit in found:
        assert hit.score == pytest.approx(scores[hit.id], abs=1e-5) and hit.score >= least - 1e-5


class BankMachine(RuleBasedStateMachine):
    """Random lives of a bank that is searched exactly, with a reader that stays open through all of it."""

    exact_limit = 10_000

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "bank"
        self.words = WordEncoder()
        self.bank = Bank.open(self.path, self.words, exact_limit=self.exact_limit)
        self.reader = Bank.open(self.path, self.words, readonly=True, exact_limit=self.exact_limit)
        self.model: dict[str, str] = {}

    @initialize(first=NUMBERS, count=st.integers(0, 60))
    def begin(self, first: int, count: int) -> None:
        self.add(first, count, "accepted")

    @rule(first=NUMBERS, count=st.integers(1, 30), status=st.sampled_from(["accepted", "quarantined"]))
    def add(self, first: int, count: int, status: str) -> None:
        given = [numbered(number % 60) for number in range(first, first + count)]
        self.bank.add(given, status)  # type: ignore[arg-type]
        for t in given:
            if status == "accepted" or t.id not in self.model:
                self.model[t.id] = status

    @rule(number=NUMBERS)
    def forget(self, number: int) -> None:
        identity = numbered(number).id
        assert self.bank.forget([identity]) == (self.model.pop(identity, None) is not None)

    @rule()
    def accept_all(self) -> None:
        waiting = [identity for identity, status in self.model.items() if status == "quarantined"]
        assert self.bank.accept(waiting) == len(waiting)
        self.model.update(dict.fromkeys(waiting, "accepted"))

    @rule()
    def snapshot(self) -> None:
        self.bank._indexes.snapshot(1)

    @rule()
    def reopen(self) -> None:
        self.bank.close()
        self.bank = Bank.open(self.path, self.words, exact_limit=self.exact_limit)

    @rule(number=NUMBERS, kind=st.sampled_from(["task", "course"]), k=st.integers(1, 10), filters=FILTERS)
    def search(self, number: int, kind: Kind, k: int, filters: Filters) -> None:
        query = self.words.encode([f"{numbered(number).goal}\n{numbered(number).observation}"])[0]
        for bank in (self.bank, self.reader):
            for wanted, only in ((k, filters), (k, Filters()), (100, Filters())):
                check(self.bank, bank.search(kind, query, wanted, only), kind, query, wanted, only)

    @invariant()
    def holds_what_was_put_in(self) -> None:
        assert {entry.id: entry.status for entry in self.reader.entries()} == self.model

    def teardown(self) -> None:
        assert self.bank.verify() == []
        self.reader.close()
        self.bank.close()
        self.folder.cleanup()


class GraphMachine(BankMachine):
    """The same lives where more than twenty vectors get a graph."""

    exact_limit = 20


class TestExactLives(BankMachine.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=6, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
class TestManyExactLives(BankMachine.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
class TestLivesWithGraphs(GraphMachine.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=40, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
def test_filters_lose_nothing_however_rare_what_they_want_is(bank: Bank, words: WordEncoder) -> None:
    """2 of 3,000 pass, and they rank last: the search must leave its quick path and still find them."""
    bank.add([trajectory(number, "common") for number in range(3000)])
    rare = [trajectory(5000, "rare"), trajectory(5001, "rare")]
    bank.add(rare)
    query = -bank.vectors("task", [rare[0].id])[0]
    for k in (1, 2, 5):
        filters = Filters(environment="rare")
        check(bank, bank.search("task", query, k, filters), "task", query, k, filters)
    assert {hit.id for hit in bank.search("task", query, 5, Filters(environment="rare"))} == {t.id for t in rare}
    excluded = Filters(exclude_task_ids=tuple(trajectory(number, "common").task.id for number in range(2990)))
    check(bank, bank.search("task", query, 12, excluded), "task", query, 12, excluded)


def test_equal_scores_come_in_the_order_of_their_ids(bank: Bank) -> None:
    """700 trajectories of the same goal and the same first sight: all equal, more than any first look at the ranking."""
    import msgspec

    base = trajectory(1)
    same_task = [msgspec.structs.replace(base, score=number / 1000) for number in range(700)]
    bank.add(same_task[:350])
    bank._indexes.snapshot(1)
    bank.add(same_task[350:])
    hits = bank.search("task", f"{base.goal}\n{base.observation}", 5)
    assert [hit.id for hit in hits] == sorted(t.id for t in same_task)[:5] and len({hit.score for hit in hits}) == 1


@pytest.mark.slow
def test_a_graph_finds_what_exact_search_finds_nearly_always(tmp_path: Path) -> None:
    words = WordEncoder(dimensions=64)
    with Bank.open(tmp_path / "exact", words) as exact, Bank.open(tmp_path / "bank", words, exact_limit=500) as bank:
        exact.add(trajectories(1500))
        bank.add(trajectories(1200))
        bank._indexes.snapshot(1)
        assert has_graph(bank)
        bank.add(trajectories(300, 1200))  # newer than the graph
        texts = [f"put a {thing} on the {place}.\nYou see a {place}." for thing in THINGS for place in PLACES]
        best = [{hit.id for hit in exact.search("task", text, 5)} for text in texts]
        found = [{hit.id for hit in bank.search("task", text, 5)} for text in texts]
        assert sum(len(a & b) for a, b in zip(best, found, strict=True)) >= 0.97 * 5 * len(texts)
        rare = Filters(ids=tuple(trajectory(number).id for number in (3, 900, 1400)))
        assert bank.search("task", texts[0], 5, rare) == exact.search("task", texts[0], 5, rare), "filters go around the graph"


def has_graph(bank: Bank) -> bool:
    index = bank._indexes.fresh("task")
    return index is not None and index.near(np.eye(index.dimensions, dtype=np.float32)[0], 1) is not None


@pytest.mark.slow
def test_what_cannot_be_found_by_a_graph_is_searched_exactly(
    tmp_path: Path, words: WordEncoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(neighbours, "_GOOD", 1.1)
    with Bank.open(tmp_path / "bank", words, exact_limit=200) as bank:
        bank.add(trajectories(500))
        bank._indexes.snapshot(1)
        assert not has_graph(bank) and "searched exactly" in caplog.text
        query = bank.vectors("task", [trajectory(300).id])[0]
        query /= np.linalg.norm(query)
        check(bank, bank.search("task", query, 10), "task", query, 10, Filters())
        before = sorted(bank.path.glob("*.graph"))
        bank.add(trajectories(100, 500))
        bank._indexes.snapshot(1)
        assert len(before) == 2 and sorted(bank.path.glob("*.graph")) == before, "it is not tried again for every few that are added"
        monkeypatch.undo()
        bank.add(trajectories(200, 600))
        bank._indexes.snapshot(1)
        assert has_graph(bank) and bank.verify() == []


@pytest.mark.slow
def test_a_graph_forgets(tmp_path: Path, words: WordEncoder) -> None:
    with Bank.open(tmp_path / "bank", words, exact_limit=200) as bank:
        bank.add(trajectories(500))
        bank._indexes.snapshot(1)
        (file,) = bank.path.glob("task-*.graph")
        gone = bank.search("task", "put a mug on the shelf.", 1)[0].id
        bank.forget([gone])
        assert not file.exists()
        assert gone not in [hit.id for hit in bank.search("task", "put a mug on the shelf.", 499)]
        assert bank.rebuild() == 0 and list(bank.path.glob("task-*.graph")) and bank.verify() == []
