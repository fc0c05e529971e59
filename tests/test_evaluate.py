"""Every number against a hand calculation or another implementation (scikit-learn, scipy, brute force)."""

import re
from itertools import permutations
from math import log, sqrt

import numpy as np
import polars as pl
import pytest
from scipy import spatial, stats
from sklearn import metrics as sk

from leadline import evaluate
from leadline.errors import InputError
from leadline.evaluate import METRICS, intervals
from leadline.signals import softmax
from worked_example import CONFIDENCE, CORRECT, LABELS, LOGITS


def near(value, atol=1e-6):
    return pytest.approx(value, abs=atol, rel=0)


def answers(n=60, k=3, seed=0, signal=1.0):
    """Labels (N,) and probabilities (N, K) of a middling model; the probabilities are rounded, so that some tie."""
    rng = np.random.default_rng(seed)
    y = rng.integers(k, size=n)
    z = rng.normal(size=(n, k)) + signal * np.eye(k)[y]
    return y, softmax(np.round(z, 1))


def distributions(n, k, seed):
    return softmax(np.random.default_rng(seed).normal(size=(n, k)) * 2)


# --- metrics by hand ---


def test_thirteen_answers_by_hand():
    """Confusion (rows labels) [[1, 0, 1], [0, 3, 4], [2, 1, 1]]; p = .7 .2 .1 where right, .6 .3 .1 where wrong."""
    table = [[1, 0, 1], [0, 3, 4], [2, 1, 1]]
    y, p = [], []
    for label in range(3):
        for said in range(3):
            rest = [c for c in range(3) if c not in (label, said)]
            row = np.zeros(3)
            if said == label:
                row[said], row[rest[0]], row[rest[1]] = 0.7, 0.2, 0.1
            else:
                row[said], row[label], row[rest[0]] = 0.6, 0.3, 0.1
            y += [label] * table[label][said]
            p += [row] * table[label][said]
    assert evaluate.confusion(y, np.argmax(p, axis=1), 3).tolist() == table
    got = evaluate.metrics(y, p, ["a", "b", "c"])
    assert got == {
        "accuracy": near(5 / 13),
        "macro_f1": near(21 / 55),
        "micro_f1": near(5 / 13),
        "macro_precision": near(5 / 12),
        "macro_recall": near(11 / 28),
        "f1[a]": near(2 / 5),
        "f1[b]": near(6 / 11),
        "f1[c]": near(1 / 5),
        "precision[a]": near(1 / 3),
        "precision[b]": near(3 / 4),
        "precision[c]": near(1 / 6),
        "recall[a]": near(1 / 2),
        "recall[b]": near(3 / 7),
        "recall[c]": near(1 / 4),
        "mcc": near((13 * 5 - (2 * 3 + 7 * 4 + 4 * 6)) / sqrt((169 - 4 - 49 - 16) * (169 - 9 - 16 - 36))),
        "nll": near(-(5 * log(0.7) + 8 * log(0.3)) / 13),
        "brier": near((5 * 0.14 + 8 * 0.86) / 13),
        "ece": near((5 * 0.3 + 8 * 0.6) / 13),
        "ece_mass": near((5 * 0.3 + 8 * 0.6) / 13),  # every row has a bin of its own
        "mce": near(0.6),
        "rms_calibration": near(sqrt((5 * 0.3**2 + 8 * 0.6**2) / 13)),
        # of a right row .3 + .2 + .1 over the classes, of a wrong one .7 + .6 + .1; in no bin do signs differ
        "ece_classwise": near((5 * 0.6 + 8 * 1.4) / 39),
        "ece_adaptive": near((5 * 0.6 + 8 * 1.4) / 39),
        "aurc": near(sum((k - 5) / k for k in range(6, 14)) / 13),  # the five right rows are the surest
        "e_aurc": near(0),
    }
    assert list(got) == list(evaluate.metrics(y, p, ["a", "b", "c"], list(got)))


def test_soft_targets_by_hand():
    y, p = np.array([[0.5, 0.5], [0.1, 0.9]]), np.array([[0.8, 0.2], [0.3, 0.7]])
    got = evaluate.metrics(y, p, ["no", "yes"])
    assert got["accuracy"] == 1.0  # the tie of the first label goes to the lower class
    assert (
        got["nll"]
        == got["cross_entropy"]
        == near(-(0.5 * log(0.8) + 0.5 * log(0.2) + 0.1 * log(0.3) + 0.9 * log(0.7)) / 2)
    )
    assert got["brier"] == near((2 * 0.09 + 2 * 0.04) / 2)
    # every row has bins of its own: |p - Y| of each class, and not that to the class which is larger
    assert got["ece_classwise"] == got["ece_adaptive"] == near((2 * 0.3 + 2 * 0.2) / 4)
    assert got["ece"] == near((0.2 + 0.3) / 2)  # of right and wrong: both are right
    expected = [spatial.distance.jensenshannon(a, b) ** 2 for a, b in zip(p, y, strict=True)]
    assert got["jensen_shannon"] == near(np.mean(expected), 1e-12)
    certain = evaluate.metrics(np.eye(2), np.eye(2)[::-1], ["no", "yes"], ["jensen_shannon", "cross_entropy", "nll"])
    assert certain == {"jensen_shannon": near(log(2)), "cross_entropy": near(12 * log(10)), "nll": near(12 * log(10))}


