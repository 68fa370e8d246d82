"""Nothing is stored that could not be read back, and what is there and cannot be read is set aside: everything else works on."""

import base64
import math
import shutil
import zlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from bank_samples import WordEncoder, trajectories, trajectory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgexp.bank import Bank, Episode, Filters, upkeep
from edgexp.bank.soundness import LONGEST_TEXT, MOST_BYTES, check_sound, pack, unpack
from edgexp.errors import EdgexpError
from edgexp.trajectory import Step, Trajectory, encode

change = msgspec.structs.replace
GOOD = trajectory(1)
WRONG: list[tuple[str, object]] = [
    ("success", 1), ("success", 0), ("success", None), ("success", "yes"), ("success", np.True_), ("success", 1.0),
    ("score", True), ("score", None), ("score", math.inf), ("score", -math.inf), ("score", math.nan), ("score", "x"), ("score", 10**400),
    ("goal", None), ("goal", 5), ("goal", b"bytes"), ("goal", "half a pair \ud800"), ("goal", "x" * (LONGEST_TEXT + 1)),
    ("observation", None), ("observation", 5), ("observation", b"bytes"), ("observation", ["a"]), ("end", None), ("end", b"done"),
    ("task", None), ("task", "household/1"), ("provenance", None), ("steps", None), ("steps", 5), ("steps", "go"), ("steps", ("go",)),
]  # fmt: skip
WRONG_STEPS: list[tuple[str, object]] = [
    ("reward", True), ("reward", None), ("reward", math.nan), ("reward", math.inf), ("reward", "x"), ("action", None), ("action", b"go"),
    ("action", "\udfff"), ("observation", None), ("observation", 5), ("observation", b"seen"), ("mistake", 1), ("mistake", "no"),
]  # fmt: skip


def with_step(field: str, value: object) -> Trajectory:
    return change(GOOD, steps=(change(GOOD.steps[0], **{field: value}), *GOOD.steps[1:]))


CANNOT = [change(GOOD, **{field: value}) for field, value in WRONG] + [with_step(field, value) for field, value in WRONG_STEPS]


@pytest.mark.parametrize("number", range(len(CANNOT)))
def test_what_would_not_be_read_back_as_the_same_is_refused_in_one_line(bank: Bank, number: int) -> None:
    with pytest.raises(EdgexpError, match="cannot be stored") as caught:
        bank.add([CANNOT[number]])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    str(caught.value).encode()
    assert bank.count(status=None) == 0 and bank.verify() == []


def test_equal_numbers_of_another_type_are_stored_as_what_is_read_back(bank: Bank) -> None:
    meant = change(GOOD, success=True, score=1.0)
    (identity,) = bank.add([change(meant, score=1, steps=list(meant.steps))]).added
    assert identity == meant.id and bank.get(identity) == meant and bank.verify() == []


def test_the_limits_are_on_the_spot(bank: Bank) -> None:
    assert check_sound(change(GOOD, goal="x" * LONGEST_TEXT))
    most = MOST_BYTES // LONGEST_TEXT
    with pytest.raises(EdgexpError, match="bytes, more than"):
        check_sound(change(GOOD, steps=(Step("go", "x" * LONGEST_TEXT),) * most))


ANY = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(), max_size=9), st.binary(max_size=9),
                st.lists(st.text(max_size=3), max_size=2), st.just(GOOD.task), st.just(GOOD.steps))


@given(st.sampled_from(GOOD.__struct_fields__), ANY)
def test_whatever_stands_in_a_field_is_read_back_or_refused(field: str, value: Any) -> None:
    try:
        sound = check_sound(change(GOOD, **{field: value}))
    except EdgexpError as error:
        assert "\n" not in str(error)
    else:
        meant = tuple(value) if field == "steps" else value  # steps in a list mean the same
        assert unpack(pack(sound), sound.id) == sound == change(GOOD, **{field: meant}) and sound.id == unpack(pack(sound), "").id


# What a bank already holds


def raw(**fields: object) -> bytes:
    """A body whose JSON says something else in some fields."""
    return zlib.compress(msgspec.json.encode({**msgspec.json.decode(encode(GOOD)), **fields}))


