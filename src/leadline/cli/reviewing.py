"""Commands for people who judge labels: review, clean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leadline.cli.output import print_json, say
from leadline.cli.reading import Json, RunPath

SPLITS = ("train", "validation", "test")
Split = Annotated[str, typer.Option(help="train, validation or test: decisions on one are never applied to another.")]


def review(
    run: RunPath,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0: any that is free.")] = 0,
    reviewer: Annotated[str | None, typer.Option(help="Who decides; default: the name of this login.")] = None,
    score: Annotated[
        str | None, typer.Option(help="Rank by this score; default: the order of suspects.csv, else aum_prob.")
    ] = None,
    split: Split = "train",
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    token: Annotated[
        str | None, typer.Option(help="The token in the address, to use one again; others on this machine can see it.")
    ] = None,
) -> None:
    """Go through the suspects in the browser, one key per decision. Every decision is on disk before the next card.

    Example: leadline review runs/reviews-minilm-1 --reviewer anna
    """
    import getpass
    import secrets

    from leadline.errors import MissingExtra

    try:
        from leadline.web import app, opened, serve
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "starlette", "uvicorn"):
            raise
        raise MissingExtra("leadline review", "web") from None
    _known_split(split)
    token = secrets.token_urlsafe(24) if token is None else checked_token(token)
    with serve.bind(port) as listening:
        view = opened.open_review(run, getpass.getuser() if reviewer is None else reviewer, score, split)
        with view.decisions:
            port = listening.getsockname()[1]
            address = f"http://{serve.HOST}:{port}/?token={token}"
            print(f"open     {address}", flush=True)
            n, by = len(view.deck), view.deck.ranked_by
            say(f"{n:,} {split} examples, ranked by {by}; you are {view.reviewer}. Ctrl-C ends.")
            if not no_browser:
                _open_browser(address)
            serve.serve(app.application(view, token, port), listening)
            decided = sum(decision.reviewer == view.reviewer for decision in view.decisions.standing())
    of = "" if split == "train" else f" --split {split}"
    say(f"\n{decided:,} decided by {view.reviewer}; next: leadline clean {run} -o cleaned.csv{of}")


def checked_token(token: str) -> str:
    """A token that can stand in an address and in a cookie."""
    from leadline.errors import InputError

    if len(token) < 16 or not token.isascii() or not token.replace("-", "").replace("_", "").isalnum():
        raise InputError("--token: at least 16 letters, digits, - and _ are needed")
    return token


def _open_browser(address: str) -> None:
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()  # some browsers block


def _known_split(split: str) -> None:
    from leadline.errors import InputError, nearest

    if split not in SPLITS:
        raise InputError(f"--split {split}: choose {', '.join(SPLITS)}.{nearest(split, SPLITS)}")


def clean(
    run: RunPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="cleaned.csv, .tsv, .parquet or .jsonl")],
    data: Annotated[str | None, typer.Option(help="Take the rows from this copy of the source file instead.")] = None,
    reviewer: Annotated[str | None, typer.Option(help="Only this reviewer's decisions; default: the majority.")] = None,
    split: Split = "train",
    label: Annotated[str | None, typer.Option(help="The label column, for a run without recipe.")] = None,
    json: Json = False,
) -> None:
    """Write the data with the reviewers' decisions applied, and beside it who decided what.

    The source file is never written to. Rows keep their columns and get an `id`.

    Example: leadline clean runs/reviews-minilm-1 -o cleaned.csv
    """
    from leadline import runs
    from leadline.interop.cleaned import write_cleaned

    _known_split(split)
    done = write_cleaned(runs.open(run), output, data, split, reviewer, label)
    applied = done.applied
    facts = {"path": str(done.path), "trail": str(done.trail), "n": done.n, "of": done.of, "decisions": done.decisions,
             "relabelled": len(applied.relabelled), "dropped": applied.dropped,
             "ambiguous": list(applied.ambiguous), "ties": list(applied.ties)}  # fmt: skip
    if json:
        print_json(facts)
        return
    print(f"relabelled {len(applied.relabelled):,}, dropped {applied.dropped:,} of {done.of:,} rows")
    for what, ids in (
        ("ambiguous, left as they are", applied.ambiguous),
        ("no majority, left as they are", applied.ties),
    ):
        if ids:
            shown = ", ".join(ids[:10]) + (", …" if len(ids) > 10 else "")
            print(f"{len(ids):,} {what}: {shown}")
    print(f"written  {done.path}: {done.n:,} rows\nwritten  {done.trail}: {done.decisions:,} decisions")
