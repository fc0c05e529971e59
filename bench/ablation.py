"""The ablation of entropy-aware mixup (recipes/entropy-mixup.yaml), MiniLM: sarcasm in full and 2,000 of disaster.

    python bench/ablation.py [--only sarcasm] [--seeds 3] [--epochs 5] [--plain 2] [--jobs 1] [--runs DIR] [--toy]

16 arms a seed. What is finished is not trained again (`leadline sweep status build/bench/ablation-sarcasm`). The
reference's 10 epochs with 3 plain ones: `--epochs 10 --plain 3 --seeds 6`. Writes bench/results/ablation.json after
each data set.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from common import TINY, arguments, chosen, data_directory, machine, markdown, trained, workplace, write_json

from leadline import sweep
from leadline.cli.output import chance
from leadline.demo import write_demo

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "entropy-mixup.yaml"
SETS: dict[str, dict[str, Any]] = {"sarcasm": {}, "disaster": {"sample": {"n": 2000}}}
ARMS_OF_A_TOY = ("full", "easy+ambiguous", "mix-region-label-entropy")
NOTED = {"ece": "ECE", "nll": "NLL", "macro_f1+typos=0.1": "F1, typos 0.1", "macro_f1+fgsm=0.1": "F1, FGSM 0.1"}
REGIONS = ("easy", "ambiguous", "hard", "none")
# Table 2 of the reference's report (Kulkarni, Kapoor, Kabra): roberta-base, single runs, the best epoch on the test
# file; accuracy, macro precision, recall, F1 in percent. Our arm: their four figures.
PUBLISHED: dict[str, dict[str, tuple[float, float, float, float]]] = {
    "sarcasm": {
        "full": (81.35, 64.18, 66.83, 65.25),
        "random-third": (77.42, 57.49, 58.91, 58.01),
        "only-easy": (85.71, 42.85, 50.00, 46.15),
        "only-ambiguous": (36.71, 51.56, 52.66, 35.20),
        "easy+ambiguous": (73.42, 56.43, 59.50, 56.83),
        "full-minus-hard": (84.35, 67.11, 64.83, 65.82),
        "mix-random": (83.07, 65.32, 65.13, 65.22),
        "mix-region": (83.28, 66.81, 68.58, 67.60),
        "mix-region-label": (85.14, 68.99, 66.54, 67.61),
        "mix-region-label-entropy": (85.57, 69.88, 66.79, 68.11),
    },
    "disaster": {
        "full": (83.12, 83.35, 81.56, 82.16),
        "random-third": (80.73, 82.26, 81.94, 82.09),
        "only-easy": (79.05, 78.64, 79.46, 78.76),
        "only-ambiguous": (63.69, 63.28, 63.68, 63.22),
        "easy+ambiguous": (81.22, 80.63, 80.54, 80.58),
        "full-minus-hard": (82.99, 83.15, 81.47, 82.05),
        "mix-random": (83.45, 83.35, 81.57, 82.16),
        "mix-region": (83.19, 84.34, 81.48, 82.30),
        "mix-region-label": (82.99, 83.12, 81.91, 82.36),
        "mix-region-label-entropy": (84.11, 84.67, 82.54, 83.05),
    },
}


def definition(
    name: str, data: dict[str, Any], options: argparse.Namespace, arms: Sequence[str] = ()
) -> dict[str, Any]:
    """The recipe of the repository with this data, these seeds and epochs; all arms, or those named."""
    document = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    recipe = document["recipe"]
    recipe["data"] |= data
    recipe["training"]["epochs"] = options.epochs
    recipe["evaluate"]["splits"] = ["test"]
    if options.toy:
        recipe |= {"model": TINY["model"], "evaluate": {"splits": ["test"], "robustness": {"typos": 0.1}}}
        recipe["training"] |= {"max_length": 32, "learning_rate": 5e-3}
    for trial in document["trials"]:
        change = trial.get("set", {})
        if "mixup" in change:
            change["mixup"]["plain_epochs"] = options.plain
        if "base" in change:
            change["base"]["max_epochs"] = max(1, options.epochs - 1)
    if arms:
        document["trials"] = [trial for trial in _single(document["trials"]) if trial["name"] in arms]
    return {**document, "name": name, "seeds": list(range(options.seeds))}


def _single(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Trials of an axis written out, a trial for every value."""
    found = []
    for trial in trials:
        text = json.dumps({"name": trial["name"], "set": trial.get("set", {})})
        [(axis, values)] = trial.get("axes", {"none": [""]}).items()
        found += [json.loads(text.replace(f"{{{axis}}}", value)) for value in values]
    return found


def material(name: str, place: Path) -> dict[str, Any]:
    if name == "toy":
        truth = write_demo(place / "toy.csv", n=80, n_test=40)
        return {"train": str(truth.train), "test": str(truth.test), "id": "id"}
    root = data_directory() / name
    return {"train": str(root / "train.csv"), "test": str(root / "test.csv"), "id": "idx", **SETS[name]}


