"""The page in a real browser: what it shows, keys, dark and narrow; and what the pages of other origins cannot do."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from bank_samples import trajectory
from piped_browser import Page, browser
from serve_toys import Running, ScriptedModel, assistant, serving

from edgexp.serve.guard import Rules

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One page of a browser for all tests."""
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def open_page(page: Page, server: Running, place: str = "") -> None:
    """Open the server's page anew."""
    page.go("about:blank")
    page.complaints.clear()
    page.size(1100)
    page.go(f"{server.url}/{place}")
    page.until("document.querySelector('#about').textContent.includes('session')")


def text(page: Page, selector: str = "body") -> str:
    """What is written somewhere."""
    return str(page.run(f"document.querySelector('{selector}').innerText"))


def click(page: Page, selector: str, words: str) -> None:
    """Click the first thing of a kind that says something."""
    page.until(f"[...document.querySelectorAll('{selector}')].some((one) => one.innerText.includes('{words}'))")
    page.run(f"[...document.querySelectorAll('{selector}')].find((one) => one.innerText.includes('{words}')).click()")


def test_sessions_are_shown_as_they_run(make_service, page):
    model = ScriptedModel(lambda _: "first second third")
    with serving(make_service(model)) as server:
        open_page(page, server)
        assert "No session yet" in text(page, "#sessions")
        model.gate = threading.Event()
        asked = threading.Thread(target=server.chat, args=("put the egg on the table",))
        asked.start()
        page.until("document.querySelector('.item').innerText.includes('running')")
        assert "put the egg on the table" in text(page, ".item")
        click(page, ".item", "put the egg")
        page.until("document.querySelector('.busy')")
        model.gate.set()
        asked.join()
        page.until("document.querySelector('#session').innerText.includes('first second third') && !document.querySelector('.busy')")
        assert "no outcome" in text(page, ".item") and page.complaints == []


def test_what_was_recalled_is_shown_with_why_and_what_it_costs(server, page):
    for goal, success in (("the red kettle", True), ("the red kettle again", False), ("a red kettle", True)):
        session = server.chat(goal).json()["edgexp"]["session"]
        server.http.post(f"/v1/sessions/{session}/outcome", json={"success": success})
    session = server.chat("where is the red kettle").json()["edgexp"]["session"]
    open_page(page, server, f"#{session}")
    page.until("document.querySelectorAll('#session .memory').length == 2")
    shown = text(page, "#session")
    assert "Remembered · 40 tokens" in shown and "in the prompt" in shown and "tokens 20" in shown and "likeness 0." in shown
    assert "usefulness now" in shown and "in 1 prompt" in shown


def test_an_outcome_by_a_click_and_forgetting_by_two(server, page):
    session = server.chat("the red kettle").json()["edgexp"]["session"]
    open_page(page, server, f"#{session}")
    click(page, "#session button", "Mark success")
    page.until("document.querySelector('.item').innerText.includes('succeeded')")
    assert server.service.sessions.get(session).success is True
    click(page, "#session button", "Mark failure")
    page.until("document.querySelector('.item').innerText.includes('failed')")
    click(page, "#session button", "Forget")
    assert "Really forget it?" in text(page, "#session") and server.service.sessions.get(session) is not None
    click(page, "#session button", "Really")
    page.until("document.querySelectorAll('.item').length == 0")
    assert server.service.sessions.get(session) is None and page.run("location.hash") == ""


def test_the_bank_is_searched_and_what_waits_is_accepted(server, page):
    server.chat("the red kettle sings")
    [session] = server.service.sessions
    asyncio.run(server.service.keeper.keep(session, server.service.model.provenance()))
    open_page(page, server, "#bank")
    page.until("document.querySelectorAll('#found .memory').length == 1")
    assert "in quarantine" in text(page, "#found") and "no outcome" in text(page, "#found") and "Accept" not in text(page, "#found")
    refused = server.http.post(f"/api/memories/{session.banked}/accept", headers={"X-Edgexp-Page": "1"})
    assert refused.status_code == 400 and "nobody has said" in refused.json()["error"]["message"]
    server.service.keeper.at_once(lambda bank: bank.add([trajectory(1, "chat", False)], "quarantined"))
    open_page(page, server, "#bank")
    click(page, "#found button", "Accept")
    page.until("document.querySelector('#found').innerText.includes('accepted')")
    click(page, "#found button", "Mark success")
    page.until("document.querySelector('#found').innerText.includes('succeeded')")
    page.run("document.querySelector('#query').focus()")
    page.press(*"kettle")
    page.until("document.querySelectorAll('#found .memory').length >= 1 && document.querySelector('#found').innerText.includes('likeness')")
    click(page, "#found button", "Show")
    page.until("document.querySelector('.steps pre')")
    assert ">" in text(page, ".steps")
    for _ in range(2):
        click(page, "#found button", "orget")
    page.until("document.querySelectorAll('#found .memory').length < 2")


