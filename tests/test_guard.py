"""Losses and gradients that are no numbers: found without waiting, and named."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from leadline.errors import LeadlineError
from leadline.learn.guard import Guard

CPU = torch.device("cpu")
STEPS = {1: np.array([0, 1, 2]), 2: np.array([3, 4, 5]), 3: np.array([0, 1, 2])}


def guard(ids=tuple("abcdef")) -> Guard:
    return Guard(ids, 6, CPU)


def fine(watch: Guard, step: int) -> None:
    watch.look(STEPS[step], torch.tensor([0.1, 0.2, 0.3]))
    watch.step(step, torch.tensor(0.6), torch.tensor(1.0))


def test_numbers_are_no_trouble():
    watch = guard()
    fine(watch, 1), fine(watch, 2)
    watch.check(STEPS.__getitem__)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_examples_of_the_first_bad_step_are_named(bad):
    watch = guard()
    fine(watch, 1)
    watch.look(STEPS[2], torch.tensor([0.1, bad, 0.3]))
    watch.step(2, torch.tensor(bad), torch.tensor(bad))
    watch.look(STEPS[3], torch.full((3,), torch.nan))  # from here on everything is NaN
    watch.step(3, torch.tensor(torch.nan), torch.tensor(torch.nan))
    with pytest.raises(LeadlineError, match=r"at step 2: the loss of 1 examples is NaN or infinite \(ids e\)"):
        watch.check(STEPS.__getitem__)


def test_a_gradient_alone():
    watch = guard()
    watch.look(STEPS[1], torch.tensor([0.1, 0.2, 0.3]))
    watch.step(1, torch.tensor(0.6), torch.tensor(torch.inf))
    with pytest.raises(LeadlineError, match=r"at step 1: the gradient of 3 examples is .* \(ids a, b, c\)"):
        watch.check(STEPS.__getitem__)


def test_without_ids_rows_are_named():
    watch = guard(None)
    watch.look(STEPS[2], torch.tensor([torch.nan] * 3))
    watch.step(2, torch.tensor(torch.nan))
    with pytest.raises(LeadlineError, match="ids row 3, row 4, row 5"):
        watch.check(STEPS.__getitem__)
