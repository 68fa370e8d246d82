"""Words and Markdown: what people read is what was counted."""

import re

import pytest
from figure_samples import a_memory, a_setup, results_of, some_results
from hypothesis import given, settings
from hypothesis import strategies as st

from edgexp.evaluation import suite
from edgexp.evaluation.report import wording
from edgexp.evaluation.report.figures import Line, count_figures
from edgexp.evaluation.report.wording import write_markdown
from edgexp.evaluation.retrieval_quality import Quality, Way
from edgexp.evaluation.statistics import Mean


def test_markdown_has_a_row_a_condition_and_cannot_be_broken_out_of() -> None:
    name = "a|b <script> *c*"
    results = results_of((a_setup("plain"), "++--"), (a_memory(name, 2), "+++-"), baseline="plain")
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


def cells_of(line: str) -> list[str]:
    """The cells of a row of a Markdown table, as GitHub reads them: an escaped character is itself."""
    cells, rest = [""], line.strip().removeprefix("| ").removesuffix(" |")
    while rest:
        if rest[0] == "\\" and len(rest) > 1 and rest[1] in "\\|*":
            cells[-1], rest = cells[-1] + rest[1], rest[2:]
        elif rest.startswith(" | "):
            cells, rest = [*cells, ""], rest[3:]
        else:
            cells[-1], rest = cells[-1] + rest[0], rest[1:]
    return [cell.replace("&lt;", "<").replace("&amp;", "&") for cell in cells]


def tables_of(text: str) -> list[list[list[str]]]:
    """Every table of a Markdown text: rows of cells, the head first, without the line below it."""
    tables: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            tables[-1].append(cells_of(line))
        elif tables[-1]:
            tables.append([])
    return [[row for row in table if set("".join(row)) != {"-"}] for table in tables if table]


def number(text: str) -> int:
    """A number with a sign that people read."""
    return int(text.replace("−", "-"))


CELL = re.compile(r"(\d+)/(\d+) = (\d+) % \((\d+)–(\d+) %\)(?:<br>([+−]?\d+) \(([+−]?\d+) to ([+−]?\d+)\), p [=<] ([\d.]+))?")


@settings(max_examples=30)
@given(some_results())
def test_a_markdown_table_is_read_back_to_the_same_numbers(results) -> None:
    counted = count_figures(results)
    head, *rows = tables_of(write_markdown([counted], "edgexp report x"))[0]
    assert head == ["condition", *(column.title for column in counted.columns)]
    assert len(rows) == len(counted.lines) and {len(row) for row in rows} == {len(head)}
    for (name, *cells), line in zip(rows, counted.lines, strict=True):
        assert name.startswith(f"**{line.condition}**<br>") and wording.describe(line) in name
        for cell, column in zip(cells, counted.columns, strict=True):
            share, change = line.shares.get(column.key), line.changes.get(column.key)
            if share is None:
                assert cell == "not played"
                continue
            found = CELL.fullmatch(cell)
            assert found, cell
            assert (int(found[1]), int(found[2])) == (share.won, share.count)
            near = (share.share, share.low, share.high)
            assert [int(found[place]) / 100 for place in (3, 4, 5)] == pytest.approx(near, abs=0.00501)
            assert (found[6] is None) == (change is None)
            if change:
                ends = (change.difference, change.low, change.high)
                assert [number(found[place]) / 100 for place in (6, 7, 8)] == pytest.approx(ends, abs=0.00501)
                assert float(found[9]) == pytest.approx(max(change.p, 0.001), abs=0.00501)


def test_several_folders_are_named_and_kept_apart() -> None:
    sections = [count_figures(results_of((a_setup("plain"), "+-"), folder=folder)) for folder in ("a/one", "b/two*")]
    text = write_markdown(sections, "edgexp eval toy\nedgexp report one two")
    assert len(tables_of(text)) == 2 and "**one**" in text and "**two\\***" in text
    assert text.endswith("```console\n$ edgexp eval toy\n$ edgexp report one two\n```\n")
    assert "**one**" not in write_markdown(sections[:1], "")


def test_a_tables_legend_speaks_of_the_baseline_only_where_there_is_one() -> None:
    played = [(a_setup("plain"), "+-"), (a_setup("other"), "++")]
    assert "difference to *plain*" in write_markdown([count_figures(results_of(*played, baseline="plain"))], "")
    for results in (results_of(*played), results_of(played[0], baseline="plain")):
        assert "difference" not in write_markdown([count_figures(results)], "")


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.sampled_from(("task type", "a|b")))
def test_measured_retrieval_is_a_table_too(ends: list[float], aspect: str) -> None:
    low, mean, high = sorted(ends)
    ways = tuple(Way(name, {aspect: Mean(mean, low, high, 4)}, 4) for name in ("static", "chance"))
    quality = Quality("counting", 4, "bank*", 1200, "an encoder", 2, (aspect,), ways)
    text = write_markdown([], "", [quality])
    head, *rows = tables_of(text)[0]
    assert head == ["retrieval", f"same {aspect}"] and [name for name, _ in rows] == ["static", "chance"]
    found = re.fullmatch(r"(\d+) % \((\d+)–(\d+) %\)", rows[0][1])
    assert found and [int(one) / 100 for one in found.groups()] == pytest.approx([mean, low, high], abs=0.00501)
    assert "1,200 episodes" in text and "bank\\*" in text


