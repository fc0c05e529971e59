"""The pages of a review. Every answer is a whole page, or the part of one that htmx puts in place of the card."""

from __future__ import annotations

import secrets
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote, urlencode

from fastapi import FastAPI, Form, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles

from leadline.errors import InputError, LeadlineError
from leadline.scores.regions import CATEGORIES
from leadline.suspects import queue
from leadline.suspects.queue import Filter, read_filter
from leadline.web.card import DIGITS, WIDE, read_card
from leadline.web.guard import Guard
from leadline.web.near import Near
from leadline.web.numbers import new_draw, numbers
from leadline.web.opened import Review, points
from leadline.web.shown import HERE, templates, visible

ACTIONS = {"keep": "k", "ambiguous": "a", "discard": "d", "skip": "s"}  # and the key of each
HOW_MANY = 200  # examples of a draw, unless the reviewer says otherwise


def application(review: Review, token: str, port: int) -> Guard:
    """The app of one review, behind the guard."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    _tell_errors(app)
    pages = Pages(review)
    _reading(app, pages)
    _deciding(app, pages)
    pages.whole(Filter(), None)  # templates compiled, columns touched: the first page is as quick as any other
    return Guard(app, token, port)


class Pages:
    """Fills the templates for one review."""

    def __init__(self, review: Review):
        self.review, self.templates = review, templates()

    def whole(self, asked: Filter, id: str | None) -> HTMLResponse:
        """The page, at the example `id` where it is still to do, else at the first one that is."""
        place = None if id is None else self.review.place(id)
        wanted, skipped = self.review.wanted(asked)
        if place is None or not wanted[place]:
            place = queue.following(self.review.order(asked), wanted, None, skipped)
        deck = self.review.deck
        choices = {
            "labels": self.review.classes or (),
            "regions": [name for name in CATEGORIES if (deck.table["region"] == name).any()],
            "scores": self.review.score_range,
        }
        return self._fill("page.html", asked, place, choices=choices, how_many=min(HOW_MANY, len(deck)))

    def part(self, asked: Filter, place: int | None, says: str = "") -> HTMLResponse:
        """The card of a place and the numbers beside it."""
        answer = self._fill("answer.html", asked, place, says=says)
        here = asked.to_query()
        if place is not None and asked.state != "open":
            here["id"] = str(self.review.deck.table["id"][place])
        answer.headers["HX-Replace-Url"] = "/" + (f"?{urlencode(here)}" if here else "")
        return answer

    def _fill(self, name: str, asked: Filter, place: int | None, **more: Any) -> HTMLResponse:
        review = self.review
        text = self.templates.get_template(name).render(
            review=review,
            asked=asked,
            card=None if place is None else read_card(review, place),
            numbers=numbers(review, asked),
            query=urlencode(asked.to_query()),
            token=secrets.token_urlsafe(12),
            actions=ACTIONS,
            digits=DIGITS,
            wide=WIDE,
            **{"says": "", **more},
        )
        return HTMLResponse(text)

    def next(self, asked: Filter, after: int | None) -> int | None:
        wanted, skipped = self.review.wanted(asked)
        return queue.following(self.review.order(asked), wanted, after, skipped)


def _tell_errors(app: FastAPI) -> None:
    @app.exception_handler(InputError)
    def wrong(request: Request, error: InputError) -> Response:
        return PlainTextResponse(str(error), 400)

    @app.exception_handler(LeadlineError)
    def failed(request: Request, error: LeadlineError) -> Response:
        return PlainTextResponse(str(error), 500)


def _reading(app: FastAPI, pages: Pages) -> None:
    review = pages.review
    near = Near(review)

    @app.get("/")
    def page(request: Request) -> Response:
        query = dict(request.query_params)
        return pages.whole(read_filter(query), query.get("id"))

    @app.get("/card")
    def card(request: Request) -> Response:
        """Another card: the next or previous one of the queue, a given one, or the first of another queue."""
        query = dict(request.query_params)
        asked, move = read_filter(query), query.get("move")
        if "id" not in query:
            return pages.part(asked, pages.next(asked, None))
        place = review.place(query["id"])
        if move not in ("next", "previous"):
            return pages.part(asked, place)
        order = review.order(asked)
        if asked.state != "open":
            order = order[review.wanted(asked)[0][order]]
        beside = queue.beside(order, place, 1 if move == "next" else -1)
        at_end = f"This is the {'last' if move == 'next' else 'first'} of the queue."
        return pages.part(asked, place if beside is None else beside, "" if beside is not None else at_end)

    @app.get("/text")
    def text(id: str, column: str) -> Response:
        """A long text in full."""
        deck = review.deck
        if column not in deck.texts.columns:
            raise InputError(f"no text column `{column[:80]}`")
        whole = deck.texts[column][int(deck.table["row"][review.place(id)])] or ""
        return HTMLResponse(pages.templates.get_template("text.html").render(text=visible(whole)))

    @app.get("/near")
    def beside(id: str) -> Response:
        """What lies beside an example; its card does not wait for it."""
        place = review.place(id)
        suggested = review.deck.table["suggested"][place]
        page = pages.templates.get_template("near.html")
        return HTMLResponse(page.render(beside=near.beside(place), suggested=suggested))

    @app.get("/points")
    def map_points() -> Response:
        return JSONResponse(points(review))


def _deciding(app: FastAPI, pages: Pages) -> None:
    review = pages.review

    @app.post("/decide")
    def decide(
        id: Annotated[str, Form()],
        do: Annotated[str, Form()],
        token: Annotated[str, Form()],
        query: Annotated[str, Form()] = "",
    ) -> Response:
        """Records one decision; `do`: an action, or `to:` and a class, quoted. The answer comes when it is on disk."""
        action, to = ("relabel", unquote(do.removeprefix("to:"))) if do.startswith("to:") else (do, None)
        if to is not None and to == review.decisions.labels.get(id):
            action, to = "keep", None  # the key of the label it has
        # the same button of the same card is one decision, however often the request arrives
        review.decisions.record(id, action, review.reviewer, to, token=f"{token} {do}")
        asked = read_filter(dict(parse_qsl(query)))
        return pages.part(asked, pages.next(asked, review.place(id)))

    @app.post("/undo")
    def undo(token: Annotated[str, Form()], query: Annotated[str, Form()] = "") -> Response:
        """Takes the reviewer's last decision back and shows its card."""
        undone = review.decisions.undo(review.reviewer, token=f"{token} undo")
        asked = read_filter(dict(parse_qsl(query)))
        if undone is None:
            return pages.part(asked, pages.next(asked, None), "There is nothing to undo.")
        what = f"relabel to {undone.to}" if undone.to is not None else undone.action
        return pages.part(asked, review.place(undone.id), f"Undone: {what}.")

    @app.post("/draw")
    def draw(count: Annotated[int, Form()], seed: Annotated[int, Form(ge=0)] = 0) -> Response:
        """Makes a stratified draw, keeps it, and opens its queue."""
        number = new_draw(review, count, seed)
        return Response(status_code=204, headers={"HX-Redirect": f"/?draw={number}"})