def test_jensen_shannon_of_the_worked_example():
    p, y = softmax([[0.4, 1.1, -0.3]]), softmax([[0.9, 0.2, -0.5]])
    assert evaluate.metrics(y, p, "abc", "jensen_shannon") == {"jensen_shannon": near(0.049531)}


def test_two_classes_by_hand():
    """Of 2 x 2 pairs 3 are ordered rightly; precision 1 at recall 1/2, then 2/3 at recall 1."""
    second = np.array([0.1, 0.4, 0.35, 0.8])
    got = evaluate.metrics([0, 0, 1, 1], np.c_[1 - second, second], ["no", "yes"], ["auroc", "average_precision"])
    assert got == {"auroc": 0.75, "average_precision": near(0.5 * 1 + 0.5 * 2 / 3)}
    tied = evaluate.metrics([0, 1, 1], np.full((3, 2), 0.5), ["no", "yes"], ["auroc", "average_precision", "accuracy"])
    assert tied == {"auroc": 0.5, "average_precision": near(2 / 3), "accuracy": near(1 / 3)}


def test_regression_by_hand():
    got = evaluate.metrics([3, -0.5, 2, 7], [2.5, 0.0, 2, 8])
    assert got == {
        "rmse": near(sqrt(0.375)),
        "mae": 0.5,
        "pearson": near(stats.pearsonr([3, -0.5, 2, 7], [2.5, 0.0, 2, 8]).statistic),
        "spearman": near(1),  # ordered alike
        "r2": near(1 - 1.5 / 29.1875),
    }


# --- metrics against scikit-learn and scipy ---


one_label = pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")  # scikit-learn's, not ours


def by_sklearn(y, p, soft=None):
    said, k = p.argmax(1), p.shape[1]
    each = sk.precision_recall_fscore_support(y, said, labels=range(k), zero_division=0)
    macro = sk.precision_recall_fscore_support(y, said, average="macro", zero_division=0)
    want = {
        "accuracy": sk.accuracy_score(y, said),
        "macro_f1": macro[2],
        "micro_f1": sk.f1_score(y, said, average="micro"),
        "macro_precision": macro[0],
        "macro_recall": macro[1],
        "mcc": sk.matthews_corrcoef(y, said),
        "nll": sk.log_loss(y, np.maximum(p, 1e-12), labels=range(k)),
        "brier": ((p - (np.eye(k)[y] if soft is None else soft)) ** 2).sum(1).mean(),
    }
    for name, values in zip(("precision", "recall", "f1"), each[:3], strict=True):
        want |= {f"{name}[{c}]": values[c] for c in range(k)}
    if k == 2:
        both = len(set(y)) == 2
        want["auroc"] = sk.roc_auc_score(y, p[:, 1]) if both else np.nan
        want["average_precision"] = sk.average_precision_score(y, p[:, 1]) if 1 in y else np.nan
    return want


@one_label
@pytest.mark.parametrize(("n", "k", "seed"), [(1, 2, 0), (2, 2, 1), (300, 2, 2), (300, 7, 3), (12, 9, 4), (5, 40, 5)])
def test_classification_as_scikit_learn(n, k, seed):
    y, p = answers(n, k, seed)
    got = evaluate.metrics(y, p, [str(c) for c in range(k)])
    for name, value in by_sklearn(y, p).items():
        assert got[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name


def test_classes_that_nobody_mentions_stay_out_of_the_macro_average():
    """Labels 0 0 1, predictions 0 0 2: class 1 (missed) and class 2 (invented) are 0, class 3 is not averaged."""
    got = evaluate.metrics([0, 0, 1], np.eye(4)[[0, 0, 2]], "abcd", ["macro_f1", "macro_recall", "f1", "precision"])
    assert got["macro_f1"] == near(1 / 3) and got["macro_recall"] == near(1 / 3)
    assert [got[f"f1[{c}]"] for c in "abcd"] == [1, 0, 0, 0]
    assert [got[f"precision[{c}]"] for c in "abcd"] == [1, 0, 0, 0]


@pytest.mark.parametrize("digits", [0, 3])  # 0: many ties
def test_regression_as_scikit_learn_and_scipy(digits):
    rng = np.random.default_rng(1)
    x = np.round(rng.normal(5, 2, 200), digits)
    y = np.round(x + rng.normal(0, 1.5, 200), digits)
    assert evaluate.metrics(x, y) == {
        "rmse": near(sk.root_mean_squared_error(x, y), 1e-12),
        "mae": near(sk.mean_absolute_error(x, y), 1e-12),
        "pearson": near(stats.pearsonr(x, y).statistic, 1e-12),
        "spearman": near(stats.spearmanr(x, y).statistic, 1e-12),
        "r2": near(sk.r2_score(x, y), 1e-12),
    }


@pytest.mark.parametrize(("truth", "said"), [([0.1] * 7, np.arange(7.0)), (np.arange(7.0), [0.1] * 7), ([2.0], [1.0])])
def test_correlation_with_a_constant_is_undefined(truth, said):
    got = evaluate.metrics(truth, said)
    assert np.isnan(got["pearson"]) and np.isnan(got["spearman"])
    assert np.isnan(got["r2"]) == (len(set(truth)) == 1)
    assert np.isfinite([got["rmse"], got["mae"]]).all()


def test_one_class_present():
    got = evaluate.with_intervals([1, 1, 1], [[0.2, 0.8], [0.6, 0.4], [0.3, 0.7]], ["no", "yes"], repeats=50)
    assert np.isnan(got["auroc"]["value"]) and np.isnan(got["auroc"]["low"])
    assert got["average_precision"]["value"] == 1 and got["mcc"]["value"] == 0
    assert got["recall[no]"] == {"value": 0, "low": 0, "high": 0, "n": 0}
    assert got["recall[yes]"]["value"] == near(2 / 3) and got["recall[yes]"]["n"] == 3


# --- the table of metrics ---


def everything(n=200, k=2, seed=0):
    """All metrics: soft labels of two classes, and numbers."""
    y = distributions(n, k, seed)
    p = softmax(np.log(y) + np.random.default_rng(seed + 1).normal(size=y.shape))
    x = np.random.default_rng(seed).normal(size=n)
    return y, p, x, x + np.random.default_rng(seed + 1).normal(size=n)


def all_metrics(y, p, x, said):
    return evaluate.metrics(y, p, ["no", "yes"]) | evaluate.metrics(x, said)


def test_every_metric_is_computed_within_its_range_and_says_what_it_is():
    got = all_metrics(*everything())
    assert {name.partition("[")[0] for name in got} == set(METRICS)
    for name, value in got.items():
        low, high = METRICS[name.partition("[")[0]].range
        assert low <= value <= high, name
    assert all(metric.says.endswith(".") for metric in METRICS.values())
    assert len({metric.says for metric in METRICS.values()}) == len(METRICS)


def test_every_metric_improves_when_answers_do():
    y, p, x, said = everything(2000)
    bad, good = all_metrics(y, p, x, said), all_metrics(y, 0.2 * p + 0.8 * y, x, 0.2 * said + 0.8 * x)
    calibration = set(evaluate.CALIBRATION) - {"ece_soft"}  # about confidence, not about being right
    for name in bad.keys() - calibration - {"ece_soft"}:
        assert (good[name] > bad[name]) == METRICS[name.partition("[")[0]].higher_is_better, name
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 5000)
    right = rng.random(5000) < confidence
    calibrated, over = [np.c_[c, 1 - c] for c in (confidence, np.sqrt(confidence))]
    for name in calibration:
        assert not METRICS[name].higher_is_better
        values = [evaluate.metrics((~right).astype(int), p, ["a", "b"], name)[name] for p in (calibrated, over)]
        assert values[0] < values[1], name


