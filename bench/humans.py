"""Are the hard examples those on which people disagree? Every score against the votes of several annotators.

    python bench/humans.py [--only sst2] [--seeds 3] [--jobs 1] [--runs build/bench] [--toy]

MiniLM, 3 epochs, trained on the very examples that several people labelled: SST development sentences (five new
annotators; the label is the original one, neutral ones left out); SNLI pairs (five labels) together with graded pairs
of Pavlick and Kwiatkowski (about 50 answers; those with an NLI label); tweets of Davidson et al. (three to nine votes;
2,000 sampled). Spearman of each score, harder up, with the entropy of the votes (graded: their spread), beside the most
that an untied score could reach. Scores that know nothing of the label stand apart.
Writes bench/results/humans.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from common import (
    MINILM,
    TINY,
    arguments,
    chosen,
    data_directory,
    interval,
    machine,
    markdown,
    seeds,
    trained,
    workplace,
    write_json,
)

from leadline import runs, scores
from leadline.comparison.humans import with_people
from leadline.comparison.votes import Asked
from leadline.demo import write_demo

NLI = ("entailment", "neutral", "contradiction")
DAVIDSON = ["hate_speech", "offensive_language", "neither"]
HARDEST = 0.1
Material = tuple[pl.DataFrame, dict[str, Any], dict[str, Asked]]  # rows, keys of `data`, {people: where they answered}


def sst2(root: Path, place: Path) -> Material:
    votes = pl.read_csv(root / "sst2" / "sst_dev_five_annotators.csv").filter(pl.col("sst_label") != 2)
    rows = votes.select(
        pl.col("text_id").alias("id"), pl.col("sentence").alias("text"),
        pl.when(pl.col("sst_label") > 2).then(pl.lit("positive")).otherwise(pl.lit("negative")).alias("label"),
        *[name for name in votes.columns if name.startswith("votes_")],
    )  # fmt: skip
    counts = [name for name in rows.columns if name.startswith("votes_")]
    return rows, {"text": "text"}, {"sst2, five people": Asked(place / "people-sst2.parquet", counts=counts, id="id")}


def nli(root: Path, place: Path) -> Material:
    folder = root / "snli_annotators"
    pairs = [json.loads(line) for name in ("dev", "test") for line in (folder / f"{name}.jsonl").open(encoding="utf-8")]
    file = root / "nli_variation" / "sentence_pairs.jsonl"
    graded = [row for row in map(json.loads, file.open(encoding="utf-8")) if row["original-dataset-label"] in NLI]
    rows = [
        {"id": p["pairID"], "premise": p["premise"], "hypothesis": p["hypothesis"], "label": p["gold_label"],
         "votes": p["annotator_labels"], "graded": None}
        for p in pairs if p["gold_label"] in NLI
    ] + [
        {"id": f"graded-{i}", "premise": p["premise"], "hypothesis": p["hypothesis"],
         "label": p["original-dataset-label"], "votes": None, "graded": [float(x) for x in p["labels"]]}
        for i, p in enumerate(graded)
    ]  # fmt: skip
    table = pl.DataFrame(rows, schema_overrides={"votes": pl.List(pl.String), "graded": pl.List(pl.Float64)})
    five, fifty = place / "people-nli.parquet", place / "people-nli-graded.parquet"
    runs.write_parquet(five, table.filter(pl.col("votes").is_not_null()))
    runs.write_parquet(fifty, table.filter(pl.col("graded").is_not_null()))
    people = {"snli, five labels": Asked(five, votes=["votes"], id="id"),
              "graded pairs, about 50": Asked(fifty, graded=["graded"], id="id")}  # fmt: skip
    return table.select("id", "premise", "hypothesis", "label"), {"text": ["premise", "hypothesis"]}, people


def davidson(root: Path, place: Path) -> Material:
    tweets = pl.read_csv(root / "davidson_hate_offensive" / "labeled_data.csv.gz")
    rows = tweets.sample(2000, seed=0).select(
        "id", pl.col("tweet").alias("text"), pl.col("class").alias("label"), *DAVIDSON
    )
    people = {"davidson, three to nine": Asked(place / "people-davidson.parquet", counts=DAVIDSON, id="id")}
    return rows, {"text": "text"}, people


def toy(root: Path, place: Path) -> Material:
    rows = pl.read_csv(write_demo(place / "toy.csv", n=80, n_test=20).train)
    rows = rows.with_columns(yes=pl.Series(np.arange(rows.height) % 4), no=pl.lit(2))
    return rows, {"text": "text"}, {"toy": Asked(place / "people-toy.parquet", counts=["yes", "no"], id="id")}


SETS = {"sst2": sst2, "nli": nli, "davidson": davidson}


def measured(name: str, place: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    rows, keys, people = toy(place, place) if options.toy else SETS[name](data_directory(), place)
    train = place / f"humans-{name}.parquet"
    if not train.is_file():
        runs.write_parquet(train, rows.select("id", *np.atleast_1d(keys["text"]), "label"))
    for asked in people.values():
        if not asked.path.is_file():
            runs.write_parquet(asked.path, rows)
    data = {**keys, "train": str(train), "id": "id", "validation": None}
    recipe = {"data": data, **(TINY if options.toy else MINILM), "evaluate": {"splits": []}}
    document = {"name": f"humans-{name}", "recipe": recipe, "seeds": seeds(options), "trials": [{"name": "given"}]}
    trials = trained(document, place, options.jobs)
    found = []
    for who, asked in people.items():
        each = []
        for trial in trials.trials:
            run = runs.open(trial.path)
            each.append(with_people(trial.title, run, scores.compute(run.signals)[0], asked, HARDEST))
        found.append({"data": name, "people": who, "n": each[0].n, "asked": each[0].people,
                      "ceilings": each[0].ceilings, "runs": [one.to_dict()["scores"] for one in each]})  # fmt: skip
    return found


def main() -> None:
    options = arguments("humans", __doc__, only="", seeds=3).parse_args()
    with workplace(options) as place:
        results = [entry for name in chosen(options, SETS) for entry in measured(name, place, options)]
    write_json(options.out, {"machine": machine(), "results": results})
    print(table(results))


def table(results: list[dict[str, Any]], most: int = 6) -> str:
    """Of each set of people the scores that go with them most, and the best that knows no label."""
    rows = []
    for entry in results:
        for measure, limit in entry["ceilings"].items():
            if measure == "minority":
                continue  # says the same as entropy; it is in the file
            by_score: dict[str, list[dict[str, Any]]] = {}
            for run in entry["runs"]:
                for row in run:
                    if row["measure"] == measure:
                        by_score.setdefault(row["score"], []).append(row)
            ranked = sorted(by_score, key=lambda s: -np.nan_to_num(np.mean([r["spearman"] for r in by_score[s]])))
            free = [score for score in ranked if by_score[score][0]["label_free"]]
            for score in [*[s for s in ranked if s not in free][:most], *free[:2]]:
                rho, shared = ([r[what] for r in by_score[score]] for what in ("spearman", "overlap"))
                rows.append([entry["people"], str(entry["n"]), measure, score, "yes" if score in free else "",
                             interval(rho, ".2f"), f"{limit:.2f}", interval(shared, ".2f")])  # fmt: skip
    head = ["people", "n", "disagreement", "score", "label-free", "Spearman [95 % over seeds]", "at most",
            "hardest tenth in common"]  # fmt: skip
    return markdown(head, rows)


if __name__ == "__main__":
    main()
