"""Probabilities out of sample from one run: which outcomes count, which is taken, and what early ones are worth."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from leadline.errors import InputError
from leadline.signals import Period, Signals, complete, outcome, softmax
from leadline.suspects import platt
from leadline.suspects.probabilities import own, prequential


def signals(logits: np.ndarray, gold: np.ndarray, trained=None, recorded=None, step=None, modes=None) -> Signals:
    """A record of logits (E, N, K); (E, N) trained, recorded, step; a mode per epoch."""
    periods = []
    for e, z in enumerate(logits):
        given = {"logits": z.astype(np.float32)}
        for name, column in (("trained", trained), ("recorded", recorded), ("step", step)):
            given |= {} if column is None else {name: np.asarray(column)[e]}
        columns = complete(outcome(z, gold), **given)
        gone = ~columns["recorded"]
        columns["logits"][gone] = np.nan
        for name in ("loss", "gold_logprob", "margin", "entropy"):
            columns[name][gone] = np.nan
        periods.append(Period(columns, {"period": e + 1, "mode": modes[e] if modes else "online"}))
    return Signals(ids=[str(i) for i in range(len(gold))], gold=gold, periods=tuple(periods))


RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(3, 5, 3))
GOLD = np.array([0, 1, 2, 0, 1])
P = softmax(LOGITS.astype(np.float32))


def test_all_of_the_first_epoch_is_prequential_and_nothing_later():
    got = prequential(signals(LOGITS, GOLD), comparable=False)
    np.testing.assert_allclose(got, P[0], atol=1e-12)


def test_the_latest_outcome_from_before_the_first_training_is_taken():
    trained = [[1, 0, 0, 1, 0], [1, 1, 0, 1, 0], [1, 1, 1, 1, 0]]
    recorded = [[1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0]]
    got = prequential(signals(LOGITS, GOLD, np.array(trained, dtype=bool), np.array(recorded, dtype=bool)), False)
    # row 0: trained in epoch 1. Row 1: first trained in 2, whose outcome is later. Row 2: first trained in 3.
    # Row 3: trained in 1 without an outcome, so later ones are in sample. Row 4: never seen.
    np.testing.assert_allclose(got[:3], [P[0, 0], P[1, 1], P[2, 2]], atol=1e-12)
    assert np.isnan(got[3:]).all()


def test_snapshots_are_not_prequential_but_an_online_epoch_before_training_is():
    never = np.zeros((3, 5), dtype=bool)
    got = prequential(signals(LOGITS, GOLD, never, modes=["snapshot", "online", "snapshot"]), False)
    np.testing.assert_allclose(got, P[1], atol=1e-12)
    for modes, says in ((["snapshot"] * 3, "snapshot"), (["imported"] * 3, "imported")):
        with pytest.raises(InputError, match=f"recorded: {says}.*record.mode: online"):
            prequential(signals(LOGITS, GOLD, modes=modes))


def test_the_runs_own_probabilities_are_the_mean_over_epochs_and_in_sample():
    got = own(signals(LOGITS, GOLD))
    np.testing.assert_allclose(got, P.mean(axis=0), atol=1e-12)


def test_without_logits_a_sentence():
    bare = Period(
        {k: v for k, v in signals(LOGITS, GOLD).periods[0].columns.items() if k != "logits"}, {"mode": "online"}
    )
    run = Signals(ids=list("abcde"), gold=GOLD, periods=(bare,))
    for function in (prequential, own):
        with pytest.raises(InputError, match="need logits"):
            function(run)


# Early outcomes


def learning(n: int = 1200, wrong: int = 120, seed: int = 0) -> tuple[Signals, np.ndarray]:
    """One epoch of a model that knows nothing at first and prefers class 0; margins grow with the step."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    bad = np.zeros(n, dtype=bool)
    bad[rng.choice(n, wrong, replace=False)] = True
    gold = np.where(bad, 1 - truth, truth)
    step = rng.permutation(n) // 16
    knows = np.clip(step / step.max() * 1.5, 0, 1)
    logits = rng.normal(size=(1, n, 2)) * 0.8
    logits[0, np.arange(n), truth] += 3 * knows
    logits[0, :, 0] += 2.5 * (1 - knows)
    return signals(logits, gold, step=step[None]), bad


def test_outcomes_are_made_comparable_in_the_order_of_training():
    run, _ = learning()
    order = np.argsort(run.periods[0].step, kind="stable")
    got = prequential(run)
    np.testing.assert_allclose(got[order], platt.comparable(run.periods[0].logits[order], run.gold[order]))
    assert np.abs(got - prequential(run, comparable=False)).max() > 0.2


def test_using_the_step_finds_more_wrong_labels():
    found = {True: [], False: []}
    for seed in range(5):
        run, bad = learning(seed=seed)
        for way, values in found.items():
            q = prequential(run, comparable=way)
            values.append(average_precision_score(bad, -q[np.arange(len(bad)), run.gold]))
    assert np.mean(found[True]) > np.mean(found[False]) + 0.05 and np.mean(found[True]) > 0.7


def test_a_row_that_was_never_met_before_its_training_has_no_probabilities():
    n = 400
    rng = np.random.default_rng(2)
    recorded = np.ones((1, n), dtype=bool)
    recorded[0, 5] = False
    run = signals(rng.normal(size=(1, n, 2)), rng.integers(0, 2, n), recorded=recorded, step=rng.integers(0, 9, (1, n)))
    got = prequential(run)
    assert np.isnan(got[5]).all() and np.isnan(got).sum() == 2
