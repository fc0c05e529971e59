"""Do selection and curricula help? Every arm with the same number of optimiser steps, over seeds, with paired tests.

    python bench/learn_from_it.py [--only trec] [--noise 0,0.2] [--seeds 3] [--n 2000] [--runs build/bench] [--toy]

MiniLM, 3 epochs, 2,000 rows of each data set; one earlier run per data set orders and selects (training seed 100, so
that no arm is trained on its own seed's record). Each data set as it is and with 20 % of the labels flipped. What is
finished is not trained again (`leadline sweep status build/bench/learn-trec`). Writes bench/results/learn_from_it.json.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from common import data_directory, machine, markdown, write_json

from leadline import sweep
from leadline.demo import write_demo

SETS = {  # train, test, text, label
    "trec": ("trec/train.csv", "trec/test.csv", "text", "coarse"),
    "disaster": ("disaster/train.csv", "disaster/test.csv", "text", "label"),
    "sst2": ("sst2/train.csv.gz", "sst2/dev.csv", "sentence", "label"),
}
BY = {"score": "action_mean"}
ARMS: dict[str, dict[str, Any]] = {  # beside plain
    "easy-first": {"curriculum": BY},
    "hard-first": {"curriculum": {**BY, "order": "hard-first"}},
    "random-pacing": {"curriculum": {"order": "random"}},
    "drop-hardest-20": {"select": {**BY, "drop_highest": 0.2}},
    "drop-random-20": {"select": {**BY, "drop_highest": 0.2, "control": True}},
    "easy+ambiguous": {"select": {"keep": ["easy", "ambiguous"]}},
    "as-many-random": {"select": {"keep": ["easy", "ambiguous"], "control": True}},
    "weights-easy": {"loss.example_weights": BY},
}
CONTROLS = {"easy-first": "random-pacing", "hard-first": "random-pacing", "drop-hardest-20": "drop-random-20",
            "easy+ambiguous": "as-many-random"}  # fmt: skip
EARLIER = 100  # training.seed of the run that orders and selects


def definition(name: str, data: dict[str, Any], model: dict[str, Any], noise: float, seeds: int) -> dict[str, Any]:
    flips = {"corrupt": {"kind": "uniform", "rate": noise}} if noise else {}
    recipe = {"data": {**data, **flips}, **model}
    recipe["training"] = {**recipe["training"], "steps": "same-as-full"}
    title = f"learn-{name}" + (f"-noise{noise:g}" if noise else "")
    arms = [
        {"name": arm, "set": {**change, "base.run": f"{title}-earlier/earlier-s{EARLIER}"}}
        for arm, change in ARMS.items()
    ]
    return {"name": title, "recipe": recipe, "seeds": list(range(seeds)), "trials": [{"name": "plain"}, *arms]}


def trained(document: dict[str, Any], place: Path, jobs: int) -> sweep.Sweep:
    """First the run that orders and selects, then the arms."""
    earlier = {**document, "name": f"{document['name']}-earlier", "seeds": [EARLIER], "trials": [{"name": "earlier"}]}
    sweep.run(sweep.load(earlier, place), jobs=1)
    for arm in document["trials"][1:]:
        arm["set"]["base.run"] = str(place / arm["set"]["base.run"])
    found = sweep.load(document, place)
    states = sweep.run(
        found, jobs=jobs, tell=lambda event: print(event.get("event"), event.get("trial", ""), flush=True)
    )
    bad = [title for title, state in states.items() if state not in ("finished", "there")]
    if bad:
        raise SystemExit(f"{found.path}: not finished: {', '.join(bad)}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--noise", default="0,0.2")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("build/bench"))
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "learn_from_it.json")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) if options.toy else options.runs
        for name, data, model in materials(options, place):
            for noise in [0.2] if options.toy else [float(x) for x in options.noise.split(",")]:
                document = definition(name, data, model, noise, options.seeds)
                if options.toy:
                    document["trials"] = [document["trials"][i] for i in (0, 1, 3)]
                results.append(compared(name, noise, trained(document, place, options.jobs)))
    write_json(options.out, {"machine": machine(), "results": results})
    print(table(results))


def materials(options: argparse.Namespace, place: Path) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(name, data, model and training) of each data set."""
    if options.toy:
        truth = write_demo(place / "toy.csv", n=60, n_test=40)
        data = {"train": str(truth.train), "test": str(truth.test), "id": "id", "validation": None}
        training = {"epochs": 1, "max_length": 32, "batch_size": 16}
        return [("toy", data, {"model": "tiny", "training": training, "evaluate": {"splits": ["test"]}})]
    root, found = data_directory(), []
    for name in [name for name in options.only.split(",") if name] or list(SETS):
        train, test, text, label = SETS[name]
        data = {"train": str(root / train), "test": str(root / test), "text": text, "label": label, "id": "idx"}
        data |= {"validation": None, "sample": {"n": options.n}}
        found.append((name, data, {"model": "minilm", "training": {"epochs": 3, "max_length": 64},
                                   "evaluate": {"splits": ["test"]}}))  # fmt: skip
    return found


def compared(name: str, noise: float, trials: sweep.Sweep) -> dict[str, Any]:
    """Averages against plain training, and of each arm against its control."""
    against = {base: sweep.summary(trials, "macro_f1", "test", base).averages for base in ("plain", *CONTROLS.values())
               if base in trials.names}  # fmt: skip
    rows = against["plain"].to_dicts()
    for row in rows:
        control = CONTROLS.get(row["trial"])
        if control in against:
            its = against[control].filter(against[control]["trial"] == row["trial"]).to_dicts()[0]
            row["control"] = {
                "against": control,
                **{key: its[key] for key in ("difference", "difference_low", "difference_high", "p")},
            }
    return {"data": name, "noise": noise, "rows": rows}


def table(results: list[dict[str, Any]]) -> str:
    rows = []
    for entry in results:
        for row in entry["rows"]:
            gain = "" if row["trial"] == "plain" else spread(row)
            control = row.get("control")
            more = f"{control['against']}: {spread(control)}" if control else ""
            rows.append(
                [f"{entry['data']}, {entry['noise']:.0%} flipped", row["trial"], f"{row['mean']:.3f}", gain, more]
            )
    return markdown(["data", "arm", "macro F1", "minus plain", "minus its control"], rows)


def spread(row: dict[str, Any]) -> str:
    if row["difference"] is None:
        return ""
    low, high = row["difference_low"], row["difference_high"]
    inside = "" if low is None or low != low else f" [{low:+.3f}, {high:+.3f}]"
    return f"{row['difference']:+.3f}{inside}, p {row['p']:.2f}"


if __name__ == "__main__":
    main()