def test_no_metric_depends_on_the_order_of_rows():
    arrays = [np.round(a, 2) for a in everything(97)]  # ties
    arrays[:2] = [a / a.sum(1, keepdims=True) for a in arrays[:2]]
    order = np.random.default_rng(5).permutation(97)
    assert all_metrics(*(a[order] for a in arrays)) == pytest.approx(all_metrics(*arrays), abs=1e-12)


def test_find_metric():
    assert evaluate.find_metric("f1[spam]") is METRICS["f1"]
    assert evaluate.find_metric("nll").higher_is_better is False
    for wrong, advice in [("macro_f", "macro_f1"), ("accuracy[spam]", "accuracy"), ("f1[spam", "f1")]:
        with pytest.raises(InputError, match=f"unknown metric .*Did you mean `{advice}`"):
            evaluate.find_metric(wrong)


# --- errors ---


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([], np.zeros((0, 2)), "no rows"),
        ([0, 1, 1], [[0.5, 0.5], [0.3, 0.7], [0.9, 0.2]], r"row 2 \(counted from 0\) sums to 1.1"),
        ([0, 1, 1], [[0.5, 0.5], [3.0, -2.0], [2.0, -1.0]], r"row 1 .*negative.*\(2 such rows\)"),
        ([0, 1], [[0.5, 0.5], [np.nan, 1]], "row 1 .*not finite"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], "labels: row 1 .*is 2, but there are 2 classes"),
        ([0, -1], [[0.5, 0.5], [0.5, 0.5]], "labels: row 1 .*is -1"),
        (["no"], [[0.5, 0.5]], "class indices"),
        ([0, 1], [[0.5, 0.5]], "2 and 1 rows"),
        ([0], [[0.2, 0.3, 0.5]], "3 columns for 2 classes"),
        ([[0.5, 0.6]], [[0.5, 0.5]], "labels: row 0 .*sums to 1.1"),
        ([[0.2, 0.3, 0.5]], [[0.5, 0.5]], "labels: 3 columns"),
        ([0], [0.5], "one column per class"),
    ],
)
def test_bad_input_is_named(labels, probabilities, message):
    for function in (evaluate.metrics, evaluate.with_intervals):
        with pytest.raises(InputError, match=message):
            function(labels, probabilities, ["no", "yes"])


def test_rounded_probabilities_are_taken_as_they_are():
    got = evaluate.metrics([0], [[0.333, 0.333, 0.333]], "abc", "nll")  # three decimals of 1/3
    assert got["nll"] == near(-log(0.333), 1e-12)
    with pytest.raises(InputError, match="sums to 0.99, not 1"):
        evaluate.metrics([0], [[0.33, 0.33, 0.33]], "abc", "nll")


def test_bad_numbers_and_names():
    with pytest.raises(InputError, match="labels: no rows"):
        evaluate.metrics([], [])
    with pytest.raises(InputError, match="predictions: row 1 .*is inf"):
        evaluate.metrics([1.0, 2.0], [1.0, np.inf])
    with pytest.raises(InputError, match="occurs twice"):
        evaluate.metrics([0], [[0.5, 0.5]], ["a", "a"])
    with pytest.raises(InputError) as error:
        evaluate.metrics([0, 1, 2], np.eye(3), ["a", "b", "spam"], ["acuracy", "auroc", "f1[span]", "rmse", "nll"])
    assert len(str(error.value).splitlines()) == 5  # a headline and the four that are wrong
    for part in ("`accuracy`", "`auroc` needs two classes", "Did you mean `spam`", "`rmse` needs numbers"):
        assert part in str(error.value)


