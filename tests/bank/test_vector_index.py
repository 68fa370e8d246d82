"""An index is a cache: whatever becomes of its files, it ranks what the store holds, as plain numpy ranks it."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bank_samples import WordEncoder, trajectories, trajectory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edgexp.bank import Bank, vector_index
from edgexp.bank.records import KINDS
from edgexp.bank.schema import connect
from edgexp.bank.sealed import Seal
from edgexp.bank.store import Store
from edgexp.bank.upkeep import vectors_of
from edgexp.bank.vector_index import Index, Indexes, _best, search

WORDS = WordEncoder(dimensions=16)


def open_store(path: Path, readonly: bool = False) -> Store:
    return Store(connect(path / "bank.sqlite3", readonly=readonly, create=not readonly, wait=5))


def put(store: Store, numbers: range | list[int]) -> None:
    """Add trajectories to a store, which is to have an encoder after it."""
    given = [trajectory(number) for number in numbers]
    with store.database.transaction():
        encoder = store.know_encoder("e-words", "words", 16)
        store.use_encoder(encoder)
        for t, vectors in zip(given, vectors_of(WORDS, given), strict=True):
            store.insert(t, t.id, "accepted", encoder.code, vectors)


def make_index(store: Store, kind: str = "task", sort: type[Index] = Index) -> Index:
    encoder = store.encoder()
    assert encoder
    return sort(store, encoder, kind)  # type: ignore[arg-type]


def ranked(index: Index, query: np.ndarray) -> dict[int, float]:
    """Row → score of everything an index knows."""
    rows, scores = index.scores(query)
    assert len(set(rows.tolist())) == len(rows), "no row comes twice"
    return dict(zip(rows.tolist(), scores.tolist(), strict=True))


def brute(store: Store, kind: str, query: np.ndarray) -> dict[int, float]:
    """The same by plain numpy over the stored vectors."""
    encoder = store.encoder()
    assert encoder
    half = query.astype(np.float16).astype(np.float64)
    return {row: float(np.frombuffer(data, "<f2").astype(np.float64) @ half) for row, data in store.raw_vectors(encoder, kind)}  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store of fifty trajectories."""
    made = open_store(tmp_path)
    put(made, range(50))
    yield made
    made.database.close()


QUERY = WORDS.encode(["put a mug on the shelf."])[0]


class SmallIndex(Index):
    """Takes a newer file as soon as it has read nine vectors from the store."""

    SMALLEST_DELTA = 8


