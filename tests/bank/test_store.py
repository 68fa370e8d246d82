"""The tables of a bank against plain Python: filters, transactions, reading while others write, and the log."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from bank_samples import WordEncoder, trajectories, trajectory
from hypothesis import given, settings
from hypothesis import strategies as st

from edgexp.bank.episode_log import count_episodes, read_episode, recent_episodes, write_episode
from edgexp.bank.records import KINDS, Entry, Episode, Filters, Recall, Scored
from edgexp.bank.schema import connect
from edgexp.bank.store import (
    EncoderRow,
    Store,
    pack,
    unpack,
)
from edgexp.bank.upkeep import vectors_of
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Trajectory

WORDS = WordEncoder(dimensions=8)
SPLITS = ("train", "dev")
SOURCES = ("expert", "agent", "import")


def varied(number: int) -> Trajectory:
    """Trajectory `number`, of one of two environments and splits and three sources; seven tasks."""
    made = trajectory(number, ("household", "lab")[number % 2], source=SOURCES[number % 3], task=f"task {number % 7}")  # type: ignore[arg-type]
    return msgspec.structs.replace(made, task=msgspec.structs.replace(made.task, split=SPLITS[number % 5 == 0]))


def fill(store: Store, given: list[Trajectory], quarantined: tuple[int, ...] = ()) -> EncoderRow:
    """Put trajectories into a store; those at some positions in quarantine."""
    with store.database.transaction():
        encoder = store.know_encoder("e", "words", 8)
        store.use_encoder(encoder)
        for number, (t, vectors) in enumerate(zip(given, vectors_of(WORDS, given), strict=True)):
            store.insert(t, t.id, "quarantined" if number in quarantined else "accepted", encoder.code, vectors)
    return encoder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    database = connect(tmp_path / "bank.sqlite3", readonly=False, create=True, wait=5)
    yield Store(database)
    database.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, dict[str, Entry]]]:
    """A store of 80 varied trajectories, and its entries by id."""
    database = connect(tmp_path_factory.mktemp("store") / "bank.sqlite3", readonly=False, create=True, wait=5)
    store = Store(database)
    fill(store, [varied(number) for number in range(80)], quarantined=tuple(range(3, 80, 9)))
    yield store, {entry.id: entry for entry in store.entries(Filters(), None, -1)}
    database.close()


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "environment": st.sampled_from(["household", "lab", "nowhere", ""]),
        "success": st.booleans(),
        "source": st.sampled_from(SOURCES),
        "split": st.sampled_from(SPLITS),
        "task_type": st.sampled_from(["place", "heat", "cool"]),
        "group": st.sampled_from(["easy", "hard"]),
        "exclude_task_ids": st.lists(st.sampled_from([f"task {n}" for n in range(9)]), max_size=5).map(tuple),
        "ids": st.lists(st.integers(0, 99).map(lambda number: varied(number).id), max_size=40).map(tuple),
    },
).map(lambda chosen: Filters(**chosen))
STATUSES = st.sampled_from([None, "accepted", "quarantined"])


def passes(entry: Entry, filters: Filters, status: str | None) -> bool:
    """Whether an entry passes, said as plainly as can be."""
    asked = {name: getattr(filters, name) for name in ("environment", "success", "source", "split", "task_type", "group")}
    return (
        status in (None, entry.status)
        and all(value is None or getattr(entry, name) == value for name, value in asked.items())
        and entry.task_id not in filters.exclude_task_ids
        and (filters.ids is None or entry.id in filters.ids)
    )


@given(FILTERS, STATUSES)
def test_every_reading_passes_what_plain_python_passes(filled: tuple[Store, dict[str, Entry]], filters: Filters, status: Any) -> None:
    store, entries = filled
    wanted = [identity for identity, entry in entries.items() if passes(entry, filters, status)]  # newest first
    assert [entry.id for entry in store.entries(filters, status, -1)] == wanted
    assert [entry.id for entry in store.entries(filters, status, 3)] == wanted[:3]
    assert [entry.id for entry in store.entries(filters, status, -1, newest=False)] == wanted[::-1]
    assert [identity for _, identity, _ in store.each(filters, status)] == wanted[::-1]
    assert store.count(filters, status) == len(wanted)


@given(FILTERS, st.lists(st.integers(1, 90), max_size=30, unique=True))
def test_rows_for_a_search_are_accepted_and_pass(filled: tuple[Store, dict[str, Entry]], filters: Filters, asked: list[int]) -> None:
    store, entries = filled
    accepted = {identity for identity, entry in entries.items() if passes(entry, filters, "accepted")}
    found = store.among(np.array(asked, np.int64), filters)
    assert set(found) <= set(asked) and found == {row: store.id_of_row(row) for row in asked if store.id_of_row(row) in accepted}
    assert {store.id_of_row(row) for row in store.candidates(filters).tolist()} == accepted


def test_a_word_in_a_filter_is_a_word_and_never_sql(filled: tuple[Store, dict[str, Entry]]) -> None:
    store, _ = filled
    for word in ("' OR 1 --", "%", "house%", '"', "lab\0"):
        assert store.count(Filters(environment=word)) == 0 and store.find(word) == []
        assert store.count(Filters(exclude_task_ids=(word,))) == 80


@given(st.integers(0, 79), st.integers(0, 25))
def test_ids_are_found_by_any_beginning(filled: tuple[Store, dict[str, Entry]], number: int, length: int) -> None:
    store, entries = filled
    prefix = varied(number).id[:length]
    assert store.find(prefix) == sorted(identity for identity in entries if identity.startswith(prefix))[:20]


def test_counts_by_a_column_are_most_first(filled: tuple[Store, dict[str, Entry]]) -> None:
    store, entries = filled
    for column in ("environment", "source", "split"):
        counts = store.by(column)
        assert list(counts.values()) == sorted(counts.values(), reverse=True) and sum(counts.values()) == len(entries)
        assert all(sum(getattr(entry, column) == value for entry in entries.values()) == count for value, count in counts.items())


def test_vectors_come_whole_and_ascending_in_parts_of_any_size(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    given = trajectories(50)
    encoder = fill(store, given)
    for many in (1, 7, 50, 1024):
        monkeypatch.setattr("edgexp.bank.store._READ_MANY", many)
        for kind in KINDS:
            parts = list(store.vectors(encoder, kind))
            rows = np.concatenate([rows for rows, _ in parts])
            assert rows.tolist() == list(range(1, 51)) and max(len(rows) for rows, _ in parts) == min(many, 50)
            data = b"".join(vectors.astype("<f2").tobytes() for _, vectors in parts)
            assert data == b"".join(vectors[kind] for vectors in vectors_of(WORDS, given))
        assert [t.id for _, _, t in store.each(Filters(), None)] == [t.id for t in given]
    assert store.count_vectors(encoder, "task", 20) == 30 and sum(len(rows) for rows, _ in store.vectors(encoder, "task", 20)) == 30


def test_reading_one_by_one_takes_in_what_is_written_meanwhile(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever walks through a bank may write to it: no read stays open, and no trajectory comes twice."""
    monkeypatch.setattr("edgexp.bank.store._READ_MANY", 4)
    given = trajectories(20)
    fill(store, given[:10])
    seen = []
    for _, identity, _ in store.each(Filters(), "accepted"):
        if len(seen) == 2:
            fill(store, given[10:])
            with store.database.transaction():
                store.delete([given[9].id])
        seen.append(identity)
    assert seen == [t.id for t in given if t is not given[9]]


