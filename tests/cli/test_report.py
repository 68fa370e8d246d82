"""`edgexp report` as a user runs it."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import Edgexp
from report_samples import CONDITIONS, collect, make


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two conditions."""
    folder = tmp_path_factory.mktemp("report")
    with collect(folder / "bank", 6) as bank:
        return make(folder / "results", bank, CONDITIONS[:2], number=2)


def test_the_page_is_written_into_the_results(edgexp: Edgexp, results: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plots need the extra `report`")
    done = edgexp("report", results)
    assert done.returncode == 0 and "report.html" in done.stdout, done.stderr
    assert (results / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_another_file_without_plots(edgexp: Edgexp, results: Path, tmp_path: Path) -> None:
    done = edgexp("report", results, "--no-plots", "--out", tmp_path / "deep" / "page.html")
    assert done.returncode == 0 and "<svg" not in (tmp_path / "deep" / "page.html").read_text(encoding="utf-8")


def test_a_suites_name_stands_for_its_folder_in_the_home(edgexp: Edgexp, results: Path, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "mine").symlink_to(results)
    assert edgexp("report", "mine", "--markdown", EDGEXP_HOME=str(tmp_path)).stdout.startswith("| condition")


def test_markdown_and_json_go_to_standard_output(edgexp: Edgexp, results: Path) -> None:
    table = edgexp("report", results, "--markdown").stdout
    assert table.startswith("| condition | household dev, easy |") and str(results) not in table
    figures = json.loads(edgexp("report", results, "--json").stdout)
    assert figures["results"][0]["lines"][0]["shares"]["household/dev/easy"]["count"] == 2


def test_the_plot_of_a_readme_stands_alone(edgexp: Edgexp, results: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plots need the extra `report`")
    done = edgexp("report", results, "--plot", tmp_path / "success.svg")
    assert done.returncode == 0 and done.stdout == "", done.stderr
    drawing = ElementTree.parse(tmp_path / "success.svg")
    text = (tmp_path / "success.svg").read_text(encoding="utf-8")
    assert drawing.getroot().tag.endswith("svg") and all(name in text for name in CONDITIONS[0].name.split())
    assert set(re.findall(r"var\((--[a-z0-9]+)\)", text)) <= set(re.findall(r"(--[a-z0-9]+):", text))


@pytest.mark.parametrize("form", [(), ("--markdown",), ("--json",)])
def test_what_is_missing_or_damaged_is_one_line(edgexp: Edgexp, results: Path, tmp_path: Path, form: tuple[str, ...]) -> None:
    def complaint(folder: Path) -> str:
        done = edgexp("report", folder, *form)
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and done.stdout == "", done.stderr
        return done.stderr

    assert "there is no such folder" in complaint(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    assert "not a folder of results" in complaint(tmp_path / "other")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "suite.json").write_bytes((results / "suite.json").read_bytes())
    assert "no episode has been played yet" in complaint(empty)
    (empty / "episodes.jsonl").write_bytes((results / "episodes.jsonl").read_bytes() + b'{"condition":1}\n')
    assert "episodes.jsonl, line 5: not an episode" in complaint(empty)


def test_a_training_or_bank_that_is_not_there_is_one_line(edgexp: Edgexp, results: Path, tmp_path: Path) -> None:
    for option, said in (("--training", "neither an adapter nor a run"), ("--retrieval", "no bank at")):
        done = edgexp("report", results, option, tmp_path / "nothing", "--json")
        assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_retrieval_is_measured_with_the_banks_encoder(edgexp: Edgexp, results: Path, tmp_path: Path, encoder_folder: Path) -> None:
    bank = tmp_path / "bank"
    assert edgexp("collect", "household", "-n", 12, "--bank", bank).returncode == 0
    done = edgexp("report", results, "--retrieval", bank, "--json")
    ways = json.loads(done.stdout)["retrieval"][0]["ways"]
    names = ["static", "dynamic", "chance"]
    assert [way["name"] for way in ways] == [*names, *(f"{name}, own group" for name in names)]
    assert ways[0]["shares"]["task type"]["mean"] > ways[2]["shares"]["task type"]["mean"]
    assert edgexp("collect", "worlds", "-n", 2, "--bank", tmp_path / "worlds").returncode == 0
    done = edgexp("report", results, "--retrieval", tmp_path / "worlds", "--markdown")
    assert done.returncode == 1 and "holds no episode of household" in done.stderr
    text = edgexp("report", results, "--retrieval", bank, "--markdown").stdout
    assert "| retrieval | same task type | same object | same receptacle |" in text and "\n| static | " in text and "| chance | " in text


def test_several_folders_are_tables_of_their_own(edgexp: Edgexp, results: Path, tmp_path: Path) -> None:
    other = tmp_path / "it's mine"
    other.mkdir()
    for name in ("suite.json", "episodes.jsonl", "memories.jsonl"):
        (other / name).write_bytes((results / name).read_bytes())
    text = edgexp("report", results, other, "--markdown").stdout
    assert text.count("| condition |") == 2 and "**results**" in text and "**it's mine**" in text
    assert text.rstrip("`\n").endswith("""$ edgexp report results 'it'"'"'s mine'""")


def test_a_last_line_that_a_crash_cut_short_is_passed_over(edgexp: Edgexp, results: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.mkdir()
    for name in ("suite.json", "episodes.jsonl", "memories.jsonl"):
        (cut / name).write_bytes((results / name).read_bytes())
    (cut / "episodes.jsonl").write_bytes((results / "episodes.jsonl").read_bytes()[:-9])
    figures = json.loads(edgexp("report", cut, "--json").stdout)["results"][0]
    assert figures["episodes"] == 3 and not figures["complete"]


def test_the_help_names_what_the_page_needs_and_writes(edgexp: Edgexp) -> None:
    text = " ".join(edgexp("report", "--help").stdout.split())
    assert "The page needs no network." in text and "tables for a README on standard output" in text
    assert not re.search("foreign|mismatched", text)
