"""model/README.md: the card of a saved model, with the front matter that the Hugging Face Hub reads."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from leadline.report import bibliography, facts, made, sure
from leadline.report.facts import HELD_OUT, MAIN, PER_CLASS, SPOKEN
from leadline.report.words import count, estimate, excerpt, listing, number, plural
from leadline.runs import Run

RARE = 50  # training examples: below this a class is named as seldom seen
HUB_METRICS = {
    "accuracy": "accuracy", "macro_f1": "f1", "macro_precision": "precision", "macro_recall": "recall",
    "mcc": "matthews_correlation", "auroc": "roc_auc", "rmse": "rmse", "mae": "mae", "pearson": "pearsonr",
    "spearman": "spearmanr", "r2": "r_squared",
}  # fmt: skip
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
HUB_NAME = re.compile(r"[\w-]+(/[\w.-]+)?")
MARKUP = re.compile(r"([\\`*\[\]<>|#~&!])|(?<![A-Za-z0-9])(_)|(_)(?![A-Za-z0-9])")


def model_card(run: Run) -> str:
    """Markdown with YAML front matter: use, data, metrics with intervals, calibration, limitations, how to load."""
    settings = {"autoescape": False, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), **settings)  # type: ignore[arg-type]
    environment.filters |= {"count": count, "md": escaped}
    text = environment.get_template("card.md").render(_card(run))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def escaped(value: Any) -> str:
    """Somebody's text on one line, shown by Markdown as it is."""
    return MARKUP.sub(lambda match: "\\" + match[0], excerpt(value, 1000))


def _card(run: Run) -> dict[str, Any]:
    view = facts.read(run)
    inputs = run.examples.inputs
    recipe_length = run.recipe.training.max_length if run.recipe else 512
    return {
        "front_matter": yaml.safe_dump(front_matter(run), sort_keys=False, allow_unicode=True),
        "name": run.name, "headline": facts.headline(view), "regression": not run.classes,
        "n_classes": plural(len(run.classes), "class", "classes"), "classes": listing(run.classes, show=20),
        "input_words": "pairs of texts" if len(inputs) == 2 else "texts",
        "call": '"one text", "the other text"' if len(inputs) == 2 else '"a text"',
        "headed": bool(run.recipe and run.recipe.mixup and run.recipe.mixup.head),
        "max_length": int(facts.noted(run, "model").get("max_length") or recipe_length),
        "splits": made.splits(run), "told": made.told(run), "balance": made.balance(run),
        "metrics": facts.metrics(run), "per_class": [t for t in facts.per_class(run) if t["split"] == _held_out(run)],
        "calibration": calibration(run), "limitations": limitations(run),
        "made": [pair for pair in _how(run) if pair[1] != "none"],
        "version": facts.noted(run, "versions").get("leadline", ""),
        "references": [bibliography.entries()[key] for key in bibliography.cited(run, ["aum"] if run.classes else [])],
    }  # fmt: skip


def _how(run: Run) -> list[tuple[str, str]]:
    return [*made.model(run), *made.settings(run), *made.machine(run), *made.times(run)]


# --- front matter -----------------------------------------------------------------------------------------------------


def front_matter(run: Run) -> dict[str, Any]:
    """What the Hub reads: library, task, tags, base model, data set, and the results as model-index."""
    matter: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-classification"}
    matter["tags"] = ["text-classification", "leadline", "training-dynamics"] + ([] if run.classes else ["regression"])
    base = _base_model(run)
    if base:
        matter["base_model"] = base
    source = run.recipe.data.train if run.recipe else ""
    if source.startswith("hub:"):
        matter["datasets"] = [_dataset(run)]
    found = [name for name in HUB_METRICS if any(name in figures for figures in run.results.values())]
    if found:
        matter["metrics"] = [HUB_METRICS[name] for name in found]
        matter["model-index"] = [{"name": run.name, "results": [_result(run, s) for s in HELD_OUT if s in run.results]}]
    return matter


def _result(run: Run, split: str) -> dict[str, Any]:
    figures = run.results[split]
    values = {name: figures[name]["value"] for name in HUB_METRICS if name in figures}
    return {
        "task": {"type": "text-classification"},
        "dataset": {"name": _dataset(run), "type": _dataset(run), "split": split},
        "metrics": [
            {"type": HUB_METRICS[name], "name": SPOKEN.get(name, name), "value": round(float(value), 4)}
            for name, value in values.items()
            if value is not None and math.isfinite(value)
        ],
    }


