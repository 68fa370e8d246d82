"""Vectors for what a bank holds, and finding whatever is no longer what was put in."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bank_samples import WordEncoder, trajectories, trajectory
from hypothesis import given, settings
from hypothesis import strategies as st

from edgexp.bank import Bank, upkeep
from edgexp.bank.bank import FILE
from edgexp.bank.records import KINDS, VERSION, Kind, history_text, key_text, split_key, task_text
from edgexp.bank.store import pack
from edgexp.bank.upkeep import UNIT_TOLERANCE, identity, is_unit, key_vectors, vectors_of
from edgexp.errors import EdgexpError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(st.lists(TEXT, max_size=6), st.sampled_from(KINDS))
def test_keys_are_unit_vectors_whatever_the_texts(texts: list[str], kind: Kind) -> None:
    vectors = key_vectors(WordEncoder(), kind, texts)
    assert vectors.shape == (len(texts), 32) and vectors.dtype == np.float32 and is_unit(vectors).all()
    for text, vector in zip(texts, vectors, strict=True):
        assert np.array_equal(key_vectors(WordEncoder(), kind, [text])[0], vector), "and do not depend on the others"


@given(TEXT, TEXT)
def test_a_task_key_is_two_texts_that_count_the_same(goal: str, observation: str) -> None:
    parts = split_key("task", task_text(goal, observation))
    encoder = WordEncoder()
    total = encoder.encode(parts).astype(np.float64).sum(axis=0)
    np.testing.assert_allclose(key_vectors(encoder, "task", [task_text(goal, observation)])[0], total / np.linalg.norm(total), atol=1e-6)
    assert len(parts) <= 2 and all(part.strip() for part in parts if len(parts) == 2)


@given(TEXT, TEXT)
def test_a_goal_stays_on_the_first_line_and_a_sentence_on_the_second(goal: str, observation: str) -> None:
    lines = task_text(goal, observation).split("\n")
    assert len(lines) == 2 and lines[0] == " ".join(goal.splitlines()) and len(lines[1]) <= 80
    assert " ".join(observation.split()).startswith(lines[1])


@given(st.lists(TEXT, max_size=5), TEXT)
def test_a_history_is_never_split(actions: list[str], goal: str) -> None:
    text = history_text(goal, actions)
    assert split_key("course", text) == [text]


def test_stored_vectors_are_those_of_the_keys() -> None:
    given = trajectories(7)
    for stored, t in zip(vectors_of(WordEncoder(), given), given, strict=True):
        assert stored.keys() == set(KINDS)
        for kind in KINDS:
            vector = np.frombuffer(stored[kind], "<f2")
            np.testing.assert_allclose(vector, key_vectors(WordEncoder(), kind, [key_text(t, kind)])[0], atol=1e-3)
    assert vectors_of(WordEncoder(), []) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_one_vector_that_is_none_stops_a_batch_and_names_the_text(bad: float) -> None:
    class Broken(WordEncoder):
        def encode(self, texts, *, query=False):  # type: ignore[no-untyped-def]
            vectors = super().encode(texts, query=query)
            vectors[["egg" in text for text in texts]] = bad
            return vectors

    given = [msgspec.structs.replace(trajectory(n), goal="cook an egg" if n == 3 else "rest") for n in range(5)]
    given = [msgspec.structs.replace(t, observation="A room.", steps=()) for t in given]
    with np.errstate(invalid="ignore"), pytest.raises(EdgexpError, match="no unit vector for 'cook an egg"):
        vectors_of(Broken(), given)


@given(st.integers(1, 500), st.integers(0, 2**32 - 1), st.floats(0.5, 1.5))
def test_rounding_to_sixteen_bits_leaves_a_unit_vector_one(dimensions: int, seed: int, scale: float) -> None:
    vector = np.random.default_rng(seed).normal(size=(1, dimensions))
    vector = (vector / np.linalg.norm(vector)).astype(np.float16)
    assert is_unit(vector).all()
    stretched = vector.astype(np.float32) * scale
    assert is_unit(stretched)[0] == (abs(np.linalg.norm(stretched) - 1) <= UNIT_TOLERANCE)


def test_an_encoder_is_known_by_its_files_and_by_how_keys_are_made() -> None:
    assert identity(WordEncoder("a")) == f"e-a.{VERSION}" != identity(WordEncoder("b"))


def harm(path: Path, sql: str, *arguments: object) -> None:
    """Change a bank behind its back."""
    connection = sqlite3.connect(path / FILE)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute(sql, arguments)
    connection.commit()
    connection.close()


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """The folder of a bank of ten trajectories, in rows 1 to 10."""
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank:
        bank.add(trajectories(10))
    return tmp_path / "bank"


FORGED = pack(msgspec.structs.replace(trajectory(3), goal="another goal"))
SOUND = trajectory(3).id


@pytest.mark.parametrize(
    ("sql", "arguments", "said"),
    [
        ("UPDATE body SET data = ? WHERE row = 4", [FORGED], "was changed: its content has the id"),
        ("UPDATE body SET data = x'78' WHERE row = 4", [], "is damaged"),
        ("DELETE FROM body WHERE row = 4", [], "is damaged"),
        ("UPDATE trajectory SET environment = 'lab' WHERE row = 4", [], "the columns it is filtered by differ"),
        ("UPDATE trajectory SET task_id = 'x' WHERE row = 4", [], "the columns it is filtered by differ"),
        ("UPDATE trajectory SET task_type = 'x' WHERE row = 4", [], "the columns it is filtered by differ"),
        ("UPDATE trajectory SET task_group = 'x' WHERE row = 4", [], "the columns it is filtered by differ"),
        ("UPDATE trajectory SET split = 'dev' WHERE row = 4", [], "the columns it is filtered by differ"),
        ("UPDATE trajectory SET success = 1 - success WHERE row = 4", [], "the columns it is filtered by differ"),
        ("UPDATE trajectory SET score = 0.123 WHERE row = 4", [], "the columns it is filtered by differ"),
        ("UPDATE trajectory SET source = 'person' WHERE row = 4", [], "the columns it is filtered by differ"),
        ("UPDATE trajectory SET steps = steps + 1 WHERE row = 4", [], "the columns it is filtered by differ"),
        ("DELETE FROM vector WHERE row = 4 AND kind = 'task'", [], "lacks a vector"),
        ("UPDATE vector SET data = zeroblob(64) WHERE row = 4 AND kind = 'course'", [], "not a unit vector"),
        ("UPDATE vector SET data = x'0000' WHERE row = 4 AND kind = 'course'", [], "not a unit vector"),
        ("UPDATE vector SET data = ? WHERE row = 4 AND kind = 'task'", [np.full(32, np.nan, "<f2").tobytes()], "not a unit vector"),
    ],
)
def test_every_way_to_be_wrong_is_found_and_nothing_else(closed: Path, sql: str, arguments: list[object], said: str) -> None:
    harm(closed, sql, *arguments)
    with Bank.open(closed, WordEncoder()) as bank:
        problems = list(upkeep.find_problems(bank._store))
        assert len(problems) == 1 and said in problems[0] and SOUND in problems[0]
        if "vector" in said:
            assert bank.rebuild() == 1 and bank.verify() == []
        else:
            bank.forget([SOUND])
            assert bank.verify() == [] and bank.count() == 9


def test_vectors_of_nobody_are_found(closed: Path) -> None:
    harm(closed, "INSERT INTO vector SELECT encoder, kind, 99, data FROM vector WHERE row = 4")
    with Bank.open(closed, readonly=True) as bank:
        assert [line for line in upkeep.find_problems(bank._store) if "2 vectors belong to no trajectory" in line]


def test_checking_tells_how_far_it_is(closed: Path) -> None:
    told: list[tuple[int, int]] = []
    with Bank.open(closed, readonly=True) as bank:
        assert list(upkeep.find_problems(bank._store, lambda done, total: told.append((done, total)))) == []
    assert told == [(n, 10) for n in range(1, 11)]


@settings(max_examples=15)
@given(st.sampled_from(range(10)), TEXT)
def test_an_id_is_re_derived_from_what_is_stored(tmp_path_factory: pytest.TempPathFactory, number: int, goal: str) -> None:
    """A content of another id under an id is found, whatever it is."""
    path = tmp_path_factory.mktemp("bank")
    given = trajectory(number)
    other = msgspec.structs.replace(given, goal=goal)
    with Bank.open(path, WordEncoder()) as bank:
        bank.add([given])
        assert bank.get(given.id).id == given.id
        with bank._store.database.transaction():
            bank._store.database.execute("UPDATE body SET data = ?", (pack(other),))
        assert len(list(upkeep.find_problems(bank._store))) == (other.id != given.id)


@pytest.mark.parametrize("after", [0, 70, 130])
def test_what_is_added_and_forgotten_during_a_rebuild_is_not_lost(tmp_path: Path, after: int) -> None:
    """Another process adds and forgets while this one embeds: in the end everything has a vector of the new encoder."""
    path = tmp_path / "bank"
    with Bank.open(path, WordEncoder()) as bank:
        bank.add(trajectories(200))

    class Meddled(WordEncoder):
        meddle: Callable[[], None] | None = None

        def encode(self, texts, *, query=False):  # type: ignore[no-untyped-def]
            if self.meddle and self.encoded >= after:
                meddle, self.meddle = self.meddle, None
                meddle()
            return super().encode(texts, query=query)

    def meddle() -> None:
        with Bank.open(path, WordEncoder()) as other:
            other.add(trajectories(5, 500))
            other.forget([trajectory(3).id, trajectory(199).id])

    new = Meddled("new")
    new.meddle = meddle
    with Bank.open(path) as bank:
        bank.rebuild(new)
        assert new.meddle is None and bank.count() == 203 and bank.verify() == [] and bank.encoder_name == "new"
        wanted = trajectory(502)
        assert bank.search("task", task_text(wanted.goal, wanted.observation), 1)[0].id == wanted.id
