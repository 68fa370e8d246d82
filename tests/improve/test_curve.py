"""The page of rounds: whatever the rounds are, it is one that a browser reads, says what the state says, and asks for nothing."""

import re
from html.parser import HTMLParser
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edgexp.improve.curve import PAGE, build_page, write_page
from edgexp.improve.generations import Check, Generation, State

checks = st.builds(lambda tasks, won, before: Check(tasks, min(won, tasks), min(before, tasks), 0.1, -0.1, 0.3, 0.5),
                   st.integers(1, 90), st.integers(0, 90), st.integers(0, 90))  # fmt: skip
rounds = st.lists(st.tuples(st.text(max_size=20), st.none() | checks, st.booleans()), max_size=6)


class Read(HTMLParser):
    """Opens and closes elements as a browser would, and keeps the texts and what is drawn."""

    VOID = ("meta", "line", "circle", "polyline", "!doctype")

    def __init__(self, page: str):
        super().__init__()
        self.open, self.texts, self.drawn = list[str](), list[str](), list[tuple[str, dict[str, str | None]]]()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.drawn.append((tag, dict(attrs)))
        if tag not in self.VOID or (tag == "circle" and not self.get_starttag_text().endswith("/>")):  # type: ignore[union-attr]
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.drawn.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def state(made: list[tuple[str, Check | None, bool]]) -> State:
    found = [Generation(0, "base", 0, promoted=True)]
    for number, (model, check, promoted) in enumerate(made, 1):
        found.append(Generation(number, model, 0, 3, check, promoted and check is not None))
    return State("toy", "", found, max(g.number for g in found if g.promoted))


@given(rounds, st.booleans())
def test_the_page_of_any_rounds_is_whole_and_shows_every_check(made: list[tuple[str, Check | None, bool]], going: bool) -> None:
    told = state(made)
    page = Read(build_page("<toy>", told, going))
    assert page.open == [] and "<toy>" in page.texts
    points = [about for tag, about in page.drawn if tag == "circle"]
    checked = [g for g in told.generations if g.check]
    assert len(points) == (len(checked) + 1 if checked else 0)
    heights = [float(str(about["cy"])) for about in points[1:]]
    for g, height in zip(checked, heights, strict=True):
        assert g.check is not None and abs(height - (16 + 260 * (1 - g.check.won / g.check.tasks))) < 0.06
    assert sum(tag == "tr" for tag, _ in page.drawn) == len(told.generations) + 1
    assert any(about.get("http-equiv") == "refresh" for tag, about in page.drawn) == going


def test_it_asks_for_nothing(tmp_path: Path) -> None:
    file = write_page(tmp_path, state([("toy-g1", Check(60, 30, 20, 0.2, 0.1, 0.3, 0.01), True)]), going=False)
    page = file.read_text("utf-8")
    assert file.name == PAGE and "default-src 'none'" in page and not re.search(r"(src|href)=|https?://|url[(]", page)
    assert "toy-g1: 30 of 60" in page and "the best now" in page
