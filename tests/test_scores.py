"""Scores: known answers, then facts that hold for every score."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from leadline import scores
from leadline.errors import InputError
from leadline.interop import cartography
from leadline.scores import SCORES
from leadline.signals import FIELDS, Period, Signals, complete, from_logits

INF, NAN = float("inf"), float("nan")

RECORDED = [name for name, score in SCORES.items() if score.probe is None]  # the others: tests/test_probes.py
PROBED = set(SCORES) - set(RECORDED)

# The worked example of the definitions: four examples, three epochs, three classes.
GOLD = np.array([0, 0, 1, 1])
LOGITS = np.array(  # (E, N, K)
    [
        [[1.2, 0.1, -0.4], [0.9, 0.4, 0.2], [0.8, -0.1, 0.3], [0.5, 0.2, -0.1]],
        [[2.5, 0.3, -1.0], [0.1, 0.8, -0.3], [1.9, -0.6, 0.2], [-0.2, 0.9, 0.4]],
        [[3.6, -0.2, -1.4], [1.1, 0.6, -0.7], [2.7, -1.1, 0.4], [-0.6, 1.8, 0.3]],
    ]
)
WORKED: dict[str, list[float]] = {
    "confidence": [0.833234, 0.437104, 0.095597, 0.533433],
    "variability": [0.134221, 0.122637, 0.077420, 0.179080],
    "correctness": [1.0, 0.666667, 0.0, 0.666667],
    "correct_count": [3, 2, 0, 2],
    "threshold_closeness": [0.138955, 0.246044, 0.086458, 0.248882],
    "forgetting": [0, 1, INF, 0],
    "never_learned": [0, 0, 1, 0],
    "first_learned": [0, 0, NAN, 1],
    "learned_for_good": [0, 2, NAN, 1],
    "action": [0.588978, 2.619452, 8.250239, 2.063730],
    "action_mean": [0.196326, 0.873151, 2.750080, 0.687910],
    "loss_std": [0.169410, 0.312603, 0.945563, 0.349694],
    "loss_max": [0.428379, 1.304019, 3.915674, 1.128390],
    "loss_min": [0.028693, 0.572013, 1.599676, 0.272960],
    "loss_last": [0.028693, 0.572013, 3.915674, 0.272960],
    "loss_drop": [0.399686, 0.171407, -2.315998, 0.855430],
    "loss_slope": [-0.199843, -0.085704, 1.157999, -0.427715],
    "aum": [2.366667, 0.100000, -2.400000, 0.566667],
    "aum_prob": [0.721322, 0.044662, -0.630460, 0.226992],
    "el2n": [0.208880, 0.711364, 1.182521, 0.580933],
    "el2n_last": [0.036269, 0.561821, 1.327397, 0.301118],
    "entropy": [0.144034, 0.911099, 0.396803, 0.693419],
    "entropy_mean": [0.486548, 0.986057, 0.690527, 0.923414],
    "entropy_of_mean": [0.556353, 1.030400, 0.764329, 1.014070],
    "entropy_normalised": [0.131106, 0.829318, 0.361186, 0.631177],
    "mutual_information": [0.069804, 0.044343, 0.073802, 0.090656],
    "aleatoric": [0.120940, 0.231004, 0.080464, 0.216812],
    "epistemic": [0.134221, 0.122637, 0.077420, 0.179080],
    "self_confidence": [0.971715, 0.564388, 0.019927, 0.761123],
    "normalised_margin": [0.974988, 0.611035, 0.064581, 0.795647],
}
DEFECTS: dict[str, list[float]] = {  # what a faithful copy of a published variant or defect would give
    "el2n_last": [0.001315, 0.315643, 1.761982, 0.090672],  # Datagnosis: squared
    "forgetting": [0, 1, 1000, 0],  # cartography: 1000 for never learned
    "first_learned": [0, 0, -1, 1],
    "variability": [0.134824, 0.123097, 0.077536, 0.180510],  # cartography --include_ci
    "epistemic": [0.018015, 0.015040, 0.005994, 0.032070],  # the variance
    "correctness": [3, 2, 0, 2],  # cartography's code: the count
}


@pytest.fixture
def worked() -> Signals:
    return from_logits(["a", "b", "c", "d"], LOGITS, GOLD, classes=["x", "y", "z"])


@pytest.mark.parametrize("name", WORKED)
def test_the_worked_example(worked: Signals, name: str) -> None:
    np.testing.assert_allclose(SCORES[name].function(worked), WORKED[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", DEFECTS)
def test_no_defect_of_a_published_tool(worked: Signals, name: str) -> None:
    assert not np.allclose(SCORES[name].function(worked), DEFECTS[name], rtol=0, atol=1e-4, equal_nan=True)


def test_never_learned_is_neither_a_thousand_nor_the_number_of_epochs(worked: Signals) -> None:
    assert scores.forgetting(worked)[2] not in (1000, 3) and math.isinf(scores.forgetting(worked)[2])


def test_windows_of_the_worked_example(worked: Signals) -> None:
    first_two, without_first = worked.window(max_epochs=2), worked.window(skip_epochs=1)
    expected = {
        "first two": ([0.763994, 0.373462, 0.133432, 0.419588], [0.112430, 0.102023, 0.068530, 0.096035]),
        "without the first": ([0.924069, 0.417914, 0.042414, 0.638373], [0.047645, 0.146475, 0.022487, 0.122750]),
    }
    for window, (mu, sigma) in zip((first_two, without_first), expected.values(), strict=True):
        np.testing.assert_allclose(scores.confidence(window), mu, rtol=0, atol=1e-6)
        np.testing.assert_allclose(scores.variability(window), sigma, rtol=0, atol=1e-6)


# One example, seven epochs, gold = the second class: right at 1, 3, 5 and 6. Readable by eye; no two answers agree.
READABLE = [(0.5, 0.3, 0.2), (0.3, 0.6, 0.1), (0.5, 0.4, 0.1), (0.1, 0.7, 0.2), (0.6, 0.1, 0.3), (0.15, 0.8, 0.05)]
READABLE += [(0.28, 0.6, 0.12)]
ANSWERS = {
    "confidence": 3.5 / 7,
    "variability": 0.226779,
    "correctness": 4 / 7,
    "correct_count": 4,
    "threshold_closeness": 0.25,
    "aleatoric": 1.39 / 7,  # .21 + .24 + .24 + .21 + .09 + .16 + .24
    "self_confidence": 0.6,
    "action": 6.024318,
    "action_mean": 6.024318 / 7,
    "loss_last": -math.log(0.6),
    "loss_min": -math.log(0.8),
    "loss_max": -math.log(0.1),
    "loss_std": 0.666044,
    "loss_drop": math.log(2),  # from .3 to .6
    "loss_slope": -0.045304,
    "aum": 0.265185,
    "forgetting": 2,
    "first_learned": 1,
    "learned_for_good": 5,
    "el2n": 0.633555,
    "el2n_early": 0.696539,
    "el2n_last": math.sqrt(0.28**2 + 0.4**2 + 0.12**2),
    "aum_prob": 0.97 / 7,  # -.2 + .3 - .1 + .5 - .5 + .65 + .32
    "normalised_margin": (1 + 0.32) / 2,
    "normalised_margin_of_mean": (1 + 0.5 - 2.43 / 7) / 2,
    "entropy": 0.917357,
    "entropy_mean": 0.871563,
    "entropy_normalised": 0.917357 / math.log(3),
    "entropy_of_mean": 1.000961,
    "mutual_information": 0.129399,
}


def test_an_example_readable_by_eye() -> None:
    signals = from_logits(["one"], np.log(READABLE)[:, None, :], np.array([1]))
    for name, answer in ANSWERS.items():
        assert SCORES[name].function(signals)[0] == pytest.approx(answer, abs=2e-6), name
    answers = sorted(ANSWERS.values())
    assert min(b - a for a, b in zip(answers, answers[1:], strict=False)) > 5e-4  # a swap of two scores would show
    assert set(RECORDED) - set(ANSWERS) == {"epistemic", "never_learned"}  # equal to variability; 0


# Facts that hold for every score


def random_signals(n: int = 40, k: int = 4, epochs: int = 5, seed: int = 3) -> Signals:
    dice = np.random.default_rng(seed)
    z = dice.normal(scale=2, size=(epochs, n, k)).astype(np.float32)
    return from_logits([str(i) for i in range(n)], z, dice.integers(0, k, n))


def forget(signals: Signals, seen: np.ndarray) -> Signals:
    """The same record in which only the outcomes of `seen` (E, N) were observed."""
    periods = []
    for period, here in zip(signals.periods, seen, strict=True):
        columns = {name: array.copy() for name, array in period.columns.items()}
        for name, kind in FIELDS.items():
            if kind is np.float32:
                columns[name][~here] = np.nan
        columns["correct"][~here], columns["recorded"][~here] = -1, False
        columns["logits"][~here] = np.nan
        periods.append(Period(columns, period.metadata))
    return replace(signals, periods=tuple(periods))


@pytest.fixture(scope="module")
def gaps() -> Signals:
    """40 rows in 5 epochs with gaps; row 7 was never observed, row 8 once, rows 10 and later always."""
    seen = np.random.default_rng(5).random((5, 40)) < 0.7
    seen[:, 7] = False
    seen[:, 8] = [False, True, False, False, False]
    seen[:, 10:] = True
    return forget(random_signals(), seen)


@pytest.mark.parametrize("name", RECORDED)
def test_shape_type_and_range(gaps: Signals, name: str) -> None:
    score = SCORES[name]
    values = score.function(gaps)
    assert values.shape == (40,) and values.dtype == np.float64
    assert math.isnan(values[7])
    if name in ("first_learned", "learned_for_good"):
        right = scores.correctness(gaps) > 0 if name == "first_learned" else scores.self_confidence(gaps) > 0.5
        assert np.isfinite(values[right]).all()
    elif name == "forgetting":
        assert (np.isinf(values) == (scores.never_learned(gaps) == 1)).all()
        assert not np.isnan(np.delete(values, 7)).any()
    elif name == "el2n_early":
        assert (np.isfinite(values) == gaps.recorded[: scores.EARLY].any(axis=0)).all()
    else:
        assert np.isfinite(np.delete(values, 7)).all()
    low, high = score.range
    known = values[np.isfinite(values)]
    assert (known >= low).all() and (known <= high).all() and known.min() < known.max()


@pytest.mark.parametrize("name", RECORDED)
def test_rows_are_scored_one_by_one(gaps: Signals, name: str) -> None:
    whole = SCORES[name].function(gaps)
    order = np.random.default_rng(1).permutation(len(gaps))
    np.testing.assert_allclose(SCORES[name].function(gaps.rows(order)), whole[order], rtol=1e-12)
    alone = np.concatenate([SCORES[name].function(part) for _, part in gaps.blocks(1)])
    np.testing.assert_allclose(alone, whole, rtol=1e-12)


NUMBERED = {"first_learned", "learned_for_good", "loss_slope"}  # speak of epochs by their number


@pytest.mark.parametrize("name", [name for name in RECORDED if name not in NUMBERED])
def test_an_unobserved_epoch_is_as_if_it_had_not_been(name: str) -> None:
    full = random_signals()
    for hole in range(2 if name == "el2n_early" else 0, full.n_epochs):
        seen = np.ones((5, 40), dtype=bool)
        seen[hole] = False
        without = replace(full, periods=full.periods[:hole] + full.periods[hole + 1 :])
        with_hole = SCORES[name].function(forget(full, seen))
        np.testing.assert_allclose(with_hole, SCORES[name].function(without), rtol=1e-12)


# Gold probability over five epochs, three classes, gold = the first.
DIRECTIONS = {
    "easy": [(0.80, 0.15, 0.05), (0.90, 0.06, 0.04), (0.95, 0.03, 0.02), (0.97, 0.02, 0.01), (0.98, 0.01, 0.01)],
    "ambiguous": [(0.1, 0.8, 0.1), (0.9, 0.05, 0.05), (0.15, 0.8, 0.05), (0.85, 0.1, 0.05), (0.5, 0.4, 0.1)],
    "late": [(0.45, 0.5, 0.05), (0.4, 0.3, 0.3), (0.2, 0.5, 0.3), (0.25, 0.65, 0.1), (0.36, 0.34, 0.3)],
    "never": [(0.2, 0.7, 0.1), (0.15, 0.75, 0.1), (0.1, 0.85, 0.05), (0.09, 0.86, 0.05), (0.08, 0.9, 0.02)],
}


@pytest.mark.parametrize("name", RECORDED)
def test_direction(name: str) -> None:
    z = np.log(np.array(list(DIRECTIONS.values()))).transpose(1, 0, 2)  # (E, 4, K)
    signals = from_logits(list(DIRECTIONS), z, np.zeros(4, dtype=int))
    easy, ambiguous, late, never = SCORES[name].function(signals)
    hard = [value for value in (late, never) if not math.isnan(value)]
    match SCORES[name].higher_is:
        case "harder":
            assert all(value >= easy for value in hard) and any(value > easy for value in hard)
        case "easier":
            assert all(value < easy for value in hard)
        case "ambiguous":
            assert ambiguous > easy and ambiguous > never
        case "neither":  # knows nothing of the label
            other = from_logits(list(DIRECTIONS), z, np.array([2, 1, 2, 1]))
            np.testing.assert_array_equal(SCORES[name].function(other), SCORES[name].function(signals))


@pytest.mark.parametrize("name", SCORES)
def test_what_an_entry_says(name: str) -> None:
    score = SCORES[name]
    assert score.name == name == score.function.__name__ and getattr(scores, name) is score.function
    assert score.higher_is in ("harder", "easier", "ambiguous", "neither")
    assert score.range[0] < score.range[1] and score.needs and set(score.needs) <= set(scores.NEEDS)
    assert score.paper[-4:].isdigit() and 20 < len(score.says) < 100
    assert "(N,)" in (score.function.__doc__ or "")


@pytest.mark.parametrize("name", [name for name in RECORDED if "logits" not in SCORES[name].needs])
def test_scores_that_need_no_logits_run_without(name: str) -> None:
    signals = random_signals()
    bare = without_columns(signals, "logits")
    np.testing.assert_array_equal(SCORES[name].function(bare), SCORES[name].function(signals))


# Identities


def test_the_law_of_total_variance() -> None:
    signals = random_signals(200)
    total = scores.aleatoric(signals) + scores.epistemic(signals) ** 2
    np.testing.assert_allclose(total, scores.threshold_closeness(signals), rtol=1e-12)


def test_two_classes_make_el2n_a_gold_probability() -> None:
    signals = random_signals(50, k=2)
    np.testing.assert_allclose(scores.el2n(signals), math.sqrt(2) * (1 - scores.confidence(signals)), atol=1e-6)


def test_entropy_of_mean_is_mean_entropy_plus_mutual_information() -> None:
    signals = random_signals(50)
    parts = scores.entropy_mean(signals) + scores.mutual_information(signals)
    np.testing.assert_allclose(scores.entropy_of_mean(signals), parts, atol=1e-6)


def test_epochs_that_agree_have_no_mutual_information() -> None:
    z = np.repeat(random_signals(30, epochs=1).stack("logits"), 4, axis=0)
    signals = from_logits([str(i) for i in range(30)], z, np.zeros(30, dtype=int))
    assert (scores.mutual_information(signals) >= 0).all() and scores.mutual_information(signals).max() < 1e-12


def test_one_epoch_varies_nothing_and_forgets_nothing() -> None:
    signals = random_signals(epochs=1)
    for name in ("variability", "epistemic", "loss_std", "loss_slope", "loss_drop"):
        assert (SCORES[name].function(signals) == 0).all(), name
    assert set(scores.forgetting(signals).tolist()) == {0.0, INF}


# EL2N at an epoch, soft targets, absent options


def test_el2n_at_one_epoch(worked: Signals) -> None:
    np.testing.assert_allclose(scores.el2n(worked, epoch=3), WORKED["el2n_last"], rtol=0, atol=1e-6)
    each = np.stack([scores.el2n(worked, epoch=e) for e in (1, 2, 3)])
    np.testing.assert_allclose(each.mean(axis=0), WORKED["el2n"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(each[:2].mean(axis=0), scores.el2n_early(worked), rtol=1e-12)
    assert scores.EARLY == 2
    with pytest.raises(InputError, match="no epoch 4"):
        scores.el2n(worked, epoch=4)


def test_soft_targets() -> None:
    p, target = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.7, 0.1])
    signals = from_logits(["a"], np.log(p)[None, None], target[None])
    assert scores.el2n(signals)[0] == pytest.approx(math.sqrt(0.3**2 + 0.4**2 + 0.1**2))
    assert scores.confidence(signals)[0] == pytest.approx(0.3)  # gold = the largest class of the target
    assert scores.aum_prob(signals)[0] == pytest.approx(0.3 - 0.5)
    assert scores.action(signals)[0] == pytest.approx(-(target * np.log(p)).sum(), rel=1e-6)


def test_absent_options_are_not_counted() -> None:
    z = np.log([[0.5, 0.3, 0.2]])
    wide = np.concatenate([z, [[-np.inf]]], axis=1)
    three, four = (from_logits(["a"], x[None], np.array([1])) for x in (z, wide))
    for name in RECORDED:
        np.testing.assert_allclose(SCORES[name].function(four), SCORES[name].function(three), rtol=1e-6, err_msg=name)


# compute and average


def without_columns(signals: Signals, *names: str) -> Signals:
    periods = (Period({n: a for n, a in p.columns.items() if n not in names}, p.metadata) for p in signals.periods)
    return replace(signals, periods=tuple(periods))


def test_compute_in_blocks_equals_the_whole(gaps: Signals) -> None:
    columns, left_out = scores.compute(gaps, block=7)
    assert list(columns) == RECORDED and set(left_out) == PROBED and list(columns)[0] == "confidence"
    for name, column in columns.items():
        np.testing.assert_allclose(column, SCORES[name].function(gaps), rtol=1e-12)


def test_compute_never_hands_out_more_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def watched(signals: Signals) -> np.ndarray:
        sizes.append(len(signals))
        return np.zeros(len(signals))

    monkeypatch.setitem(SCORES, "aum", replace(SCORES["aum"], function=watched))
    scores.compute(random_signals(), ["aum"], block=16)
    assert sizes == [16, 16, 8]


def test_compute_of_some_names() -> None:
    assert list(scores.compute(random_signals(), ["aum", "action"])[0]) == ["aum", "action"]
    assert list(scores.compute(random_signals(), "aum")[0]) == ["aum"]
    with pytest.raises(InputError, match="no score `forgeting`. Did you mean `forgetting`"):
        scores.compute(random_signals(), ["aum", "forgeting"])


def test_without_logits_the_reason_is_given() -> None:
    columns, left_out = scores.compute(without_columns(random_signals(), "logits"))
    assert set(left_out) == {name for name, score in SCORES.items() if "logits" in score.needs} | PROBED
    assert "el2n" in left_out and "aum" in columns and "entropy" in columns
    assert left_out["el2n"].startswith("needs logits; this run has none: its answer space is not fixed")


def test_a_regression_has_losses_only() -> None:
    losses = np.array([[4.0, 1.0], [1.0, 1.0]])
    periods = tuple(Period(complete({"loss": loss}), {}) for loss in losses)
    signals = Signals(ids=["a", "b"], gold=np.array([2.5, 0.5]), periods=periods)
    columns, left_out = scores.compute(signals)
    assert set(columns) == {"action", "action_mean", *(name for name in SCORES if name.startswith("loss_"))}
    assert left_out["confidence"] == "needs gold_logprob; the task of this run defines none"
    assert left_out["forgetting"] == "needs correct; the task of this run defines none"
    assert set(columns) | set(left_out) == set(SCORES)
    assert columns["action"].tolist() == [5.0, 2.0] and columns["loss_drop"].tolist() == [3.0, 0.0]


def test_a_single_epoch_leaves_out_what_compares_epochs() -> None:
    columns, left_out = scores.compute(random_signals(epochs=1))
    assert set(left_out) == {name for name, score in SCORES.items() if "several epochs" in score.needs} | PROBED
    assert left_out["variability"] == "needs several epochs; this run has 1" and "confidence" in columns


def test_nothing_to_score() -> None:
    with pytest.raises(InputError, match="0 examples"):
        scores.compute(random_signals().rows(slice(0, 0)))
    with pytest.raises(InputError, match="0 recorded epochs"):
        scores.compute(replace(random_signals(), periods=()))


def test_n_obs(gaps: Signals) -> None:
    counts = scores.n_obs(gaps)
    assert counts[7] == 0 and counts[8] == 1 and (counts[10:] == 5).all()
    np.testing.assert_allclose(scores.action_mean(gaps) * counts, scores.action(gaps))


def test_average_over_seeds() -> None:
    one, two = random_signals(seed=1), random_signals(seed=2)
    two = replace(two, gold=one.gold, ids=[int(i) for i in two.ids])  # type: ignore[misc]  # ids compare as text
    unseen = np.ones((5, 40), dtype=bool)
    unseen[:, 3] = False
    two = forget(two, unseen)
    mean = scores.average([one, two])
    a, b = scores.compute(one)[0], scores.compute(two)[0]
    rest = np.delete(np.arange(40), 3)
    np.testing.assert_allclose(mean["aum"][rest], ((a["aum"] + b["aum"]) / 2)[rest])
    assert mean["aum"][3] == a["aum"][3]  # the run that did not see it is passed over
    either = np.isinf(a["forgetting"]) | np.isinf(b["forgetting"])
    assert either.any() and not either.all() and (np.isinf(mean["forgetting"]) == either).all()
    assert set(scores.average([one, without_columns(two, "logits")])) == set(
        scores.compute(without_columns(two, "logits"))[0]
    )


def test_average_refuses_other_data() -> None:
    one = replace(random_signals(), identity={"input_hash": "i", "label_hash": "l"})
    with pytest.raises(InputError, match="no runs"):
        scores.average([])
    with pytest.raises(InputError, match="run 2 of 2 has 39 examples"):
        scores.average([one, one.rows(slice(0, 39))])
    with pytest.raises(InputError, match="run 3 of 3 has id x in row 5, the first has 5"):
        scores.average([one, one, replace(one, ids=[*one.ids[:5], "x", *one.ids[6:]])])
    with pytest.raises(InputError, match="other labels than the first"):
        scores.average([one, replace(one, identity={"input_hash": "i", "label_hash": "m"})])
    with pytest.raises(InputError, match="other inputs than the first"):
        scores.average([one, replace(one, identity={"input_hash": "j", "label_hash": "l"})])
    relabelled = one.gold.copy()
    relabelled[9] = (relabelled[9] + 1) % 4
    with pytest.raises(InputError, match=r"another gold answer for 1 examples \(first id: 9\)"):
        scores.average([one, replace(one, gold=relabelled, identity={})])


# Real dynamics against a calculation in plain Python, from the definitions


def by_the_definitions(directory: Path, epochs: int) -> dict[str, tuple[float, float, float, float]]:
    """id -> confidence, variability, correctness, forgetting."""
    g: dict[str, list[float]] = {}
    right: dict[str, list[bool]] = {}
    for e in range(epochs):
        for line in (directory / f"dynamics_epoch_{e}.jsonl").read_text().splitlines():
            row = json.loads(line)
            z, y = row[f"logits_epoch_{e}"], row["gold"]
            g.setdefault(str(row["guid"]), []).append(1 / sum(math.exp(other - z[y]) for other in z))
            right.setdefault(str(row["guid"]), []).append(z.index(max(z)) == y)
    result = {}
    for guid, trend in g.items():
        mu = sum(trend) / len(trend)
        sigma = math.sqrt(sum((x - mu) ** 2 for x in trend) / len(trend))
        answers = right[guid]
        forgotten = sum(before and not after for before, after in zip(answers, answers[1:], strict=False))
        result[guid] = (mu, sigma, sum(answers) / len(answers), forgotten if any(answers) else INF)
    return result


@pytest.mark.parametrize("name", ["sarcasm", "disaster"])
@pytest.mark.parametrize("epochs", [4, 5])
def test_real_dynamics_against_plain_python(data_dir: Path, name: str, epochs: int) -> None:
    directory = data_dir / name / "roberta_base_dynamics"
    signals, told = cartography.read(directory)
    assert told == ()
    columns, _ = scores.compute(signals.window(max_epochs=epochs))
    plain = by_the_definitions(directory, epochs)
    assert set(plain) == set(signals.ids)
    expected = np.array([plain[guid] for guid in signals.ids])  # (N, 4)
    for column, score in enumerate(("confidence", "variability", "correctness", "forgetting")):
        np.testing.assert_allclose(columns[score], expected[:, column], rtol=0, atol=1e-6)
