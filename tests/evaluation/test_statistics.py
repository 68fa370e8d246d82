"""Intervals and tests against their definitions."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from result_samples import a_row

from edgexp.evaluation import statistics
from edgexp.evaluation.results import Seconds, Tokens
from edgexp.evaluation.statistics import bootstrap, compare_pairs, group_rows, mcnemar, mean_costs, paired_interval, share_won, wilson

counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_wilson_holds_the_share_and_stays_in_bounds(count):
    w = wilson(*count)
    assert 0 <= w.low <= w.share <= w.high <= 1
    assert (w.low == 0) == (w.won == 0) and (w.high == 1) == (w.won == w.count)
    mirrored = wilson(w.count - w.won, w.count)
    assert math.isclose(w.low, 1 - mirrored.high, abs_tol=1e-12) and math.isclose(w.high, 1 - mirrored.low, abs_tol=1e-12)


@given(counts)
def test_wilsons_ends_solve_its_equation(count):
    """At an end p of the interval, the share lies exactly z standard deviations of p away."""
    w, z = wilson(*count), 1.959963984540054
    for p in (w.low, w.high):
        if 0 < p < 1:
            assert math.isclose(abs(w.share - p), z * math.sqrt(p * (1 - p) / w.count), abs_tol=1e-9)


@given(counts, st.integers(2, 5))
def test_more_of_the_same_narrows_wilson(count, times):
    few, many = wilson(*count), wilson(count[0] * times, count[1] * times)
    assert many.high - many.low < few.high - few.low


def test_wilson_known_values():
    w = wilson(8, 10)  # as in Newcombe (1998) computed by hand from the formula
    assert (round(w.low, 4), round(w.high, 4)) == (0.4902, 0.9433)
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)
    with pytest.raises(ValueError):
        wilson(3, 2)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial(gained, lost):
    n = gained + lost
    expected = min(Fraction(1), sum((Fraction(math.comb(n, i), 2**n) for i in range(n + 1) if i <= min(gained, lost)), Fraction(0)) * 2)
    assert math.isclose(mcnemar(gained, lost), float(expected) if n else 1.0, rel_tol=1e-12)
    assert mcnemar(gained, lost) == mcnemar(lost, gained) and 0 < mcnemar(gained, lost) <= 1


def test_mcnemar_known_values():
    assert mcnemar(0, 5) == 0.0625 and mcnemar(1, 7) == pytest.approx(0.0703125) and mcnemar(3, 3) == 1


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=40), st.integers(0, 9))
def test_a_bootstrap_holds_its_mean_and_repeats(values, seed):
    m = bootstrap(values, rounds=2000, seed=seed)
    assert min(values) - 1e-9 <= m.low <= m.high <= max(values) + 1e-9
    assert m.count == len(values) and math.isclose(m.mean, sum(values) / len(values), abs_tol=1e-9)
    assert m == bootstrap(values, rounds=2000, seed=seed)


def test_a_bootstrap_is_as_wide_as_the_standard_error_says():
    values = [0.0, 1.0] * 100
    m = bootstrap(values)
    assert m.high - m.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(200), rel=0.1)
    with pytest.raises(ValueError):
        bootstrap([])


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_a_comparison_counts_pairs(outcomes):
    ours = [a_row(number=n, success=a) for n, (a, _) in enumerate(outcomes)]
    theirs = [a_row("base", number=n, success=b) for n, (_, b) in enumerate(outcomes)]
    change = compare_pairs(ours, theirs)
    assert change.pairs == len(outcomes)
    assert (change.gained - change.lost) / change.pairs == pytest.approx(change.difference)
    assert change.low <= change.difference + 1e-12 and change.difference <= change.high + 1e-12
    mirrored = compare_pairs(theirs, ours)
    assert (mirrored.gained, mirrored.lost, mirrored.p) == (change.lost, change.gained, change.p)
    assert compare_pairs(reversed(ours), theirs) == change, "the order of rows does not matter"


def test_newcombes_published_example():
    """Newcombe (1998), paired data of table II: 36, 12, 2 and 0 of 50 pairs."""
    low, high = paired_interval(36, 12, 2, 50)
    assert (round(low, 4), round(high, 4)) == (0.0569, 0.3404)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(15, 60), min_size=4, max_size=4))
def test_with_many_tasks_the_interval_is_the_bootstraps(cells):
    both, gained, lost, neither = cells
    low, high = paired_interval(both, gained, lost, sum(cells))
    m = bootstrap([1.0] * gained + [-1.0] * lost + [0.0] * (both + neither))
    assert low == pytest.approx(m.low, abs=0.035) and high == pytest.approx(m.high, abs=0.035)


@given(st.lists(st.integers(0, 30), min_size=4, max_size=4).filter(any))
def test_a_paired_interval_is_never_empty_and_turns_with_its_sides(cells):
    both, gained, lost, _ = cells
    n = sum(cells)
    low, high = paired_interval(both, gained, lost, n)
    assert -1 <= low <= (gained - lost) / n <= high <= 1 and low < high
    assert paired_interval(both, lost, gained, n) == pytest.approx((-high, -low))


def test_only_tasks_of_both_are_compared():
    change = compare_pairs([a_row(number=n) for n in range(5)], [a_row("base", number=n, success=False) for n in (3, 4, 9)])
    assert (change.pairs, change.gained, change.lost) == (2, 2, 0)
    assert compare_pairs([a_row()], []) is None


def test_rows_are_counted_and_divided():
    rows = [a_row(number=n, group=g, success=n > 0) for n, g in enumerate(("hard", "easy", "easy"))]
    assert (share_won(rows).won, share_won(rows).count) == (2, 3)
    assert {key: len(part) for key, part in group_rows(rows, "condition", "group").items()} == {("plain", "easy"): 2, ("plain", "hard"): 1}
    assert mean_costs(rows)["prompt tokens"].mean == 100 and mean_costs(rows)["score"].mean == 1.0 and mean_costs([]) == {}


def test_steps_to_success_are_of_the_episodes_that_were_won():
    rows = [a_row(number=n, success=n < 2, steps=5 + n) for n in range(4)]
    means = mean_costs(rows)
    assert (means["steps"].mean, means["steps to success"].mean, means["steps to success"].count) == (6.5, 5.5, 2)
    assert "steps to success" not in mean_costs(rows[2:])


@given(counts, st.floats(0.05, 0.94))
def test_a_surer_interval_holds_the_less_sure_one(count, level):
    sure, less = wilson(*count), wilson(*count, level=level)
    assert sure.low <= less.low <= less.share <= less.high <= sure.high


@given(st.lists(st.booleans(), max_size=14))
def test_mcnemar_counts_the_splits_that_are_as_uneven(signs):
    """By enumeration: each discordant pair falls either way with the same chance."""
    uneven = abs(sum(1 if sign else -1 for sign in signs))
    everything = range(2 ** len(signs))
    as_uneven = sum(abs(2 * number.bit_count() - len(signs)) >= uneven for number in everything)
    assert mcnemar(sum(signs), len(signs) - sum(signs)) == pytest.approx(as_uneven / len(everything))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 40))
def test_the_more_uneven_the_smaller_p(fewer, more, extra):
    fewer, more = sorted((fewer, more))
    assert mcnemar(fewer, more + extra) <= mcnemar(fewer, more) + 1e-12


cells_of_pairs = st.lists(st.integers(0, 25), min_size=4, max_size=4).filter(any)


@given(cells_of_pairs)
def test_a_paired_interval_turns_when_won_and_lost_change_places(cells):
    both, gained, lost, neither = cells
    low, high = paired_interval(both, gained, lost, sum(cells))
    assert paired_interval(neither, lost, gained, sum(cells)) == pytest.approx((-high, -low))


@given(cells_of_pairs, st.integers(2, 6))
def test_more_of_the_same_narrows_a_paired_interval(cells, times):
    both, gained, lost, _ = cells
    few = paired_interval(both, gained, lost, sum(cells))
    many = paired_interval(both * times, gained * times, lost * times, sum(cells) * times)
    assert many[1] - many[0] < few[1] - few[0]


def test_without_a_discordant_pair_the_interval_is_around_nothing():
    for both, pairs in ((0, 10), (5, 10), (10, 10)):
        low, high = paired_interval(both, 0, 0, pairs)
        assert low == pytest.approx(-high) and 0 < high < 0.4


def test_a_bootstrap_of_two_values_is_the_binomials():
    """Of `[0, 1]` a resample is 0, 1/2 or 1 with chances 1/4, 1/2, 1/4; of one value nothing else can be drawn."""
    narrow, wide = bootstrap([0.0, 1.0], level=0.4), bootstrap([0.0, 1.0], level=0.6)
    assert (narrow.low, narrow.high) == (0.5, 0.5) and (wide.low, wide.high) == (0.0, 1.0)
    assert bootstrap([3.0]) == bootstrap([3.0], seed=9) and (bootstrap([3.0]).low, bootstrap([3.0]).high) == (3.0, 3.0)


@settings(max_examples=20)
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=12), st.floats(-50, 50), st.integers(0, 5))
def test_a_bootstrap_moves_and_turns_with_its_values(values, by, seed):
    own, moved = (bootstrap(data, rounds=500, seed=seed) for data in (values, [value + by for value in values]))
    assert (moved.mean, moved.low, moved.high) == pytest.approx((own.mean + by, own.low + by, own.high + by), abs=1e-9)
    turned = bootstrap([-value for value in values], rounds=500, seed=seed)
    assert (turned.low, turned.high) == pytest.approx((-own.high, -own.low), abs=1e-9)


def test_another_seed_draws_other_samples():
    values = [float(value) ** 2 for value in range(9)]
    assert len({bootstrap(values, rounds=50, seed=seed).low for seed in range(8)}) > 1


@given(st.integers(1, 20_000), st.integers(1, 3_000_000))
def test_a_bootstrap_takes_a_little_memory_at_a_time(rounds, width):
    parts = statistics._parts(rounds, width)
    assert sum(parts) == rounds and all(part > 0 and (part == 1 or part * width <= 1_000_000) for part in parts)


@settings(max_examples=40)
@given(st.dictionaries(st.integers(0, 12), st.booleans()), st.dictionaries(st.integers(0, 12), st.booleans()))
def test_tasks_without_a_partner_change_nothing(ours, theirs):
    rows = [a_row(number=number, success=won) for number, won in ours.items()]
    others = [a_row("base", number=number, success=won) for number, won in theirs.items()]
    shared = ours.keys() & theirs.keys()
    change = compare_pairs(rows, others)
    if not shared:
        assert change is None
        return
    assert (change.pairs, change.gained, change.lost) == (
        len(shared), sum(ours[n] and not theirs[n] for n in shared), sum(theirs[n] and not ours[n] for n in shared))  # fmt: skip
    paired = {f"counting/dev/{number}" for number in shared}
    assert change == compare_pairs([row for row in rows if row.task_id in paired], [row for row in others if row.task_id in paired])
    assert change.p == mcnemar(change.gained, change.lost)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(("", "easy", "hard")), st.booleans()), max_size=20))
def test_every_row_is_in_one_group_in_its_order(kinds):
    rows = [a_row(name, number, group=group, success=won) for number, (name, group, won) in enumerate(kinds)]
    groups = group_rows(rows, "condition", "group")
    assert list(groups) == sorted(groups) and sum(map(len, groups.values())) == len(rows)
    for (name, group), members in groups.items():
        assert members == [row for row in rows if (row.condition, row.group) == (name, group)] != []
    shares = [share_won(members) for members in groups.values()]
    assert sum(share.won for share in shares) == share_won(rows).won == sum(row.success for row in rows)
    assert share_won(rows) == wilson(sum(row.success for row in rows), len(rows))


def test_costs_are_those_of_the_rows():
    tokens, seconds = Tokens(100, 40, 5, 60), Seconds(0.1, 0.2, 0.3, 0.4, 7.0)
    means = mean_costs([a_row(score=0.25, steps=3, tokens=tokens, seconds=seconds, success=False)])
    assert {name: mean.mean for name, mean in means.items()} == {
        "score": 0.25, "steps": 3, "prompt tokens": 100, "evaluated tokens": 40, "seconds": 7.0}  # fmt: skip
    assert list(means) == list(statistics.COSTS) and statistics.TO_SUCCESS not in means