BODIES = {
    "success as int": raw(success=1),
    "reward null": raw(steps=[{"action": "a", "observation": "b", "reward": None}]),
    "score NaN": zlib.compress(encode(GOOD).replace(b'"score":', b'"score":NaN,"x":')),
    "score 1e999": zlib.compress(encode(GOOD).replace(b'"score":', b'"score":1e999,"x":')),
    "observation null": raw(observation=None),
    "no fields": raw(goal={}),
    "lone surrogate": zlib.compress(encode(GOOD).replace(b'"goal":"', b'"goal":"\\ud800')),
    "not UTF-8": zlib.compress(encode(GOOD).replace(b'"goal":"', b'"goal":"\xff')),
    "20 MB of goal": raw(goal="x" * 20_000_000),
    "2 MB of goal": raw(goal="x" * 2_000_000),
    "deep": zlib.compress(b"[" * 100_000),
    "cut": pack(GOOD)[:-9],
    "empty": b"",
    "rubbish": base64.b64encode(b"rubbish"),
    "a text": "text",
    "a number": 5,
}
COLUMNS = {
    "success": [2, "yes", b"\0"], "score": ["x", math.inf, -math.inf, b"1"], "source": ["nobody", b"expert", 7], "steps": ["many", b"1"],
    "created": [b"\xff"], "split": [b"dev"], "task_id": [b"\xff\xfe", "x" * 2_000_000], "environment": [b"\x00"],
}  # fmt: skip
TEXTS = ["environment", "task_id", "task_type", "task_group", "split", "source", "created"]


def harm(path: Path, sql: str, *arguments: object) -> None:
    with Bank.open(path) as bank:
        bank._store.database.execute("PRAGMA ignore_check_constraints = ON")
        bank._store.database.execute(sql, arguments)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("banks") / "bank"
    with Bank.open(path, WordEncoder()) as bank:
        bank.add(trajectories(300))
    return path


HARMS = [
    *[("UPDATE body SET data = ? WHERE row = 2", value, name) for name, value in BODIES.items()],
    *[(f"UPDATE trajectory SET {column} = ? WHERE row = 2", value, f"{column} {str(value)[:9]!r}")
      for column, values in COLUMNS.items() for value in values],
    *[(f"UPDATE trajectory SET {column} = CAST(? AS TEXT) WHERE row = 2", b"no \xff utf-8", f"{column} not UTF-8") for column in TEXTS],
    ("DELETE FROM body WHERE row = 2 AND ? IS NULL", None, "no body"),
]  # fmt: skip


@pytest.mark.parametrize("sql, value", [one[:2] for one in HARMS], ids=[one[2] for one in HARMS])
def test_one_that_cannot_be_read_is_set_aside_and_all_else_goes_on(
    tmp_path: Path, filled: Path, caplog: pytest.LogCaptureFixture, sql: str, value: object
) -> None:
    path, bad = tmp_path / "bank", trajectory(1).id
    shutil.copytree(filled, path)
    harm(path, sql, value)
    caplog.clear()
    with Bank.open(path, WordEncoder(), readonly=True) as bank:
        assert len(bank.search("course", "put a mug on the bed.", 400)) == 299
        assert len(bank.entries()) == 299 and len(bank.read([entry.id for entry in bank.entries()])) == 299
        assert len(list(bank.export())) == 299 and len(bank.set_aside) == 1 and "\n" not in bank.set_aside[0]
        assert bank.count() == 299 and bad not in {entry.id for entry in bank.entries(Filters(), "accepted")}
        problems = bank.verify()
        assert len(problems) >= 1 and any(bad in problem for problem in problems)
        bank.stats()
    assert caplog.text.count("1 trajectory in the bank") == 1 and "edgexp bank verify" in caplog.text
    with Bank.open(path, WordEncoder()) as bank:
        assert len(bank.entries()) == 299
        bank.add([trajectory(1000)])
    with Bank.open(path, WordEncoder()) as bank:
        assert bank.ids("quarantined") == [bad], "it is never deleted"
        assert bank.accept(bank.ids("quarantined")) == 0 and bank.count() == 300
        assert bank.rebuild(WordEncoder("other")) == 300
        assert len(bank.search("task", "put a mug on the bed.", 400)) == 300
        assert bank.forget(bank.ids("quarantined")) == 1 and bank.verify() == []


