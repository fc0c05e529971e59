"""What entropy-aware mixup gains where data are scarce: subj at 100, 300, 1,000 and all 5,000 training examples.

    python bench/low_data.py [--sizes 100,300,1000,0] [--seeds 5] [--epochs 5] [--plain 2] [--runs build/bench] [--toy]

MiniLM, with the arms `full` and the full method (in both sizes; of all examples only the first) of
recipes/entropy-mixup.yaml; below 1,000 examples also the method with as many steps as `full`, since of few examples it
keeps few. subj has no split of its own; the first half of its rows (they are shuffled) is tested on.
Every seed draws its own sample, the same for all arms. Size 0: all. What is finished is not trained again. Writes
bench/results/low_data.json after each size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ablation import definition, gains, spread, told
from common import arguments, data_directory, machine, markdown, trained, workplace, write_json

from leadline import sweep
from leadline.data import tables
from leadline.demo import write_demo

METHOD = "mix-region-label-entropy"
N_TEST = 5000


def main() -> None:
    options = arguments("low_data", __doc__, sizes="100,300,1000,0", seeds=5, epochs=5, plain=2).parse_args()
    if options.toy:
        options.sizes, options.seeds, options.epochs, options.plain = "40", 2, 4, 1
    results: list[dict[str, Any]] = []
    with workplace(options) as place:
        data = toy(place) if options.toy else split(place / "sets")
        for size in [int(word) for word in options.sizes.split(",")]:
            arms = ("full", METHOD, *([f"{METHOD}-original"] if size else []))
            document = definition(f"low-data-{size or 'all'}", {**data, "validation": None}, options, arms)
            document["recipe"]["evaluate"] = {"splits": ["test"]}
            if size:
                document["recipe"]["data"]["sample"] = {"n": size}
                document["trials"] += [same_steps(document["trials"])] if size < 1000 else []
                for trial in document["trials"]:
                    trial.setdefault("set", {})["data.seed"] = "{seed}"
            found = told("subj", sweep.study(trained(document, place, options.jobs)))
            results.append({"n": size or found["arms"][0]["trained_on"], **found})
            write_json(options.out, {"machine": machine(), "epochs": options.epochs, "results": results})
    print(table({"results": results}))


def same_steps(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """The method, its kept examples gone through until the steps of all are taken."""
    [method] = [trial for trial in trials if trial["name"] == METHOD]
    return {"name": f"{METHOD}-same-steps", "set": {**method["set"], "training.steps": "same-as-full"}}


def split(folder: Path) -> dict[str, str]:
    """The first rows of subj for testing, all others for training, as files beside the runs."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = tables.read(data_directory() / "subj" / "subj.csv.gz").frame
    parts = {"train": frame[N_TEST:], "test": frame[:N_TEST]}
    for name, part in parts.items():
        part.write_csv(folder / f"subj_{name}.csv")
    return {**{name: str(folder / f"subj_{name}.csv") for name in parts}, "id": "idx"}


def toy(place: Path) -> dict[str, str]:
    truth = write_demo(place / "toy.csv", n=80, n_test=40)
    return {"train": str(truth.train), "test": str(truth.test), "id": "id"}


def table(result: dict[str, Any]) -> str:
    rows = []
    for entry in result["results"]:
        for arm in entry["arms"]:
            numbers = [str(len(arm["seeds"])), *(f"{arm[key]:,.0f}" for key in ("trained_on", "steps"))]
            rows.append([f"{entry['n']:,.0f}", arm["name"], *numbers, spread(arm["values"]["macro_f1"]), *gains(arm)])
    header = ["examples", "arm", "seeds", "trained on", "steps", "macro F1, percent [95 % over seeds]"]
    return markdown([*header, "minus full, over rows", "over seeds"], rows)


if __name__ == "__main__":
    main()
