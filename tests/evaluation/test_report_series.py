"""Curves: which conditions differ in one thing only, and where a curve begins."""

import pytest
from figure_samples import a_memory, a_setup, results_of, some_results
from hypothesis import given, settings
from result_samples import a_header

from edgexp.evaluation.report.figures import Figures, count_figures, remembers
from edgexp.evaluation.report.series import KINDS, Series, curves_by_bank, curves_by_k, curves_by_size
from edgexp.evaluation.results import Header, Results, Setup


def test_a_curve_by_k_begins_with_the_same_model_without_memory() -> None:
    played = [(a_setup("plain"), "----"), (a_memory("k1", 1), "+---"), (a_memory("k4", 4), "++--"),
              (a_memory("tuned", 2, model="tuned"), "++++"), (a_memory("misled", 2, "mismatched"), "----")]  # fmt: skip
    curves = [curve for curve in curves_by_k(count_figures(results_of(*played))) if curve.column.endswith("all")]
    assert [(curve.label, [(k, share.won) for k, share in curve.points]) for curve in curves] == [
        ("toy, static, valid actions", [(0, 0), (1, 1), (4, 2)])]  # fmt: skip


@pytest.mark.parametrize(("plain", "start"), [([], 3), ([(a_setup("plain"), "----")], 0)])
def test_an_empty_bank_is_no_memory_where_the_model_was_not_played_without(plain: list, start: int) -> None:
    empty, other = a_memory("empty", 2, "empty"), a_memory("other", 2, "empty", model="other")
    played = [*plain, (a_memory("k1", 1), "+---"), (empty, "+++-"), (other, "++++")]
    curves = [curve for curve in curves_by_k(count_figures(results_of(*played))) if curve.column.endswith("all")]
    assert [[(k, share.won) for k, share in curve.points] for curve in curves] == [[(0, start), (1, 1)]]


def test_players_that_differ_in_how_they_act_are_not_one_curve() -> None:
    played = [(a_setup("plain", repeats=1), "++++"), (a_memory("k2", 2), "----"), (a_memory("k2 no circles", 2, repeats=1), "+---"),
              (a_memory("free", 2, actions="free"), "++--"), (a_memory("free k4", 4, actions="free"), "+++-")]  # fmt: skip
    curves = [curve for curve in curves_by_k(count_figures(results_of(*played))) if curve.column.endswith("all")]
    assert {curve.label: [(k, share.won) for k, share in curve.points] for curve in curves} == {
        "toy, static, valid actions, no circles": [(0, 4), (2, 1)], "toy, static": [(2, 2), (4, 3)]}  # fmt: skip


def test_bad_memory_stands_beside_the_baseline() -> None:
    played = [(a_setup("plain", model="other"), "+---"), (a_memory("empty", 2, "empty"), "----"), (a_memory("matched", 2), "++++")]
    counted = count_figures(results_of(*played, baseline="plain"))
    curves = [curve for curve in curves_by_bank(counted) if curve.column.endswith("all")]
    assert [(name, share.won) for name, share in curves[0].points] == [("matched", 4), ("empty", 0), ("baseline", 1)]
    as_much = count_figures(results_of((a_setup("plain", model="other"), "++++"), *played[1:], baseline="plain"))
    curves = [curve for curve in curves_by_bank(as_much) if curve.column.endswith("all")]
    assert [(name, share.won) for name, share in curves[0].points] == [("matched", 4), ("empty", 0), ("baseline", 4)]
    own = count_figures(results_of((a_setup("plain"), "+---"), *played[1:], baseline="plain"))
    assert [name for name, _ in curves_by_bank(own)[0].points] == ["matched", "empty", "none"]


def test_curves_by_size_do_not_mix_weights() -> None:
    def played(number: int, sha256: str) -> tuple[Header, Figures]:
        setup = a_memory("m", 2, model_sha256=sha256)
        tasks = [{"environment": "counting", "experience": {"bank": "", "number": number}}]
        header = a_header(setup, resolved={"conditions": [{"name": "m"}], "tasks": tasks})
        return header, count_figures(results_of((setup, "++--"), header=header))

    assert curves_by_size([played(10, "a"), played(50, "b")]) == [] and curves_by_size([played(10, "a"), played(50, "a")])


