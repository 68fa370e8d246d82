"""Shares of memory kinds, and chance that can be repeated."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import make_trajectory

from edgexp.training.demonstrations import KINDS, draw, kinds, shorten
from edgexp.training.recipe import Mix

ROBUST = Mix(0.5, 0.2, 0.2, 0.1)


@st.composite
def mixes(draw):
    """Shares that add up to 1; some of them nothing."""
    parts = draw(st.lists(st.integers(0, 20), min_size=4, max_size=4).filter(any))
    return Mix(*(part / sum(parts) for part in parts))


@given(mix=mixes(), count=st.integers(1, 300), seed=st.integers(0, 5), variant=st.integers(0, 40))
def test_the_shares_are_as_exact_as_whole_numbers_allow(mix, count, seed, variant):
    found = Counter(kinds(mix, count, seed, variant))
    for kind in KINDS:
        share = getattr(mix, kind)
        assert abs(found[kind] - share * count) <= 1 + 1e-9
        assert share > 0 or found[kind] == 0


def test_every_sample_meets_the_kinds_in_their_shares():
    variants = [kinds(ROBUST, 50, 0, variant) for variant in range(40)]
    for sample in range(50):
        found = Counter(variant[sample] for variant in variants)
        assert all(abs(found[kind] - 40 * getattr(ROBUST, kind)) <= 3 for kind in KINDS)


def test_kinds_are_the_seeds_and_not_the_orders():
    assert kinds(ROBUST, 100, 7, 2) == kinds(ROBUST, 100, 7, 2)
    assert len({tuple(kinds(ROBUST, 100, seed, variant)) for seed in range(3) for variant in range(3)}) == 9
    runs = sum(a == b for a, b in zip(kinds(ROBUST, 1000, 0, 0), kinds(ROBUST, 1000, 0, 0)[1:], strict=False))
    assert 250 < runs < 430  # 34 % of neighbours are equal by chance; in blocks nearly all would be


def test_chance_has_a_name():
    assert draw(1, "a", 2).random() == draw(1, "a", 2).random() != draw(1, "a", 3).random()
    assert draw(0, "limit").random() == pytest.approx(0.2665, abs=1e-4)  # a change would change every dataset


@given(steps=st.integers(1, 12), seed=st.integers(0, 1000))
def test_a_shortened_trajectory_lacks_whole_steps_at_its_end(steps, seed):
    whole = make_trajectory(tuple(f"do {n}" for n in range(steps)))
    short = shorten(whole, Random(seed))
    assert short.steps == whole.steps[: len(short.steps)] and short.task == whole.task and short.observation == whole.observation
    assert len(short.steps) >= 1 and (len(short.steps) < steps or steps == 1)


def test_every_length_comes_up():
    whole = make_trajectory(tuple(f"do {n}" for n in range(5)))
    assert {len(shorten(whole, Random(seed)).steps) for seed in range(60)} == {1, 2, 3, 4}
