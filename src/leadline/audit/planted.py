"""Wrong labels planted in a copy of the data: where they end up says how well this data's errors can be found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from leadline.audit.copy import recipe_of, same_rows, swept
from leadline.data.examples import natural
from leadline.errors import InputError, nearest
from leadline.launch import Tell
from leadline.runs import Run
from leadline.signals import Signals
from leadline.sweep.work import silent

KINDS = ("uniform", "class-pair", "by-confusion")


@dataclass(frozen=True)
class Planted:
    """A training on planted errors.

    run    the run that was trained on them; its signals are of the planted labels
    rows   (M,) the rows whose label was changed
    rate   share of the rows
    kind   one of KINDS
    """

    run: Run
    rows: np.ndarray
    rate: float
    kind: str

    @property
    def signals(self) -> Signals:
        return self.run.signals

    @property
    def wrong(self) -> np.ndarray:
        """(N,) bool: planted here. The natural errors are among the others, unknown."""
        return np.isin(np.arange(len(self.run.train)), self.rows)


def planted(
    run: Run, rate: float = 0.05, kind: str = "uniform", seed: int = 0, jobs: int = 1, tell: Tell = silent
) -> Planted:
    """Flips `rate` of the training labels (uniform, class-pair, by-confusion) in a copy and trains once on it."""
    check(run, rate, kind)
    recipe: dict[str, Any] = recipe_of(run, data__corrupt={"rate": rate, "kind": kind}, data__seed=seed)
    if kind == "by-confusion":
        recipe["base"] = {"run": str(run.path)}
    done = swept(run, f"planted-{kind}-{rate:g}-seed{seed}", recipe, [{"name": "planted"}], jobs=jobs, tell=tell)
    own = Run(done.trials[0].path)
    same_rows(run, own)
    table = own.train.table
    rows = np.flatnonzero((table["_label"] != table["_true_label"]).to_numpy())
    return Planted(own, rows, rate, kind)


def check(run: Run, rate: float, kind: str, least: int = 1) -> None:
    """Raises InputError where not so many as `least` wrong labels can be planted in this run, in this way."""
    if not run.classes:
        raise InputError(f"{run.path}: a regression has no labels to flip")
    if run.train.soft:
        raise InputError(f"{run.path}: its labels are shares of classes; there is no one label to flip")
    if not 0 < rate <= 0.5:
        raise InputError(f"--planted {rate}: a share of the labels, above 0 and at most 0.5")
    if kind not in KINDS:
        raise InputError(f"--flips {kind}: choose {', '.join(KINDS)}.{nearest(kind, KINDS)}")
    if kind == "by-confusion" and not run.has_predictions("validation"):
        raise InputError(f"--flips by-confusion: {run.path} has no validation data to have confused; choose uniform")
    if kind == "by-confusion" and run.classes != tuple(sorted(run.classes, key=natural)):
        order = ", ".join(run.classes)
        raise InputError(f"--flips by-confusion: the classes of {run.path} have an order of their own ({order}), "
                         "which a copy of its labels loses; choose uniform")  # fmt: skip
    n = len(run.train)
    if (count := round(rate * n)) < least:
        raise InputError(
            f"--planted {rate:g}: {count} of {n} labels; plant at least {least}, a share of {least / n:.2g}"
        )
