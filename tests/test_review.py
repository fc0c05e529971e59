"""The review page without a browser: who is let in, what is written, what is shown of whatever text."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from review_runs import minimal_run, recipe_run, write_signals

pytest.importorskip("fastapi", reason="the extra `web` is not installed")

from fastapi.testclient import TestClient

from leadline import runs
from leadline.data.examples import Examples, with_hashes
from leadline.data.vectors import SOURCE
from leadline.errors import InputError
from leadline.runs import Run
from leadline.scores import SCORES
from leadline.suspects import estimate, reviewers
from leadline.web import app, guard, serve
from leadline.web.opened import Review, open_review

TOKEN, PORT = "secret-token-0123456789", 8123
HOME = f"http://127.0.0.1:{PORT}"
HOSTILE = '<script>hacked()</script> & <img src=x onerror=hacked()> {{ 7 * 7 }} </div></article> hx-get="/x"'
RIGHT_TO_LEFT = "\u202eשלום \u0000 nul \u0007 bell \u009b"


def texts(n: int = 30) -> list[str]:
    return [f"message number {i} about {'rain' if i % 2 else 'sand'}" for i in range(n)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return minimal_run(tmp_path / "run", {"text": texts()})


class Browser:
    """A client that has been let in, and reads what it needs off the page as a browser would."""

    def __init__(self, review: Review):
        self.review = review
        self.client = TestClient(app.application(review, TOKEN, PORT), base_url=HOME)
        self.client.__enter__()  # one event loop for all requests
        self.page = self.get(f"/?token={TOKEN}")

    def close(self) -> None:
        self.client.__exit__()
        self.review.decisions.close()

    def get(self, path: str, **query: Any) -> str:
        answer = self.client.get(path, params=query or None)
        assert answer.status_code == 200, answer.text
        self.page = answer.text
        return self.page

    def post(self, path: str, **fields: Any) -> Any:
        return self.client.post(path, data=fields, headers={"origin": HOME})

    def field(self, name: str) -> str:
        found = re.search(rf'name="{name}" value="([^"]*)"', self.page[self.page.index("<article") :])
        assert found, f"no field {name}"
        return html.unescape(found[1])

    @property
    def id(self) -> str:
        found = re.search(r'data-id="([^"]*)"', self.page)
        assert found, self.page
        return html.unescape(found[1])

    def decide(self, do: str, **other: str) -> str:
        fields = {"id": self.id} | {name: self.field(name) for name in ("token", "query")} | other
        answer = self.post("/decide", do=do, **fields)
        assert answer.status_code == 200, answer.text
        self.page = answer.text
        return self.page

    def undo(self) -> str:
        self.page = self.post("/undo", token=self.field("token"), query=self.field("query")).text
        return self.page

    def log(self) -> list[tuple[str, str, str | None]]:
        return self.review.decisions.log().select("id", "action", "to").rows()


@pytest.fixture
def opened(run: Run):
    made: list[Browser] = []

    def open_(reviewer: str = "anna", path: Path = run.path, **more: Any) -> Browser:
        made.append(Browser(open_review(path, reviewer, **more)))
        return made[-1]

    yield open_
    for browser in made:
        browser.close()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory):
    """One review for all who are not let in."""
    browser = Browser(open_review(minimal_run(tmp_path_factory.mktemp("door") / "run", {"text": texts()}).path, "anna"))
    yield browser
    browser.close()


Opened = Callable[..., Browser]


def words(page: str) -> str:
    """The text of a page as a reader sees it."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


# --- who is let in ----------------------------------------------------------------------------------------------------

