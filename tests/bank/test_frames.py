"""The frame of a goal, and whether a bank's own episodes say that it counts."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from bank_samples import WordEncoder
from hypothesis import given
from hypothesis import strategies as st

from edgexp.bank import Bank, Filters
from edgexp.bank.frames import LEAST, combine, jaccard, recurring, ways, words_of
from edgexp.trajectory import Provenance, Source, Step, Task, Trajectory

THINGS = [f"thing{chr(97 + number)}" for number in range(20)]
KINDS = {"put a hot {} in {}": ("take", "go", "heat", "put"), "put a clean {} in {}": ("take", "wash", "go", "put"),
         "put two {} in {}": ("take", "put", "take", "put"), "look at {} under {}": ("go", "use")}  # fmt: skip
TEMPLATES = ["in {2}, put {0} on the {1}", "{2} wants {0} for its {1}", "let there be {0} by the {1} of {2}", "the {1} of {2} needs {0}"]


def made(number: int, goal: str, commands: Sequence[str], environment: str = "toy", won: bool = True,
         source: Source = "expert") -> Trajectory:
    steps = tuple(Step(f"{command} it", "so it is.") for command in commands)
    task = Task(f"{environment}/train/{number}", environment, "train", "some")
    return Trajectory(task, goal, "You are in a room.", steps, won, float(won), "done" if won else "max_steps", Provenance(source))


def framed(count: int, environment: str = "toy") -> list[Trajectory]:
    """The goal's recurring words say how; its names say nothing."""
    chance, kinds = random.Random(1), list(KINDS)
    goals = [kinds[n % 4].format(chance.choice(THINGS), chance.choice(THINGS)) for n in range(count)]
    return [made(n, goal, KINDS[kinds[n % 4]], environment) for n, goal in enumerate(goals)]


def named(count: int) -> list[Trajectory]:
    """The home's name alone says how; goals are phrased by chance."""
    chance, found = random.Random(2), []
    for number in range(count):
        home = number % max(1, count // 6)
        name = f"Home{chr(97 + home // 26)}{chr(97 + home % 26)}"
        goal = chance.choice(TEMPLATES).format(chance.choice(THINGS), chance.choice(THINGS), name)
        found.append(made(number, goal, [f"verb{home}", f"other{home}", "put"]))
    return found


def opened(folder: Path, held: Sequence[Trajectory]) -> Bank:
    bank = Bank.open(folder, WordEncoder(dimensions=64))
    bank.add(held)
    return bank


def test_the_frame_counts_where_it_says_how_and_not_where_names_do(tmp_path: Path) -> None:
    with opened(tmp_path / "a", framed(120)) as bank:
        frame = bank.frame("toy")
        assert frame.counts and {"hot", "clean", "two", "look", "put", "in", "under"} <= frame.words
        goals = {"x": "put a hot spoon in drawer", "y": "put a clean spoon in drawer"}
        alike = frame.likeness("put a hot thinga in thingb", goals)
        assert alike[0] > alike[1]
        assert not bank.frame("elsewhere").counts
    with opened(tmp_path / "b", named(120)) as bank:
        assert not bank.frame("toy").counts


def test_a_few_episodes_say_nothing(tmp_path: Path) -> None:
    with opened(tmp_path, framed(LEAST - 1)) as bank:
        assert not bank.frame("toy").counts and bank.frame("toy").words == frozenset()


def test_only_what_is_accepted_and_was_won_in_the_environment_has_a_say(tmp_path: Path) -> None:
    with opened(tmp_path, framed(60)) as bank:
        before = bank.frame("toy")
        bank.add([made(n, f"wholly other words {n}", ["x"], won=False) for n in range(300, 340)])
        bank.add([made(n, f"quite other words {n}", ["x"], "next") for n in range(400, 440)])
        bank.add([made(n, f"still other words {n}", ["x"], source="import") for n in range(500, 540)], "quarantined")
        after = bank.frame("toy")
        assert (after.words, after.counts, after.sample) == (before.words, before.counts, before.sample)
        assert {"other", "words"} <= bank.frame("next").words
        bank.accept(bank.ids("quarantined"))
        assert "still" in bank.frame("toy").words, "what is accepted counts from then on"
        bank.forget([t.id for t in bank.each() if t.goal.startswith("still")])
        assert bank.frame("toy").words == before.words


def test_the_same_bank_has_the_same_frame_however_it_came_about(tmp_path: Path) -> None:
    held = framed(80)
    with opened(tmp_path / "a", held) as one, opened(tmp_path / "b", held[40:]) as two:
        two.frame("toy")
        two.add(held[:40][::-1])
        assert one.fingerprint() == two.fingerprint()
        assert (one.frame("toy").words, one.frame("toy").counts) == (two.frame("toy").words, two.frame("toy").counts)
        with Bank.open(tmp_path / "a", readonly=True) as reader:
            assert reader.frame("toy").words == one.frame("toy").words
            one.add([made(n, f"fresh goals come {n}", ["x"]) for n in range(600, 640)])
            assert "fresh" in reader.frame("toy").words, "another process has written"


def test_nothing_is_learned_again_while_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path, framed(40)) as bank:
        learned = []
        learn = bank._frames._learn
        monkeypatch.setattr(bank._frames, "_learn", lambda *given: learned.append(given) or learn(*given))
        for _ in range(3):
            bank.frame("toy")
        assert len(learned) == 1
        bank.add([made(900, "put a hot thinga in thingb", ["x"], "next")])
        bank.frame("toy")
        assert len(learned) == 1, "another environment's episode is none of its business"
        asked = []
        monkeypatch.setattr(bank._store, "look", lambda *given, **more: asked.append(given) or iter(()))
        some = list(bank._frames.goals([]))
        assert some == [] == asked


