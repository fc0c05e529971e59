"""Commands that read a run's record: score, map, report, compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leadline.cli.output import interval, print_json, print_table, split_list

if TYPE_CHECKING:
    from leadline.runs import RegionRule, Scored

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run.")]
MaxEpochs = Annotated[
    int | None, typer.Option(min=1, help="Only the first so many recorded epochs (cartography: burn_out).")
]
SkipEpochs = Annotated[int, typer.Option(min=0, help="Without the first so many recorded epochs.")]
Rule = Annotated[str, typer.Option("--regions", help="proportion, threshold or data-iq.")]
Proportion = Annotated[float, typer.Option(help="Share of the examples in each region (rule proportion).")]
Precedence = Annotated[str, typer.Option(help="Which region an example of two regions is filed under; or hard_first.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def score(
    run: RunPath,
    scores: Annotated[str, typer.Option(help="all, or names with commas.")] = "all",
    max_epochs: MaxEpochs = None,
    skip_epochs: SkipEpochs = 0,
    regions: Rule = "proportion",
    proportion: Proportion = 0.33,
    precedence: Precedence = "ambiguous,easy,hard",
    json: Json = False,
) -> None:
    """(Re)compute scores.parquet, with the region of every example.

    Example: leadline score runs/reviews-minilm-1 --max-epochs 4 --proportion 0.33
    """
    from leadline import runs
    from leadline.scores import SCORES

    opened = runs.open(run)
    names = "all" if scores == "all" else split_list(scores)
    scored = opened.scored(names, max_epochs, skip_epochs, region_rule(regions, proportion, precedence))
    path = opened.path / "scores.parquet"
    runs.write_parquet(path, scored.table)
    if json:
        columns, cut = list(scored.columns()), scored.regions
        print_json({"run": str(run), "n": scored.table.height, "scores": columns, "left_out": scored.left_out,
                    "rule": cut.rule, "regions": scored.ids_by_region(), "overlaps": cut.overlaps.to_dicts(),
                    "path": str(path)})  # fmt: skip
        return
    rows = [[name, SCORES[name].higher_is, *summary(column)] for name, column in scored.columns().items()]
    print_table(f"scores of {scored.table.height:,} examples", ["score", "high means", "min", "median", "max"], rows)
    print_regions(scored)
    for name, reason in scored.left_out.items():
        print(f"left out: {name}: {reason}")
    print(f"written  {path}")


def region_rule(rule: str, proportion: float, precedence: str) -> RegionRule:
    from leadline.errors import InputError, nearest
    from leadline.runs import RegionRule
    from leadline.scores.regions import HARD_FIRST

    if rule not in ("proportion", "threshold", "data-iq"):
        raise InputError(
            f"--regions {rule}: choose proportion, threshold or data-iq.{nearest(rule, ['proportion', 'threshold'])}"
        )
    order = HARD_FIRST if precedence == "hard_first" else tuple(split_list(precedence))
    return RegionRule(rule, proportion, order)  # type: ignore[arg-type]


def print_regions(scored: Scored) -> None:
    overlaps = scored.regions.overlaps
    header = {"region": "region", "in_set": "in its set", "category": "filed here"}
    names = [header.get(name, name.replace("_", " ")) for name in overlaps.columns]
    print_table(f"regions ({scored.regions.rule})", names, [list(row) for row in overlaps.rows()])


def summary(column: Any) -> list[float | None]:
    import numpy as np

    known = column[~np.isnan(column)]
    return [float(f(known)) for f in (np.min, np.median, np.max)] if len(known) else [None] * 3


def map_(
    run: RunPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="map.png, .svg, .pdf, or .html (interactive).")] = Path(
        "map.png"
    ),
    x: Annotated[str | None, typer.Option(help="Score on the horizontal axis; default: variability.")] = None,
    y: Annotated[str | None, typer.Option(help="Score on the vertical axis; default: confidence.")] = None,
    color: Annotated[str | None, typer.Option(help="Score, label or region; default: correctness.")] = None,
    max_epochs: MaxEpochs = None,
    skip_epochs: SkipEpochs = 0,
    regions: Rule = "proportion",
    proportion: Proportion = 0.33,
    precedence: Precedence = "ambiguous,easy,hard",
) -> None:
    """The data map: where every example lies between easy, ambiguous and hard to learn.

    Example: leadline map runs/reviews-minilm-1 -o map.html
    """
    from leadline import runs
    from leadline.report.maps import write_map

    opened = runs.open(run)
    scored = opened.scored("all", max_epochs, skip_epochs, region_rule(regions, proportion, precedence))
    write_map(opened, scored, output, x, y, color)
    print(f"written  {output}")


def report(
    run: RunPath,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: report.html in the run.")] = None,
) -> None:
    """Write the report of a run as one self-contained HTML page.

    Example: leadline report runs/reviews-minilm-1
    """
    from leadline import report as reports
    from leadline import runs

    print(f"written  {reports.write(runs.open(run), output)}")


def compare(
    paths: Annotated[list[Path], typer.Argument(metavar="RUN [RUN…]", help="Directories of runs.")],
    scores: Annotated[
        str, typer.Option(help="Scores to compare, with commas.")
    ] = "confidence,variability,correctness,forgetting,action_mean,aum,el2n,entropy",
    labels: Annotated[str, typer.Option(help="same, or ignore: also compare runs whose labels differ.")] = "same",
    json: Json = False,
) -> None:
    """Rank agreement of scores, within one run or between runs of the same data; metrics of runs side by side.

    Example: leadline compare runs/a runs/b
    """  # fmt: skip
    from leadline import comparison, runs

    opened = [runs.open(path) for path in paths]
    found = comparison.compare(opened, split_list(scores), labels)
    if json:
        print_json(found.to_dict())
        return
    names = found.runs
    for table in found.agreements:
        rows = [[name, *row] for name, row in zip(table.names, table.spearman.tolist(), strict=True)]
        print_table(f"Spearman rank agreement of scores: {table.title} (n = {table.n:,})", ["", *table.names], rows)
    for split, metrics in found.results.items():
        rows = [[metric, *(interval(run) if run else "" for run in values)] for metric, values in metrics.items()]
        print_table(f"{split}: value [95 % interval]", ["metric", *names], rows)
    for note in found.notes:
        print(note)
