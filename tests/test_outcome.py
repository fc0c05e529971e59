"""learn/outcome.py and learn/losses.py: the formulas in torch, against numpy, torch's own, and numbers by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.nn import functional as F

from leadline import signals
from leadline.learn import losses
from leadline.learn.outcome import Outcome
from leadline.signals import FIELDS, OUTCOME

# The shared worked example: 4 examples, 3 epochs, 3 classes
GOLD = [0, 0, 1, 1]
LOGITS = [
    [[1.2, 0.1, -0.4], [2.5, 0.3, -1.0], [3.6, -0.2, -1.4]],
    [[0.9, 0.4, 0.2], [0.1, 0.8, -0.3], [1.1, 0.6, -0.7]],
    [[0.8, -0.1, 0.3], [1.9, -0.6, 0.2], [2.7, -1.1, 0.4]],
    [[0.5, 0.2, -0.1], [-0.2, 0.9, 0.4], [-0.6, 1.8, 0.3]],
]
GOLD_PROB = [
    [0.651564, 0.876424, 0.971715],
    [0.475485, 0.271439, 0.564388],
    [0.201962, 0.064901, 0.019927],
    [0.323554, 0.515623, 0.761123],
]
NLL = [
    [0.428379, 0.131906, 0.028693],
    [0.743420, 1.304019, 0.572013],
    [1.599676, 2.734889, 3.915674],
    [1.128390, 0.662380, 0.272960],
]
MARGIN = [[1.1, 2.2, 3.8], [0.5, -0.7, 0.5], [-0.9, -2.5, -3.8], [-0.3, 0.5, 1.5]]
ENTROPY = [
    [0.877432, 0.438179, 0.144034],
    [1.052901, 0.994172, 0.911099],
    [1.032088, 0.642691, 0.396803],
    [1.069273, 1.007550, 0.693419],
]
CORRECT = [[1, 1, 1], [1, 0, 1], [0, 0, 0], [0, 1, 1]]

LOGIT = st.floats(-30, 30, width=32)


def as_numpy(outcome: Outcome) -> dict[str, np.ndarray]:
    return {name: getattr(outcome, name).numpy() for name in OUTCOME}


def assert_equal(found: Outcome, expected: dict[str, np.ndarray], scale: float = 1.0) -> None:
    """To 1e-6, relative to the largest logit: float32 cannot say more of a logit of 30."""
    for name, array in as_numpy(found).items():
        assert array.dtype == FIELDS[name], name
        np.testing.assert_allclose(array, expected[name], rtol=1e-6, atol=1e-6 * max(1.0, scale), err_msg=name)


def test_the_worked_example() -> None:
    for epoch in range(3):
        z = torch.tensor([row[epoch] for row in LOGITS])
        found = Outcome.from_logits(z, torch.tensor(GOLD))
        for name, table in (("loss", NLL), ("margin", MARGIN), ("entropy", ENTROPY), ("correct", CORRECT)):
            np.testing.assert_allclose(getattr(found, name), [row[epoch] for row in table], atol=1e-6, err_msg=name)
        np.testing.assert_allclose(found.gold_logprob.exp(), [row[epoch] for row in GOLD_PROB], atol=1e-6)
        assert found.logits is not None and torch.equal(found.logits, z)


@st.composite
def logits(draw: st.DrawFn, least: int = 2) -> np.ndarray:
    shape = draw(st.tuples(st.integers(1, 6), st.integers(least, 7)))
    return draw(hnp.arrays(np.float32, shape, elements=LOGIT))


@settings(max_examples=150, deadline=None)
@given(z=logits(), data=st.data())
def test_torch_equals_numpy_for_classes(z: np.ndarray, data: st.DataObject) -> None:
    gold = data.draw(hnp.arrays(np.int64, len(z), elements=st.integers(0, z.shape[1] - 1)))
    found = Outcome.from_logits(torch.from_numpy(z), torch.from_numpy(gold))
    assert_equal(found, signals.outcome(z, gold), np.abs(z).max())
    np.testing.assert_allclose(
        found.loss, F.cross_entropy(torch.from_numpy(z), torch.from_numpy(gold), reduction="none")
    )


@settings(max_examples=100, deadline=None)
@given(z=logits(), data=st.data())
def test_torch_equals_numpy_for_soft_targets(z: np.ndarray, data: st.DataObject) -> None:
    raw = data.draw(hnp.arrays(np.int64, z.shape, elements=st.integers(0, 3)))  # ties and zeros are common
    raw[raw.sum(axis=1) == 0] = 1
    y = (raw / raw.sum(axis=1, keepdims=True)).astype(np.float32)
    found = Outcome.from_logits(torch.from_numpy(z), torch.from_numpy(y))
    assert_equal(found, signals.outcome(z, y), np.abs(z).max())
    theirs = F.cross_entropy(torch.from_numpy(z), torch.from_numpy(y), reduction="none")
    np.testing.assert_allclose(found.loss, theirs, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(z).max()))


@settings(max_examples=100, deadline=None)
@given(z=logits(least=3), data=st.data())
def test_torch_equals_numpy_where_options_are_absent(z: np.ndarray, data: st.DataObject) -> None:
    gold = data.draw(hnp.arrays(np.int64, len(z), elements=st.integers(0, z.shape[1] - 1)))
    absent = data.draw(hnp.arrays(np.bool_, z.shape))
    absent[np.arange(len(z)), gold] = False
    rival = (gold + 1) % z.shape[1]
    absent[np.arange(len(z)), rival] = False  # an item has two options at least
    z = np.where(absent, -np.inf, z).astype(np.float32)
    found = Outcome.from_logits(torch.from_numpy(z), torch.from_numpy(gold))
    assert_equal(found, signals.outcome(z, gold), np.abs(z[np.isfinite(z)]).max())
    assert all(np.isfinite(array).all() for array in as_numpy(found).values())


@settings(max_examples=100, deadline=None)
@given(z=logits(), data=st.data())
def test_torch_equals_numpy_for_independent_answers(z: np.ndarray, data: st.DataObject) -> None:
    y = data.draw(hnp.arrays(np.int64, z.shape, elements=st.integers(0, 1)))
    found = Outcome.from_logits(torch.from_numpy(z), torch.from_numpy(y), link="sigmoid")
    assert_equal(found, signals.outcome(z, y, link="sigmoid"), np.abs(z).max())
    theirs = F.binary_cross_entropy_with_logits(torch.from_numpy(z), torch.from_numpy(y).float(), reduction="none")
    np.testing.assert_allclose(found.loss, theirs.sum(-1), rtol=1e-5, atol=1e-5)


def test_ties_are_the_lowest_class_and_nan_is_never_right() -> None:
    tied = Outcome.from_logits(
        torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0]]), torch.tensor([[0.5, 0.5, 0], [0, 0.5, 0.5]])
    )
    assert tied.correct.tolist() == [1, 1] and tied.margin.tolist() == [0, 0]
    np.testing.assert_allclose(
        tied.gold_logprob, torch.tensor([[1.0, 1, 0], [0, 2, 2]]).log_softmax(-1)[[0, 1], [0, 1]]
    )
    assert Outcome.from_logits(torch.zeros(3, 3), torch.tensor([0, 1, 2])).correct.tolist() == [1, 0, 0]
    broken = Outcome.from_logits(torch.tensor([[torch.nan, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]))
    assert math.isnan(broken.loss[0]) and broken.correct.tolist() == [0, 1]


def test_logits_are_read_in_float32_and_carry_no_gradient() -> None:
    z = torch.tensor([[0.3, 0.1]], dtype=torch.bfloat16, requires_grad=True)
    found = Outcome.from_logits(z, torch.tensor([1]))
    assert found.loss.dtype == torch.float32 and not found.loss.requires_grad
    np.testing.assert_allclose(found.loss, F.cross_entropy(z.detach().float(), torch.tensor([1])).item())


def test_an_outcome_of_a_loss_alone() -> None:
    found = Outcome.of_loss(
        torch.tensor([0.5, 2.0]), gold_logprob=torch.tensor([-0.5, -2.0]), tokens=torch.tensor([3, 4])
    )
    assert found.correct.tolist() == [-1, -1] and found.correct.dtype == torch.int8
    assert found.margin.isnan().all() and found.entropy.isnan().all() and found.logits is None
    columns = found.columns()
    assert set(columns) == {*OUTCOME, "tokens"} and columns["gold_logprob"].tolist() == [-0.5, -2.0]


# Training losses

RNG = np.random.default_rng(11)
Z = torch.from_numpy(RNG.normal(scale=2, size=(30, 4))).float()
Y = torch.from_numpy(RNG.integers(0, 4, 30))
SOFT = torch.from_numpy(RNG.dirichlet(np.ones(4), 30)).float()
W = torch.tensor([0.5, 2.0, 1.0, 3.5], dtype=torch.float64)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, W])
@pytest.mark.parametrize("targets", [Y, SOFT], ids=["classes", "soft"])
def test_cross_entropy_equals_torch(targets: torch.Tensor, weight: torch.Tensor | None, smoothing: float) -> None:
    """Unreduced the definitions coincide: sum_k w_k S_k (-log p_k); torch differs only in what it divides a mean by."""
    theirs = F.cross_entropy(
        Z, targets, weight=None if weight is None else weight.float(), label_smoothing=smoothing, reduction="none"
    )
    torch.testing.assert_close(losses.cross_entropy(Z, targets, weight, smoothing), theirs, atol=1e-5, rtol=1e-5)


def test_cross_entropy_has_the_gradient_of_torch() -> None:
    gradients = []
    for function in (lambda z: losses.cross_entropy(z, SOFT, W, 0.1), lambda z: F.cross_entropy(
        z, SOFT, weight=W.float(), label_smoothing=0.1, reduction="none")):  # fmt: skip
        z = Z.clone().requires_grad_()
        function(z).sum().backward()
        gradients.append(z.grad)
    torch.testing.assert_close(*gradients)


def test_classes_and_their_one_hot_rows_are_the_same() -> None:
    for settings_ in ({}, {"class_weights": W}, {"label_smoothing": 0.2}, {"focal_gamma": 2.0}):
        one_hot = losses.cross_entropy(Z, F.one_hot(Y, 4), **settings_)  # type: ignore[arg-type]
        torch.testing.assert_close(losses.cross_entropy(Z, Y, **settings_), one_hot)  # type: ignore[arg-type]


def test_label_smoothing_of_the_worked_example() -> None:
    """e = 0.1 of 3 classes: the target becomes 0.933333, 0.033333, 0.033333."""
    log_p = torch.log_softmax(torch.tensor([[0.3, -1.2, 0.8]]), -1)
    found = losses.cross_entropy(torch.tensor([[0.3, -1.2, 0.8]]), torch.tensor([0]), label_smoothing=0.1)
    np.testing.assert_allclose(found, -(torch.tensor([0.933333, 0.033333, 0.033333]) * log_p).sum(-1), atol=2e-6)


# Weighted losses of the worked example: a logit per example, two classes
BINARY = torch.tensor([1.5, -0.4, 0.2, -2.0, 0.7, -0.9])
LABELS = torch.tensor([1, 1, 0, 0, 1, 0])
TWO = torch.stack([torch.zeros(6), BINARY], dim=1)  # softmax over (0, s) is sigmoid(s)


def test_gamma_of_the_worked_example() -> None:
    np.testing.assert_allclose(
        losses.cross_entropy(TWO, LABELS), [0.201413, 0.913015, 0.798139, 0.126928, 0.403186, 0.341154], atol=1e-6
    )
    expected = {1: (0.463973, 0.463973), 2: (0.477939, 0.450006), 4: (0.489112, 0.438833), 8: (0.496561, 0.431384)}
    for gamma, (accept, reject) in expected.items():
        for w, mean in ((torch.tensor([1.0, gamma]), accept), (torch.tensor([gamma, 1.0]), reject)):
            found = losses.cross_entropy(TWO, LABELS, w).sum() / w[LABELS].sum()
            assert found.item() == pytest.approx(mean, abs=1e-6)


def test_focal_loss_of_the_worked_example() -> None:
    assert losses.cross_entropy(TWO, LABELS, focal_gamma=2.0).mean().item() == pytest.approx(0.108323, abs=1e-6)
    alpha = torch.tensor([0.75, 0.25])  # alpha is a class weight
    assert losses.cross_entropy(TWO, LABELS, alpha, focal_gamma=2.0).mean().item() == pytest.approx(0.049714, abs=1e-6)


def test_focal_loss_has_a_finite_gradient_where_the_model_is_certain() -> None:
    for gamma in (0.5, 1.0, 2.0):
        z = torch.tensor([[60.0, -60.0], [-60.0, 60.0]], requires_grad=True)
        loss = losses.cross_entropy(z, torch.tensor([0, 0]), focal_gamma=gamma)
        loss.sum().backward()
        assert z.grad is not None and z.grad.isfinite().all()
        np.testing.assert_allclose(loss.detach(), [0, 120], atol=1e-4)


def test_a_mixed_target_is_the_mixture_of_two_losses() -> None:
    """The mixup example: lambda 0.7 between classes 0 and 1 of logits 0.4, 1.1, -0.3 gives 1.045712."""
    found = losses.cross_entropy(torch.tensor([[0.4, 1.1, -0.3]]), torch.tensor([[0.7, 0.3, 0.0]]))
    assert found.item() == pytest.approx(1.045712, abs=1e-6)


def test_absent_options_are_trained_without_nan() -> None:
    z = torch.tensor([[1.4, 0.3, -torch.inf, 0.9]], requires_grad=True)
    for gold in (torch.tensor([3]), torch.tensor([[0.2, 0.1, 0.0, 0.7]])):
        for settings_ in ({}, {"class_weights": torch.ones(4)}, {"focal_gamma": 2.0}):
            z.grad = None
            loss = losses.cross_entropy(z, gold, **settings_)  # type: ignore[arg-type]
            loss.sum().backward()
            assert loss.isfinite().all() and z.grad is not None and z.grad.isfinite().all(), settings_
    present = losses.cross_entropy(z.detach()[:, [0, 1, 3]], torch.tensor([2]))
    torch.testing.assert_close(losses.cross_entropy(z.detach(), torch.tensor([3])), present)


def test_bfloat16_logits_are_trained_in_float32() -> None:
    z = Z.bfloat16()
    torch.testing.assert_close(losses.cross_entropy(z, Y), F.cross_entropy(z.float(), Y, reduction="none"))
    assert losses.squared_error(z[:, 0], Y).dtype == torch.float32