EVERYTHING = [
    ("GET", path)
    for path in (
        "/",
        "/card",
        "/text?id=e000&column=text",
        "/near?id=e000",
        "/points",
        "/static/review.css",
        "/nothing",
    )
]
EVERYTHING += [("POST", path) for path in ("/decide", "/undo", "/draw")]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), EVERYTHING)
def test_without_the_token_nothing_is_answered(door: Browser, method: str, path: str) -> None:
    decision = {"id": "e000", "do": "discard", "token": "t", "count": "30"}
    for cookies in ({}, {f"leadline_{PORT}": "wrong"}, {f"leadline_{PORT}": ""}):
        stranger = TestClient(door.client.app, base_url=HOME, cookies=cookies)
        answer = stranger.request(method, path, data=decision if method == "POST" else None, headers={"origin": HOME})
        assert answer.status_code == 403 and "message number" not in answer.text and "set-cookie" not in answer.headers
        assert stranger.request(method, path + ("&" if "?" in path else "?") + "token=wrong").status_code == 403
    assert door.log() == [] and door.review.decisions.draws().is_empty()


def test_the_token_in_the_address_is_for_the_page_only_and_becomes_a_cookie(door: Browser) -> None:
    stranger = TestClient(door.client.app, base_url=HOME)
    assert stranger.get(f"/points?token={TOKEN}").status_code == 403
    assert stranger.post(f"/undo?token={TOKEN}", data={"token": "t"}, headers={"origin": HOME}).status_code == 403
    answer = stranger.get(f"/?token={TOKEN}")
    assert answer.status_code == 200
    assert answer.headers["set-cookie"] == f"leadline_{PORT}={TOKEN}; Path=/; HttpOnly; SameSite=Strict"
    again = stranger.get("/points")
    assert again.status_code == 200 and "set-cookie" not in again.headers


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", f"127.0.0.1:{PORT + 1}", f"[::1]:{PORT}", ""]
)
def test_another_name_is_refused_token_or_not(door: Browser, host: str) -> None:
    for path in ("/", f"/?token={TOKEN}", "/points", "/static/review.js"):
        assert door.client.get(path, headers={"host": host}).status_code == 403
    fields = {"id": "e000", "do": "discard", "token": "t"}
    answer = door.client.post("/decide", data=fields, headers={"host": host, "origin": f"http://{host}"})
    assert answer.status_code == 403 and door.log() == []


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "http://evil.example",
        f"http://127.0.0.1:{PORT + 1}",
        f"https://127.0.0.1:{PORT}",
        f"http://localhost:{PORT}",
    ],
)
def test_another_origin_changes_nothing(door: Browser, origin: str | None) -> None:
    headers = {} if origin is None else {"origin": origin}
    for path in ("/decide", "/undo", "/draw"):
        fields = {"id": "e000", "do": "discard", "token": "t", "count": "30"}
        assert door.client.post(path, data=fields, headers=headers).status_code == 403
    assert door.log() == [] and door.review.decisions.draws().is_empty()


def test_long_requests_are_refused(door: Browser) -> None:
    assert door.post("/decide", id="e000", do="keep", token="t", query="x" * 200_000).status_code == 413
    pieces = door.client.post("/decide", content=iter([b"id=e000&do=keep&token=t"]), headers={"origin": HOME})
    assert pieces.status_code == 413 and door.log() == []


def test_the_page_runs_and_loads_only_our_own_files(door: Browser) -> None:
    for path in ("/", "/card", "/points", "/static/review.js", "/near?id=e000", "/nothing"):
        answer = door.client.get(path)
        policy = answer.headers["content-security-policy"]
        assert policy == guard.NOTHING_ELSE and "unsafe" not in policy and "default-src 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"
    page = door.get("/")
    assert re.findall(r'(?:src|href)="([^"]+)"', page) == [
        "data:,", "static/review.css", "static/htmx.min.js", "static/map.js", "static/review.js", "#card-title",
    ]  # fmt: skip
    assert not re.search(r"<style|<script(?! src)|\sstyle=|\son[a-z]+=", page)
    for name in ("review.css", "htmx.min.js", "map.js", "review.js", "htmx.LICENSE.txt"):
        assert door.client.get(f"/static/{name}").status_code == 200
    assert door.client.get("/static/../app.py").status_code == 404
    assert door.client.get("/static/%2e%2e/app.py").status_code == 404


