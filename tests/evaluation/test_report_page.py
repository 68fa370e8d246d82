"""The page: everything in it, nothing outside it, and no text of an episode that could break out of its place."""

import base64
import builtins
import gzip
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from bank_samples import WordEncoder
from figure_samples import AWKWARD, a_memory, a_setup, results_of, some_results
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import collect, make
from result_samples import SETUP, a_header, a_row

from edgexp.errors import UsageError
from edgexp.evaluation import results
from edgexp.evaluation.report import wording
from edgexp.evaluation.report.figures import count_figures
from edgexp.evaluation.report.page import PAPER, WORDS, Material, build_page, collect_episodes, pack_episodes
from edgexp.evaluation.report.training_curves import read_curve
from edgexp.evaluation.results import Action, Recall, Remembered, Results
from edgexp.evaluation.retrieval_quality import measure_quality

pytestmark = pytest.mark.slow

HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 1'> & \" ' <!-- \u2028 \U0001f40d"


def hostile() -> Results:
    """Results in which every text tries to be markup."""
    row = a_row(goal=HOSTILE, observation=HOSTILE, end=f"error: {HOSTILE}", task_type=HOSTILE, task_id=HOSTILE,
                actions=(Action(HOSTILE, HOSTILE, 0.0, 0.5, ((HOSTILE, 0.5),), 0.1),))  # fmt: skip
    setup = msgspec.structs.replace(SETUP, condition=HOSTILE, model=HOSTILE)
    return Results(Path("hostile"), a_header(setup, suite=HOSTILE), [msgspec.structs.replace(row, condition=HOSTILE, setup=setup.key)], {})


class Page(HTMLParser):
    """A page taken apart as a browser does it: elements, ids, and what each script holds."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data

    def attributes(self, name: str) -> list[str]:
        return [value for _, attributes in self.tags for key, value in attributes.items() if key == name and value]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Household tasks really played by policies of several skills."""
    folder = tmp_path_factory.mktemp("page")
    with collect(folder / "bank") as bank:
        return results.read(make(folder / "results", bank))


@pytest.fixture(scope="module")
def text(sample: Results) -> str:
    pytest.importorskip("matplotlib", reason="the plots need the extra `report`")
    return build_page(Material([sample], commands="edgexp report results"))


def unpacked(page: Page) -> Any:
    """The data of the viewer."""
    return json.loads(gzip.decompress(base64.b64decode(page.scripts[0])))


def test_the_page_asks_for_nothing(text: str) -> None:
    page = Page(text)
    assert [link for link in page.attributes("src") + page.attributes("href") if not link.startswith(("#", "data:"))] == []
    assert "@import" not in text and re.findall(r"url\((?!#)", text) == []
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none';")


def test_the_policy_allows_the_pages_own_script_and_no_other(text: str) -> None:
    page = Page(text)
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert len(page.scripts) == 2 and f"script-src 'sha256-{digest}'" in text
    assert "unsafe-inline'; script-src" in text and "script-src 'unsafe" not in text


def test_every_condition_and_column_is_in_the_table(text: str, sample: Results) -> None:
    counted = count_figures(sample)
    for line in counted.lines:
        assert line.condition in text
        for share in line.shares.values():
            assert f"{share.won}/{share.count} ·" in text
    for column in counted.columns:
        assert column.title in text


def test_plots_take_their_colours_from_the_page_and_ids_are_unique(text: str) -> None:
    assert re.findall(r"#fe[01][0-9a-f]01", text) == [] and "var(--c0)" in text and "var(--ink)" in text
    ids = Page(text).attributes("id")
    assert len(ids) == len(set(ids))
    drawn = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(drawn) >= 2 and all('role="img"' in svg and "aria-label=" in svg for svg in drawn)
    for reference in re.findall(r'(?:href="#|url\(#)([^")]+)', "".join(drawn)):
        assert reference in ids


def test_a_plot_without_data_says_what_it_needs(text: str) -> None:
    assert "Left out: it needs results of one condition with banks of two sizes" in text


def test_the_same_results_give_the_same_page(text: str, sample: Results) -> None:
    assert build_page(Material([sample], commands="edgexp report results")) == text


