"""The review in a real browser: by keyboard alone, through a kill of the server, on a screen and on a phone."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from review_runs import minimal_run

pytest.importorskip("fastapi", reason="the extra `web` is not installed")

from leadline.suspects.decisions import Decisions
from leadline.web import serve
from leadline.web.app import application
from leadline.web.opened import Review, open_review

BROWSER = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
TOKEN = "a-token-for-the-tests"
HOSTILE = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'><b hx-get='/undo' hx-trigger='load'>"
)
CLASSES = ("delivery", "praise", "refund")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if BROWSER is None:
        pytest.skip("no Chromium on this machine (looked for chromium, chromium-browser, google-chrome)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `test`)")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Server:
    """`leadline review` as a process of its own, as a person starts it."""

    def __init__(self, run: Path, port: int = 0):
        command = [sys.executable, "-m", "leadline", "review", str(run), "--no-browser", "--reviewer", "anna"]
        self.process = subprocess.Popen(
            [*command, "--port", str(port), "--token", TOKEN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        line = self.process.stdout.readline()
        if not line.startswith("open     http://127.0.0.1:"):
            self.process.kill()
            raise AssertionError(line + self.process.communicate()[1])
        self.address = line.split()[1]
        self.port = int(self.address.split(":")[2].split("/")[0])

    def end(self, how: int) -> int:
        self.process.send_signal(how)
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture
def served() -> Iterator[Any]:
    servers: list[Server] = []

    def start(run: Path, port: int = 0) -> Server:
        servers.append(Server(run, port))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.end(signal.SIGKILL)


class Desk:
    """The same server in a thread of this process, for all tests here in which nobody is killed."""

    def __init__(self) -> None:
        self.listening = serve.bind(0)
        self.port = self.listening.getsockname()[1]
        self.app: Any = None  # of the review that lies open
        self.server = serve.server(self)  # type: ignore[arg-type]
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listening]}, daemon=True)
        self.thread.start()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    def end(self) -> None:
        self.server.should_exit = True
        self.thread.join(timeout=60)
        assert not self.thread.is_alive(), "the server does not end"
        self.listening.close()


@pytest.fixture(scope="module")
def desk(chromium: Any) -> Iterator[Desk]:
    """Ends before the browser does; every page is closed by then."""
    made = Desk()
    yield made
    made.end()


@pytest.fixture
def inside(desk: Desk) -> Iterator[Callable[..., str]]:
    """Opens a run for review; the address of the page."""
    reviews: list[Review] = []

    def start(run: Path, **more: Any) -> str:
        reviews.append(open_review(run, "anna", **more))
        desk.app = application(reviews[-1], TOKEN, desk.port)
        return f"http://127.0.0.1:{desk.port}/?token={TOKEN}"

    yield start
    for review in reviews:
        review.decisions.close()


@pytest.fixture
def tab(chromium: Any, inside: Any) -> Iterator[Any]:
    """A page of a browser that knows nobody; closed before the review is."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.problems = []
    page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    yield page
    context.close()


def press(page: Any, key: str) -> None:
    """One key, and the next card."""
    before = page.get_attribute("#card", "data-id")
    page.keyboard.press(key)
    page.wait_for_function("id => document.querySelector('#card').dataset.id !== id", arg=before)


def log(run: Path) -> pl.DataFrame:
    labels = dict.fromkeys([], "")
    with Decisions(run / "decisions.sqlite", "train", labels, CLASSES) as decisions:
        return decisions.log()


def order_of(run: Path) -> pl.DataFrame:
    review = open_review(run, "nobody")
    review.decisions.close()
    return review.deck.table