def test_goals_are_read_once_and_not_of_what_cannot_be_read(tmp_path: Path) -> None:
    held = framed(20)
    with opened(tmp_path, held) as bank:
        bank._store.database.execute("UPDATE body SET data = x'00' WHERE row = 3")
        known = bank._frames.goals([t.id for t in held])
        assert known == {t.id: t.goal for t in held if t.id != held[2].id} and len(bank.set_aside) == 1
        assert held[2].id not in bank.pool("task", bank.embed("put\na"), 30, Filters())


SETS = st.frozensets(st.sampled_from("abcdef"))


@given(SETS, SETS)
def test_likeness_of_sets(one: frozenset[str], other: frozenset[str]) -> None:
    assert jaccard(one, other) == jaccard(other, one) and 0 <= jaccard(one, other) <= 1 == jaccard(one, one)
    assert (jaccard(one, other) == 1) == (one == other)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=40))
def test_what_recurs_stands_in_more_than_a_few_goals(goals: list[str]) -> None:
    words = recurring(goals)
    assert all(sum(word in words_of(goal) for goal in goals) > 0.06 * len(goals) for word in words)
    assert words == recurring(goals[::-1]) and all(not any(letter.isdecimal() for letter in word) for word in words)


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 1)), min_size=1, max_size=30), st.integers(0, 29), st.integers(0, 29))
def test_more_alike_by_either_is_never_rated_lower(pairs: list[tuple[float, float]], a: int, b: int) -> None:
    scores, frames = np.array([s for s, _ in pairs]), np.array([f for _, f in pairs])
    rated, a, b = combine(scores, frames), a % len(pairs), b % len(pairs)
    assert np.isfinite(rated).all()
    if scores[a] >= scores[b] and frames[a] >= frames[b]:
        assert rated[a] >= rated[b] - 1e-9
    if (frames == frames[0]).all():
        assert rated == pytest.approx(scores, abs=1e-6), "frames that are all alike change nothing"


@given(st.lists(st.lists(st.sampled_from(["go to a 1", "take b", "heat b", "", " "]), max_size=6), min_size=2, max_size=8))
def test_courses_are_as_alike_as_their_orders_of_commands(courses: list[list[str]]) -> None:
    alike = ways(courses)
    for one in range(len(courses)):
        assert alike(one, one) == 1
        assert all(0 <= alike(one, other) == alike(other, one) <= 1 for other in range(len(courses)))
