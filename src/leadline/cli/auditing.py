"""The command that audits labels."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leadline.cli.output import print_json, print_table
from leadline.cli.reading import Json, RunPath

if TYPE_CHECKING:
    from leadline.audit import Audit, Beside
    from leadline.runs import Run
    from leadline.suspects import Calibration


def audit(
    run: RunPath,
    score: Annotated[
        str | None, typer.Option(help="Rank by this score of the run, or `combined` (--calibrate).")
    ] = None,
    probabilities: Annotated[
        str | None, typer.Option(help="Rank by probabilities instead: prequential, run (in sample) or folds.")
    ] = None,
    quality: Annotated[
        str | None,
        typer.Option(
            help="Of the probabilities: self_confidence (default), normalized_margin, confidence_weighted_entropy."
        ),
    ] = None,
    filter: Annotated[str | None, typer.Option(help="Only what this filter of cleanlab flags.")] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Rank by probabilities of so many folds (--probabilities folds: 5).")
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation or test: each is audited by itself.")] = "train",
    top: Annotated[int, typer.Option(min=1, help="How many suspects to print.")] = 20,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Plant wrong labels, train once, say how well they are found.")
    ] = False,
    planted: Annotated[
        float | None, typer.Option(help="Share of the labels that --calibrate flips; 0.05 if not given.")
    ] = None,
    flips: Annotated[
        str | None, typer.Option(help="How --calibrate flips: uniform (if not given), class-pair or by-confusion.")
    ] = None,
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
    from leadline.cli.sweeps import Told

    wanted = room.Wanted(score, probabilities, quality, filter, folds, split, calibrate, planted, flips, threshold)
    opened = runs.open(run)
    by_model = neighbours > 0 and opened.recipe is not None and (opened.path / "model").is_dir()
    if by_model and wanted.source == "folds":
        keep_vectors(opened, split)  # near-duplicates by them share a fold
    found = room.audit(opened, wanted, jobs, Told())
    if by_model:
        keep_vectors(opened, split)
    seen = room.beside(found, top, neighbours)
    if output is not None:
        runs.write_suspects(opened, found.suspects, output, split)
    if json:
        print_json(as_json(found, seen))
        return
    print_audit(found, seen)
    if output is not None:
        print(f"written  {output}: {found.suspects.height:,} suspects")


def keep_vectors(run: Run, split: str) -> None:
    """The model's vectors of a split, once: they are kept in the run."""
    from leadline.experiment import features

    features(run, split)


# For a person

COLUMNS = {
    "rank": "rank", "id": "id", "label": "label", "suggested": "suggested", "neighbours": "neighbours",
    "below_threshold": "below threshold", "duplicate_of": "also labelled otherwise",
}  # fmt: skip
GROUPS, LONGEST = 5, 60  # conflicting duplicates, and characters of a text on the screen


def print_audit(found: Audit, seen: Beside) -> None:
    table = seen.suspects
    flagged = f", {found.suspects.height:,} of them {found.why_fewer}" if found.suspects.height < found.n else ""
    columns = [name for name in COLUMNS if name in table.columns and table[name].null_count() < table.height]
    rows = [[*(_cell(row, name) for name in columns), _why(row)] for row in table.iter_rows(named=True)]
    title = f"{found.split}: {found.n:,} labels ranked by {found.ranked_by}{flagged}"
    print_table(title, [*(COLUMNS[name] for name in columns), "text, and why it is doubted"], rows)
    if seen.conflicts.height:
        print_conflicts(seen.conflicts)
    if found.calibration is not None:
        print_calibration(found.calibration)
    for sentence in [*sentences(found), *([seen.note] if seen.note else [])]:
        print(sentence)


def _cell(row: dict[str, Any], name: str) -> Any:
    if name == "suggested" and row["probability"] is not None:
        return f"{row['suggested']} {row['probability']:.2f}"
    return row[name]


def _why(row: dict[str, Any]) -> str:
    return "\n".join(part for part in (cut(row["text"]), row["reason"]) if part)


