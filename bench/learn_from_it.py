"""Do selection and curricula help? Every arm with the same number of optimiser steps, over seeds, with paired tests.

    python bench/learn_from_it.py [--only trec] [--noise 0,0.2] [--seeds 3] [--n 2000] [--runs build/bench] [--toy]

MiniLM, 3 epochs, 2,000 rows of each data set; one earlier run per data set orders and selects (training seed 100, so
that no arm is trained on its own seed's record). Each data set as it is and with 20 % of the labels flipped. What is
finished is not trained again (`leadline sweep status build/bench/learn-trec`). Writes bench/results/learn_from_it.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from common import MINILM, TESTED, TINY, arguments, chosen, machine, markdown, tested, trained, workplace, write_json

from leadline import sweep
from leadline.demo import write_demo

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
    others = [
        {"name": arm, "set": {**change, "base.run": f"{title}-earlier/earlier-s{EARLIER}"}}
        for arm, change in ARMS.items()
    ]
    return {"name": title, "recipe": recipe, "seeds": list(range(seeds)), "trials": [{"name": "plain"}, *others]}


def arms(document: dict[str, Any], place: Path, jobs: int) -> sweep.Sweep:
    """First the run that orders and selects, then the arms."""
    earlier = {**document, "name": f"{document['name']}-earlier", "seeds": [EARLIER], "trials": [{"name": "earlier"}]}
    trained(earlier, place, jobs=1)
    for arm in document["trials"][1:]:
        arm["set"]["base.run"] = str(place / arm["set"]["base.run"])
    return trained(document, place, jobs)


def main() -> None:
    options = arguments("learn_from_it", __doc__, only="", noise="0,0.2", seeds=3, n=2000).parse_args()
    results = []
    with workplace(options) as place:
        for name in chosen(options, TESTED):
            data, model = material(name, place, options)
            for noise in [0.2] if options.toy else [float(x) for x in options.noise.split(",")]:
                document = definition(name, data, model, noise, options.seeds)
                if options.toy:
                    document["trials"] = [document["trials"][i] for i in (0, 1, 3)]
                results.append(compared(name, noise, arms(document, place, options.jobs)))
    write_json(options.out, {"machine": machine(), "results": results})
    print(table(results))


def material(name: str, place: Path, options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """(data, model and training)"""
    if not options.toy:
        return tested(name, options.n), {**MINILM, "evaluate": {"splits": ["test"]}}
    truth = write_demo(place / "toy.csv", n=60, n_test=40)
    data = {"train": str(truth.train), "test": str(truth.test), "id": "id", "validation": None}
    return data, {**TINY, "training": {**TINY["training"], "epochs": 1}, "evaluate": {"splits": ["test"]}}


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
