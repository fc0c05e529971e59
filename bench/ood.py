"""Which detector tells which texts from its own kind: all detectors, with and without mixup, over seeds.

    python bench/ood.py [--only sst2] [--seeds 3] [--n 2000] [--rows 1000] [--lm DIR] [--runs build/bench] [--toy]

MiniLM trained on sst2 and on imdb (2,000 rows, 5 epochs; the arm `mixup` mixes sentence vectors within labels after two
plain epochs), asked about at most 1,000 texts of every other set. Kinds of shift are judgements: semantic, where no
class of the training data fits; background, where classes fit and the texts are of another source. Perplexity and
density are by a small language model trained on the same 2,000 texts (or by --lm), once per data set: they do not
depend on arm and seed. What is finished is not done again. Writes bench/results/ood.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from common import arguments, chosen, data_directory, machine, markdown, trained, workplace, write_json

from leadline import evaluate, experiment, sweep
from leadline.data import tables
from leadline.demo import write_demo
from leadline.experiment.ood import DEFAULT, LANGUAGE
from leadline.learn.other_detectors import NAMES

MIXUP = {"where": "sentence", "pairing": ["label"], "plain_epochs": 2}
INSIDE = {  # train, test, text, label, id, max_length
    "sst2": ("sst2/train.csv.gz", "sst2/dev.csv", "sentence", "label", "idx", 64),
    "imdb": ("imdb/train.csv.gz", "imdb/test.csv.gz", "text", "label", "id", 128),
}
SETS = {  # file, text, kinds
    "sst2": ("sst2/dev.csv", "sentence", "near+background"),
    "imdb": ("imdb/test.csv.gz", "text", "near+background"),
    "subj": ("subj/subj.csv.gz", "text", "near+semantic"),
    "trec": ("trec/test.csv", "text", "far+semantic"),
    "newsgroups20": ("newsgroups20/test.csv.gz", "body", "far+semantic"),
    "books": ("reviews_domains/books_dev.csv.gz", "text", "near+background"),
    "kitchen": ("reviews_domains/kitchen_dev.csv.gz", "text", "near+background"),
    "tweets": ("tweeteval_sentiment/test.csv.gz", "text", "far+background"),
}


def main() -> None:
    options = arguments("ood", __doc__, only="", seeds=3, n=2000, rows=1000, lm="").parse_args()
    with workplace(options) as place:
        rows = []
        for name, recipe, sets in materials(options, place):
            arms = [{"name": "plain"}, {"name": "mixup", "set": {"mixup": MIXUP}}]
            document = {"name": f"ood-{name}", "recipe": recipe, "seeds": list(range(options.seeds)), "trials": arms}
            rows += measured(name, trained(document, place, options.jobs), sets, options)
            found = {"rows": rows, "kinds": by_kind(rows), "mixup": mixed_minus_plain(rows)}
            write_json(options.out, {"machine": machine(), **found})
    print(table(found))


def materials(options: argparse.Namespace, place: Path) -> list[tuple[str, dict[str, Any], list[str]]]:
    """(name, recipe, sets as `leadline ood` takes them) of each data set."""
    if options.toy:
        demo = write_demo(place / "toy.csv", n=80, n_test=40)
        other = place / "other.csv"
        pl.DataFrame({"text": [f"what is number {i} of the list ?" for i in range(30)]}).write_csv(other)
        data = {"train": str(demo.train), "test": str(demo.test), "id": "id", "validation": None}
        training = {"epochs": 3, "max_length": 32, "batch_size": 16}
        return [("toy", {"data": data, "model": "tiny", "training": training, "evaluate": {"splits": ["test"]}},
                 [f"far+semantic:questions={other}", f"near+background:same={demo.test}"])]  # fmt: skip
    root, found = data_directory(), []
    for name in chosen(options, INSIDE):
        train, test, text, label, id, longest = INSIDE[name]
        data = {"train": str(root / train), "test": str(root / test), "text": text, "label": label, "id": id}
        data |= {"validation": None, "sample": {"n": options.n}}
        recipe = {"data": data, "model": "minilm", "training": {"epochs": 5, "max_length": longest},
                  "evaluate": {"splits": ["test"]}}  # fmt: skip
        files = [f"{kinds}:{s}={with_text(root / file, column, place / 'sets', s)}#text"
                 for s, (file, column, kinds) in SETS.items() if s != name]  # fmt: skip
        found.append((name, recipe, files))
    return found


def with_text(source: Path, column: str, folder: Path, name: str) -> Path:
    """The texts of a file that are not empty, as a file beside the runs."""
    path = folder / f"{name}.csv"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        texts = tables.read(source).frame[column].drop_nulls()
        pl.DataFrame({"text": texts.filter(texts.str.strip_chars() != "")}).write_csv(path)
    return path


def measured(name: str, trials: sweep.Sweep, sets: Sequence[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row per arm, seed, set, detector; those of language models once, under the arm `text`."""
    rows = []
    for trial in trials.trials:
        arm, seed = trial.name, trial.seed
        found = asked(name, trial.path, sets, (*DEFAULT, *NAMES), options)
        rows += [{"arm": arm, "seed": seed, **row} for row in found]
    first = trials.trials[0].path
    rows += [{"arm": "text", "seed": 0, **row} for row in asked(name, first, sets, LANGUAGE, options)]
    return rows