def _base_model(run: Run) -> str | None:
    """A name on the Hub; None for a model built here and for a local directory."""
    name = run.recipe.model_name if run.recipe else "tiny"
    if name == "minilm":
        return MINILM
    return name if name != "tiny" and HUB_NAME.fullmatch(name) and not Path(name).exists() else None


def _dataset(run: Run) -> str:
    """The data's name in the characters that the Hub allows."""
    source = run.recipe.data.train if run.recipe else run.name
    if source.startswith("hub:"):
        return re.split(r"[:@]", source.removeprefix("hub:"))[0]
    path = Path(source)
    stem = path.name.split(".")[0]
    name = (path.parent.name or run.name) if stem in {"train", "training", "data"} else stem
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.") or "data"


# --- what to beware of ------------------------------------------------------------------------------------------------


def _held_out(run: Run) -> str | None:
    return next((split for split in HELD_OUT if run.results.get(split)), None)


def calibration(run: Run) -> str:
    """ECE with its interval, and in which direction the confidence errs; empty without predictions of classes."""
    split = _held_out(run)
    if split is None or "ece" not in run.results[split] or not run.has_predictions(split):
        return ""
    predictions = run.predictions(split)
    sure = float(predictions["confidence"].mean())  # type: ignore[arg-type]
    right = float((predictions["label"].cast(pl.String) == predictions["predicted"].cast(pl.String)).mean())  # type: ignore[arg-type]
    errs = "too sure of itself" if sure > right else "less sure than it could be"
    return (
        f"Expected calibration error {estimate(run.results[split]['ece'])} over 15 bins on "
        f"{plural(len(predictions), 'example')} of the {split} data. Mean confidence {number(sure)}, "
        f"accuracy {number(right)}: on average the model is {errs}. {_scaling(run, split)}"
    )


def _scaling(run: Run, split: str) -> str:
    after = run.results[split].get("scaled_ece")
    if not (said := sure.temperature(run)):
        return "No temperature was fitted."
    here = f" With logits divided by it the error is {estimate(after)}." if after else ""
    return f"{said}{here} The saved model is not scaled."


def limitations(run: Run) -> list[str]:
    """Honest and specific: how much was measured on what, which classes were seldom seen, what nobody tested."""
    said = [*_measured(run), *_seldom(run), *_weakest(run)]
    ece = run.results.get(_held_out(run) or "", {}).get("ece")
    if ece:
        said.append(f"Its probabilities were not calibrated (ECE {estimate(ece)}): test them before you rely on them.")
    seed = f" (seed {run.recipe.training.seed})" if run.recipe else ""
    said.append(f"One training run{seed}: another seed gives other answers, by an amount that was not measured here.")
    doubted = (
        ["suspects.csv of the run lists those that it doubts most"] if (run.path / "suspects.csv").is_file() else []
    )
    return [
        *said,
        "Inputs from other sources, times or languages were not tested, nor differences between groups of people.",
        "; ".join(["The labels of the training data are as given", *doubted]) + ".",
    ]


def _measured(run: Run) -> list[str]:
    split = _held_out(run)
    if split is None:
        return ["Nothing was measured on data that the model has not seen."]
    figures = run.results[split]
    name = next((name for name in MAIN if name in figures), next(iter(figures)))
    n = int(figures[name].get("n", 0))
    said = [
        f"Measured on {plural(n, 'example')} of the {split} data: {SPOKEN.get(name, name)} {estimate(figures[name])}."
    ]
    if split == "validation":
        said.append("There is no test data: the validation data also served to follow the training.")
    return said


def _seldom(run: Run) -> list[str]:
    counts = dict(run.train.table["_label"].cast(pl.String).value_counts().iter_rows()) if run.classes else {}
    rare = [f"{excerpt(name, 80)} ({count(counts.get(name, 0))})" for name in run.classes if counts.get(name, 0) < RARE]
    return [f"Classes with fewer than {RARE} training examples: {listing(rare, show=20)}."] if rare else []


def _weakest(run: Run) -> list[str]:
    figures = run.results.get(_held_out(run) or "", {})
    f1 = {
        match[2]: figure
        for name, figure in figures.items()
        if (match := PER_CLASS.fullmatch(name)) and match[1] == "f1"
    }
    if len(f1) < 2:
        return []
    name = min(f1, key=lambda c: (f1[c].get("value") or 0.0, c))
    return [f"It does worst on {excerpt(name, 80)}: F1 {estimate(f1[name])}, n = {count(f1[name].get('n', 0))}."]
