"""Outcomes of a model that was still learning, made comparable."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from leadline.suspects import platt


def learning(m=3000, k=3, seed=0, wrong=0.1):
    """Logits of a model that leans to class 0 at first and knows more and more: (z, given labels, which are wrong)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=m)
    known = 4 * np.linspace(0, 1, m)[:, None] ** 0.5
    z = known * np.eye(k)[truth] + rng.normal(size=(m, k)) * (0.2 + known / 4)
    z[:, 0] += np.linspace(3, 0, m)
    flipped = rng.random(m) < wrong
    return z, np.where(flipped, (truth + rng.integers(1, k, size=m)) % k, truth), flipped


@pytest.mark.parametrize("m", [1, 50, 399, 400, 2000, 10_000, 1_000_000])
def test_windows_cover_every_outcome_and_grow(m):
    edges = platt.windows(m)
    widths = np.diff(edges)
    assert edges[0] == 0 and edges[-1] == m and (widths > 0).all()
    if m >= 400:
        assert widths.min() >= 200 and (widths[:-1] <= np.maximum(200, edges[:-2] / 4)).all()
        assert len(widths) < 50


def test_the_fit_of_a_window_is_that_of_logistic_regression():
    rng = np.random.default_rng(1)
    margin = rng.normal(size=400)
    y = (rng.random(400) < 1 / (1 + np.exp(-(0.4 + 2.5 * margin)))).astype(int)
    z = np.stack([np.zeros(400), margin], axis=1)
    a, *b = platt.fitted(z, y)
    known = LogisticRegression(C=np.inf).fit(margin[:, None], y)
    assert a == pytest.approx(known.coef_[0, 0], rel=0.02) and b[1] - b[0] == pytest.approx(
        known.intercept_[0], rel=0.05
    )


def test_the_fit_has_no_better_neighbour():
    z, y, _ = learning(300)
    best = platt.fitted(z, y)

    def loss(p):
        log_p = log_softmax(p[0] * z + p[1:], axis=1)[np.arange(300), y].sum()
        return platt.STIFF / 2 * (p[0] - 1) ** 2 + platt.RIDGE / 2 * (p[1:] ** 2).sum() - log_p

    rng = np.random.default_rng(2)
    assert all(loss(best + 0.05 * rng.normal(size=4)) > loss(best) for _ in range(50))


def test_what_a_model_knew_nothing_of_becomes_the_shares_of_the_labels():
    rng = np.random.default_rng(3)
    z = rng.normal(size=(2000, 2)) + [5, 0]  # sure of class 0, whatever the text
    y = (rng.random(2000) < 0.3).astype(int)
    q = platt.comparable(z, y)
    assert np.allclose(q.sum(axis=1), 1) and abs(np.median(q[:, 1]) - 0.3) < 0.05 and q[:, 1].max() < 0.5


def test_wrong_labels_are_found_better_than_by_the_logits_as_they_are():
    z, y, wrong = learning()
    at = np.arange(len(y))
    before, after = softmax(z, axis=1)[at, y], platt.comparable(z, y)[at, y]
    assert average_precision_score(wrong, -after) > average_precision_score(wrong, -before) + 0.05


def test_an_absent_option_stays_absent_and_certainty_stays_finite():
    z = np.array([[2.0, -np.inf, 0.0]] * 100 + [[-900.0, -np.inf, 900.0]] * 100)
    q = platt.comparable(z, np.array([0] * 100 + [2] * 100))
    assert np.isfinite(q).all() and q[:, 1].max() < 1e-3
