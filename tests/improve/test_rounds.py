"""Rounds go on after any interruption and come to the same generations; a worse generation is never promoted."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgexp.errors import EdgexpError, UsageError
from edgexp.improve import generations
from edgexp.improve.generations import Check, Generation, State, roll_back
from edgexp.improve.rounds import Budget, Rounds

Outcomes = list[tuple[int, float, float]]
"""Of each round: episodes kept, the difference of its model, and how far its interval reaches to each side."""


class Scripted:
    """Work of which a test says what comes out; interrupted where it says so, before or after the stage has left its result."""

    def __init__(self, outcomes: Outcomes, stops: set[int] | None = None):
        self.outcomes, self.stops, self.calls = outcomes, stops or set(), 0
        self.done: list[tuple[str, int, str]] = []

    def _go(self, stage: str, number: int, model: str) -> None:
        self.calls += 1
        if self.calls in self.stops:
            raise KeyboardInterrupt
        self.done.append((stage, number, model))

    def play(self, folder: Path, number: int, model: str) -> int:
        self._go("play", number, model)
        return self.outcomes[number - 1][0]

    def learn(self, folder: Path, number: int, parent: int) -> str:
        self._go("learn", number, f"on from {parent}")
        return f"toy-g{number}"

    def check(self, folder: Path, number: int, candidate: str, best: str) -> Check:
        self._go("check", number, f"{candidate} and {best}")
        _, difference, reach = self.outcomes[number - 1]
        return Check(60, 30, 30, difference, difference - reach, difference + reach, 0.5)


def rounds(folder: Path, asked: str = "the same") -> Rounds:
    return Rounds(folder, "toy", asked, "base")


def improved(folder: Path, outcomes: Outcomes, stops: set[int] | None = None) -> State:
    """All rounds, begun again after every interruption."""
    work = Scripted(outcomes, stops)
    while True:
        try:
            return rounds(folder).improve(work, Budget(len(outcomes)))
        except KeyboardInterrupt:
            continue


outcomes_of_rounds = st.lists(st.tuples(st.integers(0, 3), st.floats(-1, 1), st.floats(0, 0.5)), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(outcomes_of_rounds, st.sets(st.integers(1, 20)))
def test_interrupted_anywhere_it_comes_to_the_same_generations(
    tmp_path_factory: pytest.TempPathFactory, outcomes: Outcomes, stops: set[int]
) -> None:
    unbroken = improved(tmp_path_factory.mktemp("a"), outcomes)
    broken = improved(tmp_path_factory.mktemp("b"), outcomes, stops)
    assert broken == unbroken and len(broken.generations) == len(outcomes) + 1


@settings(max_examples=60, deadline=None)
@given(outcomes_of_rounds)
def test_only_what_is_better_with_its_whole_interval_is_promoted(tmp_path_factory: pytest.TempPathFactory, outcomes: Outcomes) -> None:
    state = improved(tmp_path_factory.mktemp("c"), outcomes)
    best = 0
    for generation, (kept, difference, reach) in zip(state.generations[1:], outcomes, strict=True):
        assert generation.parent == best
        assert generation.promoted == (kept > 0 and difference - reach > 0)
        assert bool(generation.model) == (kept > 0) == (generation.check is not None)
        best = generation.number if generation.promoted else best
    assert state.best == best


def test_the_best_plays_and_is_what_a_new_model_is_checked_against(tmp_path: Path) -> None:
    work = Scripted([(1, 0.5, 0.1), (1, -0.5, 0.1), (1, 0.1, 0.05)])
    rounds(tmp_path).improve(work, Budget(3))
    assert [model for stage, _, model in work.done if stage == "play"] == ["base", "toy-g1", "toy-g1"]
    assert [model for stage, _, model in work.done if stage == "learn"] == ["on from 0", "on from 1", "on from 1"]
    assert [model for stage, _, model in work.done if stage == "check"] == ["toy-g1 and base", "toy-g2 and toy-g1", "toy-g3 and toy-g1"]


@pytest.mark.parametrize("after", ["play", "learn", "check"])
def test_killed_before_the_state_is_written_the_stage_is_done_again(
    tmp_path: Path, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state file is replaced whole: before it there is the old one."""
    written, write = [], generations.write

    def dying(folder: Path, state: State) -> None:
        written.append(state.stage)
        if len(written) == 2 + ["play", "learn", "check"].index(after):
            raise KeyboardInterrupt
        write(folder, state)

    monkeypatch.setattr(generations, "write", dying)
    work = Scripted([(1, 0.5, 0.1)])
    with pytest.raises(KeyboardInterrupt):
        rounds(tmp_path).improve(work, Budget(1))
    monkeypatch.setattr(generations, "write", write)
    state = rounds(tmp_path).improve(work, Budget(1))
    assert [stage for stage, _, _ in work.done].count(after) == 2
    assert state == improved(tmp_path / "unbroken", [(1, 0.5, 0.1)])