def test_bad_memory_is_compared_among_banks_alone() -> None:
    played = [(a_memory("empty", 2, "empty"), "----"), (a_memory("matched", 2), "++++"), (a_setup("plain"), "+---"),
              (a_memory("k4", 4), "++--")]  # fmt: skip
    curves = [curve for curve in curves_by_bank(count_figures(results_of(*played))) if curve.column.endswith("all")]
    points = [(name, share.won) for name, share in curves[0].points]
    assert len(curves) == 1 and points == [("matched", 4), ("empty", 0), ("none", 1)]


def test_the_size_of_the_bank_is_that_of_the_suites_own() -> None:
    def played(number: int, won: str) -> tuple[Header, Figures]:
        tasks = [{"environment": "counting", "experience": {"bank": "", "number": number}}]
        header = a_header(a_memory("m", 2), resolved={"conditions": [{"name": "m"}], "tasks": tasks})
        return header, count_figures(results_of((a_memory("m", 2), won), header=header))

    curves = [curve for curve in curves_by_size([played(50, "++++"), played(10, "+---")]) if curve.column.endswith("all")]
    assert [(size, share.won) for size, share in curves[0].points] == [(10, 1), (50, 4)]
    assert curves_by_size([played(50, "++++")]) == []


def test_conditions_that_differ_in_two_things_make_no_curve() -> None:
    counted = count_figures(results_of((a_setup("plain"), "+-"), (a_memory("tuned", 2, model="tuned"), "++")))
    assert curves_by_k(counted) == [] and curves_by_bank(counted) == []


def shares_of(figures: Figures, curve: Series) -> set[tuple[int, int]]:
    """Won and played of the curve's conditions in its column."""
    key = next(column.key for column in figures.columns if column.title == curve.column)
    return {(line.shares[key].won, line.shares[key].count) for line in figures.lines
            if key in line.shares and line.condition in {*curve.conditions, figures.baseline}}  # fmt: skip


@settings(max_examples=40)
@given(some_results())
def test_points_of_a_curve_are_shares_of_its_conditions(results: Results) -> None:
    counted = count_figures(results)
    for curve in (*curves_by_k(counted), *curves_by_bank(counted)):
        assert len(curve.points) >= 2 and len({x for x, _ in curve.points}) == len(curve.points)
        assert {(share.won, share.count) for _, share in curve.points} <= shares_of(counted, curve)


@settings(max_examples=40)
@given(some_results())
def test_a_curve_by_k_ascends_and_has_no_bank_that_misleads(results: Results) -> None:
    counted = count_figures(results)
    setups = {setup.condition: setup for setup in results.header.setups.values()}
    for curve in curves_by_k(counted):
        numbers = [x for x, _ in curve.points]
        assert numbers == sorted(numbers)
        own = [setups[name] for name in curve.conditions]
        remembering = {(setup.model, setup.actions, setup.bank) for setup in own if remembers(setup) and setup.bank != "empty"}
        assert len(remembering) == 1 and remembering.pop()[2] != "mismatched"
        assert (numbers[0] == 0) == any(not remembers(setup) or setup.bank == "empty" for setup in own)


@settings(max_examples=40)
@given(some_results())
def test_banks_stand_from_help_to_none(results: Results) -> None:
    for curve in curves_by_bank(count_figures(results)):
        places = [KINDS.index(str(x)) for x, _ in curve.points]
        assert places == sorted(places)


@pytest.mark.parametrize("bare", [a_setup("bare"), a_memory("bare", 4, "empty"), a_memory("bare", 0), a_memory("bare", 2, memory="off")])
def test_a_curve_begins_at_nothing_with_whoever_sees_no_memory(bare: Setup) -> None:
    """An empty bank and no memory give the same prompts, whatever K is."""
    counted = count_figures(results_of((bare, "+---"), (a_memory("k2", 2), "++++")))
    for curve in curves_by_k(counted):
        assert [x for x, _ in curve.points] == [0, 2] and curve.conditions == {"bare", "k2"}
    assert len(curves_by_k(counted)) == 3


