"""Which detector tells which texts from its own kind: all detectors, with and without mixup, over seeds.

    python bench/ood.py [--only sst2] [--seeds 3] [--n 2000] [--rows 1000] [--lm DIR] [--runs build/bench] [--toy]

MiniLM trained on sst2 and on imdb (2,000 rows, 5 epochs; two arms mix sentence vectors after two plain epochs, of any
texts and within labels), asked about at most 1,000 texts of every other set. Kinds of shift are judgements: semantic,
where no class of the training data fits; background, where classes fit and the texts are of another source. Both change
at once wherever the texts come from elsewhere, so newsgroups20 is also cut in halves: trained on every other class and
asked about the rest of its test texts, where the classes alone are new. Perplexity and density are by a small language
model trained on the same 2,000 texts (or by --lm), once per data set: they do not depend on arm and seed. What is
finished is not done again. Writes bench/results/ood.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from common import arguments, chosen, data_directory, interval, machine, markdown, trained, workplace, write_json
from sklearn.metrics import roc_auc_score

from leadline import evaluate, experiment, sweep
from leadline.data import tables
from leadline.demo import write_demo
from leadline.experiment.ood import DEFAULT, LANGUAGE
from leadline.learn.other_detectors import NAMES
from leadline.ood import IN

KINDS = ("semantic", "background", "near", "far")
SHOWN = {"auroc": "AUROC", "fpr95_id_positive": "FPR@95, texts of the set accepted where 95 % of its own are kept",
         "fpr95": "FPR@95, its own flagged where 95 % of the set are caught"}  # fmt: skip
PLAIN = "plain"
MIXED = {f"mixup-{how}": {"where": "sentence", "pairing": [how], "plain_epochs": 2} for how in ("random", "label")}
INSIDE = {  # train, test, text, label, id, max_length
    "sst2": ("sst2/train.csv.gz", "sst2/dev.csv", "sentence", "label", "idx", 64),
    "imdb": ("imdb/train.csv.gz", "imdb/test.csv.gz", "text", "label", "id", 128),
}
HALVED = "newsgroups"  # a half of the classes of newsgroups20, against the other half
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
            arms = [{"name": PLAIN}, *({"name": arm, "set": {"mixup": mixup}} for arm, mixup in MIXED.items())]
            document = {"name": f"ood-{name}", "recipe": recipe, "seeds": list(range(options.seeds)), "trials": arms}
            rows += measured(name, trained(document, place, options.jobs), sets, options)
            found = {
                "rows": rows,
                "kinds": by_kind(rows),
                "words": words_or_classes(rows),
                "mixup": mixed_minus_plain(rows),
            }
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
    for name in chosen(options, (*INSIDE, HALVED)):
        train, test, text, label, id, longest, files = (
            of_halves(root, place) if name == HALVED else whole(name, root, place)
        )
        data = {"train": str(root / train), "test": str(root / test), "text": text, "label": label, "id": id}
        data |= {"validation": None, "sample": {"n": options.n}}
        recipe = {"data": data, "model": "minilm", "training": {"epochs": 5, "max_length": longest},
                  "evaluate": {"splits": ["test"]}}  # fmt: skip
        found.append((name, recipe, files))
    return found


def whole(name: str, root: Path, place: Path) -> tuple[Any, ...]:
    """A row of INSIDE, and the other sets."""
    files = {other: with_text(root / file, column, place / "sets", other) for other, (file, column, _) in SETS.items()}
    return *INSIDE[name], [f"{SETS[s][2]}:{s}={file}#text" for s, file in files.items() if s != name]


def of_halves(root: Path, place: Path) -> tuple[Any, ...]:
    """The same of newsgroups20 in halves."""
    train, test, other = halves(root / "newsgroups20", place / "sets")
    return train, test, "body", "label_name", "id", 128, [f"near+semantic:{other.stem}={other}#body"]


def halves(source: Path, folder: Path) -> list[Path]:
    """Training and test texts of every other class, and the test texts of the classes between, as files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for split, odd, name in (("train", 0, "kept-train"), ("test", 0, "kept-test"), ("test", 1, "other-classes")):
        frame = tables.read(source / f"{split}.csv.gz").frame.filter(pl.col("body").str.strip_chars() != "")
        paths.append(folder / f"{name}.csv")
        frame.filter(pl.col("label").cast(pl.Int64) % 2 == odd).write_csv(paths[-1])
    return paths


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
         "detector": detector, "notes": found.told, **measures, **independent(found, one.name, detector)}
        for one in found.sets
        for detector, measures in found.results[one.name].items()
    ]  # fmt: skip
    write_json(kept, {"what": what, "rows": rows})
    return rows


def independent(found: experiment.Detected, name: str, detector: str) -> dict[str, float]:
    """AUROC by scikit-learn."""
    inside, outside = (found.scores[detector][which] for which in (IN, name))
    truth = np.repeat([0, 1], [len(inside), len(outside)])
    return {"sklearn_auroc": float(roc_auc_score(truth, np.concatenate([inside, outside])))}


def groups(rows: list[dict[str, Any]]) -> dict[tuple[str, str, str, str], list[dict[str, Any]]]:
    """{(data, set, detector, arm): a row per seed}."""
    found: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["data"], row["set"], row["detector"], row["arm"]), []).append(row)
    return found


