"""The kinds of memory over several samples of one trajectory: every one of them meets every kind as often as the recipe says."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.training.demonstrations import KINDS, Kind, kinds
from edgexp.training.recipe import Mix


@st.composite
def mixes(draw: st.DrawFn) -> Mix:
    """Shares in twentieths."""
    cuts = sorted(draw(st.lists(st.integers(0, 20), min_size=3, max_size=3)))
    return Mix(*((b - a) / 20 for a, b in zip([0, *cuts], [*cuts, 20], strict=True)))


def over_variants(mix: Mix, count: int, seed: int, variants: int) -> list[Counter[Kind]]:
    """Of every sample, how often it has each kind."""
    drawn = [kinds(mix, count, seed, variant) for variant in range(variants)]
    return [Counter(column) for column in zip(*drawn, strict=True)]


@given(mix=mixes(), count=st.integers(1, 30), seed=st.integers(0, 20), variants=st.integers(1, 64))
def test_every_sample_meets_the_kinds_in_their_shares_whatever_these_are(mix: Mix, count: int, seed: int, variants: int) -> None:
    for found in over_variants(mix, count, seed, variants):
        assert sum(found.values()) == variants
        for kind in KINDS:
            share = getattr(mix, kind)
            assert abs(found[kind] - share * variants) <= 2.5, kind  # drawn independently, it would be off by 4 and more
            assert share > 0 or found[kind] == 0


@given(mix=mixes(), count=st.integers(1, 60), seed=st.integers(0, 20))
def test_more_variants_leave_the_first_as_they_are(mix: Mix, count: int, seed: int) -> None:
    """So a dataset of more variants holds the one of fewer."""
    few, many = ([kinds(mix, count, seed, variant) for variant in range(n)] for n in (2, 5))
    assert many[:2] == few


@given(count=st.integers(1, 60), seed=st.integers(0, 20), variant=st.integers(0, 9))
def test_one_kind_alone_is_everywhere(count: int, seed: int, variant: int) -> None:
    for number, kind in enumerate(KINDS):
        assert kinds(Mix(*(float(place == number) for place in range(4))), count, seed, variant) == [kind] * count


@pytest.mark.parametrize("count", [10, 20, 200])
def test_shares_that_come_out_even_are_exact(count: int) -> None:
    """In the first sample of every trajectory, where nothing has been turned yet."""
    found = Counter(kinds(Mix(0.4, 0.3, 0.2, 0.1), count, 0, 0))
    assert [found[kind] for kind in KINDS] == [0.4 * count, 0.3 * count, 0.2 * count, 0.1 * count]