def test_no_other_socket_than_loopback_and_a_port_that_is_taken() -> None:
    with serve.bind(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
        with pytest.raises(InputError, match="choose another one"):
            serve.bind(listening.getsockname()[1])
    with pytest.raises(InputError, match="65535"):
        serve.bind(70000)


# --- deciding ---------------------------------------------------------------------------------------------------------


def test_the_queue_is_the_order_of_the_score_and_each_key_a_decision(opened: Opened, run: Run) -> None:
    browser = opened()
    margin = SCORES["aum_prob"].function(run.signals)
    order = [run.train.ids[i] for i in np.argsort(margin, kind="stable")]
    assert browser.review.deck.table["id"].to_list() == order and browser.id == order[0]
    for do in ("keep", "discard", "ambiguous", "to:spam", "to:ham", "to:junk"):
        browser.decide(do)
    label = dict(zip(run.train.ids, run.train.table["_label"], strict=True))
    expected = [("keep", None), ("discard", None), ("ambiguous", None)]
    expected += [
        ("keep", None) if label[name] == to else ("relabel", to)
        for name, to in zip(order[3:6], ("spam", "ham", "junk"), strict=True)
    ]
    assert browser.log() == [(name, *what) for name, what in zip(order[:6], expected, strict=True)]
    assert ("keep", None) in expected[3:] or len(set(expected[3:])) == 3
    assert browser.id == order[6] and "6 of 30 in this queue decided" in words(browser.page)
    browser.undo()
    assert browser.id == order[5] and "5 of 30" in words(browser.page) and "Undone" in words(browser.page)
    browser.get("/")
    assert browser.id == order[5]  # a fresh page goes on where it stopped


def test_the_same_request_counts_once_and_another_button_counts_anew(opened: Opened) -> None:
    browser = opened()
    first = {"id": browser.id} | {name: browser.field(name) for name in ("token", "query")}
    pages = [browser.post("/decide", do="discard", **first).text for _ in range(3)]
    assert browser.log() == [(first["id"], "discard", None)]
    assert {re.search(r'data-id="([^"]+)"', page)[1] for page in pages} == {browser.review.deck.table["id"][1]}  # type: ignore[index]
    browser.post("/decide", do="keep", **first)
    assert browser.log() == [(first["id"], "discard", None), (first["id"], "keep", None)]
    for _ in range(2):
        browser.post("/undo", token=first["token"])
    assert [row[1] for row in browser.log()] == ["discard", "keep", "undo"]


def test_skipped_cards_come_again_at_the_end(opened: Opened) -> None:
    browser = opened()
    order = browser.review.deck.table["id"].to_list()
    browser.decide("skip")
    for name in order[1:]:
        assert browser.id == name
        browser.decide("keep")
    assert browser.id == order[0] and "29 of 30" in words(browser.page)
    browser.decide("keep")
    assert "Everything in this queue is decided" in browser.page and "leadline clean" in browser.page
    browser.undo()
    assert browser.id == order[0] and '<p class="told">Undone: keep.' in browser.page
    for _ in range(31):
        browser.undo()
    assert '<p class="told">There is nothing to undo.' in browser.page and "0 of 30" in words(browser.page)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"do": "to:eggs"}, "no class `eggs`"),
        ({"do": "erase"}, "no action `erase`"),
        ({"id": "zz"}, "no example `zz`"),
        ({"do": "undo"}, "no action"),
    ],
)
def test_what_cannot_be_decided_is_told_and_not_written(opened: Opened, fields: dict[str, str], says: str) -> None:
    browser = opened()
    answer = browser.post("/decide", **{"id": "e000", "do": "keep", "token": "t"} | fields)
    assert answer.status_code == 400 and says in answer.text and browser.log() == []
    assert browser.post("/decide", id="e000").status_code == 422
    assert browser.client.get("/card", params={"low": "much"}).status_code == 400


def test_looking_around_decides_nothing(opened: Opened) -> None:
    browser = opened()
    order = browser.review.deck.table["id"].to_list()
    browser.get("/card", id=order[0], move="next")
    assert browser.id == order[1]
    browser.get("/card", id=order[1], move="previous")
    browser.get("/card", id=order[0], move="previous")
    assert browser.id == order[0] and '<p class="told">This is the first of the queue.' in browser.page
    browser.decide("discard")
    browser.get("/card", id=order[1], move="previous")  # what was decided can be looked at, and decided anew
    assert browser.id == order[0] and "You decided: discard" in words(browser.page)
    browser.decide("keep")
    assert browser.review.decisions.of(order[0], "anna").action == "keep"  # type: ignore[union-attr]
    assert len(browser.log()) == 2


