"""report.html: facts and figures on one page that loads nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from leadline import runs
from leadline.errors import InputError
from leadline.figures import distributions, learning, quality, style
from leadline.figures.data_map import data_map
from leadline.report import bibliography, cases, disturbed, facts, made, strangers, sure
from leadline.report.facts import View
from leadline.report.words import count, excerpt
from leadline.runs import Run

HERE = Path(__file__).parent
AXES = {"loss_std": "spread of the loss over the epochs", "minus_mean_loss": "minus the mean loss"}
SHOWN_SCORES = ("confidence", "variability", "aum", "el2n", "entropy", "action_mean")  # of the distributions
PAIRED = 8  # classes: a larger confusion matrix has no room beside the reliability diagram


def write(run: Run, path: Path | None = None) -> Path:
    """report.html of a run (or at `path`), whole or not at all; returns where it is.

    Whatever the run lacks (recipe, predictions, texts, classes, a second epoch) is left out. Raises InputError when
    the directory of `path` does not exist.
    """
    path = Path(path) if path is not None else run.path / "report.html"
    if not path.parent.is_dir():
        raise InputError(f"{path}: the directory {path.parent} does not exist; create it first")
    runs.write_text(path, render(run))
    return path


def render(run: Run) -> str:
    """The page as text."""
    view = facts.read(run)
    page = {
        "name": run.name, "css": Markup((HERE / "page.css").read_text(encoding="utf-8")),
        "version": facts.noted(run, "versions").get("leadline", ""),
        "headline": facts.headline(view), "checks": facts.checks(view), "missing": view.missing,
        "failed": _failed(facts.checks(view)), "left_out": list(view.left_out.items()),
        "commands": made.next_commands(view),
    } | _map(view) | _metrics(run) | _sure(run) | _learning(view) | _examples(view)  # fmt: skip
    page |= _made(run) | _disturbed(run) | _strangers(run) | _references(view)
    return _environment().get_template("page.html").render(page)


def _environment() -> Environment:
    settings = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=FileSystemLoader(HERE), **settings)  # type: ignore[arg-type]
    environment.filters |= {"count": count, "excerpt": excerpt, "capfirst": lambda text: text[:1].upper() + text[1:]}
    return environment


def _failed(checks: list[dict[str, Any]]) -> str:
    names = [check["name"] for check in checks if not check["passed"]]
    return f"Read the rest with care. The training check failed: {', '.join(names)}." if names else ""


def _map(view: View) -> dict[str, Any]:
    page: dict[str, Any] = {
        "map": None, "axes": [AXES.get(name, name) for name in view.axes], "regions": facts.regions(view),
        "overlaps": facts.overlaps(view), "rule": "", "relative": False, "by_loss": "loss_std" in view.axes,
    }  # fmt: skip
    if view.regions is None or view.table is None:
        return page
    rule = view.regions.rule
    page |= {"rule": f"Regions by {rule}.", "relative": rule.startswith("proportion")}
    x, y = view.axes
    if view.table.select((pl.col(x).is_finite() & pl.col(y).is_finite()).any()).item():
        color = "correctness" if "correctness" in view.table.columns else "region"
        page["map"] = _svg(data_map(view.table, x, y, color))
    return page


def _metrics(run: Run) -> dict[str, Any]:
    page: dict[str, Any] = {"metrics": facts.metrics(run), "per_class": facts.per_class(run)}
    page |= {
        "confusion": None,
        "confusions": [],
        "answers_split": "",
        "confusion_is_wide": len(run.classes) > PAIRED,
    }
    found = facts.answers(run)
    if found is None or not run.classes:
        return page
    split, predictions = found
    matrix = facts.confusion_matrix(run, predictions)
    page |= {"answers_split": split, "confusions": facts.confusions(matrix, run.classes)}
    return page | {"confusion": _svg(quality.confusion(matrix, run.classes))}


def _sure(run: Run) -> dict[str, Any]:
    page: dict[str, Any] = {"sure_split": "", "scaling": [], "temperature": sure.temperature(run), "selective": None}
    page |= {"reliability": None, "soft": run.examples.soft, "chosen": {"accuracy": [], "coverage": []}}
    found = sure.certainty(run)
    if found is None:
        return page
    split, certainty = found
    return page | {
        "sure_split": split, "scaling": sure.scaling(run, split), "chosen": sure.chosen(certainty),
        "reliability": _svg(quality.reliability(certainty.before, certainty.after)),
        "selective": _svg(quality.selective(certainty)),
    }  # fmt: skip


def _svg(figure: Figure) -> Markup:
    return Markup(style.svg(figure))


def _learning(view: View) -> dict[str, Any]:
    page: dict[str, Any] = {"curves": None, "region_accuracy": None, "distributions": None}
    epochs = view.run.events("epoch")
    if len(epochs) > 1:
        page["curves"] = _svg(learning.curves(epochs))
    if view.regions is not None and view.correct is not None and view.n_epochs > 1:
        page["region_accuracy"] = _svg(learning.region_accuracy(view.correct, view.regions.category))
    table = view.table
    by = "region" if view.regions is not None else "label" if view.run.classes else None
    if table is not None:
        shown = [name for name in SHOWN_SCORES if name in view.names and np.isfinite(table[name].to_numpy()).any()]
        page["distributions"] = _svg(distributions.distributions(table, shown, by)) if shown else None
    return page


def _examples(view: View) -> dict[str, Any]:
    suspects, n = cases.suspects(view)
    hardest, ambiguous = cases.hardest(view), cases.ambiguous(view)
    courses = {case.row: case.course for case in [*hardest, *ambiguous, *suspects] if case.course is not None}
    sparks: dict[int | None, Markup | None] = {case.row: None for case in [*hardest, *ambiguous, *suspects]}
    sparks |= {row: Markup(learning.spark(course)) for row, course in courses.items()}
    return {
        "hardest": hardest, "ambiguous": ambiguous, "suspects": suspects, "n_suspects": n, "sparks": sparks,
        "has_sparks": bool(courses), "suspects_file": (view.run.path / "suspects.csv").is_file(),
        "hardest_rule": _rule(view),
    }  # fmt: skip


def _rule(view: View) -> str:
    """How the hardest examples were chosen."""
    return f"lowest {AXES.get(view.axes[1], view.axes[1])}" if view.regions is not None else "highest mean loss"


def _made(run: Run) -> dict[str, Any]:
    return {
        "told": made.told(run), "splits": made.splits(run), "balance": made.balance(run), "model": made.model(run),
        "settings": made.settings(run), "machine": made.machine(run), "times": made.times(run),
    }  # fmt: skip


def _disturbed(run: Run) -> dict[str, Any]:
    drawn = disturbed.picture(run)
    return {"disturbed": disturbed.table(run), "disturbed_picture": None if drawn is None else _svg(drawn)}


def _strangers(run: Run) -> dict[str, Any]:
    drawn = strangers.picture(run)
    return {"strangers": strangers.table(run), "strangers_picture": None if drawn is None else _svg(drawn)}


def _references(view: View) -> dict[str, Any]:
    cited = [bibliography.entries()[key] for key in bibliography.cited(view.run, view.names)]
    return {"references": cited, "bibtex": bibliography.references(view.run, view.names)}
