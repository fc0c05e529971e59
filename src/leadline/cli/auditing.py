"""The command that audits labels."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leadline.cli.output import print_json, print_table, say
from leadline.cli.reading import Json, RunPath

if TYPE_CHECKING:
    from leadline.audit import Audit, Beside


def audit(
    run: RunPath,
    score: Annotated[
        str | None, typer.Option(help="Rank by this score of the run, or `combined` (--calibrate).")
    ] = None,
    probabilities: Annotated[
        str | None, typer.Option(help="Rank by probabilities instead: prequential, run (in sample) or folds.")
    ] = None,
    quality: Annotated[
        str,
        typer.Option(
            help="self_confidence, normalized_margin, confidence_weighted_entropy; prequential: also standardised."
        ),
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
    neighbours: Annotated[int, typer.Option(min=0, help="Nearest examples that explain a suspect; 0: none.")] = 10,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 1,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write all suspects to this CSV.")] = None,
    json: Json = False,
) -> None:
    """Which labels are wrong, why that is thought, and how many to expect.

    Example: leadline audit runs/reviews-minilm-1 --probabilities prequential --top 50 -o suspects.csv
    """
    from leadline import audit as room
    from leadline import runs

    wanted = room.Wanted(score, probabilities, quality, filter, folds, split, calibrate, planted, flips, threshold)
    opened = runs.open(run)
    if neighbours and opened.recipe is not None and (opened.path / "model").is_dir():
        from leadline.experiment import features

        features(opened, split)  # once; kept in the run
    found = room.audit(opened, wanted, jobs, say)
    seen = room.beside(found, top, neighbours)
    if output is not None:
        runs.write_suspects(opened, found.suspects, output, split)
    if json:
        print_json(as_json(found, seen))
        return
    print_audit(found, seen)
    if output is not None:
        print(f"written  {output}: {found.suspects.height:,} suspects")


def print_audit(found: Audit, seen: Beside) -> None:
    columns = [name for name in COLUMNS if seen.suspects[name].null_count() < seen.suspects.height]
    rows = [list(row) for row in seen.suspects.select(columns).iter_rows()]
    flagged = f", {found.suspects.height:,} of them flagged" if found.suspects.height < found.n else ""
    table = f"{found.split}: {found.n:,} labels ranked by {found.ranked_by}{flagged}"
    print_table(table, [HEADERS.get(name, name) for name in columns], rows)
    if seen.conflicts.height:
        print_conflicts(seen.conflicts)
    for sentence in [*sentences(found), *([seen.note] if seen.note else [])]:
        print(sentence)


COLUMNS = ("rank", "id", "label", "suggested", "probability", "neighbours", "duplicate_of", "reason")
HEADERS = {"duplicate_of": "also labelled otherwise"}
GROUPS, LONGEST = 5, 60  # of conflicting duplicates on the screen


def print_conflicts(table: Any) -> None:
    """The first groups; all of them are in --json."""
    texts = [name for name in table.columns if name not in ("group", "id", "label", "distance", "exact")]
    shown = table.filter(table["group"] <= GROUPS)
    rows = [
        [row["group"], row["id"], row["label"], " | ".join(cut(str(row[name])) for name in texts)]
        for row in shown.iter_rows(named=True)
    ]
    n = table["group"].n_unique()
    title = f"{n:,} groups of (nearly) equal texts with different labels" + (
        f"; the first {GROUPS}" if n > GROUPS else ""
    )
    print_table(title, ["group", "id", "label", "text"], rows)


def cut(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"


def sentences(found: Audit) -> list[str]:
    """How many, each number with its assumption."""
    told = list(found.told)
    if found.expected is not None:
        told.append(
            f"confident learning expects {found.expected:.0f} wrong labels (if the model errs alike within each class; "
            "no interval)"
        )
    if found.calibration is not None and found.best is not None and found.planted is not None:
        c, k = found.calibration, len(found.planted.rows)
        told.append(
            f"of {k} planted errors {int(c.found[k - 1])} are among the first {k} ({c.precision[k - 1]:.0%}); "
            f"at most {c.high:.0f} natural errors at {c.level:.0%}, if {c.assumption}"
        )
        best = found.best.row(0, named=True)
        told.append(
            f"best on the planted errors: {best['score']}, average precision {best['average_precision']:.3f} "
            f"[{best['low']:.3f}, {best['high']:.3f}]"
        )
    if (r := found.reviewed) is not None:
        told.append(
            f"{r.value:.0f} wrong labels [{r.low:.0f}, {r.high:.0f}] of {r.n:,} at {r.level:.0%}, by {r.n_reviewed} "
            f"reviewed: {r.assumption}"
        )
    if found.threshold is not None:
        low, high = sorted(found.threshold.cutoffs)
        told.append(
            f"threshold samples: {int(found.threshold.flagged.sum())} examples have an AUM at or below that of 99 % of "
            f"the rows moved to a class of their own ({low:.2f} and {high:.2f} in the two trainings)"
        )
    return told


def as_json(found: Audit, seen: Beside) -> dict[str, Any]:
    c = found.calibration
    return {
        "run": str(found.run.path), "split": found.split, "n": found.n, "ranked_by": found.ranked_by,
        "suspects": seen.suspects.to_dicts(), "conflicts": seen.conflicts.to_dicts(), "vectors": seen.vectors,
        "note": seen.note, "expected": found.expected,
        "calibration": c and {"planted": c.n_planted, "value": c.value, "high": c.high, "level": c.level,
                              "cutoff": c.cutoff, "assumption": c.assumption,
                              "precision": c.precision[: 4 * c.n_planted].tolist()},
        "best": found.best.to_dicts() if found.best is not None else None,
        "reviewed": found.reviewed and asdict(found.reviewed),
        "threshold": found.threshold and {"cutoffs": list(found.threshold.cutoffs),
                                          "flagged": int(found.threshold.flagged.sum())},
        "told": sentences(found),
    }  # fmt: skip