def test_filters_choose_the_queue_and_stay_with_it(opened: Opened) -> None:
    browser = opened()
    table = browser.review.deck.table
    spam = table.filter(pl.col("label") == "spam")["id"].to_list()
    answer = browser.client.get("/card", params={"label": "spam", "search": "RAIN", "low": ""})
    assert answer.headers["hx-replace-url"] == "/?label=spam&search=RAIN"
    browser.page = answer.text
    nothing = browser.client.get("/card", params={"state": "decided"}).text
    assert "Nothing in this queue is decided yet" in nothing and "leadline clean" not in nothing
    rainy = [name for name in spam if int(name[1:]) % 2]
    assert browser.id == rainy[0] and browser.field("query") == "label=spam&search=RAIN"
    browser.decide("keep")
    assert browser.id == rainy[1] and f"1 of {len(rainy)} in this queue" in words(browser.page)
    browser.get("/card", search="no such words")
    assert "No example fits these filters" in browser.page
    browser.get("/", label="spam", state="decided")
    assert browser.id == rainy[0] and 'value="spam" selected' in browser.page
    x, y = table["x"].to_numpy(), table["y"].to_numpy()
    box = {"x0": x[7] - 1e-6, "x1": x[7] + 1e-6, "y0": y[7] - 1e-6, "y1": y[7] + 1e-6}
    browser.get("/card", **box)
    assert browser.id == table["id"][7] and "0 of 1 in this queue" in words(browser.page)


def test_the_order_of_suspects_csv_is_the_queue_unless_a_score_is_named(opened: Opened, run: Run) -> None:
    listed = pl.DataFrame(
        {
            "id": ["e007", "e003"],
            "score": [0.75, -2.5],
            "suggested": ["spam", None],
            "probability": [0.5, None],
            "reason": ["because", ""],
        }
    )
    listed.write_csv(run.path / "suspects.csv")
    browser = opened()
    assert browser.review.deck.table["id"].to_list()[:2] == ["e007", "e003"] and len(browser.review.deck) == 30
    assert "because" in browser.page and browser.review.deck.ranked_by == "suspects.csv"
    assert "score 0.750" in words(browser.page) and 'placeholder="−2.500"' in browser.page
    browser.get("/card", high="9")  # what the file does not list has no score of the file's kind
    assert "0 of 2 in this queue" in words(browser.page)
    anew = opened(score="confidence")
    assert anew.review.deck.table["id"][0] == "e000" and anew.review.deck.ranked_by == "confidence"
    with pytest.raises(InputError, match="Did you mean `confidence`"):
        opened(score="confidense")
    with pytest.raises(InputError, match="does not say which labels are doubtful"):
        opened(score="variability")


# --- several reviewers, draws -----------------------------------------------------------------------------------------


def test_reviewers_do_not_see_each_others_decisions_but_how_far_they_agree(opened: Opened) -> None:
    anna, ben = opened("anna"), opened("ben")
    for do in ("keep", "discard", "keep", "ambiguous"):
        anna.decide(do)
    ben.get("/")
    assert "You decided" not in ben.page and "0 of 30 in this queue" in words(ben.page)
    ben.get("/card", state="others")
    assert "0 of 4 in this queue" in words(ben.page)
    for do in ("keep", "discard", "discard", "ambiguous"):
        ben.decide(do)
    assert "Everything in this queue is decided" in ben.page or "No example" in ben.page
    found = reviewers.agreement(ben.review.decisions.current())
    assert found is not None and found.n == 4
    assert f"Cohen's kappa {found.kappa:.3f} over the 4 examples that both decided" in words(ben.page)
    assert "anna 4 · ben 4" in words(ben.page) and "Wrong so far: 1 of 3 (33 %)" in words(ben.page)


