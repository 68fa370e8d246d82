"""What is recalled, and why; what is left out, and why."""

import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bank_samples import WordEncoder, trajectories, trajectory
from hypothesis import given
from hypothesis import strategies as st

from edgexp.bank import Bank, Episode, Hit, Recall, Scored, history_text, task_text
from edgexp.bank.usefulness import HOPE
from edgexp.embedding import Encoder
from edgexp.errors import EdgexpError, UsageError
from edgexp.retrieval import Dropped, Filters, Memory, Recalled, Retrieval, Retriever, VectorRetriever, fit, mmr, recent_history
from edgexp.trajectory import Step, Trajectory, as_import


@pytest.fixture
def words() -> WordEncoder:
    return WordEncoder()


@pytest.fixture
def bank(tmp_path: Path, words: WordEncoder):  # type: ignore[no-untyped-def]
    with Bank.open(tmp_path / "bank", words) as opened:
        opened.add(trajectories(80))
        yield opened


def of(memory: Memory) -> list[str]:
    return [recalled.trajectory.id for recalled in memory.recalled]


def recall(retriever: Retriever, t: Trajectory, steps: int = 0) -> Memory:
    return retriever.recall(t.task, t.goal, t.observation, t.steps[:steps])


def test_static_recall_is_by_task_and_best_first(bank: Bank) -> None:
    stranger = trajectory(900)
    memory = recall(VectorRetriever(bank, Retrieval(k=3)), stranger)
    assert memory.query == task_text(stranger.goal, stranger.observation) and memory.seconds > 0
    assert [(r.trajectory.id, r.score) for r in memory.recalled] == [(h.id, h.score) for h in bank.search("task", memory.query, 3)]
    assert memory.dropped == ()
    later = recall(VectorRetriever(bank, Retrieval(k=3)), stranger, 1)
    assert (later.query, later.recalled) == (memory.query, memory.recalled), "whatever was done since"


def test_nothing_recalls_itself(bank: Bank) -> None:
    """Neither the very trajectory nor another attempt at the same task, in any mode, unless one asks for it."""
    own = trajectory(5)
    attempt = msgspec.structs.replace(own, success=not own.success)
    bank.add([attempt])
    for mode in ("static", "dynamic"):
        for steps in (0, len(own.steps)):
            found = of(recall(VectorRetriever(bank, Retrieval(k=80, memory=mode)), own, steps))  # type: ignore[arg-type]
            assert len(found) == 79 and own.id not in found and attempt.id not in found
    assert {own.id, attempt.id} == set(of(recall(VectorRetriever(bank, exclude_self=False), own)))
    filtered = VectorRetriever(bank, Retrieval(k=80), filters=Filters(exclude_task_ids=(trajectory(6).task.id,)))
    assert len(recall(filtered, own).recalled) == 78, "other exclusions stay"


def test_dynamic_recall_is_by_course(bank: Bank) -> None:
    own = next(t for t in trajectories(80) if len(t.steps) >= 5)
    retriever = VectorRetriever(bank, Retrieval(memory='dynamic', every=2), exclude_self=False)
    assert recall(retriever, own).query == task_text(own.goal, own.observation), "before the first action there is no course"
    memory = recall(retriever, own, len(own.steps))
    assert memory.query == history_text(own.goal, [step.action for step in own.steps]) and of(memory)[0] == own.id
    assert [retriever.due(step) for step in range(5)] == [True, False, True, False, True]
    assert [VectorRetriever(bank).due(step) for step in range(3)] == [True, False, False]
    off = VectorRetriever(bank, Retrieval(memory='off'))
    assert recall(off, own) == Memory() and not off.due(0)


def test_a_long_course_keeps_its_newest_actions(encoder: Encoder) -> None:
    steps = [Step(f"go to cabinet {number}", "") for number in range(400)]
    query = recent_history("put a mug on the shelf.", steps, encoder)
    lines = query.split("\n")
    assert lines[0] == "put a mug on the shelf." and lines[-1] == "go to cabinet 399"
    assert lines[1:] == [step.action for step in steps[-len(lines) + 1 :]]
    assert 0.8 * encoder.max_tokens < encoder.count(query) <= encoder.max_tokens
    assert recent_history("goal", steps[:3], encoder).count("\n") == 3
    huge = recent_history("goal " * 500, steps, encoder)
    assert huge.endswith("go to cabinet 399"), "a goal that fills the encoder alone is the encoder's to cut"


