"""Detectors and measures of strangeness: known answers, independent calculations, what holds for every detector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist, mahalanobis
from scipy.special import expit, logit, ndtr
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from leadline import ood
from leadline.errors import InputError, LeadlineError
from leadline.ood import DETECTORS, Evidence
from leadline.ood.apart import MEASURES
from leadline.ood.sets import name_of

N, M, K, H = 40, 90, 3, 12


@pytest.fixture(scope="module")
def worked() -> dict[str, Any]:
    """The numbers of the worked example, computed without leadline and put down here."""
    return {
        "id": [[3.0, 0.0, -1.0], [2.0, 1.5, 0.0], [-0.5, 2.5, 0.5], [0.2, 0.1, 3.2], [1.2, 0.9, -0.3]],
        "ood": [[0.5, 0.4, 0.3], [1.0, 0.8, 0.9], [2.2, -0.4, 0.1], [0.1, 0.2, 0.0]],
        "scores": {
            "msp": [-0.93624, -0.574097, -0.843795, -0.913379, -0.509178],
            "max_logit": [-3.0, -2.0, -2.5, -3.2, -1.2],
            "energy": [-3.065884, -2.554957, -2.669846, -3.290605, -1.874957],
            "entropy": [0.274313, 0.884452, 0.524267, 0.354584, 0.958539],
        },
        "measures": {  # auroc, aupr_out, aupr_in, fpr95_id_positive, fpr95
            "msp": [0.9, 0.916667, 0.926667, 0.25, 0.4],
            "max_logit": [0.9, 0.916667, 0.926667, 0.25, 0.4],
            "energy": [0.9, 0.8875, 0.942857, 0.5, 0.2],
            "entropy": [0.9, 0.916667, 0.926667, 0.25, 0.4],
        },
    }


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    """Random texts of three classes, every field there."""
    rng = np.random.default_rng(3)
    centres = rng.normal(0, 3, (K, H))
    labels = rng.integers(K, size=M)
    weight, bias = rng.normal(size=(K, H)), rng.normal(size=K)
    train = centres[labels] + rng.normal(size=(M, H))
    texts = rng.normal(0, 3, (N, H))
    return Evidence(
        logits=texts @ weight.T + bias, features=texts, train_features=train, train_labels=labels, penultimate=texts,
        train_penultimate=train, weight=weight, bias=bias, nll=rng.gamma(9, 4, N), tokens=rng.integers(1, 30, N),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["msp", "max_logit", "energy", "entropy"])
def test_scores_and_measures_of_the_worked_example(worked: dict[str, Any], name: str) -> None:
    inside, outside = (DETECTORS[name].function(worked[side]) for side in ("id", "ood"))
    np.testing.assert_allclose(inside, worked["scores"][name], atol=1e-6)
    measured = ood.told_apart(inside, outside, repeats=0)
    np.testing.assert_allclose([measured[m]["value"] for m in MEASURES], worked["measures"][name], atol=1e-6)
    assert {figure["n"] for figure in measured.values()} == {9}


def test_distances_of_the_worked_example() -> None:
    train, labels = [[0, 0], [1, 0], [0, 1], [4, 4], [5, 4], [4, 5.5]], [0, 0, 0, 1, 1, 1]
    test = [[0.5, 0.5], [2, 2], [8, 0]]
    function = {name: entry.function for name, entry in DETECTORS.items()}
    np.testing.assert_allclose(
        function["mahalanobis"](test, train, labels), [0.392405, 39.240506, 78.278481], atol=1e-6
    )
    relative = function["relative_mahalanobis"](test, train, labels)
    np.testing.assert_allclose(relative, [-0.436408, 39.202855, -0.551768], atol=1e-6)
    np.testing.assert_allclose(function["knn"](test, [[0.1, 0.1], *train[1:]], k=2), [0.0, 0.0, 0.662014], atol=1e-6)
    w, b = [[1.0, -0.5, 0.2], [-0.3, 0.8, 0.1]], [0.1, -0.2]
    x = [[1, 0.2, 0.1], [0.5, -0.4, 0.3], [-0.2, 1, -0.1], [0.1, 0.9, 0.4], [0.8, -0.1, -0.2], [-0.4, 0.6, 0.2]]
    vim = function["vim"]([[0.2, 0.1, 2.0], [0.9, -0.2, 0.0]], x, w, b, dim=2)
    np.testing.assert_allclose(vim, [6.181087, -1.116146], atol=1e-5)
    logp = [-1.2, -0.3, -2.5, -0.8]
    np.testing.assert_allclose(function["perplexity"]([-sum(logp)], [4]), [3.320117], atol=1e-6)
    np.testing.assert_allclose(function["density"]([-sum(logp)]), [4.8], atol=1e-12)


def test_the_shared_worked_example_says_the_same(data_dir: Path) -> None:
    path = data_dir.parent / "design" / "worked_example.json"
    if not path.is_file():
        pytest.skip("the worked example is not beside the data")
    told = json.loads(path.read_text())["ood"]
    for name, numbers in told["scores_higher_is_more_ood"].items():
        inside, outside = (DETECTORS[name].function(told[f"{side}_logits"]) for side in ("id", "ood"))
        np.testing.assert_allclose(np.r_[inside, outside], numbers["id"] + numbers["ood"], atol=1e-6)
        measured = ood.told_apart(inside, outside, repeats=0)
        for ours in MEASURES:
            theirs = "fpr95_ood_positive" if ours == "fpr95" else ours
            assert measured[ours]["value"] == pytest.approx(numbers[theirs], abs=1e-6), (name, ours)


@pytest.mark.parametrize("seed", range(6))
def test_measures_are_those_of_scikit_learn_and_of_naive_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inside, outside = rng.normal(size=rng.integers(5, 80)), rng.normal(0.7, 1.5, rng.integers(5, 80))
    if seed % 2:
        inside, outside = inside.round(1), outside.round(1)  # ties, also across the sets
    positive = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
    scores = np.r_[inside, outside]
    found = {name: figure["value"] for name, figure in ood.told_apart(inside, outside, repeats=0).items()}
    pairs = [(b > a) + (b == a) / 2 for a in inside for b in outside]
    assert found["auroc"] == pytest.approx(np.mean(pairs), abs=1e-12)
    assert found["auroc"] == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    assert ood.compute_auroc(inside, outside) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert found["aupr_out"] == pytest.approx(average_precision_score(positive, scores), abs=1e-12)
    assert found["aupr_in"] == pytest.approx(average_precision_score(1 - positive, -scores), abs=1e-12)
    flagged = min(np.mean(inside >= t) for t in scores if np.mean(outside >= t) >= 0.95)
    kept = min(np.mean(outside <= t) for t in scores if np.mean(inside <= t) >= 0.95)
    assert found["fpr95"] == pytest.approx(flagged, abs=1e-12)
    assert found["fpr95_id_positive"] == pytest.approx(kept, abs=1e-12)
    fpr, tpr, _ = roc_curve(positive, scores, drop_intermediate=False)
    assert found["fpr95"] == pytest.approx(fpr[(tpr >= 0.95 - 1e-12).argmax()], abs=1e-12)


def test_intervals_are_those_of_a_plain_bootstrap_within_each_set() -> None:
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(size=60), rng.normal(1, 1, 45)
    found = ood.told_apart(inside, outside, repeats=300)
    drawn = []
    for weights_in, weights_out in ood.apart._resamples(60, 45, 300, 0):
        for a, b in zip(weights_in.T.astype(int), weights_out.T.astype(int), strict=True):
            assert (a.sum(), b.sum()) == (60, 45)
            x, y = np.repeat(inside, a), np.repeat(outside, b)
            drawn.append(average_precision_score(np.r_[np.zeros(60), np.ones(45)], np.r_[x, y]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found["aupr_out"]["low"], found["aupr_out"]["high"]) == pytest.approx((low, high), abs=1e-12)
    assert all(figure["low"] <= figure["value"] <= figure["high"] for figure in found.values())


@pytest.mark.parametrize(("n", "apart"), [(8, 1.0), (40, 3.0), (100, 3.0)])
def test_intervals_of_auroc_hold_what_they_promise(n: int, apart: float) -> None:
    """Two normals d standard deviations apart have AUROC Phi(d / sqrt 2); the bootstrap held in 0.85 of the second."""
    truth, hit = float(ndtr(apart / np.sqrt(2))), 0
    for seed in range(600):
        rng = np.random.default_rng(seed)
        found = ood.mean_auroc(rng.normal(size=n), {"far": rng.normal(apart, 1, n)})
        hit += found["low"] <= truth <= found["high"]
    assert 0.92 * 600 <= hit


def test_the_interval_of_auroc_is_delongs_on_the_logit_scale() -> None:
    rng = np.random.default_rng(4)
    inside, outside = rng.normal(size=30).round(1), rng.normal(1, 2, 20).round(1)
    pairs = (outside > inside[:, None]) + (outside == inside[:, None]) / 2  # (N, M)
    value, variance = pairs.mean(), pairs.mean(1).var(ddof=1) / 30 + pairs.mean(0).var(ddof=1) / 20
    half = 1.959964 * np.sqrt(variance) / (value * (1 - value))
    expected = expit(logit(value) + np.array([-half, half]))
    for found in (ood.told_apart(inside, outside, repeats=50)["auroc"], ood.mean_auroc(inside, {"a": outside})):
        assert (found["low"], found["high"]) == pytest.approx(expected, abs=1e-6) and found["n"] == 50


def test_sets_told_apart_without_a_fault_are_not_certain() -> None:
    found = ood.told_apart(np.arange(8.0), np.arange(8.0) + 20)["auroc"]
    assert (found["value"], found["high"]) == (1.0, 1.0) and found["low"] == pytest.approx(0.025 ** (1 / 8))
    turned = ood.told_apart(np.arange(8.0) + 20, np.arange(8.0))["auroc"]
    assert (turned["value"], turned["low"]) == (0.0, 0.0) and turned["high"] == pytest.approx(1 - 0.025 ** (1 / 8))
    tied = ood.told_apart(np.ones(8), np.ones(20))["auroc"]
    assert tied["value"] == 0.5 and tied["low"] < 0.25 and tied["high"] > 0.75
    assert np.isnan(ood.told_apart([1.0], [2.0, 3.0])["auroc"]["low"])


def test_the_mean_over_sets_knows_that_they_share_the_rows_in_distribution() -> None:
    rng = np.random.default_rng(2)
    inside, one, two = rng.normal(size=40), rng.normal(1, 1, 200), rng.normal(2, 1, 300)
    both = ood.mean_auroc(inside, {"one": one, "two": two})
    alone = [ood.mean_auroc(inside, {"": outside}) for outside in (one, two)]
    assert both["value"] == pytest.approx(np.mean([found["value"] for found in alone])) and both["n"] == 540
    again = ood.mean_auroc(inside, {"one": one, "copy": one})  # its own rows count twice, those in distribution once
    assert again["high"] - again["low"] > 0.85 * (alone[0]["high"] - alone[0]["low"])
    with pytest.raises(InputError, match="no set"):
        ood.mean_auroc(inside, {})


@pytest.mark.parametrize("name", list(DETECTORS))
def test_every_detector_is_finite_in_its_range_and_looks_at_each_row_alone(name: str, evidence: Evidence) -> None:
    entry = DETECTORS[name]
    assert entry.missing(evidence) == ""
    scores = entry(evidence)
    assert scores.shape == (N,) and scores.dtype == np.float64 and np.isfinite(scores).all()
    assert (scores >= entry.range[0]).all() and (scores <= entry.range[1]).all()
    assert len(np.unique(scores.round(9))) > N // 2
    rows = np.random.default_rng(0).permutation(N)[:7]
    own = ("logits", "features", "penultimate", "nll", "tokens")
    some = Evidence(**{f: v[rows] if f in own else v for f, v in vars(evidence).items()})
    np.testing.assert_allclose(entry(some), scores[rows], rtol=1e-9)
    for need in entry.needs:
        assert entry.missing(Evidence(**{**vars(evidence), need: None})).startswith("needs ")


@pytest.mark.parametrize("name", sorted(set(DETECTORS) - {"relative_mahalanobis"}))  # it is not, far from everything
def test_higher_is_stranger(name: str, evidence: Evidence) -> None:
    """Texts like the training texts against texts that are far from all of them, and that no class claims."""
    rng = np.random.default_rng(1)
    train, weight, bias = evidence.train_features, evidence.weight, evidence.bias
    assert train is not None and weight is not None and bias is not None
    sure = train[:30] + rng.normal(0, 0.05, (30, H))
    odd = -10 * np.linalg.pinv(weight) @ np.ones(K) + 30 * rng.normal(size=(30, H)) @ (
        np.eye(H) - np.linalg.pinv(weight) @ weight
    )
    h = np.concatenate([sure, odd])
    nll, tokens = np.repeat([20.0, 90.0], 30) + rng.random(60), np.full(60, 10)
    seen = Evidence(**{
        **vars(evidence), "logits": h @ weight.T + bias, "features": h, "penultimate": h, "nll": nll, "tokens": tokens
    })  # fmt: skip
    scores = DETECTORS[name](seen, **({"k": 5} if name == "knn" else {}))  # a class has 30 texts
    assert ood.compute_auroc(scores[:30], scores[30:]) > 0.95


def test_distances_are_those_of_scipy(evidence: Evidence) -> None:
    h, x, y = (np.asarray(getattr(evidence, name)) for name in ("features", "train_features", "train_labels"))
    means = [x[y == c].mean(axis=0) for c in range(K)]
    inverse = np.linalg.inv(sum((x[y == c] - means[c]).T @ (x[y == c] - means[c]) for c in range(K)) / M)
    whole = np.linalg.inv(np.cov(x.T, bias=True))
    near = np.array([min(mahalanobis(row, mean, inverse) ** 2 for mean in means) for row in h])
    far = np.array([mahalanobis(row, x.mean(axis=0), whole) ** 2 for row in h])
    np.testing.assert_allclose(DETECTORS["mahalanobis"](evidence), near, rtol=1e-8)
    np.testing.assert_allclose(DETECTORS["relative_mahalanobis"](evidence), near - far, rtol=1e-7, atol=1e-8)
    unit = [a / np.linalg.norm(a, axis=1, keepdims=True) for a in (h, x)]
    for k in (1, 5, 500):
        kth = np.sort(cdist(*unit), axis=1)[:, min(k, M) - 1]
        np.testing.assert_allclose(DETECTORS["knn"](evidence, k=k), kth, atol=1e-7)


def test_a_direction_that_never_varies_and_a_class_of_one_do_no_harm(evidence: Evidence) -> None:
    h, x, y = (np.asarray(getattr(evidence, name)) for name in ("features", "train_features", "train_labels"))
    wide = [np.concatenate([a, np.ones((len(a), 2))], axis=1) for a in (h, x)]
    mahalanobis_of = DETECTORS["mahalanobis"].function
    np.testing.assert_allclose(mahalanobis_of(*wide, y), mahalanobis_of(h, x, y), rtol=1e-6)
    alone = np.r_[y[:-1], K]  # the last row is a class of its own
    found = mahalanobis_of(np.r_[h, x[-1:]], x, alone)
    assert found[-1] == pytest.approx(0, abs=1e-9) and np.isfinite(found).all()
    assert np.isfinite(mahalanobis_of(h, x[:6], y[:6])).all()  # fewer texts than directions


def test_energy_and_odin_take_a_temperature(evidence: Evidence) -> None:
    z = np.asarray(evidence.logits)
    for t in (0.5, 1.0, 20.0):
        np.testing.assert_allclose(DETECTORS["energy"](evidence, temperature=t), -t * np.log(np.exp(z / t).sum(axis=1)))
    np.testing.assert_allclose(DETECTORS["odin"](evidence, temperature=1.0), DETECTORS["msp"](evidence))
    assert np.corrcoef(DETECTORS["odin"](evidence), z.mean(axis=1) - z.max(axis=1))[0, 1] > 0.999


def test_what_is_missing_is_left_out_and_named(evidence: Evidence) -> None:
    found, left_out = ood.strangeness(Evidence(logits=evidence.logits), list(DETECTORS))
    assert set(found) == {"msp", "max_logit", "energy", "entropy", "odin"}
    assert set(left_out) == set(DETECTORS) - set(found)
    assert left_out["perplexity"] == "needs a language model"
    with pytest.raises(InputError, match="Did you mean `mahalanobis`"):
        ood.strangeness(evidence, ["mahalanobi"])


def test_a_detector_that_cannot_be_computed_takes_no_other_down(evidence: Evidence) -> None:
    one_each = {"train_features": np.eye(2, H), "train_labels": np.array([0, 1])}
    found, left_out = ood.strangeness(Evidence(**{**vars(evidence), **one_each}), ["msp", "mahalanobis", "knn"])
    assert set(found) == {"msp", "knn"} and "do not differ" in left_out["mahalanobis"]
    z = np.array(evidence.logits)
    z[3] = np.nan
    found, left_out = ood.strangeness(Evidence(**{**vars(evidence), "logits": z}), ["energy", "density"])
    assert set(found) == {"density"} and "row 3" in left_out["energy"]
    nll = np.r_[np.asarray(evidence.nll)[:-1], 5000.0]  # exp of it is infinite
    found, left_out = ood.strangeness(Evidence(nll=nll, tokens=np.ones(N)), ["perplexity", "density"])
    assert set(found) == {"density"} and left_out["perplexity"] == f"is not finite for 1 of {N} texts"


def test_vim_says_when_its_score_would_be_rounding() -> None:
    rng = np.random.default_rng(0)
    w, h = rng.normal(size=(2, 128)), rng.normal(size=(5, 128))
    vim = DETECTORS["vim"].function
    assert np.abs(vim(h, rng.normal(size=(200, 128)), w, np.zeros(2))).max() < 100
    for m in (1, 20, 64, 66):
        with pytest.raises(InputError, match="more than 66 training texts"):
            vim(h, rng.normal(size=(m, 128)), w, np.zeros(2))
    flat = rng.normal(size=(200, 20)) @ rng.normal(size=(20, 128))
    for train in (flat, np.zeros((200, 128))):
        with pytest.raises(InputError, match="nothing is left over"):
            vim(h, train, w, np.zeros(2))


@pytest.mark.parametrize(
    ("inside", "outside", "says"),
    [([], [1.0], "no rows in distribution"), ([1.0], [], "no rows out of distribution"),
     ([1.0, np.nan], [1.0], "row 1"), ([1.0], [np.inf], "out of distribution"), ([[1.0]], [1.0], "shape")],
)  # fmt: skip
def test_scores_that_cannot_be_compared(inside: Any, outside: Any, says: str) -> None:
    for function in (ood.told_apart, ood.compute_auroc):
        with pytest.raises(InputError, match=says):
            function(inside, outside)


@pytest.mark.parametrize(
    ("text", "name", "file", "kinds", "columns"),
    [
        ("trec.csv.gz", "trec", "trec.csv.gz", (), ()),
        ("sets/trec/test.csv", "trec", "sets/trec/test.csv", (), ()),
        ("questions=a/b.csv", "questions", "a/b.csv", (), ()),
        ("far:a/news.csv#body", "news", "a/news.csv", ("far",), ("body",)),
        ("near+semantic:q=b.csv#one,two", "q", "b.csv", ("near", "semantic"), ("one", "two")),
        ("hub:stanfordnlp/imdb@test", "imdb", "hub:stanfordnlp/imdb@test", (), ()),
        ("background:hub:glue:sst2", "glue", "hub:glue:sst2", ("background",), ()),
        ("r/lr=5e-5/x.csv", "x", "r/lr=5e-5/x.csv", (), ()),
    ],
)
def test_how_a_set_is_named(text: str, name: str, file: str, kinds: Any, columns: Any) -> None:
    assert ood.parse(text) == [ood.OodSet(name, file, kinds, columns)]


@pytest.mark.parametrize(
    ("texts", "says"),
    [(["a/x.csv", "b/x.csv"], "two sets are called `x`"), (["fra:x.csv"], "no kind of shift.*`far`"),
     (["in=x.csv"], "`in` names"),
     (["x.csv#"], "after #"), (["far:"], "no file"), (["=x.csv"], "no name")],
)  # fmt: skip
def test_a_set_that_cannot_be_named(texts: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        ood.parse(texts)


def test_published_files_are_probabilities_under_their_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    inside, trec = rng.uniform(0.5, 1, 9), rng.uniform(0.5, 1, 5)
    written = ood.write_npy(tmp_path, "roberta", "sst2", inside, {"trec": trec})
    assert [str(path.relative_to(tmp_path)) for path in written] == [
        "output/roberta/roberta_sst2_msp.npy", "output/msp/sst2_trec_msp.npy"
    ]  # fmt: skip
    read = [ood.read_model_out(path) for path in written]
    assert [a.dtype for a in read] == [np.float32, np.float32] and [a.shape for a in read] == [(9,), (5,)]
    np.testing.assert_array_equal(read[0], inside.astype(np.float32))
    labels = np.r_[np.zeros(9), np.ones(5)]
    independent = roc_auc_score(labels, -np.concatenate(read))
    assert ood.compute_auroc(-read[0], -read[1]) == pytest.approx(independent, abs=1e-9)


def test_a_table_in_memory_makes_a_name_of_a_file() -> None:
    assert name_of("<dataframe>") == "dataframe"


def test_a_folder_that_cannot_be_written_to_is_known_before(tmp_path: Path) -> None:
    ood.check_folder(tmp_path / "new" / "place")
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(LeadlineError, match="is a file"):
            ood.check_folder(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_files_that_are_no_such_file(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}]), allow_pickle=True)
    for name, says in {
        "text.npy": "not a .npy",
        "objects.npy": "not a .npy",
        "no.npy": "no such file",
        "a.pkl": "only",
    }.items():
        with pytest.raises(InputError, match=says):
            ood.read_model_out(tmp_path / name)
    with pytest.raises(InputError, match="cannot be part"):
        ood.write_npy(tmp_path, "a/b", "c", [0.5], {})
    assert not (tmp_path / "output").exists()
