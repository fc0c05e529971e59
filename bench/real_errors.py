"""Errors that nobody planted: do the rankings find the labels that people reject?

    python bench/real_errors.py [--seeds 2] [--jobs 1] [--runs build/bench] [--toy]

- IMDB test reviews (Northcutt, Athalye and Mueller 2021): out-of-sample probabilities of all 25,000 as published; five
  people judged the 1,310 that confident learning had flagged. Does cleanlab's filter on the published probabilities
  flag the same? Average precision against the verdicts, of label quality on these probabilities, and of a run of ours
  on the 1,310 judged and 2,500 other reviews. A label counts as wrong when fewer than three of five confirmed it.
- CIFAR-10 test images, 275 judged: the same, on the published probabilities.
- Yoruba headlines (Hedderich et al. 2020): 1,340 with weak labels and with people's; a run of ours on the weak ones.
  How many are wrong, by a draw of 200 whose truth is looked up, beside the truth.

Writes bench/results/real_errors.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from audit_measures import measure
from common import (
    MINILM,
    TINY,
    arguments,
    data_directory,
    interval,
    machine,
    markdown,
    seeds,
    trained,
    workplace,
    write_json,
)

from leadline import runs, scores, suspects
from leadline.demo import write_demo
from leadline.runs import Run
from leadline.suspects import confident, probabilities
from leadline.suspects.planted import doubts


def of_probabilities(q: np.ndarray, given: np.ndarray, judged: np.ndarray, wrong: np.ndarray) -> dict[str, Any]:
    """What label quality and the filters on published probabilities say of the judged rows (M,), wrong (M,) bool."""
    found = {name: measure(-work(q, given)[judged], wrong) for name, work in confident.QUALITY.items()}
    flags = {}
    for kind in confident.FILTERS:
        flagged = confident.issues(q, given, kind).flagged
        flags[kind] = {"flagged": int(flagged.sum()), "judged": int(flagged[judged].sum()),
                       "wrong": int((flagged[judged] & wrong).sum())}  # fmt: skip
    return {"n": len(given), "judged": len(judged), "wrong": int(wrong.sum()), "measures": found, "filters": flags,
            "expected": confident.expected_errors(q, given)}  # fmt: skip


def imdb(folder: Path) -> tuple[dict[str, Any], pl.DataFrame]:
    published = np.load(folder / "imdb_test_crossval.npz", allow_pickle=True)
    suspected = pl.read_csv(folder / "suspected.csv.gz")
    wrong = (suspected["votes_given"] < 3).to_numpy()
    found = of_probabilities(published["pred_probs"], published["labels"], suspected["index"].to_numpy(), wrong)
    rest = pl.read_csv(folder / "unsuspected_sample.csv.gz")
    reviews = pl.concat(
        [
            suspected.select("index", "text", "given_label").with_columns(wrong=pl.Series(wrong)),
            rest.select("index", "text", "given_label").with_columns(wrong=pl.lit(None, dtype=pl.Boolean)),
        ]
    )
    return found, reviews.select(pl.col("index").alias("id"), "text", pl.col("given_label").alias("label"), "wrong")


def cifar(folder: Path) -> dict[str, Any]:
    published = np.load(folder / "cifar10_test_crossval.npz")
    votes = pl.read_csv(folder / "cifar10_mturk.csv")
    wrong = (votes["votes_given"] < 3).to_numpy()
    return of_probabilities(published["pred_probs"], published["labels"], votes["id"].to_numpy(), wrong)


def by_runs(name: str, rows: pl.DataFrame, length: int, place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Every score of runs on the given labels, measured where `wrong` is known."""
    path = place / f"{name}.parquet"
    if not path.is_file():
        runs.write_parquet(path, rows.select(pl.col("id").cast(pl.String), "text", pl.col("label").cast(pl.String)))
    longer = {**MINILM, "training": {**MINILM["training"], "max_length": length}}
    recipe = {"data": {"train": str(path), "id": "id", "validation": None}, "evaluate": {"splits": []},
              **(TINY if options.toy else longer)}  # fmt: skip
    document = {"name": f"real-{name}", "recipe": recipe, "seeds": seeds(options), "trials": [{"name": "given"}]}
    trials = trained(document, place, options.jobs)
    known = rows["wrong"].is_not_null().to_numpy()
    wrong = rows["wrong"].fill_null(False).to_numpy()
    each = [ours(Run(trial.path), known, wrong) for trial in trials.trials]
    drawn = [reviewed(Run(trial.path), wrong, trial.seed) for trial in trials.trials] if known.all() else []
    return {"n": len(rows), "judged": int(known.sum()), "wrong": int(wrong.sum()), "runs": each, "reviews": drawn}


