"""learn/memory.py: what a process frees while it trains stays in its heap, and goes back afterwards."""

from __future__ import annotations

import ctypes

import pytest
import torch

from leadline.learn import memory


def test_memory_is_kept_while_training_and_given_back_afterwards():
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
    with memory.kept(torch.device("cpu")):
        inside = torch.empty(20_000_000)
        assert mapped() - before < 10_000_000, "the array lies in the heap"
    outside = torch.empty(20_000_000)
    assert mapped() - before >= 80_000_000 and len(inside) == len(outside)
    with memory.kept(torch.device("cuda")):  # nothing of the host is changed for a GPU
        more = torch.empty(20_000_000)
        assert mapped() - before >= 160_000_000 and len(more) == len(inside)
