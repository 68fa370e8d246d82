"""Counters of usefulness are what the log says: whoever reads it, however often, whatever happened in between."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from bank_samples import WordEncoder, trajectories, trajectory
from hypothesis import given, settings
from hypothesis import strategies as st

from edgexp.bank import Bank, Episode, Filters, Recall, Scored, Usefulness, schema
from edgexp.bank.episode_log import write_episode
from edgexp.bank.schema import connect
from edgexp.bank.usefulness import DOUBT, HOPE, STRENGTH, Counters, Rates
from edgexp.errors import EdgexpError
from edgexp.trajectory import as_import

IDS = ["ta", "tb", "tc"]
SOURCES = {"ta": "expert", "tb": "import", "tc": "agent"}


def episode(number: int, used: list[str], won: bool = True, kind: str = "heat", ending: str = "done", environment: str = "household",
            model: str = "m", dropped: str = "") -> Episode:
    hits = [Scored(identity, 0.5) for identity in used] + ([Scored(dropped, 0.9, "budget", 7)] if dropped else [])
    recalls = (Recall(0, "q", 0.1, tuple(hits)), Recall(3, "again", 0.1, tuple(hits)))
    task = f"task {number}"
    return Episode("run", environment, task, f"t{number}", won, float(won), model, "2026", recalls, task_type=kind, ending=ending)


EPISODES = st.lists(st.builds(
    episode, st.integers(0, 8), st.lists(st.sampled_from(IDS), unique=True), st.booleans(), st.sampled_from(["heat", "cool", ""]),
    st.sampled_from(["done", "max_steps", "error: it died"]), st.sampled_from(["household", "other"]), st.sampled_from(["", "m", "n"]),
    st.sampled_from(["", *IDS]),
), max_size=14)  # fmt: skip


def plainly(episodes: list[Episode]) -> dict[str, Usefulness]:
    """What the counters must be, said once more without any state that is kept."""
    known, counted = set(), list[Episode]()
    for e in episodes:
        if not e.ending.startswith("error: ") and (e.environment, e.task_id) not in known:
            known.add((e.environment, e.task_id))
            counted.append(e)
    found = {}
    for identity, source in SOURCES.items():
        uses = wins = 0
        expected = 0.0
        for place, e in enumerate(counted):
            if identity in {hit.id for recall in e.recalls for hit in recall.hits if not hit.dropped}:
                uses, wins, expected = uses + 1, wins + e.success, expected + rate(counted[:place], e)
        first = DOUBT if source == "import" else HOPE
        found[identity] = Usefulness(uses, wins, round(expected, 6), round((wins - expected + STRENGTH * first) / (uses + STRENGTH), 6))
    return found


def rate(before: list[Episode], e: Episode) -> float:
    """The rate to expect of an episode after those before it."""
    found = 0.5
    for weight, narrower in ((2, lambda o: True), (4, lambda o: o.task_type == e.task_type),
                             (4, lambda o: (o.task_type, o.model) == (e.task_type, e.model))):  # fmt: skip
        alike = [o.success for o in before if o.environment == e.environment and narrower(o)]
        found = (sum(alike) + weight * found) / (len(alike) + weight)
    return found


@settings(max_examples=60, deadline=None)
@given(EPISODES, st.sets(st.integers(0, 13)))
def test_counters_are_what_the_log_says_whenever_one_looks(tmp_path_factory: Any, episodes: list[Episode], looks: set[int]) -> None:
    """One who looks at some moments, one who looks at the end, and the definition: all the same. Bounded, and new ones begin as they do."""
    database = connect(tmp_path_factory.mktemp("bank") / "bank.sqlite3", readonly=False, create=True, wait=5)
    database.execute("PRAGMA synchronous = OFF")
    watching = Counters(database)
    for number, e in enumerate(episodes):
        write_episode(database, e)
        if number in looks:
            assert watching.of(SOURCES) == plainly(episodes[: number + 1])
    assert watching.of(SOURCES) == Counters(database).of(SOURCES) == plainly(episodes)
    for known in watching.of(SOURCES).values():
        assert -1 < known.value < 1 and 0 <= known.wins <= known.uses and 0 <= known.expected <= known.uses
    database.close()


def test_an_episode_that_is_logged_twice_counts_once(tmp_path: Path) -> None:
    with Bank.open(tmp_path, WordEncoder()) as bank:
        known = trajectory(1)
        bank.add([known])
        once = episode(1, [known.id])
        bank.log_episode(once)
        before = bank.usefulness([known.id])
        bank.log_episode(once)
        assert bank.usefulness([known.id]) == before and before[known.id].uses == 1 and bank.logged == 2
        bank.log_episode(msgspec.structs.replace(once, run="another"))
        assert bank.usefulness([known.id])[known.id].uses == 2


def test_what_is_better_than_to_be_expected_is_useful_and_what_is_worse_is_not(tmp_path: Path) -> None:
    with Bank.open(tmp_path, WordEncoder()) as bank:
        good, bad, new, brought = trajectories(4)
        bank.add([good, bad, new, as_import(brought)])
        for number in range(12):
            bank.log_episode(episode(number, [(good if number % 2 else bad).id], won=bool(number % 2)))
        known = bank.usefulness([t.id for t in (good, bad, new, brought)])
        assert known[good.id].value > 0.2 > known[new.id].value == HOPE > -0.2 > known[bad.id].value > known[brought.id].value == DOUBT
        for number in range(20, 24):
            bank.log_episode(episode(number, [brought.id], won=True))
        assert bank.usefulness([brought.id])[brought.id].value > DOUBT / 4, "experience outweighs where it is from"
        bank.add([brought])  # played here: nobody's word any more
        assert bank.usefulness([brought.id])[brought.id].value > HOPE


def test_hard_tasks_do_not_make_a_memory_bad_nor_easy_ones_good(tmp_path: Path) -> None:
    """Of one kind all are lost, of the other all are won: no memory has any part in that."""
    with Bank.open(tmp_path, WordEncoder()) as bank:
        one, other = trajectories(2)
        bank.add([one, other])
        for number in range(200):
            easy = bool(number % 2)
            bank.log_episode(episode(number, [(one if easy else other).id], won=easy, kind="easy" if easy else "hard"))
        assert all(abs(known.value) < 0.06 for known in bank.usefulness([one.id, other.id]).values())


def test_what_is_quarantined_or_forgotten_is_never_in_the_way(tmp_path: Path) -> None:
    with Bank.open(tmp_path, WordEncoder()) as bank:
        held, waiting, gone = trajectories(3)
        bank.add([held, gone])
        bank.add([waiting], "quarantined")
        bank.log_episode(episode(1, [held.id, gone.id]))
        before = bank.usefulness([held.id])
        bank.forget([gone.id])
        bank.add([trajectory(9)], "quarantined")
        assert bank.usefulness([held.id]) == before
        assert list(bank.usefulness([held.id, gone.id, "t-nobody"])) == [held.id]
        assert waiting.id not in bank.pool("task", bank.embed("a\nb"), 9, Filters())


def test_a_log_that_cannot_be_written_counts_for_nothing(tmp_path: Path) -> None:
    with Bank.open(tmp_path, WordEncoder()) as bank:
        bank.add([trajectory(1)])
        twice = msgspec.structs.replace(episode(1, [trajectory(1).id]), recalls=(Recall(0, "a", 0, (Scored(trajectory(1).id, 1.0),)),) * 2)
        with pytest.raises(EdgexpError, match="UNIQUE"):
            bank.log_episode(twice)
        assert bank.usefulness([trajectory(1).id])[trajectory(1).id].uses == 0


def test_damaged_rows_of_the_log_are_passed_over(tmp_path: Path) -> None:
    with Bank.open(tmp_path, WordEncoder()) as bank:
        bank.add([trajectory(1)])
        for number in range(4):
            bank.log_episode(episode(number, [trajectory(1).id]))
        database = bank._store.database
        database.execute("UPDATE episode SET success = 'x' WHERE number = 1")
        database.execute("UPDATE episode SET model = x'ff' WHERE number = 2")
        database.execute("UPDATE episode SET success = 7 WHERE number = 3")
        assert bank.usefulness([trajectory(1).id])[trajectory(1).id].uses == 1


CHILD = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from bank_samples import WordEncoder, trajectories
from test_usefulness import episode
from edgexp.bank import Bank
with Bank.open(Path(sys.argv[1]), WordEncoder()) as bank:
    ids = [t.id for t in trajectories(5)]
    for number in range(100_000):
        bank.log_episode(episode(number, [ids[number % 5], ids[number % 3]], won=number % 7 > 2, kind=str(number % 2)))
        print(number, flush=True)
"""


