"""The page: everything in it, nothing outside it, and no text of an episode that could break out of its place."""

import base64
import builtins
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from bank_samples import WordEncoder
from report_samples import collect, make
from result_samples import SETUP, a_header, a_row

from edgexp.errors import UsageError
from edgexp.evaluation import results
from edgexp.evaluation.report import figures, training_curves
from edgexp.evaluation.report import page as viewer
from edgexp.evaluation.report.page import Material, build
from edgexp.evaluation.results import Action, Results
from edgexp.evaluation.retrieval_quality import measure

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
    return build(Material([sample], commands="edgexp report results"))


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
    counted = figures.count(sample)
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
    assert build(Material([sample], commands="edgexp report results")) == text


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
    page = Page(build(Material([hostile()], commands=HOSTILE), draw=False))
    assert len(page.scripts) == 2 and not any(tag == "img" for tag, _ in page.tags)
    step = unpacked(page)["tasks"][0]["episodes"]["0"]["steps"][0]
    assert step[0] == HOSTILE and step[1] == HOSTILE


def test_names_in_plots_are_text_too() -> None:
    pytest.importorskip("matplotlib", reason="the plots need the extra `report`")
    page = Page(build(Material([hostile()])))
    assert len(page.scripts) == 2 and not any(tag == "img" for tag, _ in page.tags)


def test_conditions_of_several_folders_keep_apart(sample: Results) -> None:
    data = viewer.data([(sample, figures.count(sample)), (sample, figures.count(sample))])
    assert len(data["conditions"]) == 8 and all(len(task["episodes"]) == 8 for task in data["tasks"])
    assert data["conditions"][0]["name"] == "results: frozen"


def test_what_no_folder_can_draw_is_said_once(sample: Results) -> None:
    pytest.importorskip("matplotlib", reason="the plots need the extra `report`")
    once, thrice = (build(Material([sample] * count)).count("Left out: it needs") for count in (1, 3))
    assert once == thrice > 0


def test_trainings_and_retrieval_are_shown_where_given(sample: Results, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plots need the extra `report`")
    from test_report_training import write_log, write_record

    from edgexp.environments.household.household import Household

    write_log(tmp_path / "training.jsonl")
    write_record(tmp_path)
    with collect(tmp_path / "bank", 12, WordEncoder()) as bank:
        quality = measure(bank, Household(), Household().tasks("dev")[:2])
    page = build(Material([sample], [training_curves.read(tmp_path)], [quality]))
    assert "Training: sample" in page and "same receptacle" in page and quality.bank[:13] in page


def test_without_matplotlib_the_error_names_the_extra(sample: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UsageError, match=r"edgexp\[report\].*--no-plots"):
        build(Material([sample]))
    assert "<svg" not in build(Material([sample]), draw=False)