def asked(
    name: str, run: Path, sets: Sequence[str], detectors: Sequence[str], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """One pass over everything, kept beside the run under what was asked."""
    what = {"sets": list(sets), "detectors": list(detectors), "rows": options.rows, "lm": options.lm}
    kept = run / f"bench-ood-{detectors[0]}.json"
    if kept.is_file() and (there := json.loads(kept.read_text()))["what"] == what:
        return there["rows"]
    lm = options.lm or None if detectors == LANGUAGE else None
    found = experiment.detect(
        run, sets, detectors=detectors, lm=lm, fine_tune=lm is not None, max_rows=options.rows,
        tell=lambda event: print(event.get("says", ""), flush=True),
    )  # fmt: skip
    rows = [
        {"data": name, "set": one.name, "kinds": list(one.kinds), "n": found.rows(one.name), "n_id": found.n,
         "detector": detector, "notes": found.told, **measures}
        for one in found.sets
        for detector, measures in found.results[one.name].items()
    ]  # fmt: skip
    write_json(kept, {"what": what, "rows": rows})
    return rows


def groups(rows: list[dict[str, Any]]) -> dict[tuple[str, str, str, str], list[dict[str, Any]]]:
    """{(data, set, detector, arm): a row per seed}."""
    found: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["data"], row["set"], row["detector"], row["arm"]), []).append(row)
    return found


def by_kind(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean AUROC over sets and seeds of each kind: does density find background shift, and MSP semantic shift?"""
    found = []
    for data in dict.fromkeys(row["data"] for row in rows):
        for arm, detector in dict.fromkeys((row["arm"], row["detector"]) for row in rows if row["data"] == data):
            mine = [r for r in rows if (r["data"], r["arm"], r["detector"]) == (data, arm, detector)]
            means = {}
            for kind in ("semantic", "background", "near", "far"):
                values = [r["auroc"]["value"] for r in mine if kind in r["kinds"]]
                means[kind] = sum(values) / len(values) if values else None
            found.append({"data": data, "arm": arm, "detector": detector, **means})
    return found


def mixed_minus_plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """AUROC with mixup minus without, paired over seeds, per set and detector."""
    found, cells = [], groups(rows)
    for (data, name, detector, arm), mixed in cells.items():
        plain = {row["seed"]: row["auroc"]["value"] for row in cells.get((data, name, detector, "plain"), [])}
        if arm == "mixup":
            differences = [row["auroc"]["value"] - plain[row["seed"]] for row in mixed if row["seed"] in plain]
            mean, low, high = evaluate.mean_interval(differences)
            found.append({"data": data, "set": name, "detector": detector, "difference": mean, "low": low, "high": high,
                          "seeds": len(differences)})  # fmt: skip
    return found


def table(result: dict[str, Any]) -> str:
    """AUROC by detector and set, plain models; FPR@95; by kind of shift; what mixup changes."""
    rows = result["rows"]
    said = []
    for data in dict.fromkeys(row["data"] for row in rows):
        mine = [row for row in rows if row["data"] == data and row["arm"] != "mixup"]
        for measure, name in (("auroc", "AUROC"), ("fpr95", "FPR@95 (in distribution flagged)")):
            said += [
                f"**Trained on {data}: {name}**, mean over seeds (half width of the 95 % interval)",
                matrix(mine, measure),
            ]
        said += [
            "By kind of shift, mean AUROC over the sets:",
            of_kinds([k for k in result["kinds"] if k["data"] == data]),
        ]
        said += ["AUROC with mixup minus without:", of_mixup([m for m in result["mixup"] if m["data"] == data])]
    return "\n\n".join(said)


def matrix(rows: list[dict[str, Any]], measure: str) -> str:
    sets = {row["set"]: f"{row['set']}, {', '.join(row['kinds'])} ({row['n']:,})" for row in rows}
    cells: dict[str, dict[str, list[dict[str, float]]]] = {}
    for row in rows:
        cells.setdefault(row["detector"], {}).setdefault(row["set"], []).append(row[measure])
    lines = [[name, *(width(found[s]) if s in found else "" for s in sets)] for name, found in cells.items()]
    return markdown(["detector", *sets.values()], lines)


def width(figures: list[dict[str, float]]) -> str:
    """Of one seed the bootstrap's interval over rows, of several Student's over seeds."""
    value, low, high = (figures[0][key] for key in ("value", "low", "high"))
    if len(figures) > 1:
        value, low, high = evaluate.mean_interval([figure["value"] for figure in figures])
    return f"{value:.3f} ({(high - low) / 2:.3f})"


def of_kinds(rows: list[dict[str, Any]]) -> str:
    kinds = ("semantic", "background", "near", "far")
    lines = [[row["detector"], row["arm"], *("" if row[k] is None else f"{row[k]:.3f}" for k in kinds)] for row in rows]
    return markdown(["detector", "arm", *kinds], lines)


def of_mixup(rows: list[dict[str, Any]]) -> str:
    sets = list(dict.fromkeys(row["set"] for row in rows))
    cells = {(row["detector"], row["set"]): row for row in rows}

    def said(row: dict[str, Any]) -> str:
        return f"{row['difference']:+.3f}" + ("" if row["seeds"] < 2 else f" [{row['low']:+.3f}, {row['high']:+.3f}]")

    lines = [[d, *(said(cells[d, s]) for s in sets)] for d in dict.fromkeys(row["detector"] for row in rows)]
    return markdown(["detector", *sets], lines)


if __name__ == "__main__":
    main()
