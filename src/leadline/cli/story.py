"""The whole story on the built-in example, whose wrong labels are known: train, chart, find, report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from leadline.cli.output import interval, print_table, say


def demo(
    to: Annotated[Path, typer.Option(help="Where the example's files and run go.")] = Path("leadline-demo"),
    model: Annotated[
        str, typer.Option(help="minilm (pretrained, offline), or tiny (seconds, from scratch).")
    ] = "minilm",
    n: Annotated[int, typer.Option(min=200, help="Training texts.")] = 3000,
    epochs: Annotated[int, typer.Option(min=2, help="Passes over the training data.")] = 4,
) -> None:
    """The whole story on a built-in example with known wrong labels: train, chart, suspect, report. Offline.

    Example: leadline demo
    """
    from leadline import demo as story
    from leadline.cli.progress import Watch
    from leadline.report.maps import write_map

    began = time.perf_counter()
    truth = story.write_demo(to / "messages.csv", n=n)
    planted = len(truth.of_kind("wrong"))
    say(f"wrote {n:,} messages to a shop into {truth.train}; {planted} have a wrong label on purpose")
    say("loading torch and transformers")
    from leadline import experiment, runs

    with Watch() as watch:
        run = experiment.train(
            data=str(truth.train), test=str(truth.test), id="id", text="text", label="label", model=model,
            epochs=epochs, max_length=64, root=to / "runs", tell=watch,
        )  # fmt: skip
    write_map(run, runs.kept_scores(run), run.path / "map.html")
    found = story.found(truth, run)
    print_table("planted wrong labels among the top suspects", found.header, found.rows)
    print_table("region of the data map, by kind of text", found.region_header, found.region_rows)
    f1 = run.results["test"]["macro_f1"]
    print(f"test macro F1 {interval(f1)}, n = {f1['n']}; {time.perf_counter() - began:.0f} s in all")
    print(f"report   {run.path / 'report.html'}\nmap      {run.path / 'map.html'}\n")
    print("now your own file:\n  leadline train YOUR.csv --text TEXT_COLUMN --label LABEL_COLUMN --model minilm")
