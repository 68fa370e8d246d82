"""Shared stretches: what sequences begin with, evaluated once and attached. The default model's own weights."""

import numpy as np
import pytest

from edgexp.engine.engine import ContextFull, Engine
from edgexp.engine.maker import BlockSource, Stretch
from edgexp.engine.sequence import NOTHING
from edgexp.errors import EdgexpError

pytestmark = pytest.mark.slow

PREFIX = "You are in a house. Answer with one action."
PAST = (
    "\nGoal: put an apple on the table.\n>go to shelf 1\nYou see an apple 1.\n>take apple 1 from shelf 1",
    "\nGoal: heat an egg.\n>go to fridge 1\nYou see an egg 2.\n>take egg 2 from fridge 1\n>go to microwave 1",
    "\nGoal: examine the book under the lamp.\n>go to desk 1\nYou see a book 1 and a desklamp 1.",
)
TASK = "\nGoal: put an egg on the table.\n>"


class Memory(dict):
    """A keeper that forgets when the process ends."""

    def load(self, key, label):
        return self.get((key, label))

    def store(self, key, label, payload):
        self[key, label] = payload.copy()
        return True


@pytest.fixture(scope="module")
def texts(model):
    """Ids of the prefix, of the past episodes, and of the task."""
    encode = model.vocabulary.encode
    return encode(PREFIX), [encode(past) for past in PAST], encode(TASK)


@pytest.fixture
def roomy(model):
    """An engine with room for everything, and nothing in it."""
    with Engine(model, 2048, slots=8, blocks=8) as made:
        yield made


def begin(engine, texts, blocks, own=None):
    prefix, past, task = texts
    sequence = engine.new()
    sequence.share(prefix, [past[n] for n in blocks])
    sequence.append(own or task)
    engine.evaluate([sequence])
    return sequence


def test_one_block_is_what_the_same_tokens_in_a_row_are(roomy, texts):
    prefix, past, task = texts
    apart = begin(roomy, texts, [0])
    row = roomy.new()
    row.append([*prefix, *past[0], *task])
    roomy.evaluate([row])
    assert apart.logits.argmax() == row.logits.argmax()
    assert np.abs(apart.logits - row.logits).max() < 0.5, "but for rounding, which hangs on the size of batches"


def test_the_order_of_memories_changes_nothing(roomy, texts):
    logits = []
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0, 0]):
        sequence = begin(roomy, texts, order)
        logits.append(sequence.logits)
        roomy.free(sequence)
    assert np.array_equal(logits[0], logits[1]) and np.array_equal(logits[0], logits[2])


def test_what_was_evaluated_once_is_not_evaluated_again(roomy, texts):
    prefix, past, task = texts
    first = begin(roomy, texts, [0, 1])
    shared = len(prefix) + len(past[0]) + len(past[1])
    assert (first.ran, first.attached, first.loaded) == (shared + len(task), 0, 0)
    second = begin(roomy, texts, [1, 0])
    assert (second.ran, second.attached, second.loaded) == (len(task), shared, 0)
    roomy.free(first)
    roomy.free(second)
    before = roomy.counters.evaluated
    third = begin(roomy, texts, [0, 2])
    assert third.ran == len(task) + len(past[2]) and third.attached == len(prefix) + len(past[0])
    assert roomy.counters.evaluated - before == len(task), "a block is evaluated elsewhere"


def test_bytes_from_a_keeper_give_the_same_scores_bit_for_bit(model, texts):
    keeper, logits, costs = Memory(), [], []
    for _ in range(2):
        source = BlockSource(model, keeper)
        with Engine(model, 2048, slots=4, blocks=8, source=source) as engine:
            sequence = begin(engine, texts, [0, 1, 2])
            logits.append(sequence.logits)
            costs.append((sequence.ran, sequence.loaded))
        source.close()
    assert np.array_equal(*logits)
    prefix, past, task = texts
    everything = len(prefix) + sum(map(len, past))
    assert costs == [(everything + len(task), 0), (len(task), everything)], "warm: the task's own tokens only"


def test_a_block_is_the_same_whatever_was_evaluated_before_it(model, texts):
    prefix, past, _ = texts
    states = []
    for order in ([0, 1], [1, 0]):
        source = BlockSource(model)
        states.append({n: source.get(Stretch(tuple(prefix), tuple(past[n])))[0] for n in order})
        source.close()
    assert all(np.array_equal(states[0][n], states[1][n]) for n in (0, 1))