# --- the bootstrap ---


def test_resamples_are_draws_with_replacement():
    (w,) = evaluate.resamples(50, 4000, seed=3)
    assert w.shape == (50, 4000) and (w.sum(0) == 50).all() and (w == w.round()).all() and (w >= 0).all()
    assert w.mean() == 1 and abs(w.mean(1) - 1).max() < 0.06  # 4 standard errors
    assert w.var() == near(1 - 1 / 50, 0.02)
    assert np.corrcoef(w[:2])[0, 1] == near(-1 / 49, 0.06)


def test_resamples_depend_on_the_seed_and_not_on_blocks(monkeypatch):
    (whole,) = evaluate.resamples(50, 20, seed=3)
    monkeypatch.setattr(intervals, "CELLS", 350)
    blocks = list(evaluate.resamples(50, 20, seed=3))
    assert [b.shape[1] for b in blocks] == [7, 7, 6] and (np.hstack(blocks) == whole).all()
    assert (next(evaluate.resamples(50, 20, seed=4)) != whole[:, :7]).any()


def test_ranks_of_resampled_rows():
    values, w = np.array([0.4, 0.1, 0.4, 0.9, 0.2]), np.array([[2, 1], [0, 1], [1, 1], [2, 1], [0, 1]])
    ranks = intervals.TiedBlocks(values).mid_ranks(w.astype(float))
    assert ranks[[0, 2, 3], 0].tolist() == [2, 2, 4.5]  # of .4 .4 .4 .9 .9
    assert ranks[:, 1].tolist() == stats.rankdata(values).tolist()


def naive_intervals(function, w):
    """Rows really repeated, the metrics really computed again on each resample: name -> (low, high)."""
    draws = [function(np.repeat(np.arange(len(w)), column.astype(int))) for column in w.T]
    values = {name: np.array([draw[name] for draw in draws]) for name in draws[0]}
    return {
        name: tuple(near(np.percentile(v[~np.isnan(v)], q), 1e-9) for q in (2.5, 97.5)) for name, v in values.items()
    }


def lows_and_highs(got):
    return {name: (entry["low"], entry["high"]) for name, entry in got.items()}


@one_label
@pytest.mark.parametrize(("k", "n"), [(2, 40), (5, 25), (2, 7)])
def test_intervals_as_a_naive_bootstrap_with_scikit_learn(k, n, monkeypatch):
    y, p = answers(n, k, seed=k)
    w = np.hstack(list(evaluate.resamples(n, 60, seed=9)))
    monkeypatch.setattr(intervals, "CELLS", 13 * n)

    def again(rows):
        confidence, right = p[rows].max(axis=1), p[rows].argmax(axis=1) == y[rows]
        ece, mce = evaluate.calibration_error(confidence, right)
        mass, _ = evaluate.calibration_error(confidence, right, scheme="mass")
        return by_sklearn(y[rows], p[rows]) | {
            "ece": ece,
            "mce": mce,
            "ece_mass": mass,
            "rms_calibration": evaluate.rms_calibration_error(confidence, right),
            "ece_classwise": evaluate.classwise_error(p[rows], y[rows]),
            "aurc": evaluate.aurc(confidence, right),
            "e_aurc": evaluate.e_aurc(confidence, right),
        }

    got = evaluate.with_intervals(y, p, [str(c) for c in range(k)], repeats=60, seed=9)
    want = naive_intervals(again, w)
    got.pop("ece_adaptive")  # keeps its bins in resamples
    # the basic interval: the percentiles mirrored at the value, within [0, 1]
    for name in ("ece", "ece_mass", "mce", "rms_calibration", "ece_classwise"):
        value, (low, high) = got[name]["value"], (bound.expected for bound in want[name])
        mirrored = min(2 * value - high, value), max(2 * value - low, value)
        want[name] = tuple(near(float(np.clip(bound, 0, 1)), 1e-9) for bound in mirrored)
    assert lows_and_highs(got) == want


def test_interval_of_ece_holds_the_truth_more_often_than_its_percentiles():
    """ECE of few rows lies above the truth, and its resamples higher still: mirrored, they come back."""
    rng = np.random.default_rng(1)

    def sample(n):
        p = softmax(rng.normal(size=(n, 3)))
        truth = 0.7 * p + 0.3 * np.array([0.5, 0.3, 0.2])
        return (rng.random(n)[:, None] > truth.cumsum(axis=1)).sum(axis=1), p

    truth = evaluate.metrics(*sample(400_000), "abc", ["ece"])["ece"]
    held = mirrored = 0
    for seed in range(100):
        got = evaluate.with_intervals(*sample(200), "abc", ["ece"], repeats=100, seed=seed)["ece"]
        held += got["low"] <= truth <= got["high"]
        mirrored += 2 * got["value"] - got["high"] <= truth <= 2 * got["value"] - got["low"]  # the percentiles again
    assert held >= 80 > mirrored