def test_a_draw_is_a_queue_and_gives_an_estimate_from_fifty_on(opened: Opened, tmp_path: Path) -> None:
    many = minimal_run(tmp_path / "many", {"text": texts(300)}, n=300)
    browser = opened(path=many.path)
    answer = browser.post("/draw", count="80", seed="4")
    assert answer.status_code == 204 and answer.headers["hx-redirect"] == "/?draw=1"
    made = estimate.draw(np.arange(300), 80, seed=4)
    drawn = browser.review.deck.table["id"].gather(made.rows).to_list()
    browser.get("/", draw=1)
    assert browser.id == drawn[0] and "draw 1: 80 by aum_prob" in words(browser.page)
    truly_wrong = {f"e{i:03d}" for i in range(0, 300, 5)}
    for name in drawn[:50]:
        assert browser.id == name and "% interval" not in browser.page
        browser.decide("discard" if name in truly_wrong else "keep")
    wrong = np.array([float(name in truly_wrong) for name in drawn[:50]] + [np.nan] * 30)
    found = estimate.errors(made, wrong)
    ends = f"{int(np.floor(found.low))} to {int(np.ceil(found.high))}"
    says = f"{round(found.value)} of 300 labels are wrong (90 % interval {ends})"
    assert says in words(browser.page) and "50 of 80 decided" in words(browser.page)
    assert found.assumption in words(browser.page)
    assert browser.post("/draw", count="9999").status_code == 400
    assert browser.client.get("/", params={"draw": 7}).status_code == 400


# --- whatever is shown ------------------------------------------------------------------------------------------------


def test_hostile_texts_ids_and_classes_are_shown_as_text(opened: Opened, tmp_path: Path) -> None:
    long = "x" * 1_000_000
    shown = [HOSTILE, RIGHT_TO_LEFT, long, "two\r\nlines", *texts(26)]
    ids = ['"><script>1</script>', "a&b=c#d?e", "'single' \\ {{id}}", *[f"e{i}" for i in range(27)]]
    odd = minimal_run(
        tmp_path / "<b>odd & run",
        {"a <col>": shown, "b": shown[::-1]},
        ids=ids,
        classes=("<u>no</u>", 'yes"> &', "{{ x }}"),
    )
    browser = opened(path=odd.path)
    for name in ids[:3]:
        page = browser.get("/card", id=name) + browser.get("/", id=name, state="all")
        assert browser.id == name and len(page) < 150_000
        assert not re.search(r"<(script(?! src)|img|u>|b>odd)", page) and "&lt;u&gt;no&lt;/u&gt;" in page
    assert html.escape(HOSTILE, quote=False)[:40] in browser.get("/card", id=ids[0]) and "49" not in words(browser.page)
    page = browser.get("/card", id=ids[1])
    assert "\u2400 nul \u2407 bell \ufffd" in page and not set("\x00\x07\x9b") & set(page)
    assert 'dir="auto">\ufffdשלום' in page and "\u202e" not in page and "a &lt;col&gt;" in page
    page = browser.get("/card", id=ids[2])
    assert "Show all 1,000,000 characters" in page and page.count("x" * 1990) == 1
    whole = browser.get("/text", id=ids[2], column="a <col>")
    assert long in whole and len(whole) < 1_000_200
    assert browser.client.get("/text", params={"id": ids[2], "column": "_label"}).status_code == 400
    assert "characters" not in browser.get("/card", id=ids[3])
    browser.get("/card", id=ids[0])
    browser.decide('to:yes"> &')
    assert browser.log() == [(ids[0], "relabel", 'yes"> &')]
    assert browser.client.get("/card", params={"label": 'yes"> &', "search": "<script>"}).status_code == 200


def test_a_pair_is_labelled_by_its_columns(opened: Opened, tmp_path: Path) -> None:
    pair = minimal_run(tmp_path / "pair", {"premise": texts(), "hypothesis": texts()[::-1]})
    browser = opened(path=pair.path)
    page = browser.page
    assert page.count('class="text" dir="auto"') == 2 and "premise</h3>" in page and "hypothesis</h3>" in page
    texts_of = dict(zip(pair.train.ids, zip(texts(), texts()[::-1], strict=True), strict=True))
    near = words(browser.get("/near", id="e000"))
    assert sum(f"{one} | {two} distance" in near for one, two in texts_of.values()) == 10  # both sentences of each


