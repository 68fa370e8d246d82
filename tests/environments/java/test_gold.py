"""Gold paths kept as JSON lines: reading, adding, what a crash or another version leaves behind."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.environments.java.gold import GoldExpert, GoldFile, GoldPath, default_file, start_of
from edgexp.errors import EdgexpError

PATHS = [GoldPath(f"toy/train/{n}", "1", ("look", f"take {n}"), True, 1.0, 0.5) for n in range(4)]


def lines(*paths: GoldPath) -> bytes:
    return b"".join(msgspec.json.encode(path) + b"\n" for path in paths)


def test_what_is_added_is_there_for_others_and_afterwards(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "gold.jsonl"
    ours, theirs = GoldFile(file, "1"), GoldFile(file, "1")
    assert ours.get(PATHS[0].task) is None and len(ours) == 0
    ours.add(PATHS[0])
    assert theirs.get(PATHS[0].task) == PATHS[0]
    theirs.add(PATHS[1])
    assert ours.get(PATHS[1].task) == PATHS[1] and len(ours) == 2
    assert len(GoldFile(file, "1")) == 2


def test_the_first_path_of_a_task_stays(tmp_path: Path) -> None:
    """Two processes may have solved the same task; everybody plays the same path afterwards."""
    other = msgspec.structs.replace(PATHS[0], actions=("another",))
    (tmp_path / "gold.jsonl").write_bytes(lines(PATHS[0], other))
    assert GoldFile(tmp_path / "gold.jsonl", "1").get(PATHS[0].task) == PATHS[0]


def test_other_versions_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "gold.jsonl").write_bytes(lines(msgspec.structs.replace(PATHS[0], version="0"), PATHS[1]))
    gold = GoldFile(tmp_path / "gold.jsonl", "1")
    assert gold.get(PATHS[0].task) is None and gold.get(PATHS[1].task) == PATHS[1]


@given(cut=st.integers(0, len(lines(*PATHS))))
def test_a_file_cut_anywhere_loses_at_most_the_last_path(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("cut") / "gold.jsonl"
    file.write_bytes(lines(*PATHS)[:cut])
    whole = file.read_bytes().count(b"\n")
    gold = GoldFile(file, "1")
    assert [gold.get(path.task) == path for path in PATHS] == [n < whole for n in range(4)]
    for path in PATHS[whole:]:
        gold.add(path)
    again = GoldFile(file, "1")
    assert [again.get(path.task) for path in PATHS] == PATHS


def test_rubbish_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "gold.jsonl").write_bytes(b"\xff\xfe\n\n{}\n[1]\n" + lines(PATHS[2]))
    assert GoldFile(tmp_path / "gold.jsonl", "1").get(PATHS[2].task) == PATHS[2]


def test_a_file_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(EdgexpError, match=r"folder\.jsonl"):
        GoldFile(tmp_path / "folder.jsonl", "1").get("toy/train/0")
    with pytest.raises(EdgexpError, match=r"folder\.jsonl"):
        GoldFile(tmp_path / "folder.jsonl", "1").add(PATHS[0])


def test_the_default_file_is_in_the_home_folder(own_home: Path) -> None:
    assert default_file("scienceworld") == own_home / "gold" / "scienceworld.jsonl"


def test_an_expert_plays_its_path_and_then_gives_up() -> None:
    expert = GoldExpert(lambda: PATHS[3])
    for _ in range(2):  # the same player, episode after episode
        expert.begin("goal", "observation")
        assert [expert.act("whatever") for _ in range(4)] == ["look", "take 3", None, None]


def test_a_path_that_does_not_win_is_not_played() -> None:
    expert = GoldExpert(lambda: msgspec.structs.replace(PATHS[0], success=False, score=0.3))
    expert.begin("goal", "observation")
    assert expert.act("whatever") is None


def test_goals_read_on_from_your_task_is_to() -> None:
    assert start_of(" a room\n", "Task Description:\nYour task is to boil water. ").goal == "boil water."
    assert start_of("a room\n", "You are hungry! Eat.").goal == "You are hungry! Eat."
    assert start_of(" a room\n", "x").observation == "a room"
