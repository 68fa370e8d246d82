"""The page in a real browser: no errors, no requests, the viewer by mouse and by keyboard, light and dark, wide and narrow."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_samples import collect, make
from test_report_page import hostile

from edgexp.evaluation import results
from edgexp.evaluation.report.page import Material, build_page

pytest.importorskip("matplotlib", reason="the plots need the extra `report`")
playwright = pytest.importorskip("playwright.sync_api", reason="needs a browser: uv sync --group browser")

pytestmark = pytest.mark.slow
PATIENCE = 120_000
"""Milliseconds to wait for what will come: machines may be busy."""
NARROW, WIDE = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium of the machine, else the one that Playwright fetched."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with playwright.sync_playwright() as started:
        try:
            opened = started.chromium.launch(executable_path=found, timeout=PATIENCE)
        except playwright.Error as error:
            pytest.skip(f"no browser here: {str(error).splitlines()[0]}")
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of household tasks really played."""
    folder = tmp_path_factory.mktemp("browser")
    with collect(folder / "bank") as bank:
        played = results.read(make(folder / "results", bank))
    path = folder / "report.html"
    path.write_text(build_page(Material([played])), encoding="utf-8")
    return path


class Opened:
    """A page, and everything it complained about or asked for."""

    def __init__(self, browser: Any, path: Path, **options: Any):
        self.page = browser.new_page(**{"viewport": WIDE, **options})
        self.page.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("#v-body:not([hidden])")

    def goals(self) -> list[str]:
        """What the list of tasks shows."""
        return list(self.page.locator("#v-list .goal").all_inner_texts())

    def chosen(self) -> str:
        """The goal of the task that is shown."""
        return str(self.page.locator("#v-episode h3").inner_text())


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[Opened]:
    made = Opened(browser, report)
    yield made
    made.page.close()
    assert made.complaints == []
    assert [url for url in made.requests if not url.startswith(("file:", "data:"))] == []


def test_the_first_task_is_shown_in_every_condition(opened: Opened) -> None:
    assert len(opened.goals()) == 12 and opened.chosen() == opened.goals()[0]
    assert opened.page.locator(".episode h4").all_inner_texts() == ["frozen", "frozen+exprag", "lora", "exprag-lora"]
    assert opened.page.locator(".episode").first.locator("ol.steps > li").count() > 0


def test_arrow_keys_move_through_the_tasks(opened: Opened) -> None:
    goals, listbox = opened.goals(), opened.page.locator("#v-list")
    listbox.focus()
    for key, at in (("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("End", 11), ("Home", 0)):
        opened.page.keyboard.press(key)
        active = listbox.get_attribute("aria-activedescendant")
        assert opened.chosen() == goals[at] and active == f"task-{at}"
    assert opened.page.locator("[role=option][aria-selected=true]").count() == 1


def test_text_is_searched_in_observations(opened: Opened) -> None:
    opened.page.locator("#v-search").fill("no such words anywhere")
    playwright.expect(opened.page.locator("#v-count")).to_have_text("0 tasks of 12", timeout=PATIENCE)
    assert "No task" in opened.page.locator("#v-list").inner_text()
    opened.page.locator("#v-search").fill("MIDDLE of a room")
    playwright.expect(opened.page.locator("#v-count")).to_have_text("12 tasks of 12", timeout=PATIENCE)


def test_filters_by_place_type_and_outcome(opened: Opened) -> None:
    opened.page.locator("#v-place").select_option("household dev, hard")
    assert len(opened.goals()) == 6
    opened.page.locator("#v-type").select_option("pick_two_obj_and_place")
    assert len(opened.goals()) == 2 and all("two" in goal for goal in opened.goals())
    opened.page.locator("#v-type").select_option("")
    sizes = {}
    for outcome in ("", "all", "none", "differ", "some"):
        opened.page.locator("#v-outcome").select_option(outcome)
        sizes[outcome] = len(opened.goals())
    assert sizes["all"] + sizes["none"] + sizes["differ"] == sizes[""] == 6
    assert sizes["some"] == sizes["all"] + sizes["differ"]


def test_conditions_can_be_taken_away(opened: Opened) -> None:
    opened.page.locator("#v-conditions input").nth(1).uncheck()
    assert opened.page.locator(".episode h4").all_inner_texts() == ["frozen", "lora", "exprag-lora"]
    for place in (0, 2, 3):
        opened.page.locator("#v-conditions input").nth(place).uncheck()
    assert opened.page.locator(".episode").count() == 0


def test_a_memory_opens_with_its_text(opened: Opened) -> None:
    memory = opened.page.locator(".episode .memory").first
    memory.locator("summary").first.click()
    assert "household/train/" in memory.inner_text()
    memory.locator("li summary").first.click()
    assert memory.locator("li ol li code").first.is_visible()


def test_a_link_leads_to_its_task(browser: Any, report: Path) -> None:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(report.as_uri() + "#task=household%2Fdev%2F5")
    page.wait_for_selector("#v-body:not([hidden])")
    assert "household/dev/5" in page.locator("#v-episode").inner_text()
    page.close()


def test_the_switch_goes_from_auto_to_light_to_dark(opened: Opened) -> None:
    def background() -> str:
        return str(opened.page.evaluate("getComputedStyle(document.body).backgroundColor"))

    button, seen = opened.page.locator("#theme"), []
    for _ in range(3):
        seen.append((button.inner_text(), background()))
        button.click()
    assert [name for name, _ in seen] == ["Theme: auto", "Theme: light", "Theme: dark"]
    assert seen[0][1] == seen[1][1] != seen[2][1]


@pytest.mark.parametrize("viewport", [NARROW, WIDE], ids=["narrow", "wide"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_its_window_and_can_be_read(browser: Any, report: Path, viewport: dict[str, int], scheme: str) -> None:
    made = Opened(browser, report, viewport=viewport, color_scheme=scheme)
    assert made.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert made.complaints == []
    for selector in ("body", ".text", "thead th", ".figure span", ".badge.won", ".badge.lost", ".seen", "nav a", "summary"):
        assert made.page.locator(selector).count() and made.page.evaluate(CONTRAST, selector) >= 4.5, selector
    made.page.close()


def test_hostile_texts_are_shown_as_texts(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(build_page(Material([hostile()])), encoding="utf-8")
    made = Opened(browser, path)
    assert made.page.evaluate("window.broken") is None and made.complaints == []
    assert "</script><script>" in made.chosen() and "onerror" in made.page.locator(".act code").first.inner_text()
    made.page.close()


CONTRAST = """selector => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = colour => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  let element = document.querySelector(selector), behind = element;
  while (rgba(getComputedStyle(behind).backgroundColor)[3] < 255) behind = behind.parentElement;
  const pair = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(c => light(rgba(c))).sort((a, b) => b - a);
  return (pair[0] + .05) / (pair[1] + .05);
}"""
"""The contrast, by WCAG, between an element's text and what is behind it."""