def test_the_card_shows_probabilities_curve_and_duplicates(opened: Opened, tmp_path: Path) -> None:
    same = texts()
    same[4] = same[0].upper()  # e000 is ham, e004 is junk
    twice = minimal_run(tmp_path / "twice", {"text": same})
    browser = opened(path=twice.path)
    page = browser.get("/card", id="e000")
    p = np.exp(twice.signals.gold_logprob[:, 0])
    percents = [f"{100 * value:.0f} %" for value in p]
    assert f'aria-label="{", ".join(percents)}"' in page and page.count("<circle") == 4
    assert page.count("<rect") == 3 and "ham label" in words(page)
    assert 'class="suggested"' in page and "Suggested junk" in words(page)  # every fifth example speaks for another
    kept = browser.get("/card", id="e001")
    assert "Next likely spam" in words(kept) and "Suggested" not in kept and 'class="suggested"><kbd>' not in kept
    near = browser.get("/near", id="e000")
    assert "The same text" in near and "e004" in near and "junk" in near and "Nearest neighbours" in near
    assert "e000" in browser.get("/near", id="e004") and "The same text" not in browser.get("/near", id="e001")
    assert runs.kept_features(twice, "train", SOURCE) is not None  # made once


def test_neighbours_are_shown_where_vectors_are_kept(opened: Opened, run: Run) -> None:
    x = np.zeros((30, 2), dtype=np.float32)
    x[:, 0] = np.cos(np.arange(30) / 20)
    x[:, 1] = np.sin(np.arange(30) / 20)
    runs.write_features(run, "train", x, SOURCE, of_model=False)
    near = words(opened().get("/near", id="e000"))
    assert "3 of 10 with its label" in near  # e001 … e010, of which every third is ham
    assert near.index("message number 1 ") < near.index("message number 2 ") < near.index("message number 10 ")


def test_more_than_nine_classes_have_a_list_with_the_probable_ones_first(opened: Opened, tmp_path: Path) -> None:
    classes = [f"class {k}" for k in range(12)]
    many = minimal_run(tmp_path / "many", {"text": texts(48)}, n=48, classes=classes)
    browser = opened(path=many.path)
    assert 'data-key="r"' in browser.page and 'data-key="1"' not in browser.page
    listed = re.findall(r'data-name="([^"]+)"', browser.page)
    row = int(browser.review.deck.table["row"][0])
    z = np.stack([period.logits[row] for period in many.signals.periods])
    p = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)).mean(axis=0)
    assert sorted(listed) == sorted(classes) and listed[0] == classes[int(p.argmax())]
    assert listed[-1] == classes[int(p.argmin())] == browser.review.deck.table["label"][0]
    assert browser.page.count("<rect") == 11 and "and 1 more" in browser.page  # ten, and that of the label


def test_a_run_with_less_shows_less(opened: Opened, tmp_path: Path) -> None:
    bare = minimal_run(tmp_path / "bare", None, logits=False)
    browser = opened(path=bare.path)
    assert "This run has no texts" in browser.page and browser.id in browser.page and "<rect" not in browser.page
    assert "Suggested <b" not in browser.page
    browser.decide("to:spam")
    assert (
        browser.log()[0][1:] in (("relabel", "spam"), ("keep", None)) and browser.get("/near", id="e000").strip() == ""
    )


