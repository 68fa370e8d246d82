"""Models that keep a state in place of what they saw: no part of it can be taken back, and all results are those of a fresh start."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import borrowed, write_model

from edgexp.engine import decide
from edgexp.engine.engine import Engine
from edgexp.engine.model import Model
from edgexp.engine.native import Tuning

TUNING = Tuning(1, 2, {"OMP_WAIT_POLICY": "PASSIVE"}, extra_buffers=False)


@pytest.fixture(scope="module", params=["mamba", "lfm2"])
def recurrent(request, policy_path, tmp_path_factory):
    """A model whose every layer keeps a state, and one where every second layer does."""
    path = tmp_path_factory.mktemp("tiny") / f"{request.param}.gguf"
    with Model(write_model(path, *borrowed(policy_path), request.param), TUNING) as opened:
        yield opened


@pytest.fixture(params=[False, True], ids=["pool", "own cells"])
def engine(request, recurrent):
    with Engine(recurrent, context=6 * 512, slots=6, own_cells=request.param) as made:
        yield made


@pytest.fixture
def pooled(recurrent):
    with Engine(recurrent, context=2048, slots=3) as made:
        yield made


def from_scratch(model, ids):
    """Logits after some ids, by an engine that has seen nothing else, one token at a time."""
    with Engine(model, context=1024, slots=1) as fresh:
        sequence = fresh.new()
        for token in ids:
            sequence.append([token])
            fresh.evaluate([sequence])
        return sequence.logits


def same(model, sequence):
    np.testing.assert_allclose(sequence.logits, from_scratch(model, sequence.ids), atol=0.03)


def test_they_are_known_as_such(recurrent, model):
    assert recurrent.recurrent and not model.recurrent


def test_they_tell_sequences_apart(recurrent):
    """Else the tests here would show nothing."""
    assert np.abs(from_scratch(recurrent, [5, 6, 7]) - from_scratch(recurrent, [6, 5, 7])).max() > 0.3


def test_episodes_one_after_the_other(engine, recurrent):
    """The second has the first's beginning, a third another one: memory that replaces the front of the prompt."""
    sequence = engine.new()
    prompt = list(range(100, 140))
    for ids in ([*prompt, 1, 2, 3], [*prompt, 9, 8], [*prompt[:20], 7, 7], [50, *prompt, 4]):
        sequence.replace(ids)
        engine.evaluate([sequence])
        same(recurrent, sequence)
        sequence.append([11, 12])
        engine.evaluate([sequence])
        same(recurrent, sequence)


def test_what_was_cut_to_its_own_end_is_evaluated_anew(engine, recurrent):
    sequence = engine.new()
    sequence.append([10, 20, 30, 40])
    engine.evaluate([sequence])
    sequence.append([50])
    sequence.cut(4)
    engine.evaluate([sequence])
    same(recurrent, sequence)
    sequence.cut(2)
    engine.evaluate([sequence])
    same(recurrent, sequence)


def test_forks_go_their_own_ways(engine, recurrent):
    first = engine.new()
    first.append(range(200, 230))
    engine.evaluate([first])
    forks = [engine.fork(first) for _ in range(3)]
    for number, fork in enumerate(forks):
        fork.append([300 + number] * (number + 1))
    engine.evaluate(forks)
    for sequence in (*forks, first):
        same(recurrent, sequence)
    engine.free(forks[0])
    first.append([5])
    forks[1].append([6, 7])
    forks[2].cut(10)
    engine.evaluate([first, *forks[1:]])
    for sequence in (first, *forks[1:]):
        same(recurrent, sequence)


def test_a_fork_of_what_was_cut(engine, recurrent):
    first = engine.new()
    first.append([1, 2, 3, 4, 5])
    engine.evaluate([first])
    first.cut(3)
    fork = engine.fork(first)
    fork.append([9])
    engine.evaluate([fork, first])
    same(recurrent, fork)
    same(recurrent, first)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(st.tuples(st.sampled_from(["append", "cut", "replace", "fork", "free", "evaluate"]), st.integers(0, 3),
                                st.lists(st.integers(3, 500), min_size=1, max_size=6)), max_size=12))
def test_whatever_is_done_in_whatever_order(engine, recurrent, moves):
    alive = [engine.new()]
    alive[0].append([42])
    try:
        for move, which, ids in moves:
            sequence = alive[which % len(alive)]
            if move == "append":
                sequence.append(ids)
            elif move == "cut":
                sequence.cut(1 + ids[0] % len(sequence.ids))
            elif move == "replace":
                sequence.replace([*sequence.ids[:2], *ids])
            elif move == "fork" and len(alive) < 4:
                alive.append(engine.fork(sequence))
            elif move == "free" and len(alive) > 1:
                engine.free(alive.pop())
            elif move == "evaluate":
                engine.evaluate(alive)
        engine.evaluate(alive)
        for sequence in alive:
            same(recurrent, sequence)
    finally:
        for sequence in alive:
            engine.free(sequence)


def test_trees_are_evaluated_path_by_path_with_one_slot_to_spare(recurrent):
    with Engine(recurrent, context=1024, slots=2) as engine:
        sequence = engine.new()
        sequence.append(range(100, 120))
        parents, tokens = [-1, 0, 1, 1, -1, 4], [7, 8, 9, 10, 11, 12]
        rows = engine.evaluate_tree(sequence, parents, tokens)
        for node, row in enumerate(rows):
            path, place = [], node
            while place >= 0:
                path.append(tokens[place])
                place = parents[place]
            np.testing.assert_allclose(row, from_scratch(recurrent, [*sequence.ids, *path[::-1]]), atol=0.03)
        engine.evaluate([sequence])
        same(recurrent, sequence)


def drive(engine, deciding):
    """Answer a decision's requests; its outcome."""
    answer = None
    while True:
        try:
            request = deciding.send(answer)
        except StopIteration as done:
            return done.value
        if isinstance(request, decide.Tree):
            answer = engine.evaluate_tree(request.sequence, request.parents, request.tokens)
        else:
            answer = engine.evaluate([request])


@pytest.mark.parametrize("way", ["free", "admissible", "scored"])
def test_two_episodes_decide_as_two_fresh_ones(pooled, recurrent, way):
    vocabulary = recurrent.vocabulary
    end = vocabulary.control("<|im_end|>")
    actions = {text: [*vocabulary.encode(text), *end] for text in ("go to cabinet 1", "go to cabinet 2", "open drawer 1", "look")}
    prompts = [vocabulary.encode("You are in a kitchen. " + words) for words in ("You see a cup.", "You see a plate and a mug.")]

    def play(engine, sequence, prompt):
        sequence.replace(prompt)
        said = []
        for step in range(3):
            choice = decide.free(sequence, vocabulary, end, limit=6) if way == "free" else getattr(decide, way)(sequence, actions)
            said.append(drive(engine, choice))
            sequence.append(vocabulary.encode(f" Nothing happens {step}."))
        return said, list(sequence.ids)

    kept = pooled.new()
    for prompt in prompts:
        with Engine(recurrent, context=2048, slots=2) as fresh:
            expected, ids = play(fresh, fresh.new(), prompt)
        found, got = play(pooled, kept, prompt)
        assert got == ids and [d.text for d in found] == [d.text for d in expected]
        for mine, theirs in zip(found, expected, strict=True):
            assert mine.probability == pytest.approx(theirs.probability, abs=1e-3)
