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


# Going on in the middle

sizes_of_samples = st.lists(st.integers(1, 3000), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(sizes_of_samples, st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.integers(0, 3))
def test_a_longer_plan_begins_as_a_shorter_one(sizes: list[int], per_step: int, first: int, more: int, seed: int) -> None:
    """So a run that goes on with more steps, or from the middle, takes the steps it would have taken."""
    short, long = (plan_steps(sizes, trajectories=per_step, at_once=4096, epochs=1, steps=n, seed=seed) for n in (first, first + more))
    assert long.steps[:first] == short.steps and len(long.steps) == first + more
    assert all(short.epoch(step) == long.epoch(step) for step in range(first + 1))


@settings(max_examples=60, deadline=None)
@given(sizes_of_samples, st.integers(1, 9), st.integers(1, 4), st.integers(0, 3))
def test_epochs_count_up_evenly_to_their_number(sizes: list[int], per_step: int, epochs: int, seed: int) -> None:
    made = plan_steps(sizes, trajectories=per_step, at_once=4096, epochs=epochs, steps=0, seed=seed)
    seen = [made.epoch(step) for step in range(len(made.steps) + 1)]
    assert seen[0] == 0 and seen[-1] == pytest.approx(epochs) and seen == sorted(seen)
    ends = [sum(made.per_epoch[: n + 1]) for n in range(epochs)]
    assert [made.epoch(end) for end in ends] == pytest.approx(list(range(1, epochs + 1)))


@settings(max_examples=60, deadline=None)
@given(sizes_of_samples, st.integers(1, 9), st.floats(0.01, 3.5), st.integers(0, 3))
def test_a_part_of_an_epoch_is_that_part_of_its_steps(sizes: list[int], per_step: int, epochs: float, seed: int) -> None:
    made = plan_steps(sizes, trajectories=per_step, at_once=1, epochs=epochs, steps=0, seed=seed)
    per_epoch = -(-len(sizes) // per_step)
    assert abs(len(made.steps) - epochs * per_epoch) <= max(1, 1 - epochs * per_epoch)
    counted = Counter(i for step in made.steps for batch in step for i in batch)
    assert max(counted.values()) - min(counted[i] for i in range(len(sizes))) <= 1  # nothing a third time before all a second time


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=20, max_size=200), st.integers(2, 16), st.integers(0, 3))
def test_together_go_neighbours_in_length(sizes: list[int], per_step: int, seed: int) -> None:
    """Within an epoch that is one window: no sample outside a batch is of a length between two in it, but for equal ones."""
    window = per_step * 32
    made = plan_steps(sizes[:window], trajectories=per_step, at_once=10**9, epochs=1, steps=0, seed=seed)
    batches = [batch for step in made.steps for batch in step]
    for number, batch in enumerate(batches):
        low, high = min(sizes[i] for i in batch), max(sizes[i] for i in batch)
        others = [sizes[i] for place, other in enumerate(batches) if place != number for i in other]
        assert not any(low < size < high for size in others)


def test_another_seed_is_another_order() -> None:
    orders = {plan_steps([10] * 40, trajectories=4, at_once=1, epochs=1, steps=0, seed=seed).steps for seed in range(8)}
    assert len(orders) == 8


def test_a_sample_longer_than_what_goes_at_once_goes_alone() -> None:
    made = plan_steps([50, 9000, 60, 70], trajectories=4, at_once=8192, epochs=1, steps=0, seed=0)
    assert (1,) in [batch for step in made.steps for batch in step]


@given(st.lists(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=1, max_size=3), min_size=1, max_size=4),
       st.lists(st.integers(1, 100), min_size=10, max_size=10))
def test_the_share_of_padding_is_what_counting_gives(steps: list[list[list[int]]], sizes: list[int]) -> None:
    chosen = [tuple(tuple(batch) for batch in step) for step in steps]
    rows = [(sizes[i], max(sizes[j] for j in batch)) for step in chosen for batch in step for i in batch]
    empty = sum(width - size for size, width in rows)
    assert share_of_padding(chosen, sizes) == pytest.approx(empty / sum(width for _, width in rows))
    assert 0 <= share_of_padding(chosen, sizes) < 1
