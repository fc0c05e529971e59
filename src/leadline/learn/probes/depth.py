"""Prediction depth: how early in the model the neighbours of an example say what the model says in the end.

Baldock, Maennel and Neyshabur, NeurIPS 2021. A probe is a classification by the k = 30 nearest training examples (in
Euclidean distance) in the representations of one layer; here the mean over the real tokens of what the layer gives, the
embeddings being layer 0. The example itself is never among its neighbours.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor

from leadline.data.neighbours import nearest
from leadline.learn import memory
from leadline.learn.probes.subject import Subject

K = 30  # the paper's
METRIC = "euclidean"
TOKENS = 8192  # per batch, as in `predict`
BLOCK = 2**20  # votes counted at a time
ROWS = 4096  # whose neighbours are in memory at a time


def prediction_depth(
    subject: Subject, gold: np.ndarray, n_classes: int, scratch: Path, k: int = K
) -> tuple[np.ndarray, int]:
    """((N,) float64, the number of probes L): from 0 to L, higher is harder.

    gold     (N,) class index of each example: what its neighbours vote with
    scratch  a directory for the representations of all layers, one file each, gone afterwards; in memory are
             the neighbours of some rows at a time
    """
    k = min(k, len(subject) - 1)
    with tempfile.TemporaryDirectory(prefix=".depth-", dir=scratch) as place:
        files, final = _represent(subject, Path(place))
        said = np.empty((len(subject), len(files)), dtype=np.int64)  # (N, L)
        for layer, file in enumerate(files):
            x = np.load(file, mmap_mode="r")  # (N, H)
            for start in range(0, len(x), ROWS):
                rows = np.arange(start, min(start + ROWS, len(x)))
                said[rows, layer] = vote(gold[nearest(x, k, rows=rows, metric=METRIC)[0]], n_classes)
            file.unlink()
    return depth(said, final), len(files)


def depth(said: np.ndarray, final: np.ndarray) -> np.ndarray:
    """(N,) the first layer from which every probe says `final`; L where the last one does not.

    said   (N, L) class that the probe of each layer says, the deepest last
    final  (N,) what the model says
    """
    backwards = (said != final[:, None])[:, ::-1]
    agreeing = np.where(backwards.any(axis=1), backwards.argmax(axis=1), said.shape[1])  # probes at the end
    return (said.shape[1] - agreeing).astype(np.float64)


def vote(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """(N,) the most frequent of labels (N, k), the lowest class on ties."""
    found = np.empty(len(labels), dtype=np.int64)
    step = max(1, BLOCK // n_classes)
    for start in range(0, len(labels), step):
        piece = labels[start : start + step]
        cells = piece + n_classes * np.arange(len(piece))[:, None]
        counts = np.bincount(cells.ravel(), minlength=n_classes * len(piece)).reshape(len(piece), n_classes)
        found[start : start + step] = counts.argmax(axis=1)
    return found


def _represent(subject: Subject, place: Path) -> tuple[list[Path], np.ndarray]:
    """(a file (N, H) float32 for each layer, the model's answers (N,)); one pass, dropout off."""
    files: list[Path] = []
    layers: list[np.memmap] = []
    final = np.empty(len(subject), dtype=np.int64)
    for rows, means, answers in _passes(subject):
        if not files:
            files = [place / f"layer_{number:03d}.npy" for number in range(len(means))]
            shapes = [(len(subject), mean.shape[1]) for mean in means]
            layers = [open_memmap(f, "w+", np.float32, shape) for f, shape in zip(files, shapes, strict=True)]
        for layer, mean in zip(layers, means, strict=True):
            layer[rows] = mean.cpu().numpy()
        final[rows] = answers
    for layer in layers:
        layer.flush()
    return files, final


@torch.no_grad()
def _passes(subject: Subject) -> Iterator[tuple[np.ndarray, list[Tensor], np.ndarray]]:
    """(rows (B,), means over tokens (B, H) of every layer, classes that the model says (B,)) of every batch."""
    was_training = subject.model.training
    subject.model.eval()
    try:
        for rows in subject.batches(TOKENS):
            batch = subject.batch(rows)
            output = subject.model(**batch.inputs, output_hidden_states=True)
            real = batch.inputs["attention_mask"][..., None].float()  # (B, T, 1)
            means = [(h.float() * real).sum(1) / real.sum(1) for h in output.hidden_states]
            yield rows, means, output.logits.float().cpu().numpy().argmax(axis=1)
            del batch, output, means
            memory.give_back()
    finally:
        subject.model.train(was_training)
