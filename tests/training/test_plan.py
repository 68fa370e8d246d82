"""The plan of a training: every sample once an epoch, steps of the size asked for, little padding, the same every time."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgexp.training.prepared import plan_steps, share_of_padding

lengths = st.lists(st.integers(1, 3000), min_size=1, max_size=200)


@settings(max_examples=60, deadline=None)
@given(lengths, st.integers(1, 20), st.sampled_from([1, 500, 4096]), st.integers(1, 3), st.integers(0, 5))
def test_every_sample_once_an_epoch_in_steps_of_the_size_asked_for(sizes: list[int], per_step: int, at_once: int, epochs: int,
                                                                     seed: int) -> None:
    made = plan_steps(sizes, trajectories=per_step, at_once=at_once, epochs=epochs, steps=0, seed=seed)
    assert sum(made.per_epoch) == len(made.steps)
    seen = Counter(i for step in made.steps for batch in step for i in batch)
    assert seen == Counter(dict.fromkeys(range(len(sizes)), epochs))
    for step in made.steps:
        assert 1 <= sum(map(len, step)) <= per_step
        for batch in step:
            assert len(batch) == 1 or max(sizes[i] for i in batch) * len(batch) <= at_once
    again = plan_steps(sizes, trajectories=per_step, at_once=at_once, epochs=epochs, steps=0, seed=seed)
    assert again == made


def test_one_at_a_time_fills_every_step_but_the_last() -> None:
    made = plan_steps([10] * 37, trajectories=8, at_once=1, epochs=1, steps=0, seed=0)
    assert [sum(map(len, step)) for step in made.steps] == [8, 8, 8, 8, 5]
    assert share_of_padding(made.steps, [10] * 37) == 0


def test_steps_overrule_epochs() -> None:
    short = plan_steps([5] * 20, trajectories=4, at_once=1, epochs=9, steps=3, seed=1)
    long = plan_steps([5] * 20, trajectories=4, at_once=1, epochs=1, steps=12, seed=1)
    assert len(short.steps) == 3 and len(long.steps) == 12
    assert long.steps[:3] == short.steps
    assert (long.epoch(0), long.epoch(5), long.epoch(12)) == (0, 1, pytest.approx(2.4))
    assert len(plan_steps([5] * 20, trajectories=4, at_once=1, epochs=1.6, steps=0, seed=1).steps) == 8
    assert len(plan_steps([5], trajectories=4, at_once=1, epochs=0.01, steps=0, seed=1).steps) == 1


@pytest.mark.parametrize("shape", ["episodes", "with memory"])
def test_padding_stays_under_five_percent(shape: str) -> None:
    """Lengths as they come: an ALFWorld episode has about 590 tokens, two remembered ones make it 1,900."""
    chance = random.Random(3)
    spread = [min(8000, round(chance.lognormvariate(6.4, 0.45))) for _ in range(320)]
    sizes = spread if shape == "episodes" else [sum(chance.sample(spread, 3)) + 150 for _ in range(320)]
    made = plan_steps(sizes, trajectories=8, at_once=8192, epochs=2, steps=0, seed=0)
    assert share_of_padding(made.steps, sizes) < 0.05
    # And the order is still a drawn one: steps are not sorted by length.
    tokens = [sum(sizes[i] for batch in step for i in batch) / sum(map(len, step)) for step in made.steps[:20]]
    assert tokens != sorted(tokens)


def test_epochs_differ() -> None:
    made = plan_steps(list(range(1, 65)), trajectories=8, at_once=1, epochs=2, steps=0, seed=0)
    first, second = made.steps[:8], made.steps[8:]
    assert first != second