class IndexMachine(RuleBasedStateMachine):
    """A writing and a reading index over one store, through anything that may happen to store and files."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.store = open_store(self.path)
        self.store.database.execute("PRAGMA synchronous = OFF")
        put(self.store, range(30))
        self.other = open_store(self.path, readonly=True)
        self.next = 30
        self.writing, self.reading = make_index(self.store, "course"), make_index(self.other, "course", SmallIndex)

    @rule(count=st.integers(1, 40))
    def add(self, count: int) -> None:
        put(self.store, range(self.next, self.next + count))
        self.next += count

    @rule(share=st.integers(2, 9))
    def delete_some(self, share: int) -> None:
        ids = [entry.id for entry in self.store.entries(vector_index.Filters(), None, -1)][::share]
        self.writing.discard()  # as a bank that forgets does before and after
        with self.store.database.transaction():
            self.store.delete(ids)
        self.writing.discard()
        self.reading.remap()

    @rule()
    def snapshot(self) -> None:
        assert self.writing.snapshot()
        assert self.writing.pending() == 0

    @rule(data=st.data())
    def damage_a_file(self, data: st.DataObject) -> None:
        files = sorted(self.path.glob("course-*"))
        if files:
            path = data.draw(st.sampled_from(files))
            content = path.read_bytes()
            place = data.draw(st.integers(0, len(content) - 1))
            path.unlink()
            path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])

    @rule()
    def lose_the_files(self) -> None:
        for path in self.path.glob("course-*"):
            path.unlink()

    @rule()
    def reopen(self) -> None:
        self.writing, self.reading = make_index(self.store, "course"), make_index(self.other, "course", SmallIndex)

    @invariant()
    def ranks_what_the_store_holds(self) -> None:
        wanted = brute(self.store, "course", QUERY)
        for index in (self.writing, self.reading):
            index.refresh()
            found = ranked(index, QUERY)
            assert found.keys() == wanted.keys()
            assert all(abs(found[row] - score) < 1e-5 for row, score in wanted.items())

    @invariant()
    def a_fresh_index_has_nothing_to_complain_of_but_files(self) -> None:
        index = make_index(self.other, "course")
        assert [line for line in index.check() if "the index file" not in line] == []

    def teardown(self) -> None:
        self.store.database.close()
        self.other.database.close()
        self.folder.cleanup()


class TestIndexLives(IndexMachine.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=6, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
class TestManyIndexLives(IndexMachine.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))


def test_what_is_mapped_and_what_is_newer_are_ranked_together(store: Store) -> None:
    index = make_index(store)
    assert index.mapped == 0 and index.pending() == 50 and len(index.scores(QUERY)[0]) == 0, "nothing is read before it is asked for"
    index.refresh()
    assert len(index.scores(QUERY)[0]) == 50
    index.snapshot()
    assert index.mapped == 50 and index.pending() == 0
    put(store, range(50, 60))
    assert index.pending() == 10
    index.refresh()
    assert index.mapped == 50 and ranked(index, QUERY).keys() == set(range(1, 61))


def test_a_reader_whose_delta_has_grown_large_takes_the_newer_file(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Index, "SMALLEST_DELTA", 16)
    writer, reader = make_index(store), make_index(open_store(tmp_path, readonly=True))
    reader.refresh()
    assert reader.mapped == 0
    writer.snapshot()
    reader.refresh()
    assert reader.mapped == 50
    put(store, range(50, 55))
    reader.refresh()
    writer.snapshot()
    reader.refresh()
    assert reader.mapped == 50, "a small delta is no reason to map anew"
    assert ranked(reader, QUERY).keys() == ranked(writer, QUERY).keys() == set(range(1, 56))


@given(st.integers(0, 10**7))
def test_a_delta_stays_small_beside_what_is_mapped(mapped: int) -> None:
    class Sized(Index):
        mapped = 0

        def __init__(self) -> None:
            pass

    index = Sized()
    index.mapped = mapped  # type: ignore[misc]
    assert 1024 <= index.delta_limit() <= 16_384 and index.delta_limit() <= max(1024, mapped // 16)


def test_an_index_of_nothing_has_no_file(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, [])
    index = make_index(store)
    assert index.snapshot() and list(tmp_path.glob("task-*")) == []
    index.refresh()
    assert len(index.scores(QUERY)[0]) == 0 and search(store, index, QUERY, 3, vector_index.Filters()) == []
    store.database.close()


def test_a_bank_without_an_encoder_has_no_index(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    indexes = Indexes(store, readonly=False, exact_limit=10)
    assert indexes.all() == [] and indexes.fresh("task") is None
    indexes.snapshot(0)
    indexes.rebuild()
    put(store, range(3))
    assert [index.kind for index in indexes.all()] == list(KINDS), "and has one as soon as something is there"
    store.database.close()


def test_check_names_rows_that_differ_and_rows_that_lack(store: Store) -> None:
    index = make_index(store)
    index.snapshot()
    with store.database.transaction():
        stored = store.database.rows("SELECT data FROM vector WHERE kind = 'task' AND row = 8")[0][0]
        store.database.execute("UPDATE vector SET data = ? WHERE kind = 'task' AND row = 7", (stored,))
    assert [line for line in index.check() if "differ in row 7:" in line] == list(index.check())
    with store.database.transaction():
        store.delete([trajectory(19).id])
    assert len(list(index.check())) == 1, "what another process forgot a moment ago is no fault"
    index._matrix = index._matrix.at(np.array([row for row in range(1, 51) if row != 30]))
    assert {line.split(":")[0] for line in index.check()} == {
        "the index of kind task and the database differ in row 7",
        "the index of kind task lacks row 30",
    }


def test_a_seal_that_counts_wrong_is_not_believed(store: Store, tmp_path: Path) -> None:
    """The count is what the file is cut by: a wrong one would pair vectors with the rows of others."""
    make_index(store).snapshot()
    (sidecar,) = tmp_path.glob("task-*.json")
    seal = msgspec.json.decode(sidecar.read_bytes(), type=Seal)
    for count in (49, 51, 0, 10):
        sidecar.write_bytes(msgspec.json.encode(msgspec.structs.replace(seal, count=count)))
        index = make_index(store)
        assert index.mapped == 0 and len(index.problems) == 1
        index.refresh()
        assert ranked(index, QUERY).keys() == set(range(1, 51))


def test_a_reader_never_writes(store: Store, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    indexes = Indexes(open_store(tmp_path, readonly=True), readonly=True, exact_limit=10)
    assert indexes.fresh("task") and indexes.fresh("course")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_writer_renews_what_is_damaged_as_soon_as_it_looks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Bank.open(tmp_path / "bank", WORDS) as bank:
        bank.add(trajectories(300))
    (path,) = bank.path.glob("task-*.vectors")
    path.write_bytes(b"rubbish")
    with Bank.open(bank.path, WORDS) as again:
        again.search("task", QUERY)
        assert "bytes instead of" in caplog.text and not path.exists() and again.stats().indexed == {"task": 300, "course": 300}


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=30), st.integers(1, 40))
def test_the_best_are_never_cut_within_a_tie(scores: list[float], width: int) -> None:
    array = np.array(scores)
    chosen = set(_best(array, width).tolist())
    assert len(chosen) >= min(width, len(scores))
    outside = [score for index, score in enumerate(scores) if index not in chosen]
    assert all(score < min(array[list(chosen)]) for score in outside)


def test_every_search_asks_the_store_as_little_as_will_do(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best-ranked rows suffice where nothing is filtered; only a filter that lets few through has to ask for all."""
    asked: list[int] = []
    plain = Store.among
    monkeypatch.setattr(Store, "among", lambda self, rows, filters: (asked.append(len(rows)), plain(self, rows, filters))[1])
    monkeypatch.setattr(vector_index, "_FIRST", 3)
    monkeypatch.setattr(vector_index, "_SECOND", 10)
    index = make_index(store)
    index.refresh()
    assert len(search(store, index, QUERY, 2, vector_index.Filters())) == 2
    assert len(asked) == 1 and asked[0] < 50
    last = min(ranked(index, QUERY).items(), key=lambda pair: pair[1])[0]
    identity = store.id_of_row(last)
    assert identity
    asked.clear()
    assert [hit.id for hit in search(store, index, QUERY, 2, vector_index.Filters(ids=(identity,)))] == [identity]
    assert len(asked) == 3
