"""The command that audits labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leadline.cli.output import print_json, print_table, say
from leadline.cli.reading import Json, RunPath

if TYPE_CHECKING:
    from leadline.audit.labels import Audit


def audit(
    run: RunPath,
    score: Annotated[str | None, typer.Option(help="Rank by this score of the run, or `combined` (--calibrate).")] = None,
    probabilities: Annotated[
        str | None, typer.Option(help="Rank by probabilities instead: prequential, run (in sample) or folds.")
    ] = None,
    quality: Annotated[
        str, typer.Option(help="self_confidence, normalized_margin or confidence_weighted_entropy of --probabilities.")
    ] = "self_confidence",
    filter: Annotated[str | None, typer.Option(help="Only what this filter of cleanlab flags.")] = None,
    folds: Annotated[int, typer.Option(min=2, help="Number of folds of --probabilities folds.")] = 5,
    split: Annotated[str, typer.Option(help="train, validation or test: each is audited by itself.")] = "train",
    top: Annotated[int, typer.Option(min=1, help="How many suspects to print.")] = 20,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Plant wrong labels, train once, say how well they are found.")
    ] = False,
    planted: Annotated[float, typer.Option(help="Share of the labels that --calibrate flips.")] = 0.05,
    flips: Annotated[str, typer.Option(help="How --calibrate flips: uniform or by-confusion.")] = "uniform",
    threshold: Annotated[
        bool, typer.Option("--threshold", help="Two trainings with threshold samples: the cut-off of the AUM paper.")
    ] = False,
    neighbours: Annotated[int, typer.Option(min=0, help="Nearest neighbours that explain a suspect; 0: none.")] = 10,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 1,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write all suspects to this CSV.")] = None,
    json: Json = False,
) -> None:
    """Which labels are wrong, why that is thought, and how many to expect.

    Example: leadline audit runs/reviews-minilm-1 --probabilities prequential --top 50 -o suspects.csv
    """
    from leadline import runs
    from leadline.audit import labels

    wanted = labels.Wanted(
        score, probabilities, quality, filter, folds, split, calibrate, planted, flips, threshold, neighbours
    )
    found = labels.audit(runs.open(run), wanted, top, jobs, say)
    if output is not None:
        labels.write(found, output)
    if json:
        print_json(found.to_dict(top))
        return
    print_audit(found, top)
    if output is not None:
        print(f"written  {output}: {found.suspects.height:,} suspects")