@pytest.mark.parametrize("value", [b"\xff", b"t8d3c", "", 5, "x" * 5_000_000, "\U0001f600"])
def test_an_id_that_is_none_stops_nothing(tmp_path: Path, value: object) -> None:
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank:
        bank.add(trajectories(5))
    harm(tmp_path / "bank", "UPDATE trajectory SET id = ? WHERE row = 2", value)
    for readonly in (True, False):
        with Bank.open(tmp_path / "bank", WordEncoder(), readonly=readonly) as bank:
            assert len(bank.search("task", "a mug", 9)) in (4, 5) and len(bank.entries()) in (4, 5)
            assert len(list(bank.export())) in (4, 5) and bank.fingerprint() and len(bank.verify()) >= 1


def test_one_that_cannot_be_read_and_is_played_again_is_whole_again(tmp_path: Path) -> None:
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank:
        bank.add(trajectories(3))
    harm(tmp_path / "bank", "UPDATE body SET data = x'00' WHERE row = 2")
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank:
        assert len(bank.entries()) == 2
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank:
        bank.add([trajectory(1)])
        assert bank.get(trajectory(1).id) == trajectory(1) and bank.count() == 3 and bank.verify() == []


@pytest.mark.parametrize("data", [b"", b"\0" * 3, b"\xff" * 64, "text", 5, np.full(32, np.inf, "<f2").tobytes()])
def test_a_damaged_vector_costs_its_own_trajectory_only(tmp_path: Path, data: object) -> None:
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank:
        bank.add(trajectories(30))
    harm(tmp_path / "bank", "UPDATE vector SET data = ? WHERE row = 2", data)
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank:
        assert len(bank.search("task", "a mug", 50)) == 29
        assert bank._indexes.all()[0].snapshot()
        assert len(bank.search("task", "a mug", 50)) == 29 and len(bank.entries()) == 30
        assert [problem for problem in bank.verify() if "not a unit vector" in problem]
        assert bank.rebuild(WordEncoder()) == 1 and bank.verify() == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_change_of_a_body_is_whole_or_set_aside(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    body = bytearray(zlib.decompress(pack(GOOD)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path = tmp_path_factory.mktemp("bank")
    with Bank.open(path, WordEncoder()) as bank:
        bank.add(trajectories(3))
        bank._store.database.execute("UPDATE body SET data = ? WHERE row = 2", (zlib.compress(bytes(body)),))
        read = len(bank.entries())
        assert read == len(bank.search("task", "a mug", 9)) == len(list(bank.export())) == 3 - len(bank.set_aside)
        assert (len(list(upkeep.find_problems(bank._store))) > 0) or bytes(body) == zlib.decompress(pack(GOOD)) or read == 3


def test_what_cannot_be_in_the_log_hides_no_other_episode(bank: Bank) -> None:
    played = Episode("run", "household", "household/train/1", trajectory(1).id, True, 1.0, "a model", "2026-11-22T12:00:00+00:00")
    first, second = bank.log_episode(played), bank.log_episode(played)
    bank._store.database.execute("UPDATE episode SET success = 'x' WHERE id = ?", (first,))
    assert [episode.id for episode in bank.episodes()] == [second]
    with pytest.raises(EdgexpError, match="cannot be read"):
        bank.why(first)


@pytest.mark.parametrize("name", ["\udce9", "t\ud800"])
def test_an_id_that_is_not_unicode_is_a_clear_line(bank: Bank, name: str) -> None:
    for ask in (lambda: bank.find(name), lambda: bank.get(name), lambda: bank.why(name), lambda: bank.entries(Filters(split=name)),
                lambda: bank.forget([name])):
        with pytest.raises(EdgexpError, match="not Unicode"):
            ask()


def test_equal_rows_are_counted_once(bank: Bank) -> None:
    result = bank.add([trajectory(1)] * 130 + trajectories(3))
    assert (len(result.added), result.known, result.repeated) == (3, (), 130)
    again = bank.add([trajectory(1)] * 70 + [trajectory(7)] * 70)
    assert (again.added, again.known, again.repeated) == ((trajectory(7).id,), (trajectory(1).id,), 138)
    assert bank.count() == 4
