"""What is recalled, and why; what is left out, and why."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from bank_samples import WordEncoder, trajectories, trajectory
from hypothesis import given
from hypothesis import strategies as st

from edgexp.bank import Bank, Hit, history_text, task_text
from edgexp.embedding import Encoder
from edgexp.errors import EdgexpError, UsageError
from edgexp.retrieval import Dropped, Filters, Memory, Recalled, Retrieval, Retriever, VectorRetriever, fit, mmr, recent_history
from edgexp.trajectory import Step, Trajectory


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