def test_the_viewer_holds_every_step_and_memory(text: str, sample: Results) -> None:
    data = unpacked(Page(text))
    assert len(data["tasks"]) == 12 and data["conditions"][0]["name"] == "frozen"
    row = sample.rows[-1]
    task = next(task for task in data["tasks"] if task["id"] == row.task_id)
    episode = task["episodes"][str(len(data["conditions"]) - 1)]
    assert [step[:2] for step in episode["steps"]] == [[a.action, a.observation] for a in row.actions]
    assert [recall["step"] for recall in episode["recalls"]] == [recall.step for recall in row.recalls]
    used = episode["recalls"][0]["used"]
    assert used and data["memories"][used[0]["id"]]["goal"] == sample.memories[used[0]["id"]].goal


def test_nothing_an_episode_says_becomes_markup() -> None:
    page = Page(build_page(Material([hostile()], commands=HOSTILE), draw=False))
    assert len(page.scripts) == 2 and not any(tag == "img" for tag, _ in page.tags)
    step = unpacked(page)["tasks"][0]["episodes"]["0"]["steps"][0]
    assert step[0] == HOSTILE and step[1] == HOSTILE


def test_names_in_plots_are_text_too() -> None:
    pytest.importorskip("matplotlib", reason="the plots need the extra `report`")
    page = Page(build_page(Material([hostile()])))
    assert len(page.scripts) == 2 and not any(tag == "img" for tag, _ in page.tags)


def test_conditions_of_several_folders_keep_apart(sample: Results) -> None:
    data = collect_episodes([(sample, count_figures(sample)), (sample, count_figures(sample))])
    assert len(data["conditions"]) == 8 and all(len(task["episodes"]) == 8 for task in data["tasks"])
    assert data["conditions"][0]["name"] == "results: frozen"


def test_what_no_folder_can_draw_is_said_once(sample: Results) -> None:
    pytest.importorskip("matplotlib", reason="the plots need the extra `report`")
    once, thrice = (build_page(Material([sample] * count)).count("Left out: it needs") for count in (1, 3))
    assert once == thrice > 0


