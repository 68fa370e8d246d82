"""Plots: valid SVG that names all it shows and takes its colours from the page; where there is nothing to draw, what it would need."""

import re
from xml.etree import ElementTree

import msgspec
import pytest
from figure_samples import AWKWARD, a_memory, a_setup, cut_rows, results_of, some_results
from hypothesis import given, settings
from result_samples import a_header

from edgexp.evaluation.report import plots
from edgexp.evaluation.report.figures import count_figures
from edgexp.evaluation.report.plots import Plot
from edgexp.evaluation.report.series import Series, curves_by_bank, curves_by_k, curves_by_size
from edgexp.evaluation.report.training_curves import Curve
from edgexp.evaluation.results import Results
from edgexp.evaluation.statistics import wilson

pytest.importorskip("matplotlib", reason="the plots need the extra `report`")
SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"


def texts(plot: Plot) -> list[str]:
    """Every text of a drawing, as a reader of XML finds it."""
    return ["".join(text.itertext()) for text in ElementTree.fromstring(plot.svg).iter(f"{SVG}text")]


def shown(name: str, longest: int = 34) -> str:
    """A name as a plot may show it: what XML cannot hold replaced, and cut where it is long."""
    name = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f]", "\ufffd", name)
    name = f"\u200b{name}" if name.startswith("_") else name
    return name if len(name) <= longest else name[: longest - 1] + "…"


def check(plot: Plot) -> None:
    """A drawing is well-formed, asks for nothing, has ids of its own, and colours of the page."""
    root = ElementTree.fromstring(plot.svg)
    assert root.tag == f"{SVG}svg" and root.get("role") == "img" and root.get("aria-label") == plot.title
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids)) and all(identity.startswith(f"{plot.key}-") for identity in ids)
    for element in root.iter():
        for name, value in element.items():
            assert not re.search(r"#fe[01][0-9a-f]01", value), "a stand-in is left"
            references = [value] if name in (LINK, "href") else re.findall(r"url\(([^)]*)\)", value)
            assert all(reference[0] == "#" and reference[1:] in ids for reference in references)
    assert not any(element.tag in (f"{SVG}script", f"{SVG}image", f"{SVG}foreignObject") for element in root.iter())


@settings(max_examples=10)
@given(some_results())
def test_success_names_every_condition_and_column(results: Results) -> None:
    counted = count_figures(results)
    plot = plots.draw_success(counted, "s0")
    check(plot)
    assert {shown(line.condition) for line in counted.lines} | {column.title for column in counted.columns} <= set(texts(plot))


@settings(max_examples=10)
@given(some_results())
def test_curves_name_every_series_and_place(results: Results) -> None:
    counted = count_figures(results)
    for curves, plot in ((curves_by_k(counted), plots.draw_by_k(curves_by_k(counted), "s0")),
                         (curves_by_bank(counted), plots.draw_by_bank(curves_by_bank(counted), "s0", counted.baseline))):  # fmt: skip
        if not curves:
            assert plot.svg == "" and plot.text.startswith("Left out: it needs")
            continue
        check(plot)
        assert {shown(curve.label, 60) for curve in curves} | {curve.column for curve in curves} <= set(texts(plot))


@pytest.mark.parametrize("name", AWKWARD)
def test_a_names_characters_are_text_and_stay_what_they_are(name: str) -> None:
    counted = count_figures(results_of((a_setup(name, model=name), "+-"), (a_memory("k2", 2, model=name), "++")))
    for plot in (plots.draw_success(counted, "s0"), plots.draw_times(counted, "s0")):
        check(plot)
        assert shown(name) in texts(plot)
    plot = plots.draw_by_k(curves_by_k(counted), "s0")
    check(plot)
    assert any(shown(name).lstrip("\u200b") in text for text in texts(plot))


def test_no_title_breaks_a_drawing() -> None:
    plot = plots.draw_training(Curve("a\x1bb\udcff", ((1, 1.0), (2, 0.5)), {}, {}, (), None), "training0")
    assert plot.svg.encode() and 'aria-label="Training: a\ufffdb\ufffd"' in plot.svg
    ElementTree.fromstring(plot.svg)


def test_long_names_are_cut_and_alike_ones_stay_apart() -> None:
    long = "x" * 80
    curves = [Series(f"{long}{end}", "counting dev", ((0, wilson(1, 2)), (1, wilson(2, 2)))) for end in "ab"]
    plot = plots.draw_by_k(curves, "s0")
    check(plot)
    assert texts(plot).count("x" * 59 + "…") == 2