def test_a_repeated_query_is_embedded_once(bank: Bank, words: WordEncoder) -> None:
    retriever, before = VectorRetriever(bank), words.encoded
    first = recall(retriever, trajectory(900))
    assert words.encoded == before + 2  # the goal and the first observation
    assert recall(retriever, trajectory(900)).recalled == first.recalled and words.encoded == before + 2
    recall(retriever, trajectory(901))
    assert words.encoded == before + 4


def test_filters_hold(bank: Bank) -> None:
    for success in (True, False):
        memory = recall(VectorRetriever(bank, Retrieval(k=10), filters=Filters(success=success, group='hard')), trajectory(900))
        assert len(memory.recalled) == 10
        assert all(r.trajectory.success == success and r.trajectory.task.group == "hard" for r in memory.recalled)
    assert recall(VectorRetriever(bank, filters=Filters(environment='nowhere')), trajectory(900)).recalled == ()


def test_an_empty_bank_recalls_nothing(tmp_path: Path, words: WordEncoder) -> None:
    with Bank.open(tmp_path / "empty", words) as empty:
        memory = recall(VectorRetriever(empty, Retrieval(diversity=0.5)), trajectory(1))
        assert memory.recalled == () and memory.query


def test_senseless_settings_are_refused(bank: Bank) -> None:
    for wrong in ({"k": -1}, {"every": 0}, {"diversity": 1.5}, {"diversity": -0.1}):
        with pytest.raises(UsageError):
            VectorRetriever(bank, Retrieval(**wrong))  # type: ignore[arg-type]


def test_recall_without_an_encoder_is_a_clear_error(bank: Bank) -> None:
    with Bank.open(bank.path, readonly=True) as bare, pytest.raises(EdgexpError, match="without an encoder"):
        recall(VectorRetriever(bare), trajectory(1))


def test_diversity_takes_another_one_of_many_alike(tmp_path: Path, words: WordEncoder) -> None:
    base, other = trajectory(1), trajectory(2)
    alike = [msgspec.structs.replace(base, score=number / 10) for number in range(5)]
    with Bank.open(tmp_path / "alike", words) as bank:
        bank.add([*alike, other])
        stranger = msgspec.structs.replace(base, task=trajectory(900).task)
        plain = recall(VectorRetriever(bank, Retrieval(k=2)), stranger)
        assert set(of(plain)) <= {t.id for t in alike}
        spread = recall(VectorRetriever(bank, Retrieval(k=2, diversity=0.4)), stranger)
        assert of(spread) == [min(t.id for t in alike), other.id]
        assert {d.trajectory.id for d in spread.dropped} == {t.id for t in alike} - set(of(spread))
        assert {d.reason for d in spread.dropped} == {"diversity"}
        assert of(recall(VectorRetriever(bank, Retrieval(k=2, diversity=1.0)), stranger)) == of(plain)


def unit(rows: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, 8))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@given(st.integers(1, 20), st.integers(1, 8), st.floats(0, 1), st.integers(0, 1000))
def test_mmr_is_what_its_definition_says(count: int, k: int, weight: float, seed: int) -> None:
    vectors, query = unit(count, seed), unit(1, seed + 1)[0]
    order = np.argsort(-(vectors @ query), kind="stable")
    vectors = vectors[order]
    hits = [Hit(f"t{number}", float(vector @ query)) for number, vector in enumerate(vectors)]
    chosen = [hits.index(hit) for hit in mmr(hits, vectors, k, weight)]
    assert len(chosen) == len(set(chosen)) == min(k, count) and (chosen[0] == 0 or weight == 0)
    for place, index in enumerate(chosen):

        def value(candidate: int, before: list[int] = chosen[:place]) -> float:
            like = max((float(vectors[candidate] @ vectors[other]) for other in before), default=0.0)
            return weight * hits[candidate].score - (1 - weight) * like

        rest = [candidate for candidate in range(count) if candidate not in chosen[:place]]
        assert value(index) == pytest.approx(max(map(value, rest)), abs=1e-5)


@given(st.lists(st.integers(1, 100), max_size=8), st.integers(0, 300))
def test_fit_drops_whole_trajectories_and_says_so(costs: list[int], budget: int) -> None:
    given_ = [Recalled(trajectory(number), 1 - number / 100) for number in range(len(costs))]
    price = {recalled.trajectory.id: cost for recalled, cost in zip(given_, costs, strict=True)}
    earlier = Dropped("t0", 0.5, "diversity")
    memory = Memory("query", tuple(given_), (earlier,), 0.1)
    fitted = fit(memory, lambda t: price[t.id], budget)
    kept = of(fitted)
    assert sum(price[identity] for identity in kept) <= budget
    assert kept == [identity for identity in of(memory) if identity in kept], "the order stays"
    assert fitted.dropped[0] == earlier and {d.trajectory.id for d in fitted.dropped[1:]} == set(price) - set(kept)
    assert all(d.reason == "budget" and d.tokens == price[d.trajectory.id] for d in fitted.dropped[1:])
    could = [identity for identity in of(memory) if price[identity] <= budget]
    assert kept == could[: len(kept)], "the least useful go first"
    if len(kept) < len(could):
        assert sum(price[identity] for identity in could[: len(kept) + 1]) > budget, "and no more of them than must"
    assert (fitted.query, fitted.seconds) == ("query", 0.1)
    assert fit(memory, lambda t: price[t.id], sum(costs)) == memory


