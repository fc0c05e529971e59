"""Probabilities out of sample from one run: which outcomes count, which is taken, and what early ones are worth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from leadline.errors import InputError
from leadline.signals import Period, Signals, complete, outcome, softmax
from leadline.suspects import probabilities
from leadline.suspects.probabilities import INFORMED, informed, own, prequential


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
    got = prequential(signals(LOGITS, GOLD))
    np.testing.assert_allclose(got, P[0], atol=1e-12)


def test_the_latest_outcome_from_before_the_first_training_is_taken():
    trained = [[1, 0, 0, 1, 0], [1, 1, 0, 1, 0], [1, 1, 1, 1, 0]]
    recorded = [[1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0]]
    got = prequential(signals(LOGITS, GOLD, np.array(trained, dtype=bool), np.array(recorded, dtype=bool)))
    # row 0: trained in epoch 1. Row 1: first trained in 2, whose outcome is later. Row 2: first trained in 3.
    # Row 3: trained in 1 without an outcome, so later ones are in sample. Row 4: never seen.
    np.testing.assert_allclose(got[:3], [P[0, 0], P[1, 1], P[2, 2]], atol=1e-12)
    assert np.isnan(got[3:]).all()


def test_snapshots_are_not_prequential_but_an_online_epoch_before_training_is():
    never = np.zeros((3, 5), dtype=bool)
    got = prequential(signals(LOGITS, GOLD, never, modes=["snapshot", "online", "snapshot"]))
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
    np.testing.assert_allclose(informed(run, "raw"), -bare.columns["margin"])  # needs none


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


def test_rolling_mean_and_deviation_are_those_of_the_window():
    x = np.random.default_rng(1).normal(50, 2, size=30)
    mean, sd = probabilities._rolling(x, window=7)
    for at in range(30):
        start = min(max(at - 3, 0), 23)
        assert mean[at] == pytest.approx(x[start : start + 7].mean())
        assert sd[at] == pytest.approx(x[start : start + 7].std())
    mean, sd = probabilities._rolling(x, window=200)  # fewer outcomes than the window
    np.testing.assert_allclose((mean, sd), (np.full(30, x.mean()), np.full(30, x.std())))


def test_standardised_doubt_is_a_z_within_class_and_time():
    run, _ = learning()
    doubt, gold, step = informed(run, "standardised"), run.gold, run.periods[0].step
    for part in (step < 25, step > 50):
        for k in (0, 1):
            values = doubt[part & (gold == k)]
            assert abs(values.mean()) < 0.3 and 0.8 < values.std() < 1.2
    raw = informed(run, "raw")
    np.testing.assert_allclose(raw, -run.periods[0].margin)
    early_gap = raw[(step < 15) & (gold == 1)].mean() - raw[(step < 15) & (gold == 0)].mean()
    assert early_gap > 3  # what is taken out: the class that the model prefers while it knows nothing


def test_what_an_uninformed_model_says_counts_nothing():
    run, _ = learning()
    doubt, step = informed(run, "weighted"), run.periods[0].step
    assert np.abs(doubt[step < 3]).max() < 0.25 < doubt[step > 60].std()


def test_using_the_step_finds_more_wrong_labels():
    from sklearn.metrics import average_precision_score

    found = {name: [] for name in INFORMED}
    for seed in range(5):
        run, bad = learning(seed=seed)
        for name, values in found.items():
            values.append(average_precision_score(bad, informed(run, name)))
    assert np.mean(found["standardised"]) > np.mean(found["raw"]) + 0.05
    assert np.mean(found["standardised"]) > 0.7


def test_a_small_class_is_compared_with_all_and_a_row_without_outcome_has_no_doubt():
    n = 400
    rng = np.random.default_rng(2)
    gold = np.where(np.arange(n) < 30, 1, 0)
    recorded = np.ones((1, n), dtype=bool)
    recorded[0, 5] = False
    run = signals(rng.normal(size=(1, n, 2)), gold, recorded=recorded, step=rng.integers(0, 9, (1, n)))
    doubt = informed(run, "standardised")
    assert np.isnan(doubt[5]) and np.isnan(doubt).sum() == 1
    outcomes = probabilities.early(run)
    z = probabilities._z(outcomes.margin)
    small = outcomes.gold == 1
    np.testing.assert_allclose(doubt[outcomes.rows[small]], -z[small])
    assert stats.spearmanr(doubt[outcomes.rows[~small]], -outcomes.margin[~small]).statistic > 0.9


def test_ties_and_single_rows_have_no_infinite_doubt():
    run = signals(np.zeros((1, 250, 2)), np.zeros(250, dtype=int))
    for name in INFORMED:
        assert (informed(run, name) == 0).all()
    one = signals(np.array([[[2.0, 0.5]]]), np.array([0]))
    assert informed(one, "standardised").tolist() == [0.0]


def test_unknown_variants_and_regressions_are_refused():
    run, _ = learning(200, 20)
    with pytest.raises(InputError, match="no variant `best`; there are raw, standardised, weighted"):
        informed(run, "best")
    numbers = Signals(ids=run.ids, gold=run.gold + 0.5, periods=run.periods)
    with pytest.raises(InputError, match="no classes"):
        informed(numbers)