@given(st.floats(0, 1))
def test_shares_and_differences_are_read_back_within_half_a_point(share: float) -> None:
    assert int(wording.percent(share).removesuffix(" %")) / 100 == pytest.approx(share, abs=0.00501)
    for difference in (share, -share):
        text = wording.points(difference)
        assert number(text) / 100 == pytest.approx(difference, abs=0.00501)
        assert text == "0" or text[0] == ("+" if difference > 0 else "−")


@given(st.floats(1e-3, 1e6))
def test_numbers_are_read_back_within_their_digits(value: float) -> None:
    assert float(wording.figure(value).replace(",", "")) == pytest.approx(value, rel=0.051)
    assert wording.figure(-value) == f"-{wording.figure(value)}"


@given(st.floats(0, 1))
def test_a_p_is_never_said_to_be_nothing(p: float) -> None:
    text = wording.p_value(p)
    assert text == "p < 0.001" if p < 0.001 else float(text.removeprefix("p = ")) == pytest.approx(p, abs=0.00501)
    assert text != "p = 0.00"


@pytest.mark.parametrize(("count", "text"), [(0, "0 tasks"), (1, "1 task"), (2, "2 tasks"), (1204, "1,204 tasks")])
def test_nouns_follow_their_numbers(count: int, text: str) -> None:
    assert wording.counted(count, "task") == text


def line_of(*setups) -> Line:
    return Line("a", setups, {}, {}, {}, {}, None)


@pytest.mark.parametrize(
    ("setup", "text"),
    [
        (a_setup("a"), "toy, no memory, valid actions"),
        (a_setup("a", actions="free", repeats=1), "toy, no memory, no circles"),
        (a_memory("a", 2, actions="scored", repeats=1), "toy, K=2 static, own past, valid actions scored, no circles"),
        (a_memory("a", 2, "mismatched", actions="free"), "toy, K=2 static, memory from other tasks"),
        (a_memory("a", 2, "empty", actions="free"), "toy, K=2 static, empty bank"),
        (a_memory("a", 2, "all", actions="free", memory="dynamic", every=5), "toy, K=2 dynamic every 5, memory from all tasks"),
        (a_memory("a", 2, "my/bank", actions="free"), "toy, K=2 static, bank my/bank"),
        (a_memory("a", 2, memory="off", actions="free"), "toy, no memory"),
        (a_memory("a", 1, actions="called"), "toy, K=1 static, own past, called actions"),
    ],
)
def test_a_condition_in_a_few_words(setup, text: str) -> None:
    assert wording.describe(line_of(setup)) == text


def test_a_condition_with_two_banks_names_both_once() -> None:
    banks = [a_memory("a", 2, bank, actions="free") for bank in ("matched", "mine", "matched")]
    assert wording.describe(line_of(*banks)) == "toy, K=2 static, own past and bank mine"


def test_every_bank_of_a_suite_has_words_of_its_own() -> None:
    words = [wording.name_bank(kind) for kind in suite.KINDS]
    assert len(set(words)) == len(words) and not any(text.startswith("bank ") or "match" in text for text in words)


@pytest.mark.parametrize(
    ("broken", "full", "said"),
    [(0, 0, []), (1, 0, ["An error of the environment ended 1 episode; it counts as lost."]),
     (2, 1, ["An error of the environment ended 2 episodes; they count as lost.", "A full context ended 1 episode; it counts as lost."])],
)  # fmt: skip
def test_episodes_that_were_cut_off_are_said(broken: int, full: int, said: list[str]) -> None:
    assert wording.describe_endings(broken, full) == said


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_name_breaks_its_row(condition: str, model: str) -> None:
    counted = count_figures(results_of((a_setup(condition, model=model), "+-"), (a_setup("plain"), "+-"), baseline=condition))
    lines = [line for line in write_markdown([counted], "").split("\n") if line.startswith("|")]
    assert len(lines) == 4 and {len(cells_of(line)) for line in lines} == {4}
    shown = " ".join(condition.splitlines())
    assert cells_of(lines[2])[0].startswith(f"**{shown}**<br>")
    assert "<" not in lines[2].replace("<br>", "")