def test_no_memory_goes_before_an_empty_bank() -> None:
    for played in ([a_setup("plain"), a_memory("empty", 2, "empty")], [a_memory("empty", 2, "empty"), a_setup("plain")]):
        won = {"plain": "+---", "empty": "++--"}
        counted = count_figures(results_of(*((setup, won[setup.condition]) for setup in played), (a_memory("k1", 1), "++++")))
        start = curves_by_k(counted)[-1].points[0]
        assert start[0] == 0 and start[1].won == 1


def test_a_folder_is_another_bank_whatever_it_is_called() -> None:
    played = [(a_memory("folder", 2, "baseline"), "+---"), (a_memory("matched", 2), "++++")]
    curve = curves_by_bank(count_figures(results_of(*played)))[-1]
    assert [x for x, _ in curve.points] == ["matched", "another bank"]


def test_a_curve_says_the_model_the_way_and_a_bank_that_is_not_the_usual() -> None:
    played = [(a_setup("plain"), "----"), (a_memory("k1", 1), "+---"), (a_memory("all", 2, "all"), "++--"),
              (a_memory("mine", 2, "mine"), "+++-")]  # fmt: skip
    labels = {curve.label for curve in curves_by_k(count_figures(results_of(*played)))}
    usual = "toy, static, valid actions"
    assert labels == {usual, f"{usual}, memory from all tasks", f"{usual}, bank mine"}


def test_a_condition_played_in_one_column_only_is_on_no_other_curve() -> None:
    counted = count_figures(results_of((a_setup("plain"), "----"), (a_memory("k1", 1), "++  ")))
    assert [curve.column for curve in curves_by_k(counted)] == ["counting dev, easy", "counting dev, all"]


def test_sizes_are_those_of_environments_with_a_bank_of_the_suites_own() -> None:
    def played(experience: dict[str, object]) -> tuple[Header, Figures]:
        header = a_header(a_memory("m", 2), resolved={"tasks": [{"environment": "counting", "experience": experience}]})
        return header, count_figures(results_of((a_memory("m", 2), "+-"), header=header))

    own = [played({"bank": "", "number": 10}), played({"bank": "", "number": 20})]
    assert [[x for x, _ in curve.points] for curve in curves_by_size(own)] == [[10, 20]] * 3
    for other in ({"bank": "a/folder", "number": 20}, {"bank": "", "number": 0}, {}):
        assert curves_by_size([own[0], played(other)]) == []


def test_what_remembers_nothing_is_on_no_curve_by_size() -> None:
    for setup in (a_setup("m"), a_memory("m", 2, "empty")):
        tasks = [[{"environment": "counting", "experience": {"number": number}}] for number in (1, 2)]
        headers = [a_header(setup, resolved={"tasks": own}) for own in tasks]
        assert curves_by_size([(header, count_figures(results_of((setup, "+-"), header=header))) for header in headers]) == []


def test_curves_that_differ_in_how_they_remember_have_names_of_their_own() -> None:
    kinds = [{}, {"diversity": 0.5}, {"memory": "dynamic", "every": 3}, {"memory": "dynamic", "every": 5}]
    played = [(a_memory(f"{number} {k}", k, **kind), "+-") for number, kind in enumerate(kinds) for k in (1, 2)]
    counted = count_figures(results_of(*played))
    labels = [curve.label for curve in curves_by_k(counted) if curve.column.endswith("all")]
    ways = ("static", "static, diversity 0.5", "dynamic every 3", "dynamic every 5")
    assert labels == [f"toy, {way}, valid actions" for way in ways]


def test_points_ascend_whatever_order_conditions_were_played_in() -> None:
    played = [(a_memory("k4", 4), "+---"), (a_memory("k1", 1), "++--"), (a_memory("k2", 2), "+++-")]
    curve = curves_by_k(count_figures(results_of(*played)))[-1]
    assert [(k, share.won) for k, share in curve.points] == [(1, 2), (2, 3), (4, 1)]