def print_conflicts(table: Any) -> None:
    """The first groups; all of them are in --json."""
    texts = [name for name in table.columns if name not in ("group", "id", "label", "distance", "exact")]
    shown = table.filter(table["group"] <= GROUPS)
    rows = [
        [row["group"], row["id"], row["label"], " | ".join(cut(row[name]) for name in texts)]
        for row in shown.iter_rows(named=True)
    ]
    n = table["group"].n_unique()
    groups = f"{n:,} group{'' if n == 1 else 's'} of (nearly) equal texts with different labels"
    print_table(groups + (f"; the first {GROUPS}" if n > GROUPS else ""), ["group", "id", "label", "text"], rows)


def print_calibration(c: Calibration) -> None:
    """Precision at some cut-offs; --json has it at more."""
    rows = [[row["k"], row["found"], f"{row['precision']:.0%}", f"{row['recall']:.0%}"] for row in c.at_cutoffs()[::2]]
    header = ["the first", "planted among them", "precision", "of all planted"]
    print_table(f"where {c.n_planted:,} planted errors rank", header, rows)


def cut(text: Any) -> str:
    plain = " ".join(str("" if text is None else text).split())
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"


def sentences(found: Audit) -> list[str]:
    """How many, each number with its assumption."""
    told = []
    if (r := found.reviewed) is not None:
        told.append(
            f"{r.value:.0f} wrong labels [{r.low:.0f}, {r.high:.0f}] of {r.n:,} at {r.level:.0%}, by {r.n_reviewed} "
            f"reviewed: {r.assumption}"
        )
    if (c := found.calibration) is not None:
        told.append(
            f"at most {c.high:.0f} natural errors at {c.level:.0%}, if {c.assumption}; they count as clean "
            "in the precision, which is too low by them"
        )
    if found.best is not None:
        told.append(_best(found))
    if found.threshold is not None:
        low, high = sorted(found.threshold.cutoffs)
        told.append(
            f"threshold samples: {int(found.threshold.flagged.sum())} examples have an AUM at or below that of 99 % of "
            f"the rows moved to a class of their own ({low:.2f} and {high:.2f} in the two trainings)"
        )
    if found.expected is not None:
        told.append(
            f"confident learning expects {found.expected.value:.0f} wrong labels, if {found.expected.assumption}; "
            "no interval"
        )
    return told


def _best(found: Audit) -> str:
    """Which score found the planted errors best, and how this ranking's did where it is another one."""
    assert found.best is not None
    rows = {row["score"]: row for row in found.best.to_dicts()}
    name, best = next(iter(rows.items()))
    told = f"best on the planted errors: {name}, average precision {best['average_precision']:.3f} " + (
        f"[{best['low']:.3f}, {best['high']:.3f}]"
    )
    mine = rows.get(found.ranked_by)
    if mine is None or found.ranked_by == name:
        return told
    return f"{told}; {found.ranked_by}, which ranks here, {mine['average_precision']:.3f} (--score {name} ranks by it)"


# As JSON


def as_json(found: Audit, seen: Beside) -> dict[str, Any]:
    c, threshold = found.calibration, found.threshold
    return {
        "run": str(found.run.path), "split": found.split, "n": found.n, "ranked_by": found.ranked_by,
        "suspects": seen.suspects.to_dicts(), "conflicts": seen.conflicts.to_dicts(), "vectors": seen.vectors,
        "note": seen.note, "expected": found.expected and found.expected.value,
        "calibration": c and {"planted": c.n_planted, "value": c.value, "high": c.high, "level": c.level,
                              "cutoff": c.cutoff, "assumption": c.assumption, "cutoffs": c.at_cutoffs(),
                              "precision": c.precision.tolist()},
        "best": found.best.to_dicts() if found.best is not None else None,
        "reviewed": found.reviewed and asdict(found.reviewed),
        "threshold": threshold and {"cutoffs": list(threshold.cutoffs), "flagged": int(threshold.flagged.sum())},
        "told": sentences(found),
    }  # fmt: skip