def test_intervals_of_regression_and_soft_targets_as_a_naive_bootstrap():
    y, p, x, said = everything(30)
    x, said = np.round(x, 1), np.round(said, 1)
    w = np.hstack(list(evaluate.resamples(30, 60, seed=2)))

    def numbers_again(i):
        return {
            "rmse": sk.root_mean_squared_error(x[i], said[i]),
            "mae": sk.mean_absolute_error(x[i], said[i]),
            "pearson": stats.pearsonr(x[i], said[i]).statistic,
            "spearman": stats.spearmanr(x[i], said[i]).statistic,
            "r2": sk.r2_score(x[i], said[i]),
        }

    def soft_again(i):
        divergence = spatial.distance.jensenshannon(p[i], y[i], axis=1) ** 2
        return {
            "cross_entropy": -(y[i] * np.log(p[i])).sum(axis=1).mean(),
            "jensen_shannon": divergence.mean(),
            "brier": ((p[i] - y[i]) ** 2).sum(axis=1).mean(),
        }

    got = evaluate.with_intervals(x, said, repeats=60, seed=2)
    assert lows_and_highs(got) == naive_intervals(numbers_again, w)
    names = ["cross_entropy", "jensen_shannon", "brier"]
    got = evaluate.with_intervals(y, p, ["a", "b"], names, repeats=60, seed=2)
    assert lows_and_highs(got) == naive_intervals(soft_again, w)


def test_coverage_of_the_interval():
    """Of 200 samples of 200 rows from a known source, about 95 % of the 95 % intervals hold the truth."""
    rng = np.random.default_rng(0)

    def sample(n):
        p = softmax(rng.normal(size=(n, 3)))
        truth = 0.7 * p + 0.3 * np.array([0.5, 0.3, 0.2])
        return (rng.random(n)[:, None] > truth.cumsum(axis=1)).sum(axis=1), p

    names = ["accuracy", "macro_f1", "mcc", "nll", "brier", "f1[c]"]
    truth = evaluate.metrics(*sample(400_000), "abc", names)
    held = dict.fromkeys(names, 0)
    for seed in range(200):
        for name, got in evaluate.with_intervals(*sample(200), "abc", names, repeats=200, seed=seed).items():
            assert got["low"] < got["value"] < got["high"]
            held[name] += got["low"] <= truth[name] <= got["high"]
    assert all(0.90 <= count / 200 <= 0.985 for count in held.values()), held


def test_values_and_n_beside_the_intervals():
    y, p = answers(90, 4, seed=8)
    plain, got = evaluate.metrics(y, p, "wxyz"), evaluate.with_intervals(y, p, "wxyz", repeats=20)
    assert {name: entry["value"] for name, entry in got.items()} == plain
    assert got["nll"]["n"] == 90 and got["f1[x]"]["n"] == (y == 1).sum()
    one = evaluate.with_intervals(y[:1], p[:1], "wxyz", "accuracy")["accuracy"]
    assert one["n"] == 1 and np.isnan([one["low"], one["high"]]).all()
    wide, narrow = (evaluate.with_intervals(y, p, "wxyz", ["nll"], level=level)["nll"] for level in (0.99, 0.8))
    assert wide["low"] < narrow["low"] < narrow["high"] < wide["high"]


@pytest.mark.parametrize(("k", "n", "level"), [(0, 9, 0.95), (9, 9, 0.95), (3, 11, 0.95), (41, 60, 0.9)])
def test_wilson_as_scipy(k, n, level):
    want = stats.binomtest(k, n).proportion_ci(confidence_level=level, method="wilson")
    assert evaluate.wilson(k, n, level) == (near(want.low, 1e-12), near(want.high, 1e-12))


def test_mean_interval():
    assert evaluate.mean_interval([0.8, 0.81, 0.85]) == (near(0.82), near(0.754276), near(0.885724))
    x = [3.0, 5.0, 4.0, 9.0]
    low, high = stats.t.interval(0.9, 3, loc=np.mean(x), scale=stats.sem(x))
    assert evaluate.mean_interval(x, level=0.9) == (5.25, near(low), near(high))
    mean, low, high = evaluate.mean_interval([0.7])
    assert mean == 0.7 and np.isnan(low) and np.isnan(high)
    with pytest.raises(InputError, match="one number per seed"):
        evaluate.mean_interval([])
    assert np.isnan(evaluate.wilson([0], [0])).all()


# --- calibration ---


def test_calibration_of_the_worked_example():
    assert evaluate.calibration_error(CONFIDENCE, CORRECT, bins=10) == (near(0.165), near(0.5))
    assert evaluate.calibration_error(CONFIDENCE, CORRECT, bins=5)[0] == near(0.165)
    assert evaluate.calibration_error(CONFIDENCE, CORRECT, bins=5, scheme="mass")[0] == near(0.261)
    got = evaluate.metrics(LABELS, softmax(LOGITS), "abc", ["brier", "nll"])
    assert got == {"brier": near(0.242712), "nll": near(0.41125)}
    temperature, warning = evaluate.fit_temperature(LOGITS, LABELS)
    assert temperature == near(0.58385) and warning is None
    cooled = evaluate.metrics(LABELS, softmax(np.array(LOGITS) / temperature), "abc", "nll")
    assert cooled["nll"] == near(0.36079)
    coverage, risk = evaluate.risk_coverage(CONFIDENCE, CORRECT)
    assert coverage == near(np.arange(1, 11) / 10)
    assert risk == near([0.0, 0.0, 0.0, 0.25, 0.2, 0.166667, 0.285714, 0.375, 0.333333, 0.4])
    assert evaluate.aurc(CONFIDENCE, CORRECT) == near(0.201071)
    assert evaluate.e_aurc(CONFIDENCE, CORRECT) == near(0.088452)
    assert evaluate.accuracy_at_coverage(CONFIDENCE, CORRECT, 0.5) == near(0.8)
    assert evaluate.accuracy_at_coverage(CONFIDENCE, CORRECT, 0.7) == near(5 / 7)
    assert evaluate.accuracy_at_coverage(CONFIDENCE, CORRECT, 0.71) == near(5 / 8)
    seven_right = np.arange(100) < 7  # in floating point 0.07 x 100 is a little more than 7
    assert evaluate.accuracy_at_coverage(np.linspace(1, 0, 100), seven_right, 0.07) == 1