def test_deleting_takes_the_body_and_every_vector(store: Store) -> None:
    given = trajectories(30)
    encoder = fill(store, given)
    with store.database.transaction():
        assert store.delete([t.id for t in given[::2]] + ["t-nobody"]) == 15
    assert store.strays() == 0 and store.without_vectors(encoder) == []
    assert store.database.rows("SELECT count(*) FROM body") == [(15,)]
    assert [store.count_vectors(encoder, kind) for kind in KINDS] == [15, 15]
    fill(store, given[:1])
    assert store.id_of_row(1) is None and store.id_of_row(31) == given[0].id, "a row number is never given out again"


def test_what_breaks_off_inside_a_transaction_leaves_nothing(store: Store) -> None:
    given = trajectories(6)
    fill(store, given[:3])
    before = store.database.rows("SELECT * FROM trajectory"), store.fingerprint()
    for error in (KeyboardInterrupt, EdgexpError, ValueError):
        with pytest.raises(error), store.database.transaction():
            for t, vectors in zip(given[3:], vectors_of(WORDS, given[3:]), strict=True):
                store.insert(t, t.id, "accepted", 1, vectors)
            store.delete([given[0].id])
            raise error
        assert (store.database.rows("SELECT * FROM trajectory"), store.fingerprint()) == before
    with pytest.raises(EdgexpError, match="UNIQUE"), store.database.transaction():
        store.insert(given[4], given[4].id, "accepted", 1, {})
        store.insert(given[0], given[0].id, "accepted", 1, {})
    assert (store.database.rows("SELECT * FROM trajectory"), store.fingerprint()) == before