def test_it_works_by_keyboard_alone(server, page):
    first = server.chat("the red kettle").json()["edgexp"]["session"]
    second = server.chat("a blue whale").json()["edgexp"]["session"]
    open_page(page, server)
    page.until("document.querySelectorAll('.item').length == 2")
    page.press("Tab", "Tab")
    assert page.run("document.activeElement.dataset.key") == second
    page.press("ArrowDown")
    assert page.run("document.activeElement.dataset.key") == first
    page.press("Enter")
    page.until(f"location.hash === '#{first}' && document.activeElement.id === 'session'")
    page.press("Tab", "Enter")
    page.until("document.querySelector('#session').innerText.includes('succeeded')")
    assert server.service.sessions.get(first).success is True
    assert page.run("document.activeElement.dataset.key") == "success", "what is drawn anew does not lose the keyboard"
    page.press("Escape")
    page.until("location.hash === ''")
    page.press("/")
    page.until("document.activeElement.id === 'query'")
    page.run("document.querySelector('#tab-bank').focus()")
    page.press("ArrowLeft")
    page.until("document.activeElement.id === 'tab-sessions' && !document.querySelector('#view-sessions').hidden")


def test_the_way_back_is_the_browsers(server, page):
    session = server.chat("the red kettle").json()["edgexp"]["session"]
    open_page(page, server)
    click(page, ".item", "kettle")
    page.until(f"location.hash === '#{session}'")
    click(page, "nav button", "Bank")
    page.run("history.back()")
    page.until(f"location.hash === '#{session}' && !document.querySelector('#view-sessions').hidden")
    page.run("history.back()")
    page.until("document.querySelector('#session').innerText.includes('Choose')")


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_narrow_window_light_and_dark(server, page, dark, tmp_path):
    session = server.chat("word" * 100 + " the red kettle " * 20, headers={"X-Edgexp-Session": "n" * 64}).json()["edgexp"]["session"]
    server.http.post(f"/v1/sessions/{session}/outcome", json={"success": True})
    for place in ("", f"#{session}", "#bank"):
        open_page(page, server, place)
        page.size(380, 800, dark)
        page.until("document.querySelectorAll('.item, .memory').length")
        assert page.run("document.documentElement.scrollWidth") <= 380, place
        buttons = "[...document.querySelectorAll('button')].filter((one) => one.offsetParent)"
        assert page.run(f"{buttons}.every((one) => one.getBoundingClientRect().right <= 380)")
        light = page.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0] > 128")
        assert light is not dark
        page.picture(tmp_path / "page.png")
        assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
    assert page.complaints == []


def test_words_of_others_are_words(make_service, page):
    with serving(make_service(ScriptedModel(lambda _: HOSTILE))) as server:
        session = server.chat(HOSTILE).json()["edgexp"]["session"]
        server.http.post(f"/v1/sessions/{session}/outcome", json={"success": True})
        server.chat(HOSTILE, assistant(HOSTILE), HOSTILE)
        for place in (f"#{session}", "#bank"):
            open_page(page, server, place)
            page.until("document.body.innerText.includes('onerror')")
        assert page.run("document.title") == "edgexp" and page.run("document.querySelectorAll('img').length") == 0
        assert page.complaints == []


def test_where_a_token_is_needed_the_page_asks_for_it(make_service, page):
    with serving(make_service(), Rules(token="right token")) as server:
        server.http.headers["Authorization"] = "Bearer right token"
        server.chat("the red kettle")
        page.go(f"{server.url}/")
        page.until("!document.querySelector('#login').hidden")
        assert "kettle" not in text(page)
        page.until("document.activeElement.id === 'token'")
        page.press(*"wrong", "Enter")
        page.until("document.querySelector('#about').textContent.includes('token')")
        page.run("document.querySelector('#token').value = 'right token'")
        page.press("Enter")
        page.until("document.querySelector('#sessions').innerText.includes('kettle')")
        page.run("sessionStorage.clear()")
        page.go("about:blank")
        page.go(f"{server.url}/#token=right%20token")
        page.until("document.querySelector('#sessions').innerText.includes('kettle')")
        assert "token" not in page.run("location.href")


EVIL = (Path(__file__).parent / "evil.html").read_text(encoding="utf-8")
"""A page that tries all it can."""


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_page_of_another_origin_can_neither_read_nor_write(server, page, name):
    session = server.chat("the red kettle").json()["edgexp"]["session"]
    asked = len(server.service.model.questions)
    data = EVIL.replace("TARGET", server.url).replace("SESSION", session).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as evil:
        threading.Thread(target=evil.serve_forever, daemon=True).start()
        page.go(f"http://{name}:{evil.server_port}/")
        page.until("document.title.startsWith('done')")
        assert page.run("document.title") == "done 0", page.run("got")
        evil.shutdown()
    assert len(server.service.model.questions) == asked, "nothing that it sent reached the model"
    assert server.service.sessions.get(session).success is None


def test_the_page_is_in_the_package_and_asks_nobody_else() -> None:
    text = (Path(__file__).parents[2] / "edgexp" / "serve" / "page.html").read_text(encoding="utf-8")
    assert "http" not in text.replace("http-equiv", "") and "innerHTML" not in text and "eval(" not in text