def test_a_regression_has_no_classes_to_relabel_to(opened: Opened, tmp_path: Path) -> None:
    from leadline import signals

    path = tmp_path / "numbers"
    path.mkdir()
    frame = pl.DataFrame(
        {
            "_id": [f"e{i}" for i in range(12)],
            "_split": "train",
            "text": texts(12),
            "_label": [i / 4 for i in range(12)],
        }
    )
    with_hashes(Examples(frame, "regression", ("text",))).write(path / "examples.parquet")
    for epoch in (1, 2):
        signals.write_period(
            path / "signals", epoch, signals.complete({"loss": np.arange(12) % 5 / epoch}), {"mode": "online"}
        )
    browser = opened(path=path)
    assert 'value="to:' not in browser.page and 'data-key="r"' not in browser.page and browser.id == "e4"
    browser.decide("discard")
    assert browser.log() == [("e4", "discard", None)]
    assert browser.post("/decide", id="e0", do="to:1.0", token="t").status_code == 400


def test_other_splits_are_ranked_by_their_predictions_and_kept_apart(opened: Opened, tiny_csv, tmp_path: Path) -> None:
    run = recipe_run(
        tmp_path / "run2", train=str(tiny_csv(60)), test=str(tiny_csv(20, seed=9, name="test.csv")), id="id"
    )
    browser = opened(path=run.path, split="test")
    predictions = run.predictions("test").sort("gold_probability", maintain_order=True)
    assert browser.review.deck.table["id"].to_list() == predictions["id"].to_list()
    browser.decide("discard")
    train = opened(path=run.path)
    assert train.log() == [] and "0 of 54" in words(train.page)
    assert browser.client.get("/near", params={"id": browser.id}).text.strip() == ""
    with pytest.raises(InputError, match="ranked by their predictions"):
        opened(path=run.path, split="test", score="aum")


def test_one_epoch_has_no_map(opened: Opened, tmp_path: Path) -> None:
    run = minimal_run(tmp_path / "once", {"text": texts()})
    for path in sorted((run.path / "signals").glob("*.arrow"))[1:]:
        path.unlink()
    page = opened(path=run.path).page
    assert 'id="map"' not in page and "Box on the map" not in page and "<circle" in page


def test_points_of_the_map(opened: Opened) -> None:
    browser = opened()
    found = browser.client.get("/points").json()
    assert set(found) == {"x", "y", "region", "axes", "n"} and found["n"] == 30 == len(found["x"])
    assert sorted(found["y"]) == sorted(browser.review.deck.table["y"].round_sig_figs(5).to_list())
    assert found["axes"] == ["variability", "confidence"]


def test_a_page_is_as_small_for_many_examples_as_for_few(opened: Opened, tmp_path: Path) -> None:
    many = minimal_run(tmp_path / "many", {"text": texts(3000)}, n=3000)
    few, much = opened().page, opened(path=many.path).page
    assert abs(len(few) - len(much)) < 500


def test_the_command_refuses_before_it_serves(leadline, run: Run, tmp_path: Path) -> None:
    status, _, err = leadline("review", tmp_path / "nowhere", "--no-browser")
    assert status == 2 and "no such run directory" in err
    for arguments, says in (
        (["--token", "short"], "at least 16"), (["--token", "x" * 20 + ";"], "at least 16"),
        (["--reviewer", " "], "--reviewer"),
        (["--split", "tran"], "Did you mean `train`"), (["--port", "99999"], "65535"),
        (["--split", "test"], "no predictions for `test`"),
    ):  # fmt: skip
        status, out, err = leadline("review", run.path, "--no-browser", *arguments)
        assert status == 2 and says in err and "token=" not in out


def test_a_broken_record_is_one_clear_error(run: Run) -> None:
    (run.path / "suspects.csv").write_text("name\nx\n")
    with pytest.raises(InputError, match="no column `id`; give --score"):
        open_review(run.path, "anna")
    (run.path / "suspects.csv").unlink()
    (run.path / "decisions.sqlite").write_bytes(b"x" * 4096)
    with pytest.raises(InputError, match="decisions.sqlite: damaged"):
        open_review(run.path, "anna")


def test_the_kit_writes_a_record_that_belongs_to_its_examples(run: Run) -> None:
    assert len(run.signals) == 30 and run.signals.n_epochs == 4
    assert (SCORES["aum"].function(run.signals)[::5] < 0).all() and (
        np.delete(SCORES["aum"].function(run.signals), np.s_[::5]) > 0
    ).all()
    assert callable(write_signals)