def test_sequences_with_blocks_grow_fork_and_are_cut_as_others(roomy, texts):
    _, past, task = texts
    sequence = begin(roomy, texts, [0, 1])
    expected = sequence.logits
    fork = roomy.fork(sequence)
    for one in (fork, sequence):
        one.append(past[2])
        roomy.evaluate([one])
    assert np.abs(fork.logits - sequence.logits).max() < 0.5
    scores = roomy.score(sequence, [[5, 6], [5, 7], [9]])
    again = begin(roomy, texts, [0, 1], [*task, *past[2], 5])
    assert abs(again.logits[6] - np.logaddexp.reduce(again.logits.astype(np.float64)) - scores[0][1]) < 0.5
    roomy.free(fork)
    sequence.cut(len(task))
    roomy.evaluate([sequence])
    assert sequence.logits.argmax() == expected.argmax() and np.abs(sequence.logits - expected).max() < 0.5
    sequence.cut(0)
    sequence.append(task)
    roomy.evaluate([sequence])
    assert np.abs(sequence.logits - expected).max() < 0.5


def test_other_memories_take_the_place_of_those_before(roomy, texts):
    _, past, task = texts
    sequence = begin(roomy, texts, [0, 1])
    sequence.share(texts[0], [past[2]])
    assert sequence.ids == [] and sequence.evaluated == 0
    sequence.append(task)
    roomy.evaluate([sequence])
    alone = begin(roomy, texts, [2])
    assert alone.logits.argmax() == sequence.logits.argmax() and np.abs(alone.logits - sequence.logits).max() < 0.5
    sequence.share(texts[0], [past[2]])
    assert sequence.ids == task, "the same again is nothing new"
    sequence.share(())
    sequence.append([*texts[0], *task])
    roomy.evaluate([sequence])
    assert sequence.held == NOTHING


def test_cells_are_given_back(model, texts):
    prefix, past, task = texts
    most = len(prefix) + sum(map(len, past)) + len(task)
    with Engine(model, 256, slots=2, blocks=6) as engine:
        assert engine.context < 2 * most + 200, "two such episodes would not fit side by side for ever"
        chance = np.random.default_rng(0)
        sequence = engine.new()
        for _ in range(40):
            chosen = chance.permutation(3)[: chance.integers(1, 4)]
            sequence.share(prefix, [past[n] for n in chosen])
            sequence.replace([*task, *chance.integers(300, 9000, 4).tolist()])
            engine.evaluate([sequence])
        engine.free(sequence)
        assert not engine._pool._placed
        full = engine.new()
        full.append([5] * engine.context)
        engine.evaluate([full])


def test_what_does_not_fit_is_said_and_touches_nothing_else(model, texts):
    prefix, past, task = texts
    with Engine(model, 256, slots=3, blocks=6) as engine:
        other = engine.new()
        other.append([7] * (engine.context - len(prefix) - len(past[0]) - 2))
        engine.evaluate([other])
        sequence = engine.new()
        sequence.share(prefix, [past[0], past[1]])
        sequence.append(task)
        with pytest.raises(ContextFull, match="is full"):
            engine.evaluate([sequence])
        assert sequence.logits is None and not engine._pool._placed
        before = other.logits
        other.append([8])
        engine.evaluate([other])
        assert np.isfinite(other.logits).all() and not np.array_equal(before, other.logits)
        engine.free(other)
        engine.evaluate([sequence])
        assert sequence.logits is not None


def test_no_more_stretches_than_there_is_room_for(model, texts):
    with Engine(model, 1024, slots=2, blocks=2) as engine, pytest.raises(EdgexpError, match="shared stretches"):
        begin(engine, texts, [0, 1])


def test_cells_of_ones_own_cannot_be_shared(model, texts):
    with Engine(model, 2048, slots=2, own_cells=True) as engine, pytest.raises(EdgexpError, match="--layout chained"):
        begin(engine, texts, [0])


def test_a_context_too_long_for_all_states_keeps_the_latest(model, texts):
    prefix, past, _ = texts
    source = BlockSource(model, remembered=1)
    for past_ids in past[:2]:
        source.get(Stretch(tuple(prefix), tuple(past_ids)))
    _, came = source.get(Stretch(tuple(prefix), tuple(past[1])))
    assert came.remembered == len(past[1])
    assert source.get(Stretch(tuple(prefix), tuple(past[0])))[1].evaluated > 0
    source.close()