def test_trainings_and_retrieval_are_shown_where_given(sample: Results, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plots need the extra `report`")
    from test_report_training import write_log, write_record

    from edgexp.environments.household.household import Household

    write_log(tmp_path / "training.jsonl")
    write_record(tmp_path)
    with collect(tmp_path / "bank", 12, WordEncoder()) as bank:
        quality = measure_quality(bank, Household(), Household().tasks("dev")[:2])
    page = build_page(Material([sample], [read_curve(tmp_path)], [quality]))
    assert "Training: sample" in page and "same receptacle" in page and quality.bank[:13] in page


def test_without_matplotlib_the_error_names_the_extra(sample: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UsageError, match=r"edgexp\[report\].*--no-plots"):
        build_page(Material([sample]))
    assert "<svg" not in build_page(Material([sample]), draw=False)


TEXTS = st.text(max_size=20) | st.sampled_from((HOSTILE, *AWKWARD, "]]>", "<!--", "&lt;", "\u2028", "\x00", "{{ 7 * 7 }}", "{% raw %}"))


@settings(max_examples=25)
@given(texts=st.lists(TEXTS, min_size=8, max_size=8), chance=st.none() | st.floats(0, 1))
def test_every_text_stays_in_its_place_and_comes_back_whole(texts: list[str], chance: float | None) -> None:
    action, observation, other, query, goal, kind, model, commands = texts
    remembered = Remembered("t" + "0" * 24, 0.123456, other, kind, True, "budget", 7)
    setup = a_setup("plain", model=model)
    row = a_row("plain", 0, setup.key, goal=goal, task_type=kind, observation=observation, end=f"error: {other}",
                actions=(Action(action, observation, 0.5, chance, ((other, 0.25),), 0.1),),
                recalls=(Recall(0, query, 0.01, (remembered,), (remembered,)),))  # fmt: skip
    results = Results(Path("here"), a_header(setup), [row], {})
    page = Page(build_page(Material([results], commands=commands), draw=False))
    assert len(page.scripts) == 2 and {tag for tag, _ in page.tags} <= ELEMENTS
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    task = unpacked(page)["tasks"][0]
    episode = task["episodes"]["0"]
    assert (task["goal"], task["type"], episode["observation"], episode["end"]) == (goal, kind, observation, f"error: {other}")
    assert episode["steps"][0][:3] == [action, observation, 0.5] and episode["steps"][0][4] == [[other, 0.25]]
    assert episode["steps"][0][3] == (None if chance is None else pytest.approx(chance, rel=1e-3))
    recall = episode["recalls"][0]
    assert recall["query"] == query and recall["used"][0]["score"] == 0.1235 and recall["dropped"][0]["tokens"] == 7


ELEMENTS = {
    *("html", "head", "meta", "title", "link", "style", "body", "nav", "main", "section", "footer", "div", "p", "pre", "h1", "h2", "h3"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "a", "b", "i", "em", "strong", "code", "span", "details", "summary"),
    *("button", "label", "input", "select", "option", "fieldset", "legend", "noscript", "script"),
}
"""All that the page is made of where nothing is drawn."""


@settings(max_examples=10)
@given(some_results())
def test_the_viewer_has_every_row_once_under_its_condition(results: Results) -> None:
    counted = count_figures(results)
    data = collect_episodes([(results, counted)])
    names = [condition["name"] for condition in data["conditions"]]
    assert names == [line.condition for line in counted.lines]
    found = [(names[place], task["id"], episode["won"]) for task in data["tasks"] for place, episode in task["episodes"].items()]
    assert sorted(found) == sorted((row.condition, row.task_id, row.success) for row in results.rows)
    packed = pack_episodes([(results, counted)])
    assert re.fullmatch(r"[A-Za-z0-9+/]+=*", packed) and packed == pack_episodes([(results, counted)])


def test_no_other_host_is_named_anywhere(text: str) -> None:
    """Not in an attribute, not in a style, not in the script; only XML's own names of its namespaces look like addresses."""
    assert set(re.findall(r"(?:[a-z]+:)?//[\w.-]+[^\s\"'<)]*", re.sub(r"//[^/\n]*\n", "\n", text.replace(Page(text).scripts[0], "")))) <= {
        "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # fmt: skip
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon|importScripts|eval)\s*\(", text)


def test_the_page_says_plainly_what_a_memory_holds() -> None:
    played = [(a_setup("plain"), "+-"), (a_memory("m", 2), "+-"), (a_memory("x", 2, "mismatched"), "+-"), (a_memory("e", 2, "empty"), "+-")]
    text = build_page(Material([results_of(*played)]), draw=False)
    abouts = re.findall(r'<span class="about">([^<]*)</span>', text)
    assert abouts == [f"toy, {words}, valid actions" for words in (
        "no memory", "K=2 static, own past", "K=2 static, memory from other tasks", "K=2 static, empty bank")]  # fmt: skip
    before, setups = text.split('<section id="setups"')
    assert "mismatched" not in before and "foreign" not in text and "<td>mismatched</td>" in setups


def test_the_papers_figures_are_shown_as_the_papers(text: str) -> None:
    shown = text[text.index('<section id="paper"') : text.index('<section id="costs"')]
    assert "not ours" in shown and PAPER.source in shown
    for line in PAPER.lines:
        assert line.condition in shown and len(line.easy) == len(line.hard) == len(PAPER.models)
        assert all(f"<td>{easy} / {hard}</td>" in shown for easy, hard in zip(line.easy, line.hard, strict=True))
    assert "K=4: 64.0" in shown and "memory from other tasks: 39.3" in shown and "LoRA, no memory: 34.4" in shown


def test_what_is_not_complete_or_has_no_baseline_is_said() -> None:
    plain, other = a_setup("plain"), a_setup("other")
    whole, half = results_of((plain, "++--"), (other, "++--"), baseline="plain"), results_of((plain, "++--"), (other, "+   "))
    for played, said in ((whole, False), (half, True)):
        text = build_page(Material([played]), draw=False)
        assert ("Not every condition has played" in text) == said and ("baseline has no episode yet" in text) == said
    assert '<span class="baseline">baseline</span>' in build_page(Material([whole]), draw=False)


def test_pairs_are_said_where_they_are_fewer_than_the_episodes() -> None:
    text = build_page(Material([results_of((a_setup("plain"), "++  "), (a_setup("other"), "+-+-"), baseline="plain")]), draw=False)
    assert ", 2 pairs</div>" in text and ", 4 pairs" not in text


def test_what_reporting_imports_plays_nothing() -> None:
    """Nor does it open a model, an index or a server: the page is made of files."""
    code = "import sys, edgexp.evaluation.report.page, edgexp.evaluation.report.training_curves; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    walls = ("play.", "engine", "models", "export", "environments", "embedding", "prompt", "cli")
    played = [name for name in loaded if name.startswith(tuple(f"edgexp.{room}" for room in walls))]
    assert played == ["edgexp.play.acting"], "settings, which rows inherit"
    assert not {"llama_cpp", "torch", "numpy", "matplotlib", "usearch"} & set(loaded)


def test_templates_call_only_what_there_is() -> None:
    assert all(callable(getattr(wording, name)) for name in WORDS)