def by_kind(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean AUROC over the sets of each kind, a value per seed."""
    found = []
    for data in dict.fromkeys(row["data"] for row in rows):
        for arm, detector in dict.fromkeys((row["arm"], row["detector"]) for row in rows if row["data"] == data):
            mine = [r for r in rows if (r["data"], r["arm"], r["detector"]) == (data, arm, detector)]
            means: dict[str, list[float]] = {}
            for kind in KINDS:
                of = [r for r in mine if kind in r["kinds"]]
                seeds = dict.fromkeys(r["seed"] for r in of)
                means[kind] = [float(np.mean([r["auroc"]["value"] for r in of if r["seed"] == s])) for s in seeds]
            found.append({"data": data, "arm": arm, "detector": detector, **means})
    return found


def words_or_classes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """AUROC of perplexity minus that of MSP (plain models), per set: does density find background shift, MSP semantic?

    Intervals are over the seeds of the classifier; the language model is one.
    """
    found, cells = [], groups(rows)
    for data, name in dict.fromkeys((row["data"], row["set"]) for row in rows):
        plain, text = cells[data, name, "msp", PLAIN], cells[data, name, "perplexity", "text"][0]
        differences = [text["auroc"]["value"] - row["auroc"]["value"] for row in plain]
        mean, low, high = evaluate.mean_interval(differences)
        found.append({"data": data, "set": name, "kinds": text["kinds"], "value": mean, "low": low, "high": high,
                      "seeds": len(plain)})  # fmt: skip
    return found


def mixed_minus_plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """AUROC with mixup minus without, paired over seeds, per set and detector; p of a data set corrected together."""
    cells, found = groups(rows), []
    for data in dict.fromkeys(row["data"] for row in rows):
        names = [(name, detector, arm) for d, name, detector, arm in cells if d == data and arm in MIXED]
        differences = []
        for name, detector, arm in names:
            arms = [{r["seed"]: r["auroc"]["value"] for r in cells[data, name, detector, a]} for a in (PLAIN, arm)]
            seeds = sorted(set(arms[0]) & set(arms[1]))
            differences.append(evaluate.sign_flips(*([values[s] for s in seeds] for values in arms)))
        for (name, detector, arm), d in zip(names, evaluate.corrected(differences), strict=True):
            figures = {key: getattr(d, key) for key in ("value", "low", "high", "p", "p_holm", "lowest_p")}
            found.append({"data": data, "set": name, "detector": detector, "arm": arm, **figures, "seeds": d.n})
    return found


def table(result: dict[str, Any]) -> str:
    """AUROC and FPR@95 by detector and set; by kind of shift; words or classes; what mixup changes."""
    return "\n\n".join(_of_data(result, data) for data in dict.fromkeys(row["data"] for row in result["rows"]))


def _of_data(result: dict[str, Any], data: str) -> str:
    mine = {key: [row for row in result[key] if row["data"] == data] for key in ("rows", "kinds", "words", "mixup")}
    plain = [row for row in mine["rows"] if row["arm"] not in MIXED]
    said = []
    for measure, name in SHOWN.items():
        said += [f"**Trained on {data}: {name}**", matrix(plain, measure)]
    kinds = [row for row in mine["kinds"] if row["arm"] not in MIXED]
    said += ["Mean AUROC over the sets of each kind [over seeds]:", of_kinds(kinds)]
    said += ["AUROC of perplexity minus that of MSP [over seeds of the classifier]:", of_words(mine["words"])]
    lowest = max(row["lowest_p"] for row in mine["mixup"])
    for arm in MIXED:
        title = f"AUROC of {arm} minus {PLAIN} [over seeds]; p cannot fall below {lowest:.2g}:"
        said += [title, of_mixup([row for row in mine["mixup"] if row["arm"] == arm])]
    worst = max(abs(row["sklearn_auroc"] - row["auroc"]["value"]) for row in mine["rows"])
    return "\n\n".join([*said, f"Largest difference of an AUROC from scikit-learn's: {worst:.1e}."])


def matrix(rows: list[dict[str, Any]], measure: str) -> str:
    """Mean over seeds; in brackets the half width of the 95 % interval, of language models over rows."""
    sets = {row["set"]: f"{row['set']}, {', '.join(row['kinds'])} ({row['n']:,})" for row in rows}
    cells: dict[str, dict[str, list[dict[str, float]]]] = {}
    for row in rows:
        cells.setdefault(row["detector"], {}).setdefault(row["set"], []).append(row[measure])
    lines = [[name, *(_width(found[s]) if s in found else "" for s in sets)] for name, found in cells.items()]
    return markdown(["detector", *sets.values()], lines)


def _width(figures: list[dict[str, float]]) -> str:
    value, low, high = (figures[0][key] for key in ("value", "low", "high"))
    if len(figures) > 1:
        value, low, high = evaluate.mean_interval([figure["value"] for figure in figures])
    return f"{value:.3f} (±{(high - low) / 2:.3f})"


def of_kinds(rows: list[dict[str, Any]]) -> str:
    lines = [[row["detector"], row["arm"], *(interval(row[k]) if row[k] else "" for k in KINDS)] for row in rows]
    return markdown(["detector", "arm", *KINDS], lines)


def of_words(rows: list[dict[str, Any]]) -> str:
    return markdown(["against", "kinds", "difference"], [[r["set"], ", ".join(r["kinds"]), _signed(r)] for r in rows])


def of_mixup(rows: list[dict[str, Any]]) -> str:
    sets = list(dict.fromkeys(row["set"] for row in rows))
    cells = {(row["detector"], row["set"]): row for row in rows}
    lines = [[d, *(_signed(cells[d, s]) for s in sets)] for d in dict.fromkeys(row["detector"] for row in rows)]
    return markdown(["detector", *sets], lines)


def _signed(row: dict[str, Any]) -> str:
    return f"{row['value']:+.3f}" + ("" if row["seeds"] < 2 else f" [{row['low']:+.3f}, {row['high']:+.3f}]")


if __name__ == "__main__":
    main()
