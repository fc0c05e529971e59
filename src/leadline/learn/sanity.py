"""Does training work? Three facts of every run, and two small experiments (`leadline train --check`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from leadline.evaluate import wilson
from leadline.learn.loop import Fit, Material
from leadline.learn.predict import predict
from leadline.recipe import Training
from leadline.signals import Signals

ONE_BATCH_STEPS = 100
LEARNED = 0.1  # nats: a batch with a mean loss below this is known by heart
SHUFFLED = 1000  # examples of the experiment with shuffled labels


@dataclass(frozen=True)
class Check:
    name: str
    passed: bool
    says: str

    def event(self) -> dict[str, Any]:
        return {"name": self.name, "passed": self.passed, "says": self.says}


def of_record(signals: Signals, whole: bool = True) -> list[Check]:
    """From the record alone: the loss starts near log K, it falls, and no example is without an outcome.

    whole  every epoch trained on every example; where a selection or a curriculum left some out, none is missed
    """
    checks = []
    first, last = signals.periods[0], signals.periods[-1]
    both = first.recorded & last.recorded  # of a curriculum the first epoch has other examples than the last
    if signals.classes:
        checks.append(_starts_at_chance(signals))
    if signals.n_epochs > 1 and both.any():
        losses = [float(np.nanmean(period.loss[both])) for period in (first, last)]
        says = f"mean training loss {losses[0]:.3f} in the first recorded epoch, {losses[1]:.3f} in the last"
        checks.append(Check("loss falls", losses[1] < losses[0], says))
    if not whole:
        return checks
    missing = sum(int((~period.recorded).sum()) for period in signals.periods)
    says = f"{missing} of {len(signals) * signals.n_epochs} outcomes are missing"
    return [*checks, Check("every example has an outcome", missing == 0, says)]


def _starts_at_chance(signals: Signals) -> Check:
    """A new head knows nothing, so its first losses lie near log K; far above points to a label or scaling mistake."""
    first = signals.periods[0]
    earliest = np.flatnonzero(first.recorded)
    earliest = earliest[np.argsort(first.step[earliest], kind="stable")][:64]
    if first.step[earliest].max(initial=0) > 8:  # snapshots, or a record that starts later: nothing to see
        return Check("loss starts near log K", True, "not seen: the first recorded outcomes came after updates")
    start, chance = float(first.loss[earliest].mean()), math.log(len(signals.classes))
    says = f"{start:.3f} over the first {len(earliest)} examples; a guess among {len(signals.classes)} is {chance:.3f}"
    return Check("loss starts near log K", abs(start - chance) < 0.2 + 0.3 * chance, says)


def overfit_one_batch(fit: Callable[[Material, Training], Fit], material: Material, training: Training) -> Check:
    """A fresh model learns one batch by heart in at most ONE_BATCH_STEPS updates, dropout and all."""
    rows = np.arange(min(training.batch_size, len(material.lengths)))
    short = training.model_copy(
        update={"epochs": ONE_BATCH_STEPS, "schedule": "constant", "warmup": 0.0, "early_stopping": None}
    )
    trial = fit(part(material, rows), short)
    trial.run()
    found = _outcomes(trial)
    loss = float(found["loss"].mean())
    says = f"mean loss {loss:.3f} on {len(rows)} examples after {ONE_BATCH_STEPS} updates (below {LEARNED} expected)"
    return Check("one batch is learned by heart", loss < LEARNED, says)


def shuffled_labels(fit: Callable[[Material, Training], Fit], material: Material, training: Training) -> Check:
    """Trained on shuffled labels, a model is no better on unseen examples than the largest class."""
    rng = np.random.default_rng([training.seed, 7])
    rows = rng.permutation(len(material.lengths))[: 2 * SHUFFLED]
    half = len(rows) // 2
    hard = material.targets if material.targets.ndim == 1 else material.targets.argmax(axis=1)
    shuffled = replace(part(material, rows[:half]), targets=rng.permutation(hard[rows[:half]]))
    trial = fit(shuffled, training.model_copy(update={"epochs": min(2, training.epochs), "early_stopping": None}))
    trial.run()
    unseen = replace(part(material, rows[half:]), targets=hard[rows[half:]])
    right = int((_outcomes(trial, unseen)["correct"] == 1).sum())
    n, majority = len(rows) - half, np.bincount(hard[rows[half:]]).max() / (len(rows) - half)
    low, _ = wilson(right, n)
    says = f"accuracy {right / n:.3f} on {n} unseen examples; the largest class alone gives {majority:.3f}"
    return Check("shuffled labels fall to chance", low <= majority, says)


def part(material: Material, rows: np.ndarray) -> Material:
    """Only these rows, all of weight 1."""
    return Material(
        encoded=[material.encoded[row] for row in rows],
        targets=material.targets[rows],
        lengths=material.lengths[rows],
        weights=np.ones(len(rows)),
        n_classes=material.n_classes,
    )


def _outcomes(trial: Fit, on: Material | None = None) -> Mapping[str, np.ndarray]:
    material = on or trial.material
    encoded: Sequence[Any] = material.encoded
    return predict(trial.net, trial.task, encoded, material.targets, trial.accelerator.device)
