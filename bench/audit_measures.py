"""How well every score finds planted errors: average precision, precision among the first k, AUROC; for bench/audit.py.

Ours, and the peers' own code on the same logits and probabilities: cleanlab's label quality and filters, aum, Dataset
Cartography's metrics, Datagnosis. A peer that is not at hand is left out.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import audit_peers
import numpy as np
from sklearn.metrics import roc_auc_score

from leadline import scores
from leadline.audit import planted
from leadline.errors import InputError
from leadline.runs import Run
from leadline.suspects import confident, probabilities
from leadline.suspects.combined import combine
from leadline.suspects.planted import best_score, doubts

Doubts = dict[str, np.ndarray]  # name -> (N,), higher is more doubtful
TOP = 100


def of(run: Run, folds: np.ndarray | None, peers: Path | None, calibrated: bool = True) -> dict[str, Any]:
    """Every measure of one trial whose wrong labels are known."""
    table = run.train.table
    wrong = (table["_label"] != table["_true_label"]).to_numpy()
    found, seconds, filters = {}, {}, {}
    for name, work in sources(run, folds, peers, calibrated).items():
        began = time.perf_counter()
        try:
            found |= work()
        except (InputError, ImportError) as error:
            print(f"left out: {name}: {error}", file=sys.stderr)
            continue
        seconds[name] = time.perf_counter() - began
    for name, q in distributions(run, folds).items():
        filters |= flagged(name, q, run.signals.gold, wrong)
    mode = run.signals.periods[0].metadata.get("mode")
    return {
        "n": len(wrong), "wrong": int(wrong.sum()), "mode": mode, "seconds": seconds,
        "measures": {name: measure(doubt, wrong) for name, doubt in found.items()}, "filters": filters,
    }  # fmt: skip


def sources(
    run: Run, folds: np.ndarray | None, peers: Path | None, calibrated: bool
) -> dict[str, Callable[[], Doubts]]:
    """What gives doubts, timed one by one."""
    found: dict[str, Callable[[], Doubts]] = {
        "leadline": lambda: doubts(scores.compute(run.signals)[0]),
        "leadline, first epoch": lambda: {
            f"{n} @1": d for n, d in doubts(scores.compute(run.signals.window(1))[0]).items()
        },
    }
    if calibrated:
        found["combined"] = lambda: combined(run)
    for name, q in distributions(run, folds).items():
        found[f"quality, {name}"] = lambda name=name, q=q: quality(name, q, run.signals.gold)
        found[f"cleanlab, {name}"] = lambda name=name, q=q: cleanlab(name, q, run.signals.gold)
    if peers is not None:
        for name, package in audit_peers.PACKAGES.items():
            found[name] = lambda package=package: package(run.signals, peers)
    return found


def distributions(run: Run, folds: np.ndarray | None) -> dict[str, np.ndarray]:
    """(N, K) probabilities by where they come from."""
    found = {"run": probabilities.own(run.signals)}
    if run.signals.periods[0].metadata.get("mode") == "online":
        found["prequential"] = probabilities.prequential(run.signals)
        found["prequential, as they were"] = probabilities.prequential(run.signals, comparable=False)
    return found | ({"folds": folds} if folds is not None else {})


def quality(name: str, q: np.ndarray, gold: np.ndarray) -> Doubts:
    return {f"{kind} ({name})": -work(q, gold) for kind, work in confident.QUALITY.items()}


def combined(run: Run) -> Doubts:
    """Weights from errors planted upon those that are there; applied to this run. It never sees which are which."""
    extra = planted(run, 0.05, seed=1)
    learned = combine(scores.compute(extra.run.signals)[0], extra.wrong)
    best = best_score(scores.compute(extra.run.signals)[0], extra.wrong, count=2).row(0, named=True)["score"]
    own = scores.compute(run.signals)[0]
    return {"combined": learned.apply(own), "best by --calibrate": doubts({best: own[best]})[best]}


def cleanlab(name: str, q: np.ndarray, gold: np.ndarray) -> Doubts:
    from cleanlab.rank import get_label_quality_scores

    return {f"cleanlab {method} ({name})": -get_label_quality_scores(gold, q, method=method, adjust_pred_probs=False)
            for method in confident.QUALITY}  # fmt: skip


def flagged(name: str, q: np.ndarray, gold: np.ndarray, wrong: np.ndarray) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 of what cleanlab's filters flag."""
    found = {}
    for kind in confident.FILTERS:
        began = time.perf_counter()
        mask = confident.issues(q, gold, kind).flagged
        hits = int((mask & wrong).sum())
        precision, recall = hits / max(mask.sum(), 1), hits / max(wrong.sum(), 1)
        f1 = 2 * precision * recall / max(precision + recall, 1e-12)
        found[f"{kind} ({name})"] = {"flagged": int(mask.sum()), "precision": precision, "recall": recall, "f1": f1,
                                     "seconds": time.perf_counter() - began}  # fmt: skip
    return found


def measure(doubt: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    """Ties share their place: no order of the rows helps or harms."""
    values = np.where(np.isnan(doubt), -np.inf, doubt)
    finite = np.nan_to_num(values, posinf=1e300, neginf=-1e300)
    ap = best_score({"doubt": values}, wrong).row(0, named=True)
    k = int(wrong.sum())
    return {
        "ap": ap["average_precision"], "ap_low": ap["low"], "ap_high": ap["high"],
        "auroc": float(roc_auc_score(wrong, finite)),
        "precision_at_k": expected_precision(values, wrong, k),
        f"precision_at_{TOP}": expected_precision(values, wrong, min(TOP, len(wrong))),
    }  # fmt: skip


def expected_precision(values: np.ndarray, wrong: np.ndarray, k: int) -> float:
    """Share of wrong labels among the k most doubtful; those that tie at the cut count in part."""
    cut = np.sort(values)[::-1][k - 1]
    above, tied = values > cut, values == cut
    share = (k - above.sum()) / tied.sum()
    return float((wrong[above].sum() + share * wrong[tied].sum()) / k)