def through_a_kill(page: Any, served: Any, run: Path, count: int) -> None:
    """`count` decisions by keyboard; the server is killed with a key on its way; nothing is lost or doubled."""
    order = order_of(run)
    keys = ["k", "d", "1", "a", "2", "3", "k"]
    server = served(run)
    page.goto(server.address)
    for i in range(count // 2):
        press(page, keys[i % 7])
    page.keyboard.press(keys[count // 2 % 7])
    server.end(signal.SIGKILL)  # this one is on disk, or it is not; the page says nothing that is not so
    known = log(run).height
    assert known in (count // 2, count // 2 + 1)
    page.keyboard.press("k")
    if known == count // 2:
        page.wait_for_selector("#trouble:not([hidden])")
        assert "may not be saved" in page.text_content("#trouble")
    assert log(run).height == known
    again = served(run, server.port)
    page.reload()
    for i in range(known, count):
        assert page.get_attribute("#card", "data-id") == order["id"][i]
        press(page, keys[i % 7])
    found = log(run)
    assert found["id"].to_list() == order["id"].to_list()[:count] and found["id"].n_unique() == count
    label, to = order["label"].to_list(), {"1": CLASSES[0], "2": CLASSES[1], "3": CLASSES[2]}
    for i, (action, target) in enumerate(found.select("action", "to").iter_rows()):
        key = keys[i % 7]
        plain = {"k": "keep", "d": "discard", "a": "ambiguous"}.get(key)
        kept = plain is None and to[key] == label[i]
        expected = (plain, None) if plain else ("keep", None) if kept else ("relabel", to[key])
        assert (action, target) == expected, i
    assert f"{count} of" in " ".join(page.text_content("#numbers").split())
    assert again.end(signal.SIGINT) == 0


@pytest.fixture
def run(tmp_path: Path) -> Path:
    texts = [f"message {i} about a parcel that {'came' if i % 3 else 'never came'}" for i in range(60)]
    texts[0] = HOSTILE
    return minimal_run(tmp_path / "reviews", {"text": texts}, n=60, classes=CLASSES).path


def test_twenty_decisions_by_keyboard_through_a_kill(tab: Any, served: Any, run: Path) -> None:
    through_a_kill(tab, served, run, 20)
    told = ("htmx:sendError", "htmx:afterRequest", "Failed to load resource: net::ERR_CONNECTION")  # while it was dead
    assert [each for each in tab.problems if not each.startswith(told)] == []


@pytest.mark.long
def test_two_hundred_decisions_by_keyboard_through_a_kill(tab: Any, served: Any, tmp_path: Path) -> None:
    texts = [f"message {i}" for i in range(300)]
    run = minimal_run(tmp_path / "many", {"text": texts}, n=300, classes=CLASSES).path
    through_a_kill(tab, served, run, 200)


def test_everything_by_keyboard_and_nothing_is_run_or_fetched(tab: Any, inside: Any, run: Path) -> None:
    page, address, asked = tab, inside(run), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.wait_for_selector("#map[data-drawn]")
    assert "token" not in page.url and page.evaluate("document.activeElement.id") == "card-title"
    order = order_of(run)["id"].to_list()
    press(page, "ArrowRight")
    press(page, "ArrowLeft")
    assert page.get_attribute("#card", "data-id") == order[0] == "e000" and log(run).is_empty()
    assert HOSTILE in page.text_content(".text") and page.evaluate("window.hacked") is None
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("k")  # in a dialog no key decides
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible() and log(run).is_empty()
    page.keyboard.press("/")
    page.keyboard.type("message 7")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#card').dataset.id === 'e007'")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "card-title" and "search=message+7" in page.url
    page.keyboard.press("d")
    page.wait_for_function("() => !document.querySelector('#card').dataset.id")
    assert "decided" in page.text_content("#card-title") and "No card is left" in page.text_content("#live")
    page.keyboard.press("u")
    page.wait_for_function("() => document.querySelector('#card').dataset.id === 'e007'")
    assert log(run)["action"].to_list() == ["discard", "undo"] and "Undone: discard" in page.text_content("#live")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert page.evaluate("document.activeElement.id") == "card-title" and outline == "solid"  # where one is, is seen
    assert {url.split("/", 3)[2] for url in asked if not url.startswith("data:")} == {address.split("/")[2]}
    assert page.problems == []


def test_a_box_on_the_map_is_a_queue(tab: Any, inside: Any, run: Path) -> None:
    page, address = tab, inside(run)
    page.goto(address)
    page.wait_for_selector("#map[data-drawn]")
    area = page.locator("#map").bounding_box()
    page.mouse.move(area["x"] + 0.5 * area["width"], area["y"] + 0.05 * area["height"])
    page.mouse.down()
    page.mouse.move(area["x"] + 0.97 * area["width"], area["y"] + 0.9 * area["height"], steps=5)
    page.mouse.up()
    page.wait_for_function("() => location.search.includes('x0=')")
    box = [float(page.input_value(f"[name={name}]")) for name in ("x0", "x1", "y0", "y1")]
    table = order_of(run).filter(pl.col("x").is_between(*box[:2]) & pl.col("y").is_between(*box[2:]))
    assert 0 < table.height < 60 and f"of {table.height} in this queue" in " ".join(
        page.text_content("#numbers").split()
    )
    assert page.get_attribute("#card", "data-id") == table["id"][0]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    press(page, "d")  # the box stays
    assert [url.rsplit("/", 1)[1] for url in asked] == ["decide", "near?id=" + table["id"][1]] and "x0=" in page.url
    page.click("#clear")
    page.wait_for_function("() => !location.search.includes('x0=')")
    del asked[:]
    page.click("#map", position={"x": 100, "y": 100})  # no box, and none before: nothing to ask for
    press(page, "ArrowRight")
    assert [url.rsplit("/", 1)[1].split("?")[0] for url in asked] == ["card", "near"]
    assert page.problems == []


def test_two_pages_of_one_queue(tab: Any, inside: Any, run: Path) -> None:
    address = inside(run)
    first, second = tab, tab.context.new_page()
    for page in (first, second):
        page.goto(address)
    press(first, "d")
    press(second, "k")  # of the card that the first one has decided by now: the later word holds, both are kept
    assert log(run).select("id", "action").rows() == [("e000", "discard"), ("e000", "keep")]
    here = [page.get_attribute("#card", "data-id") for page in (first, second)]
    assert here[0] == here[1] == order_of(run)["id"][1] and "1 of 60" in " ".join(
        second.text_content("#numbers").split()
    )
    second.keyboard.press("u")
    second.wait_for_function("() => document.querySelector('#card').dataset.id === 'e000'")
    assert "You decided: discard" in second.text_content("#card") and "Undone: keep." in second.text_content(".told")
    assert tab.problems == []


def test_a_server_that_does_not_answer_is_told_and_the_same_key_tries_again(tab: Any, inside: Any, run: Path) -> None:
    tab.goto(inside(run))
    tab.evaluate("htmx.config.timeout = 200")  # milliseconds
    tab.route("**/decide", lambda route: None)
    tab.keyboard.press("k")
    tab.wait_for_selector("#trouble:not([hidden])")
    assert "may not be saved" in tab.text_content("#trouble") and log(run).is_empty()
    tab.unroute("**/decide")
    tab.evaluate("htmx.config.timeout = 30000")
    press(tab, "k")
    assert log(run).select("id", "action").rows() == [("e000", "keep")] and tab.locator("#trouble").is_hidden()


def test_ids_and_classes_that_html_cannot_hold_are_decided(tab: Any, inside: Any, tmp_path: Path) -> None:
    ids = ["nul\0", "cr\r", "crlf\r\n", 'a, "b" & <c>', " é/?#%20"]
    classes = ("100 %", "new\rline", "nul\0")
    run = minimal_run(tmp_path / "odd", {"text": [f"m {i}" for i in range(5)]}, n=5, classes=classes, ids=ids).path
    tab.goto(inside(run))
    tab.wait_for_selector(".near")  # what lies beside it was found
    press(tab, "ArrowRight")
    press(tab, "ArrowLeft")
    table = order_of(run)
    for _ in ids[1:]:
        press(tab, "2")
    press(tab, "3")
    tab.wait_for_function("() => !document.querySelector('#card').dataset.id")
    given = table["label"].to_list()
    found = log(run).select("id", "to").rows()
    keys = [classes[1]] * 4 + [classes[2]]
    expected = [None if key == label else key for key, label in zip(keys, given, strict=True)]
    assert found == list(zip(table["id"].to_list(), expected, strict=True))
    assert tab.problems == []


def test_many_classes_by_keyboard(tab: Any, inside: Any, tmp_path: Path) -> None:
    classes = [f"topic {name}" for name in "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu".split()]
    run = minimal_run(tmp_path / "many", {"text": [f"m {i}" for i in range(36)]}, n=36, classes=classes).path
    page = tab
    page.goto(inside(run))
    label = order_of(run)["label"].to_list()
    for i, part in enumerate(("kapp", "THETA")):
        page.keyboard.press("r")
        page.keyboard.type(part)
        press(page, "Enter")
        found, wanted = log(run), f"topic {['kappa', 'theta'][i]}"
        assert found.height == i + 1 and label[i] != wanted and found["to"][i] == wanted
    assert page.problems == []


def test_on_a_phone_nothing_is_wider_than_the_screen(chromium: Any, inside: Any, tmp_path: Path) -> None:
    texts = ["x" * 5000, HOSTILE, *[f"message {i}" for i in range(28)]]
    run = minimal_run(
        tmp_path / ("run" * 30), {"premise": texts, "hypothesis": texts[::-1]}, classes=("a" * 120, "b", "c")
    )
    address = inside(run.path)
    home = address.split("?")[0]
    phone = chromium.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme="dark"
    )
    page = phone.new_page()
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for name in ("e000", "e001"):
        page.goto(f"{home}?state=all&id={name}")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.goto(f"{home}?state=all&id=e000")
    page.tap("text=Show all 5,000 characters")
    page.wait_for_function("() => document.querySelector('.text').textContent.length === 5000")
    assert page.locator(".unfold").count() == 0 and page.evaluate("document.documentElement.scrollWidth") == 390
    for button in page.locator(".actions button, .classes button").all():
        area = button.bounding_box()
        assert area and area["y"] > 0 and 0 <= area["x"] <= 390 - area["width"]
    heights = page.evaluate(
        "[...document.querySelectorAll('.actions button, .classes button')].map(b => b.offsetHeight)"
    )
    assert len(heights) == 8 and min(heights) >= 44
    page.goto(home)
    before = page.get_attribute("#card", "data-id")
    page.tap("button[value=discard]")
    page.wait_for_function("id => document.querySelector('#card').dataset.id !== id", arg=before)
    assert log(run.path)["id"].to_list() == [before]
    if where := os.environ.get("LEADLINE_SHOTS"):
        page.screenshot(path=f"{where}/phone.png", full_page=True)
    phone.close()


def test_another_page_of_the_same_browser_changes_nothing(chromium: Any, inside: Any, run: Path) -> None:
    address = inside(run)
    home = address.split("?")[0]
    context = chromium.new_context()
    page = context.new_page()
    page.goto(address)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        other = free.getsockname()[1]
    evil = context.new_page()
    evil.route(
        f"http://127.0.0.1:{other}/", lambda route: route.fulfill(body="<h1>elsewhere</h1>", content_type="text/html")
    )
    evil.goto(f"http://127.0.0.1:{other}/")  # the same host, so the cookie travels; another origin
    tried = evil.evaluate(
        """async (goal) => { const body = new URLSearchParams({id: "e000", do: "discard", token: "evil"});
        const how = {method: "POST", body, mode: "no-cors", credentials: "include"};
        try { return (await fetch(goal, how)).type; }
        catch (error) { return String(error); } }""",
        f"{home}decide",
    )
    assert tried and log(run).is_empty()
    evil.set_content(
        f"<form method=post action='{home}decide'>"
        "<input name=id value=e000><input name=do value=discard><input name=token value=evil>"
        "<button id=go>go</button></form>"
    )
    with evil.expect_response("**/decide") as answered:
        evil.click("#go")
    assert answered.value.status == 403 and log(run).is_empty()
    context.close()
