"""Commands that read a run's record: score, map, report, compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leadline.cli import agreement
from leadline.cli.output import chance, interval, print_json, print_table, say, split_list

if TYPE_CHECKING:
    from leadline.comparison import Comparison, Test
    from leadline.runs import RegionRule
    from leadline.scores import Regions

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

    Scores that the file holds already and that are not asked for stay, if they are of the same signals and epochs.

    Example: leadline score runs/reviews-minilm-1 --max-epochs 4 --proportion 0.33
    """
    from leadline import runs
    from leadline.scores import SCORES

    opened = runs.open(run)
    names = "all" if scores == "all" else split_list(scores)
    written = runs.write_scores(opened, names, max_epochs, skip_epochs, region_rule(regions, proportion, precedence))
    cut = written.regions
    if json:
        ids = {name: list(opened.signals.rows(rows).ids) for name, rows in cut.sets.items()}
        print_json({"run": str(run), "n": written.n, "scores": written.names, "left_out": written.left_out,
                    "rule": cut.rule, "regions": ids, "overlaps": cut.overlaps.to_dicts(),
                    "path": str(written.path)})  # fmt: skip
        return
    rows = [[name, SCORES[name].higher_is, *summary(written.column(name))] for name in written.names]
    print_table(f"scores of {written.n:,} examples", ["score", "high means", "min", "median", "max"], rows)
    print_regions(cut)
    print_left_out(written.left_out)
    if written.kept:
        print(f"kept     {', '.join(written.kept)}: of the same epochs, computed before")
    print(f"written  {written.path}")


def print_left_out(left_out: Mapping[str, str]) -> None:
    """A line for each score; those of one probe share a line."""
    from leadline.scores import SCORES

    lines: dict[tuple[str, str], list[str]] = {}
    for name, reason in left_out.items():
        lines.setdefault((SCORES[name].probe or name, reason), []).append(name)
    for (_, reason), names in lines.items():
        print(f"left out: {', '.join(names)}: {reason}")


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


def print_regions(cut: Regions) -> None:
    overlaps = cut.overlaps
    header = {"region": "region", "in_set": "in its set", "category": "filed here"}
    names = [header.get(name, name.replace("_", " ")) for name in overlaps.columns]
    print_table(f"regions ({cut.rule})", names, [list(row) for row in overlaps.rows()])


def summary(column: Any) -> list[float | None]:
    import numpy as np

    known = column[~np.isnan(column)]
    middle = [float(np.median(known, overwrite_input=True))] if len(known) else []
    return [float(known.min()), *middle, float(known.max())] if len(known) else [None] * 3


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
    from leadline.report.maps import needed, write_map

    opened = runs.open(run)
    names = "all" if output.suffix == ".html" else needed(x, y, color)  # the page's menu has them all
    scored = runs.kept_scores(opened, names, max_epochs, skip_epochs, region_rule(regions, proportion, precedence))
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
        str, typer.Option(help="Scores to compare, with commas; or all.")
    ] = "confidence,variability,correctness,forgetting,action_mean,aum,el2n,entropy",
    labels: Annotated[str, typer.Option(help="same, or ignore: also compare runs whose labels differ.")] = "same",
    against: Annotated[
        str | None, typer.Option(help="The run, or runs of one name, that the others are tested against; the first.")
    ] = None,
    all_pairs: Annotated[bool, typer.Option("--all-pairs", help="Test every two runs.")] = False,
    metrics: Annotated[
        str | None, typer.Option(help="Metrics to test, with commas; accuracy,macro_f1 or rmse,mae,pearson.")
    ] = None,
    hardest: Annotated[float, typer.Option(help="Share of the examples whose overlap between scores is told.")] = 0.1,
    per_class: Annotated[bool, typer.Option("--per-class", help="Agreement of scores within each class, too.")] = False,
    kendall: Annotated[
        bool, typer.Option("--kendall", help="Kendall's tau of all rows, however long it takes (printed by --json).")
    ] = False,
    figure: Annotated[
        Path | None, typer.Option(help="Heat map of the agreement of scores: agreement.png, .svg or .pdf.")
    ] = None,
    humans: Annotated[
        Path | None, typer.Option(help="A table in which several people answered the training examples.")
    ] = None,
    votes: Annotated[
        str | None, typer.Option(help="Its columns of answers, one per person, or one with lists of answers.")
    ] = None,
    counts: Annotated[
        str | None, typer.Option(help="Its columns of counts, one per answer, or one with lists of counts.")
    ] = None,
    graded: Annotated[str | None, typer.Option(help="Its columns of numbers on a scale, or one with lists.")] = None,
    humans_id: Annotated[str | None, typer.Option(help="Its id column; default: the run's own.")] = None,
    json: Json = False,
) -> None:
    """Which scores agree, within a run, between runs and over seeds, and with people; metrics side by side, with tests.

    Runs that differ in the seed of training only are averaged, and tested over seeds too.

    Example: leadline compare runs/a runs/b
    """  # fmt: skip
    from leadline import comparison, runs
    from leadline.scores import SCORES

    opened = [runs.open(path) for path in paths]
    tested = split_list(metrics) or None
    names = list(SCORES) if scores == "all" else split_list(scores)
    people = agreement.people_asked(humans, split_list(votes), split_list(counts), split_list(graded), humans_id)
    found = comparison.compare(opened, names, labels, against, all_pairs, tested, hardest, per_class, kendall, people)
    if figure is not None:
        agreement.write_figure(found, figure)
        say(f"written  {figure}")
    if json:
        print_json(found.to_dict())
        return
    agreement.print_agreement(found)
    print_metrics(found)
    print_tests(found.tests)
    for note in found.notes:
        print(note)


def print_metrics(found: Comparison) -> None:
    """Metrics of every run side by side, and their means over seeds."""
    names = found.runs
    for split, table in found.results.items():
        rows = [[metric, *(interval(run) if run else "" for run in values)] for metric, values in table.items()]
        print_table(f"{split}: value [95 % interval]", ["metric", *names], rows)
    groups = [group.name for group in found.groups]
    for split, means in found.means.items():
        rows = [
            [metric, *(f"{interval(mean)}, n = {mean['n']}" if mean else "" for mean in values)]
            for metric, values in means.items()
        ]
        print_table(f"{split}: mean over seeds [95 % interval]", ["metric", *groups], rows)


def print_tests(tests: Sequence[Test]) -> None:
    """A table for each pair, second minus first; p beside p corrected for all of the tables."""
    from dataclasses import asdict

    header = ["over", "metric", "difference", "p", "p (Holm)", "detectable", "n", "test"]
    for first, second in dict.fromkeys((test.first, test.second) for test in tests):
        rows = [
            [test.over, test.metric, interval(asdict(d)), chance(d.p), chance(d.p_holm), d.detectable, d.n, d.method]
            for test in tests
            for d in [test.difference]
            if (test.first, test.second) == (first, second)
        ]
        split = next(test.split for test in tests if (test.first, test.second) == (first, second))
        print_table(f"{split}: {second} minus {first} [95 % interval]", header, rows)
