"""Results made up for tests of figures, curves, words and plots: conditions and how their episodes ended."""

from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st
from result_samples import SETUP, a_header, a_row

from edgexp.evaluation.results import Header, Results, Row, Setup

BANKS = ("matched", "mismatched", "all", "empty", "some/folder")
ENDS = ("done", "gave_up", "max_steps", "context_full", "error: it broke")
AWKWARD = ("</script><b>", 'say "id=\'x\'" id="x"', "_hidden", "a|b\\|c", "*c* & <d>", "#fe0001 url(#p)", "$x_1$", "DejaVu Sans",
           "\x1b[1mbold", "雪 ❄ \U0001f40d", "--> <!-- ]]>", "plain")  # fmt: skip
"""Names of conditions and models that have to survive Markdown, HTML and SVG."""


def a_setup(condition: str, **changes: Any) -> Setup:
    """A setup; `changes` are its fields."""
    return msgspec.structs.replace(SETUP, condition=condition, **changes)


def a_memory(condition: str, k: int, bank: str = "matched", **changes: Any) -> Setup:
    """A setup that remembers."""
    return a_setup(condition, **{"k": k, "memory": "static", "bank": bank, **changes})


def rows_of(setup: Setup, won: str, **changes: Any) -> list[Row]:
    """A row a character, `+` for won and `-` for lost, and none for a space; the first half of the tasks are easy."""
    return [a_row(setup.condition, number, setup.key, success=one == "+", group="easy" if number < len(won) / 2 else "hard", **changes)
            for number, one in enumerate(won) if one != " "]  # fmt: skip


def results_of(*played: tuple[Setup, str], baseline: str = "", header: Header | None = None, folder: str = "some/results") -> Results:
    """Results of conditions and their outcomes."""
    rows = [row for setup, won in played for row in rows_of(setup, won)]
    return Results(Path(folder), header or a_header(*(setup for setup, _ in played), baseline=baseline), rows, {})


def cut_rows(results: Results, rows: list[Row]) -> Results:
    """The same results with other rows."""
    return Results(results.folder, results.header, rows, results.memories)


@st.composite
def some_setups(draw: st.DrawFn) -> list[Setup]:
    """One to six conditions, with memory of some kind or without."""
    setups = []
    for number in range(draw(st.integers(1, 6))):
        name, model = f"{draw(st.sampled_from(AWKWARD))} {number}", draw(st.sampled_from(AWKWARD[:3]))
        actions = draw(st.sampled_from(("free", "admissible")))
        if draw(st.booleans()):
            setups.append(a_setup(name, model=model, actions=actions))
        else:
            bank, k = draw(st.sampled_from(BANKS)), draw(st.sampled_from((1, 2, 4)))
            setups.append(a_memory(name, k, bank, model=model, actions=actions))
    return setups


@st.composite
def some_results(draw: st.DrawFn) -> Results:
    """Results of several conditions, each of which played some of the same tasks; rows in any order."""
    setups = draw(some_setups())
    tasks = [(draw(st.sampled_from(("dev", "test"))), draw(st.sampled_from(("", "easy", "hard"))), draw(st.sampled_from(("count", "add"))))
             for _ in range(draw(st.integers(1, 6)))]  # fmt: skip
    rows = []
    for setup in setups:
        for number, (split, group, kind) in enumerate(tasks):
            if draw(st.booleans()):
                end, won = draw(st.sampled_from(ENDS)), draw(st.booleans())
                rows.append(a_row(setup.condition, number, setup.key, split=split, group=group, task_type=kind, end=end, success=won))
    if not rows:
        rows = [a_row(setups[0].condition, 0, setups[0].key)]
    baseline = draw(st.sampled_from(["", "nobody", *(setup.condition for setup in setups)]))
    return Results(Path("some/results"), a_header(*setups, baseline=baseline), draw(st.permutations(rows)), {})