def test_reliability_by_hand():
    """Five bins: (.4, .6] holds .5 .52 .55, (.6, .8] holds .61 .65 .72 .8, (.8, 1] holds .85 .9 .95."""
    table = evaluate.reliability(CONFIDENCE, CORRECT, bins=5)
    assert table["left"].to_list() == near([0, 0.2, 0.4, 0.6, 0.8])
    assert table["n"].to_list() == [0, 0, 3, 4, 3]
    assert table["confidence"].to_list()[2:] == near([0.523333, 0.695, 0.9])
    assert table["accuracy"].to_list()[2:] == near([1 / 3, 1 / 2, 1])
    assert np.isnan(table.select("confidence", "accuracy", "low", "high").to_numpy()[:2]).all()
    low, high = evaluate.wilson([1, 2, 3], [3, 4, 3])
    assert (table["low"].to_list()[2:], table["high"].to_list()[2:]) == (near(low), near(high))


def test_reliability_of_equal_mass_by_hand():
    """10 rows in 4 bins: 3, 3, 2, 2 from the least confident up."""
    table = evaluate.reliability(CONFIDENCE, CORRECT, bins=4, scheme="mass")
    assert table["n"].to_list() == [3, 3, 2, 2]
    assert table["left"].to_list() == [0.5, 0.61, 0.8, 0.9]
    assert table["right"].to_list() == [0.55, 0.72, 0.85, 0.95]
    assert table["accuracy"].to_list() == near([1 / 3, 2 / 3, 1 / 2, 1])
    few = evaluate.reliability([0.5, 0.7], [0, 1], bins=3, scheme="mass")
    assert few["n"].to_list() == [1, 1, 0] and np.isnan(few["left"][2]) and np.isnan(few["right"][2])


def test_bins_are_closed_above_and_zero_is_in_the_first():
    edges = np.linspace(0, 1, 6)
    table = evaluate.reliability(edges, [0, 1, 1, 0, 1, 1], bins=5)
    assert table["n"].to_list() == [2, 1, 1, 1, 1]


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_ece_as_a_plain_loop(bins):
    rng = np.random.default_rng(bins)
    confidence = rng.random(500)
    right = rng.random(500) < confidence**2
    gaps, parts = [], [(confidence > b / bins) & (confidence <= (b + 1) / bins) for b in range(bins)]
    for part in parts:
        gaps.append(abs(right[part].mean() - confidence[part].mean()))
    ece = sum(part.mean() * gap for part, gap in zip(parts, gaps, strict=True))
    assert evaluate.calibration_error(confidence, right, bins) == (near(ece, 1e-12), near(max(gaps), 1e-12))
    mass = 0.0
    for part in np.array_split(np.argsort(confidence), bins):
        mass += len(part) / 500 * abs(right[part].mean() - confidence[part].mean())
    assert evaluate.calibration_error(confidence, right, bins, "mass")[0] == near(mass, 1e-12)


def test_a_cut_through_equal_confidences_shares_them_out():
    """Four rows of .6 (one right) and one of .9 in two bins of 3 and 2: each .6 counts as 1/4 right."""
    table = evaluate.reliability([0.6, 0.6, 0.9, 0.6, 0.6], [0, 1, 1, 0, 0], bins=2, scheme="mass")
    assert table["accuracy"].to_list() == near([1 / 4, (1 / 4 + 1) / 2])
    assert table["confidence"].to_list() == near([0.6, 0.75])


def test_temperature_finds_the_lowest_nll():
    y, p = answers(400, 5, seed=1, signal=2.0)
    for scale in (0.3, 1.0, 4.0):
        z = np.log(p) * scale
        best, warning = evaluate.fit_temperature(z, y)
        assert warning is None

        def nll(t, z=z):
            return evaluate.metrics(y, softmax(z / t), "abcde", "nll")["nll"]

        assert nll(best) <= min(nll(best * step) for step in (0.9, 0.99, 1.01, 1.1))
        assert best == near(evaluate.fit_temperature(np.log(p), y)[0] * scale)  # the scale of the logits is all it sees
        assert best == near(evaluate.fit_temperature(z, np.eye(5)[y])[0])
        shifted = z + np.random.default_rng(0).normal(size=(400, 1)) * 50
        assert best == near(evaluate.fit_temperature(shifted, y)[0])


def test_temperature_recovers_a_known_distribution():
    """Soft labels softmax(z / 3): the cross-entropy is lowest at 3; an absent option changes nothing."""
    z = np.random.default_rng(2).normal(size=(50, 3)) * 4
    assert evaluate.fit_temperature(z, softmax(z / 3)) == (near(3.0), None)
    wider = np.c_[z, np.full(50, -np.inf)]
    assert evaluate.fit_temperature(wider, softmax(wider / 3)) == (near(3.0), None)