def ours(run: Run, known: np.ndarray, wrong: np.ndarray) -> dict[str, dict[str, float]]:
    found = doubts(scores.compute(run.signals)[0])
    for where, q in (("run", probabilities.own(run.signals)), ("prequential", probabilities.prequential(run.signals))):
        found |= {f"{n} ({where})": -work(q, run.signals.gold) for n, work in confident.QUALITY.items()}
    return {name: measure(doubt[known], wrong[known]) for name, doubt in found.items()}


def reviewed(run: Run, wrong: np.ndarray, seed: int) -> dict[str, float]:
    """How many are wrong, by a draw of 200 that somebody reviews who knows."""
    order = np.argsort(scores.aum_prob(run.signals), kind="stable")
    draw = suspects.draw(order, min(200, len(order)), seed)
    found = suspects.errors(draw, wrong[draw.rows])
    return {"value": found.value, "low": found.low, "high": found.high, "truth": int(wrong.sum())}


def main() -> None:
    options = arguments("real_errors", __doc__, seeds=2).parse_args()
    with workplace(options) as place:
        found: dict[str, Any] = {"published": {}, "trained": {}}
        if options.toy:
            found["trained"]["toy"] = by_runs("toy", toy(place), 32, place, options)
        else:
            root = data_directory()
            found["published"]["imdb"], reviews = imdb(root / "imdb_label_audit")
            found["published"]["cifar10"] = cifar(root / "cifar10_label_errors")
            found["trained"]["imdb"] = by_runs("imdb", reviews, 256, place, options)
            news = pl.read_csv(root / "yoruba_newsclass" / "train.csv")
            rows = news.select(pl.col("idx").alias("id"), "text", pl.col("noisy_label").alias("label"),
                               wrong=pl.col("clean_label") != pl.col("noisy_label"))  # fmt: skip
            found["trained"]["yoruba"] = by_runs("yoruba", rows, 64, place, options)
    write_json(options.out, {"machine": machine(), **found})
    print(table(found))


def toy(place: Path) -> pl.DataFrame:
    truth = write_demo(place / "toy.csv", n=80, n_test=20)
    rows = pl.read_csv(truth.train).head(70)
    return rows.with_columns(wrong=pl.Series(np.arange(70) % 7 == 0))


def table(found: dict[str, Any]) -> str:
    rows = []
    for name, entry in found["published"].items():
        for kind, values in entry["measures"].items():
            rows.append([name, f"{kind}, published probabilities", *line([values]), entry["judged"], entry["wrong"]])
    for name, entry in found["trained"].items():
        ranked = sorted(entry["runs"][0], key=lambda s: -np.mean([r[s]["ap"] for r in entry["runs"]]))
        for score in ranked[:8]:
            values = [run[score] for run in entry["runs"]]
            rows.append([name, f"{score}, our run", *line(values), entry["judged"], entry["wrong"]])
    head = ["data", "ranked by", "average precision", "AUROC", "judged", "wrong"]
    parts = [markdown(head, [[str(cell) for cell in row] for row in rows])]
    for name, entry in found["published"].items():
        flags = [
            [kind, *(str(f[key]) for key in ("flagged", "judged", "wrong"))] for kind, f in entry["filters"].items()
        ]
        parts.append(f"{name}, cleanlab's filters on the published probabilities:\n\n"
                     + markdown(["filter", "flagged", "of them judged", "of them wrong"], flags))  # fmt: skip
    for name, entry in found["trained"].items():
        for r in entry["reviews"]:
            says = f"{r['value']:.0f} [{r['low']:.0f}, {r['high']:.0f}] wrong labels at 90 %; there are {r['truth']}"
            parts.append(f"{name}: a reviewed draw of 200 says {says}.")
    return "\n\n".join(parts)


def line(values: list[dict[str, float]]) -> list[str]:
    """Average precision and AUROC: of one ranking with a bootstrap over rows, of several runs with their spread."""
    ap = interval([v["ap"] for v in values])
    if len(values) == 1:
        ap += f" [{values[0]['ap_low']:.3f}, {values[0]['ap_high']:.3f}]"
    return [ap, f"{np.mean([v['auroc'] for v in values]):.3f}"]


if __name__ == "__main__":
    main()