def test_hours_end_it_between_two_stages_and_rounds_count_from_the_first(tmp_path: Path) -> None:
    times = iter([0.0, 0.0, 1800.0, 3700.0])
    work = Scripted([(1, 0.5, 0.1)] * 4)
    state = rounds(tmp_path).improve(work, Budget(9, 1.0, lambda: next(times)))
    assert (state.round, state.stage) == (1, "check")
    assert rounds(tmp_path).improve(work, Budget(2)).round == 3
    assert rounds(tmp_path).improve(work, Budget(2)).round == 3 and len(work.done) == 6


def test_other_settings_are_refused_and_a_second_process_too(tmp_path: Path) -> None:
    rounds(tmp_path).improve(Scripted([(1, 0.5, 0.1)]), Budget(1))
    with pytest.raises(EdgexpError, match="holds rounds with other settings"):
        rounds(tmp_path, "others").improve(Scripted([]), Budget(1))

    class Nosy(Scripted):
        def play(self, folder: Path, number: int, model: str) -> int:
            with pytest.raises(EdgexpError, match="another process is at work there"):
                rounds(tmp_path).improve(Scripted([]), Budget(9))
            return super().play(folder, number, model)

    rounds(tmp_path).improve(Nosy([(1, 0.5, 0.1)] * 2), Budget(2))


def test_rolled_back_an_earlier_generation_plays(tmp_path: Path) -> None:
    rounds(tmp_path).improve(Scripted([(1, 0.5, 0.1), (1, 0.5, 0.1)]), Budget(2))
    assert roll_back(tmp_path, 1).best == 1
    work = Scripted([(1, 0.5, 0.1)] * 3)
    state = rounds(tmp_path).improve(work, Budget(3))
    assert work.done[0] == ("play", 3, "toy-g1") and state.generations[3].parent == 1
    with pytest.raises(UsageError, match="there is no model of generation 7; there are: 0, 1, 2, 3"):
        roll_back(tmp_path, 7)
    with pytest.raises(UsageError, match="holds no rounds"):
        roll_back(tmp_path / "nowhere", 0)


def test_rolled_back_in_the_middle_of_a_round_the_round_ends_without_a_model(tmp_path: Path) -> None:
    """What the other model has played stays in the bank; a model is never checked against one that did not play for it."""
    with pytest.raises(KeyboardInterrupt):
        rounds(tmp_path).improve(Scripted([(1, 0.5, 0.1)] * 2, {6}), Budget(2))
    state = roll_back(tmp_path, 0)
    assert state.generations[2] == Generation(2, "", 1, 1) and (state.round, state.stage) == (3, "play")


def test_a_damaged_state_is_one_line(tmp_path: Path) -> None:
    rounds(tmp_path).improve(Scripted([(1, 0.5, 0.1)]), Budget(1))
    file = tmp_path / generations.FILE
    for damage in (lambda text: text[: len(text) // 2], lambda text: "[]", lambda text: json.dumps({**json.loads(text), "best": "x"})):
        whole = file.read_text()
        change: Callable[[str], str] = damage
        file.write_text(change(whole))
        with pytest.raises(EdgexpError, match=r"state\.json cannot be read") as raised:
            rounds(tmp_path).improve(Scripted([]), Budget(1))
        assert "\n" not in str(raised.value)
        file.write_text(whole)
