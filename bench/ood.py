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
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from common import data_directory, machine, markdown, write_json

from leadline import evaluate, experiment, sweep
from leadline.data import tables
from leadline.demo import write_demo
from leadline.experiment.ood import DEFAULT, LANGUAGE
from leadline.ood import MEASURES

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--lm", default=None)
    parser.add_argument("--without-mixup", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("build/bench"))
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "ood.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) if options.toy else options.runs
        rows = []
        for name, recipe, sets in materials(options, place):
            arms = [{"name": "plain"}, *([] if options.without_mixup else [{"name": "mixup", "set": {"mixup": MIXUP}}])]
            document = {"name": f"ood-{name}", "recipe": recipe, "seeds": list(range(options.seeds)), "trials": arms}
            rows += measured(name, trained(document, place, options.jobs), sets, options)
    found = {"machine": machine(), "rows": rows, "kinds": by_kind(rows), "mixup": mixed_minus_plain(rows)}
    write_json(options.out, found)
    print(table(rows), table_of_kinds(found["kinds"]), table_of_mixup(found["mixup"]), sep="\n\n")


def trained(document: dict[str, Any], place: Path, jobs: int) -> sweep.Sweep:
    found = sweep.load(document, place)
    states = sweep.run(
        found, jobs=jobs, tell=lambda event: print(event.get("event"), event.get("trial", ""), flush=True)
    )
    if bad := [title for title, state in states.items() if state not in ("finished", "there")]:
        raise SystemExit(f"{found.path}: not finished: {', '.join(bad)}")
    return found


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
    for name in [name for name in options.only.split(",") if name] or list(INSIDE):
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
        rows += [{"arm": arm, "seed": seed, **row} for row in asked(name, trial.path, sets, DEFAULT, options)]
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
    lm = options.lm if detectors == LANGUAGE else None
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


def spread(rows: list[dict[str, Any]], measure: str) -> str:
    """Of one seed the bootstrap's interval over rows, of several Student's over seeds."""
    figures = [row[measure] for row in rows]
    if len(figures) == 1:
        value, low, high = (figures[0][key] for key in ("value", "low", "high"))
    else:
        value, low, high = evaluate.mean_interval([figure["value"] for figure in figures])
    return f"{value:.3f} [{max(0.0, low):.3f}, {min(1.0, high):.3f}]"


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        [data, f"{name} ({cells[0]['n']:,}; {', '.join(cells[0]['kinds'])})", detector, arm, str(len(cells)),
         *(spread(cells, measure) for measure in MEASURES)]
        for (data, name, detector, arm), cells in groups(rows).items()
    ]  # fmt: skip
    return markdown(["trained on", "against", "detector", "arm", "seeds", *MEASURES], lines)


def table_of_kinds(rows: list[dict[str, Any]]) -> str:
    kinds = ("semantic", "background", "near", "far")
    lines = [
        [row["data"], row["arm"], row["detector"], *("" if row[k] is None else f"{row[k]:.3f}" for k in kinds)]
        for row in rows
    ]
    return markdown(["trained on", "arm", "detector", *(f"mean AUROC, {kind}" for kind in kinds)], lines)


def table_of_mixup(rows: list[dict[str, Any]]) -> str:
    lines = [
        [row["data"], row["set"], row["detector"], f"{row['difference']:+.3f}"
         + ("" if row["seeds"] < 2 else f" [{row['low']:+.3f}, {row['high']:+.3f}]"), str(row["seeds"])]
        for row in rows
    ]  # fmt: skip
    return markdown(["trained on", "against", "detector", "AUROC, mixup minus plain", "seeds"], lines)


if __name__ == "__main__":
    main()
