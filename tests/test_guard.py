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


def test_memory_is_kept_while_training_and_given_back_afterwards():
    import ctypes

    from leadline.learn import memory

    def mapped() -> int:
        """Bytes that glibc has mapped apart from its heap."""

        class Info(ctypes.Structure):
            _fields_ = [(n, ctypes.c_size_t) for n in "arena ordblks smblks hblks hblkhd a b c d e".split()]

        libc.mallinfo2.restype = Info
        return int(libc.mallinfo2().hblkhd)

    libc = memory._glibc()
    if libc is None or not hasattr(libc, "mallinfo2"):
        pytest.skip("no glibc here, so nothing is kept")
    before = mapped()
    with memory.kept(CPU):
        inside = torch.empty(20_000_000)
        assert mapped() - before < 10_000_000, "the array lies in the heap"
    outside = torch.empty(20_000_000)
    assert mapped() - before >= 80_000_000 and len(inside) == len(outside)
    with memory.kept(torch.device("cuda")):
        assert mapped() - before >= 80_000_000
