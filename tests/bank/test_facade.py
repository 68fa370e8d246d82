"""What a bank promises to those who use it."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bank_samples import WordEncoder, trajectories, trajectory

from edgexp.bank import Bank, Episode, Filters, Recall, Scored, task_text
from edgexp.bank.bank import FILE
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Provenance, Trajectory, content_id, read_lines


def test_what_goes_in_comes_out(bank: Bank) -> None:
    given = trajectories(100)
    result = bank.add(given)
    assert result.added == tuple(t.id for t in given) and result.known == ()
    assert [bank.get(t.id) for t in given] == given
    assert list(bank.each()) == given
    assert [entry.id for entry in bank.entries(limit=3)] == [t.id for t in reversed(given[-3:])]
    assert bank.count() == 100 and bank.verify() == []


def test_adding_again_changes_nothing(bank: Bank) -> None:
    bank.add(trajectories(10))
    before = bank.fingerprint()
    again = bank.add(trajectories(12))
    assert len(again.known) == 10 and len(again.added) == 2
    assert bank.add([trajectory(3)] * 5).known == (trajectory(3).id,)
    assert bank.count() == 12 and bank.fingerprint() != before


def test_an_entry_says_what_the_trajectory_says(bank: Bank) -> None:
    t = trajectory(7)
    bank.add([t])
    (entry,) = bank.entries()
    assert (entry.id, entry.status, entry.environment, entry.task_id) == (t.id, "accepted", "household", t.task.id)
    assert (entry.task_type, entry.group, entry.split, entry.source) == (t.task.type, t.task.group, "train", "expert")
    assert (entry.success, entry.score, entry.steps, entry.created) == (t.success, t.score, len(t.steps), t.provenance.created)


def test_the_nearest_are_found_by_text_and_by_vector(bank: Bank) -> None:
    bank.add(trajectories(200))
    wanted = trajectory(42)
    text = task_text(wanted.goal, wanted.observation)
    first, *others = bank.search("task", text, 5)
    assert first.id == wanted.id and first.score == pytest.approx(1, abs=2e-3)
    assert len(others) == 4 and all(first.score >= hit.score for hit in others)
    assert bank.search("task", bank.embed(text, "task"), 5) == [first, *others]
    assert bank.search("course", text, 5) != [first, *others]
    assert len(bank.search("task", text, 500)) == 200


def test_quarantined_is_kept_but_not_found_until_accepted(bank: Bank) -> None:
    bank.add(trajectories(5), status="quarantined")
    wanted = trajectory(2)
    query = task_text(wanted.goal, wanted.observation)
    assert bank.search("task", query) == [] and bank.count() == 0 and bank.count(status="quarantined") == 5
    assert bank.get(wanted.id) == wanted
    assert bank.accept([wanted.id]) == 1 and bank.accept([wanted.id]) == 0
    assert [hit.id for hit in bank.search("task", query)] == [wanted.id]
    with pytest.raises(UsageError, match="tff"):
        bank.accept([trajectory(1).id, "tff"])
    assert bank.count() == 1, "accepting is all or nothing"


def test_playing_what_was_imported_vouches_for_it(bank: Bank) -> None:
    played = trajectory(1)
    imported = msgspec.structs.replace(played, provenance=Provenance("import", created="2020-01-01T00:00:00+00:00"))
    assert imported.id == played.id
    bank.add([imported], status="quarantined")
    assert bank.add([played]).known == (played.id,)
    (entry,) = bank.entries()
    assert entry.status == "accepted" and entry.source == "expert" and bank.get(played.id) == played
    bank.add([imported], status="quarantined")
    assert bank.entries() == [entry], "and an import does not take the word back"
    assert bank.verify() == []


def test_forgotten_is_gone_from_database_index_and_files(tmp_path: Path, words: WordEncoder) -> None:
    with Bank.open(tmp_path / "bank", words) as bank:
        bank.add(trajectories(400))
    with Bank.open(tmp_path / "bank", words) as bank:
        gone = trajectory(11)
        query = task_text(gone.goal, gone.observation)
        vector = bank.vectors("task", [gone.id])[0].astype("<f2").tobytes()
        assert bank.search("task", query)[0].id == gone.id
        assert any(vector in path.read_bytes() for path in bank.path.glob("*.vectors"))
        assert bank.forget([gone.id]) == 1 and bank.forget([gone.id]) == 0
        assert gone.id not in [hit.id for hit in bank.search("task", query, 400)]
        with pytest.raises(UsageError, match=gone.id):
            bank.get(gone.id)
        remains = [path.name for path in bank.path.iterdir() if vector in path.read_bytes()]
        assert remains == [] and list(bank.path.glob("*.vectors")), "and the others still have their files"
        assert bank.verify() == [] and bank.count() == 399
        assert bank.add([gone]).added == (gone.id,), "it may come back"
        assert bank.search("task", query)[0].id == gone.id


def test_forgetting_first_thing_in_a_bank_whose_index_is_damaged(tmp_path: Path, words: WordEncoder) -> None:
    with Bank.open(tmp_path / "bank", words) as bank:
        bank.add(trajectories(400))
    for path in bank.path.glob("*.vectors"):
        path.write_bytes(b"rubbish")
    with Bank.open(tmp_path / "bank", words) as bank:
        assert bank.forget([trajectory(1).id]) == 1
        assert bank.verify() == [] and bank.count() == 399


def test_text_that_is_not_unicode_is_refused(bank: Bank) -> None:
    with pytest.raises(EdgexpError, match="not Unicode"):
        bank.add([msgspec.structs.replace(trajectory(1), goal="half a pair \ud800")])
    bank.add([msgspec.structs.replace(trajectory(1), goal="a whole one \U0001f600, and \0")])
    assert bank.count() == 1 and bank.verify() == []


def test_ids_are_found_by_their_beginning(bank: Bank) -> None:
    bank.add(trajectories(300))
    some = trajectory(5).id
    assert bank.find(some) == some and bank.find(some[:12]) == some
    with pytest.raises(UsageError, match="no trajectory"):
        bank.find("tzz")
    with pytest.raises(UsageError, match="more than one"):
        bank.find("t")
    with pytest.raises(UsageError, match="no trajectory"):
        bank.find("%")


def test_export_and_import_are_each_others_reverse(bank: Bank, tmp_path: Path, words: WordEncoder) -> None:
    bank.add(trajectories(30))
    lines = list(bank.export(Filters(success=True)))
    assert 0 < len(lines) < 30 and all(json.loads(line)["success"] for line in lines)
    with Bank.open(tmp_path / "other", words) as other:
        other.add(read_lines(lines, "a file"), status="quarantined")
        assert list(other.each(status="quarantined")) == list(bank.each(Filters(success=True)))


def test_the_fingerprint_is_of_the_accepted_content_and_the_encoder(tmp_path: Path) -> None:
    def fingerprint(name: str, numbers: list[int], encoder: WordEncoder) -> str:
        with Bank.open(tmp_path / name, encoder) as bank:
            bank.add([trajectory(number) for number in numbers])
            bank.add([trajectory(99)], status="quarantined")
            return bank.fingerprint()

    one = fingerprint("a", [1, 2, 3], WordEncoder())
    assert one == fingerprint("b", [3, 1, 2], WordEncoder()) and one.startswith("b") and len(one) == 25
    assert len({one, fingerprint("c", [1, 2], WordEncoder()), fingerprint("d", [1, 2, 3], WordEncoder("other"))}) == 3


def test_a_bank_has_one_encoder_until_it_is_rebuilt(tmp_path: Path) -> None:
    path, other = tmp_path / "bank", WordEncoder("other", 48)
    with Bank.open(path, WordEncoder()) as bank:
        bank.add(trajectories(150))
    with pytest.raises(EdgexpError, match="edgexp bank rebuild --encoder other"):
        Bank.open(path, other)
    with Bank.open(path) as bank:
        with pytest.raises(EdgexpError, match="without an encoder"):
            bank.search("task", "a mug")
        with pytest.raises(EdgexpError, match="without an encoder"):
            bank.add([trajectory(1)])
        assert bank.rebuild(other) == 150
        assert bank.verify() == [] and bank.stats().encoder == "other" and bank.stats().dimensions == 48
    with Bank.open(path, other) as bank:
        wanted = trajectory(8)
        assert bank.search("task", task_text(wanted.goal, wanted.observation))[0].id == wanted.id


def test_a_bank_in_use_can_be_given_another_encoder(bank: Bank) -> None:
    bank.add(trajectories(300))
    bank.search("task", "a mug")
    other = WordEncoder("other", 48)
    assert bank.rebuild(other) == 300
    wanted = trajectory(8)
    assert bank.search("task", task_text(wanted.goal, wanted.observation))[0].id == wanted.id
    assert bank.stats().dimensions == 48 and bank.verify() == []


def test_an_interrupted_rebuild_goes_on_where_it_was(tmp_path: Path) -> None:
    class Breaks(WordEncoder):
        def encode(self, texts, *, query=False):  # type: ignore[no-untyped-def]
            if self.encoded > 200:
                raise KeyboardInterrupt
            return super().encode(texts, query=query)

    path = tmp_path / "bank"
    with Bank.open(path, WordEncoder()) as bank:
        bank.add(trajectories(300))
        before = bank.search("task", "put a mug on the shelf.", 3)
    with Bank.open(path) as bank, pytest.raises(KeyboardInterrupt):
        bank.rebuild(Breaks("new"))
    with Bank.open(path, WordEncoder()) as bank:
        assert bank.search("task", "put a mug on the shelf.", 3) == before, "the old vectors stay until all new ones are there"
        assert bank.verify() == []
    with Bank.open(path) as bank:
        assert 0 < bank.rebuild(WordEncoder("new")) < 300
        assert bank.verify() == [] and bank.stats().encoder == "new"


def test_an_open_bank_notices_that_another_process_gave_it_another_encoder(tmp_path: Path) -> None:
    path = tmp_path / "bank"
    with Bank.open(path, WordEncoder()) as first:
        first.add(trajectories(20))
        first.search("task", "a mug")
        with Bank.open(path) as second:
            second.rebuild(WordEncoder("new"))
        for use in (lambda: first.search("task", "a mug"), lambda: first.add([trajectory(99)])):
            with pytest.raises(EdgexpError, match="embedded with new"):
                use()


def test_a_bank_whose_keys_were_made_otherwise_must_be_rebuilt(
    tmp_path: Path, words: WordEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgexp.bank import upkeep

    with monkeypatch.context() as before, Bank.open(tmp_path / "bank", words) as bank:
        before.setattr(upkeep, "VERSION", 1)
        bank.add(trajectories(20))
    with pytest.raises(EdgexpError, match="edgexp bank rebuild --encoder words"):
        Bank.open(tmp_path / "bank", words)
    with Bank.open(tmp_path / "bank") as bank:
        assert bank.rebuild(words) == 20
    with Bank.open(tmp_path / "bank", words) as bank:
        assert len(bank.search("task", "a mug", 3)) == 3 and bank.verify() == []


def test_vectors_that_are_none_are_refused(tmp_path: Path) -> None:
    class Broken(WordEncoder):
        def encode(self, texts, *, query=False):  # type: ignore[no-untyped-def]
            vectors = super().encode(texts, query=query)
            vectors[-1:] = np.nan
            return vectors

    with Bank.open(tmp_path / "bank", Broken()) as bank:
        with pytest.raises(EdgexpError, match="no unit vector"):
            bank.add(trajectories(3))
        assert bank.count() == 0
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank:
        bank.add(trajectories(3))
        for bad in (np.full(32, np.nan, np.float32), np.zeros(32, np.float32), np.ones(32, np.float32), np.eye(31, dtype=np.float32)[0]):
            with pytest.raises(UsageError, match="unit vector"):
                bank.search("task", bad)
        with pytest.raises(UsageError, match="one at least"):
            bank.search("task", "a mug", 0)


def test_reading_only(tmp_path: Path, words: WordEncoder) -> None:
    path = tmp_path / "bank"
    with pytest.raises(EdgexpError, match="no bank at"):
        Bank.open(path, readonly=True)
    assert not path.exists()
    with Bank.open(path, words) as bank:
        bank.add(trajectories(10))
    with Bank.open(path, words, readonly=True) as bank:
        assert len(bank.search("task", "a mug", 3)) == 3 and bank.verify() == []
        for write in (
            lambda: bank.add(trajectories(11)),
            lambda: bank.forget([trajectory(1).id]),
            lambda: bank.accept([trajectory(1).id]),
            lambda: bank.rebuild(),
            lambda: bank.log_episode(EPISODE),
        ):
            with pytest.raises(EdgexpError, match="reading only"):
                write()
        assert bank.count() == 10


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind here")
def test_reading_where_nothing_may_be_written(tmp_path: Path, words: WordEncoder) -> None:
    path = tmp_path / "bank"
    with Bank.open(path, words) as bank:
        bank.add(trajectories(10))
    path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with Bank.open(path, words, readonly=True) as bank:
            assert len(bank.search("task", "a mug", 3)) == 3
        with pytest.raises(EdgexpError), Bank.open(path, words) as bank:
            bank.add(trajectories(11))
    finally:
        path.chmod(stat.S_IRWXU)


def test_files_that_are_no_bank_of_ours(tmp_path: Path, words: WordEncoder) -> None:
    def file(name: str, data: bytes = b"") -> Path:
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE).write_bytes(data)
        return tmp_path / name

    for readonly in (False, True):
        with pytest.raises(EdgexpError, match="not a bank"):
            Bank.open(file(f"noise{readonly}", b"not a database at all " * 200), readonly=readonly)
        foreign = file(f"foreign{readonly}")
        connection = sqlite3.connect(foreign / FILE)
        connection.execute("CREATE TABLE recipes (name TEXT)")
        connection.close()
        before = (foreign / FILE).read_bytes()
        with pytest.raises(EdgexpError, match="not an edgexp bank"):
            Bank.open(foreign, readonly=readonly)
        assert (foreign / FILE).read_bytes() == before
    with Bank.open(tmp_path / "newer") as bank:
        pass
    connection = sqlite3.connect(tmp_path / "newer" / FILE)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(EdgexpError, match="newer edgexp"):
        Bank.open(tmp_path / "newer")
    (tmp_path / "a file").write_text("")
    with pytest.raises(EdgexpError, match="a file"):
        Bank.open(tmp_path / "a file")
    with Bank.open(file("empty"), words) as bank:  # what a crash in the very first moment leaves
        assert bank.add([trajectory(1)]).added


def test_an_older_bank_is_brought_up_to_date(tmp_path: Path, words: WordEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgexp.bank import schema

    with Bank.open(tmp_path / "bank", words) as bank:
        bank.add(trajectories(5))
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("ALTER TABLE trajectory ADD COLUMN mood TEXT",)))
    monkeypatch.setattr(schema, "_READABLE", len(schema.MIGRATIONS))
    with pytest.raises(EdgexpError, match="older version"):
        Bank.open(tmp_path / "bank", readonly=True)
    with Bank.open(tmp_path / "bank", words) as bank:
        assert bank._store.database.rows("SELECT count(mood) FROM trajectory") == [(0,)] and bank.count() == 5
    with Bank.open(tmp_path / "bank", readonly=True) as bank:
        assert bank.verify() == []


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, edgexp.bank, edgexp.retrieval, edgexp.embedding\n"
        "print([m for m in ('numpy', 'onnxruntime', 'usearch', 'numkong', 'tokenizers') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_damaged_database_is_a_clear_line_and_never_a_crash(tmp_path: Path, words: WordEncoder) -> None:
    with Bank.open(tmp_path / "bank", words) as bank:
        bank.add(trajectories(300))
    good = (tmp_path / "bank" / FILE).read_bytes()
    noticed = 0
    for page in range(0, len(good) // 4096, 7):
        harmed = bytearray(good)
        harmed[page * 4096 + 5 : page * 4096 + 300] = bytes(295)
        (tmp_path / "bank" / FILE).write_bytes(harmed)
        try:
            with Bank.open(tmp_path / "bank", words) as bank:
                noticed += bool(bank.verify())
                bank.search("task", "put a mug on the shelf.", 5)
                list(bank.each())
        except EdgexpError as error:
            noticed += 1
            assert "\n" not in str(error)
    assert noticed >= 0.9 * len(range(0, len(good) // 4096, 7))


def test_verify_names_what_was_changed_behind_its_back(tmp_path: Path, words: WordEncoder) -> None:
    path = tmp_path / "bank"
    with Bank.open(path, words) as bank:
        bank.add(trajectories(400))
    forged = msgspec.structs.replace(trajectory(1), goal="another goal")
    ids = [t.id for t in trajectories(6)]
    connection = sqlite3.connect(path / FILE)
    row = dict(connection.execute("SELECT id, row FROM trajectory"))
    from edgexp.bank.store import pack

    connection.execute("UPDATE body SET data = ? WHERE row = ?", (pack(forged), row[ids[1]]))
    connection.execute("UPDATE trajectory SET success = 1 - success WHERE id = ?", (ids[2],))
    connection.execute("UPDATE body SET data = x'00' WHERE row = ?", (row[ids[3]],))
    connection.execute("UPDATE vector SET data = zeroblob(64) WHERE row = ? AND kind = 'task'", (row[ids[4]],))
    connection.execute("DELETE FROM vector WHERE row = ? AND kind = 'course'", (row[ids[5]],))
    connection.commit()
    connection.close()
    assert content_id(forged) != ids[1]
    with Bank.open(path, words) as bank:
        problems = "\n".join(bank.verify())
        for harmed in ids[1:]:
            assert harmed in problems
        assert ids[0] not in problems and "index of kind task" in problems
        bank.forget(ids[1:4])
        assert bank.rebuild() == 2
        assert bank.verify() == []


def test_stats_add_up(bank: Bank) -> None:
    bank.add(trajectories(20))
    bank.add([trajectory(100, environment="lab", source="agent", success=False)], status="quarantined")
    stats = bank.stats()
    assert (stats.trajectories, stats.accepted, stats.quarantined) == (21, 20, 1)
    assert stats.by_environment == {"household": 20, "lab": 1} and stats.by_source == {"expert": 20, "agent": 1}
    assert stats.successful == sum(t.success for t in trajectories(20))
    assert stats.encoder == "words" and stats.dimensions == 32 and stats.database_bytes > 0


EPISODE = Episode(
    "run 1",
    "household",
    "household/test/1",
    "t123",
    True,
    1.0,
    "smol",
    "2026-11-22T12:00:00+00:00",
    (
        Recall(0, "put a mug", 0.002, (Scored("t1", 0.9), Scored("t2", 0.8, "budget", 700))),
        Recall(3, "put a mug\ngo to shelf 1", 0.003, ()),
    ),
)


def test_why_tells_what_was_logged(bank: Bank) -> None:
    first, second = bank.log_episode(EPISODE), bank.log_episode(EPISODE)
    assert first != second and first.startswith("e") and len(first) == 9
    assert bank.why(first) == msgspec.structs.replace(EPISODE, id=first)
    assert bank.why(first[:8] if first[:8] != second[:8] else first).recalls == EPISODE.recalls
    assert [episode.id for episode in bank.episodes()] == [second, first]
    with pytest.raises(UsageError, match="no episode"):
        bank.why("ex")
    with pytest.raises(UsageError, match="more than one"):
        bank.why("e")


def test_a_batch_that_breaks_off_keeps_what_was_whole(bank: Bank) -> None:
    def stream() -> "list[Trajectory]":  # type: ignore[misc]
        yield from trajectories(100)
        raise EdgexpError("line 101: not a trajectory")

    with pytest.raises(EdgexpError, match="line 101"):
        bank.add(stream())
    assert bank.count() == 64 and bank.verify() == []


def test_closing_twice_and_using_it_after(tmp_path: Path) -> None:
    bank = Bank.open(tmp_path / "bank")
    bank.close()
    bank.close()
    with pytest.raises(EdgexpError):
        bank.count()