@pytest.mark.parametrize(
    ("logits", "labels", "temperature", "words"),
    [
        ([[3.0, 0.0], [0.0, 2.0]], [0, 1], 0.05, "bound 0.05.*more rows"),
        ([[3000.0, 0.0], [0.0, 2000.0]], [0, 1], 0.05, "bound 0.05"),
        ([[3.0, 0.0], [0.0, 2.0]], [1, 0], 20.0, "bound 20.*chance"),
        ([[1.5, 1.5], [0.0, 0.0]], [0, 1], 1.0, "equal"),
    ],
)
def test_temperature_is_bounded_and_says_so(logits, labels, temperature, words):
    got, warning = evaluate.fit_temperature(logits, labels)
    assert got == temperature
    assert warning is not None and re.search(words, warning)


def test_temperature_errors():
    for logits, labels, words in [
        (np.zeros((0, 2)), [], "shape"),
        ([[1.0, np.nan], [0, 1]], [0, 1], "row 0"),
        ([[1.0, 0.0], [-np.inf, -np.inf]], [0, 1], "row 1"),
        ([[1.0, -np.inf]], [1], "does not have"),
        ([[1.0, 0.0]], [2], "there are 2 classes"),
        ([[1.0, 0.0]], [0, 1], "1 and 2 rows"),
    ]:
        with pytest.raises(InputError, match=words):
            evaluate.fit_temperature(logits, labels)


def test_risk_coverage_averages_over_the_orders_of_ties():
    confidence, right = np.array([0.9, 0.7, 0.7, 0.7, 0.4]), np.array([1, 0, 1, 0, 1])
    curves = []
    for middle in permutations([1, 2, 3]):
        errors = 1 - right[[0, *middle, 4]]
        curves.append(np.cumsum(errors) / np.arange(1, 6))
    assert evaluate.risk_coverage(confidence, right)[1] == near(np.mean(curves, axis=0), 1e-12)
    order = [3, 1, 4, 0, 2]
    assert evaluate.aurc(confidence[order], right[order]) == near(np.mean(curves), 1e-12)


def test_e_aurc_of_the_perfect_and_the_worst_order():
    assert evaluate.e_aurc([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 0]) == near(0)
    assert evaluate.e_aurc([0.9, 0.8, 0.7, 0.6], [0, 0, 1, 1]) == near((1 + 1 + 2 / 3 + 1 / 2 - 1 / 3 - 1 / 2) / 4)
    assert evaluate.aurc([0.9, 0.2], [1, 1]) == 0 and evaluate.aurc([0.3], [0]) == 1


def test_calibration_errors():
    for function in (evaluate.reliability, evaluate.calibration_error, evaluate.aurc, evaluate.e_aurc):
        for confidence, right, words in [
            ([], [], "no rows"),
            ([0.5, 1.2], [0, 1], "row 1 .*outside"),
            ([0.5, 0.6], [0, -1], "row 1 .*undefined"),
            ([0.5], [0, 1], "1 and 2 rows"),
        ]:
            with pytest.raises(InputError, match=words):
                function(confidence, right)
    with pytest.raises(InputError, match="width or mass"):
        evaluate.reliability([0.5], [1], scheme="height")
    with pytest.raises(InputError, match="at least 1 bin"):
        evaluate.reliability([0.5], [1], bins=0)
    for coverage in (0, 1.5):
        with pytest.raises(InputError, match="coverage"):
            evaluate.accuracy_at_coverage([0.5], [1], coverage)


# --- confusion, classes, slices ---


def test_confusion_and_per_class():
    y, p = answers(80, 4, seed=6)
    said = p.argmax(1) % 3  # class 3 is never predicted
    assert (evaluate.confusion(y, said, 5) == sk.confusion_matrix(y, said, labels=range(5))).all()
    table = evaluate.per_class(y, said, list("abcde"))
    want = sk.precision_recall_fscore_support(y, said, labels=range(5), zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "support"), want, strict=True):
        assert table[name].to_list() == near(values, 1e-12)
    assert table["class"].to_list() == list("abcde")
    assert table["predicted"].to_list() == np.bincount(said, minlength=5).tolist()
    with pytest.raises(InputError, match="predicted: row 1 .*is 7"):
        evaluate.confusion([0, 1], [0, 7], 3)


def test_slices_by_hand():
    table = pl.DataFrame(
        {
            "source": ["web", "web", None, "web", "mail", "mail", "web", "mail"],
            "text": [f"text {i}" for i in range(8)],  # as many values as rows: no slice
            "same": ["x"] * 8,
            "year": [2020, 2020, 2021, 2021, 2021, 2021, 2021, 2021],
            "_split": ["test", "test", "test", "test", "dev", "dev", "dev", "dev"],
            "_length": [3, 3, 3, 4, 5, 9, 12, 40],
            "tags": [["a"]] * 4 + [["b"]] * 4,
        }
    )
    labels, said = [0, 1, 1, 0, 2, 2, 1, 0], [0, 1, 0, 1, 2, 2, 1, 2]
    got = evaluate.slices(table, labels, said)
    assert got.select("column", "value", "n").rows() == [
        ("source", "mail", 3),
        ("source", "web", 4),
        ("source", "(none)", 1),
        ("year", "2020", 2),
        ("year", "2021", 6),
        ("_length", "3 to 3", 3),  # equal lengths stay together
        ("_length", "4 to 4", 1),
        ("_length", "5 to 9", 2),
        ("_length", "12 to 40", 2),
    ]
    assert got["accuracy"].to_list() == near([2 / 3, 3 / 4, 0, 1, 1 / 2, 2 / 3, 0, 1, 1 / 2])
    web = [0, 1, 3, 6]
    want = sk.f1_score(np.array(labels)[web], np.array(said)[web], average="macro")
    assert got["macro_f1"][1] == near(want) and want != 3 / 4
    low, high = evaluate.wilson(2, 3)
    assert (got["low"][0], got["high"][0]) == (near(low), near(high))