def test_the_real_encoder_recalls_what_is_alike(tmp_path: Path, encoder: Encoder) -> None:
    """Of 80 trajectories, the first two recalled share the thing or the place of the goal nearly always."""
    with Bank.open(tmp_path / "real", encoder) as bank:
        bank.add(trajectories(80))
        good = 0
        for number in range(900, 915):
            stranger = trajectory(number)
            thing, place = stranger.goal.split()[2], stranger.goal.split()[-1]
            good += sum(thing in r.trajectory.goal or place in r.trajectory.goal for r in recall(VectorRetriever(bank), stranger).recalled)
        assert good >= 24
        assert bank.verify() == []


# By frame and by usefulness.

HOW = {"put hot {} in {}": ("take", "go", "heat", "put"), "put two {} in {}": ("take", "put", "take", "put"),
       "look at {} under {}": ("go", "use")}  # fmt: skip


def errand(number: int, goal: str, commands: tuple[str, ...], won: bool = True) -> Trajectory:
    task = msgspec.structs.replace(trajectory(1).task, id=f"household/train/errand-{number}")
    steps = tuple(Step(f"{command} it", "so it is.") for command in commands)
    return msgspec.structs.replace(trajectory(1), task=task, goal=goal, steps=steps, success=won, observation="You are in a room.")


def thing(letter: str) -> str:
    return f"thing{letter} wid{letter} yon{letter}"


def errands() -> list[Trajectory]:
    things, kinds = [thing(f"{one}{other}") for one in "abcd" for other in "abcdefghijklmnop"], list(HOW)
    return [errand(n, kinds[n % 3].format(things[n * 7 % 64], things[n * 11 % 64]), HOW[kinds[n % 3]]) for n in range(90)]


def log(bank: Bank, shown: Trajectory, won: bool, times: int) -> None:
    for number in range(times):
        recalls = (Recall(0, "q", 0.0, (Scored(shown.id, 0.9),)),)
        task = f"{shown.id}/{won}/{number}"
        bank.log_episode(Episode("r", "household", task, f"t{number}", won, 0.0, "m", "2026", recalls, task_type="heat"))


def test_the_frame_finds_episodes_that_went_the_same_way(tmp_path: Path, words: WordEncoder) -> None:
    """A goal that differs from those of the right kind in both its names, and from one of a wrong kind in little."""
    with Bank.open(tmp_path / "frame", words) as bank:
        bank.add(errands())
        right = {True: 0, False: 0}
        for number, letter in enumerate(map("a".__add__, "abcdefghijklmnop")):
            other = errand(100 + number, f"put two {thing(letter)} in {thing(letter)}", HOW["put two {} in {}"])
            bank.add([other])
            asked = errand(500, f"put hot {thing(letter)} in {thing(letter)}", ())
            for frame in (True, False):
                [found] = recall(VectorRetriever(bank, Retrieval(k=1, frame=frame, usefulness=False)), asked).recalled
                right[frame] += found.trajectory.goal.startswith("put hot")
                assert (found.frame is not None) == frame and found.score <= 1.001, "the score stays the cosine"
            bank.forget([other.id])
        assert right[True] == 16 > right[False]


def test_without_a_frame_and_without_experience_it_is_the_vectors_that_decide(bank: Bank) -> None:
    """The words of these goals do not say how; nothing was ever in a prompt."""
    plain, weighed = VectorRetriever(bank, Retrieval(k=5, frame=False, usefulness=False)), VectorRetriever(bank, Retrieval(k=5))
    for number in range(900, 910):
        one, other = recall(plain, trajectory(number)), recall(weighed, trajectory(number))
        assert of(one) == of(other) and [r.score for r in one.recalled] == [r.score for r in other.recalled]
        assert {r.usefulness for r in one.recalled} == {None} and {r.usefulness for r in other.recalled} == {HOPE}