def test_a_kill_loses_no_count_and_makes_none_up(tmp_path: Path) -> None:
    """A process is killed while it logs; another one has looked all the while. Both counts are those of the log that is there."""
    here = Path(__file__).parent
    ids = [t.id for t in trajectories(5)]
    with Bank.open(tmp_path, WordEncoder()) as bank:
        bank.add(trajectories(5))
        for _ in range(3):
            command = [sys.executable, "-c", CHILD, str(tmp_path), str(here), str(here.parent)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
                assert child.stdout
                told = [child.stdout.readline() for _ in range(20)][-1]
                bank.usefulness(ids)
                child.kill()
            assert bank.logged > int(told)
            with Bank.open(tmp_path, readonly=True) as fresh:
                assert fresh.usefulness(ids) == bank.usefulness(ids)
        expected = dict.fromkeys(ids, 0)
        counted = set()
        for logged in bank.episodes(10**6)[::-1]:
            if logged.task_id not in counted:
                counted.add(logged.task_id)
                for identity in {hit.id for hit in bank.why(logged.id).recalls[0].hits}:
                    expected[identity] += 1
        assert {identity: known.uses for identity, known in bank.usefulness(ids).items()} == expected
        assert bank.verify() == []


def test_the_log_of_an_older_bank_counts_too_and_is_read_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "bank.sqlite3"
    with monkeypatch.context() as older:
        older.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        database = connect(file, readonly=False, create=True, wait=5)
        database.execute("INSERT INTO episode VALUES (1, 'e1', 'r', 'household', 'task', 't', 1, 1.0, 'm', '2026')")
        database.execute("INSERT INTO recall VALUES (1, 0, 'q', 0.1)")
        database.execute("INSERT INTO recalled VALUES (1, 0, 1, 'ta', 0.5, '', 0)")
        database.execute("INSERT INTO episode VALUES (2, 'e12', 'r', 'household', 'task', 't', 1, 1.0, 'm', '2026')")
        database.close()
    reader = connect(file, readonly=True, create=False, wait=5)
    assert reader.version == 1 and Counters(reader).of(SOURCES)["ta"].uses == 1
    reader.close()
    with Bank.open(tmp_path, readonly=True) as bank:
        assert bank.why("e1").recalls[0].hits == (Scored("ta", 0.5),) and {e.task_type for e in bank.episodes()} == {""}
    with Bank.open(tmp_path, WordEncoder()) as bank:  # now it is brought up to date
        assert bank.log_episode(episode(2, ["ta"])) and bank._counters.of(SOURCES)["ta"].uses == 2
        assert bank.why("e1").recalls[0].hits == (Scored("ta", 0.5),)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("ab")), max_size=40), st.sampled_from("abc"))
def test_a_rate_lies_between_what_was_seen_and_the_rate_of_the_wider_kind(seen: list[tuple[bool, str]], kind: str) -> None:
    rates = Rates()
    assert rates.expect("e", kind) == 0.5
    for won, which in seen:
        rates.add(won, "e", which)
    wide, narrow, own = rates.expect("e"), rates.expect("e", kind), [won for won, which in seen if which == kind]
    assert 0 < wide < 1 and 0 < narrow < 1
    share = sum(own) / len(own) if own else wide
    assert min(wide, share) - 1e-12 <= narrow <= max(wide, share) + 1e-12