def main() -> None:
    options = arguments("ablation", __doc__, only="", seeds=3, epochs=5, plain=2).parse_args()
    if options.toy:
        options.epochs, options.plain, options.seeds = 4, 1, 1
    results: list[dict[str, Any]] = []
    with workplace(options) as place:
        for name in chosen(options, SETS):
            arms = ARMS_OF_A_TOY if options.toy else ()
            document = definition(f"ablation-{name}", material(name, place), options, arms)
            results.append(told(name, sweep.study(trained(document, place, options.jobs, refusable=True))))
            write_json(options.out, {"machine": machine(), "epochs": options.epochs, "results": results})
    print(table({"results": results}))


def told(name: str, found: sweep.Study) -> dict[str, Any]:
    """The study without its texts: of the rows that changed only how many, and their entropy before and after."""
    whole = found.to_dict()
    changed = whole.pop("changed")
    kinds = {}
    for kind in ("repaired", "broken"):
        rows = [row for row in changed if row["kind"] == kind]
        kinds[kind] = {
            "rows": len(rows),
            "ids": [row["id"] for row in rows],
            **{key: sum(row[key] for row in rows) / max(1, len(rows)) for key in ("entropy_before", "entropy_after")},
        }
    return {"data": name, **whole, "changed": kinds}


def table(result: dict[str, Any]) -> str:
    """Per data set: the arms in the shape of the published table, what they were trained on, the claim."""
    return "\n\n".join(_of_one(entry) for entry in result["results"])


def _of_one(entry: dict[str, Any]) -> str:
    title = f"**{entry['data']}**, {entry['split']}, percent, macro:"
    return "\n\n".join([title, _metrics(entry), _trained_on(entry), claim(entry), *entry["notes"]])


def _metrics(entry: dict[str, Any]) -> str:
    header = ["arm", "acc", "P", "R", "F1 [95 % over seeds]", "F1 minus full, over rows", "over seeds"]
    published = PUBLISHED.get(entry["data"], {})
    rows = []
    for arm in entry["arms"]:
        values = [percent(arm["values"][metric]) for metric in ("accuracy", "macro_precision", "macro_recall")]
        theirs = " / ".join(f"{x:.1f}" for x in published.get(arm["name"], ()))
        rows.append([arm["name"], *values, spread(arm["values"]["macro_f1"]), *gains(arm), theirs])
    return markdown([*header, "published, roberta-base: acc / P / R / F1"], rows)


def _trained_on(entry: dict[str, Any]) -> str:
    counts = ("trained_on", "discarded", "steps", "examples_seen")
    rows = []
    for arm in entry["arms"]:
        regions = " / ".join(f"{arm['regions'].get(region, 0):,.0f}" for region in REGIONS)
        noted = [f"{arm['values'][metric]['value']:.3f}" if metric in arm["values"] else "" for metric in NOTED]
        numbers = [str(len(arm["seeds"])), *(f"{arm[count]:,.0f}" for count in counts)]
        rows.append([arm["name"], *numbers, regions, *noted])
    header = ["arm", "seeds", "trained on", "discarded", "steps", "seen", " / ".join(REGIONS)]
    return markdown([*header, *NOTED.values()], rows)


def percent(figure: dict[str, float]) -> str:
    return f"{100 * figure['value']:.1f}"


def spread(figure: dict[str, float]) -> str:
    return f"{percent(figure)} [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"


def gains(arm: dict[str, Any]) -> list[str]:
    """Macro F1 minus that of `full` in points, over rows and over seeds; p corrected for all arms."""
    tests = {test["over"]: test for test in arm["tests"] if test["metric"] == "macro_f1"}
    return [_gain(tests[over]) if over in tests else "" for over in ("rows", "seeds")]


def _gain(test: dict[str, Any]) -> str:
    p = f"p {test['p_holm']:.2f}" if test["p_holm"] >= 0.005 else "p < 0.01"
    return f"{100 * test['value']:+.1f} [{100 * test['low']:+.1f}, {100 * test['high']:+.1f}], {p}"


def claim(entry: dict[str, Any]) -> str:
    """The headline claim as one number."""
    said = [
        f"over {test['over']} {100 * test['value']:+.2f} [{100 * test['low']:+.2f}, {100 * test['high']:+.2f}], "
        f"p {chance(test['p'])}"
        for test in entry["claim"]
    ]  # fmt: skip
    changed = entry["changed"]
    return (
        f"F1 of {entry['claimed']} minus F1 of {entry['against']}: {'; '.join(said)}. It repairs "
        f"{changed['repaired']['rows']} rows (entropy before {changed['repaired']['entropy_before']:.2f}) and breaks "
        f"{changed['broken']['rows']} (entropy before {changed['broken']['entropy_before']:.2f})."
    )


if __name__ == "__main__":
    main()