def test_places_of_memory_are_in_plain_words() -> None:
    played = [(a_memory(bank, 2, bank), "+-") for bank in ("matched", "mismatched", "all", "empty", "a/folder")]
    counted = count_figures(results_of(*played, (a_setup("plain"), "--"), (a_setup("base", model="other"), "+-"), baseline="base"))
    plot = plots.draw_by_bank(curves_by_bank(counted), "s0", counted.baseline)
    check(plot)
    words = " ".join(texts(plot))
    for name in ("own past", "memory from other tasks", "memory from all tasks", "empty bank", "no memory", "another bank", "baseline"):
        assert name in words
    assert "match" not in words and "The baseline is base." in plot.text


def test_the_baseline_is_explained_only_where_it_is_drawn() -> None:
    played = [(a_setup("plain"), "--"), (a_memory("m", 2), "++"), (a_memory("e", 2, "empty"), "-+")]
    counted = count_figures(results_of(*played, baseline="plain"))
    assert "baseline" not in plots.draw_by_bank(curves_by_bank(counted), "s0", "plain").text


def test_points_stand_at_their_shares() -> None:
    """The marks of a curve are as far apart as its shares: between 0 and 1, one half is in the middle."""
    curve = Series("a", "counting dev", ((0, wilson(0, 4)), (1, wilson(2, 4)), (2, wilson(4, 4))))
    root = ElementTree.fromstring(plots.draw_by_k([curve], "s0").svg)
    groups = [[float(use.get("y")) for use in group.iter(f"{SVG}use")] for group in root.iter(f"{SVG}g")
              if (group.get("id") or "").startswith("s0-k-line2d_")]  # fmt: skip
    heights = next(found for found in groups if len(found) == 3)
    assert heights[0] > heights[1] > heights[2] and heights[1] == pytest.approx((heights[0] + heights[2]) / 2, abs=1e-3)


def test_sizes_are_drawn_where_there_are_two() -> None:
    setup, found = a_memory("m", 2), []
    for number in (10, 50):
        header = a_header(setup, resolved={"tasks": [{"environment": "counting", "experience": {"number": number}}]})
        found.append((header, count_figures(results_of((setup, "++--"), header=header))))
    plot = plots.draw_by_size(curves_by_size(found), "all")
    check(plot)
    assert {"10", "50", "m"} <= set(texts(plot))
    assert plots.draw_by_size([], "all").svg == "" and "banks of two sizes" in plots.draw_by_size([], "all").text


def test_times_are_left_out_where_no_episode_was_alone() -> None:
    results = results_of((a_setup("plain"), "+-"), (a_setup("other"), "+-"))
    rows = [msgspec.structs.replace(row, parallel=4) if row.condition == "plain" else row for row in results.rows]
    plot = plots.draw_times(count_figures(cut_rows(results, rows)), "s0")
    assert "other" in texts(plot) and "plain" not in texts(plot) and {"deciding", "retrieval", "environment"} <= set(texts(plot))
    beside = [msgspec.structs.replace(row, parallel=4) for row in results.rows]
    assert plots.draw_times(count_figures(cut_rows(results, beside)), "s0").svg == ""


LOSS, SCORES = ((1, 2.0), (2, 1.0)), {"matched": ((2, 0.5),), "mismatched": ((2, 0.75),), "none": ((2, 1.0),)}


@pytest.mark.parametrize(
    ("curve", "there", "missing", "said"),
    [
        (Curve("t", LOSS, {}, {}, (), None), {"training"}, {"own past", "dev episodes won"},
         ("Nothing was held out", "No checkpoint has been")),
        (Curve("t", LOSS, SCORES, SCORES, ((2, 0.5),), 2), {"own past", "memory from other tasks", "no memory", "dev episodes won"},
         {"matched", "mismatched", "none"}, ("by the memory in the prompt", "The dotted line is the checkpoint that was kept")),
    ],
    ids=["under way", "done"],
)  # fmt: skip
def test_a_training_shows_what_its_log_has(curve: Curve, there: set[str], missing: set[str], said: tuple[str, ...]) -> None:
    plot = plots.draw_training(curve, "training0")
    check(plot)
    assert there <= set(texts(plot)) and not missing & set(texts(plot)) and all(text in plot.text for text in said)


def test_the_picture_of_a_readme_brings_its_colours_along() -> None:
    text = plots.draw_picture(count_figures(results_of((a_setup("<b>"), "+-"))))
    root = ElementTree.fromstring(text)
    style = next(element.text for element in root.iter("{http://www.w3.org/2000/svg}style") if element.text)
    assert "prefers-color-scheme" in text or "light-dark(" in style
    assert set(re.findall(r"var\((--[a-z0-9]+)\)", text)) <= set(re.findall(r"(--[a-z0-9]+):", style))


def test_the_same_figures_give_the_same_drawing() -> None:
    counted = count_figures(results_of((a_setup("plain"), "+-"), (a_memory("m", 2), "++")))
    assert plots.draw_success(counted, "s0") == plots.draw_success(counted, "s0")
    assert plots.draw_by_k(curves_by_k(counted), "s0") == plots.draw_by_k(curves_by_k(counted), "s0")