def test_what_proved_misleading_gives_way_and_what_proved_useful_comes_first(bank: Bank) -> None:
    asked, retriever = trajectory(900), VectorRetriever(bank, Retrieval(k=2))
    first, second = recall(retriever, asked).recalled
    log(bank, second.trajectory, True, 6)
    log(bank, first.trajectory, False, 6)
    memory = recall(retriever, asked)
    assert memory.recalled[0].trajectory == second.trajectory and first.trajectory.id not in of(memory)
    [left] = [dropped for dropped in memory.dropped if dropped.trajectory == first.trajectory]
    assert left.reason == "usefulness" and left.usefulness is not None and left.usefulness < 0 and left.score == first.score
    indifferent = recall(VectorRetriever(bank, Retrieval(k=2, usefulness=False)), asked)
    assert of(indifferent) == [first.trajectory.id, second.trajectory.id] and indifferent.dropped == ()
    with Bank.open(bank.path, WordEncoder(), readonly=True) as reader:
        assert recall(VectorRetriever(reader, Retrieval(k=2)), asked).recalled == memory.recalled, "whoever reads the log"


def test_usefulness_chooses_among_the_likely_ones_only(bank: Bank) -> None:
    asked, k = trajectory(900), 2
    order = of(recall(VectorRetriever(bank, Retrieval(k=64, usefulness=False)), asked))
    log(bank, bank.get(order[-1]), False, 30)  # so that winning is nothing to be expected
    log(bank, bank.get(order[8 * k]), True, 30)
    assert set(of(recall(VectorRetriever(bank, Retrieval(k=k)), asked))) <= set(order[: 8 * k])


def test_what_was_imported_stands_behind_what_happened_here(tmp_path: Path, words: WordEncoder) -> None:
    own = trajectory(1)
    brought = [as_import(msgspec.structs.replace(own, score=number / 10)) for number in range(3)]
    asked = msgspec.structs.replace(own, task=trajectory(900).task)
    with Bank.open(tmp_path / "imports", words) as bank:
        bank.add(brought)
        assert set(of(recall(VectorRetriever(bank, Retrieval(k=3)), asked))) == {t.id for t in brought}, "where there is nothing else"
        mine = msgspec.structs.replace(own, score=0.77)
        bank.add([mine, trajectory(2)])
        assert of(recall(VectorRetriever(bank, Retrieval(k=1)), asked)) == [mine.id]
        log(bank, mine, False, 8)
        log(bank, brought[2], True, 8)
        assert of(recall(VectorRetriever(bank, Retrieval(k=1)), asked)) == [brought[2].id], "experience outweighs that"


@given(st.integers(1, 5), st.sampled_from([None, 0.3, 0.9]), st.booleans(), st.booleans(), st.sampled_from(["alike", "warn", "none"]))
def test_however_it_is_weighed_a_recall_is_of_distinct_ones_and_says_what_was_passed_over(
    k: int, diversity: float | None, frame: bool, usefulness: bool, failures: str
) -> None:
    with tempfile.TemporaryDirectory() as folder, Bank.open(Path(folder), WordEncoder()) as bank:
        bank.add([*errands()[:40], *trajectories(20)])
        for number in range(0, 12, 3):
            log(bank, trajectory(number), number % 2 == 0, 3)
        settings = Retrieval(k=k, diversity=diversity, frame=frame, usefulness=usefulness, failures=failures)  # type: ignore[arg-type]
        one, again = (recall(VectorRetriever(bank, settings), trajectory(900)) for _ in range(2))
        assert (one.recalled, one.dropped) == (again.recalled, again.dropped)
        found = [*of(one), *(dropped.trajectory.id for dropped in one.dropped)]
        failed = [r for r in one.recalled if not r.trajectory.success]
        assert len(found) == len(set(found)) and len(one.recalled) - (failures == "warn") <= k <= len(one.recalled)
        assert failures == "alike" or len(failed) == (failures == "warn")
        assert {dropped.reason for dropped in one.dropped} <= {"usefulness", "diversity"}


def test_a_failure_is_shown_as_a_warning_where_that_is_asked_for(bank: Bank) -> None:
    asked = trajectory(900)
    memory = recall(VectorRetriever(bank, Retrieval(k=2, failures="warn")), asked)
    assert [r.trajectory.success for r in memory.recalled] == [True, True, False]
    alone = recall(VectorRetriever(bank, Retrieval(k=1), Filters(success=False)), asked)
    assert memory.recalled[-1] == alone.recalled[0], "the one most alike"
    assert of(recall(VectorRetriever(bank, Retrieval(k=2, failures="none")), asked)) == of(memory)[:2]
    filtered = recall(VectorRetriever(bank, Retrieval(k=2, failures="none"), Filters(success=False)), asked)
    assert {r.trajectory.success for r in filtered.recalled} == {False}, "a filter of the caller's own says more"
