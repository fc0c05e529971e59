"""`leadline sweep summary --arms`: the trials as the arms of an ablation, and one claim as one number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from leadline.cli.output import chance, interval, print_table

if TYPE_CHECKING:
    from leadline.comparison import Test
    from leadline.sweep import Study

SIDE_BY_SIDE = 6  # arms of one table: more do not fit on a terminal
SHOWN = 20  # rows that changed
SPOKEN = {"macro_precision": "precision (macro)", "macro_recall": "recall (macro)", "macro_f1": "F1 (macro)"}


def print_study(found: Study) -> None:
    _metrics(found)
    _made(found)
    _compared(found)
    _changed(found)
    _claim(found)
    for note in found.notes:
        print(note)


def _metrics(found: Study) -> None:
    """Rows are metrics, columns arms, as published tables of ablations have them."""
    metrics = list(dict.fromkeys(metric for arm in found.arms for metric in arm.values))
    for start in range(0, len(found.arms), SIDE_BY_SIDE):
        arms = found.arms[start : start + SIDE_BY_SIDE]
        rows = [
            [SPOKEN.get(metric, metric), *(interval(arm.values.get(metric, {})).replace(" [", "\n[") for arm in arms)]
            for metric in metrics
        ]
        title = f"{found.sweep}, {found.split}: mean over seeds [95 %; of one seed: over the rows]"
        print_table(title if not start else "", ["", *(arm.name for arm in arms)], rows)


def _made(found: Study) -> None:
    regions = list(dict.fromkeys(region for arm in found.arms for region in arm.regions))
    header = ["arm", "seeds", "trained on", "discarded", "steps", "examples seen", *regions]
    rows = [
        [arm.name, len(arm.seeds), *_parts(arm.trained_on, arm.discarded), _whole(arm.steps), _whole(arm.examples_seen),
         *(_whole(arm.regions.get(region)) for region in regions)]
        for arm in found.arms
    ]  # fmt: skip
    print_table("what each arm was trained on (means over seeds)", header, rows)


def _parts(trained_on: float, discarded: float) -> tuple[int, int]:
    """Rounded so that they add up."""
    return round(trained_on), round(trained_on + discarded) - round(trained_on)


def _whole(n: float | None) -> int | None:
    return None if n is None or n != n else round(n)


def _compared(found: Study) -> None:
    rows = []
    for arm in found.arms:
        by = {test.over: test for test in arm.tests if test.metric == "macro_f1"}
        if by:
            rows.append([arm.name, *_difference(by.get("rows")), *_difference(by.get("seeds"))])
    if rows:
        header = ["arm", "over rows [95 %]", "p", "p (Holm)", "over seeds [95 %]", "p", "p (Holm)"]
        print_table(f"macro F1 minus that of {found.against}", header, rows)


def _difference(test: Test | None) -> Sequence[str]:
    if test is None:
        return ["", "", ""]
    return [interval(asdict(test.difference)), chance(test.difference.p), chance(test.difference.p_holm)]


def _changed(found: Study) -> None:
    table = found.changed
    if not table.height:
        return
    counts = dict(table["kind"].value_counts().iter_rows())
    title = f"{found.claimed} repairs {counts.get('repaired', 0)} rows of {found.against} and breaks "
    title += f"{counts.get('broken', 0)} (right: share of the seeds)"
    inputs = table.columns[table.columns.index("region") + 1 :]
    header = ["", "id", "label", "right before", "after", "entropy before", "after", "region", "text"]
    rows = []
    for kind in ("repaired", "broken"):
        for row in table.filter(table["kind"] == kind).head(SHOWN // 2).to_dicts():
            numbers = [row[k] for k in ("right_before", "right_after", "entropy_before", "entropy_after")]
            rows.append(
                [
                    kind,
                    row["id"],
                    row["label"],
                    *numbers,
                    row["region"] or "",
                    " | ".join(str(row[name]) for name in inputs)[:60],
                ]
            )
    print_table(title, header, rows)


def _claim(found: Study) -> None:
    for test in found.claim:
        d = test.difference
        few = test.over == "seeds" and d.lowest_p > 0.05
        lowest = f" (with {d.n} seeds p cannot fall below {d.lowest_p:.3g})" if few else ""
        print(f"claim    macro F1 of {found.claimed} minus {found.against}, over {test.over}: "
              f"{interval(asdict(d))}, p {chance(d.p)}{lowest}")  # fmt: skip
