"""Confident learning: the worked example, and cleanlab 2.9.0 on random problems."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

cleanlab = pytest.importorskip("cleanlab")
from cleanlab import count, filter, rank  # noqa: E402

from leadline.errors import InputError, MissingExtra  # noqa: E402
from leadline.suspects import confident  # noqa: E402

Q = np.array(
    [[0.9, 0.05, 0.05], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.85, 0.05], [0.15, 0.6, 0.25], [0.55, 0.4, 0.05],
     [0.1, 0.2, 0.7], [0.05, 0.1, 0.85], [0.7, 0.1, 0.2], [0.3, 0.3, 0.4]]
)  # fmt: skip
Y = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])


def problem(seed: int, n: int = 300, k: int = 3, noise: float = 0.15, missing: tuple[int, ...] = ()):
    """Probabilities that know the true class fairly well, and labels of which some are wrong; `missing` never occur."""
    rng = np.random.default_rng(seed)
    classes = np.setdiff1d(np.arange(k), missing)
    truth = rng.choice(classes, n)
    labels = np.where(rng.random(n) < noise, rng.choice(classes, n), truth)
    logits = rng.normal(size=(n, k)) + 2.0 * np.eye(k)[truth]
    q = np.exp(logits)
    return q / q.sum(axis=1, keepdims=True), labels


PROBLEMS = [
    problem(0),
    problem(1, k=2),
    problem(2, n=2000, k=7, noise=0.3),
    problem(3, k=5, missing=(1, 3)),
    problem(4, n=40, k=4, noise=0.6),
]


# The worked example


def test_the_worked_example():
    np.testing.assert_allclose(confident.thresholds(Q, Y), [0.566667, 0.616667, 0.5375], atol=1e-6)
    assert confident.confident_joint(Q, Y).tolist() == [[2, 1, 0], [0, 1, 0], [1, 0, 2]]
    np.testing.assert_allclose(
        confident.calibrated_joint(Q, Y), [[2, 1, 0], [0, 3, 0], [1.333333, 0, 2.666667]], atol=1e-6
    )
    paper = [[0.2, 0.1, 0], [0, 0.3, 0], [0.133333, 0, 0.266667]]
    np.testing.assert_allclose(confident.joint(Q, Y), paper, atol=1e-6)
    rounded = [[0.2, 0.1, 0], [0, 0.3, 0], [0.1, 0, 0.3]]  # what cleanlab says, and not the paper
    np.testing.assert_allclose(confident.joint(Q, Y, cleanlab_compat=True), rounded, atol=1e-9)
    assert confident.expected_errors(Q, Y) == pytest.approx(2 + 1 / 3)


def test_label_quality_of_the_worked_example():
    want = {
        "self_confidence": [0.9, 0.6, 0.2, 0.85, 0.6, 0.4, 0.7, 0.85, 0.2, 0.4],
        "normalized_margin": [0.925, 0.65, 0.25, 0.875, 0.675, 0.425, 0.75, 0.875, 0.25, 0.55],
        "confidence_weighted_entropy": [
            0.841535, 0.631027, 0.421103, 0.795476, 0.62201, 0.557764, 0.685034, 0.795476, 0.421103, 0.503018
        ],
    }  # fmt: skip
    assert set(want) == set(confident.QUALITY)
    for name, values in want.items():
        np.testing.assert_allclose(confident.QUALITY[name](Q, Y), values, atol=1e-6)


@pytest.mark.parametrize("name", confident.FILTERS)
def test_filters_on_the_worked_example(name: str):
    got = confident.issues(Q, Y, filter_by=name)
    assert np.flatnonzero(got.flagged).tolist() == ([2, 5, 8] if name == "predicted_neq_given" else [2, 8])
    assert got.left_out == 0


# cleanlab


@pytest.mark.parametrize(("q", "y"), PROBLEMS)
def test_joint_and_thresholds_are_cleanlabs(q: np.ndarray, y: np.ndarray):
    np.testing.assert_allclose(confident.thresholds(q, y), count.get_confident_thresholds(y, q), atol=1e-12)
    raw = count.compute_confident_joint(y, q, calibrate=False)
    assert (confident.confident_joint(q, y) == raw).all()
    calibrated = count.compute_confident_joint(y, q, calibrate=True)
    ours = confident.calibrated_joint(q, y, cleanlab_compat=True)
    assert (ours == calibrated).all()
    assert ours.sum(axis=1).tolist() == np.bincount(y, minlength=q.shape[1]).tolist()
    exact = confident.calibrated_joint(q, y)
    assert exact.sum() == pytest.approx(len(y)) and np.abs(exact - ours).max() < 1.5


@pytest.mark.parametrize(("q", "y"), PROBLEMS)
@pytest.mark.parametrize("method", list(confident.QUALITY))
def test_label_quality_is_cleanlabs(q: np.ndarray, y: np.ndarray, method: str):
    theirs = rank.get_label_quality_scores(y, q, method=method)
    np.testing.assert_allclose(confident.QUALITY[method](q, y), theirs, atol=1e-9)


@pytest.mark.parametrize(("q", "y"), PROBLEMS)
@pytest.mark.parametrize("name", confident.FILTERS)
def test_rows_without_probabilities_change_nothing(q: np.ndarray, y: np.ndarray, name: str):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "May not flag all", UserWarning)  # of classes without rows
        theirs = filter.find_label_issues(y, q, filter_by=name, n_jobs=1)
    got = confident.issues(q, y, filter_by=name)
    assert (got.flagged == theirs).all() and theirs.any()
    gaps = np.arange(0, len(y) + 5, 3)[:5]
    more_q, more_y = np.insert(q, gaps, np.nan, axis=0), np.insert(y, gaps, 0)
    more = confident.issues(more_q, more_y, filter_by=name)
    there = ~np.isnan(more_q[:, 0])
    assert more.left_out == 5 and not more.flagged[~there].any()
    assert (more.flagged[there] == theirs).all()
    quality = confident.label_quality(more_q, more_y)
    assert np.isnan(quality[~there]).all()
    np.testing.assert_array_equal(quality[there], confident.self_confidence(q, y))
    assert confident.expected_errors(more_q, more_y) == confident.expected_errors(q, y)


def test_a_certain_label_has_the_highest_quality_and_a_certainly_wrong_one_the_lowest():
    """cleanlab has 0 for both; otherwise the numbers are its own."""
    q = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    got = confident.confidence_weighted_entropy(q, np.array([0, 0, 0]))
    theirs = rank.get_label_quality_scores(np.array([0, 0, 0]), q, method="confidence_weighted_entropy")
    assert got[0] == 1 and got[1] == 0
    np.testing.assert_allclose(got[1:], theirs[1:])


# What is refused


@pytest.mark.parametrize(
    ("q", "y", "options", "says"),
    [
        (Q, Y, {"filter_by": "prune_by_clas"}, "Did you mean `prune_by_class`"),
        (Q, Y[:3], {}, r"\(10, 3\) and \(3,\)"),
        (Q[:, :1], Y, {}, r"\(10, 1\)"),
        (Q, Y + 1, {}, "labels lie in 1 to 3, and there are 3 classes"),
        (Q, Y + 0.5, {}, "no class indices"),
        (Q * 2, Y, {}, "row 0 is no distribution"),
    ],
)
def test_impossible_arrays(q: np.ndarray, y: np.ndarray, options: dict[str, str], says: str):
    with pytest.raises(InputError, match=says):
        confident.issues(q, y, **options)


def test_probabilities_that_others_rounded_are_taken():
    """Published in float32 they add up to 1.00002 here and there; what is found is the same."""
    rounded = (Q * (1 + 2e-5 * (np.arange(len(Q)) % 2))[:, None]).astype(np.float32)
    rounded[1] = np.where(np.arange(Q.shape[1]) == Q[1].argmax(), 1.0000012, 2e-5)
    assert rounded.sum(axis=1).max() > 1 + 1e-5 and rounded.max() > 1
    exact = Q.copy()
    exact[1] = np.arange(Q.shape[1]) == Q[1].argmax()
    assert np.array_equal(confident.issues(rounded, Y).flagged, confident.issues(exact, Y).flagged)


def test_an_unknown_quality_names_the_known():
    with pytest.raises(InputError, match="no label quality `margin`"):
        confident.label_quality(Q, Y, "margin")


def test_without_cleanlab_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(MissingExtra, match=r"leadline\[audit\]"):
        confident.issues(Q, Y)
    assert confident.joint(Q, Y).sum() == pytest.approx(1)  # our own formulas do not need it
