"""How many labels are wrong, asked of trained runs whose truth is known: the runs of bench/audit.py.

    python bench/how_many_trained.py [--runs build/bench] [--planted 20] [--jobs 1] [--toy]

Train with bench/audit.py first. With two classes all kinds of flips give the same labels, and so the same run: it is
asked once. Of every run: 100 draws by rank (the default score) of 50 and of 200 rows, reviewed by the known truth: how
often the 90 % interval holds it and how wide it is. Of the first --planted runs: 5 % more are planted uniformly, one
further training each, and the bound of `leadline audit --calibrate` stands beside the truth. Where errors are not
uniform they need not rank like the planted ones.
Writes bench/results/how_many_trained.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from audit import KINDS, RATES, SETS
from common import TINY, arguments, machine, markdown, workplace, write_json

from leadline import audit, experiment, runs, scores, suspects
from leadline.demo import write_demo
from leadline.suspects.planted import calibrate

DRAWS = 100


def reviews(doubt: np.ndarray, wrong: np.ndarray, count: int) -> dict[str, Any]:
    """Draws of `count` rows, each reviewed by the truth."""
    order, truth = np.argsort(-doubt, kind="stable"), int(wrong.sum())
    found = []
    for seed in range(DRAWS):
        draw = suspects.draw(order, count, seed)
        found.append(suspects.errors(draw, wrong[draw.rows]))
    held = np.mean([one.low <= truth <= one.high for one in found])
    width = np.median([one.high - one.low for one in found]) / truth
    return {
        "reviewed": count,
        "held": float(held),
        "width": float(width),
        "value": float(np.mean([o.value for o in found])),
    }


def bound(run: runs.Run, jobs: int) -> dict[str, Any]:
    """What --calibrate would say before anybody has looked."""
    extra = audit.planted(run, 0.05, seed=1, jobs=jobs)
    found = calibrate(-scores.aum_prob(extra.run.signals), extra.wrong)
    return {"value": found.value, "high": found.high, "cutoff": found.cutoff}


def measured(title: str, run: runs.Run, plant: bool, options: argparse.Namespace) -> dict[str, Any]:
    wrong = (run.train.table["_label"] != run.train.table["_true_label"]).to_numpy()
    doubt = -scores.aum_prob(run.signals)
    each = [reviews(doubt, wrong, count) for count in ((50,) if options.toy else (50, 200))]
    print(title, flush=True)
    return {"trial": title, "n": len(wrong), "truth": int(wrong.sum()), "reviews": each,
            "bound": bound(run, options.jobs) if plant else None}  # fmt: skip


def flipped(options: argparse.Namespace, place: Path) -> list[tuple[str, runs.Run]]:
    """(title, run) of every flipped run whose labels no earlier one has: of all sets, kinds and shares, then seeds."""
    if options.toy:
        data = {"train": str(write_demo(place / "toy.csv", n=100, n_test=20).train), "id": "id", "validation": None,
                "corrupt": {"kind": "uniform", "rate": 0.2}}  # fmt: skip
        recipe = {"data": data, **TINY, "evaluate": {"splits": []}}
        return [("toy-uniform-20-s0", experiment.train(recipe, root=place))]
    titles = [f"{name}-{kind}-{rate}" for kind in KINDS for rate in RATES for name in SETS]
    paths = [place / "audit" / f"{title}-s{seed}" for seed in (0, 1) for title in titles]
    found: dict[tuple[str, ...], tuple[str, runs.Run]] = {}
    for path in paths:
        if path.is_dir() and (run := runs.open(path)).finished:
            found.setdefault((run.recipe.data.train, *run.train.table["_label"]), (path.name, run))
    return list(found.values())


def main() -> None:
    options = arguments("how_many_trained", __doc__, planted=20).parse_args()
    with workplace(options) as place:
        found = flipped(options, place)
        if not found:
            raise SystemExit(f"{options.runs}/audit: no finished runs; train them with bench/audit.py first")
        results = [measured(title, run, at < options.planted, options) for at, (title, run) in enumerate(found)]
    write_json(
        options.out, {"machine": machine(), "level": suspects.estimate.LEVEL, "draws": DRAWS, "results": results}
    )
    print(table(results))


def table(results: list[dict[str, Any]]) -> str:
    """Data sets together by kind of flip: how often the interval holds; then every run with a bound."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry in results:
        groups.setdefault(entry["trial"].split("-", 1)[1].rsplit("-", 1)[0], []).append(entry)
    rows = [
        [kind, str(len(entries)), str(review["reviewed"]), f"{np.mean([e['reviews'][i]['held'] for e in entries]):.3f}",
         f"{np.median([e['reviews'][i]['width'] for e in entries]):.2f}"]
        for kind, entries in groups.items() for i, review in enumerate(entries[0]["reviews"])
    ]  # fmt: skip
    bounds = [
        [e["trial"], str(e["truth"]), f"{e['bound']['value']:.0f}", f"{e['bound']['high']:.0f}",
         "yes" if e["bound"]["high"] >= e["truth"] else "no"]
        for e in results if e["bound"]
    ]  # fmt: skip
    first = markdown(["flips, %", "runs", "reviewed", "90 % interval holds the truth", "median width / truth"], rows)
    second = markdown(["run", "wrong labels", "by planted errors", "at most", "is it a bound?"], bounds)
    return f"{first}\n\n{second}"


if __name__ == "__main__":
    main()
