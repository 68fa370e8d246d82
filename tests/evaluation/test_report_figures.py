"""Figures: what is counted where, and against what it is compared."""

from pathlib import Path

import msgspec
import pytest
from figure_samples import a_memory, a_setup, cut_rows, results_of, some_results
from hypothesis import given, settings
from result_samples import a_header, a_row

from edgexp.evaluation.report.figures import Figures, count_figures, list_columns, remembers
from edgexp.evaluation.report.wording import write_markdown
from edgexp.evaluation.results import Results, Seconds
from edgexp.evaluation.statistics import wilson


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


def test_episodes_that_nobody_finished_are_said() -> None:
    results = results_of((a_setup("plain"), "++--"))
    ends = ("done", "done", "error: died", "context_full")
    rows = [msgspec.structs.replace(row, end=end) for row, end in zip(results.rows, ends, strict=True)]
    counted = count_figures(Results(results.folder, results.header, rows, {}))
    assert (counted.broken, counted.full) == (1, 1)
    text = write_markdown([counted], "")
    assert "An error of the environment ended 1 episode; it counts as lost." in text and "A full context ended 1 episode" in text
    assert "as lost" not in write_markdown([count_figures(results)], "")


@settings(max_examples=25)
@given(some_results())
def test_totals_are_the_rows_that_were_counted(results: Results) -> None:
    counted, rows = count_figures(results), results.rows
    assert (counted.episodes, counted.tasks) == (len(rows), len({row.task_id for row in rows}))
    assert {line.condition for line in counted.lines} == {row.condition for row in rows}
    for line in counted.lines:
        own = [row for row in rows if row.condition == line.condition]
        whole = [share for key, share in line.types.items()]
        assert (sum(share.won for share in whole), sum(share.count for share in whole)) == (sum(row.success for row in own), len(own))
        assert line.costs["steps"].count == len(own)
        for column in counted.columns:
            here = [row for row in own if column.holds(row)]
            expected = wilson(sum(row.success for row in here), len(here)) if here else None
            assert line.shares.get(column.key) == expected
    assert counted.broken == sum(row.end == "error: it broke" for row in rows)
    assert counted.full == sum(row.end == "context_full" for row in rows)


@settings(max_examples=25)
@given(some_results())
def test_every_row_is_in_a_column_and_groups_add_up(results: Results) -> None:
    columns = list_columns(results.rows)
    assert len({column.key for column in columns}) == len({column.title for column in columns}) == len(columns)
    for row in results.rows:
        holding = [column for column in columns if column.holds(row)]
        assert 1 <= len(holding) <= 2 and sum(column.group != "" for column in holding) <= 1
    for whole in (column for column in columns if not column.group):
        here = [row for row in results.rows if whole.holds(row)]
        parts = [column for column in columns if column.group and (column.environment, column.split) == (whole.environment, whole.split)]
        assert len(here) == sum(part.holds(row) for part in parts for row in here) + sum(not row.group for row in here)


@settings(max_examples=25)
@given(some_results())
def test_pairs_are_tasks_of_both_and_the_order_of_rows_does_not_matter(results: Results) -> None:
    counted = count_figures(results)
    played = {line.condition: {row.task_id for row in results.rows if row.condition == line.condition} for line in counted.lines}
    assert counted.baseline in ("", results.header.baseline) and bool(counted.baseline) == (results.header.baseline in played)
    for line in counted.lines:
        for column in counted.columns:
            here = {row.task_id for row in results.rows if column.holds(row)}
            both = played[line.condition] & played.get(counted.baseline, set()) & here
            change = line.changes.get(column.key)
            assert (change.pairs if change else 0) == (0 if line.condition == counted.baseline else len(both))
    turned = count_figures(cut_rows(results, results.rows[::-1]))
    assert turned.columns == counted.columns
    assert [(line.condition, line.shares, line.changes, line.types) for line in turned.lines] == [
        (line.condition, line.shares, line.changes, line.types) for line in counted.lines]  # fmt: skip


@settings(max_examples=25)
@given(some_results())
def test_complete_means_that_every_condition_played_every_task(results: Results) -> None:
    counted = count_figures(results)
    conditions, tasks = {row.condition for row in results.rows}, {row.task_id for row in results.rows}
    assert counted.complete == ({row.key for row in results.rows} == {(name, task) for name in conditions for task in tasks})


@settings(max_examples=10)
@given(some_results())
def test_figures_as_json_are_read_back(results: Results) -> None:
    counted = count_figures(results)
    assert msgspec.json.decode(msgspec.json.encode(counted), type=Figures) == counted


def test_a_setup_that_asks_for_nothing_or_never_does_not_remember() -> None:
    assert remembers(a_memory("k2", 2)) and remembers(a_memory("empty", 2, "empty"))
    assert not remembers(a_memory("k0", 0)) and not remembers(a_memory("off", 2, memory="off"))


def test_task_types_are_all_that_were_met() -> None:
    rows = [a_row(number=0, task_type="heat"), a_row("other", 0, task_type="cool"), a_row(number=1, task_type="heat")]
    header = a_header(a_setup("plain"), a_setup("other"))
    counted = count_figures(Results(Path("x"), msgspec.structs.replace(header, setups={rows[0].setup: a_setup("plain")}), rows, {}))
    assert counted.task_types == ["counting/dev/cool", "counting/dev/heat"]


def test_times_are_seconds_a_step_over_all_episodes() -> None:
    setup = a_setup("plain")
    rows = [a_row("plain", number, setup.key, steps=steps, seconds=Seconds(0.1, deciding, 0.5, 0.25, 2.0))
            for number, (steps, deciding) in enumerate([(4, 1.0), (1, 1.5), (0, 9.0)])]  # fmt: skip
    times = count_figures(Results(Path("x"), a_header(setup), rows, {})).lines[0].times
    assert times is not None and times.episodes == 2, "an episode without a step has no time of a step"
    assert (times.deciding, times.retrieval, times.environment) == pytest.approx((0.5, 0.2, 0.1))


@pytest.mark.parametrize(("folder", "name"), [("some/results", "results"), ("r\udcff", "r?"), (".", Path.cwd().name)])
def test_a_folder_has_a_name_that_can_be_written(folder: str, name: str) -> None:
    counted = count_figures(results_of((a_setup("plain"), "+"), folder=folder))
    assert counted.folder == name and counted.folder.encode()


def test_the_last_episode_is_the_one_that_ended_last() -> None:
    rows = [a_row(number=number, finished=f"2026-11-{day}T12:00:00+00:00") for number, day in enumerate((21, 23, 22))]
    assert count_figures(Results(Path("x"), a_header(), rows, {})).finished == "2026-11-23T12:00:00+00:00"
