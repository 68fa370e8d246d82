"""Figures: what is counted where, against what it is compared, and which conditions make a curve."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from result_samples import SETUP, a_header, a_row

from edgexp.evaluation.report import wording
from edgexp.evaluation.report.figures import Figures, count_figures, list_columns
from edgexp.evaluation.report.series import curves_by_bank, curves_by_k, curves_by_size
from edgexp.evaluation.report.wording import write_markdown
from edgexp.evaluation.results import Header, Results, Row, Setup
from edgexp.evaluation.statistics import wilson


def a_setup(condition: str, **changes: Any) -> Setup:
    """A setup; `changes` are its fields."""
    return msgspec.structs.replace(SETUP, condition=condition, **changes)


def rows_of(setup: Setup, won: str, **changes: Any) -> list[Row]:
    """A row a character, `+` for won and `-` for lost; the first half of the tasks are easy."""
    return [a_row(setup.condition, number, setup.key, success=one == "+", group="easy" if number < len(won) / 2 else "hard", **changes)
            for number, one in enumerate(won)]  # fmt: skip


def results_of(*played: tuple[Setup, str], baseline: str = "", header: Header | None = None) -> Results:
    """Results of conditions and their outcomes."""
    rows = [row for setup, won in played for row in rows_of(setup, won)]
    return Results(Path("some/results"), header or a_header(*(setup for setup, _ in played), baseline=baseline), rows, {})


def test_shares_are_counted_by_group_and_over_all() -> None:
    counted = count_figures(results_of((a_setup("plain"), "++--+---")))
    assert [column.title for column in counted.columns] == ["counting dev, easy", "counting dev, hard", "counting dev, all"]
    shares = counted.lines[0].shares
    assert [(shares[column.key].won, shares[column.key].count) for column in counted.columns] == [(2, 4), (1, 4), (3, 8)]
    assert shares["counting/dev"] == wilson(3, 8)
    assert (counted.episodes, counted.tasks) == (8, 8)


def test_environments_without_groups_have_one_column() -> None:
    rows = [a_row(number=number, group="") for number in range(3)]
    assert [column.key for column in list_columns(rows)] == ["counting/dev"]


def test_one_group_alone_needs_no_column_for_all() -> None:
    assert [column.key for column in list_columns([a_row(number=1), a_row(number=2)])] == ["counting/dev/easy"]


def test_changes_are_on_the_tasks_that_both_played() -> None:
    plain, other = a_setup("plain"), a_setup("other", k=2, memory="static", bank="matched")
    results = results_of((plain, "++--"), (other, "-+++"), baseline="plain")
    alone = msgspec.structs.replace(results.rows[-1], task_id="counting/dev/99", success=False)
    counted = count_figures(Results(results.folder, results.header, [*results.rows, alone], {}))
    change = counted.lines[1].changes["counting/dev"]
    assert (change.pairs, change.gained, change.lost) == (4, 2, 1)
    assert change.difference == pytest.approx(0.25)
    assert counted.lines[1].shares["counting/dev"].count == 5
    assert counted.lines[0].changes == {} and not counted.complete and count_figures(results).complete
    assert "Not every condition" in write_markdown([counted], "") and "Not every" not in write_markdown([count_figures(results)], "")


def test_nothing_is_compared_with_a_baseline_that_was_not_played() -> None:
    counted = count_figures(results_of((a_setup("plain"), "+-"), baseline="not here"))
    assert counted.baseline == "" and counted.lines[0].changes == {}


def test_conditions_come_in_the_order_of_the_suite() -> None:
    setups = [a_setup("zebra"), a_setup("ant")]
    header = a_header(*setups, resolved={"conditions": [{"name": "zebra"}, {"name": "nobody"}, {"name": "ant"}]})
    counted = count_figures(results_of(*((setup, "+") for setup in reversed(setups)), header=header))
    assert [line.condition for line in counted.lines] == ["zebra", "ant"]


def test_times_are_of_episodes_played_alone() -> None:
    setup = a_setup("plain")
    together = results_of((setup, "+-"))
    rows = [msgspec.structs.replace(row, parallel=4) for row in together.rows]
    assert count_figures(together).lines[0].times is not None
    assert count_figures(Results(together.folder, together.header, rows, {})).lines[0].times is None


def memory(condition: str, k: int, bank: str = "matched", **changes: Any) -> Setup:
    """A setup that remembers."""
    return a_setup(condition, k=k, memory="static", bank=bank, **changes)


def test_a_curve_by_k_begins_with_the_same_model_without_memory() -> None:
    played = [(a_setup("plain"), "----"), (memory("k1", 1), "+---"), (memory("k4", 4), "++--"), (memory("tuned", 2, model="tuned"), "++++"),
              (memory("misled", 2, "mismatched"), "----")]  # fmt: skip
    curves = [curve for curve in curves_by_k(count_figures(results_of(*played))) if curve.column.endswith("all")]
    assert [(curve.label, [(k, share.won) for k, share in curve.points]) for curve in curves] == [
        ("toy, static, valid actions", [(0, 0), (1, 1), (4, 2)])]  # fmt: skip


@pytest.mark.parametrize(("plain", "start"), [([], 3), ([(a_setup("plain"), "----")], 0)])
def test_an_empty_bank_is_no_memory_where_the_model_was_not_played_without(plain: list, start: int) -> None:
    empty, other = memory("empty", 2, "empty"), memory("other", 2, "empty", model="other")
    played = [*plain, (memory("k1", 1), "+---"), (empty, "+++-"), (other, "++++")]
    curves = [curve for curve in curves_by_k(count_figures(results_of(*played))) if curve.column.endswith("all")]
    assert [[(k, share.won) for k, share in curve.points] for curve in curves] == [[(0, start), (1, 1)]]


def test_players_that_differ_in_how_they_act_are_not_one_curve() -> None:
    played = [(a_setup("plain", repeats=1), "++++"), (memory("k2", 2), "----"), (memory("k2 no circles", 2, repeats=1), "+---"),
              (memory("free", 2, actions="free"), "++--"), (memory("free k4", 4, actions="free"), "+++-")]  # fmt: skip
    curves = [curve for curve in curves_by_k(count_figures(results_of(*played))) if curve.column.endswith("all")]
    assert {curve.label: [(k, share.won) for k, share in curve.points] for curve in curves} == {
        "toy, static, valid actions, no circles": [(0, 4), (2, 1)], "toy, static": [(2, 2), (4, 3)]}  # fmt: skip


def test_bad_memory_stands_beside_the_baseline() -> None:
    played = [(a_setup("plain", model="other"), "+---"), (memory("empty", 2, "empty"), "----"), (memory("matched", 2), "++++")]
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
        setup = memory("m", 2, model_sha256=sha256)
        tasks = [{"environment": "counting", "experience": {"bank": "", "number": number}}]
        header = a_header(setup, resolved={"conditions": [{"name": "m"}], "tasks": tasks})
        return header, count_figures(results_of((setup, "++--"), header=header))

    assert curves_by_size([played(10, "a"), played(50, "b")]) == [] and curves_by_size([played(10, "a"), played(50, "a")])


def test_episodes_that_nobody_finished_are_said() -> None:
    results = results_of((a_setup("plain"), "++--"))
    ends = ("done", "done", "error: died", "context_full")
    rows = [msgspec.structs.replace(row, end=end) for row, end in zip(results.rows, ends, strict=True)]
    counted = count_figures(Results(results.folder, results.header, rows, {}))
    assert (counted.broken, counted.full) == (1, 1)
    text = write_markdown([counted], "")
    assert "An error of the environment ended 1 episode; it counts as lost." in text and "A full context ended 1 episode" in text
    assert "as lost" not in write_markdown([count_figures(results)], "")


def test_bad_memory_is_compared_among_banks_alone() -> None:
    played = [(memory("empty", 2, "empty"), "----"), (memory("matched", 2), "++++"), (a_setup("plain"), "+---"), (memory("k4", 4), "++--")]
    curves = [curve for curve in curves_by_bank(count_figures(results_of(*played))) if curve.column.endswith("all")]
    points = [(name, share.won) for name, share in curves[0].points]
    assert len(curves) == 1 and points == [("matched", 4), ("empty", 0), ("none", 1)]


def test_the_size_of_the_bank_is_that_of_the_suites_own() -> None:
    def played(number: int, won: str) -> tuple[Header, Figures]:
        tasks = [{"environment": "counting", "experience": {"bank": "", "number": number}}]
        header = a_header(memory("m", 2), resolved={"conditions": [{"name": "m"}], "tasks": tasks})
        return header, count_figures(results_of((memory("m", 2), won), header=header))

    curves = [curve for curve in curves_by_size([played(50, "++++"), played(10, "+---")]) if curve.column.endswith("all")]
    assert [(size, share.won) for size, share in curves[0].points] == [(10, 1), (50, 4)]
    assert curves_by_size([played(50, "++++")]) == []


def test_conditions_that_differ_in_two_things_make_no_curve() -> None:
    counted = count_figures(results_of((a_setup("plain"), "+-"), (memory("tuned", 2, model="tuned"), "++")))
    assert curves_by_k(counted) == [] and curves_by_bank(counted) == []


def test_markdown_has_a_row_a_condition_and_cannot_be_broken_out_of() -> None:
    name = "a|b <script> *c*"
    results = results_of((a_setup("plain"), "++--"), (memory(name, 2), "+++-"), baseline="plain")
    text = write_markdown([count_figures(results)], "edgexp eval x")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4 and len({row.replace("\\|", "").count("|") for row in rows}) == 1
    assert "<script>" not in text and "a\\|b" in text
    assert "3/4 = 75 % (30–95 %)" in text and "+25 (" in text and "$ edgexp eval x" in text


@pytest.mark.parametrize(("number", "text"), [(0.004, "0.004"), (0.1234, "0.12"), (3.44, "3.4"), (56.7, "56.7"), (1204.4, "1,204")])
def test_numbers_keep_the_digits_that_matter(number: float, text: str) -> None:
    assert wording.figure(number) == text


@pytest.mark.parametrize(("p", "text"), [(0.0004, "p < 0.001"), (0.0149, "p = 0.015"), (0.5, "p = 0.50"), (1, "p = 1.00")])
def test_p_values(p: float, text: str) -> None:
    assert wording.p_value(p) == text


@pytest.mark.parametrize(("difference", "text"), [(0.311, "+31"), (-0.04, "−4"), (0.001, "0"), (-0.001, "0")])
def test_differences_are_in_points_with_their_sign(difference: float, text: str) -> None:
    assert wording.points(difference) == text
