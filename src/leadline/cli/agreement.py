"""How `leadline compare` prints which scores agree, how stable they are over seeds, and how they go with people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadline.cli.output import interval, print_table

if TYPE_CHECKING:
    import numpy as np

    from leadline.comparison import Agreed, Asked, Comparison, Humans, ScoreAgreement, Stability

WIDE = 12  # scores whose table still fits beside itself in a terminal
MOST = 6  # pairs of runs that have a column each


def people_asked(
    humans: Path | None, votes: Sequence[str], counts: Sequence[str], graded: Sequence[str], id: str | None
) -> Asked | None:
    """What --humans and its columns ask for. Raises InputError for columns without a file."""
    from leadline.comparison import Asked
    from leadline.errors import InputError

    if humans is not None:
        return Asked(humans, votes, counts, graded, id)
    given = [("--votes", votes), ("--counts", counts), ("--graded", graded), ("--humans-id", id)]
    for name, value in given:
        if value:
            raise InputError(f"{name}: columns of which file? Name it by --humans FILE")
    return None


def print_agreement(found: Comparison) -> None:
    for table in found.scores:
        print_scores(table)
    if len(found.scores) > 1:  # of the seeds of one recipe the next table says it
        print_between(found.agreements)
    print_stability(found.stability)
    for humans in found.humans:
        print_humans(humans)


def print_scores(found: ScoreAgreement) -> None:
    """Spearman below the diagonal and the hardest in common above it, of many scores as numbered columns."""
    if not found.names:
        return
    where = f"{found.of} (n = {int(found.n.max()):,}{f', mean of {found.runs} seeds' if found.runs > 1 else ''})"
    share = f"{100 * found.hardest:g} %"
    print_square(f"agreement of scores: {where}", marked(found), below=found.spearman, above=found.overlap)
    lines = [f"below the diagonal Spearman, harder = up; above it the share of the hardest {share} in common"]
    if found.turned:
        lines.append("- sign changed: low is hard")
    if found.apart:
        lines.append("* no direction, as it is: its highest are compared with the hardest of the others")
    print("\n".join(lines))
    print_pairs(found)
    for name, part in found.classes.items():
        n = int(part["n"].max())
        print_square(f"within class {name} (n = {n:,})", marked(found), below=part["spearman"], above=part["overlap"])


def marked(found: ScoreAgreement) -> list[str]:
    return [("- " if n in found.turned else "* " if n in found.apart else "") + n for n in found.names]


def print_square(title: str, names: Sequence[str], below: np.ndarray, above: np.ndarray) -> None:
    wide = len(names) > WIDE
    header = ["", *([str(i) for i in range(1, len(names) + 1)] if wide else names)]
    rows = []
    for i, name in enumerate(names):
        cells = [short(below[i, j] if j < i else above[i, j]) if i != j else "" for j in range(len(names))]
        rows.append([f"{i + 1} {name}" if wide else name, *cells])
    print_table(title, header, rows, width=30 + 7 * len(names) if wide else None)


def short(value: float) -> str:
    """.93 and -.12: thirty of them stand in one line."""
    if value != value:
        return ""
    text = f"{value:.2f}".replace("0.", ".", 1)
    return ".00" if text == "-.00" else text


def print_pairs(found: ScoreAgreement, most: int = 6) -> None:
    """The pairs of scores with a direction that agree least, with intervals: what a choice between them changes."""
    names = [name for name in found.names if name not in found.apart]
    pairs = [(i, j) for j in range(len(names)) for i in range(j) if found.spearman[i, j] == found.spearman[i, j]]
    if len(pairs) < 2:
        return
    pairs = sorted(pairs, key=lambda pair: found.spearman[pair])[:most]
    rows = [
        [names[i], names[j], interval(entry(found, "spearman", i, j)), interval(entry(found, "overlap", i, j)),
         float(found.jaccard[i, j]), float(found.kendall[i, j]), int(found.n[i, j])]
        for i, j in pairs
    ]  # fmt: skip
    print_table(
        f"the pairs that agree least [{'95 % interval' if found.runs == 1 else 'least and largest over seeds'}]",
        ["score", "and", "Spearman", f"hardest {100 * found.hardest:g} % in common", "Jaccard", "Kendall", "n"],
        rows,
    )


def entry(found: ScoreAgreement, table: str, i: int, j: int) -> dict[str, float]:
    ends = {"value": "", "low": "_low", "high": "_high"}
    return {key: float(getattr(found, table + end)[i, j]) for key, end in ends.items()}


def print_between(found: Sequence[Agreed]) -> None:
    """Each score in two runs: a column per pair of runs, or the mean and range of many."""
    from itertools import combinations

    rows = []
    for agreed in found:
        pairs = list(combinations(range(len(agreed.names)), 2))
        values = [float(agreed.spearman[pair]) for pair in pairs]
        if len(pairs) > MOST:
            known = [value for value in values if value == value]
            ends = {"value": sum(known) / len(known), "low": min(known), "high": max(known)} if known else {}
            rows.append([agreed.title, interval(ends), agreed.n])
        else:
            rows.append([agreed.title, *values, agreed.n])
    if not rows:
        return
    names = found[0].names
    few = [f"{names[i]}, {names[j]}" for i, j in combinations(range(len(names)), 2)]
    header = few if len(few) <= MOST else [f"mean of {len(few)} pairs of runs [least, largest]"]
    print_table("Spearman between runs", ["score", *header, "n"], rows)


def print_stability(found: Sequence[Stability]) -> None:
    for group in dict.fromkeys(row.of for row in found):
        rows = [row for row in found if row.of == group]
        share = f"{100 * rows[0].hardest:g} %"
        print_table(
            f"stability over seeds: {group}, {rows[0].runs} seeds, {rows[0].pairs} pairs",
            ["score", "Spearman [least, largest pair]", f"hardest {share} in common", "n"],
            [[row.score, interval(ends(row, "spearman")), interval(ends(row, "overlap")), row.n] for row in rows],
        )


def print_humans(found: Humans) -> None:
    """Scores that use the given label, then those that do not; the strongest first."""
    from leadline.comparison import no_direction

    fewest, most = found.people
    people = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    measures = list(found.ceilings)
    header = [
        "score",
        *(f"Spearman, {name}" for name in measures),
        f"{100 * found.hardest:g} % in common, {measures[0]}",
    ]
    print(f"{found.run}: n = {found.n:,} with the answers of {people} people")
    for free in (False, True):
        by_score: dict[str, dict[str, Any]] = {}
        for row in found.scores:
            if row.label_free == free:
                by_score.setdefault(row.score, {})[row.measure] = row
        if not by_score:
            continue
        ordered = sorted(by_score.items(), key=lambda item: -strength(item[1], measures[0]))
        rows = [
            [f"* {name}" if no_direction(name) and not free else name,
             *(interval(ends(by[m], "spearman")) for m in measures), interval(ends(by[measures[0]], "overlap"))]
            for name, by in ordered
        ]  # fmt: skip
        which = (
            "scores that do not know the given label" if free else "scores of the given label, harder = up (* as is)"
        )
        print_table(f"disagreement of people and {which}", header, rows)
    best = ", ".join(f"{name} {value:.3f}" for name, value in found.ceilings.items() if value == value)
    print(f"largest Spearman possible, as the votes have ties: {best}" if best else "the votes are all alike")
    for sentence in found.told:
        print(sentence)


def strength(by_measure: Mapping[str, Any], measure: str) -> float:
    value = by_measure[measure].spearman
    return -2.0 if value != value else float(value)


def ends(row: Any, table: str) -> dict[str, float]:
    return {key: getattr(row, table + end) for key, end in (("value", ""), ("low", "_low"), ("high", "_high"))}


def write_figure(found: Comparison, path: Path) -> None:
    """The heat map of the first table of scores. Raises InputError where there are no scores to draw."""
    from leadline.errors import InputError
    from leadline.figures import agreement, style

    if not found.scores:
        raise InputError(f"--figure {path}: no scores are compared, see the notes")
    table = found.scores[0]
    n = int(table.n.max(initial=0))
    seeds = f", mean of {table.runs} seeds" if table.runs > 1 else ""
    drawn = agreement.heat_map(
        table.names, table.spearman, table.overlap, table.hardest, f"{table.of}, n = {n:,}{seeds}",
        apart=table.apart, turned=table.turned,
    )  # fmt: skip
    style.save(drawn, path)