def test_one_class_is_a_matter_of_the_labels_and_not_of_a_name():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=60)
    said = np.where(rng.random(60) < 0.7, y, 1 - y)
    names = np.array(["no", "yes"])[y]
    table = pl.DataFrame({"class": ["x", "y"] * 30, "gold": names, "_label": names})
    got = evaluate.slices(table, y, said)
    assert got["column"].to_list() == ["class", "class", "gold", "gold"]
    even = np.arange(60) % 2 == 0
    assert got["macro_f1"].to_list()[:2] == near(
        [sk.f1_score(y[part], said[part], average="macro") for part in (even, ~even)]
    )
    assert np.isnan(got.select("macro_f1", "macro_f1_low", "macro_f1_high").to_numpy()[2:]).all()
    asked = evaluate.slices(table.drop("class"), y, said, columns=["class", "gold"])  # `class` is then the label
    assert np.isnan(asked["macro_f1"].to_numpy()).all() and (asked["accuracy"] > 0.5).all()


def test_slices_take_columns_of_few_values():
    y = np.zeros(100, dtype=int)
    table = pl.DataFrame({"twenty": np.arange(100) % 20, "more": np.arange(100) % 21})
    assert evaluate.slices(table, y, y)["column"].unique().to_list() == ["twenty"]
    assert evaluate.slices(table, y, y, most=21)["column"].unique().sort().to_list() == ["more", "twenty"]
    assert evaluate.slices(table.drop("twenty"), y, y).rows() == []
    with pytest.raises(InputError, match="99 and 100 rows"):
        evaluate.slices(table, y[1:], y[1:])
    with pytest.raises(InputError, match="no rows"):
        evaluate.slices(table, [], [])


# --- agreement of scores ---


def test_rank_agreement_as_scipy():
    rng = np.random.default_rng(0)
    a = rng.normal(size=80)
    columns = {"a": a, "b": np.round(a + rng.normal(size=80), 1), "c": -(a**3), "constant": np.full(80, 0.3)}
    got = evaluate.rank_agreement(columns)
    assert got.names == ["a", "b", "c", "constant"] and (got.n == 80).all()
    assert got.spearman[0, 1] == near(stats.spearmanr(a, columns["b"]).statistic, 1e-12)
    assert got.kendall[0, 1] == near(stats.kendalltau(a, columns["b"]).statistic, 1e-12)
    assert got.spearman[0, 2] == near(-1) and got.kendall[0, 2] == near(-1)
    assert np.diag(got.spearman)[:3] == near(np.ones(3)) and np.diag(got.kendall)[:3] == near(np.ones(3))
    for table in (got.spearman, got.kendall):
        assert np.isnan(table[3]).all() and np.isnan(table[:, 3]).all()
        np.testing.assert_array_equal(table, table.T)


def test_rank_agreement_with_gaps_and_infinities():
    """Without row 3, and inf above 7: ranks 1 2 3.5 3.5 against 2 1 3 4."""
    got = evaluate.rank_agreement({"forgetting": [0, 7, np.inf, np.nan, np.inf], "loss": [0.2, 0.1, 0.3, 0.9, 0.4]})
    assert got.n.tolist() == [[4, 4], [4, 5]]
    assert got.spearman[0, 1] == near(stats.pearsonr([1, 2, 3.5, 3.5], [2, 1, 3, 4]).statistic)
    assert got.kendall[0, 1] == near((4 - 1) / sqrt(5 * 6))
    empty = evaluate.rank_agreement({"a": [np.nan, 1.0], "b": [1.0, np.nan]})
    assert empty.n[0, 1] == 0 and np.isnan(empty.spearman).all()
    with pytest.raises(InputError, match="a and b: 2 and 3 rows"):
        evaluate.rank_agreement({"a": [1, 2], "b": [1, 2, 3]})


def test_overlap_of_hardest_by_hand():
    a, b = [0.1, 0.9, 0.8, 0.7, 0.2], [5, 9, 1, 8, 7]
    assert [evaluate.overlap_of_hardest(a, b, k) for k in (1, 2, 3, 4, 5)] == near([1, 1 / 2, 2 / 3, 3 / 4, 1])
    assert evaluate.overlap_of_hardest([np.inf, 1, 0], [3, 2, np.nan], 1) == 1
    for k in (0, 6):
        with pytest.raises(InputError, match=f"k is {k}; give 1 to 5"):
            evaluate.overlap_of_hardest(a, b, k)


def test_overlap_of_hardest_is_an_expectation_over_ties():
    a, b, k = np.array([2, 1, 1, 1, 0]), np.array([3, 3, 0, 5, 3]), 2
    rng, total = np.random.default_rng(0), 0.0
    for _ in range(4000):
        top = [set(np.lexsort((rng.random(5), -x))[:k]) for x in (a, b)]
        total += len(top[0] & top[1]) / k
    assert evaluate.overlap_of_hardest(a, b, k) == near((1 * 1 / 3 + 1 / 3 * 1 / 3 + 1 / 3 * 1) / 2)
    assert total / 4000 == near(evaluate.overlap_of_hardest(a, b, k), 0.02)
    assert evaluate.overlap_of_hardest(np.zeros(10), np.zeros(10), 3) == near(0.3)  # chance, not agreement