def test_another_connection_sees_nothing_before_the_end_and_everything_after(store: Store) -> None:
    given = trajectories(8)
    fill(store, given[:4])
    other = Store(connect(store.database.path, readonly=True, create=False, wait=5))
    with store.database.transaction():
        for t, vectors in zip(given[4:], vectors_of(WORDS, given[4:]), strict=True):
            store.insert(t, t.id, "accepted", 1, vectors)
            assert other.count(Filters()) == 4 and store.count(Filters()) == 5 + given[4:].index(t)
    assert other.count(Filters()) == 8
    with other.database.snapshot():
        assert other.count(Filters()) == 8
        with store.database.transaction():
            store.delete([given[0].id])
        assert other.count(Filters()) == 8 and store.count(Filters()) == 7, "inside a snapshot the bank stands still"
        assert other.get([given[0].id]) == [given[0]]
    assert other.count(Filters()) == 7
    other.database.close()


@settings(max_examples=15)
@given(st.permutations(range(12)))
def test_the_fingerprint_does_not_know_in_which_order_things_came(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    def fingerprint(numbers: list[int]) -> str:
        database = connect(tmp_path_factory.mktemp("bank") / "bank.sqlite3", readonly=False, create=True, wait=5)
        store = Store(database)
        database.execute("PRAGMA synchronous = OFF")
        fill(store, [trajectory(number) for number in numbers], quarantined=(numbers.index(3),))
        made = store.fingerprint()
        database.close()
        return made

    assert fingerprint(order) == fingerprint(list(range(12)))


def test_using_another_encoder_drops_the_vectors_of_all_others(store: Store) -> None:
    fill(store, trajectories(5))
    with store.database.transaction():
        new = store.know_encoder("other", "other words", 8)
        assert store.encoder() != new, "knowing one is not using it"
        assert len(store.without_vectors(new)) == 5
        store.set_vectors(1, new.code, vectors_of(WORDS, trajectories(1))[0])
    assert store.without_vectors(new) == [2, 3, 4, 5]
    with store.database.transaction():
        store.use_encoder(new)
    assert store.encoder() == new and store.database.rows("SELECT count(*) FROM vector") == [(2,)]
    assert store.know_encoder("other", "called otherwise", 8) == msgspec.structs.replace(new, name="called otherwise")


@pytest.mark.parametrize("harm", [b"", b"\0" * 15, b"\0" * 17, "text"])
def test_a_vector_of_a_wrong_length_is_never_handed_out(store: Store, harm: bytes | str) -> None:
    encoder = fill(store, trajectories(3))
    with store.database.transaction():
        store.database.execute("UPDATE vector SET data = ? WHERE row = 2 AND kind = 'task'", (harm,))
    (rows, vectors), = store.vectors(encoder, "task")
    assert rows.tolist() == [1, 3] and vectors.shape == (2, encoder.dimensions), "the others are"
    assert [len(rows) for rows, _ in store.vectors(encoder, "course")] == [3]
    assert dict(store.raw_vectors(encoder, "task"))[2] == harm


@pytest.mark.parametrize("column, value", [("source", "nobody"), ("status", "'lost'"), ("success", 2), ("steps", "many")])
def test_an_impossible_entry_is_set_aside(store: Store, column: str, value: object) -> None:
    fill(store, trajectories(2))
    store.database.execute("PRAGMA ignore_check_constraints = ON")
    store.database.execute(f"UPDATE trajectory SET {column} = ? WHERE row = 1", (value,))
    assert [entry.id for entry in store.entries(Filters(), None, -1)] == [trajectories(2)[1].id]
    assert list(store.aside) == [1] and "is impossible" in store.aside[1] and "\n" not in store.aside[1]


def test_a_body_is_packed_and_its_damage_names_the_trajectory() -> None:
    given = trajectory(5)
    packed = pack(given)
    assert unpack(packed, given.id) == given and len(packed) < 0.7 * len(msgspec.json.encode(given))
    for place in range(len(packed)):
        harmed = packed[:place] + bytes([packed[place] ^ 255]) + packed[place + 1 :]
        with pytest.raises(EdgexpError, match=f"{given.id} is damaged.*bank forget {given.id}"):
            unpack(harmed, given.id)


def test_trajectories_come_in_the_order_asked_for_and_what_is_missing_is_named(store: Store) -> None:
    given = trajectories(9)
    fill(store, given)
    asked = [given[n] for n in (7, 2, 2, 5)]
    assert store.get([t.id for t in asked]) == asked and store.get([]) == []
    with pytest.raises(UsageError, match="holds no trajectory t-nobody"):
        store.get([given[1].id, "t-nobody", "t-no-one"])
    assert [t.id for _, t in store.by_row([3, 99, 1])] == [given[0].id, given[2].id]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCORES = st.floats(0, 1)
HITS = st.lists(st.builds(Scored, TEXT, SCORES, TEXT, st.integers(0, 9999)), max_size=4).map(tuple)
RECALLS = st.lists(
    st.builds(Recall, st.integers(0, 99), TEXT, SCORES, HITS),
    max_size=5,
    unique_by=lambda recall: recall.step,
).map(lambda recalls: tuple(sorted(recalls, key=lambda recall: recall.step)))
EPISODES = st.builds(Episode, TEXT, TEXT, TEXT, TEXT, st.booleans(), SCORES, TEXT, TEXT, RECALLS)


@settings(max_examples=25)
@given(st.lists(EPISODES, max_size=5))
def test_the_log_gives_back_what_was_written(tmp_path_factory: pytest.TempPathFactory, episodes: list[Episode]) -> None:
    """Any texts, any number of recalls, hits in their order."""
    database = connect(tmp_path_factory.mktemp("bank") / "bank.sqlite3", readonly=False, create=True, wait=5)
    database.execute("PRAGMA synchronous = OFF")
    ids = [write_episode(database, episode) for episode in episodes]
    assert len(set(ids)) == count_episodes(database) == len(episodes)
    for identity, episode in zip(ids, episodes, strict=True):
        assert read_episode(database, identity) == msgspec.structs.replace(episode, id=identity)
    assert [episode.id for episode in recent_episodes(database, 3)] == ids[::-1][:3]
    database.close()


def test_an_episode_that_cannot_be_logged_leaves_nothing_of_itself(store: Store) -> None:
    twice = (Recall(1, "a", 0.1, (Scored("t1", 0.5),)), Recall(1, "b", 0.1, ()))
    with pytest.raises(EdgexpError, match="UNIQUE"):
        write_episode(store.database, Episode("r", "e", "t", "t", True, 1.0, "m", "now", twice))
    for table in ("episode", "recall", "recalled"):
        assert store.database.rows(f"SELECT count(*) FROM {table}") == [(0,)]
